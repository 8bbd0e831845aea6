"""From the files of finished runs to metrics, intervals, differences and tables."""

import json
import re
import shutil
import subprocess
import sys
from math import isnan, nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dstcl.continual.metrics import (
    Matrix,
    acc,
    accuracy_matrix,
    all_metrics,
    bwt,
    forgetting,
    fwt,
    learning_accuracy,
    running_mean,
)
from dstcl.evaluation.collect import CollectError, cell_means, collect, history_table
from dstcl.evaluation.compare import compare
from dstcl.evaluation.statistics import mean_interval
from dstcl.study.load import load_file, runs
from dstcl.study.parts import AXES
from dstcl.study.run import RESULT_FILES, Run, value_text
from helpers.finished import finished_run
from helpers.runs import changed

fuzzed = settings(max_examples=100, deadline=None, derandomize=True, database=None)

# Metrics


def matrix(rows: list[list[float]]) -> Matrix:
    """Row i, column j of the list is R[i][j + 1]."""
    return {(i, j): value for i, row in enumerate(rows) for j, value in enumerate(row, start=1)}


THREE = matrix(
    [
        [0.50, 0.40, 0.60],
        [0.90, 0.30, 0.50],
        [0.95, 0.80, 0.55],  # task 1 is best here, in the middle
        [0.70, 0.75, 0.85],
    ]
)


def test_metrics_of_three_tasks_by_hand() -> None:
    assert acc(THREE) == pytest.approx((0.70 + 0.75 + 0.85) / 3)
    assert bwt(THREE) == pytest.approx(((0.70 - 0.90) + (0.75 - 0.80)) / 2)
    assert fwt(THREE) == pytest.approx(((0.30 - 0.40) + (0.55 - 0.60)) / 2)
    assert forgetting(THREE) == pytest.approx(((0.95 - 0.70) + (0.80 - 0.75)) / 2)
    assert learning_accuracy(THREE) == pytest.approx((0.90 + 0.80 + 0.85) / 3)
    assert running_mean(THREE) == pytest.approx([0.90, 0.875, 2.30 / 3])


def test_transfer_can_be_positive_and_forgetting_negative() -> None:
    """A task that is better at the end than ever before was not forgotten."""
    better = matrix([[0.5, 0.5], [0.6, 0.7], [0.8, 0.9]])
    assert bwt(better) == pytest.approx(0.2)
    assert fwt(better) == pytest.approx(0.2)
    assert forgetting(better) == pytest.approx(-0.2)


def test_a_single_task_has_neither_transfer_nor_forgetting() -> None:
    assert all_metrics(matrix([[0.1], [0.7]])) == {
        "acc": 0.7,
        "bwt": None,
        "fwt": None,
        "forgetting": None,
        "learning_accuracy": 0.7,
    }


def test_metrics_need_only_what_a_learner_measures() -> None:
    """Seen tasks after every task, the next one before it is learned, and row 0."""
    measured = {(i, j): value for (i, j), value in THREE.items() if j <= i + 1 or i == 0}
    assert len(measured) < len(THREE)
    assert all_metrics(measured) == all_metrics(THREE)
    assert running_mean(measured) == running_mean(THREE)


def test_a_table_of_text_in_any_order_is_the_same_matrix() -> None:
    rows = [
        {"after_task": str(i), "task": str(j), "accuracy": str(value)}
        for (i, j), value in reversed(THREE.items())
    ]
    assert accuracy_matrix(rows) == THREE


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    tasks = draw(st.integers(2, 5))
    row = st.lists(st.floats(0, 1), min_size=tasks, max_size=tasks)
    return matrix(draw(st.lists(row, min_size=tasks + 1, max_size=tasks + 1)))


@fuzzed
@given(matrices())
def test_relations_that_hold_for_every_matrix(any_matrix: Matrix) -> None:
    values = {name: value for name, value in all_metrics(any_matrix).items() if value is not None}
    tasks = len(running_mean(any_matrix))
    assert running_mean(any_matrix)[-1] == acc(any_matrix)
    # What was lost since learning a task is at most what was lost since its best moment.
    assert values["forgetting"] >= -values["bwt"] - 1e-12
    change = values["bwt"] * (tasks - 1) / tasks
    assert values["acc"] == pytest.approx(values["learning_accuracy"] + change)
    assert all(-1 <= value <= 1 for value in values.values())


@fuzzed
@given(matrices())
def test_a_network_that_never_changes_a_finished_task_forgets_nothing(any_matrix: Matrix) -> None:
    frozen = {(i, j): any_matrix[min(i, j), j] for i, j in any_matrix}
    assert bwt(frozen) == 0
    assert forgetting(frozen) == 0
    assert acc(frozen) == learning_accuracy(frozen)


# Intervals


def test_an_interval_by_hand() -> None:
    """t(0.975, 2 degrees of freedom) is 4.30265, the standard error 1 / sqrt(3)."""
    estimate = mean_interval([1.0, 2.0, 3.0])
    assert (estimate.mean, estimate.sd) == (2.0, 1.0)
    assert estimate.low == pytest.approx(2 - 4.30265 / sqrt(3), abs=1e-5)
    assert estimate.high == pytest.approx(2 + 4.30265 / sqrt(3), abs=1e-5)


@fuzzed
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8), st.floats(0.5, 0.999))
def test_intervals_are_scipy_s(values: list[float], level: float) -> None:
    estimate = mean_interval(values, level)
    assert estimate.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert estimate.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    if estimate.sd < 1e-6:  # scipy gives NaN for equal values
        return
    low, high = stats.t.interval(
        level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    test = stats.ttest_1samp(values, 0.0).confidence_interval(level)
    assert (estimate.low, estimate.high) == pytest.approx((test.low, test.high))


def test_an_interval_of_95_percent_covers_the_mean_95_times_in_100() -> None:
    samples = np.random.default_rng(0).normal(3.0, 2.0, (2000, 4))
    estimates = [mean_interval(list(sample)) for sample in samples]
    covered = np.mean([estimate.low <= 3.0 <= estimate.high for estimate in estimates])
    assert 0.93 < covered < 0.97


def test_equal_values_have_an_interval_of_no_width() -> None:
    estimate = mean_interval([0.5, 0.5, 0.5])
    assert (estimate.mean, estimate.sd, estimate.low, estimate.high) == (0.5, 0.0, 0.5, 0.5)


def test_one_value_has_a_mean_and_an_unknown_spread() -> None:
    estimate = mean_interval([0.5])
    assert estimate.mean == 0.5
    assert isnan(estimate.sd)
    assert isnan(estimate.low)
    assert isnan(estimate.high)


def test_no_values_have_no_mean() -> None:
    assert isnan(mean_interval([]).mean)


# Differences


def summary_of(accuracies: dict[tuple[str, str, int], float]) -> pd.DataFrame:
    """A summary with one row for each (init, growth, seed)."""
    rows = [
        dict(zip(AXES, ("mnist5k", 5, "corrected", "convnet", "dst", 0.1, init, growth, seed)))
        | {"acc": accuracy}
        for (init, growth, seed), accuracy in accuracies.items()
    ]
    return pd.DataFrame(rows)


# Seeds differ by 0.2, growths within a seed by a few hundredths.
PAIRED = {
    ("uniform", "random", 0): 0.50,
    ("uniform", "random", 1): 0.70,
    ("uniform", "gradient", 0): 0.52,
    ("uniform", "gradient", 1): 0.74,
    ("erk", "random", 0): 0.60,
    ("erk", "random", 1): 0.80,
    ("erk", "gradient", 0): 0.64,
    ("erk", "gradient", 1): 0.88,
}


def found(table: pd.DataFrame, **wanted: Any) -> pd.Series:
    """The only row with these values."""
    chosen = table[np.logical_and.reduce([table[key] == value for key, value in wanted.items()])]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_differences_are_paired_by_seed_over_all_cells_and_in_each() -> None:
    table = compare(summary_of(PAIRED))
    growth = table[table["axis"] == "growth"]
    assert set(growth["value"]) == {"gradient"}
    assert set(growth["reference"]) == {"random"}
    assert len(growth) == 3
    # Differences 0.02 and 0.04 (uniform), 0.04 and 0.08 (ERK): 0.03 and 0.06 by seed.
    for init, mean, sd in (
        ("*", 0.045, 0.03 / sqrt(2)),
        ("uniform", 0.03, 0.02 / sqrt(2)),
        ("erk", 0.06, 0.04 / sqrt(2)),
    ):
        row = found(growth, init=init)
        assert row["seeds"] == 2
        assert row["difference"] == pytest.approx(mean)
        assert row["sd"] == pytest.approx(sd)
        assert row["low"] == pytest.approx(mean - 12.70620 * sd / sqrt(2), abs=1e-6)
        assert row["high"] == pytest.approx(mean + 12.70620 * sd / sqrt(2), abs=1e-6)


def test_every_axis_with_two_values_is_compared_with_its_first() -> None:
    table = compare(summary_of(PAIRED))
    assert set(zip(table["axis"], table["value"], table["reference"])) == {
        ("growth", "gradient", "random"),
        ("init", "erk", "uniform"),
    }
    overall = found(table[table["axis"] == "init"], growth="*")
    assert overall["difference"] == pytest.approx((0.11 + 0.12) / 2)


def test_a_seed_that_only_one_of_two_has_is_left_out() -> None:
    more = PAIRED | {("uniform", "gradient", 2): 0.0, ("erk", "gradient", 2): 0.0}
    growth = compare(summary_of(more)).query("axis == 'growth'")
    assert found(growth, init="*")["seeds"] == 2
    assert found(growth, init="*")["difference"] == pytest.approx(0.045)


def test_one_seed_has_a_difference_and_no_interval() -> None:
    one = {key: value for key, value in PAIRED.items() if key[2] == 0}
    row = found(compare(summary_of(one)).query("axis == 'growth'"), init="*")
    assert row["seeds"] == 1
    assert row["difference"] == pytest.approx(0.03)
    assert isnan(row["low"])
    assert isnan(row["high"])


def test_a_single_configuration_has_nothing_to_compare_but_the_columns() -> None:
    single = {("erk", "random", 0): 0.6, ("erk", "random", 1): 0.8}
    table = compare(summary_of(single))
    assert table.empty
    assert {"axis", "value", "reference", "seeds", "difference", "low", "high"} <= set(table)


# Collecting

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
RUN = changed(
    runs(load_file(PARAMS, "quick"))[0],
    tasks=2,
    density=0.1,
    init="erk",
    growth="random",
    seed=0,
    candidates="all",
    epochs=3,
    optimizer="adam",
    learning_rate=0.01,
    lr_milestones=(0.5, 0.75),
)
RUNS = [
    changed(RUN, growth=growth, seed=seed) for growth in ("random", "gradient") for seed in (0, 1)
]
ACCURACIES = dict(zip((run.digest for run in RUNS), (0.8, 0.9, 0.7, 0.6)))


def finish(study: Path, run: Run, **metrics: Any) -> Path:
    """The folder of a finished run whose numbers follow from `ACCURACIES`."""
    known = {
        "bwt": -0.1,
        "fwt": None,
        "forgetting": 0.1,
        "seconds": 10.0 + run.seed,
    }
    acc = ACCURACIES[run.digest]
    return finished_run(
        study,
        run,
        metrics=known | {"acc": acc} | metrics,
        seal=False,
        files={
            "accuracy": "after_task,task,accuracy\n"
            f"0,1,0.5\n0,2,0.5\n1,1,{1 / 3}\n2,1,{acc + 0.1}\n2,2,{acc - 0.1}\n",
            "capacity": "task,layer,size,active,new,shared,free\n"
            "1,conv,100,10,10,0,90\n2,conv,100,10,8,2,82\n",
        },
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of four finished runs."""
    for run in RUNS:
        finish(tmp_path, run)
    return tmp_path


def tables(study: Path) -> set[str]:
    return {path.name for path in study.iterdir() if path.is_file()}


def test_the_summary_has_a_row_a_run_in_the_order_of_the_study(study: Path) -> None:
    returned = collect(RUNS, study)
    summary = pd.read_csv(study / "summary.csv")
    assert list(summary["digest"]) == [run.digest for run in RUNS]
    assert list(summary["acc"]) == [0.8, 0.9, 0.7, 0.6]
    assert list(summary["seconds"]) == [10.0, 11.0, 10.0, 11.0]
    assert summary["fwt"].isna().all()
    for axis in AXES:
        assert list(summary[axis]) == [getattr(run, axis) for run in RUNS]
    assert list(returned["acc"]) == list(summary["acc"])


def test_the_summary_has_the_columns_of_the_contract_axes_first(study: Path) -> None:
    collect(RUNS, study)
    columns = list(pd.read_csv(study / "summary.csv", nrows=0))
    measures = ["acc", "bwt", "fwt", "forgetting", "used_fraction", "seconds"]
    assert columns[: len(AXES)] == list(AXES)
    assert {*measures, "images_per_second", "digest"} <= set(columns)


def test_cells_are_means_over_seeds_with_their_interval(study: Path) -> None:
    collect(RUNS, study)
    cells = pd.read_csv(study / "cells.csv")
    assert list(cells["growth"]) == ["random", "gradient"]
    assert list(cells["seeds"]) == [2, 2]
    assert "seed" not in cells
    # 0.8 and 0.9: t(0.975, 1) = 12.70620, standard error 0.05.
    first = cells.iloc[0]
    assert first["acc_mean"] == pytest.approx(0.85)
    assert first["acc_sd"] == pytest.approx(0.1 / sqrt(2))
    assert first["acc_low"] == pytest.approx(0.85 - 12.70620 * 0.05, abs=1e-6)
    assert first["acc_high"] == pytest.approx(0.85 + 12.70620 * 0.05, abs=1e-6)
    assert first["seconds_mean"] == 10.5
    assert first["forgetting_sd"] == 0


def test_cells_are_told_apart_by_a_varied_setting() -> None:
    rows = [
        summary_of({("erk", "random", seed): acc}).assign(**{"topology.update_every": value})
        for value, accs in (("50", (0.5, 0.6)), ("400", (0.7, 0.9)))
        for seed, acc in enumerate(accs)
    ]
    measures = ("learning_accuracy", "forgetting", "used_fraction", "seconds")
    cells = cell_means(pd.concat(rows).assign(**dict.fromkeys(measures, 1.0)))
    assert list(cells)[7:10] == ["growth", "topology.update_every", "seeds"]
    assert cells["topology.update_every"].tolist() == ["50", "400"]
    assert cells["acc_mean"].tolist() == pytest.approx([0.55, 0.8])
    assert cells["seeds"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((50, "50"), (0.01, "0.01"), (1.0, "1"), ("sgd", "sgd"), ("50", "50"), (True, "true")),
        *(([0.5, 0.75], "[0.5,0.75]"), (None, "none"), ({"a": 1}, '{"a":1}')),
    ],
)
def test_values_as_text(value: Any, text: str) -> None:
    assert value_text(value) == text


def test_comparisons_are_paired_differences(study: Path) -> None:
    collect(RUNS, study)
    comparisons = pd.read_csv(study / "comparisons.csv")
    overall = comparisons[comparisons["density"] == "*"]
    assert len(overall) == 1
    row = overall.iloc[0]
    assert (row["axis"], row["value"], row["reference"]) == ("growth", "gradient", "random")
    assert row["difference"] == pytest.approx(((0.7 - 0.8) + (0.6 - 0.9)) / 2)


def test_long_tables_have_every_row_of_every_run_with_its_digest(study: Path) -> None:
    collect(RUNS, study)
    accuracy = pd.read_csv(study / "accuracy.csv")
    assert list(accuracy) == ["digest", "after_task", "task", "accuracy"]
    assert list(accuracy["digest"]) == [run.digest for run in RUNS for _ in range(5)]
    assert accuracy["accuracy"][2] == 1 / 3
    capacity = pd.read_csv(study / "capacity.csv")
    assert list(capacity)[:3] == ["digest", "task", "layer"]
    assert list(capacity["free"]) == [90, 82] * 4


def test_one_seed_has_means_without_spread(study: Path) -> None:
    collect(RUNS[:1], study)
    (cell,) = pd.read_csv(study / "cells.csv").to_dict("records")
    assert cell["seeds"] == 1
    assert cell["acc_mean"] == 0.8
    assert all(isnan(cell[f"acc_{name}"]) for name in ("sd", "low", "high"))


def test_a_measure_that_no_run_has_is_left_blank(tmp_path: Path) -> None:
    for run in RUNS[:2]:
        finish(tmp_path, run, bwt=None, forgetting=None)
    collect(RUNS[:2], tmp_path)
    (cell,) = pd.read_csv(tmp_path / "cells.csv").to_dict("records")
    assert isnan(cell["forgetting_mean"])
    assert cell["acc_mean"] == pytest.approx(0.85)


def test_collecting_twice_gives_the_same_bytes(study: Path) -> None:
    collect(RUNS, study)
    before = {name: (study / name).read_bytes() for name in tables(study)}
    collect(RUNS, study)
    assert {name: (study / name).read_bytes() for name in tables(study)} == before


def test_runs_that_the_study_does_not_ask_for_are_not_read(study: Path) -> None:
    other = study / "runs" / changed(RUN, seed=5).folder
    other.mkdir(parents=True)
    (other / "metrics.json").write_text("not even JSON")
    collect(RUNS[1:], study)
    assert list(pd.read_csv(study / "summary.csv")["digest"]) == [run.digest for run in RUNS[1:]]


def test_study_tables_hold_overlap_history_and_provenance(study: Path) -> None:
    for run in RUNS:
        folder = study / "runs" / run.folder
        (folder / "overlap.csv").write_text("task,other,shared,jaccard\n2,1,3,0.25\n")
        (folder / "history.csv").write_text(
            "task,epoch,loss,explored\n" + "".join(f"1,{e},0.5,0.{e}\n" for e in (1, 2, 3))
        )
        made = {"device": "cpu", "versions": {"torch": "2.15"}, "data_digest": "abc"}
        (folder / "provenance.json").write_text(json.dumps(made))
    collect(RUNS, study)
    overlap = pd.read_csv(study / "overlap.csv")
    assert list(overlap) == ["digest", "task", "other", "shared", "jaccard"]
    assert list(overlap["digest"]) == [run.digest for run in RUNS]
    history = pd.read_csv(study / "history.csv")
    assert list(history) == ["digest", "task", "epoch", "explored"]
    assert list(history["explored"][:3]) == [0.1, 0.2, 0.3]
    made = pd.read_csv(study / "provenance.csv")
    assert list(made["torch"]) == [2.15] * 4
    assert made["git_commit"].isna().all()


def test_a_long_history_is_thinned_with_first_and_last_epoch(tmp_path: Path) -> None:
    run = changed(RUN, epochs=100)
    rows = "".join(f"{task},{epoch},0.1\n" for task in (1, 2) for epoch in range(1, 101))
    path = tmp_path / run.folder / "history.csv"
    path.parent.mkdir(parents=True)
    path.write_text("task,epoch,explored\n" + rows)
    lines = [line.split(",") for line in history_table([run], tmp_path).splitlines()[1:]]
    epochs = [int(epoch) for _, task, epoch, _ in lines if task == "2"]
    assert epochs == [1, *range(5, 101, 5)]


def test_older_runs_without_overlap_or_history_leave_empty_tables(study: Path) -> None:
    for run in RUNS:
        for kind in ("overlap", "history"):
            (study / "runs" / run.folder / RESULT_FILES[kind]).unlink()
    collect(RUNS, study)
    for name in ("overlap", "history"):
        assert pd.read_csv(study / f"{name}.csv").empty


def test_a_run_without_provenance_is_refused(study: Path) -> None:
    path = study / "runs" / RUNS[2].folder / "provenance.json"
    path.unlink()
    assert refusal(study) == f"{path}: no such file"


# Refusals


def test_runs_that_computed_in_different_ways_are_told(study: Path) -> None:
    said: list[str] = []
    collect(RUNS, study, say=said.append)
    assert not [line for line in said if "rounding" in line]
    other = {"engine": {"precision": "bfloat16", "layout": "unfolded"}, "threads": 1}
    finished_run(study, RUNS[0], provenance=other)
    collect(RUNS, study, say=said.append)
    told = [line for line in said if "rounding" in line]
    assert len(told) == 1
    assert "2 ways" in told[0]
    assert "1 in bfloat16 unfolded on" in told[0]


def test_runs_on_different_images_are_refused(study: Path) -> None:
    for k, run in enumerate(RUNS):
        path = study / "runs" / run.folder / "provenance.json"
        path.write_text(json.dumps({"data_digest": "other" if k == 2 else "abc"}))
    message = refusal(study)
    assert "data digest other" in message
    assert RUNS[2].folder in message


def refusal(study: Path) -> str:
    """The one line with which the study is refused; no table is written."""
    with pytest.raises(CollectError) as caught:
        collect(RUNS, study)
    assert len(str(caught.value).splitlines()) == 1
    assert tables(study) == set()
    return str(caught.value)


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("key", "recorded", "words"),
    [
        ("training.epochs", 4, "training.epochs is 4, the study asks for 3"),
        ("axes.seed", 7, "axes.seed is 7, the study asks for 1"),
        ("axes.growth", "gradient", "axes.growth is 'gradient', the study asks for 'random'"),
        ("training.learning_rate", 0.010000001, "is 0.010000001, the study asks for 0.01"),
        ("training.lr_milestones", [0.5], "is [0.5], the study asks for [0.5, 0.75]"),
        ("switches.candidates", "free", "is 'free', the study asks for 'all'"),
        ("axes.density", "0.1", "axes.density: '0.1'; should be of type float"),
        ("training.optimizer", None, "training.optimizer: None; should be of type str"),
        ("training.left_over", 1, "training.left_over: unknown key; allowed: augment, epochs"),
    ],
)
def test_a_run_made_with_other_parameters_is_refused(
    study: Path, key: str, recorded: object, words: str
) -> None:
    """Whatever the folder is called: what counts is what really ran."""
    path = study / "runs" / RUNS[1].folder / "config.json"
    values = RUNS[1].to_dict()
    section, _, name = key.partition(".")
    values[section][name] = recorded
    path.write_text(json.dumps(values))
    message = refusal(study)
    assert message.startswith(f"{path}: ")
    assert words in message


def test_what_decides_no_number_may_differ(study: Path) -> None:
    path = study / "runs" / RUNS[1].folder / "config.json"
    path.write_text(json.dumps(changed(RUNS[1], test_batch_size=7).to_dict()))
    collect(RUNS, study)


def test_a_parameter_that_was_not_recorded_is_refused(study: Path) -> None:
    path = study / "runs" / RUNS[1].folder / "config.json"
    values = RUNS[1].to_dict()
    del values["switches"]["candidates"]
    path.write_text(json.dumps(values))
    assert "switches.candidates: missing" in refusal(study)


def test_a_folder_that_was_renamed_to_another_run_is_refused(study: Path) -> None:
    shutil.rmtree(study / "runs" / RUNS[0].folder)
    (study / "runs" / RUNS[1].folder).rename(study / "runs" / RUNS[0].folder)
    finish(study, RUNS[1])
    assert "axes.seed is 1, the study asks for 0" in refusal(study)


def test_metrics_of_another_run_are_refused(study: Path) -> None:
    path = study / "runs" / RUNS[3].folder / "metrics.json"
    rewrite(path, digest=RUNS[2].digest)
    assert refusal(study).startswith(f"{path}: belongs to another run")


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_a_run_that_has_not_finished_is_named(study: Path, name: str) -> None:
    path = study / "runs" / RUNS[2].folder / name
    path.unlink()
    assert refusal(study) == f"{path}: no such file"


def test_a_missing_run_is_named(study: Path) -> None:
    shutil.rmtree(study / "runs" / RUNS[2].folder)
    assert RUNS[2].folder in refusal(study)


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize("content", ["", "{", '{"digest": '])
def test_broken_json_is_named(study: Path, name: str, content: str) -> None:
    path = study / "runs" / RUNS[2].folder / name
    path.write_text(content)
    assert refusal(study).startswith(f"{path}: not JSON")


@pytest.mark.parametrize("name", ["accuracy.csv", "capacity.csv"])
def test_a_missing_table_is_named(study: Path, name: str) -> None:
    path = study / "runs" / RUNS[2].folder / name
    path.unlink()
    with pytest.raises((ValueError, OSError), match=re.escape(str(path))):
        collect(RUNS, study)


# Imports


def test_evaluation_and_tables_need_no_torch() -> None:
    code = """
import sys
import dstcl.evaluation.collect, dstcl.evaluation.statistics
import dstcl.evaluation.compare, dstcl.study.plan, dstcl.storage
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Gaps: what should be refused, or refused in better words, and is not yet


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[]"),
        ("config.json", "null"),
        ("metrics.json", "[]"),
        ("metrics.json", "{}"),
    ],
)
def test_json_of_another_kind_is_named(study: Path, name: str, content: str) -> None:
    path = study / "runs" / RUNS[2].folder / name
    path.write_text(content)
    assert refusal(study).startswith(f"{path}: ")


def test_metrics_without_a_measure_are_refused_with_its_name(study: Path) -> None:
    path = study / "runs" / RUNS[2].folder / "metrics.json"
    path.write_text(json.dumps({"digest": RUNS[2].digest}))
    message = refusal(study)
    assert message.startswith(f"{path}: ")
    assert "acc" in message


@pytest.mark.parametrize("value", ["0.8", True, nan])
def test_a_measure_that_is_no_number_is_refused(study: Path, value: object) -> None:
    path = study / "runs" / RUNS[2].folder / "metrics.json"
    rewrite(path, acc=value)
    assert refusal(study).startswith(f"{path}: acc")


def test_a_run_without_accuracy_is_refused(study: Path) -> None:
    path = study / "runs" / RUNS[2].folder / "metrics.json"
    rewrite(path, acc=None)
    assert refusal(study).startswith(f"{path}: acc")


@pytest.mark.parametrize("name", ["accuracy.csv", "capacity.csv"])
def test_a_missing_table_leaves_no_table_of_the_study(study: Path, name: str) -> None:
    path = study / "runs" / RUNS[2].folder / name
    path.unlink()
    assert refusal(study).startswith(f"{path}: ")


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\0", b"other,columns\n1,2\n", b"after_task,task,accuracy\n1,1\n"],
)
def test_a_table_of_another_kind_is_named(study: Path, content: bytes) -> None:
    path = study / "runs" / RUNS[2].folder / "accuracy.csv"
    path.write_bytes(content)
    assert refusal(study).startswith(f"{path}: ")


def test_a_parameter_of_null_that_the_study_has_not_is_refused(study: Path) -> None:
    rewrite(study / "runs" / RUNS[1].folder / "config.json", left_over=None)
    assert "left_over" in refusal(study)


def test_a_parameter_of_another_type_is_refused(study: Path) -> None:
    rewrite(study / "runs" / RUNS[1].folder / "config.json", seed=True)
    assert "seed" in refusal(study)


def test_the_same_run_twice_is_refused(study: Path) -> None:
    with pytest.raises(CollectError, match=RUNS[0].digest):
        collect([*RUNS, RUNS[0]], study)


def test_a_study_without_runs_is_refused(study: Path) -> None:
    with pytest.raises(CollectError, match="no runs"):
        collect([], study)
