"""Runs without a result: what their logs tell of them.

Evidence is the log that the pipeline keeps of each training. It ends in an error: the run failed.
It ends in the word of somebody who stopped it, or in the middle of things while no Snakemake is at
work in the folder: it was killed. A Snakemake at work: it may still be training.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dstcl.study.run import RESULT_FILES, Run
from dstcl.tracking.entry import (
    CONFIGURATION,
    FAILED,
    KEY,
    KILLED,
    KIND,
    NOTE,
    RUNNING,
    Entry,
    Metric,
    digest,
    text,
    titles,
)

STARTED = re.compile(r"^run \S+ started (\S+)$", re.MULTILINE)
EPOCH = re.compile(
    r"^task (?P<task>\d+)/\d+  epoch (?P<epoch>\d+)/\d+  loss (?P<train_loss>\S+)  "
    r"training accuracy (?P<train_accuracy>\S+)  density (?P<density>\S+)  "
    r"explored (?P<explored>\S+)$",
    re.MULTILINE,
)
CURVES = ("train_loss", "train_accuracy", "density", "explored")
STOPPED = ("dstcl: interrupted", "dstcl: stopped by")
LAST_LINES, LONGEST = 20, 4000


@dataclass(frozen=True)
class Attempt:
    """A run of the plan that has a log but no result.

    Attributes:
        log: what its training said.
        said: the content of the log.
        status: FAILED, KILLED or RUNNING.
        reason: in a line, why there is no result; "" while it is running.
    """

    run: Run
    log: Path
    said: str
    status: str
    reason: str


def find_attempts(study: Path, runs: Sequence[Run]) -> list[Attempt]:
    """The runs of a study that were started and have no result.

    Args:
        study: ``results/<preset>``; logs are in ``logs/<preset>`` beside it.
        runs: of the plan.
    """
    root = study.resolve().parent.parent
    locks = root / ".snakemake" / "locks"
    at_work = locks.is_dir() and any(locks.iterdir())
    found = []
    for run in runs:
        log = root / "logs" / study.resolve().name / "train" / f"{run.folder}.log"
        if (study / "runs" / run.folder / RESULT_FILES["metrics"]).is_file() or not log.is_file():
            continue
        said = log.read_text(errors="replace")
        status, reason = judge(said, at_work)
        if status:
            found.append(Attempt(run, log, said, status, reason))
    return found


def judge(said: str, at_work: bool) -> tuple[str, str]:
    """Status and reason of a run without a result; no status where the log says that it finished:
    then its files have been removed since.

    Args:
        said: what its training said.
        at_work: whether a Snakemake is at work in the folder.
    """
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else ""
    if last.startswith("done: "):
        return "", ""
    if last.startswith(STOPPED):
        return KILLED, last.removeprefix("dstcl: ")
    epochs = list(EPOCH.finditer(said))
    traceback = said.rfind("Traceback (most recent call last)")
    if last.startswith("dstcl") or traceback > (epochs[-1].start() if epochs else -1):
        return FAILED, last.removeprefix("dstcl: ")
    if at_work:
        return RUNNING, ""
    where = f"its log ends: {last}" if last else "its log is empty"
    return KILLED, f"ended without a word; {where}"


def attempt_entry(attempt: Attempt, key: str) -> Entry:
    """The entry of a run without a result: how far it came, and why it ended."""
    run, log = attempt.run, attempt.log
    name, configuration = titles(run.to_dict())
    end = int(log.stat().st_mtime * 1000)
    began = STARTED.search(attempt.said)
    tags = {
        KIND: "seed",
        KEY: key,
        CONFIGURATION: configuration,
        "dstcl.digest": run.digest,
        "dstcl.protocol": run.protocol,
    }
    if attempt.reason:
        last = "\n".join(attempt.said.splitlines()[-LAST_LINES:])[-LONGEST:]
        tags["dstcl.error"] = attempt.reason[:LONGEST]
        tags[NOTE] = f"{attempt.status}: {attempt.reason[:LONGEST]}\n\n```\n{last}\n```"
    # What a run says while it goes on is added to its entry; it does not make another one.
    lasting = attempt.said if attempt.reason else began.group() if began else ""
    return Entry(
        name,
        digest(attempt.status, configuration, lasting),
        tags,
        start=_milliseconds(began.group(1), end) if began else end,
        end=end,
        params={name: text(value) for name, value in run.to_dict().items()},
        metrics=_curves(attempt),
        status=attempt.status,
        artifacts=[log],
    )


def _curves(attempt: Attempt) -> list[Metric]:
    """What the log says of epochs; they count on through the tasks, as in history.csv."""
    metrics: list[Metric] = []
    for line in EPOCH.finditer(attempt.said):
        step = (int(line["task"]) - 1) * attempt.run.training.epochs + int(line["epoch"])
        try:
            metrics += [(name, float(line[name]), step) for name in CURVES]
        except ValueError:  # a line that was cut short
            continue
    return metrics


def _milliseconds(moment: str, otherwise: int) -> int:
    try:
        return int(datetime.fromisoformat(moment).timestamp() * 1000)
    except ValueError:
        return otherwise
