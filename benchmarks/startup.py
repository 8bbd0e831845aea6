"""Processor seconds that a short run costs beyond its training, by each way of starting it.

    python benchmarks/startup.py [--runs 12]    # about two minutes; writes startup.json here

Runs of preset quick with one epoch per task. Training is what `train_run` takes in a process that
has trained before. Snakemake and `dstcl train-study` are measured with few runs and with many: the
difference per run leaves out what they take once. User and system time of all processes, which
other work on the machine disturbs less than it does wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from commands import cpu_of_children, timed
from machine import REPOSITORY, machine, record
from pipeline import SNAKEMAKE

from dstcl.jobs.train import train_run
from dstcl.study.load import load_file, runs
from dstcl.study.plan import write_plan
from dstcl.study.run import Run

TARGET = 0.3
FEW = 2
STUDY = "results/quick"


def write_params(folder: Path, count: int) -> list[Run]:
    """params.yaml with so many runs; the runs."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    quick = params["presets"]["quick"]
    quick |= {"densities": [0.2], "inits": ["erk"], "growths": ["momentum"], "extra": []}
    quick |= {"seeds": list(range(count))}
    quick["training"]["epochs"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return runs(load_file(folder / "params.yaml"))


def files_of(run: Run, folder: Path) -> tuple[Path, Path]:
    """Prepared data and split of a run."""
    return folder / "data" / run.data_file, folder / "data" / run.tasks_file


def training(planned: list[Run], folder: Path) -> float:
    """CPU seconds of `train_run`, the median; the first, which loads what the others find, is left
    out."""
    torch.set_num_threads(1)
    seconds = []
    for number, run in enumerate(planned):
        started = time.process_time(), cpu_of_children()
        train_run(run, *files_of(run, folder), folder / "trained" / str(number), device="cpu")
        seconds.append(time.process_time() - started[0] + cpu_of_children() - started[1])
    return statistics.median(seconds[1:])


def by_itself(planned: list[Run], folder: Path) -> float:
    """CPU seconds of `dstcl train`, the median."""
    seconds = []
    for number, run in enumerate(planned):
        data, tasks = map(str, files_of(run, folder))
        files = ["--data", data, "--tasks", tasks, "--out", f"alone/{number}"]
        command = ["dstcl", "train", "--run", json.dumps(run.to_dict()), *files]
        seconds.append(timed([*command, "--gpus", "0", "--threads", "1"], folder).cpu_seconds)
    return statistics.median(seconds)


def together(folder: Path, count: int, command: list[str]) -> float:
    """CPU seconds per run of a command that trains what is left of a study."""
    taken = []
    for runs_now in (FEW, count):
        planned = write_params(folder, runs_now)
        shutil.rmtree(folder / STUDY, ignore_errors=True)
        write_plan("quick", planned, folder / STUDY / "plan.json")
        before = cpu_of_children()
        timed(command, folder)
        taken.append(cpu_of_children() - before)
    return (taken[1] - taken[0]) / (count - FEW)


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=12)
    count = parser.parse_args().runs
    told = machine("snakemake")
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned = write_params(folder, count)
        timed([*SNAKEMAKE, "--cores", "1", "--", "tasks"], folder)
        train_study = ["dstcl", "train-study", STUDY, "--device", "cpu", "--threads", "1"]
        ways: dict[str, Callable[[], float]] = {
            "training": lambda: training(planned[: FEW + 1], folder),
            "dstcl train, by itself": lambda: by_itself(planned[:FEW], folder),
            "dstcl train-study": lambda: together(folder, count, train_study),
            "snakemake": lambda: together(
                folder, count, [*SNAKEMAKE, "--cores", "1", "--", "train"]
            ),
        }
        rows: dict[str, float] = {}
        print("| way | CPU s per run | beyond training |\n|---|---|---|", flush=True)
        for way, measure in ways.items():
            rows[way] = round(measure(), 2)
            beyond = rows[way] - rows["training"]
            print(f"| {way} | {rows[way]} | {beyond:.2f} |", flush=True)
    record("startup", told | {"runs": count, "target_seconds": TARGET, "cpu_seconds": rows})


if __name__ == "__main__":
    main()
