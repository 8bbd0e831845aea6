"""A study of which some runs failed: what is said of them, and what is made of the others."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dstcl.cli import main
from dstcl.data.stored import Prepared
from dstcl.data.tasks import write_tasks
from dstcl.evaluation.tables import read_table
from dstcl.jobs.epochs import EpochLog
from dstcl.jobs.interruption import Interrupted
from dstcl.jobs.train import train_run
from dstcl.reports import partial as partial_module
from dstcl.reports.inputs import check_inputs
from dstcl.reports.partial import remove_partial, standing, words
from dstcl.storage import write_json, write_text
from dstcl.study.load import load_file
from dstcl.study.plan import write_plan
from dstcl.study.run import Run
from helpers.runs import REPOSITORY, changed, write_prepared

REFERENCE = REPOSITORY / "reference"
TEMPLATE = REPOSITORY / "workflow" / "report" / "report.html.j2"
FEW = ("accuracy_over_tasks", "capacity")
"""Figures; drawing all takes most of the time, and the page does without."""
PAGE = ["--reference", str(REFERENCE), "--template", str(TEMPLATE)]


@pytest.fixture
def planned(short_run: Run) -> list[Run]:
    return [changed(short_run, epochs=1, seed=seed) for seed in range(4)]


@pytest.fixture
def study(
    planned: list[Run], digits: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Four planned runs: one finished, one failed, one stopped by somebody, one never begun."""
    monkeypatch.chdir(tmp_path)
    study = Path("results", "quick")
    write_plan("quick", planned, study / "plan.json")
    params = load_file(REPOSITORY / "params.yaml", "quick").model_dump()
    write_json(study / "params.json", json.loads(json.dumps(params)))
    write_prepared(Path("data"), replace(digits, dataset="mnist5k"))
    write_tasks(Path("data"), "mnist5k", 5, "seed0", Path("tasks.json"))
    finished, failed, stopped, _ = (study / "runs" / run.folder for run in planned)
    train_run(planned[0], Path("data"), Path("tasks.json"), finished, device="cpu")
    for folder, error in ((failed, ValueError("no <luck> today")), (stopped, Interrupted("TERM"))):
        folder.mkdir(parents=True)
        with pytest.raises(type(error)), EpochLog(folder):
            raise error
    return study


def test_failed_runs_are_named_with_reason_and_log(study: Path, planned: list[Run]) -> None:
    found = standing(study)
    said = words(study, found)
    assert said == [
        "results/quick: 4 runs: 1 finished, 1 failed, 2 left",
        f"  failed: {planned[1].folder}",
        "    no <luck> today",
        f"    log: logs/quick/train/{planned[1].folder}.log",
        "next: fix the cause and call the same command again; finished runs are kept",
    ]


def test_what_is_finished_is_written_up_and_says_what_is_missing(
    study: Path,
    planned: list[Run],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partial_module, "FIGURES", FEW)
    before = sorted(study.rglob("*"))
    main(["partial", str(study), *PAGE])
    assert "4 runs: 1 finished" in capsys.readouterr().err
    partial = study / "partial"
    assert list(read_table(partial, "summary").digest) == [planned[0].digest]
    assert all((partial / "figures" / f"{name}.svg").is_file() for name in FEW)
    summary = (partial / "summary.md").read_text()
    assert "**Not the whole study: 1 of 4 planned runs.**" in summary
    assert f"- {planned[1].folder} failed: no <luck> today" in summary
    named = [line for line in summary.splitlines() if line.endswith(": not run yet")]
    waiting = [f"- {run.folder}: not run yet" for run in planned[2:]]
    assert named == waiting, "by name, so that nothing is missing for ever once they are there"
    page = (partial / "report.html").read_text()
    assert "Not the whole study: 1 of 4 planned runs." in page
    assert "no &lt;luck&gt; today" in page
    main(["partial", str(study), *PAGE])
    remove_partial(study)
    assert sorted(study.rglob("*")) == before, "the study's own files are as they were"


def test_where_no_report_was_asked_for_there_are_tables_and_figures(
    study: Path,
    planned: list[Run],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after `snakemake evaluate`, which makes no params.json."""
    monkeypatch.setattr(partial_module, "FIGURES", FEW)
    (study / "params.json").unlink()
    main(["partial", str(study), *PAGE])
    assert capsys.readouterr().err.endswith("the finished runs: results/quick/partial\n")
    assert list(read_table(study / "partial", "summary").digest) == [planned[0].digest]
    assert "Not the whole study" in (study / "partial" / "summary.md").read_text()


def test_without_a_failed_run_nothing_is_written_up(
    study: Path, planned: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    """As after Ctrl-C, when nobody wants to wait for figures."""
    shutil.rmtree(study / "runs" / planned[1].folder)
    main(["partial", str(study), *PAGE])
    assert capsys.readouterr().err == (
        "results/quick: 4 runs: 1 finished, 0 failed, 3 left\n"
        "next: call the same command again; finished runs are kept\n"
    )
    assert not (study / "partial").exists()


def test_a_whole_study_does_not_speak_of_missing_runs(study: Path, planned: list[Run]) -> None:
    write_plan("quick", planned[:1], study / "plan.json")
    said = words(study, standing(study))
    assert said == ["results/quick: 1 runs: 1 finished, 0 failed, 0 left"]
    for command in ("collect", "claims", "summary"):
        main([command, str(study), *(PAGE[:2] if command == "claims" else [])])
    assert "Not the whole study" not in (study / "summary.md").read_text()


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    reference = shutil.copytree(REFERENCE, tmp_path / "reference")
    return reference, shutil.copytree(TEMPLATE.parent, tmp_path / "page") / TEMPLATE.name


def test_the_repository_s_own_inputs_pass(inputs: tuple[Path, Path]) -> None:
    check_inputs(*inputs)


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("reference/claims.yaml", "claims: ]", "claims.yaml: line 1 is not YAML"),
        ("reference/claims.yaml", "claims: 3", "claims.yaml: claims: 3"),
        ("reference/claims.yaml", None, "claims.yaml: no such file"),
        ("reference/paper/curves.csv", None, "curves.csv: no such file"),
        ("page/report.html.j2", "{% if %}", "report.html.j2: line 1: Expected an expression"),
        ("page/report.css", None, "report.css: cannot be read"),
        ("page/background.html", "a\n{{ b", "background.html: line 2: "),
    ],
)
def test_what_could_not_be_used_after_training_is_refused_before(
    file: str, content: str | None, problem: str, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    if content is None:
        (tmp_path / file).unlink()
    else:
        write_text(tmp_path / file, content)
    with pytest.raises(ValueError, match=problem) as refused:
        check_inputs(*inputs)
    assert "\n" not in str(refused.value)
