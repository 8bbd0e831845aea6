"""`dstcl train-study`: many runs in few processes end as they would one by one."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from result_folders import same_results

from dstcl.cli import main
from dstcl.continual.record import train_run
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.interruption import EXIT_CODE
from dstcl.plan import write_plan
from dstcl.runs import Run
from dstcl.storage import write_json, write_tensors

TASKS = split_classes(10, 5, "natural")[:2]
COMMAND = [sys.executable, "-c", "from dstcl.cli import main; main()", "train-study", "study"]


@pytest.fixture
def planned(
    tmp_path: Path, short_run: Run, digits: Prepared, monkeypatch: pytest.MonkeyPatch
) -> list[Run]:
    """Four runs, in a folder with their data."""
    monkeypatch.chdir(tmp_path)
    runs = [replace(short_run, tasks=2, seed=seed, growth="gradient") for seed in range(4)]
    fields = asdict(digits)
    tensors = {key: fields.pop(key) for key in ("images", "labels", "is_test")}
    for run in runs:
        data, tasks = Path("data", run.data_file), Path("data", run.tasks_file)
        for path in (data, tasks):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(data, tensors, fields)
        write_json(tasks, {"data_digest": digits.digest, "digest": "d", "tasks": TASKS})
    write_plan("study", runs, Path("study", "plan.json"))
    return runs


def folder(run: Run) -> Path:
    return Path("study", "runs", run.folder)


def alone(run: Run) -> Path:
    """The folder of the same run, trained by itself."""
    out = Path("alone", run.folder)
    train_run(run, Path("data", run.data_file), Path("data", run.tasks_file), out, device="cpu")
    return out


def train(*options: str) -> None:
    main(["train-study", "study", "--device", "cpu", *options])


@pytest.mark.parametrize("at_once", ["1", "2"])
def test_runs_end_as_they_would_alone(
    at_once: str, planned: list[Run], capfd: pytest.CaptureFixture[str]
) -> None:
    train("--at-once", at_once, "--threads", "1")
    said = capfd.readouterr().err
    assert said.startswith("4 runs, 0 of them finished\n1/4  ")
    for run in planned:
        assert f"  {run.folder}  accuracy 0." in said
    assert same_results(folder(planned[3]), alone(planned[3]))
    log = Path("logs", "study", "train", f"{planned[0].folder}.log").read_text()
    assert log.startswith(f"run {planned[0].folder} started ")
    assert "task 2/2  epoch 2/2  loss" in log


def test_finished_runs_are_left_alone(
    planned: list[Run], capfd: pytest.CaptureFixture[str]
) -> None:
    train("--only", "*/seed1-*")
    assert [folder(run).exists() for run in planned] == [False, True, False, False]
    before = (folder(planned[1]) / "metrics.json").stat().st_mtime_ns
    capfd.readouterr()
    train("--only", "*/seed[01]-*")
    assert capfd.readouterr().err.startswith("2 runs, 1 of them finished\n1/1  ")
    assert (folder(planned[1]) / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("at_once", ["1", "2"])
def test_a_failed_run_is_named_and_stops_no_other(
    at_once: str, planned: list[Run], capfd: pytest.CaptureFixture[str]
) -> None:
    bad = replace(planned[0], precision="tf32")
    write_plan("study", [bad, *planned[1:3]], Path("study", "plan.json"))
    with pytest.raises(SystemExit) as end:
        train("--at-once", at_once)
    reason = "precision: 'tf32' needs an NVIDIA GPU; this run is on cpu"
    assert end.value.code == f"dstcl: 1 of 3 runs failed; {bad.folder}: {reason}"
    assert f"{bad.folder}  FAILED: {reason}" in capfd.readouterr().err
    log = Path("logs", "study", "train", f"{bad.folder}.log").read_text()
    assert log.endswith(f"dstcl: {reason}\n")
    assert all((folder(run) / "metrics.json").exists() for run in planned[1:3])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--at-once", "0"), "--at-once: 0; at least 1"),
        (("--only", "nothing"), "--only: 'nothing' matches none of 4 runs"),
        (("--data", "elsewhere"), "elsewhere/prepared/mnist5k-28px.safetensors: no such file"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    options: tuple[str, ...], problem: str, planned: list[Run]
) -> None:
    with pytest.raises(SystemExit) as end:
        train(*options)
    assert str(end.value.code).startswith(f"dstcl: {problem}")
    assert not Path("study", "runs").exists()


def children(process: int) -> list[int]:
    return [
        int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def start(planned: list[Run]) -> "subprocess.Popen[str]":
    """A real command with two processes, when both train."""
    process = subprocess.Popen(
        [*COMMAND, "--at-once", "2", "--threads", "1", "--checkpoint-every", "0"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while sum(folder(run).exists() for run in planned) < 2:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of processes here")
@pytest.mark.parametrize("whom", ["command", "worker"])
def test_stopped_or_killed_the_same_command_goes_on(whom: str, planned: list[Run]) -> None:
    longer = [replace(run, epochs=20) for run in planned]
    write_plan("study", longer, Path("study", "plan.json"))
    process = start(longer)
    if whom == "command":
        process.send_signal(signal.SIGTERM)
    else:  # the first child is the tracker of shared resources
        os.kill(children(process.pid)[-1], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    unfinished = [run for run in longer if not (folder(run) / "metrics.json").exists()]
    assert unfinished
    if whom == "command":
        assert process.returncode == EXIT_CODE
        assert "dstcl: stopped by SIGTERM; the same command goes on" in said
        assert len(list(Path("study", "runs").rglob("*.safetensors"))) > 0
    else:
        assert process.returncode == 1
        assert "a training process was killed; call again to go on" in said
    train("--at-once", "2", "--threads", "1")
    assert all(same_results(folder(run), alone(run)) for run in longer[:2])
