"""What a failed study has all the same: its finished runs as a study of their own, and the words
that say what is missing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dstcl.evaluation.collect import collect
from dstcl.evaluation.judge import write_claims
from dstcl.evaluation.paper.write import write_paper
from dstcl.figures import FIGURES, draw_figure
from dstcl.reports.overview import write_overview
from dstcl.reports.page import write_report
from dstcl.reports.summary import write_summary
from dstcl.study.missing import write_missing
from dstcl.study.plan import read_plan, write_plan
from dstcl.study.run import RESULT_FILES, Run
from dstcl.tracking.unfinished import find_unfinished

FOLDER = "partial"
"""Of the finished runs' tables and figures, in the study's own; the pipeline's files stay as they
are, so that what is made of all runs is never mixed with what is made of some."""
DPI = 150
MOST_NAMED = 10


@dataclass(frozen=True)
class Standing:
    """How far a study has come.

    Attributes:
        preset: of its plan.
        finished: runs with a result.
        failed: folder, reason and log of each run that was tried and has none; those that somebody
            stopped are not among them.
        left: runs beside these.
    """

    preset: str
    finished: list[Run]
    failed: list[tuple[str, str, Path]]
    left: list[Run]

    @property
    def planned(self) -> int:
        """All runs of the plan."""
        return len(self.finished) + len(self.failed) + len(self.left)


def standing(study: Path) -> Standing:
    """How far the study in this folder has come; nothing of it may be at work.

    Raises:
        ValueError: there is no plan.
    """
    preset, runs = read_plan(study)
    done = [r for r in runs if (study / "runs" / r.folder / RESULT_FILES["metrics"]).is_file()]
    logs = study.parent.parent / "logs" / study.name / "train"
    failed = [
        (one.run.folder, one.reason or "ended without a word", logs / f"{one.run.folder}.log")
        for one in find_unfinished(study, runs)
        if one.told is None or one.told.ended is None or one.told.ended[0] == "failed"
    ]
    known = {run.folder for run in done} | {folder for folder, _, _ in failed}
    return Standing(preset, done, failed, [run for run in runs if run.folder not in known])


def words(study: Path, found: Standing) -> list[str]:
    """Lines that say which runs failed, why, where their logs are, and what is left to do."""
    lines = [
        f"{study}: {found.planned} runs: {len(found.finished)} finished, "
        f"{len(found.failed)} failed, {len(found.left)} left"
    ]
    for folder, reason, log in found.failed[:MOST_NAMED]:
        lines += [f"  failed: {folder}", f"    {reason}", f"    log: {log}"]
    if (more := len(found.failed) - MOST_NAMED) > 0:
        lines.append(f"  and {more} more")
    if found.failed or found.left:
        cause = "fix the cause and " if found.failed else ""
        lines.append(f"next: {cause}call the same command again; finished runs are kept")
    return lines


def write_partial(study: Path, found: Standing, reference: Path, template: Path) -> Path:
    """Tables, figures, summary and, where the study has a params.json, report of the finished runs,
    which say what is missing.

    Args:
        study: folder of the study.
        found: its `standing`, with at least one finished run.
        reference, template: as for claims and report.

    Returns:
        The folder, ``study/partial``.

    Raises:
        ValueError: a file of a finished run, the reference or the template cannot be used.
    """
    out = study / FOLDER
    remove_partial(study)
    out.mkdir()
    (out / "runs").symlink_to(Path("..", "runs"), target_is_directory=True)
    write_plan(found.preset, found.finished, out / "plan.json")
    if (study / "params.json").is_file():
        shutil.copyfile(study / "params.json", out / "params.json")
    write_missing(out, len(found.finished), _missing(found))
    collect(found.finished, out)
    write_paper(out, reference)
    write_claims(out, reference)
    write_overview(out)
    for name in FIGURES:
        draw_figure(name, out, DPI)
    write_summary(found.preset, out)
    if (out / "params.json").is_file():  # targets without a report make none
        write_report(found.preset, out, template)
    return out


def remove_partial(study: Path) -> None:
    """Remove what `write_partial` made; the runs themselves are only linked there."""
    shutil.rmtree(study / FOLDER, ignore_errors=True)


def _missing(found: Standing) -> Sequence[str]:
    named = [f"{folder} failed: {reason}" for folder, reason, _ in found.failed]
    return named + [f"{run.folder}: not run yet" for run in found.left]
