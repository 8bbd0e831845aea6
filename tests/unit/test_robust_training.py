"""Trainings that go wrong from outside: diverging, cut off, started twice, on clocks that jump."""

import errno
import json
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from dstcl.cli import main
from dstcl.continual import DivergedError, learner_of
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes, write_tasks
from dstcl.jobs.alone import LOCK
from dstcl.jobs.epochs import FILE, EpochLog, read_epochs
from dstcl.jobs.interruption import StopRequest
from dstcl.jobs.progress import EpochProgress
from dstcl.jobs.train import train_run
from dstcl.storage import read_json, write_json, write_tensors, write_text
from dstcl.study.run import RESULT_FILES, Run
from helpers.runs import changed

TASKS = split_classes(10, 5, "natural")
Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, digits: Prepared) -> Files:
    folder = tmp_path_factory.mktemp("files")
    data, tasks = folder / "digits.safetensors", folder / "tasks.json"
    fields = asdict(digits)
    tensors = {key: fields.pop(key) for key in ("images", "labels", "is_test")}
    write_tensors(data, tensors, fields)
    write_tasks(data, "mnist5k", 5, "seed0", tasks)
    return data, tasks


@pytest.fixture(scope="module")
def brief(short_run: Run) -> Run:
    return changed(short_run, epochs=1)


@pytest.fixture(scope="module")
def finished(brief: Run, files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished run; tests must not change it."""
    out = tmp_path_factory.mktemp("finished") / "run"
    train_run(brief, *files, out, device="cpu")
    return out


def test_a_run_that_diverges_ends_in_one_line_with_task_and_epoch(
    brief: Run, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = changed(brief, learning_rate=1e30, epochs=2), tmp_path / "out"
    data, tasks = map(str, files)
    command = ["train", "--run", json.dumps(run.to_dict()), "--data", data, "--tasks", tasks]
    with pytest.raises(SystemExit) as end:
        main([*command, "--out", str(out), "--device", "cpu"])
    reason = "task 1, epoch 1: the loss is not finite; training diverged with "
    assert end.value.code == f"dstcl: {reason}training.learning_rate 1e+30"
    assert "Traceback" not in capsys.readouterr().err
    told = read_epochs(out)
    assert told is not None
    assert told.ended == ("failed", f"{reason}training.learning_rate 1e+30")
    assert not (out / "metrics.json").exists()


@pytest.mark.parametrize("regrown_frozen", ["stored", "zero"])
def test_what_the_last_step_spoils_is_noticed_too(
    regrown_frozen: str, brief: Run, digits: Prepared
) -> None:
    """Its loss was taken before; and the published protocol compares no networks."""
    run = changed(brief, regrown_frozen=regrown_frozen)

    def spoil(state: object, task_end: bool) -> None:
        with torch.no_grad():
            next(learner.network.parameters()).fill_(torch.inf)

    learner = learner_of(run, digits, TASKS, torch.device("cpu"), pause=spoil)
    images = sum(len(digits.labels[digits.labels == label]) for label in TASKS[0])
    learner.run = changed(run, batch_size=images)
    with pytest.raises(DivergedError, match=r"^task 1, epoch 1: features\..* is not finite"):
        learner.fit()


def test_seconds_do_not_follow_a_clock_that_jumps(
    brief: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, jumps = time.time, iter([86_400.0 * 365] * 3)
    monkeypatch.setattr(time, "time", lambda: true() - next(jumps, -86_400.0))
    metrics = train_run(brief, *files, tmp_path / "out", device="cpu")
    assert 0 < metrics["seconds"] < 3600


def test_a_closed_terminal_does_not_stop_what_was_told_to_outlive_it() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.signal == "SIGUSR1"
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_cannot_be_said_stops_no_training(brief: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def isatty(self) -> bool:
            return False

        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "terminal is gone")

        def flush(self) -> None:
            """Nothing."""

    row = dict.fromkeys(("loss", "accuracy", "density", "explored"), 0.5)
    with EpochProgress(brief) as progress:
        monkeypatch.setattr(sys, "stderr", Gone())
        progress(1, 1, row)


def test_half_written_files_of_a_killed_process_are_removed(
    brief: Run, files: Files, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name in (".metrics.json.x1_.tmp", "checkpoints/.000001-ab.safetensors.y2.tmp", LOCK):
        write_text(out / name, "half")
    train_run(brief, *files, out, device="cpu")
    assert {path.name for path in out.iterdir()} == set(RESULT_FILES.values())


class Other:
    """Holds the folder of a run as another process does, until it is done."""

    def __init__(self, out: Path, leaves: Path | None) -> None:
        self.out, self.leaves = out, leaves
        out.mkdir()
        self.held = threading.Event()
        self.thread = threading.Thread(target=self.hold)
        self.thread.start()
        self.held.wait()

    def hold(self) -> None:
        lock = FileLock(self.out / LOCK)
        lock.acquire()
        self.held.set()
        time.sleep(0.5)
        if self.leaves:
            shutil.copytree(self.leaves, self.out, dirs_exist_ok=True)
        (self.out / LOCK).unlink()
        lock.release()


@pytest.mark.parametrize("ending", ["finished", "failed", "finished another run"])
def test_a_second_training_of_a_run_waits_for_the_first(
    ending: str,
    brief: Run,
    files: Files,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    leaves = None if ending == "failed" else shutil.copytree(finished, tmp_path / "leaves")
    if leaves and ending == "finished another run":
        metrics = read_json(leaves / "metrics.json")
        write_json(leaves / "metrics.json", metrics | {"digest": "0123456789"})
    trained: list[int] = []

    def note(task: int, epoch: int, row: dict[str, Any]) -> None:
        trained.append(task)

    other = Other(out, leaves)
    found = train_run(brief, *files, out, device="cpu", progress=note)
    other.thread.join()
    assert f"{out}: another process trains this run; waiting for it" in capsys.readouterr().err
    assert trained == ([] if ending == "finished" else [1, 2, 3, 4, 5])
    assert found["acc"] == read_json(finished / "metrics.json")["acc"]
    assert {path.name for path in out.iterdir()} == set(RESULT_FILES.values())


def test_alone_a_finished_run_is_trained_again(
    brief: Run, files: Files, finished: Path, tmp_path: Path
) -> None:
    """As Snakemake asks for it; only what came while one waited is taken."""
    out = shutil.copytree(finished, tmp_path / "out")
    trained: list[int] = []
    train_run(
        brief, *files, out, device="cpu", progress=lambda task, epoch, row: trained.append(task)
    )
    assert trained == [1, 2, 3, 4, 5]


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    (tmp_path / FILE).symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / FILE}'"):
        EpochLog(tmp_path).add({"epoch": 1})

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'table.csv'}'"):
        write_text(tmp_path / "table.csv", "a,b\n")
    assert not list(tmp_path.glob(".*"))
