"""A study beside the recorded one in words: rows of a table, and the three lines that matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.confirm import Compared, Confirmation, confirm
from dstcl.evaluation.rounding import Distance
from dstcl.evaluation.same_study import Incomparable
from dstcl.evaluation.spelling import percent_signs
from dstcl.evaluation.statistics import Estimate

MOST_NAMED = 4


def three_lines(found: Confirmation) -> list[str]:
    """What a person who reproduces a study wants to know: verdicts, accuracies, machines."""
    return [
        f"verdicts: {_result(found)}; {_verdicts(found)}",
        f"accuracies: {_accuracies(found)}",
        f"machines: here {_machines(found.machines)}; "
        f"recorded ({found.reference}) {_machines(found.recorded_machines)}",
    ]


def rows(found: Confirmation) -> list[dict[str, str]]:
    """A row a claim that was tested in either study; effects in points."""
    return [_row(one) for one in found.claims]


def page_part(study: Path, reference: Path | None) -> dict[str, Any] | None:
    """What the report shows; None where nothing is recorded.

    Of a recorded study that is not the same the lines say what differs, and there are no rows.
    """
    if reference is None:
        return None
    try:
        found = confirm(study, reference)
    except Incomparable as differs:
        return {"lines": [f"not compared: {differs}"], "rows": []}
    return {"lines": three_lines(found), "rows": rows(found)}


def _result(found: Confirmation) -> str:
    if found.contradicts:
        return "NOT reproduced"
    if not any(one.here and one.recorded for one in found.claims):
        return "nothing to compare"
    return "reproduced" if found.named("agrees") else "not contradicted"


def _verdicts(found: Confirmation) -> str:
    both = [one for one in found.claims if one.here and one.recorded]
    agree = len(found.named("agrees"))
    words = [f"{agree} of {len(both)} agree"]
    for outcome in ("contradicts", "weaker", "stronger", "new", "not here"):
        if names := found.named(outcome):
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            listed = ", ".join(names[:MOST_NAMED]) + more
            verb = "contradict" if outcome == "contradicts" else outcome
            words.append(f"{len(names)} {verb} ({listed})")
    return ", ".join(words)


def _accuracies(found: Confirmation) -> str:
    far = found.distance
    words = f"{far.equal} of {far.runs} runs equal to the last bit"
    if only := [
        f"{count} only {where}"
        for count, where in (
            (found.runs - far.runs, "here"),
            (found.recorded_runs - far.runs, "recorded"),
        )
        if count
    ]:
        words += f" ({', '.join(only)})"
    if far.equal == far.runs:
        return words
    return (
        f"{words}; the others differ by {100 * far.mean_size:.1f} points on average and "
        f"{100 * far.largest:.1f} at most: {_explained(far)}"
    )


def _explained(far: Distance) -> str:
    """Whether that is more than another machine does."""
    shift = f"shift {100 * far.shift.mean:+.2f}" + _interval(far.shift)
    beyond = f"{far.beyond} of {far.measured} beyond what 1 in 20 exceeds by rounding"
    if far.further is None:
        return f"rounding was not measured, so what another machine explains is not known; {shift}"
    if far.further:
        return f"FURTHER than another machine explains ({shift}, {beyond})"
    return f"no further than another machine explains ({shift}, {beyond})"


def _machines(machines: dict[str, int]) -> str:
    if not machines:
        return "not known"
    if len(machines) == 1:
        return next(iter(machines))
    return "; ".join(f"{runs} runs {words}" for words, runs in machines.items())


def _row(one: Compared) -> dict[str, str]:
    return {
        "claim": one.key["claim"],
        "protocol": one.key["protocol"],
        "statement": percent_signs(one.statement),
        "outcome": one.outcome,
        "here": _verdict(one.here, one.effect),
        "recorded": _verdict(one.recorded, one.recorded_effect),
        "difference": _difference(one.difference),
        "paired": f"paired, {one.paired}" if one.paired else "",
    }


def _verdict(verdict: str, effect: float) -> str:
    return f"{verdict} {_points(effect)}".strip() if verdict else "-"


def _difference(found: Estimate) -> str:
    """With a dash where no interval can be given; empty where there is no difference."""
    points = _points(found.mean)
    return points and points + (_interval(found) or " (-)")


def _points(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:+.2f}"


def _interval(found: Estimate) -> str:
    return "" if pd.isna(found.low) else f" ({100 * found.low:+.2f} to {100 * found.high:+.2f})"
