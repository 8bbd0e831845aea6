"""Whether claims, figures and pages of a study were made from the tables that are there.

Each says what it was made from (`dstcl.evaluation.made_from`), but for those of older code. A study
of which none does is compared as far as its pages repeat the tables.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from dstcl.evaluation.made_from import RESULTS, WORDS, digest_of, stated
from dstcl.evaluation.tables import read_table
from dstcl.figures import FIGURES
from dstcl.reports.manuscript import FOLDER, WHOLE, is_part
from dstcl.reports.overview import NEEDED, overview
from dstcl.storage import read_json

CLAIMS, OVERVIEW, SUMMARY, REPORT = "claims.csv", "overview.json", "summary.md", "report.html"
MANUSCRIPT = f"{FOLDER}/{WHOLE}"
MADE_BY = {
    CLAIMS: "claims",
    **{f"figures/{name}.svg": "figure" for name in FIGURES},
    SUMMARY: "summary",
    REPORT: "report",
    MANUSCRIPT: "manuscript",
}
"""Files that stand for all that a command makes, and the command; each after those that it reads,
which it says itself (all but the overview)."""
RAN = re.compile(r"^(\d+) runs, seeds ([\d, ]+);", re.MULTILINE)
"""How summary.md begins, also that of older code."""


def check_current(study: Path) -> None:
    """Refuse a study whose claims, overview, figures or pages are of other tables than it has.

    Args:
        study: its folder, with all of them; there need not be a manuscript.

    Raises:
        ValueError: in one line, naming the first such file and what to call again.
    """
    without = () if any(map(is_part, (study / FOLDER).glob("*"))) else (MANUSCRIPT,)
    said = {name: _stated(study / name, name == CLAIMS) for name in MADE_BY if name not in without}
    if any(files is not None for files in said.values()):
        wrong = _of_other_files(study, said)
    else:
        wrong = _older_differences(study)
    if not _is_current(study / OVERVIEW):
        wrong[OVERVIEW] = "not the means of the tables that are there"
    if wrong:
        name, why = next(iter(wrong.items()))
        raise ValueError(f"{study / name}: {why}; call again: {_commands(wrong)}")


def _commands(files: Iterable[str]) -> str:
    """What makes these files: commands of dstcl, with the names of figures in parentheses."""
    found: dict[str, list[str]] = {}
    for name in files:
        figures = found.setdefault(MADE_BY.get(name, "overview"), [])
        figures += [Path(name).stem] if MADE_BY.get(name) == "figure" else []
    named = {command: f" ({', '.join(figures)})" for command, figures in found.items() if figures}
    return ", ".join(f"`dstcl {command}`{named.get(command, '')}" for command in found)


def _stated(path: Path, is_table: bool) -> dict[str, str] | None:
    """What a file says that it was made from, a table in its column ``made_from``.

    A table without rows has nothing in it that could be of other files.
    """
    if not path.is_file():
        return None
    if not is_table:
        return stated(path.read_text(errors="replace"))
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if "made_from" not in (rows.fieldnames or ()):
            return None
        found: dict[str, str] = {}
        for value in {row["made_from"] for row in rows}:
            found |= stated(f"{WORDS}{value}") or {}
        return found


def _of_other_files(study: Path, said: dict[str, dict[str, str] | None]) -> dict[str, str]:
    """Files made from others than those that are there, or from some that are to be made again;
    and why."""
    wrong: dict[str, str] = {}
    for name, files in said.items():
        if files is None:
            wrong[name] = "does not say from which tables it was made"
            continue
        for other, digest in files.items():
            if other in wrong or digest_of(study, other) != digest:
                table = "summary.csv" if other == RESULTS else other
                wrong.setdefault(name, f"not made from the {table} that is there")
    return wrong


def _older_differences(study: Path) -> dict[str, str]:
    """Where pages of older code repeat other runs than those of the tables."""
    runs, wrong = read_table(study, "summary"), {}
    ran = RAN.search((study / SUMMARY).read_text(errors="replace"))
    seeds = ", ".join(map(str, sorted(runs["seed"].unique())))
    if ran and (ran[1], ran[2]) != (str(len(runs)), seeds):
        wrong[SUMMARY] = "not made from the summary.csv that is there"
    page = (study / REPORT).read_text(errors="replace")
    shown = [f'"{digest}"' in page for digest in runs["digest"]]
    if any(shown) and not all(shown):
        wrong[REPORT] = "not made from the summary.csv that is there"
    return wrong


def _is_current(path: Path) -> bool:
    """Whether an overview has the numbers of the tables beside it."""
    tables = (read_table(path.parent, name, needs) for name, needs in NEEDED.items())
    return bool(read_json(path) == overview(*tables))
