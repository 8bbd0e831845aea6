"""Progress of one run: a bar where a person watches a terminal, lines where a log is written."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from tqdm import tqdm

from dstcl.study.run import Run


class EpochProgress:
    """Called after every epoch; a bar over all epochs on a terminal, else ten lines per task."""

    def __init__(self, run: Run) -> None:
        self._epochs = run.training.epochs
        self._every = max(1, run.training.epochs // 10)
        self._tasks = run.learned
        self._bar: tqdm[Any] | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=run.learned * run.training.epochs, unit="epoch", desc=run.digest)
        else:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            print(f"run {run.folder} started {now}", file=sys.stderr, flush=True)

    def __call__(self, task: int, epoch: int, row: dict[str, Any]) -> None:
        """Show one finished epoch."""
        # A terminal that is gone, or a full disk, takes what is said, not what is trained.
        with suppress(OSError):
            self._show(task, epoch, row)

    def _show(self, task: int, epoch: int, row: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.set_postfix(task=task, loss=f"{row['loss']:.3f}", refresh=False)
            self._bar.update()
        elif epoch % self._every == 0 or epoch == self._epochs:
            print(
                f"task {task}/{self._tasks}  epoch {epoch}/{self._epochs}  "
                f"loss {row['loss']:.4f}  training accuracy {row['accuracy']:.4f}  "
                f"density {row['density']:.4f}  explored {row['explored']:.4f}",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> EpochProgress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
