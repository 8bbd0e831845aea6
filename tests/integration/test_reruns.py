"""Stories of re-runs with the real DVC, git and Snakemake: contents are checked, not exit codes.

One project is made once and copied for each story. What ran is read from Snakemake's own records.
Every story ends with `Project.check`: all files belong to params.yaml, and nothing is to be done.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from project import RESULTS, Project, Records

pytestmark = pytest.mark.pipeline

FIGURES_ONLY = {"figure", "track", "params", "report", "results_page", "summary"}
TABLES = FIGURES_ONLY | {"plan", "collect", "overview", "claims"}


def ran(before: Records, after: Records) -> set[str]:
    """Rules that made a file anew between two states of Snakemake's memory."""
    return {after[name][0] for name in after if before.get(name) != after[name]}


def new_runs(project: Project, before: dict[str, str]) -> set[str]:
    """Growth and seed of the runs trained since, as ``growth seed0``."""
    changed = {folder for folder, began in project.trained().items() if before.get(folder) != began}
    return {" ".join(f.split("/")[-2:]).split("-")[0] for f in changed}


@pytest.fixture(scope="module")
def first(made: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A study made by plain Snakemake, put under DVC and git as v1; stories work on copies."""
    project = made.copy(tmp_path_factory.mktemp("first") / "project")
    before = project.records()
    project.dvc("repro")
    assert project.records() == before, "after a plain snakemake, dvc repro runs no job"
    project.run("git", "add", "dvc.lock")
    project.commit("v1")
    project.check()
    return project


@pytest.fixture
def project(first: Project, tmp_path: Path) -> Project:
    """A copy of the project that a story may change."""
    return first.copy(tmp_path / "project")


def test_edits_run_only_what_they_touch_and_old_commits_come_back(project: Project) -> None:
    memory, times = project.records(), project.trained()
    project.change(growths=["random", "momentum"])
    project.dvc("repro")
    assert new_runs(project, times) == {"momentum seed0"}
    assert ran(memory, project.records()) == TABLES | {"train_run"}
    project.check()
    assert "erk/momentum" in project.dvc("metrics", "diff")
    project.commit("v2")

    memory = project.records()
    project.change(figures={"dpi": 90})
    project.dvc("repro")
    assert ran(memory, project.records()) == FIGURES_ONLY
    project.check()
    project.commit("v3")

    # An edit back: the old run is still there, in the folder of its digest.
    times = project.trained()
    project.change(growths=["random", "gradient"])
    project.snakemake("train")
    assert project.trained() == times
    project.run("git", "checkout", "--quiet", "params.yaml")
    project.dvc("checkout", "--force")
    project.check()

    # The hazard: what Snakemake remembers must be what is on disk, not what it did last.
    project.run("git", "checkout", "--quiet", "v1")
    project.dvc("checkout")
    project.check()
    times = project.trained()
    project.dvc("exp", "run", "-S", "figures.dpi=90", "-S", "presets.quick.seeds=[0,1]")
    assert new_runs(project, times) == {"random seed1", "gradient seed1"}
    project.check()


def test_a_fresh_clone_pulls_and_goes_on(first: Project, tmp_path: Path) -> None:
    """In a clone, the folder of results comes without the cache and time stamps of its maker."""
    clone = cloned(first, tmp_path)
    clone.dvc("pull")
    clone.check()
    for path in clone.folder.rglob("*"):
        if path.is_file() and not {".git", ".dvc"} & set(path.relative_to(clone.folder).parts):
            path.touch()
    assert "Nothing to be done" in clone.snakemake("--dry-run")

    memory, times = clone.records(), clone.trained()
    clone.change(growths=["random", "unfired"], figures={"dpi": 75})
    clone.dvc("repro")
    assert new_runs(clone, times) == {"unfired seed0"}
    assert ran(memory, clone.records()) == TABLES | {"train_run"}
    clone.check()


def test_figures_need_results_alone_no_data_and_no_torch(first: Project, tmp_path: Path) -> None:
    clone = cloned(first, tmp_path)
    clone.cold = True
    without = tmp_path / "without" / "torch"
    without.mkdir(parents=True)
    marker = tmp_path / "imported"
    (without / "__init__.py").write_text(
        f"open({str(marker)!r}, 'w').close()\nraise ImportError('torch is not installed here')\n"
    )
    clone.environment["PYTHONPATH"] += f"{os.pathsep}{without.parent}"
    clone.environment["CUDA_VISIBLE_DEVICES"] = ""
    clone.dvc("pull", "train", "report")
    memory = clone.records()
    clone.change(figures={"dpi": 60})
    clone.dvc("repro", "--allow-missing")
    assert ran(memory, clone.records()) == FIGURES_ONLY
    assert not list((clone.folder / "data").rglob("*.safetensors"))
    assert not marker.exists()
    clone.check(versioned=False)
    # The stand-in would have been seen.
    said = clone.run("python", "-c", "import dstcl.sparse", fails=True)
    assert "torch is not installed here" in said


def test_an_experiment_in_a_folder_of_its_own_can_be_taken_over(project: Project) -> None:
    times = project.trained()
    project.dvc("exp", "run", "--temp", "--name", "seeds", "-S", "presets.quick.seeds=[0,5]")
    assert project.trained() == times, "the workspace is left alone"
    project.check()
    project.dvc("exp", "apply", "seeds")
    assert new_runs(project, times) == {"random seed5", "gradient seed5"}
    project.check()


def test_killed_in_the_middle_and_started_twice(project: Project) -> None:
    project.cold = True
    times, logs = project.trained(), project.folder / "logs" / "quick" / "train"
    project.change(growths=["random", "gradient", "unfired", "momentum", "momentum_neuron"])
    study = project.start("dvc", "repro", stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(list(logs.rglob("*.log"))) > len(times), study)
        second = project.run("dvc", "repro", fails=True)
        assert f"(PID {study.pid})" in second
        assert "is busy, it is being blocked by" in second
        wait_for(lambda: len(project.trained()) > len(times), study)
    finally:
        os.killpg(study.pid, signal.SIGKILL)
        study.wait()
    # Snakemake's record is written when it has seen the end of a run.
    recorded = {str(Path(name).parent) for name in project.records()}
    finished = {f: t for f, t in project.trained().items() if f"{RESULTS}/runs/{f}" in recorded}
    assert len(times) <= len(finished) < 5

    locked = project.run("dvc", "repro", fails=True)
    assert "--unlock" in locked, "says what to do"
    project.cold = False
    project.snakemake("--unlock")
    project.dvc("repro")
    assert len(project.trained()) == 5
    assert {folder: project.trained()[folder] for folder in finished} == finished
    project.check()


def cloned(project: Project, tmp_path: Path) -> Project:
    """A clone by git alone, with a remote that holds what DVC versions."""
    clone = Project(tmp_path / "clone")
    remote = (
        "remote",
        "add",
        "--global",
        "--default",
        "--force",
        "shared",
        str(tmp_path / "remote"),
    )
    sender = Project(project.folder)
    sender.environment = clone.environment | {"PYTHONPATH": project.environment["PYTHONPATH"]}
    sender.dvc(*remote)
    sender.dvc("push")
    sender.run("git", "clone", "--quiet", str(project.folder), str(clone.folder))
    return clone


def wait_for(condition: Callable[[], bool], study: subprocess.Popen[str]) -> None:
    """Wait while a study is at work."""
    deadline = time.monotonic() + 300
    while not condition():
        assert study.poll() is None, "ended too early"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
