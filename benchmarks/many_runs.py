"""Planning and collecting a study of many runs.

    python benchmarks/many_runs.py [--runs 10000]    # about two minutes; writes many_runs.json

Plans preset quick with so many seeds by a dry run, then collects and tests as many generated runs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import yaml
from commands import timed
from machine import REPOSITORY, machine, record
from pipeline import SNAKEMAKE
from tracking import write_study

TARGETS = {"snakemake -n": 30, "dstcl collect": 60}


def write_params(folder: Path, count: int) -> int:
    """params.yaml with a preset of about so many runs; how many exactly."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    quick = params["presets"]["quick"]
    quick["extra"] = []
    each = len(quick["densities"]) * len(quick["inits"]) * len(quick["growths"])
    seeds = -(-count // each)
    quick["seeds"] = list(range(seeds))
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return each * seeds


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000)
    count = parser.parse_args().runs
    told = machine("snakemake", "pandas")
    with tempfile.TemporaryDirectory() as folder:
        planned = write_params(Path(folder), count)
        planning = timed([*SNAKEMAKE, "-n", "--quiet"], Path(folder))
        rows = {"snakemake -n": planning.seconds()}
        write_study(Path(folder), count)
        reference = ["--reference", str(REPOSITORY / "reference")]
        for command, options in (("collect", []), ("claims", reference)):
            called = ["dstcl", command, "results/quick", *options]
            rows[f"dstcl {command}"] = timed(called, Path(folder)).seconds()
    record(
        "many_runs",
        told
        | {"planned": planned, "collected": count, "targets_seconds": TARGETS, "commands": rows},
    )
    print(f"{planned:,} runs planned, {count:,} collected\n")
    print("| command | wall, s | CPU, s |\n|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['wall_seconds']} | {row['cpu_seconds']} |")


if __name__ == "__main__":
    main()
