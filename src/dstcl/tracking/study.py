"""Tracking of a whole study: once, by the pipeline, or again and again while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dstcl.storage import read_json, write_json
from dstcl.study.plan import read_plan
from dstcl.tracking.database import TrackingError
from dstcl.tracking.report import SyncReport
from dstcl.tracking.sync import sync
from dstcl.tracking.unfinished import find_unfinished

Say = Callable[[str], None]


def track(study: Path, *, live: bool = False) -> SyncReport:
    """Record finished and failed runs of a study, and its figures.

    Args:
        study: ``results/<preset>`` with its plan.
        live: record runs that are still training too.

    Raises:
        ValueError: naming the file, if the plan or a result file is missing or malformed.
        TrackingError: MLflow cannot be reached or refuses.
    """
    preset, runs = read_plan(study)
    return sync(
        preset,
        [study / "runs" / run.folder for run in runs],
        sorted((study / "figures").glob("*.png")),
        unfinished=find_unfinished(study, runs),
        live=live,
    )


def track_and_record(study: Path, record: Path, failures: int, say: Say) -> None:
    """What the pipeline does: MLflow that cannot be reached is recorded and no failure.

    Args:
        study: see `track`.
        record: file that says what was sent, or why nothing was.
        failures: how often it could not be sent before, from `failures_so_far`.
        say: told what went wrong.

    Raises:
        ValueError: as `track` does; results that cannot be read do stop a study.
    """
    outcome: dict[str, Any]
    try:
        outcome = {"synced": True, "failures": failures, **asdict(track(study))}
    except TrackingError as error:
        say(f"{error}; all results are in {study}, the next call of the pipeline tries again")
        outcome = {"synced": False, "failures": failures + 1, "reason": str(error)}
    write_json(record, outcome)


def failures_so_far(record: Path) -> int:
    """How often MLflow could not be reached, from the file of `track_and_record`; 0 without one.

    As a parameter of the pipeline's job it differs after each failure, so that the job is run
    again, and stays the same after a success, so that it is not.
    """
    try:
        return int(read_json(record)["failures"])
    except (KeyError, TypeError, ValueError):
        return 0


def watch(study: Path, every: float, say: Say, sleep: Callable[[float], None] = time.sleep) -> None:
    """Record a study again and again until no run of it is unfinished.

    Whatever goes wrong is said once and tried again: a server may come back, a file may be just
    being replaced.

    Args:
        study: see `track`; its plan may appear later.
        every: seconds between two looks.
        say: told what changed.
        sleep: waits for so many seconds.
    """
    said = ""
    while True:
        unfinished = True
        try:
            report = track(study, live=True)
            unfinished, news = report.unfinished > 0, str(report)
        except (ValueError, OSError) as error:
            news = f"{error}; trying again every {every:g} s"
        if news != said:
            say(news)
            said = news
        if not unfinished:
            return
        sleep(every)
