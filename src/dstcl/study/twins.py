"""Two runs that tables could not tell apart: the second would pass for more seeds of the first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dstcl.study.controllers import CONTROLLER
from dstcl.study.run import Run

Source = tuple[str, str, Mapping[str, Any]]
"""What a label stands for: key in a preset, where it comes from, its settings."""


def twin_problem(runs: Iterable[Run]) -> str:
    """What is wrong with runs of equal axes and different digests, "" if there are none.

    Returns:
        One line: the key in the preset, the label that stands for two, and how to name one of them.
    """
    known: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        other = known.setdefault(tuple(run.axes().values()), run)
        if other.digest != run.digest:
            return _problem(other, run)
    return ""


def _problem(one: Run, other: Run) -> str:
    for (label, first), (_, second) in zip(_labels(one).items(), _labels(other).items()):
        if first != second:
            return _two_of_a_name(label, first, second)
    return f"two runs differ in no axis, but in settings: {one.folder} and {other.folder}"


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
