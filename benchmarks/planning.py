"""Planning preset paper against what Snakemake itself takes for as many jobs.

    python benchmarks/planning.py [--rounds 3]    # a minute or two; writes planning.json here

Beside the preset: trivial jobs of the same shape, and jobs of one file each. All are planned in
turns by `snakemake -n --quiet` in an empty folder; the least CPU time counts, which other processes
on the machine disturb less than they do wall time.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from commands import timed
from machine import REPOSITORY, machine, record
from pipeline import SNAKEMAKE

from dstcl.study.load import load_file, runs
from dstcl.study.run import RESULT_FILES

TARGET = 5
SNAKEFILE = """
rule all:
    input:
        expand("runs/{n}/metrics", n=range(COUNT))

rule inputs:
    output:
        "{name,data|tasks/.*}"
    shell:
        "touch {output}"

rule train:
TRAIN
    shell:
        "touch {output}"
"""
TRAIN = {
    "trivial jobs of the same shape": """
    input:
        data=lambda wildcards: "data",
        tasks=lambda wildcards: f"tasks/{int(wildcards.n) % 24}",
    output:
        **{name: f"runs/{{n}}/{name}" for name in OUTPUTS},
    log:
        "logs/{n}",
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
        batch=lambda wildcards: 128,
    params:
        run=lambda wildcards: wildcards.n,
        out=subpath(output.metrics, parent=True),
""",
    "jobs of one file each": """
    output:
        "runs/{n}/metrics",
""",
}


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    told = machine("snakemake")
    count = len(runs(load_file(REPOSITORY / "params.yaml", "paper")))
    commands = {"preset paper": [*SNAKEMAKE, "-n", "--quiet", "--config", "preset=paper"]}
    calls: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(REPOSITORY / "params.yaml", folder)
        for name, rule in TRAIN.items():
            path = Path(folder, f"{name.replace(' ', '-')}.smk")
            text = SNAKEFILE.replace("TRAIN", rule.strip("\n")).replace("COUNT", str(count))
            path.write_text(text.replace("OUTPUTS", str(list(RESULT_FILES))))
            commands[name] = ["snakemake", "--snakefile", str(path), "-n", "--quiet"]
        for _ in range(rounds):
            for name, command in commands.items():
                calls.setdefault(name, []).append(timed(command, Path(folder)).seconds())
    rows = {name: min(row, key=lambda call: call["cpu_seconds"]) for name, row in calls.items()}
    record("planning", told | {"runs": count, "target_seconds": TARGET, "commands": rows})
    print(f"{count:,} runs\n\n| planned | wall, s | CPU, s |\n|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['wall_seconds']} | {row['cpu_seconds']} |")


if __name__ == "__main__":
    main()
