"""Stories in which Snakemake has no record of what is there: checkouts, training without it, merged
folders. Each ends with the results of an empty clone, content by content, or keeps what is good.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from project import Project
from same_studies import differences, runs_of

pytestmark = pytest.mark.pipeline

OTHER = ("--config", "preset=other")


@pytest.fixture(scope="module")
def first(made: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with a second preset of one run, committed as v1 before anything was made."""
    project = made.copy(tmp_path_factory.mktemp("code") / "project")
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    params["presets"]["quick"]["growths"] = ["random"]
    other = yaml.safe_load(yaml.safe_dump(params["presets"]["quick"]))
    other["seeds"] = [1]
    params["presets"]["other"] = other
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.snakemake()
    project.commit("v1")
    return project


@pytest.fixture
def project(first: Project, tmp_path: Path) -> Project:
    """A copy that a story may change."""
    return first.copy(tmp_path / "project")


@pytest.fixture(scope="module")
def clones(first: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Project]:
    """What empty clones make: of v1's code, and of code that was changed."""
    found = {}
    for name in ("v1", "changed"):
        clone = Project(tmp_path_factory.mktemp(name) / "clone")
        first.run("git", "clone", "--quiet", str(first.folder), str(clone.folder))
        if name == "changed":
            change_training(clone)
        clone.snakemake("evaluate")
        found[name] = clone
    found["v1"].snakemake("evaluate", *OTHER)
    assert differences(study(found["v1"]), study(found["changed"])), "the change changes numbers"
    return found


def change_training(project: Project) -> None:
    """A change of the training loop that changes every number."""
    path = project.folder / "src" / "dstcl" / "continual" / "optimizers.py"
    before = path.read_text()
    path.write_text(before.replace(": training.weight_decay,", ": training.weight_decay + 0.5,"))
    assert path.read_text() != before


def study(project: Project, preset: str = "quick") -> Path:
    return project.folder / "results" / preset


def train_without_snakemake(project: Project, *options: str) -> str:
    """As on a machine without it; its memory knows nothing of these runs."""
    return project.run("dstcl", "train-study", "results/quick", "--threads", "1", *options)


def test_an_old_commit_makes_its_own_results_of_another_preset(
    project: Project, clones: dict[str, Project]
) -> None:
    """Memory is versioned with the preset in params.yaml; the other one's records are lost."""
    project.dvc("repro")
    project.run("git", "add", "dvc.lock")
    project.commit("before")
    change_training(project)
    project.snakemake("evaluate", *OTHER)
    project.dvc("repro")
    project.commit("after")
    assert differences(study(project), study(clones["changed"])) == []
    assert differences(study(project, "other"), study(clones["v1"], "other"))

    project.run("git", "checkout", "--quiet", "before")
    project.dvc("checkout", "--force")
    assert differences(study(project), study(clones["v1"])) == []
    said = project.run("dstcl", "config", "check", "results/other", "--preset", "other", fails=True)
    assert "made by other code" in said
    project.snakemake("evaluate", *OTHER)
    assert differences(study(project, "other"), study(clones["v1"], "other")) == []
    project.run("dstcl", "config", "check", "results/other", "--preset", "other")
    assert "Nothing to be done" in project.snakemake("--dry-run", "evaluate", *OTHER)


def test_runs_trained_without_snakemake_follow_a_change_of_code(
    project: Project, clones: dict[str, Project]
) -> None:
    shutil.rmtree(project.folder / "results")
    shutil.rmtree(project.folder / ".snakemake")
    project.snakemake("--", "tasks", "plan")
    assert "1 runs, 0 of them finished" in train_without_snakemake(project)
    times = project.trained()
    project.snakemake("evaluate")
    assert project.trained() == times, "what was trained without Snakemake is as good"
    assert differences(study(project), study(clones["v1"])) == []

    change_training(project)
    for command in (["collect", "results/quick"], ["config", "check", "results/quick"]):
        assert "made by other code" in project.run("dstcl", *command, fails=True)
    again = project.copy(project.folder.parent / "again")
    project.snakemake("evaluate")
    assert differences(study(project), study(clones["changed"])) == []
    assert "1 runs, 0 of them finished" in train_without_snakemake(again)
    again.snakemake("evaluate")
    assert differences(study(again), study(clones["changed"])) == []
    assert "1 runs, 1 of them finished" in train_without_snakemake(again)


def test_merged_folders_follow_a_change_of_code(
    project: Project, clones: dict[str, Project]
) -> None:
    merged = study(project, "merged")
    project.run("dstcl", "merge", "results/quick", "--out", "results/merged")
    shutil.rmtree(study(project))
    shutil.rmtree(project.folder / ".snakemake")
    merged.rename(study(project))
    times = project.trained()
    project.snakemake("evaluate")
    assert project.trained() == times
    assert differences(study(project), study(clones["v1"])) == []

    change_training(project)
    said = project.run("dstcl", "merge", "results/quick", "--out", "results/merged", fails=True)
    assert "made by other code" in said
    project.snakemake("evaluate")
    assert differences(study(project), study(clones["changed"])) == []


def test_results_that_somebody_vouches_for_are_kept(
    project: Project, clones: dict[str, Project]
) -> None:
    path = project.folder / "src" / "dstcl" / "continual" / "optimizers.py"
    path.write_text(f"{path.read_text()}\nNOT_USED = 1\n")
    times = project.trained()
    said = project.snakemake("--dry-run")
    assert "made by other code" in said
    assert "dstcl vouch results/quick" in said
    project.run("dstcl", "vouch", "results/quick", "--reason", "a constant that nothing uses")
    assert "Nothing to be done" in project.snakemake("--dry-run")
    project.run("dstcl", "config", "check", "results/quick")
    project.dvc("repro")
    assert project.trained() == times
    assert differences(study(project), study(clones["v1"])) == []
    # Only for this code: the next change counts.
    change_training(project)
    project.snakemake("evaluate")
    assert differences(study(project), study(clones["changed"])) == []


@pytest.mark.parametrize("damage", ["folder deleted", "table of a run edited"])
def test_the_advice_of_messages_is_followed(
    project: Project, clones: dict[str, Project], damage: str
) -> None:
    folder = runs_of(study(project))[0].parent
    if damage == "table of a run edited":
        table = folder / "accuracy.csv"
        table.write_text(table.read_text().rstrip("\n").rpartition("\n")[0] + "\n")
        said = project.run("dstcl", "config", "check", "results/quick", fails=True)
        assert "changed since the run wrote it; delete the folder and run again" in said
    shutil.rmtree(folder)
    project.snakemake()
    project.run("dstcl", "config", "check", "--thorough", "results/quick")
    assert differences(study(project), study(clones["v1"])) == []
