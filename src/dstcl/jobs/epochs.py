"""How far an unfinished run has come: ``progress.jsonl`` in its folder.

A line of JSON each time something happens: training starts, with the time; an epoch ends, with its
row of history; training ends without a result, with the reason. The file is no output of the
pipeline's job, so that Snakemake leaves it when a job fails; a finished run has none. Standard
library only, as tracking reads it and needs no torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dstcl.jobs.interruption import Interrupted
from dstcl.storage import naming, write_text

FILE = "progress.jsonl"
DONE = "done: "
"""How the last line of the log of a finished run begins."""

End = Literal["stopped", "failed"]
"""Whether somebody stopped a training, or an error did."""


class EpochLog:
    """Writes the progress of one run; as a context, how it ends too.

    A run that cannot even begin leaves no folder, so it says so where there was one alone.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._begun = folder.is_dir()

    def __enter__(self) -> EpochLog:
        if self._begun:
            self._add({"started": time.time()})
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and self._begun:
            stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
            # On a full disk, the error that ended training is to be heard of.
            with suppress(OSError):
                self._add({"ended": "stopped" if stopped else "failed", "reason": reason_of(error)})

    def begin(self, started: float, history: Iterable[Mapping[str, Any]]) -> None:
        """Start anew with the epochs that a checkpoint has: what came after it is trained again.

        Args:
            started: the run's first attempt, seconds since the epoch.
            history: rows of the epochs done.
        """
        self._begun = True
        write_text(self._path, "".join(map(_line, [{"started": started}, *history])))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's row of history."""
        self._add(row)

    def clear(self) -> None:
        """Remove the file: the run is finished."""
        self._path.unlink(missing_ok=True)

    def _add(self, value: Mapping[str, Any]) -> None:
        with naming(self._path), self._path.open("a") as file:
            file.write(_line(value))


def _line(value: Mapping[str, Any]) -> str:
    # The break comes first: after a line that was cut short the next one is whole again.
    return "\n" + json.dumps(value)


@dataclass
class Told:
    """What an unfinished run says of itself.

    Attributes:
        started: seconds since the epoch; None if that line is damaged.
        epochs: rows of history, in order.
        ended: how training ended and why; None while it goes on, or where it could not say.
    """

    started: float | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    ended: tuple[End, str] | None = None


def read_epochs(folder: Path) -> Told | None:
    """What `EpochLog` wrote for a run; None without a file. Lines cut short are left out."""
    try:
        text = (folder / FILE).read_text(errors="replace")
    except OSError:
        return None
    told = Told()
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue
        match value:
            case {"started": float(moment)}:
                told.started = moment if told.started is None else told.started
                told.ended = None
            case {"ended": "stopped" | "failed" as how, "reason": str(reason)}:
                told.ended = (how, reason)
            case {"task": int(), "epoch": int()}:
                told.epochs.append(value)
    return told


def reason_of(error: BaseException) -> str:
    """An error as one reads it: with its kind, but where the message says enough."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    plain = isinstance(error, (ValueError, OSError, Interrupted))
    kind = "" if plain else f"{type(error).__name__}: "
    return f"{kind}{error}" if str(error) else type(error).__name__
