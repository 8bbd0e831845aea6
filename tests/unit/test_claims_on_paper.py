"""The paper tested by its own data: effects by hand, and contradictions that claims.yaml names."""

from pathlib import Path

import pandas as pd
import pytest

from dstcl.cli import main
from dstcl.evaluation.claims import load_claims
from dstcl.evaluation.claims_on_paper import judge_paper, paper_lines, read_paper_study
from dstcl.evaluation.judge import with_paper

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
CLAIMS = load_claims(REFERENCE / "claims.yaml")
TABLES = ["cifar100 20", "miniimagenet 10", "cifar100 10", "cifar100 5"]
"""Data set and tasks of Tables 1 to 4, all ResNet-18."""
IN_WORDS = {"narrow-layers-fill", "interval-high-sparsity"}
"""Claims that the paper's text, or a part of their data, contradicts."""


@pytest.fixture(scope="module")
def paper() -> pd.DataFrame:
    return judge_paper(CLAIMS, read_paper_study(REFERENCE / "paper"))


def points(paper: pd.DataFrame, claim: str, network: str = "resnet18") -> dict[str, float]:
    rows = paper[paper["claim"].eq(claim) & paper["network"].eq(network)]
    place = rows["dataset"] + " " + rows["tasks"].astype(str)
    return dict(zip(place, 100 * rows["effect"]))


def test_effects_are_those_of_the_tables_by_hand(paper: pd.DataFrame) -> None:
    # Table 1: (63.42 + 61.97 + 56.77 + 60.35 - 52.70 - 46.67 - 47.71 - 50.01) / 4 = 45.42 / 4.
    expected = dict(zip(TABLES, (11.355, 11.9725, 12.3325, -0.1875)))
    assert points(paper, "low-sparsity-erk") == pytest.approx(expected)
    # Table 3: 76.63 less the mean of 75.09, 75.28 and 76.49.
    found = points(paper, "moderate-uniform-gradient")["cifar100 10"]
    assert found == pytest.approx(76.63 - (75.09 + 75.28 + 76.49) / 3)
    found = points(paper, "high-sparsity-erk-competitive")["cifar100 20"]
    assert found == pytest.approx(74.23 - 79.60)
    # Figure 6, and random growth of Table 3.
    found = points(paper, "adaptive-beats-both")["cifar100 10"]
    assert found == pytest.approx(77.52 - 75.71, abs=0.01)


def test_intervals_are_those_of_figure_a(paper: pd.DataFrame) -> None:
    # At 80 %, both inits: 400 against 200.
    found = points(paper, "interval-low-sparsity")["cifar100 10"]
    assert found == pytest.approx((60.76 + 75.16 - 58.10 - 74.69) / 2, abs=0.02)
    assert points(paper, "interval-high-sparsity")["cifar100 10"] == pytest.approx(0.14, abs=0.02)


def test_a_number_of_the_paper_is_called_no_seed(paper: pd.DataFrame) -> None:
    assert set(paper["unit"]) == {"printed numbers"}
    assert set(paper["units"]) == {1}
    assert paper["low"].isna().all()


def test_where_only_random_growth_is_compared_figure_a_has_four_observations(
    tmp_path: Path,
) -> None:
    text = (
        "claims:\n- {id: a, statement: s, source: x, kind: difference, this: {init: erk},"
        " that: {init: uniform}, where: {density: 0.2, growth: random}}\n"
    )
    (tmp_path / "claims.yaml").write_text(text)
    claims = load_claims(tmp_path / "claims.yaml")
    table = judge_paper(claims, read_paper_study(REFERENCE / "paper"))
    rows = table[table["network"].eq("resnet18") & table["dataset"].eq("cifar100")]
    row = rows[rows["tasks"] == 10].iloc[0]
    assert (row["units"], row["unit"]) == (4, "update intervals")
    # Table 3 has 74.61 and 58.04, the means of these four curves.
    assert 100 * row["effect"] == pytest.approx(74.61 - 58.04, abs=0.02)
    assert row["low"] < row["effect"] < row["high"]


def test_every_claim_of_the_paper_has_numbers_or_is_known_to_have_none(
    paper: pd.DataFrame,
) -> None:
    without = {claim.id for claim in CLAIMS if claim.group} - set(paper["claim"])
    assert without == {"erk-uses-85-percent", "narrow-layers-fill", "information-flow"}
    assert not set(paper["claim"]) & {"no-forgetting", "dst-beats-finetune", "switch-beats-both"}


def test_claims_that_the_paper_s_data_contradict_say_so(paper: pd.DataFrame) -> None:
    contradicted = set(paper[paper["agrees"] == "no"]["claim"])
    assert contradicted
    assert contradicted | IN_WORDS == {claim.id for claim in CLAIMS if claim.paper_says_otherwise}


def test_the_numbers_in_contradictions_are_the_paper_s(paper: pd.DataFrame) -> None:
    said = {claim.id: claim.paper_says_otherwise for claim in CLAIMS}
    for claim, network, place, number in (
        ("low-sparsity-erk", "resnet18", "cifar100 5", -0.2),
        ("moderate-sparsity-erk", "resnet18", "miniimagenet 10", -1.6),
        ("moderate-sparsity-erk", "resnet18", "cifar100 10", -1.0),
        ("erk-completes-10", "vgg16", "cifar100 10", -32.5),
        ("high-sparsity-uniform", "vgg16", "cifar100 10", -4.0),
        ("high-sparsity-spread", "vgg16", "cifar100 10", -2.4),
        ("uniform-resilient", "vgg16", "cifar100 10", -1.4),
        ("uniform-resilient-low", "resnet18", "miniimagenet 10", -1.2),
        ("uniform-resilient-low", "resnet18", "cifar100 10", -0.9),
        ("uniform-resilient-low", "mobilenetv2", "cifar100 10", -8.3),
        ("uniform-resilient-low", "vgg16", "cifar100 10", -0.5),
        ("moderate-inits-alike", "resnet18", "cifar100 5", -2.5),
        ("moderate-uniform-gradient", "resnet18", "cifar100 20", -0.03),
        ("moderate-uniform-gradient", "resnet18", "cifar100 5", -1.3),
        ("high-sparsity-erk-competitive", "resnet18", "cifar100 20", -5.4),
        ("low-sparsity-random", "vgg16", "cifar100 10", -2.1),
        ("mobilenet-inits-work", "mobilenetv2", "cifar100 10", -11.4),
        ("gradient-gains-late", "resnet18", "miniimagenet 10", -2.0),
        ("gradient-gains-late", "resnet18", "cifar100 10", -1.0),
    ):
        effect = points(paper, claim, network)[place]
        assert effect == pytest.approx(number, abs=0.051), (claim, place)
        assert f"{-number}" in said[claim], claim


def test_saturation_is_seen_where_the_paper_sees_it(paper: pd.DataFrame) -> None:
    for claim in ("uniform-saturates-after-7", "erk-saturates-after-13", "erk-completes-10"):
        rows = paper[paper["claim"].eq(claim) & paper["network"].eq("resnet18")]
        assert set(rows["agrees"]) == {"yes"}, claim
    rows = paper[paper["claim"].eq("uniform-99-one-subnetwork")]
    assert rows["effect"].tolist() == pytest.approx([0.649], abs=0.001)


def test_the_paper_s_effect_is_beside_ours_on_the_same_data_only(paper: pd.DataFrame) -> None:
    ours = pd.DataFrame(
        [
            ("low-sparsity-erk", "cifar100", 5, "resnet18"),
            ("low-sparsity-erk", "mnist5k", 5, "resnet18"),
            ("low-sparsity-erk", "cifar100", 5, "resnet18-slim"),
            ("dst-beats-finetune", "cifar100", 5, "resnet18"),
        ],
        columns=["claim", "dataset", "tasks", "network"],
    )
    effects = with_paper(ours, paper)["paper_effect"]
    assert effects[0] == pytest.approx(-0.001875)
    assert effects[1:].isna().all()


def test_only_what_stands_beside_a_study_is_judged() -> None:
    study = read_paper_study(REFERENCE / "paper")
    beside = pd.DataFrame([("mnist5k", 5, "convnet")], columns=["dataset", "tasks", "network"])
    assert judge_paper(CLAIMS, study, beside).empty


def test_the_list_of_claims_names_all_of_them(paper: pd.DataFrame) -> None:
    text = "\n".join(["", *paper_lines(CLAIMS, paper)])
    assert all(f"\n{claim.id} (" in text for claim in CLAIMS)
    assert "  cifar100, 5 tasks, resnet18: -0.19 points, not as claimed" in text
    assert text.count("the paper has no numbers for this") == 38


def test_the_command_lists_the_claims(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "paper").symlink_to(REFERENCE / "paper")
    text = "claims:\n- {id: a, statement: It is., source: x, kind: untestable, why: because}\n"
    (tmp_path / "claims.yaml").write_text(text)
    main(["claims", "--paper", "--reference", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[0] == "a (no claim of the paper; x): It is."


@pytest.mark.parametrize("arguments", [[], ["results/quick", "--paper"]])
def test_a_study_or_the_paper_is_needed_and_not_both(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="claims: either the folder of a study or --paper"):
        main(["claims", *arguments])


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("tables.csv", "acc,", "accuracy,", "tables.csv: no column acc"),
        ("tables.csv", "52.70", "good", "tables.csv: line 2: acc 'good' is not a number"),
        ("curves.csv", "update_every", "every", "curves.csv: no column update_every"),
        ("curves.csv", "random,,2,82.575", "random,,21,82.575", "curves.csv: figure 2 cifar100 20"),
        (
            "curves.csv",
            "random,,2,82.575",
            "random,,3,82.575",
            "curves.csv: 2 cifar100 20 resnet18 uniform 0.2 random 3 twice",
        ),
        ("curves.csv", ",1,81.2,", ",1,,", "curves.csv: line 2: accuracy_percent is missing"),
    ],
)
def test_damaged_numbers_of_the_paper_are_named(
    tmp_path: Path, name: str, old: str, new: str, message: str
) -> None:
    for file in ("tables.csv", "curves.csv"):
        text = (REFERENCE / "paper" / file).read_text()
        (tmp_path / file).write_text(text.replace(old, new, 1) if file == name else text)
    with pytest.raises(ValueError, match="csv") as caught:
        read_paper_study(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert len(str(caught.value).splitlines()) == 1


def test_missing_numbers_of_the_paper_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"curves.csv: no such file"):
        read_paper_study(tmp_path)
