"""Paired comparisons and the Markdown summary, on tables small enough to check by hand."""

from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import ttest_rel

from dstcl.evaluation.axes import EVERY
from dstcl.evaluation.claim_measures import Tables
from dstcl.evaluation.claims import load_claims
from dstcl.evaluation.compare import compare
from dstcl.evaluation.judge import judge_claims
from dstcl.evaluation.paper.beside import CURVE_COLUMNS, TABLE_COLUMNS
from dstcl.reports.summary import write_summary
from dstcl.study.parts import AXES
from helpers.finished import study_tables

REFERENCE = Path(__file__).resolve().parents[2] / "reference"
CELL = {
    "dataset": "mnist5k",
    "tasks": 5,
    "protocol": "corrected",
    "network": "convnet",
    "method": "dst",
    "density": 0.2,
    "init": "erk",
    "growth": "random",
}


def table(*rows: dict[str, object]) -> pd.DataFrame:
    measures = {"used_fraction": 0.5, "seconds": 1.0, "forgetting": 0.0}
    return pd.DataFrame(
        [CELL | measures | {"digest": f"d{place}"} | row for place, row in enumerate(rows)]
    )


def accuracies(growth: str, values: list[float], **changes: object) -> list[dict[str, object]]:
    return [
        {"growth": growth, "seed": seed, "acc": value} | changes
        for seed, value in enumerate(values)
    ]


RANDOM, GRADIENT = [0.70, 0.80, 0.90], [0.75, 0.84, 0.96]


def test_difference_is_paired_by_seed_and_agrees_with_scipy() -> None:
    effects = compare(table(*accuracies("random", RANDOM), *accuracies("gradient", GRADIENT)))
    cell = effects[effects["density"] != EVERY].iloc[0]
    assert (cell["axis"], cell["value"], cell["reference"]) == ("growth", "gradient", "random")
    assert cell["seeds"] == 3
    assert cell["difference"] == pytest.approx(0.05)
    interval = ttest_rel(GRADIENT, RANDOM).confidence_interval(0.95)
    assert (cell["low"], cell["high"]) == pytest.approx((interval.low, interval.high))


def test_rows_in_another_order_give_the_same_pairs() -> None:
    ordered = table(*accuracies("random", RANDOM), *accuracies("gradient", GRADIENT))
    mixed = ordered.iloc[[0, 4, 5, 1, 3, 2]]
    pd.testing.assert_frame_equal(compare(ordered), compare(mixed))


def test_the_first_value_is_the_reference_and_a_missing_seed_is_left_out() -> None:
    effects = compare(table(*accuracies("random", RANDOM), *accuracies("gradient", GRADIENT[:2])))
    cell = effects[effects["density"] != EVERY].iloc[0]
    assert cell["seeds"] == 2
    assert cell["difference"] == pytest.approx(0.045)


def test_one_seed_has_a_difference_but_no_interval() -> None:
    effects = compare(table(*accuracies("random", [0.7]), *accuracies("gradient", [0.9])))
    assert effects["difference"].tolist() == pytest.approx([0.2, 0.2])
    assert effects["low"].isna().all()


def test_over_all_cells_each_seed_counts_once() -> None:
    """Differences .1 and .3 in two cells: one number per seed, .2, with no spread between seeds."""
    rows = [
        *accuracies("random", [0.5, 0.6]),
        *accuracies("gradient", [0.6, 0.7]),
        *accuracies("random", [0.5, 0.6], density=0.1),
        *accuracies("gradient", [0.8, 0.9], density=0.1),
    ]
    overall = compare(table(*rows)).query("density == @EVERY").iloc[0]
    assert overall["seeds"] == 2
    assert overall["difference"] == pytest.approx(0.2)
    assert overall["sd"] == pytest.approx(0, abs=1e-12)


def halves(seed: int, density: float, gain: float) -> list[dict[str, object]]:
    """Random and gradient growth at a density, with gradient growth better by so much."""
    cell = {"seed": seed, "density": density}
    growths = {"random": 0.5, "gradient": 0.5 + gain}
    return [cell | {"growth": growth, "acc": acc} for growth, acc in growths.items()]


def test_over_all_cells_every_seed_has_the_same_cells() -> None:
    """No gain at density .2 and .3 at .05: a seed without .05 must not count as a gain of 0."""
    rows = [*halves(0, 0.2, 0.0), *halves(1, 0.2, 0.0), *halves(2, 0.2, 0.0)]
    rows += [*halves(0, 0.05, 0.3), *halves(1, 0.05, 0.3)]
    effects = compare(table(*rows))
    overall = effects.query("density == @EVERY").iloc[0]
    assert overall["difference"] == pytest.approx(0.15)
    assert overall["seeds"] == 2
    assert overall["sd"] == pytest.approx(0, abs=1e-12)
    cells = effects.query("density != @EVERY").set_index("density")
    assert cells["seeds"].to_dict() == {0.2: 3, 0.05: 2}


def test_where_no_seed_has_all_cells_the_common_ones_are_left() -> None:
    rows = [*halves(0, 0.2, 0.1), *halves(1, 0.2, 0.1)]
    rows += [*halves(0, 0.05, 0.3), *halves(1, 0.1, 0.5)]
    overall = compare(table(*rows)).query("density == @EVERY").iloc[0]
    assert (overall["seeds"], overall["difference"]) == (2, pytest.approx(0.1))
    apart = compare(table(*halves(0, 0.05, 0.3), *halves(1, 0.1, 0.5)))
    assert apart.query("density == @EVERY").empty
    assert len(apart) == 2


DENSE = {"density": 1.0, "init": "none", "growth": "none"}


def methods_table() -> pd.DataFrame:
    """dst at two densities with two growths, static at one density, finetune without any."""
    rows = [
        *accuracies("random", [0.70, 0.80]),
        *accuracies("gradient", [0.74, 0.86]),
        *accuracies("random", [0.60, 0.70], density=0.05),
        *accuracies("gradient", [0.62, 0.72], density=0.05),
        *accuracies("none", [0.69, 0.79], method="static"),
        *({**row, **DENSE} for row in accuracies("none", [0.30, 0.50], method="finetune")),
    ]
    return table(*rows)


def test_methods_are_paired_over_growths_at_the_same_density_and_init() -> None:
    effects = compare(methods_table()).query("axis == 'method' and value == 'static'")
    assert set(effects["reference"]) == {"dst"}
    assert set(effects["growth"]) == {EVERY}
    cell = effects[effects["density"] != EVERY].iloc[0]
    assert (len(effects), cell["density"], cell["init"]) == (2, 0.2, "erk")
    # dst by seed: .72 and .83; static: .69 and .79.
    assert effects["difference"].tolist() == pytest.approx([-0.035, -0.035])
    assert effects["sd"].tolist() == pytest.approx([0.01 / 2**0.5] * 2)
    assert effects["seeds"].tolist() == [2, 2]


def test_a_dense_method_is_paired_with_every_density_of_a_sparse_one() -> None:
    effects = compare(methods_table()).query("axis == 'method' and value == 'finetune'")
    by_density = effects.set_index("density")["difference"].to_dict()
    # By seed -.42, -.33 at .2 and -.31, -.21 at .05.
    assert by_density == pytest.approx({EVERY: -0.3175, 0.2: -0.375, 0.05: -0.26})
    overall = effects.query("density == @EVERY").iloc[0]
    assert overall["sd"] == pytest.approx((0.365 - 0.27) / 2**0.5)
    assert overall["init"] == EVERY
    assert set(effects.query("density != @EVERY")["init"]) == {"erk"}


def test_a_dense_method_may_come_first_and_two_dense_ones_are_paired() -> None:
    rows = methods_table()
    second = rows[rows["method"].eq("finetune")].assign(method="ewc", acc=[0.4, 0.7])
    effects = compare(pd.concat([rows[::-1], second])).query("axis == 'method'")
    assert set(effects["reference"]) == {"finetune"}
    found = effects.query("density == @EVERY").set_index("value")["difference"].to_dict()
    assert found == pytest.approx({"static": 0.34, "dst": 0.3175, "ewc": 0.15})


def test_a_seed_that_lacks_a_growth_is_no_part_of_the_comparison_of_methods() -> None:
    rows = methods_table()
    gone = rows["growth"].eq("gradient") & rows["density"].eq(0.2) & rows["seed"].eq(1)
    effects = compare(rows[~gone]).query("axis == 'method' and value == 'static'")
    assert effects["seeds"].tolist() == [1, 1]
    assert effects["difference"].tolist() == pytest.approx([-0.03, -0.03])


def test_what_growths_and_inits_bring_is_compared_between_protocols() -> None:
    rows = [
        *accuracies("random", [0.70, 0.80]),
        *accuracies("gradient", [0.75, 0.84]),
        *accuracies("random", [0.40, 0.50], protocol="published"),
        *accuracies("gradient", [0.41, 0.53], protocol="published"),
        *accuracies("random", [0.60, 0.72], init="uniform"),
        *accuracies("random", [0.35, 0.47], init="uniform", protocol="published"),
    ]
    effects = compare(table(*rows)).set_index("axis")
    growth, init = effects.loc["protocol x growth"], effects.loc["protocol x init"]
    assert growth["value"] == "(gradient - random) under published"
    assert growth["reference"] == "under corrected"
    # By seed .01 - .05 and .03 - .04; only ERK has both growths.
    assert (growth["difference"], growth["seeds"]) == (pytest.approx(-0.025), 2)
    assert growth["sd"] == pytest.approx(0.03 / 2**0.5)
    # Uniform minus ERK: -.05 and -.03 under published, -.10 and -.08 under corrected.
    assert init["value"] == "(uniform - erk) under published"
    assert (init["difference"], init["seeds"]) == (pytest.approx(0.05), 2)
    assert set(growth[["protocol", "density", "growth"]]) == {EVERY}


STEPS = "topology.update_every"


def test_a_varied_setting_is_compared_with_its_first_value_and_pairs_are_within_it() -> None:
    rows = [
        *accuracies("random", [0.70, 0.80], **{STEPS: "50"}),
        *accuracies("gradient", [0.72, 0.82], **{STEPS: "50"}),
        *accuracies("random", [0.60, 0.71], **{STEPS: "400"}),
        *accuracies("gradient", [0.66, 0.79], **{STEPS: "400"}),
        *accuracies("none", [0.5, 0.6], method="static", **{STEPS: "none"}),
    ]
    effects = compare(table(*rows))
    steps = effects[effects["axis"] == STEPS]
    assert set(zip(steps["value"], steps["reference"])) == {("400", "50")}
    assert set(steps[STEPS]) == {EVERY}
    by_growth = steps.set_index("growth")["difference"].to_dict()
    # Random: -.10, -.09; gradient: -.06, -.03.
    assert by_growth == pytest.approx({EVERY: -0.07, "random": -0.095, "gradient": -0.045})
    growth = effects[(effects["axis"] == "growth") & (effects["method"] == "dst")]
    cells = growth[growth["density"] != EVERY].set_index(STEPS)["difference"].to_dict()
    assert cells == pytest.approx({"50": 0.02, "400": 0.07})
    overall = growth[growth["density"] == EVERY].iloc[0]
    assert (overall[STEPS], overall["difference"]) == (EVERY, pytest.approx(0.045))
    assert overall["seeds"] == 2


def test_methods_are_paired_at_one_value_of_a_setting_that_both_read() -> None:
    rate = "training.learning_rate"
    rows = [
        *accuracies("random", [0.70, 0.80], **{rate: "0.1", STEPS: "50"}),
        *accuracies("random", [0.74, 0.84], **{rate: "0.1", STEPS: "400"}),
        *accuracies("random", [0.90, 0.90], **{rate: "0.2", STEPS: "50"}),
        *accuracies("random", [0.90, 0.90], **{rate: "0.2", STEPS: "400"}),
        *accuracies("none", [0.60, 0.74], method="static", **{rate: "0.1", STEPS: "none"}),
    ]
    effects = compare(table(*rows)).query("axis == 'method'")
    # Static at 0.1 against the mean of dst at 0.1: .72 and .82.
    assert effects["difference"].tolist() == pytest.approx([-0.1, -0.1])
    assert effects[rate].tolist() == [EVERY, "0.1"]
    assert set(effects[STEPS]) == {EVERY}


def test_summary_has_a_column_for_a_varied_setting_and_says_what_means_are_over(
    tmp_path: Path,
) -> None:
    rows = [
        row for steps in ("50", "400") for row in accuracies("random", RANDOM, **{STEPS: steps})
    ]
    rows += accuracies("none", RANDOM, method="static", **{STEPS: "none"})
    text = write_study(tmp_path, table(*rows))
    assert f"| init | growth | {STEPS} | density 0.2 | weights used |" in text
    assert "| ERK | random | 400 | 80.0 ± 24.8 | 50% |" in text
    assert "| init | growth | density 0.2 | weights used |" in text
    assert f"| {STEPS} 400 - 50 | 3 | +0.0 |" in text
    assert f"is tested on the mean over {STEPS} 50, 400." in text
    assert f"All cells: also mean over {STEPS} 50, 400" in text


def test_data_sets_are_not_averaged_together() -> None:
    rows = [
        *accuracies("random", RANDOM),
        *accuracies("gradient", GRADIENT),
        *accuracies("random", RANDOM, dataset="cifar100", tasks=10),
        *accuracies("gradient", RANDOM, dataset="cifar100", tasks=10),
    ]
    overall = compare(table(*rows)).query("density == @EVERY").set_index("dataset")
    assert overall["difference"].to_dict() == pytest.approx({"mnist5k": 0.05, "cifar100": 0.0})


def test_nothing_to_compare_is_an_empty_table_with_its_columns() -> None:
    effects = compare(table(*accuracies("random", RANDOM)))
    assert effects.empty
    assert {*AXES[:-1], "axis", "difference", "low", "high"} <= set(effects.columns)


def claim_tables(summary: pd.DataFrame) -> Tables:
    """Without what only some claims need."""
    accuracy = pd.DataFrame(columns=["digest", "after_task", "task", "accuracy"])
    capacity = pd.DataFrame(columns=["digest", "task", "size", "free"])
    return Tables(summary, accuracy, capacity)


def write_study(folder: Path, summary: pd.DataFrame, paper: str = "") -> str:
    claims = judge_claims(load_claims(REFERENCE / "claims.yaml"), claim_tables(summary))
    tables = {"summary": summary, "comparisons": compare(summary), "claims": claims}
    tables |= {"paper": ",".join(CURVE_COLUMNS) + "\n"}
    tables |= {"paper_tables": ",".join(TABLE_COLUMNS) + f"\n{paper}"}
    study_tables(folder, tables)
    write_summary("quick", folder)
    return (folder / "summary.md").read_text()


def test_summary_shows_mean_interval_and_paired_difference(tmp_path: Path) -> None:
    rows = [*accuracies("random", RANDOM), *accuracies("gradient", GRADIENT)]
    text = write_study(tmp_path, table(*rows))
    # 80% with sd 10 over 3 seeds: half interval 4.303 * 10 / sqrt(3) = 24.8
    assert "| ERK | random | 80.0 ± 24.8 | 50% |" in text
    assert "| all cells | gradient - random | 3 | +5.0 | +2.5 to +7.5 |" in text


def test_a_cell_without_runs_is_a_dash_in_the_summary(tmp_path: Path) -> None:
    rows = [*accuracies("random", RANDOM), *accuracies("gradient", GRADIENT, density=0.05)]
    text = write_study(tmp_path, table(*rows))
    assert "| ERK | random | 80.0 ± 24.8 | - | 50% / - |" in text


def test_summary_shows_contrasts_between_protocols_and_comparisons_of_methods(
    tmp_path: Path,
) -> None:
    rows = [*accuracies("random", RANDOM), *accuracies("gradient", GRADIENT)]
    rows += [row | {"protocol": "published"} for row in accuracies("random", RANDOM)]
    rows += [row | {"protocol": "published"} for row in accuracies("gradient", RANDOM)]
    rows += accuracies("none", [0.6, 0.7, 0.8], method="static")
    text = write_study(tmp_path, table(*rows))
    assert "| (gradient - random) under published - under corrected | 3 | -5.0 |" in text
    assert "| static - DST | 3 | -12.5 |" in text


def test_summary_of_one_seed_claims_no_interval(tmp_path: Path) -> None:
    rows = [*accuracies("random", [0.7]), *accuracies("gradient", [0.9])]
    text = write_study(tmp_path, table(*rows))
    assert "| ERK | random | 70.0 | 50% |" in text
    assert "needs 2 seeds" in text


def test_summary_without_tables_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="summary.csv: no such file; `dstcl collect` writes it"):
        write_summary("quick", tmp_path)


def test_summary_says_what_became_of_the_claims_and_that_the_paper_has_no_such_numbers(
    tmp_path: Path,
) -> None:
    rows = []
    for growth in ("random", "unfired", "gradient", "momentum"):
        rows += accuracies(growth, RANDOM)
        rows += accuracies(growth, [0.60, 0.70, 0.79], init="uniform")
    text = write_study(tmp_path, table(*rows))
    line = "| At low sparsity (80%), ERK is more accurate than uniform. | **supported** +10.33 "
    assert line in text
    known = len(load_claims(REFERENCE / "claims.yaml"))
    untested = f"Not tested under corrected: {known - 3} of {known} claims (moderate-sparsity-erk, "
    assert untested in text
    assert "**not tested**" not in text
    assert "The paper has no table or figure for this study" in text


def test_summary_tells_forgetting_and_gains_by_method_and_protocol(tmp_path: Path) -> None:
    """A dense network that forgets 40 points says nothing of methods that keep their tasks."""
    rows = [
        *accuracies("random", RANDOM),
        *accuracies("none", [0.5], method="finetune", forgetting=0.4),
        *accuracies("none", [0.5, 0.5], method="ewc", forgetting=-0.02),
        *accuracies("random", [0.5, 0.6], protocol="published", forgetting=0.01),
        *accuracies("none", [0.5], method="joint", forgetting=None),
    ]
    rows[-2]["forgetting"] = -0.03
    text = write_study(tmp_path, table(*rows))
    assert (
        "(below zero: later tasks helped earlier ones): DST under corrected 0.0; finetune under "
        "corrected 40.0; EWC under corrected -2.0; DST under published -3.0 to 1.0."
    ) in text


def test_summary_crosses_out_what_did_not_come_out(tmp_path: Path) -> None:
    cell = "3,cifar100,10,published,resnet18,dst,0.2,uniform,random"
    numbers = "acc,10,table 3,58.04,1.96,70.0,,1,69.0,71.0,seeds,3,no,"
    paper = f"{cell},{numbers}\n"
    text = write_study(tmp_path, table(*accuracies("random", RANDOM)), paper)
    assert (
        "| Table 3: CIFAR-100, 10 tasks, ResNet-18, 1 of its 24 cells | 0 of 1 | +12.0 |  |" in text
    )
    assert "| random | paper | 58.0 ± 2.0 |\n|  | published | 70.0 (69.0 to 71.0) ✗ |" in text
