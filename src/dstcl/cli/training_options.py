"""Options that the commands which train share: where, and how often a checkpoint is written."""

from __future__ import annotations

import argparse

from dstcl.jobs.interruption import CHECKPOINT_EVERY

MOST_THREADS = 1024
"""With some ten thousand, starting them ends the process."""


def add_training_options(parser: argparse.ArgumentParser) -> None:
    """Device, slots on cards, threads, and seconds between checkpoints."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--gpu-slots", default="", help="cards x runs per card, here: 4x2")
    parser.add_argument("--threads", type=_threads, help="CPU threads of a run")
    parser.add_argument(
        "--checkpoint-every",
        type=_seconds,
        default=CHECKPOINT_EVERY,
        metavar="SECONDS",
        help="between checkpoints, from which an interrupted run goes on (default %(default)g)",
    )


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r}; from 1 to {MOST_THREADS}")
    return int(text)


def _seconds(text: str) -> float:
    if not (value := float(text)) >= 0:
        raise argparse.ArgumentTypeError(f"{text!r}; 0 or more seconds")
    return value
