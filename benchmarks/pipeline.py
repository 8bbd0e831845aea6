"""Time the pipeline as a person calls it, in an empty workspace: one command a row.

    python benchmarks/pipeline.py [--keep FOLDER]    # about 5 minutes; writes pipeline.json here

Prints the table of docs/benchmarks.md. Times are wall clock; CPU time is that of all processes.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import REPOSITORY, machine, record

SNAKEMAKE = ["snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
COMMANDS = {
    "preset quick, everything": [*SNAKEMAKE, "--cores", "all"],
    "preset quick, again (nothing to be done)": [*SNAKEMAKE, "--cores", "all"],
    "preset paper, dry run": [*SNAKEMAKE, "-n", "--config", "preset=paper"],
}


def timed(command: list[str], folder: Path) -> dict[str, float]:
    """Run to the end; wall and CPU seconds.

    Raises:
        SystemExit: the command failed; its output is shown.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    # What the rules call is found beside this Python, as in an activated environment.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = os.environ | {"PATH": path}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    wall = time.perf_counter() - started
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_seconds": round(wall, 1), "cpu_seconds": round(cpu, 1)}


def main() -> None:
    """Measure every command, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="leave the results in this new folder")
    keep = parser.parse_args().keep
    told = machine()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(REPOSITORY / "params.yaml", folder)
        rows = {name: timed(command, Path(folder)) for name, command in COMMANDS.items()}
        runs = len(list(Path(folder, "results", "quick", "runs").rglob("metrics.json")))
        if keep:
            shutil.copytree(Path(folder) / "results", keep)
    record("pipeline", told | {"runs": runs, "commands": rows})
    print("| command | wall, s | CPU, s |\n|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['wall_seconds']} | {row['cpu_seconds']} |")


if __name__ == "__main__":
    main()
