"""Stories of re-runs for the runs of every preset, both executors and a cluster, and of what a
person does between two calls. Each ends with what an empty clone of the same commit makes, byte by
byte.

Presets are cut down to one or two runs, and keep what is their own: switches of a protocol, varied
settings, parts, tasks that are only begun. Preset `ALL` has the runs of all of them, so that one
call of Snakemake does for every preset.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from project import Project
from same_studies import differences, runs_of

from dstcl.study.fields import plain
from dstcl.study.load import load, load_file, runs
from dstcl.study.presets import Axes

pytestmark = pytest.mark.pipeline

BENCHMARK = {"dataset": "mnist5k", "tasks": 2}
BEGUN = {"dataset": "mnist5k", "tasks": 5, "learn": 1}
ADAPTIVE = {"growths": ["random"], "extra": []}
# What is left of each preset; all that is not named here stays as it is in params.yaml.
CUT: dict[str, dict[str, Any]] = {
    "quick": {"growths": ["random"], "extra": []},
    "ablation": {"protocols": ["corrected-head-shared"], "growths": ["gradient"]},
    "cifar100-cpu": {"protocols": ["published"], "growths": ["unfired"], "extra": []},
    "paper-first-task": {
        "benchmarks": [BEGUN],
        "vary": {"topology.update_every": [50, 400]},
    },
    "paper": {
        "growths": ["momentum"],
        "vary": {"topology.update_every": [50]},
        "extra": [{"part": "dense-baselines", "protocols": ["corrected"], "methods": ["ewc"]}],
    },
    "paper-prefix": {"benchmarks": [BEGUN], "growths": ["unfired"], "extra": []},
    "slim": {
        "growths": ["random"],
        "extra": [{"part": "baselines", "methods": ["joint"]}],
    },
    "adaptive": ADAPTIVE | {"vary": {"topology.controller": ["saturation"]}},
    "adaptive-digits": ADAPTIVE | {"vary": {"topology.controller": ["free_capacity"]}},
    "adaptive-schedule": ADAPTIVE | {"vary": {"topology.controller": ["density_by_gain"]}},
    "adaptive-guard": ADAPTIVE | {"vary": {"topology.controller": ["plasticity_guard"]}},
    "peers": {"methods": ["wsn"], "extra": [{"part": "units", "methods": ["hat"]}]},
    "peers-cifar100": {"methods": ["unisolated"], "growths": ["gradient"], "extra": []},
}
ALL = "all"
"""The preset that has the runs of all others."""
# As on a cluster: each job in a script of its own that starts Snakemake again.
CLUSTER = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", "bash", "--jobs", "1"]
CLUSTER += ["--seconds-between-status-checks", "1"]


@pytest.fixture(scope="module")
def first(made: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with every preset, committed, and the tables of preset quick."""
    project = made.copy(tmp_path_factory.mktemp("presets") / "project")
    path = project.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    assert set(CUT) == set(params["presets"]), "every preset has a story"
    for name, cut in CUT.items():
        preset = params["presets"][name]
        common = {"networks": ["convnet"], "densities": [0.2], "inits": ["erk"], "seeds": [0]}
        preset |= {"benchmarks": [BENCHMARK], **common, **cut}
        preset["training"] |= {"epochs": 1, "augment": "none"}
    params["presets"][ALL] = all_together(params)
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    for name in ("data", "results", ".snakemake"):
        shutil.rmtree(project.folder / name)
    evaluate(project, "quick")
    project.commit("presets")
    return project


@pytest.fixture
def project(first: Project, tmp_path: Path) -> Project:
    """A copy that a story may change."""
    return first.copy(tmp_path / "project")


@pytest.fixture(scope="module")
def clone_of(first: Project, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that gives the study that an empty clone makes of a preset after a change."""
    found: dict[tuple[str, str], Path] = {}

    def get(preset: str, change: Callable[[Project], None] | None = None) -> Path:
        key = preset, change.__name__ if change else ""
        if key not in found:
            clone = Project(tmp_path_factory.mktemp("clone") / "clone")
            first.run("git", "clone", "--quiet", str(first.folder), str(clone.folder))
            if change:
                change(clone)
            evaluate(clone, preset)
            found[key] = study(clone, preset)
            if change:
                assert differences(found[key], get(preset)), "it changes numbers"
        return found[key]

    return get


def all_together(params: dict[str, Any]) -> dict[str, Any]:
    """A preset with every block of runs of the others; where their sections differ from preset
    quick's, the setting is a varied one."""
    presets = plain(load(params).model_dump())["presets"]
    quick, blocks = presets["quick"], []
    for preset in presets.values():
        axes = {name: preset[name] for name in Axes.model_fields}
        settings = {
            f"{section}.{name}": [value]
            for section in ("training", "topology", "engine")
            for name, value in preset[section].items()
            if value != quick[section][name]
        }
        for extra in ({}, *preset["extra"]):
            own = {name: value for name, value in extra.items() if value is not None}
            block = axes | own
            blocks.append(block | {"vary": settings | block["vary"]})
    return quick | {"extra": blocks}


def study(project: Project, preset: str) -> Path:
    return project.folder / "results" / preset


def evaluate(project: Project, preset: str, *options: str) -> str:
    return project.snakemake("evaluate", "--config", f"preset={preset}", *options)


def train_study(project: Project, preset: str) -> None:
    project.run("dstcl", "train-study", f"results/{preset}", "--threads", "1")


def replaced(project: Project, file: str, old: str, new: str) -> None:
    path = project.folder / file
    before = path.read_text()
    assert before.count(old) == 1, (file, old)
    path.write_text(before.replace(old, new))


def another_training(project: Project) -> None:
    """A change of the training loop that changes every number."""
    adam = '("Adam", {"fused": True'
    replaced(project, "src/dstcl/continual/optimizers.py", adam, f'{adam}, "eps": 1e-3')


def another_rate(project: Project) -> None:
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    params["presets"]["quick"]["training"]["learning_rate"] = 0.03
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def another_switch(project: Project) -> None:
    """In the meaning of the protocol, whose name stays."""
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    params["protocols"]["corrected"]["batch_norm"] = "batch"
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def other_images(project: Project) -> None:
    """As after the correction of a reader: the prepared file has the same name."""
    replaced(project, "src/dstcl/data/readers/mnist5k.py", "Images(pixels", "Images(255 - pixels")


def other_split(project: Project) -> None:
    classes = "sequence[end - size : end]"
    replaced(project, "src/dstcl/data/tasks.py", classes, f"{classes}[::-1]")


def test_one_preset_has_the_runs_of_every_preset(first: Project) -> None:
    file = first.folder / "params.yaml"
    wanted = {run.digest for name in CUT for run in runs(load_file(file, name))}
    assert {run.digest for run in runs(load_file(file, ALL))} == wanted
    assert len(wanted) > len(CUT)


@pytest.mark.parametrize("first_by", ["snakemake", "train-study"])
def test_the_runs_of_every_preset_follow_a_change_of_code(
    project: Project, clone_of: Callable[..., Path], first_by: str
) -> None:
    """Trained by one of the two executors, made again by the other."""
    if first_by == "train-study":
        project.snakemake("tasks", "plan", "--config", f"preset={ALL}")
        train_study(project, ALL)
    evaluate(project, ALL)
    assert differences(study(project, ALL), clone_of(ALL)) == []
    before = weights(project, ALL)
    another_training(project)
    if first_by == "snakemake":
        train_study(project, ALL)
    evaluate(project, ALL)
    assert differences(study(project, ALL), clone_of(ALL, another_training)) == []
    assert before.isdisjoint(weights(project, ALL)), "it changes the numbers of every run"
    assert "Nothing to be done" in evaluate(project, ALL, "--dry-run")


def weights(project: Project, preset: str) -> set[bytes]:
    """Of all runs, as their files."""
    folders = [path.parent for path in runs_of(study(project, preset))]
    return {(folder / "weights.safetensors").read_bytes() for folder in folders}


@pytest.mark.parametrize("change", [another_rate, another_switch, other_images, other_split])
def test_what_a_person_changes_between_two_calls(
    project: Project, clone_of: Callable[..., Path], change: Callable[[Project], None]
) -> None:
    """And back: runs of other settings are still there, those of other data are made again."""
    times = project.trained()
    change(project)
    evaluate(project, "quick")
    assert differences(study(project, "quick"), clone_of("quick", change)) == []
    project.run("git", "checkout", "--quiet", ".")
    evaluate(project, "quick")
    assert differences(study(project, "quick"), clone_of("quick")) == []
    kept = {folder: project.trained()[folder] for folder in times} == times
    assert kept is (change in (another_rate, another_switch))


def test_a_reader_that_changed_is_noticed_without_memory(
    project: Project, clone_of: Callable[..., Path]
) -> None:
    """By what is written beside the prepared data."""
    without_memory(project)
    other_images(project)
    evaluate(project, "quick")
    assert differences(study(project, "quick"), clone_of("quick", other_images)) == []


@pytest.mark.parametrize("begins", ["here", "on a cluster"])
def test_a_change_of_code_between_this_machine_and_a_cluster(
    project: Project, clone_of: Callable[..., Path], begins: str
) -> None:
    if begins == "on a cluster":
        shutil.rmtree(study(project, "quick"))
        evaluate(project, "quick", *CLUSTER)
    assert differences(study(project, "quick"), clone_of("quick")) == []
    another_training(project)
    evaluate(project, "quick", *(CLUSTER if begins == "here" else ()))
    assert differences(study(project, "quick"), clone_of("quick", another_training)) == []
    assert "Nothing to be done" in evaluate(project, "quick", "--dry-run")


def without_memory(project: Project) -> None:
    shutil.rmtree(project.folder / ".snakemake")


def without_data(project: Project) -> None:
    """Nor memory: as after a copy of the results alone."""
    without_memory(project)
    shutil.rmtree(project.folder / "data")


def half_a_copy(project: Project) -> None:
    """A copy that was broken off: the file that Snakemake asks for is there, others are not."""
    without_memory(project)
    folder = runs_of(study(project, "quick"))[0].parent
    (folder / "weights.safetensors").unlink()
    with (folder / "history.csv").open("r+b") as table:
        table.truncate(100)


def folder_of_another_preset(project: Project) -> None:
    """Under the name of this one."""
    evaluate(project, "paper")
    shutil.rmtree(study(project, "quick"))
    study(project, "paper").rename(study(project, "quick"))


@pytest.mark.parametrize(
    "damage", [without_memory, without_data, half_a_copy, folder_of_another_preset]
)
def test_what_is_left_of_a_study_becomes_the_study(
    project: Project, clone_of: Callable[..., Path], damage: Callable[[Project], None]
) -> None:
    damage(project)
    evaluate(project, "quick")
    assert differences(study(project, "quick"), clone_of("quick")) == []
    project.run("dstcl", "config", "check", "--thorough", "results/quick", "--preset", "quick")
