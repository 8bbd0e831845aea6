"""Tiny studies through the real pipeline: planned, refused, broken and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import warm
from dry_runs import jobs
from workspace import BIN, REPOSITORY, Workspace

from dstcl.study.load import load_file, runs

pytestmark = pytest.mark.pipeline


def wait_for(condition, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def partial_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.tmp"))


def test_paper_preset_plans_fast_and_light(workspace: Workspace) -> None:
    """Parsing the full grid loads neither torch nor mlflow (nor matplotlib)."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *workspace.command("-n", "--config", "preset=paper")],
        cwd=workspace.folder,
        env=workspace.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "dstcl.study.load" in loaded
    assert not loaded & {"torch", "mlflow", "matplotlib"}
    planned = len(runs(load_file(REPOSITORY / "params.yaml", "paper")))
    assert f"train run {planned}" in " ".join(done.stderr.split())


def test_varied_settings_may_have_any_order(workspace: Workspace) -> None:
    """The plan names the folders that trainings write, in which the settings have that order."""
    varied = {"training.learning_rate": [0.01, 0.02], "topology.update_every": [4]}
    workspace.change({"vary": varied})
    done = workspace.run("plan")
    assert done.returncode == 0, done.stdout
    plan = json.loads((workspace.study / "plan.json").read_text())
    wanted = [run.folder for run in runs(load_file(workspace.folder / "params.yaml"))]
    assert [entry["folder"] for entry in plan["runs"]] == wanted
    assert "Nothing to be done" in workspace.run("plan", "--dry-run").stdout


def test_runs_trained_without_snakemake_are_not_trained_again(workspace: Workspace) -> None:
    """docs/engine.md: plan and data from here, training anywhere, tables from here."""
    done = workspace.run("--", "tasks", "results/quick/plan.json")
    assert done.returncode == 0, done.stdout
    command = [str(warm.commands() / "dstcl"), "train-study", "results/quick", "--data", "data"]
    subprocess.run(command, cwd=workspace.folder, check=True)
    before = (workspace.runs()[0] / "metrics.json").stat().st_mtime_ns
    done = workspace.run("--", "evaluate")
    assert done.returncode == 0, done.stdout
    assert "train_run" not in done.stdout.replace(" ", "_")
    assert (workspace.study / "summary.csv").exists()
    assert (workspace.runs()[0] / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"growth": ["random"]}, ["presets.quick.growth", "unknown key", "growths"]),
        ({"growths": ["gradeint"]}, ["growths[0]", "'gradeint'", "gradient"]),
        ({"densities": [1.2]}, ["densities[0]", "1.2", "less than or equal to 1"]),
        (
            {"benchmarks": [{"dataset": "mnist5k", "tasks": 7}]},
            ["7 tasks", "10 classes", "1, 2, 5"],
        ),
        ({"seeds": ["zero"]}, ["seeds[0]", "'zero'", "integer"]),
    ],
)
def test_bad_input_ends_before_any_job_with_one_line(
    workspace: Workspace, change: dict[str, object], words: list[str]
) -> None:
    workspace.change(change)
    done = workspace.run()
    assert done.returncode != 0
    said = [line for line in done.stdout.splitlines() if "params.yaml:" in line]
    assert len(said) == 1
    assert all(word in said[0] for word in words), said[0]
    assert "Traceback" not in done.stdout
    assert not (workspace.folder / "results").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("preset: quick\n", "key 'preset' twice"),
        (f"more: {'[' * 5_000}{']' * 5_000}\n", "nested too deeply"),
        ("more: &a [*a]\n", "an alias stands within what it stands for"),
        ("__use_yte__: true\n?open('made', 'w').close(): 1\n", "unknown key"),
        (f"more: {'9' * 5_000}\n", "Exceeds the limit"),
    ],
)
def test_snakemake_reads_what_the_other_commands_read(
    workspace: Workspace, more: str, words: str
) -> None:
    """Its own reader takes the last of two equal keys, and runs code of a template language."""
    with (workspace.folder / "params.yaml").open("a") as file:
        file.write(more)
    done = workspace.run("--dry-run")
    assert done.returncode != 0
    (said,) = [line for line in done.stdout.splitlines() if "params.yaml:" in line]
    assert words in said
    assert "Traceback" not in done.stdout
    assert not (workspace.folder / "made").exists()


def test_the_command_line_is_laid_over_params(workspace: Workspace) -> None:
    """Files over params.yaml, single values over both; mapping by mapping."""

    def seeds(*arguments: str) -> int:
        done = workspace.run("--dry-run", "train", *arguments)
        assert done.returncode == 0, done.stdout
        return jobs(done.stdout)["train_run"]

    (workspace.folder / "more.yaml").write_text("presets: {quick: {seeds: [0, 1, 2]}}\n")
    (workspace.folder / "few.json").write_text('{"presets": {"quick": {"seeds": [4, 5]}}}')
    assert seeds() == 1
    assert seeds("--configfile", "more.yaml") == 3
    assert seeds("--configfile", "more.yaml", "few.json") == 2
    (workspace.folder / "paper.yaml").write_text("preset: paper\n")
    files = ("--configfile", "more.yaml", "paper.yaml")
    assert seeds(*files, "--config", "preset=quick") == 3
    (workspace.folder / "twice.yaml").write_text("preset: quick\npreset: paper\n")
    done = workspace.run("--dry-run", "--configfile", "twice.yaml")
    assert done.returncode != 0
    assert "twice.yaml: line 2: key 'preset' twice" in done.stdout
    (workspace.folder / "params.yaml").rename(workspace.folder / "whole.yaml")
    assert seeds("--configfile", "whole.yaml") == 1
    assert "params.yaml: no such file" in workspace.run("--dry-run").stdout


def test_an_unknown_preset_names_the_known_ones(workspace: Workspace) -> None:
    done = workspace.run("--config", "preset=quik")
    assert done.returncode != 0
    assert "params.yaml: preset: 'quik'; allowed: quick, ablation, " in done.stdout


def test_a_killed_training_leaves_nothing_and_the_next_call_goes_on(workspace: Workspace) -> None:
    """The first run is finished and kept; the second is killed at work and made again."""
    assert workspace.run("train").returncode == 0
    kept = workspace.runs()[0] / "metrics.json"
    before = kept.read_bytes(), kept.stat().st_mtime_ns
    workspace.change({"seeds": [0, 1]}, training={"epochs": 2})
    study = subprocess.Popen(
        workspace.command("train"),
        cwd=workspace.folder,
        env=workspace.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: children_named("dstcl train", workspace.folder))
    for process in children_named("dstcl train", workspace.folder):
        os.kill(process, signal.SIGKILL)
    assert study.wait(timeout=300) != 0
    assert len(workspace.runs()) == 1
    assert not partial_files(workspace.study)
    again = workspace.run("train")
    assert again.returncode == 0, again.stdout
    assert len(workspace.runs()) == 2
    assert (kept.read_bytes(), kept.stat().st_mtime_ns) == before


def test_ctrl_c_leaves_nothing_half_written_and_no_lock(workspace: Workspace) -> None:
    workspace.change(training={"epochs": 400})
    study = subprocess.Popen(
        workspace.command("train"),
        cwd=workspace.folder,
        env=workspace.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: "task 1/5" in training_log(workspace))
    os.killpg(study.pid, signal.SIGINT)
    said, _ = study.communicate(timeout=300)
    assert study.returncode != 0, said
    assert workspace.runs() == []
    assert not partial_files(workspace.folder)
    assert not children_named("dstcl train", workspace.folder)
    workspace.change(training={"epochs": 1})
    again = workspace.run("train")
    assert again.returncode == 0, again.stdout
    assert len(workspace.runs()) == 1


def test_a_foreign_result_is_refused(workspace: Workspace) -> None:
    """A run folder whose recorded settings are not those of params.yaml stops the study."""
    assert workspace.run("train").returncode == 0
    path = workspace.runs()[0] / "config.json"
    config = json.loads(path.read_text())
    config["training"]["learning_rate"] = 0.5
    path.write_text(json.dumps(config))
    done = workspace.run("evaluate", "--rerun-triggers", "mtime")
    assert done.returncode != 0
    assert "learning_rate is 0.5, the study asks for 0.015" in " ".join(done.stdout.split())


def test_missing_data_is_named_before_training(workspace: Workspace) -> None:
    workspace.change({"benchmarks": [{"dataset": "cifar100", "tasks": 10}]})
    done = workspace.run("train")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "cifar100: one of data/raw/cifar100/ or data/raw/cifar100*.zip is needed" in said
    assert not list(workspace.folder.rglob("*.safetensors"))


def test_real_cifar100_images_run_through_the_pipeline(workspace: Workspace, monkeypatch) -> None:
    data = os.environ.get("DSTCL_TEST_DATA")
    if not data:
        pytest.skip("DSTCL_TEST_DATA does not name a folder with cifar100-subset.zip")
    monkeypatch.setenv("DSTCL_DATA", data)
    workspace.change(
        {
            "benchmarks": [{"dataset": "cifar100", "tasks": 10, "learn": 2}],
            "networks": ["resnet18-slim"],
        },
        training={"epochs": 1, "augment": "crop-flip"},
    )
    done = workspace.run("evaluate")
    assert done.returncode == 0, done.stdout
    assert pd.read_csv(workspace.study / "summary.csv")["tasks"].tolist() == [10]


def test_stages_are_targets_with_a_description() -> None:
    done = subprocess.run(
        [str(BIN / "snakemake"), "--list-target-rules"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = {line.split(" ")[0]: line for line in done.stdout.splitlines()}
    for stage in ("all", "data", "tasks", "train", "evaluate", "figures", "track", "report"):
        assert stage in listed
        assert "(" in listed[stage], f"{stage} has no description"


def children_named(words: str, folder: Path) -> list[int]:
    """Processes whose command line has these words and that work in this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            inside = (entry / "cwd").resolve() == folder.resolve()
        except OSError:
            continue
        if words in command and inside and "snakemake" not in command:
            found.append(int(entry.name))
    return found


def training_log(workspace: Workspace) -> str:
    return "".join(path.read_text() for path in workspace.folder.rglob("logs/**/*.log"))
