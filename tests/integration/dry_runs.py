"""What Snakemake would run."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from pathlib import Path

from workspace import search_path

STAGES = {"all", "data", "tasks", "train", "evaluate", "figures"}
"""Targets without a command, which are part of every plan."""


def planned(folder: Path, *arguments: str) -> Counter[str]:
    """Rules that a dry run plans, with their numbers of jobs.

    Args:
        folder: a copy of the repository with results and memory.
        arguments: of Snakemake, such as targets.
    """
    done = subprocess.run(
        ["snakemake", "--dry-run", "--nolock", *arguments],
        cwd=folder,
        env=os.environ | {"PATH": search_path(), "PYTHONPATH": str(folder / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return jobs(done.stdout)


def jobs(output: str) -> Counter[str]:
    """Rules and numbers of jobs in the table that Snakemake prints; none if nothing is to do."""
    if "Nothing to be done" in output:
        return Counter()
    table = output.split("Job stats", 1)[1].split("total", 1)[0]
    rows = re.findall(r"^ *([a-z][a-z0-9_ ]*?) +(\d+) *$", table, re.MULTILINE)
    counts = {name.replace(" ", "_"): int(count) for name, count in rows}
    assert counts, output
    return Counter({name: count for name, count in counts.items() if name not in STAGES})
