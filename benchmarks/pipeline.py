"""Time the pipeline as a person calls it, in an empty workspace: one command per row.

    python benchmarks/pipeline.py [--keep FOLDER]    # about 5 minutes; writes pipeline.json here

Prints the table of docs/benchmarks.md. Times are wall clock; CPU time is that of all processes.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from commands import timed
from machine import REPOSITORY, machine, record

SNAKEMAKE = ["snakemake", "--snakefile", str(REPOSITORY / "workflow" / "Snakefile")]
COMMANDS = {
    "preset quick, everything": [*SNAKEMAKE, "--cores", "all"],
    "preset quick, again (nothing to be done)": [*SNAKEMAKE, "--cores", "all"],
    "preset paper, dry run": [*SNAKEMAKE, "-n", "--config", "preset=paper"],
}


def main() -> None:
    """Measure every command, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="leave the results in this new folder")
    keep = parser.parse_args().keep
    told = machine()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(REPOSITORY / "params.yaml", folder)
        rows = {name: timed(command, Path(folder)).seconds() for name, command in COMMANDS.items()}
        runs = len(list(Path(folder, "results", "quick", "runs").rglob("metrics.json")))
        if keep:
            shutil.copytree(Path(folder) / "results", keep)
    record("pipeline", told | {"runs": runs, "commands": rows})
    print("| command | wall, s | CPU, s |\n|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['wall_seconds']} | {row['cpu_seconds']} |")


if __name__ == "__main__":
    main()
