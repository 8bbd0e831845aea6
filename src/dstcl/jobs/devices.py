"""Which device a run may use: cards shared by slots, one lock per slot, held to the process's end.

Snakemake counts GPUs but does not say which one a job got, so jobs on one machine agree here. The
kernel frees the locks of a process that dies, however it dies. Without torch: CUDA reads
CUDA_VISIBLE_DEVICES once, so a card is chosen before torch is imported.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

SLOTS = "DSTCL_GPU_SLOTS"
"""Cards and runs a card, as 4x2, where ``--gpu-slots`` does not say."""
LOCKS = "DSTCL_GPU_LOCKS"
"""Folder of the locks, on a disk of this machine; by default one a user in the temporary folder."""
DEVICE = "DSTCL_DEVICE"
"""Where to train whatever was asked for: "cpu" rehearses a GPU profile on a machine without."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 0.5


@contextmanager
def granted_device(
    device: str = "auto",
    gpus: int | None = None,
    slots: str = "",
    environ: MutableMapping[str, str] = os.environ,
) -> Iterator[str]:
    """The torch device of this process; a slot on a card is held inside the ``with`` block.

    Without slots the cards that a scheduler made visible are left as they are. With slots, this
    waits until one is free and makes its card the only visible one.

    Args:
        device: "auto", "cpu" or "cuda", as a person asks for it.
        gpus: cards that the workflow gave this job, 0 or 1; decides instead of ``device``.
        slots: cards and runs a card, as "4x2"; empty for what ``DSTCL_GPU_SLOTS`` says.
        environ: environment that is read, and in which the card is made visible.

    Raises:
        ValueError: an unknown device, more than one GPU for a run, slots that are none, slots for
            a run without a GPU, or no visible card.
        OSError: the folder of locks cannot be used.
    """
    if gpus is not None:
        if gpus not in (0, 1):
            raise ValueError(f"--gpus: {gpus}; a run uses one GPU or none: 0 or 1")
        if slots and not gpus:
            raise ValueError(
                f"--gpu-slots: {slots!r} for a run without a GPU (--gpus 0); in Snakemake both or "
                "none: --set-resources train_run:gpu=1 train_run:gpu_slots=" + slots
            )
        device = "cuda" if gpus else "cpu"
    slots = slots or environ.get(SLOTS, "")
    if device not in ("auto", "cuda") or not slots:
        yield check_device(environ.get(DEVICE) or device)
        return
    count, runs_a_card = parse_slots(slots)
    card, lock = take_slot(
        visible_cards(count, environ.get(VISIBLE)), runs_a_card, lock_folder(environ)
    )
    # Left in place afterwards: CUDA cannot change its mind in this process.
    environ[VISIBLE] = card
    environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the numbers that nvidia-smi shows
    try:
        yield check_device(environ.get(DEVICE) or "cuda")
    finally:
        lock.release()


def check_device(device: str) -> str:
    """The name of a device, if it is one.

    Raises:
        ValueError: it is not.
    """
    if re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device) is None:
        raise ValueError(f"--device or {DEVICE}: {device!r}; auto, cpu or cuda")
    return device


def parse_slots(text: str) -> tuple[int, int]:
    """Cards and runs a card of a text like "4x2".

    Raises:
        ValueError: the text is none such.
    """
    match = re.fullmatch(r"([1-9][0-9]*)x([1-9][0-9]*)", text)
    if match is None:
        raise ValueError(f"--gpu-slots or {SLOTS}: {text!r}; cards x runs a card, as 4x2")
    return int(match[1]), int(match[2])


def visible_cards(count: int, visible: str | None) -> list[str]:
    """At most ``count`` cards, of those that CUDA_VISIBLE_DEVICES names if it is set.

    As in CUDA, names count up to the first that is none (empty or negative).

    Raises:
        ValueError: no card is visible.
    """
    if visible is None:
        return [str(number) for number in range(count)]
    cards: list[str] = []
    for name in (part.strip() for part in visible.split(",")):
        if not name or name.startswith("-"):
            break
        cards.append(name)
    if not cards:
        raise ValueError(f"{VISIBLE} is {visible!r}: no card for a GPU slot; unset it or name one")
    return cards[:count]


def lock_folder(environ: MutableMapping[str, str] = os.environ) -> Path:
    """Where this machine's locks are; the host's name keeps machines with a common disk apart."""
    if environ.get(LOCKS):
        return Path(environ[LOCKS])
    return Path(tempfile.gettempdir()) / f"dstcl-gpu-{os.getuid()}-{socket.gethostname()}"


def take_slot(cards: list[str], runs_a_card: int, folder: Path) -> tuple[str, BaseFileLock]:
    """Wait for a free slot on the card with most of them; the card and the lock.

    The slot is held until the lock is released: by its method, with the object itself, or by the
    end of the process.
    """
    said = False
    while (slot := _free_slot(cards, runs_a_card, folder)) is None:
        if not said:
            print(f"waiting for a GPU slot in {folder}", file=sys.stderr, flush=True)
            said = True
        time.sleep(POLL_SECONDS)
    return slot


def _free_slot(cards: list[str], runs_a_card: int, folder: Path) -> tuple[str, BaseFileLock] | None:
    try:
        with _lock(folder / "choosing"):  # one process at a time looks and takes
            free: dict[str, list[BaseFileLock]] = {card: [] for card in cards}
            for card in cards:
                for slot in range(runs_a_card):
                    lock = _lock(folder / f"card-{card.replace('/', '_')}-slot-{slot}")
                    with suppress(Timeout):
                        lock.acquire(blocking=False)
                        free[card].append(lock)
            emptiest = max(cards, key=lambda card: len(free[card]))
            taken = free[emptiest].pop(0) if free[emptiest] else None
            for unused in (lock for locks in free.values() for lock in locks):
                unused.release()
            return None if taken is None else (emptiest, taken)
    except OSError as error:
        raise OSError(
            f"{folder}: cannot lock files there ({error.strerror}); "
            f"{LOCKS} must name a folder on a disk of this machine"
        ) from None


def _lock(path: Path) -> BaseFileLock:
    """A lock of the kernel, never one that outlives its process; other users may take it too."""
    return FileLock(path, mode=0o666, fallback_to_soft=False)
