"""One finished run before it becomes part of a table: whose it is, whether its files are those that
it wrote, whether they agree, and whether today's code and data would make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from statistics import fmean
from typing import Any

from dstcl.storage import read_json
from dstcl.study.data_standing import doubt_of_data
from dstcl.study.recorded import AGAIN, read_config
from dstcl.study.run import ALL_FILES, RESULT_FILES, Run
from dstcl.study.seal import SMALL, check_seal
from dstcl.study.standing import doubt_of

Say = Callable[[str], None]


class CollectError(ValueError):
    """A result that does not belong to the study; the message names the file and the key."""


@dataclass
class Unverified:
    """What finished runs do not say of themselves, and how many of them.

    Attributes:
        runs: in all.
        unsealed: runs without digests of their files.
        unsure: runs that may be of other code or data, and why the first one may.
        unsaid: prepared files and splits of which nobody says which code made them.
    """

    runs: int = 0
    unsealed: int = 0
    unsure: list[str] = field(default_factory=list)
    unsaid: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a person; none if everything was verified."""
        found = []
        if self.unsealed:
            found.append(
                f"{self.unsealed} of {self.runs} runs are unverified: they were made by code that "
                "wrote no digests of their files"
            )
        if self.unsure:
            found.append(
                f"{len(self.unsure)} of {self.runs} runs may have been made by other code or data: "
                f"{self.unsure[0]}"
            )
        if self.unsaid:
            found.append(f"data not compared with the code that makes them: {self.unsaid[0]}")
        return found


def verify_runs(
    runs: Sequence[Run], folder: Path, *, data: Path | None = None, thorough: bool = False
) -> Unverified:
    """Refuse the first run that is not what the study means.

    Args:
        folder: of the runs' folders.
        data: folder with prepared/ and tasks/, to compare with what is there; None does not.
        thorough: read masks and weights as well.

    Returns:
        What could not be verified.

    Raises:
        CollectError: naming the file.
    """
    found, kinds = Unverified(len(runs)), tuple(ALL_FILES) if thorough else SMALL
    for run in runs:
        verify_run(run, folder / run.folder, found, data, kinds)
    if data is not None:
        _verify_data(runs, data, found)
    return found


def _verify_data(runs: Sequence[Run], data: Path, found: Unverified) -> None:
    """Refuse prepared files and splits of other code than today's."""
    for file in dict.fromkeys(file for run in runs for file in (run.data_file, run.tasks_file)):
        doubt = doubt_of_data(data / file)
        if doubt and doubt.certain:
            raise CollectError(doubt.text)
        if doubt:
            found.unsaid.append(doubt.text)


def verify_run(
    run: Run, folder: Path, found: Unverified, data: Path | None, kinds: Sequence[str]
) -> None:
    """One run of `verify_runs`; what cannot be verified is added to ``found``."""
    found.unsealed += not check_files(run, folder, kinds)
    try:
        doubt = doubt_of(run, folder, data)
    except ValueError as error:
        raise CollectError(str(error)) from None
    if doubt and doubt.certain:
        keep = "; `dstcl vouch` keeps it" if doubt.about == "code" else ""
        raise CollectError(f"{folder}: {doubt.text}; train it again{keep}")
    if doubt:
        found.unsure.append(f"{folder}: {doubt.text}")


def check_files(run: Run, folder: Path, kinds: Sequence[str]) -> bool:
    """Refuse a run whose files are not those that it wrote, whatever code and data made it.

    Args:
        kinds: of files that are compared with their digests, as of `check_seal`.

    Returns:
        False if it has no digests of its files.

    Raises:
        CollectError: naming the file.
    """
    metrics = check_run(run, folder)
    try:
        sealed = check_seal(folder, metrics, kinds)
    except ValueError as error:
        raise CollectError(str(error)) from None
    check_accuracy(run, folder, metrics)
    return sealed


def check_run(run: Run, folder: Path) -> dict[str, Any]:
    """Refuse a run folder whose recorded configuration is not the one asked for.

    Returns:
        The content of metrics.json.

    Raises:
        CollectError: naming the file and the first key that differs.
    """
    path = folder / RESULT_FILES["config"]
    try:
        recorded = read_config(folder)
    except ValueError as error:
        raise CollectError(str(error)) from None
    if recorded.digest != run.digest:
        difference = _first_difference(recorded.to_dict(), run.to_dict())
        raise CollectError(f"{path}: {difference}; {AGAIN}")
    metrics = folder / RESULT_FILES["metrics"]
    content = read_mapping(metrics)
    if content.get("digest") != run.digest:
        raise CollectError(f"{metrics}: belongs to another run; {AGAIN}")
    return content


def _first_difference(recorded: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first setting that two descriptions do not share, in words."""
    for section, values in wanted.items():
        if not isinstance(values, dict):
            continue
        theirs = recorded[section]
        for name in [*values, *theirs]:
            if theirs.get(name, ...) != values.get(name, ...):
                have, want = theirs.get(name), values.get(name)
                return f"{section}.{name} is {have!r}, the study asks for {want!r}"
    return "is of another run"


def check_accuracy(run: Run, folder: Path, metrics: dict[str, Any]) -> None:
    """Refuse accuracies that are not the run's: each in [0, 1], none missing or twice, and their
    mean after the last task the ACC of metrics.json.

    Raises:
        CollectError: naming the file and what is wrong.
    """
    path = folder / RESULT_FILES["accuracy"]
    matrix: dict[tuple[int, int], float] = {}
    header, lines = read_lines(path)
    places = places_of(path, header, ("after_task", "task", "accuracy"))
    for number, line in enumerate(lines, start=2):
        cells = line.split(",")
        after, task, accuracy = (cells[place] for place in places)
        try:
            key, value = (int(after), int(task)), float(accuracy)
        except ValueError:
            raise CollectError(f"{path}: line {number} is not of numbers; {AGAIN}") from None
        if key in matrix:
            raise CollectError(f"{path}: line {number}: task {task} twice; {AGAIN}")
        if not 0 <= value <= 1:
            raise CollectError(
                f"{path}: line {number}: accuracy {accuracy} is not between 0 and 1; {AGAIN}"
            )
        matrix[key] = value
    rows = [run.learned] if run.facts.joint else range(1, run.learned + 1)
    wanted = {(after, task) for after in rows for task in range(1, after + 1)}
    if lacking := sorted(wanted - matrix.keys()):
        last, missing = lacking[0]
        raise CollectError(f"{path}: no accuracy of task {missing} after task {last}; {AGAIN}")
    if max(after for after, _ in matrix) > run.learned:
        raise CollectError(f"{path}: more than the {run.learned} tasks of the run; {AGAIN}")
    found = fmean(matrix[run.learned, task] for task in range(1, run.learned + 1))
    said = metrics.get("acc")
    if isinstance(said, int | float) and not isclose(said, found, abs_tol=1e-9):
        raise CollectError(
            f"{folder / RESULT_FILES['metrics']}: acc is {said!r}, {path.name} says {found!r}; "
            f"{AGAIN}"
        )


def read_lines(path: Path) -> tuple[list[str], list[str]]:
    """Header and rows of a CSV file without quotes, as this project writes them.

    Raises:
        CollectError: naming the file, if it is missing or not such a table.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CollectError(f"{path}: not a table ({error})") from None
    first, *lines = text.splitlines() or [""]
    header = first.split(",")
    if any(line.count(",") != len(header) - 1 for line in lines):
        raise CollectError(f"{path}: not a table (rows of different length)")
    return header, lines


def places_of(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    """Where columns are in a header; CollectError names those that are not."""
    if lacking := [column for column in columns if column not in header]:
        raise CollectError(f"{path}: no column {', '.join(sorted(lacking))}")
    return [header.index(column) for column in columns]


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a JSON file that is a mapping; CollectError names one that is none."""
    try:
        content = read_json(path)
    except ValueError as error:
        raise CollectError(str(error)) from None
    if not isinstance(content, dict):
        raise CollectError(f"{path}: not a mapping")
    return content
