"""A study's files against what params.yaml asks for, and the numbers that DVC compares."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from dstcl.cli import main
from dstcl.evaluation.axes import CELL
from dstcl.evaluation.consistency import check_study
from dstcl.reports.overview import overview, write_overview
from dstcl.study.load import load_file, runs
from dstcl.study.parts import AXES
from dstcl.study.run import Run
from helpers.finished import small_study
from helpers.runs import changed

RUNS = runs(load_file())[:2]
OTHER = changed(RUNS[1], learning_rate=0.5)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """What `check_study` reads of a finished study."""
    small_study(tmp_path, RUNS, "quick")
    for name in ("summary", "accuracy", "capacity"):
        write_table(tmp_path / f"{name}.csv", RUNS)
    return tmp_path


def write_table(path: Path, of: list[Run]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["digest", "task"], *([run.digest, 1] for run in of)])


def test_a_study_that_belongs_together_passes(study: Path) -> None:
    check_study(RUNS, study)


def test_a_plan_of_other_runs_is_refused(study: Path) -> None:
    with pytest.raises(ValueError, match=r"plan\.json: not the runs that are asked for; delete"):
        check_study([RUNS[0], OTHER], study)
    with pytest.raises(ValueError, match=r"plan\.json"):
        check_study(RUNS[:1], study)


@pytest.mark.parametrize("name", ["summary", "accuracy", "capacity"])
@pytest.mark.parametrize("of", [[RUNS[0]], [RUNS[0], OTHER], [*RUNS, OTHER], []])
def test_a_table_of_other_runs_is_refused(study: Path, name: str, of: list[Run]) -> None:
    write_table(study / f"{name}.csv", of)
    with pytest.raises(ValueError, match=rf"{name}\.csv: has other runs than are asked for"):
        check_study(RUNS, study)


def test_a_table_without_digests_or_missing_is_named(study: Path) -> None:
    (study / "capacity.csv").write_text("task,layer\n1,conv\n")
    with pytest.raises(ValueError, match=r"capacity\.csv: has other runs"):
        check_study(RUNS, study)
    (study / "capacity.csv").unlink()
    with pytest.raises(ValueError, match=r"capacity\.csv: no such file"):
        check_study(RUNS, study)


def test_a_run_with_other_settings_is_refused(study: Path) -> None:
    path = study / "runs" / RUNS[0].folder / "config.json"
    path.write_text(json.dumps(changed(RUNS[0], epochs=99).to_dict()))
    with pytest.raises(
        ValueError, match=r"config\.json: training\.epochs is 99, the study asks for 10"
    ):
        check_study(RUNS, study)


def test_the_command_ends_with_one_line(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Preset quick means more runs than the two that are there."""
    with pytest.raises(SystemExit) as end:
        main(["config", "check", str(study)])
    said = str(end.value.code)
    assert said.startswith("dstcl: ")
    assert "plan.json: not the runs that are asked for" in said
    assert "\n" not in said


SUMMARY = pd.DataFrame(
    [
        ["mnist5k", 5, "corrected", "convnet", "dst", 0.2, "erk", "random", seed, acc, None, 0.5]
        for seed, acc in ((0, 0.8), (1, 0.9))
    ],
    columns=[*AXES, "acc", "forgetting", "used_fraction"],
)
CELLS = SUMMARY[[*CELL]].head(1).assign(acc_mean=0.85)


def test_the_overview_has_means_and_every_configuration() -> None:
    assert overview(SUMMARY, CELLS) == {
        "runs": 2,
        "mean": {"mnist5k-5tasks/corrected/convnet/dst": {"acc": 0.85, "used_fraction": 0.5}},
        "acc": {"mnist5k-5tasks/corrected/convnet/dst/density0.2/erk/random": 0.85},
    }


def test_the_overview_names_a_varied_setting_that_is_read() -> None:
    cells = CELLS.assign(**{"topology.update_every": "50", "baselines.ewc_strength": "none"})
    (name,) = overview(SUMMARY, cells)["acc"]
    assert name.endswith("/density0.2/erk/random/topology.update_every=50")


@pytest.mark.parametrize("axis", ["dataset", "tasks", "protocol", "network", "method"])
def test_the_overview_averages_over_no_two_blocks(axis: str) -> None:
    other = SUMMARY.assign(**{axis: 7 if axis == "tasks" else "other"}, acc=0.2, forgetting=0.1)
    means = overview(pd.concat([SUMMARY, other]), CELLS)["mean"]
    assert len(means) == 2
    here, there = means.values()
    assert here == {"acc": 0.85, "used_fraction": 0.5}
    assert there == {"acc": 0.2, "forgetting": 0.1, "used_fraction": 0.5}


def test_the_overview_is_written_from_the_tables(tmp_path: Path) -> None:
    SUMMARY.to_csv(tmp_path / "summary.csv", index=False)
    (tmp_path / "runs").mkdir()
    with pytest.raises(ValueError, match=r"cells\.csv: no such file; `dstcl collect` writes it"):
        write_overview(tmp_path)
    CELLS.to_csv(tmp_path / "cells.csv", index=False)
    write_overview(tmp_path)
    assert json.loads((tmp_path / "overview.json").read_text()) == overview(SUMMARY, CELLS)


@pytest.mark.parametrize(("table", "column"), [("summary", "used_fraction"), ("cells", "acc_mean")])
def test_a_missing_column_is_named(table: str, column: str, tmp_path: Path) -> None:
    for name, content in (("summary", SUMMARY), ("cells", CELLS)):
        kept = content.drop(columns=column) if name == table else content
        kept.to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(ValueError, match=f"{table}.csv: no column {column}"):
        write_overview(tmp_path)
