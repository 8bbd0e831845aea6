"""Claims: what a file may say, the tests behind a verdict, and each verdict on made-up studies."""

import re
from collections.abc import Callable, Sequence
from itertools import product
from math import isnan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from dstcl.evaluation.axes import BLOCK
from dstcl.evaluation.claim_kinds import KINDS
from dstcl.evaluation.claim_measures import Tables
from dstcl.evaluation.claims import ClaimsError, load_claims
from dstcl.evaluation.judge import COLUMNS, judge_claims
from dstcl.evaluation.judge import test_randomness as randomness_of
from dstcl.evaluation.statistics import above, every, holm, interaction, units_for_mean
from dstcl.study.load import load_file, runs, runs_by_part
from dstcl.study.run import Run
from helpers.runs import changed

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
PARAMS = REFERENCE.parent / "params.yaml"
RUN = runs(load_file(PARAMS, "quick"))[0]
CONTRACT = ["claim", "statement", "effect", "low", "high", "p", "units", "verdict"]

# Statistics


def test_paired_values_give_scipys_t_test_and_interval() -> None:
    this, that = [0.71, 0.75, 0.80, 0.78], [0.70, 0.71, 0.79, 0.72]
    found = above(np.subtract(this, that).tolist())
    two_sided = stats.ttest_rel(this, that)
    assert found.p == pytest.approx(two_sided.pvalue)
    interval = two_sided.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.support == pytest.approx(stats.ttest_rel(this, that, alternative="greater").pvalue)


def test_a_boundary_moves_the_question_and_not_the_interval() -> None:
    values = [0.01, -0.004, 0.003]
    plain, margin = above(values), above(values, -0.02)
    assert (plain.low, plain.high) == (margin.low, margin.high)
    expected = stats.ttest_1samp(values, -0.02, alternative="greater").pvalue
    assert margin.support == pytest.approx(expected)
    assert margin.support < plain.support


@pytest.mark.parametrize("boundary", [-0.03, 0.0, 0.02])
def test_p_is_below_5_percent_exactly_where_the_interval_leaves_the_boundary_out(boundary) -> None:
    rng = np.random.default_rng(1)
    inside = set()
    for values in rng.normal(0.0, 0.02, (200, 4)).tolist():
        found = above(values, boundary)
        assert (found.p < 0.05) == (not found.low <= boundary <= found.high)
        inside.add(found.p < 0.05)
    assert inside == {True, False}


def test_one_seed_has_an_effect_and_no_p() -> None:
    found = above([0.1])
    assert found.effect == 0.1
    assert isnan(found.p)
    assert isnan(above([]).effect)


def test_seeds_that_all_say_the_same() -> None:
    assert above([0.1, 0.1, 0.1]).p == 0
    assert above([0.0, 0.0, 0.0]).p == 1
    assert above([-0.1, -0.1, -0.1]).against == 0


def test_every_is_as_weak_as_its_weakest_part_and_fails_with_one_clear_failure() -> None:
    strong, weak = above([0.10, 0.11, 0.12]), above([0.01, 0.02, -0.01])
    clear_loss = above([-0.10, -0.11, -0.12])
    both = every([strong, weak])
    assert (both.effect, both.support) == (weak.effect, weak.support)
    lost = every([strong, clear_loss])
    assert lost.against == pytest.approx(2 * clear_loss.against)
    assert lost.effect == clear_loss.effect
    assert every([strong]).p == strong.p


def test_every_needs_the_units_of_one_failure_or_of_all_parts() -> None:
    """Of two clear parts the weaker one's; of two failures the clearer one's, at half the level."""
    strong, weak = above([0.10, 0.11, 0.12]), above([0.01, 0.02, 0.03])
    near, far = above([-0.01, -0.02, 0.02]), above([-0.05, -0.07, -0.06])
    tie = above([0.01, -0.01, 0.0])
    assert every([strong, weak]).needed(0.05, 0.8) == units_for_mean(0.02, 0.01, 0.05)
    assert every([strong, tie]).needed(0.05, 0.8) is None
    lost = every([strong, near, tie, far]).needed(0.05, 0.8)
    assert lost == units_for_mean(0.06, 0.01, 0.05 / 4)
    assert every([far]).needed(0.05, 0.8) == units_for_mean(0.06, 0.01, 0.05)


def test_the_units_that_one_failure_needs_have_the_power_promised() -> None:
    """Six points behind one of two opponents and as good as the other, with normal noise."""
    behind, equal = above([-0.03, -0.06, -0.09]), above([0.01, -0.01, 0.0])
    units = every([behind, equal]).needed(0.05, 0.8)
    assert units is not None
    rng = np.random.default_rng(11)
    shares = []
    for n in (units - 1, units):
        samples = rng.normal((-0.06, 0.0), (0.03, 0.01), (2000, n, 2))
        tests = [every([above(part.tolist()) for part in sample.T]) for sample in samples]
        shares.append(np.mean([test.p < 0.05 and test.against < test.support for test in tests]))
    assert shares[0] < 0.8 <= shares[1] + 0.02


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04: times 4, 3, 2, 1 and never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_number_of_seeds_has_the_power_it_promises() -> None:
    seeds = units_for_mean(0.02, 0.02, 0.05)
    assert seeds == 10  # tables of the one-sample t-test, d = 1, power 0.8
    rng = np.random.default_rng(0)
    shares = []
    for n in (seeds - 1, seeds):
        samples = rng.normal(0.02, 0.02, (4000, n))
        shares.append((stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean())
    assert shares[1] == pytest.approx(0.8, abs=0.03)
    assert units_for_mean(1e-6, 1.0, 0.05) is None
    assert units_for_mean(0.02, 0.02, 0.01) > seeds


def test_interaction_of_two_by_two_is_the_t_test_of_its_contrast() -> None:
    """One degree of freedom: F is t squared, and the correction has nothing to correct."""
    cube = np.random.default_rng(3).normal(0, 1, (5, 2, 2))
    contrast = cube[:, 0, 0] - cube[:, 0, 1] - cube[:, 1, 0] + cube[:, 1, 1]
    expected = stats.ttest_1samp(contrast, 0).pvalue
    assert interaction(cube).support == pytest.approx(expected)


def test_interaction_does_not_see_main_effects_or_seeds() -> None:
    rng = np.random.default_rng(4)
    cube = rng.normal(0, 1, (4, 3, 2))
    shifted = cube + rng.normal(0, 9, (4, 1, 1)) + rng.normal(0, 9, (1, 3, 1))
    shifted = shifted + rng.normal(0, 9, (1, 1, 2))
    assert interaction(shifted).support == pytest.approx(interaction(cube).support)
    assert interaction(shifted).effect == pytest.approx(interaction(cube).effect)


def test_interaction_finds_what_is_there_and_rarely_what_is_not() -> None:
    rng = np.random.default_rng(5)
    pattern = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    found, false, covered = 0, 0, 0
    for _ in range(200):
        noise = rng.normal(0, 3, (4, 1, 1)) + rng.normal(0, 1, (4, 4, 2))
        evidence = interaction(noise + pattern)
        found += evidence.support < 0.025
        covered += evidence.low <= 1.0 <= evidence.high
        false += interaction(noise).support < 0.025
    assert found > 100
    assert false <= 10
    assert covered >= 185


def test_a_tiny_interaction_is_shown_to_be_smaller_than_a_margin() -> None:
    rng = np.random.default_rng(6)
    cube = rng.normal(0, 0.002, (5, 3, 4)) + rng.normal(0, 0.1, (5, 1, 1))
    evidence = interaction(cube, 0.005)
    assert evidence.against < 0.025
    assert evidence.high < 0.005
    assert (interaction(cube, evidence.high).against) == pytest.approx(0.025, abs=1e-6)


def known_cube(rms: float, seeds: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """6 conditions by 4 levels whose cell means have exactly this root mean square interaction."""
    cells = rng.normal(0, 1, (6, 4))
    cells = cells - cells.mean(0) - cells.mean(1, keepdims=True) + cells.mean()
    return rms * cells / np.sqrt((cells**2).mean()) + rng.normal(0, noise, (seeds, 6, 4))


@pytest.mark.slow
@pytest.mark.parametrize("rms", [0.0055, 0.008, 0.003])
def test_the_seeds_that_an_interaction_needs_have_the_power_promised(rms) -> None:
    """More than half a point rms? Simulated studies with the seeds needed say so 4 times in 5.

    An rms just above the boundary is hard to tell from it, though it is plainly not zero."""
    rng = np.random.default_rng(7)
    noise, level, boundary = 0.004, 0.05, 0.005
    pilot = known_cube(rms, 4000, noise, rng)
    seeds = interaction(pilot, boundary).needed(level, 0.8)
    assert seeds is not None
    assert (seeds > 20) == (rms == 0.0055)
    shares = []
    for n in (seeds // 2, seeds):
        tests = [interaction(known_cube(rms, n, noise, rng), boundary) for _ in range(300)]
        sides = [test.support if rms > boundary else test.against for test in tests]
        shares.append(np.mean([side < level / 2 for side in sides]))
    assert shares[0] < 0.5
    assert 0.75 < shares[1] < 0.97


def test_a_plain_interaction_needs_few_seeds_however_large_it_is() -> None:
    """Where the tail of the noncentral F is too small for numbers."""
    rng = np.random.default_rng(7)
    for rms in (0.02, 0.1, 1.0):
        evidence = interaction(known_cube(rms, 200, 0.01, rng), 0.005)
        assert evidence.needed(0.05, 0.8) in (3, 4)
        assert evidence.low < rms < evidence.high


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 6, 4), (3, 2, 2), (3, 6, 4)])
def test_an_interaction_of_two_or_three_seeds_has_numbers(shape) -> None:
    rng = np.random.default_rng(9)
    for _ in range(20):
        evidence = interaction(rng.normal(0, 0.01, shape), 0.005)
        assert 0 <= evidence.p <= 1
        assert evidence.needed(0.05, 0.8) is None or evidence.needed(0.05, 0.8) >= 3


def test_no_number_of_seeds_tells_an_interaction_from_one_of_the_same_size() -> None:
    rng = np.random.default_rng(8)
    cube = known_cube(0.0055, 4, 0.004, rng)
    assert interaction(cube, interaction(cube).effect).needed(0.05, 0.8) is None
    same = np.broadcast_to([[0.01, -0.01], [-0.01, 0.01]], (3, 2, 2))
    assert interaction(same, 0.01).needed(0.05, 0.8) is None
    assert interaction(same, 0.005).needed(0.05, 0.8) == 3


# The file


def text_of(**changes: Any) -> str:
    claim = {
        "id": "better",
        "statement": "ERK is better.",
        "source": "here",
        "kind": "difference",
        "where": {"density": 0.2, "growth": ["random", "gradient"]},
        "this": {"init": "erk"},
        "that": {"init": "uniform"},
    }
    changed = {key: value for key, value in (claim | changes).items() if value is not ...}
    return yaml.safe_dump({"claims": [changed]}, sort_keys=False)


def read(tmp_path: Path, text: str) -> list[Any]:
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    return load_claims(path)


def test_the_paper_s_claims_are_well_formed() -> None:
    claims = load_claims(REFERENCE / "claims.yaml")
    known = {claim.id for claim in claims}
    assert {"low-sparsity-erk", "uniform-saturates-after-7", "adaptive-beats-both"} <= known
    assert {claim.group for claim in claims} == {None, *range(1, 9)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"this": {"grwth": "erk"}}, "claim better: this: grwth: unknown key; allowed: method, "),
        (
            {"where": {"growth": "Topology"}},
            "claim better: where.growth: 'Topology' is not a known growth",
        ),
        ({"where": {"a.b": {1, 2}}}, "claim better: where.a.b"),
        ({"where": {"a.b": []}}, "claim better: where.a.b: [] Value should have at least 1 item"),
        ({"where": {"a..b": 1}}, "claim better: where: a..b: unknown key"),
        (
            {"only": {"networks": "n"}},
            "claim better: only: networks: unknown key; allowed: dataset",
        ),
        (
            {"kind": "spread", "over": "grwth"},
            "claim better: over: 'grwth' is not an axis; allowed: ",
        ),
        (
            {"this": {"init": "ekr"}},
            "claim better: this.init: 'ekr' is not a known init; allowed: uniform",
        ),
        ({"kind": "diff"}, "claim better: kind: diff; allowed: difference, alike"),
        ({"kind": ...}, "claim better: kind: missing; allowed"),
        ({"this": ...}, "claim better: this: missing"),
        ({"where": {"density": 0.2}}, "claim better: this: does not name growth"),
        ({"where": {"density": "0.2"}}, "claim better: where.density.0: '0.2' should be a valid"),
        ({"mor_than": 1}, "claim better: mor_than: unknown key; allowed: id, group"),
        ({"measure": "late_minus_early"}, "claim better: measure: late_minus_early needs after_"),
        ({"after_task": 3}, "claim better: measure: acc has no use for after_task"),
        (
            {"only": {"dataset": "Cifar!"}},
            "claim better: only.dataset: 'Cifar!' is not a known dataset",
        ),
        ({"id": "Not a name"}, "claim Not a name: id: 'Not a name' String should match"),
        (
            {"kind": "spread", "over": "growth", "where": {"density": 0.2, "growth": "random"}},
            "claim better: this: a spread over growth needs two values",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ClaimsError) as caught:
        read(tmp_path, text_of(**changes))
    assert str(caught.value).startswith(f"{tmp_path / 'claims.yaml'}: {message}")
    assert len(str(caught.value).splitlines()) == 1


def test_the_examples_of_the_page_are_claims_and_show_every_kind(tmp_path: Path) -> None:
    page = (REFERENCE.parent / "docs" / "claims.md").read_text()
    (examples,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    claims = read(tmp_path, "claims:\n" + examples)
    assert {claim.kind for claim in claims} == set(KINDS)


def test_the_page_lists_every_claim_under_its_group() -> None:
    page = (REFERENCE.parent / "docs" / "claims.md").read_text()
    listed = {
        int(n): ids.split(", ") for n, ids in re.findall(r"^\| (\d) .*\| (.*) \|$", page, re.M)
    }
    claims = load_claims(REFERENCE / "claims.yaml")
    groups = {n: [claim.id for claim in claims if claim.group == n] for n in range(1, 9)}
    assert listed == groups


@pytest.mark.parametrize("text", ["", "[]", "claims: 3", "claims: []", "claims: [1]", "{", "a: 1"])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ClaimsError, match=r"claims.yaml: "):
        read(tmp_path, text)


def test_two_claims_of_one_name_are_refused(tmp_path: Path) -> None:
    text = text_of()
    with pytest.raises(ClaimsError, match="id: 'better' twice"):
        read(tmp_path, text + text.removeprefix("claims:\n"))


# Verdicts

GROWTHS = ("random", "unfired", "gradient", "momentum")


def study(effect: Any, seeds: int = 5, noise: float = 0.002, **axes: Any) -> Tables:
    """A study of uniform and ERK at two densities; ``effect(init, density, growth)`` is added to
    what a seed brings, with a little noise. Two tasks, of which the second is a point worse."""
    rng = np.random.default_rng(0)
    rows, accuracy, capacity = [], [], []
    for seed in range(seeds):
        base = 0.7 + 0.05 * rng.normal()
        for init, density, growth in product(("uniform", "erk"), (0.2, 0.05), GROWTHS):
            digest = f"{seed}-{init}-{density}-{growth}"
            acc = base + effect(init, density, growth) + noise * rng.normal()
            rows.append(
                {"dataset": "mnist5k", "tasks": 2, "protocol": "corrected", "network": "convnet"}
                | {"method": "dst", "density": density, "init": init, "growth": growth}
                | {"seed": seed, "acc": acc, "forgetting": 0.0, "digest": digest}
                | axes
            )
            for after, task in ((1, 1), (2, 1), (2, 2)):
                accuracy.append((digest, after, task, acc - 0.01 * (task - 1)))
            capacity += [(digest, 1, 100, 80), (digest, 2, 100, 64)]
    return Tables(
        pd.DataFrame(rows),
        pd.DataFrame(accuracy, columns=["digest", "after_task", "task", "accuracy"]),
        pd.DataFrame(capacity, columns=["digest", "task", "size", "free"]),
    )


def judged(tmp_path: Path, tables: Tables, **changes: Any) -> pd.Series:
    table = judge_claims(read(tmp_path, text_of(**changes)), tables)
    assert list(table) == list(COLUMNS)
    (row,) = table.to_dict("records")
    return row


def erk_gains(points: float):
    return lambda init, density, growth: points / 100 * (init == "erk")


@pytest.mark.parametrize(
    ("points", "verdict"), [(2.0, "supported"), (-2.0, "contradicted"), (0.0, "inconclusive")]
)
def test_a_difference_gets_each_verdict(tmp_path: Path, points: float, verdict: str) -> None:
    row = judged(tmp_path, study(erk_gains(points)))
    assert row["verdict"] == verdict
    assert row["units"] == 5
    assert row["low"] < points / 100 < row["high"]
    assert (row["p"] < 0.05) == (verdict != "inconclusive")


def test_the_effect_is_that_of_seeds_and_cells_are_no_replicates(tmp_path: Path) -> None:
    tables = study(erk_gains(1.0))
    row = judged(tmp_path, tables)
    cells = tables.summary[tables.summary["density"].eq(0.2)]
    cells = cells[cells["growth"].isin(["random", "gradient"])]
    means = cells.pivot_table("acc", "seed", "init")
    expected = stats.ttest_rel(means["erk"], means["uniform"])
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["effect"] == pytest.approx((means["erk"] - means["uniform"]).mean())
    assert row["units"] == 5


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_never_settle_anything(tmp_path: Path, seeds: int) -> None:
    row = judged(tmp_path, study(erk_gains(30.0), seeds, noise=1e-6))
    assert row["verdict"] == "inconclusive"
    assert row["units_needed"] == 3
    assert "needs at least 3" in row["detail"]
    row = judged(tmp_path, study(erk_gains(0), seeds), kind="unchanged", this=..., that=...)
    assert row["verdict"] == "inconclusive"


def test_an_inconclusive_verdict_says_how_many_seeds_would_settle_it(tmp_path: Path) -> None:
    row = judged(tmp_path, study(erk_gains(0.15), seeds=3))
    assert row["verdict"] == "inconclusive"
    assert row["units_needed"] == units_for_mean(row["effect"], row["sd"], 0.05)
    assert f"{row['units_needed']:.0f} seeds settle it" in row["detail"]


def test_at_least_as_good_means_within_the_margin(tmp_path: Path) -> None:
    barely = study(erk_gains(-0.4), noise=0.0005)
    assert judged(tmp_path, barely, more_than=-0.01)["verdict"] == "supported"
    assert judged(tmp_path, barely)["verdict"] == "contradicted"
    assert judged(tmp_path, study(erk_gains(-3.0)), more_than=-0.01)["verdict"] == "contradicted"


def test_both_others_must_be_beaten(tmp_path: Path) -> None:
    def gains(init: str, density: float, growth: str) -> float:
        return {"gradient": 0.02, "unfired": 0.02}.get(growth, 0.0)

    both = {"where": {"density": 0.2, "init": "erk"}, "this": {"growth": "gradient"}}
    easy = judged(tmp_path, study(gains), **both, that=[{"growth": "random"}])
    assert easy["verdict"] == "supported"
    tie = judged(tmp_path, study(gains), **both, that=[{"growth": "random"}, {"growth": "unfired"}])
    assert tie["verdict"] == "inconclusive"
    assert abs(tie["effect"]) < 0.01


def opponents(random: Sequence[float]) -> Tables:
    """Gradient growth at 80, with as many seeds; random growth as given, unfired about as good."""
    unfired = (79.0, 81.0, 80.0)
    rows = [
        {"dataset": "mnist5k", "tasks": 2, "protocol": "corrected", "network": "convnet"}
        | {"method": "dst", "density": 0.2, "init": "erk", "growth": growth}
        | {"seed": seed, "acc": acc / 100, "digest": f"{seed}{growth}"}
        for growth, values in (("gradient", [80] * 3), ("random", random), ("unfired", unfired))
        for seed, acc in enumerate(values)
    ]
    none = pd.DataFrame(columns=["digest", "after_task", "task", "accuracy", "size", "free"])
    return Tables(pd.DataFrame(rows), none, none)


@pytest.mark.parametrize(
    ("random", "words"),
    [
        # 3, 6 and 9 points behind: -13.5 to 1.5.
        ((83.0, 86.0, 89.0), "the interval holds both answers"),
        # 3, 6 and 4.5 points behind: -8.2 to -0.8, and p is 0.035 alone.
        ((83.0, 86.0, 84.5), "clear alone, but not as one of 2 comparisons"),
    ],
)
def test_a_defeat_that_is_not_clear_says_how_many_seeds_make_it_so(
    tmp_path: Path, random: Sequence[float], words: str
) -> None:
    """As good as unfired growth, which no number of seeds would tell apart; but behind random."""
    sides = {"this": {"growth": "gradient"}, "that": [{"growth": "random"}, {"growth": "unfired"}]}
    row = judged(tmp_path, opponents(random), where={"density": 0.2, "init": "erk"}, **sides)
    assert row["verdict"] == "inconclusive"
    seeds = units_for_mean(row["effect"], row["sd"], 0.05 / 2)
    assert row["units_needed"] == seeds
    expected = f"{words}; if effect and spread are as seen, {seeds} seeds settle it 4 times in 5"
    assert row["detail"] == expected


def test_dynamic_masks_are_judged_against_the_baselines_of_the_study() -> None:
    """The planned claims, on a study where static is as good as dst at 80 % sparsity only."""
    tables = study(lambda init, density, growth: 0.02 * (density == 0.05), noise=0.0)
    erk = tables.summary.query("init == 'erk' and growth == 'random'")
    static = erk.assign(method="static", growth="none", acc=erk["acc"] + 0.01)
    static.loc[static["density"].eq(0.05), "acc"] -= 0.04
    dense = erk[erk["density"].eq(0.2)].assign(method="finetune", density=1.0, init="none")
    dense = dense.assign(growth="none", acc=dense["acc"] - 0.3)
    more = [rows.assign(digest=rows["digest"] + rows["method"]) for rows in (static, dense)]
    both = Tables(pd.concat([tables.summary, *more]), tables.accuracy, tables.capacity)
    table = judge_claims(load_claims(REFERENCE / "claims.yaml"), both).set_index("claim")
    found = table["effect"][["dst-beats-static-low", "dst-beats-static-high", "dst-beats-finetune"]]
    # dst is at 0, 2 points (80 %, 95 %), static at 1, -1, finetune at -30.
    assert found.tolist() == pytest.approx([-0.01, 0.03, 0.31])
    assert table["verdict"][found.index].tolist() == ["contradicted", "supported", "supported"]
    alone = judge_claims(load_claims(REFERENCE / "claims.yaml"), tables).set_index("claim")
    assert set(alone["verdict"][found.index]) == {"not tested"}
    assert "method static" in alone["detail"]["dst-beats-static-low"]


def test_claims_of_peers_are_tested_on_the_cells_that_their_preset_plans() -> None:
    """Each this is a point ahead of its that; SupSup at 20% alone is."""
    planned = runs(load_file(PARAMS, "peers-cifar100"))
    rows = pd.DataFrame([run.axes() | {"digest": run.digest} for run in planned])
    lead = 0.01 * (rows.method.eq("dst") | (rows.method.eq("supsup") & rows.density.eq(0.2)))
    lead += 0.01 * (rows.method.eq("supsup") | rows.growth.str.contains("random"))
    rows = rows.assign(acc=0.5 + lead + 0.01 * rows.seed, forgetting=0.0)
    rows["used_fraction"] = 0.5 + 0.02 * rows.method.eq("dst")
    none = pd.DataFrame(columns=["digest", "after_task", "task", "accuracy", "size", "free"])
    table = judge_claims(load_claims(REFERENCE / "claims.yaml"), Tables(rows, none, none))
    tested = table[table.verdict.ne("not tested")].set_index("claim")
    assert tested.effect.to_dict() == pytest.approx(
        {
            "peers-dst-beats-wsn": 0.01,
            "peers-dst-uses-as-little-as-wsn": -0.02,
            "peers-supsup-beats-dst": 0.01,
            "peers-isolation-pays": 0.01,
            "peers-adaptive-beats-fixed": 0.01,
            "peers-dst-beats-hat": 0.01,
        }
    )
    assert set(tested.verdict) == {"supported"}


def planned_tables(planned: Sequence[Run], accuracy_of: Callable[[Run], float]) -> Tables:
    """What runs of a plan might measure; two layers, of which every task leaves half free."""
    rows, accuracy, capacity = [], [], []
    for run in planned:
        acc, tasks = accuracy_of(run), range(1, run.learned + 1)
        rows.append(run.axes() | {"acc": acc, "forgetting": 0.0, "learning_accuracy": acc})
        rows[-1] |= {"used_fraction": 0.5, "digest": run.digest, "tasks_learned": run.learned}
        accuracy += [(run.digest, after, task, acc) for after in tasks for task in tasks]
        capacity += [(run.digest, t, size, size // 2) for t in tasks for size in (100, 200)]
    return Tables(
        pd.DataFrame(rows),
        pd.DataFrame(accuracy, columns=["digest", "after_task", "task", "accuracy"]),
        pd.DataFrame(capacity, columns=["digest", "task", "size", "free"]),
    )


def units_tested(tables: Tables) -> dict[tuple[Any, ...], int]:
    """Of every claim that is tested, the number of seeds or intervals, by claim and block."""
    table = judge_claims(load_claims(REFERENCE / "claims.yaml"), tables)
    tested = table[table["verdict"] != "not tested"]
    return tested.set_index(["claim", *BLOCK])["units"].to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(yaml.safe_load(PARAMS.read_text())["presets"]))
def test_what_a_part_can_test_the_whole_preset_tests_too(preset: str) -> None:
    """And on as many seeds or intervals: another part must not take a claim its cells."""
    params, rng = load_file(PARAMS, preset), np.random.default_rng(0)
    tables = planned_tables(runs(params), lambda run: 0.6 + 0.02 * rng.normal())
    digests = {part: {r.digest for r in planned} for part, planned in runs_by_part(params).items()}
    parts = {part: own for part, own in digests.items() if len(own) < len(tables.summary)}
    whole = units_tested(tables) if parts else {}
    for part, own in parts.items():
        some = tables.summary[tables.summary["digest"].isin(own)]
        for claim, units in units_tested(Tables(some, tables.accuracy, tables.capacity)).items():
            assert whole.get(claim, 0) >= units, (part, claim)


def test_claims_of_fixed_settings_are_tested_beside_controllers() -> None:
    """Gradient growth is ahead by 1 point, ERK by 2, and every rule of preset adaptive by 5."""

    def accuracy(run: Run) -> float:
        lead = 0.01 * (run.growth == "gradient") + 0.02 * (run.init == "erk")
        return 0.5 + lead + 0.05 * (run.controller is not None) + 0.01 * run.seed

    tables = planned_tables(runs(load_file(PARAMS, "adaptive")), accuracy)
    table = judge_claims(load_claims(REFERENCE / "claims.yaml"), tables).set_index("claim")
    found = table[table.index.str.startswith("two-growths-")]
    assert found["effect"].to_dict() == pytest.approx(
        {
            "two-growths-erk-at-80": 0.02,
            "two-growths-uniform-at-95": -0.02,
            "two-growths-uniform-saturates": 0.0,
            "two-growths-erk-saturates": 0.0,
            "two-growths-random-at-80": -0.01,
            "two-growths-gradient-at-95": 0.01,
            "two-growths-by-sparsity": 0.0,
            "two-growths-by-init": 0.0,
        }
    )
    assert set(found["units"]) == {3}
    with_rules = found["detail"].drop("two-growths-uniform-saturates")  # uniform has no rules
    assert with_rules.str.contains("topology.controller fixed only").all()


SPREAD = {
    "kind": "spread",
    "over": "growth",
    "where": {"density": 0.05, "growth": list(GROWTHS)},
    "this": {"init": "uniform"},
    "that": {"init": "erk"},
}


@pytest.mark.parametrize(("sign", "verdict"), [("erk", "supported"), ("uniform", "contradicted")])
def test_a_spread_over_growths_is_compared_seed_by_seed(
    tmp_path: Path, sign: str, verdict: str
) -> None:
    def wide(init: str, density: float, growth: str) -> float:
        return 0.03 * (init == sign) * GROWTHS.index(growth)

    row = judged(tmp_path, study(wide), **SPREAD)
    assert row["verdict"] == verdict
    # Standard deviation of 0, 3, 6, 9 points: 3.87.
    assert abs(row["effect"]) == pytest.approx(0.03 * sqrt(5 / 3), abs=0.003)


def crossed(init: str, density: float, growth: str) -> float:
    """Gradient growth gains 2 points under ERK at high sparsity and loses 2 at low sparsity."""
    return (init == "erk") * (growth == "gradient") * (0.02 if density == 0.05 else -0.02)


CONTRAST = {
    "kind": "contrast",
    "where": {"init": "erk"},
    "this": {"growth": "gradient"},
    "that": {"growth": "random"},
}


def test_a_contrast_is_a_difference_of_differences(tmp_path: Path) -> None:
    tables = study(crossed)
    high, low = {"density": 0.05}, {"density": 0.2}
    row = judged(tmp_path, tables, **CONTRAST, here=high, there=low)
    assert row["verdict"] == "supported"
    assert row["effect"] == pytest.approx(0.04, abs=0.004)
    assert judged(tmp_path, tables, **CONTRAST, here=low, there=high)["verdict"] == "contradicted"


INTERACTION = {
    "kind": "interaction",
    "of": "growth",
    "depends_on": ["init", "density"],
    "where": {"init": ["uniform", "erk"], "density": [0.2, 0.05], "growth": list(GROWTHS)},
    "this": ...,
    "that": ...,
}


def test_an_interaction_gets_each_verdict(tmp_path: Path) -> None:
    found = judged(tmp_path, study(crossed, seeds=8), **INTERACTION)
    assert found["verdict"] == "supported"
    assert "erk 0.05: gradient" in found["detail"]
    none = study(erk_gains(2.0), seeds=8)
    assert judged(tmp_path, none, **INTERACTION, more_than=0.005)["verdict"] == "contradicted"
    assert judged(tmp_path, none, **INTERACTION)["verdict"] == "inconclusive"


def test_what_later_tasks_lose_and_the_share_of_used_weights(tmp_path: Path) -> None:
    tables = study(erk_gains(0))
    named = {"where": {"density": 0.2, "growth": "random", "init": "erk"}, "this": {}, "that": []}
    row = judged(tmp_path, tables, **named, measure="late_minus_early", after_task=1)
    assert row["effect"] == pytest.approx(-0.01)
    assert row["verdict"] == "contradicted"
    row = judged(tmp_path, tables, **named, measure="late_minus_early", after_task=2)
    assert row["detail"] == "the claim needs 3 tasks, here are 2"
    row = judged(tmp_path, tables, **named, measure="used_after", after_task=2, more_than=0.5)
    assert row["effect"] == pytest.approx(0.36)
    assert row["verdict"] == "contradicted"


def test_zero_forgetting_is_equality_to_the_last_bit(tmp_path: Path) -> None:
    never = {"kind": "unchanged", "where": {"method": "dst"}, "this": ..., "that": ...}
    tables = study(erk_gains(0))
    row = judged(tmp_path, tables, **never)
    assert (row["verdict"], row["effect"]) == ("supported", 0)
    assert isnan(row["p"])
    later = tables.accuracy.index[tables.accuracy["after_task"].gt(tables.accuracy["task"])][3]
    tables.accuracy.loc[later, "accuracy"] += 1e-15
    row = judged(tmp_path, tables, **never)
    assert row["verdict"] == "contradicted"
    assert row["effect"] == pytest.approx(-1e-15, rel=0.2)
    assert "1 of 80 runs" in row["detail"]


def test_changes_that_chance_may_have_made_say_nothing_of_forgetting(tmp_path: Path) -> None:
    tables = study(erk_gains(0))
    changed = tables.accuracy.assign(accuracy=tables.accuracy["accuracy"] + 0.001)
    changed.loc[changed["after_task"].eq(changed["task"]), "accuracy"] -= 0.001
    shuffled = dict.fromkeys(tables.summary["digest"], "batch_norm is batch")
    never = {"kind": "unchanged", "where": {}, "this": ..., "that": ...}
    for accuracy in (tables.accuracy, changed):  # even if no change was seen
        row = judged(tmp_path, Tables(tables.summary, accuracy, tables.capacity, shuffled), **never)
        assert (row["verdict"], row["units"]) == ("not tested", 0)
        assert pd.isna(row["effect"])
        assert row["detail"] == (
            "accuracy is measured with chance under this protocol (batch_norm is batch)"
        )
    exact = dict.fromkeys(tables.summary["digest"], "")
    found = judged(tmp_path, Tables(tables.summary, changed, tables.capacity, exact), **never)
    assert found["verdict"] == "contradicted"
    assert found["effect"] == pytest.approx(-0.001)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_norm": "task"}, ()),
        ({"batch_norm": "shared"}, ()),
        ({"batch_norm": "batch"}, ("batch_norm is batch",)),
        ({"test_augment": True, "augment": "none"}, ()),
        ({"test_augment": True, "augment": "crop-flip"}, ("test_augment is true",)),
        ({"test_augment": False, "augment": "crop-flip"}, ()),
        (
            {"batch_norm": "batch", "test_augment": True, "augment": "crop-flip"},
            ("batch_norm is batch", "test_augment is true"),
        ),
    ],
)
def test_chance_is_in_shuffled_batch_statistics_and_in_augmented_tests(settings, words) -> None:
    base = changed(RUN, batch_norm="task", test_augment=False, augment="none")
    found = randomness_of(changed(base, **settings))
    assert [part.split(":")[0] for part in found.split("; ") if part] == list(words)


def test_forgetting_then_learning_again_is_a_change_too(tmp_path: Path) -> None:
    """Backward transfer counts as well: the claim is that nothing changes."""
    never = {"kind": "unchanged", "where": {}, "this": ..., "that": ...}
    tables = study(erk_gains(0))
    tables.accuracy.loc[1, "accuracy"] += 0.1
    assert judged(tmp_path, tables, **never)["verdict"] == "contradicted"


def test_cells_that_the_study_lacks_are_named(tmp_path: Path) -> None:
    tables = study(erk_gains(2.0))
    row = judged(tmp_path, tables, where={"density": 0.1, "growth": "random"})
    assert (row["verdict"], row["units"]) == ("not tested", 0)
    assert row["detail"] == "not in the study: density 0.1"
    some = tables.summary
    gone = some["init"].eq("erk") & some["growth"].eq("random") & some["density"].eq(0.2)
    row = judged(tmp_path, Tables(some[~gone], tables.accuracy, tables.capacity))
    assert row["detail"] == "not in the study: dst density 0.2 erk random"
    row = judged(tmp_path, tables, only={"tasks": 10})
    assert row["verdict"] == "not tested"
    assert row["detail"] == "the claim is about tasks 10 only"


def test_a_seed_that_lacks_a_cell_is_left_out_and_named(tmp_path: Path) -> None:
    tables = study(erk_gains(2.0))
    some = tables.summary
    gone = some["digest"].eq("4-erk-0.2-random")
    row = judged(tmp_path, Tables(some[~gone], tables.accuracy, tables.capacity))
    assert row["units"] == 4
    assert "left out: 4" in row["detail"]


EVERY_50, RATE = "topology.update_every", "training.learning_rate"
CONTROLLER = "topology.controller"


def varied(tables: Tables, gains: dict[str, float], axis: str = EVERY_50, **only: Any) -> Tables:
    """The study with every run at each of these values, which add so much to its accuracy.

    Only runs with the values of ``only`` gain; all are varied."""
    parts = []
    for value, gain in gains.items():
        runs = tables.summary.assign(**{axis: value})
        here = np.logical_and.reduce([runs[a] == v for a, v in only.items()] or [runs["acc"] > -1])
        runs["acc"] += gain * here
        runs["digest"] += value
        parts.append(runs)
    return Tables(pd.concat(parts), tables.accuracy, tables.capacity)


def with_static(tables: Tables, loss: float) -> Tables:
    """Beside the study method static, which reads no setting that is varied."""
    runs = tables.summary
    first = runs[runs[EVERY_50].eq(runs[EVERY_50].iloc[0]) & runs["growth"].eq("random")]
    static = first.assign(method="static", growth="none", acc=first["acc"] - loss)
    static = static.assign(digest=first["digest"] + "s", **{EVERY_50: "none"})
    return Tables(pd.concat([runs, static]), tables.accuracy, tables.capacity)


def test_a_claim_that_says_nothing_of_a_varied_setting_is_about_its_mean(tmp_path: Path) -> None:
    """Erk gains 4 points at 50 and nothing at 400: 2 points on the mean."""
    tables = varied(study(erk_gains(0.0)), {"50": 0.04, "400": 0.0}, init="erk")
    row = judged(tmp_path, tables)
    assert row["effect"] == pytest.approx(0.02, abs=0.003)
    assert (row["units"], row["detail"]) == (5, "mean over topology.update_every 50, 400")
    for where, effect in (([50], 0.04), ([400.0], 0.0), (["50", 400], 0.02)):
        named = judged(tmp_path, tables, where=WHERE | {EVERY_50: where})
        assert named["effect"] == pytest.approx(effect, abs=0.003)
        assert "mean over" not in named["detail"]
        only = judged(tmp_path, tables, only={EVERY_50: where})
        assert only["effect"] == named["effect"]


WHERE = {"density": 0.2, "growth": ["random", "gradient"]}


def test_a_seed_or_a_cell_that_lacks_a_value_is_no_part_of_the_mean(tmp_path: Path) -> None:
    tables = varied(study(erk_gains(2.0)), {"50": 0.0, "400": 0.0})
    runs = tables.summary
    gone = runs["digest"].eq("4-erk-0.2-random400")
    row = judged(tmp_path, Tables(runs[~gone], tables.accuracy, tables.capacity))
    assert row["units"] == 4
    assert "left out: 4" in row["detail"]
    row = judged(tmp_path, with_only(tables, "random", EVERY_50, "50"))
    assert (row["units"], row["verdict"]) == (5, "supported")
    assert row["detail"] == "topology.update_every 50 only, as not all cells have 400"


def with_only(tables: Tables, growth: str, axis: str, *values: str, **only: Any) -> Tables:
    """The study without ERK's runs with this growth at other values of a varied setting."""
    runs = tables.summary
    own = runs["init"].eq("erk") & runs["growth"].eq(growth) & ~runs[axis].isin(values)
    return Tables(runs[~own], tables.accuracy, tables.capacity)


def test_both_sides_are_compared_at_the_values_that_all_cells_have(tmp_path: Path) -> None:
    """Erk gains 1 point at 50, 3 at 100 and 8 at 400, where gradient growth was not run."""
    plain = study(erk_gains(0.0), noise=0.0)
    tables = varied(plain, {"50": 0.01, "100": 0.03, "400": 0.08}, init="erk")
    tables = with_only(tables, "gradient", EVERY_50, "50", "100")
    row = judged(tmp_path, tables)
    assert row["effect"] == pytest.approx(0.02)
    assert row["detail"] == (
        "mean over topology.update_every 50, 100; "
        "topology.update_every 50, 100 only, as not all cells have 400"
    )
    # The growths that have all three are compared at all three.
    row = judged(tmp_path, tables, where={"density": 0.2, "growth": "random"})
    assert row["effect"] == pytest.approx(0.04)
    one = with_only(tables, "random", EVERY_50, "400")
    row = judged(tmp_path, one)
    assert row["verdict"] == "not tested"
    assert row["detail"] == (
        "the cells that the claim names have no value of topology.update_every in common"
    )


def test_settings_that_vary_together_are_compared_at_the_same_combinations(tmp_path: Path) -> None:
    """Uniform has all four combinations, ERK only (50, 0.1) and (400, 0.2): it gains 1 and 3 points
    there. A rate of 0.2 brings both 5 points."""
    plain = study(erk_gains(0.0), noise=0.0)
    tables = varied(plain, {"50": 0.01, "400": 0.03}, init="erk")
    tables = varied(tables, {"0.1": 0.0, "0.2": 0.0}, RATE)
    runs = tables.summary.assign(acc=lambda t: t["acc"] + 0.05 * t[RATE].eq("0.2"))
    pairs = runs[EVERY_50].eq("50") == runs[RATE].eq("0.1")
    tables = Tables(runs[runs["init"].ne("erk") | pairs], tables.accuracy, tables.capacity)
    row = judged(tmp_path, tables)
    assert row["effect"] == pytest.approx(0.02)
    assert row["detail"].endswith(
        "only combinations of topology.update_every and training.learning_rate that all cells have"
    )


def test_none_is_a_value_where_a_cell_has_others(tmp_path: Path) -> None:
    """ERK gains 4 points with augmentation, which uniform was not trained with."""
    augment = "training.augment"
    tables = varied(study(erk_gains(1.0), noise=0.0), {"none": 0, "crop-flip": 0.04}, augment)
    runs = tables.summary
    some = runs[runs["init"].eq("erk") | runs[augment].eq("none")]
    row = judged(tmp_path, Tables(some, tables.accuracy, tables.capacity))
    assert row["effect"] == pytest.approx(0.01)
    assert row["detail"] == "training.augment none only, as not all cells have crop-flip"


def test_a_claim_that_names_no_controller_is_about_none(tmp_path: Path) -> None:
    """A rule that every cell has is left out too: under it, ERK is a name only."""
    plain = study(erk_gains(1.0), noise=0.0)
    tables = varied(plain, {"free_capacity": 0.04, "fixed": 0.0}, CONTROLLER, init="erk")
    row = judged(tmp_path, tables)
    assert row["effect"] == pytest.approx(0.01)
    assert row["detail"] == "topology.controller fixed only, as the claim names no other"
    sides = {"this": {CONTROLLER: "free_capacity"}, "that": {}}
    row = judged(tmp_path, tables, where=WHERE | {"init": "erk"}, **sides)
    assert row["effect"] == pytest.approx(0.04)
    sides = {"this": {CONTROLLER: "fixed"}, "that": {}}
    row = judged(tmp_path, tables, where=WHERE | {"init": "erk"}, **sides)
    assert row["detail"] == "both sides are the same cells"
    rules = varied(plain, {"free_capacity": 0.04, "saturation": 0.0}, CONTROLLER, init="erk")
    row = judged(tmp_path, rules)
    assert row["effect"] == pytest.approx(0.03)
    assert row["detail"] == "mean over topology.controller free_capacity, saturation"


def test_values_of_a_varied_setting_are_compared(tmp_path: Path) -> None:
    tables = varied(study(erk_gains(0.0)), {"50": 0.03, "100": 0.01, "400": 0.0})
    where = WHERE | {"init": "erk"}
    sides = {"this": {EVERY_50: 50}, "that": [{EVERY_50: 100}, {EVERY_50: 400}]}
    row = judged(tmp_path, tables, where=where, **sides)
    assert row["effect"] == pytest.approx(0.02, abs=0.003)  # the weaker of 2 and 3 points
    assert row["verdict"] == "supported"
    row = judged(tmp_path, tables, where=where, this={EVERY_50: 75}, that={EVERY_50: 50})
    assert row["detail"] == "not in the study: topology.update_every 75"
    half = judged(tmp_path, tables, where=where, this={EVERY_50: 50}, that={})
    assert half["effect"] == pytest.approx(0.03 - 0.04 / 3, abs=0.003)
    assert half["detail"] == "that: mean over topology.update_every 50, 100, 400"


def test_a_setting_that_the_study_does_not_vary_leaves_a_claim_untested(tmp_path: Path) -> None:
    tables = varied(study(erk_gains(2.0)), {"50": 0.0, "400": 0.0})
    for changes in ({"where": WHERE | {RATE: 0.1}}, {"only": {RATE: 0.1}}):
        row = judged(tmp_path, tables, **changes)
        assert row["verdict"] == "not tested"
        assert row["detail"] == "the study does not vary training.learning_rate"
    row = judged(tmp_path, tables, only={EVERY_50: [75, 80]})
    assert row["detail"] == "the claim is about topology.update_every 75, 80 only"


def test_a_method_that_does_not_read_a_setting_is_the_same_for_all_values(tmp_path: Path) -> None:
    """dst gains 2 points at 50; static is 1 point worse than dst at 50."""
    plain = study(erk_gains(0.0), noise=0.0)
    tables = with_static(varied(plain, {"50": 0.02, "400": 0.0}), 0.01)
    where = {"density": 0.2, "init": "erk"}
    sides = {"this": {"growth": "random"}, "that": {"method": "static", "growth": "none"}}
    mean = judged(tmp_path, tables, where=where, **sides)
    assert mean["effect"] == pytest.approx(0.0, abs=1e-9)
    assert mean["detail"].startswith("this: mean over topology.update_every 50, 400")
    at_50 = judged(tmp_path, tables, where=where | {EVERY_50: 50}, **sides)
    assert at_50["effect"] == pytest.approx(0.01)
    only = judged(tmp_path, tables, where=where, only={EVERY_50: 400}, **sides)
    assert only["effect"] == pytest.approx(-0.01)
    static = {"this": {EVERY_50: 50}, "that": {EVERY_50: 400}}
    static_where = where | {"method": "static", "growth": "none"}
    row = judged(tmp_path, tables, where=static_where, **static)
    assert row["detail"] == "method static does not read the setting that is compared"


def test_a_spread_may_be_over_a_varied_setting_or_of_means_over_it(tmp_path: Path) -> None:
    base = study(erk_gains(0.0), noise=0.0)
    tables = varied(base, {"50": 0.0, "100": 0.03, "400": 0.06}, init="erk")
    over = SPREAD | {"over": EVERY_50, "where": SPREAD["where"] | {EVERY_50: [50, 100, 400]}}
    row = judged(tmp_path, tables, **over)
    assert row["effect"] == pytest.approx(0.03)  # the standard deviation of 0, 3, 6 points
    # Opposite differences between growths at 50 and 400: none on the mean.
    up = varied(base, {"50": 0.04, "400": 0.0}, init="erk", growth="random").summary
    down = up["init"].eq("erk") & up["growth"].eq("gradient") & up[EVERY_50].eq("400")
    up.loc[down, "acc"] += 0.04
    two = {"where": SPREAD["where"] | {"growth": ["random", "gradient"]}}
    row = judged(tmp_path, Tables(up, base.accuracy, base.capacity), **SPREAD | two)
    assert row["effect"] == pytest.approx(0.0, abs=1e-9)


def test_an_interaction_may_depend_on_a_varied_setting(tmp_path: Path) -> None:
    tables = varied(study(erk_gains(0.0), seeds=8), {"50": 0.05, "400": 0.0}, growth="gradient")
    where = {"init": "erk", "density": 0.2, "growth": ["random", "gradient"], EVERY_50: [50, 400]}
    claim = INTERACTION | {"where": where, "depends_on": [EVERY_50]}
    row = judged(tmp_path, tables, **claim)
    assert row["verdict"] == "supported"
    # Half of 5 points in each of four cells, up or down by a quarter.
    assert row["effect"] == pytest.approx(0.0125, abs=0.002)
    assert "best growth by topology.update_every: 50: gradient" in row["detail"]
    static = with_static(tables, 0.0)
    claim["where"] = where | {"method": "static", "growth": ["none", "random"]}
    row = judged(tmp_path, static, **claim)
    assert row["detail"] == "method static does not read topology.update_every"


def test_names_of_the_user_s_own_are_known_to_the_study_alone(tmp_path: Path) -> None:
    tables = study(erk_gains(2.0), dataset="flowers", method="dst-long")
    tables.summary["growth"] = tables.summary["growth"].replace("gradient", "own_growth:by_age")
    named = {"where": {"density": 0.2, "method": "dst-long", "growth": "own_growth:by_age"}}
    row = judged(tmp_path, tables, **named, only={"dataset": "flowers"})
    assert row["verdict"] == "supported"
    assert judged(tmp_path, tables)["detail"] == "not in the study: method dst; growth gradient"
    other = judged(tmp_path, tables, only={"dataset": "birds"})
    assert other["detail"] == "the claim is about dataset birds only"


def test_many_claims_are_held_to_more(tmp_path: Path) -> None:
    """One of twenty at p = 0.03 is no finding; alone it is."""
    tables = study(erk_gains(0.35), seeds=4)
    alone = read(tmp_path, text_of())
    many = [claim.model_copy(update={"id": f"c{k}"}) for k, claim in enumerate(alone * 20)]
    p = judge_claims(alone, tables)["p"].item()
    table = judge_claims(many, tables)
    assert table["p"].tolist() == [p] * 20
    assert table["p_holm"].tolist() == pytest.approx([min(1, 20 * p)] * 20)
    assert 0.0025 < p < 0.05
    assert set(judge_claims(alone, tables)["verdict"]) == {"supported"}
    assert set(table["verdict"]) == {"inconclusive"}
    assert "not as one of 20 tests" in table["detail"][0]


def test_blocks_are_judged_apart(tmp_path: Path) -> None:
    good, bad = study(erk_gains(2.0)), study(erk_gains(-2.0), protocol="published")
    bad.summary["digest"] += "p"
    both = Tables(pd.concat([good.summary, bad.summary]), good.accuracy, good.capacity)
    table = judge_claims(read(tmp_path, text_of()), both).set_index("protocol")
    assert table["verdict"].to_dict() == {"corrected": "supported", "published": "contradicted"}


def test_the_columns_of_the_contract_come_first() -> None:
    table = judge_claims(load_claims(REFERENCE / "claims.yaml"), study(erk_gains(0)))
    assert list(table)[:8] == CONTRACT
    assert set(table["verdict"]) <= {"supported", "contradicted", "inconclusive", "not tested"}
