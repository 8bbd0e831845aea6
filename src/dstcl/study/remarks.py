"""What is allowed in a study and yet hardly meant: remarks before hours are spent."""

from __future__ import annotations

from collections.abc import Sequence

from dstcl.study.cost import steps_by_task
from dstcl.study.identity import decides
from dstcl.study.run import Run


def remarks(runs: Sequence[Run]) -> list[str]:
    """One line for each thing that a reader of params.yaml should know of its runs."""
    never: dict[str, int] = {}
    for run in runs:
        if line := _never_updated(run):
            never[line] = never.get(line, 0) + 1
    return [f"{line} ({count} run{'s' * (count > 1)})" for line, count in never.items()]


def _never_updated(run: Run) -> str:
    """In words, if masks stay what they were because no update falls into a task."""
    if not run.facts.grows or not decides(run, "topology.update_every"):
        return ""
    every, steps = run.topology.update_every, min(steps_by_task(run), default=None)
    # Rounded as in `dstcl.sparse.schedule`.
    if steps is None or every <= run.switches.stop_at * steps * (1 + 1e-12):
        return ""
    reason = "" if every > steps else f" and fixes masks at {run.switches.stop_at:g} of them"
    return (
        f"topology.update_every: {every}; a task of {run.dataset} with {run.tasks} tasks has "
        f"{steps} steps{reason} under {run.protocol}, so masks are never updated"
    )
