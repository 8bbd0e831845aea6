"""Two runs that tables could not tell apart: the second would pass for more seeds of the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dstcl.study.controllers import CONTROLLER
from dstcl.study.identity import identity
from dstcl.study.run import Run
from dstcl.study.settings import SECTIONS

Source = tuple[str, str, Mapping[str, Any]]
"""What a label stands for: key in a preset, where it comes from, its settings."""


def first_twins(runs: Iterable[Run]) -> tuple[Run, Run] | None:
    """The first two runs of equal axes and different digests; None if there are none."""
    known: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        other = known.setdefault(tuple(run.axes().values()), run)
        if other.digest != run.digest:
            return other, run
    return None


def twin_problem(runs: Iterable[Run]) -> str:
    """What is wrong with the first twins of a preset, "" if there are none.

    Returns:
        One line: the key in the preset, the label that stands for two, and how to name one of them.
    """
    twins = first_twins(runs)
    return _problem(*twins) if twins else ""


def refuse_twins(runs: Iterable[Run], where: Path) -> None:
    """Refuse runs that were made in parts with other settings.

    Raises:
        ValueError: naming the folder, the setting and both values.
    """
    if twins := first_twins(runs):
        raise ValueError(f"{where}: {_problem(*twins)}")


def _problem(one: Run, other: Run) -> str:
    for (label, first), (_, second) in zip(_labels(one).items(), _labels(other).items()):
        if first != second:
            return _two_of_a_name(label, first, second)
    return (
        f"{_setting(one, other)}: {one.folder} and {other.folder} differ in nothing that tables "
        "show, and would count as more seeds of one; use another preset, or vary the setting"
    )


def _setting(one: Run, other: Run) -> str:
    """The first setting in which two runs differ, with both values."""
    keys = {
        f"{section}.{name}": None
        for run in (one, other)
        for section, own in identity(run).items()
        if section in SECTIONS
        for name in own
    }
    key = next(key for key in keys if one.setting(key) != other.setting(key))
    return f"{key} {one.setting(key)} and {other.setting(key)}"


def _labels(run: Run) -> dict[str, Source]:
    network, method, controller = run.network_source, run.method_source, run.controller
    more = {name: value for name, value in network.to_dict().items() if name != "from"}
    found: dict[str, Source] = {
        run.method: ("methods", method.source, method.settings),
        run.network: ("networks", network.source, more),
    }
    if controller:
        found[controller.label] = (CONTROLLER, controller.source, controller.settings)
    return found


def _two_of_a_name(label: str, first: Source, second: Source) -> str:
    key, source, own = second
    changed = [name for name in {**first[2], **own} if first[2].get(name) != own.get(name)]
    words = [f"{name} {first[2].get(name)} and {own.get(name)}" for name in changed]
    if first[1] != source:
        words.insert(0, f"from {first[1]} and {source}")
    new = {"name": f"{label}-2", "from": source} | {
        name: own[name] for name in changed if name in own
    }
    entry = ", ".join(f"{name}: {value}" for name, value in new.items())
    return (
        f"{key}: {label!r} stands for two ({', '.join(words)}), whose runs would count as more "
        f"seeds of one; give one a name of its own, as {{{entry}}}"
    )
