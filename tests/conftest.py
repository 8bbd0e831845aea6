"""What concerns all tests: no settings of whoever runs them, and how `make test` spreads files over
processes, the longest first."""

from __future__ import annotations

import os

import pytest

# The order in which files are begun; all others follow. Tests of Slurm mostly wait, so others
# compute meanwhile.
FIRST = [
    "test_slurm.py",
    "test_reruns_presets.py",
    "test_reruns.py",
    "test_reruns_plans.py",
    "test_reruns_code.py",
    "test_pipeline.py",
    "test_profiles.py",
    "test_plugin_study.py",
    "test_elsewhere.py",
    "test_mlflow_server.py",
    "test_finished_study.py",
    "test_failed_study.py",
    "test_fuzz.py",
    "test_many.py",
]
MOST = 8
"""Processes; each takes a gigabyte and starts studies that use two cores."""

OF_A_PERSON = ("DSTCL_", "MLFLOW_", "SNAKEMAKE_")
"""How names of settings begin with which a person works: data, devices, profiles, a server."""
OF_THE_TESTS = ("DSTCL_TEST_DATA", "DSTCL_PAPER_PDF")

for name in list(os.environ):
    if name.startswith(OF_A_PERSON) and name not in OF_THE_TESTS:
        del os.environ[name]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, for the one that waits."""
    there = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(2)
    return min(len(there) + 1, MOST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put long files first, where tests run in several processes; by hand the order stays."""
    if hasattr(config, "workerinput"):
        rank = {name: place for place, name in enumerate(FIRST)}
        items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
