"""Methods of sparse training side by side: test accuracy of one network on CIFAR-10 or CIFAR-100.

    dstcl data add cifar10 FOLDER --link
    dstcl data prepare cifar10 --image-size 32 --out cifar10-32px.safetensors
    python benchmarks/sparse_methods.py --data cifar10-32px.safetensors

The loop is what a user of `dstcl.sparse` writes, and each method has the values of its own paper
(``preset=``). All train alike and for as long. Per seed, all begin with the same weights and see
the same batches. A finished run is a line of the record, so the same command goes on where it was
stopped, and only prints the table once all are there.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from machine import REPOSITORY, commit, processor
from tables import print_table
from torch import nn

from dstcl.data.batches import TrainingBatches, evaluation_batches, task_examples
from dstcl.data.stored import load_prepared, read_prepared
from dstcl.evaluation.statistics import mean_interval
from dstcl.seeds import generator
from dstcl.sparse import DynamicSparseTraining, GradualMagnitudePruning, SparseTraining

EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 10, 128, 0.1, 5e-4
WIDTHS = (32, 64, 128)
DENSITIES = (0.1, 0.05, 0.02)
REFERENCE = "static"
Method = Callable[..., SparseTraining]


METHODS: dict[str, Method] = {
    # A random mask (ERK) that stays as it is.
    "static": lambda *its, steps, epoch, **others: SparseTraining(*its, init="erk", **others),
    # These two change their masks after each epoch.
    "set": lambda *its, steps, epoch, **others: DynamicSparseTraining(
        *its, preset="set", total_steps=steps, update_every=epoch, **others
    ),
    "snfs": lambda *its, steps, epoch, **others: DynamicSparseTraining(
        *its, preset="snfs", total_steps=steps, update_every=epoch, **others
    ),
    "rigl": lambda *its, steps, epoch, **others: DynamicSparseTraining(
        *its, preset="rigl", total_steps=steps, **others
    ),
    "gradual": lambda *its, steps, epoch, **others: GradualMagnitudePruning(
        *its, total_steps=steps, **others
    ),
}
"""Each from a model, its optimiser, the density, all steps and those of an epoch."""


@dataclass(frozen=True)
class Cell:
    """What is trained."""

    seed: int
    method: str
    density: float

    @property
    def key(self) -> tuple[str, ...]:
        """The same as text, as the record has it."""
        return (str(self.seed), self.method, str(self.density))


def cells(seeds: int, densities: tuple[float, ...]) -> list[Cell]:
    """Seed by seed, so that a record that is not finished has as many of each."""
    return [
        cell
        for seed in range(seeds)
        for cell in (
            Cell(seed, "dense", 1.0),
            *(Cell(seed, method, density) for density, method in product(densities, METHODS)),
        )
    ]


def network(channels: int, classes: int) -> nn.Module:
    """Three 3x3 convolutions with stride 2, each with batch norm and ReLU; global mean; head."""
    layers: list[nn.Module] = []
    for width in WIDTHS:
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers)


def train(cell: Cell, path: Path, epochs: int) -> dict[str, Any]:
    """One run; its line of the record."""
    torch.set_num_threads(1)
    started = time.process_time()
    data = read_prepared(path)
    labels = list(range(len(data.class_names)))
    parts = [
        task_examples(data, labels, test=test, device=torch.device("cpu")) for test in (False, True)
    ]
    torch.manual_seed(cell.seed)
    model = network(len(data.mean), len(labels)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), LEARNING_RATE, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    order = generator(cell.seed, "sparse methods", "order")
    epoch = -(-len(parts[0]) // BATCH)
    steps = epochs * epoch
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    training = None
    if cell.method != "dense":
        training = METHODS[cell.method](
            model, optimizer, density=cell.density, steps=steps, epoch=epoch,
            generator=generator(cell.seed, "sparse methods", "masks"),
        )  # fmt: skip
    step = optimizer.step if training is None else training.step
    for _ in range(epochs):
        for images, targets in TrainingBatches(parts[0], BATCH, "crop-flip", order):
            optimizer.zero_grad()
            images = images.contiguous(memory_format=torch.channels_last)
            nn.functional.cross_entropy(model(images), targets).backward()
            step()
            rates.step()
    return {
        "seed": cell.seed,
        "method": cell.method,
        "density": cell.density,
        "accuracy": round(accuracy(model.eval(), parts[1]), 4),
        "active": nonzero(model) if training is None else sum(training.counts.values()),
        "epochs": epochs,
        "cpu_s": round(time.process_time() - started, 1),
        "processor": processor(),
        "torch": torch.__version__,
        "commit": commit(),
        "data_digest": data.digest,
    }


@torch.no_grad()
def accuracy(model: nn.Module, examples: Any) -> float:
    """Share of the test images that are classified as they should be."""
    right = sum(
        int((model(images).argmax(1) == labels).sum())
        for images, labels in evaluation_batches(examples, 500)
    )
    return right / len(examples)


def nonzero(model: nn.Module) -> int:
    """Weights of the layers that masks are for."""
    return sum(int(weight.count_nonzero()) for weight in model.parameters() if weight.dim() > 1)


def read_record(path: Path) -> list[dict[str, str]]:
    """The runs that are finished."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add(path: Path, row: dict[str, Any]) -> None:
    """One more."""
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def show(rows: list[dict[str, str]], densities: tuple[float, ...]) -> None:
    """Accuracy in per cent and its difference from the static mask, paired by seed: means over
    seeds with 95% intervals, and how many seeds."""
    accuracy_of = {
        (row["method"], float(row["density"]), row["seed"]): 100 * float(row["accuracy"])
        for row in rows
    }
    seeds = sorted({row["seed"] for row in rows})

    def mean(method: str, density: float, reference: str | None = None) -> str:
        values = [
            accuracy_of[method, density, seed]
            - (accuracy_of[reference, density, seed] if reference else 0)
            for seed in seeds
            if (method, density, seed) in accuracy_of
            and (reference is None or (reference, density, seed) in accuracy_of)
        ]
        if len(values) < 2:
            return "".join(f"{value:.1f} (1)" for value in values)
        found = mean_interval(values)
        return f"{found.mean:.1f} ({found.low:.1f} to {found.high:.1f}; {len(values)})"

    header = ["", *(f"density {density}" for density in densities)]
    print(f"\ndense: {mean('dense', 1.0)}")
    print_table(header, [[m, *(mean(m, d) for d in densities)] for m in METHODS])
    print(f"\nminus {REFERENCE}, paired by seed:")
    others = [method for method in METHODS if method != REFERENCE]
    print_table(header, [[m, *(mean(m, d, REFERENCE) for d in densities)] for m in others])


def main() -> None:
    """Train what is missing, record each run, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared images")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--densities", type=float, nargs="+", default=DENSITIES)
    parser.add_argument("--out", type=Path, help="record; benchmarks/sparse_methods-<data>.csv")
    options = parser.parse_args()
    name = options.data.name.split("-")[0]
    out = options.out or REPOSITORY / "benchmarks" / f"sparse_methods-{name}.csv"
    wanted = cells(options.seeds, tuple(options.densities))
    recorded = read_record(out)
    if any(int(row["epochs"]) != options.epochs for row in recorded):
        parser.error(f"--epochs: {out.name} has runs of other lengths; give another --out")
    if any(row["data_digest"] != load_prepared(options.data).digest for row in recorded[:1]):
        parser.error(f"--data: {out.name} has runs of other images; give another --out")
    done = {(row["seed"], row["method"], row["density"]) for row in recorded}
    missing = [cell for cell in wanted if cell.key not in done]
    print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are in {out.name}", flush=True)
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        jobs = [pool.submit(train, cell, options.data, options.epochs) for cell in missing]
        for job in as_completed(jobs):
            row = job.result()
            add(out, row)
            print(
                f"{row['method']} {row['density']} seed {row['seed']}: {row['accuracy']}",
                flush=True,
            )
    show(read_record(out), tuple(options.densities))


if __name__ == "__main__":
    main()
