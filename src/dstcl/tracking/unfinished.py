"""Runs without a result: how far they came, and why they ended.

Training says so itself (`dstcl.jobs.epochs`). Where it never began, as the command was wrong or a
file was missing, the end of the log tells. A run that says nothing of its end was killed, or is
still training: it is, as long as a Snakemake is at work in the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dstcl.jobs.epochs import DONE, FILE, Told, read_epochs
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
    digest,
    parameters,
    titles,
)
from dstcl.tracking.finished import over_epochs

LAST_LINES, LONGEST = 20, 4000
ENDS = {"stopped": KILLED, "failed": FAILED}


@dataclass(frozen=True)
class Unfinished:
    """A run of the plan that was started and has no result.

    Attributes:
        files: what there is of its log and its progress.
        said: the content of the log.
        told: its progress; None where training never began.
        status: FAILED, KILLED or RUNNING.
        reason: in a line, why there is no result; "" while it is running.
    """

    run: Run
    files: list[Path]
    said: str
    told: Told | None
    status: str
    reason: str


def find_unfinished(study: Path, runs: Sequence[Run]) -> list[Unfinished]:
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
        folder = study / "runs" / run.folder
        log = root / "logs" / study.resolve().name / "train" / f"{run.folder}.log"
        if (folder / RESULT_FILES["metrics"]).is_file():
            continue
        told = read_epochs(folder)
        files = [path for path in (log, folder / FILE) if path.is_file()]
        if not files:
            continue
        said = log.read_text(errors="replace") if log in files else ""
        status, reason = judge(said, told, at_work)
        if status:
            found.append(Unfinished(run, files, said, told, status, reason))
    return found


def judge(said: str, told: Told | None, at_work: bool) -> tuple[str, str]:
    """Status and reason of a run without a result; no status where the log says that it finished:
    then its files have been removed since.

    Args:
        said: its log.
        told: its progress, if training began.
        at_work: whether a Snakemake is at work in the folder.
    """
    lines = [line for line in said.splitlines() if line.strip()]
    last = lines[-1].strip() if lines else ""
    if at_work and not last:  # a new attempt, which has not come to its progress yet
        return RUNNING, ""
    if told and told.ended:
        how, reason = told.ended
        return ENDS[how], reason
    if told is None and last.startswith(DONE):
        return "", ""
    # Errors of the command go to its log alone: nothing had begun.
    if last.startswith("dstcl") or (told is None and "Traceback (most recent" in said):
        return FAILED, last.removeprefix("dstcl: ")
    if at_work:
        return RUNNING, ""
    return KILLED, f"ended without a word; its log ends: {last}" if last else "ended without a word"


def unfinished_entry(found: Unfinished, key: str) -> Entry:
    """The entry of a run without a result: how far it came, and why it ended."""
    run, told = found.run, found.told or Told()
    name, configuration = titles(run)
    end = max(int(path.stat().st_mtime * 1000) for path in found.files)
    tags = {
        KIND: "seed",
        KEY: key,
        CONFIGURATION: configuration,
        "dstcl.digest": run.digest,
        "dstcl.protocol": run.protocol,
    }
    if found.reason:
        last = "\n".join(found.said.splitlines()[-LAST_LINES:])[-LONGEST:]
        tags["dstcl.error"] = found.reason[:LONGEST]
        tags[NOTE] = f"{found.status}: {found.reason[:LONGEST]}\n\n```\n{last}\n```"
    # What a run says while it goes on is added to its entry; it does not make another one.
    lasting = [found.said, str(told.epochs)] if found.reason else []
    return Entry(
        name,
        digest(found.status, configuration, str(told.started), found.reason, *lasting),
        tags,
        start=end if told.started is None else int(told.started * 1000),
        end=end,
        params=parameters(run),
        metrics=over_epochs(told.epochs),
        status=found.status,
        artifacts=found.files,
    )
