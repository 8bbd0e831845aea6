"""How fast runs train on this machine, and what memory they take: one row per network.

    python benchmarks/speed.py [--device cuda] [--networks resnet18]   # src/dstcl/study/speeds.csv

The real learner on random images: two tasks, so that the second trains around frozen weights, with
topology updates at the interval of the presets; tested images are counted as in `dstcl.study.cost`.
Each network has a process of its own, as a job has. Rows of the same device, threads and network
are replaced; `dstcl config cost` reads the file. On a GPU take more images: --images 50000.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from typing import Any

import torch
from machine import machine, peak_memory
from subjects import paper_run, random_data, task_classes

from dstcl.continual.learner import learner_of
from dstcl.networks import NETWORKS
from dstcl.study.cost import SPEED_COLUMNS, SPEEDS_FILE, TEST_SHARE, read_speeds

# Image size, channels and update interval of the preset that uses a network.
DIGITS, COLOUR = (28, 1, 8), (32, 3, 40)


def measure(network: str, device: str, threads: int, images: int) -> dict[str, Any]:
    """Speed and peak memory of one network, warmed up."""
    torch.set_num_threads(threads)
    where = torch.device(device)
    size, channels, every = DIGITS if network in ("convnet", "lenet5") else COLOUR
    run = paper_run().changed(
        {
            "network": network,
            "tasks": 2,
            "image_size": size,
            "epochs": 1,
            "update_every": every,
            "growth": "gradient",
            "augment": "none" if channels == 1 else "crop-flip",
        }
    )
    tasks = task_classes(2)
    learner_of(run, random_data(4 * run.training.batch_size, size, channels), tasks, where).fit()
    cuda = where.type == "cuda"
    # Of one thread its own time: what else the machine does then hardly matters.
    clock = time.perf_counter if cuda or threads > 1 else time.process_time
    learner = learner_of(run, random_data(images, size, channels), tasks, where)
    started = clock()
    outcome = learner.fit()  # ends with accuracies on this side: the card's queue is empty
    seconds = clock() - started
    tested = len(outcome.accuracy) * (images // 10)
    return {
        "device": torch.cuda.get_device_name(where) if cuda else "cpu",
        "threads": threads,
        "network": network,
        "image_size": size,
        "batch_size": run.training.batch_size,
        "images_per_second": round((outcome.effort.images + TEST_SHARE * tested) / seconds, 1),
        "host_mb": peak_memory() // 2**20,
        "gpu_mb": torch.cuda.max_memory_reserved(where) // 2**20 if cuda else 0,
    }


def source() -> str:
    """Where a row comes from: this script, the day, the commit, the processor."""
    told = machine()
    return (
        f"benchmarks/speed.py on {told['date']} at {told['commit']}; {told['processor']}, "
        f"torch {told['torch']}"
    )


def main() -> None:
    """Measure every network in a process of its own and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=1024, help="a task; more on a GPU")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--note", default="", help="appended to the source, as: shared machine")
    parser.add_argument("--print", action="store_true", help="one network; print, write nothing")
    options = parser.parse_args()
    if options.print:
        row = measure(options.networks[0], options.device, options.threads, options.images)
        csv.DictWriter(sys.stdout, SPEED_COLUMNS[:-1]).writerow(row)
        return
    rows = [vars(speed) for speed in read_speeds()]
    for network in options.networks:
        command = [sys.executable, __file__, "--print", "--networks", network]
        command += ["--device", options.device, "--threads", str(options.threads)]
        command += ["--images", str(options.images)]
        line = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        print(line, end="", flush=True)
        told = source() + (f"; {options.note}" if options.note else "")
        row = dict(zip(SPEED_COLUMNS, [*next(csv.reader([line])), told]))
        same = ("device", "network", "image_size")
        rows = [
            old
            for old in rows
            if any(str(old[key]) != row[key] for key in same)
            or str(old["threads"]) != row["threads"]
        ] + [row]
    rows.sort(key=lambda row: (row["device"], row["network"], int(row["threads"])))
    with SPEEDS_FILE.open("w", newline="") as file:
        writer = csv.DictWriter(file, SPEED_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
