"""What Snakemake would run, many times over, without starting an interpreter each time."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from workspace import BIN

# All that a plan imports but this package, which a test may have changed.
HEAVY = ["snakemake.cli", "pandas", "pydantic", "yaml", "snakemake.report.html_reporter"]
HEAVY += ["snakemake_logger_plugin_rich", "snakemake_executor_plugin_slurm"]
STAGES = {"all", "data", "tasks", "train", "evaluate", "figures"}
"""Targets without a command, which are part of every plan."""


def planned(folder: Path, *arguments: str) -> Counter[str]:
    """Rules that a dry run plans, with their numbers of jobs.

    Args:
        folder: a copy of the repository with results and memory.
        arguments: of Snakemake, such as targets.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    with tempfile.TemporaryDirectory() as scratch:
        said = Path(scratch, "said.txt")
        process = context.Process(target=_dry_run, args=(folder, said, arguments))
        process.start()
        process.join(timeout=300)
        output = said.read_text()
    assert process.exitcode == 0, output
    return jobs(output)


def jobs(output: str) -> Counter[str]:
    """Rules and numbers of jobs in the table that Snakemake prints; none if nothing is to do."""
    if "Nothing to be done" in output:
        return Counter()
    table = output.split("Job stats", 1)[1].split("total", 1)[0]
    rows = re.findall(r"^ *([a-z][a-z0-9_ ]*?) +(\d+) *$", table, re.MULTILINE)
    counts = {name.replace(" ", "_"): int(count) for name, count in rows}
    assert counts, output
    return Counter({name: count for name, count in counts.items() if name not in STAGES})


def _dry_run(folder: Path, said: Path, arguments: tuple[str, ...]) -> None:
    """In a process of its own: plan, and leave what was printed in a file."""
    output = os.open(said, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    sys.path.insert(0, str(folder / "src"))
    from snakemake.cli import main

    try:
        main(["--dry-run", "--nolock", *arguments])
        code = 0
    except SystemExit as end:
        code = 0 if end.code in (None, 0) else 1
        if isinstance(end.code, str):
            print(end.code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
