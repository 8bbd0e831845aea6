"""How `make test` spreads the tests over processes; pytest without ``-n`` knows nothing of it."""

from __future__ import annotations

import os

import pytest

# Groups that start first, in this order: those that take longest. Schedulers come before all, as
# their tests mostly wait while others compute.
FIRST = ["schedulers", "test_reruns.py", "finished", "test_reruns_plans.py", "test_many.py"]
MOST = 8
"""Processes; each takes a gigabyte and starts studies that use two cores."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, for the one that waits for schedulers."""
    there = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(2)
    return min(len(there) + 1, MOST)


@pytest.hookimpl(tryfirst=True)  # xdist looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Function]) -> None:
    """Keep tests of a group in one process, and begin with long groups."""
    if not getattr(config.option, "loadgroup", False):
        return
    rank = {}
    for item in items:
        group = group_of(item)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))
        rank[item] = FIRST.index(group) if group in FIRST else len(FIRST)
    items.sort(key=rank.__getitem__)


def group_of(item: pytest.Function) -> str:
    """Which tests a test stays with: those that use what takes long to make, else those of its
    file. Other integration tests stand alone: each takes long, and they share nothing."""
    if mark := item.get_closest_marker("xdist_group"):
        return str(mark.args[0])
    if "finished" in item.fixturenames:
        return "finished"
    alone = "integration" in item.path.parts and "made" not in item.fixturenames
    return "" if alone else item.path.name
