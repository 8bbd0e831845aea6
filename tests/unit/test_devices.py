"""Slots on cards, with real processes that only pretend to have cards."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dstcl.jobs.devices import granted_device, lock_folder, parse_slots, take_slot, visible_cards

# Takes a slot, notes it, works until enough others have been seen at work, and notes its end.
WORKER = """
import os, sys, time
from dstcl.jobs.devices import granted_device
log, together = sys.argv[1], int(sys.argv[2])
def note(text):
    with open(log, "a") as file:
        file.write(f"{text} {os.environ['CUDA_VISIBLE_DEVICES']}\\n")
with granted_device("cuda") as device:
    assert device == "cuda" and "torch" not in sys.modules
    note("take")
    while open(log).read().count("take") < together:
        time.sleep(0.01)
    note("free")
"""

# Holds a slot until it is killed, with a child that outlives it.
HOLDER = """
import subprocess, sys
from dstcl.jobs.devices import granted_device
with granted_device("cuda"):
    child = subprocess.Popen(["sleep", "300"])
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a script with slots of its own folder; whatever still runs in the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: object, **environ: str) -> subprocess.Popen[str]:
        clean = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            env=clean | {"DSTCL_GPU_LOCKS": str(tmp_path / "locks")} | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def most_at_once(log: Path) -> Counter[str]:
    """The largest number of processes that were at work on each card at the same time."""
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        what, card = line.split()
        now[card] += 1 if what == "take" else -1
        most[card] = max(most[card], now[card])
    assert set(now.values()) == {0}
    return most


@pytest.mark.parametrize("slots", ["2x2", "3x1", "1x3"])
def test_cards_are_filled_and_never_overfilled(start, tmp_path: Path, slots: str) -> None:
    cards, runs_a_card = parse_slots(slots)
    log = tmp_path / "log"
    processes = [
        start(WORKER, log, cards * runs_a_card, DSTCL_GPU_SLOTS=slots)
        for _ in range(cards * runs_a_card + 3)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert most_at_once(log) == {str(card): runs_a_card for card in range(cards)}


def test_cards_of_a_scheduler_are_kept(start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    environ = {"DSTCL_GPU_SLOTS": "4x1", "CUDA_VISIBLE_DEVICES": "5,GPU-7e"}
    processes = [start(WORKER, log, 2, **environ) for _ in range(4)]
    for process in processes:
        process.communicate(timeout=120)
    assert most_at_once(log) == {"5": 1, "GPU-7e": 1}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_frees_its_slot(start, how: signal.Signals) -> None:
    """Also while a command that it started lives on."""
    holder = start(HOLDER, DSTCL_GPU_SLOTS="1x1")
    child = int(holder.stdout.readline())
    try:
        waiting = start(HOLDER, DSTCL_GPU_SLOTS="1x1")
        assert "waiting for a GPU slot" in waiting.stderr.readline()
        assert waiting.poll() is None
        holder.send_signal(how)
        second_child = int(waiting.stdout.readline())
        os.kill(second_child, signal.SIGKILL)
        os.kill(child, 0)  # still there
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_emptiest_card_comes_first(tmp_path: Path) -> None:
    cards = ["0", "1", "2"]
    held = [take_slot(cards, 3, tmp_path) for _ in range(9)]
    assert [card for card, _ in held] == ["0", "1", "2"] * 3
    for card, lock in held:
        if card == "1":
            lock.release()
    held[2][1].release()
    again = [take_slot(cards, 3, tmp_path) for _ in range(4)]
    assert [card for card, _ in again] == ["1", "1", "1", "2"]


def test_a_block_that_ends_frees_its_slot(tmp_path: Path) -> None:
    environ = {"DSTCL_GPU_LOCKS": str(tmp_path)}
    for _ in range(3):
        with granted_device("auto", slots="1x1", environ=environ) as device:
            assert device == "cuda"
            assert environ["CUDA_VISIBLE_DEVICES"] == "0"
            assert environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize(
    ("device", "gpus", "environ", "expected"),
    [
        ("auto", None, {}, "auto"),
        ("cuda", None, {}, "cuda"),
        ("cpu", None, {"DSTCL_GPU_SLOTS": "1x1"}, "cpu"),
        ("cuda:1", None, {"DSTCL_GPU_SLOTS": "1x1"}, "cuda:1"),
        ("auto", 0, {}, "cpu"),
        ("auto", 0, {"DSTCL_GPU_SLOTS": "1x1"}, "cpu"),
        ("cpu", 1, {}, "cuda"),
        ("auto", 1, {"DSTCL_DEVICE": "cpu"}, "cpu"),
    ],
)
def test_without_a_slot_nothing_is_touched(
    tmp_path: Path, device: str, gpus: int | None, environ: dict[str, str], expected: str
) -> None:
    environ |= {"DSTCL_GPU_LOCKS": str(tmp_path / "locks"), "CUDA_VISIBLE_DEVICES": "3"}
    before = dict(environ)
    with granted_device(device, gpus, environ=environ) as granted:
        assert granted == expected
    assert environ == before
    assert not (tmp_path / "locks").exists()


def test_a_rehearsal_takes_the_slot_and_trains_elsewhere(tmp_path: Path) -> None:
    environ = {"DSTCL_GPU_LOCKS": str(tmp_path), "DSTCL_DEVICE": "cpu"}
    with granted_device(gpus=1, slots="2x1", environ=environ) as device:
        assert (device, environ["CUDA_VISIBLE_DEVICES"]) == ("cpu", "0")
        with granted_device(gpus=1, slots="2x1", environ=environ | {"CUDA_VISIBLE_DEVICES": "0,1"}):
            pass


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        ({"gpus": 2}, {}, ["--gpus: 2", "0 or 1"]),
        ({"gpus": -1}, {}, ["--gpus: -1"]),
        ({"device": "gpu"}, {}, ["--device", "'gpu'", "auto, cpu or cuda"]),
        ({}, {"DSTCL_DEVICE": "tpu"}, ["DSTCL_DEVICE", "'tpu'"]),
        ({}, {"DSTCL_GPU_SLOTS": "4"}, ["DSTCL_GPU_SLOTS", "'4'", "4x2"]),
        ({"slots": "0x2"}, {}, ["--gpu-slots", "'0x2'"]),
        ({"slots": "2x-1"}, {}, ["'2x-1'"]),
        (
            {"slots": "4x3", "gpus": 0},
            {},
            ["--gpu-slots", "train_run:gpu=1 train_run:gpu_slots=4x3"],
        ),
        ({"slots": "1x1"}, {"CUDA_VISIBLE_DEVICES": ""}, ["CUDA_VISIBLE_DEVICES", "no card"]),
        ({"slots": "1x1"}, {"CUDA_VISIBLE_DEVICES": "-1"}, ["'-1'", "no card"]),
    ],
)
def test_what_cannot_be_granted_is_refused_by_name(
    tmp_path: Path, arguments: dict[str, object], environ: dict[str, str], words: list[str]
) -> None:
    environ = {"DSTCL_GPU_LOCKS": str(tmp_path / "locks")} | environ
    with pytest.raises(ValueError) as caught, granted_device(environ=environ, **arguments):
        pass
    assert all(word in str(caught.value) for word in words), caught.value
    assert not (tmp_path / "locks").exists()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        take_slot(["0"], 1, tmp_path / "file")


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_locks_that_the_disk_refuses_are_named(tmp_path: Path, monkeypatch, code: int) -> None:
    """And nothing else takes their place, which a killed process would leave behind."""
    reason = os.strerror(code)

    def refuse(file: int, how: int) -> None:
        raise OSError(code, reason)

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OSError, match=rf"{reason}\); DSTCL_GPU_LOCKS must name") as caught:
        take_slot(["0"], 1, tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_other_users_may_lock_the_same_files(tmp_path: Path) -> None:
    """Also where files are private by default."""
    before = os.umask(0o077)
    try:
        _, lock = take_slot(["0"], 1, tmp_path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666}
    lock.release()


def test_locks_are_not_those_of_another_machine_or_user(monkeypatch) -> None:
    mine = lock_folder({})
    monkeypatch.setattr("socket.gethostname", lambda: "other")
    assert lock_folder({}) != mine
    assert str(os.getuid()) in mine.name


@pytest.mark.parametrize(
    ("count", "visible", "expected"),
    [
        (3, None, ["0", "1", "2"]),
        (2, "4,5,6", ["4", "5"]),
        (4, "2", ["2"]),
        (4, "1,-1,2", ["1"]),
        (2, " MIG-a/1/0 , GPU-b", ["MIG-a/1/0", "GPU-b"]),
    ],
)
def test_visible_cards_limit_the_count(count: int, visible: str | None, expected: list) -> None:
    assert visible_cards(count, visible) == expected


def test_names_of_parts_of_cards_make_file_names(tmp_path: Path) -> None:
    assert take_slot(["MIG-a/1/0"], 1, tmp_path)[0] == "MIG-a/1/0"
