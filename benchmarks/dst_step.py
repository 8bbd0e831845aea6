"""What sparsity costs: steps of the plain optimiser, steps with masks and topology updates.

    python benchmarks/dst_step.py [--rounds 15] [--device cpu]

Writes dst_step-<device>.json here. ResNet-18 as published, batch 64, 32-pixel images. Everything
takes turns within each round, so that what else the machine does falls on all of it; medians and
the spread between quartiles. An update costs one training step with it less one without, by the
same trainer in the same round, counted in dense steps of that round. Each replaces half of the
active weights, as the first of a task does.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from machine import enough_rounds, machine, record
from tables import middle
from torch import Tensor, nn

from dstcl.continual.precision import allow_tf32
from dstcl.continual.published import PublishedSparseTraining
from dstcl.networks.build import build_network
from dstcl.sparse import (
    DynamicSparseTraining,
    SparseTraining,
    UpdateSchedule,
    pack_masks,
)
from dstcl.storage import write_tensors

Step = Callable[[], None]
Times = dict[str, list[float]]

DENSITIES = (0.2, 0.1, 0.05)
GROWTHS = ("random", "unfired", "gradient", "momentum")
PROTOCOLS: dict[str, type[DynamicSparseTraining]] = {
    "corrected": DynamicSparseTraining,
    "published": PublishedSparseTraining,
}
NEVER, ALWAYS = (UpdateSchedule(10**9, every, stop_at=1.0) for every in (10**9, 1))
WARM_UP = 2


class Bench:
    """One batch, and trainers of a network each that all see it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.images = torch.randn(64, 3, 32, 32, device=device)
        self.labels = torch.randint(100, (64,), device=device)

    def network(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        """A fresh network and its optimiser."""
        network = build_network("resnet18", 3, 100, seed=0).to(self.device)
        return network, torch.optim.Adam(network.parameters(), 1e-3, fused=True)

    def settings(self, density: float) -> dict[str, Any]:
        """What every trainer with masks is given."""
        draws = torch.Generator(self.device).manual_seed(0)
        return {"density": density, "init": "erk", "generator": draws}

    def dynamic(
        self,
        kind: type[DynamicSparseTraining],
        density: float,
        growth: str,
        frozen: Mapping[str, Tensor] | None = None,
    ) -> tuple[nn.Module, DynamicSparseTraining]:
        """A network and the trainer that changes its masks."""
        network, optimizer = self.network()
        trainer = kind(
            network, optimizer, grow=growth, total_steps=NEVER.total_steps, frozen=frozen,
            **self.settings(density),
        )  # fmt: skip
        return network, trainer

    def training(self, network: nn.Module, trainer: SparseTraining | torch.optim.Optimizer) -> Step:
        """A function that makes one whole training step."""

        def step() -> None:
            for weight in network.parameters():
                weight.grad = None
            nn.functional.cross_entropy(network(self.images), self.labels).backward()
            trainer.step()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)

        return step

    def dense(self) -> Step:
        """The plain optimiser."""
        network, optimizer = self.network()
        return self.training(network, optimizer)

    def without_updates(self) -> dict[str, Step]:
        """Each kind of training, no update due."""
        network, optimizer = self.network()
        static = SparseTraining(network, optimizer, **self.settings(0.1))
        steps = {"dense": self.dense(), "static": self.training(network, static)}
        frozen = {name: mask.clone() for name, mask in static.masks.items()}
        for kind, earlier in (("dynamic", None), ("isolated", frozen)):
            network, trainer = self.dynamic(DynamicSparseTraining, 0.1, "gradient", earlier)
            trainer.schedule = NEVER
            steps[kind] = self.training(network, trainer)
        return steps

    def with_updates(self, kind: type[DynamicSparseTraining], density: float) -> dict[str, Step]:
        """For every growth a step without an update, then one with it; a dense step first."""
        steps = {"dense": self.dense()}
        for growth in GROWTHS:
            network, trainer = self.dynamic(kind, density, growth)
            step = self.training(network, trainer)
            for suffix, schedule in (("", NEVER), (" update", ALWAYS)):
                steps[growth + suffix] = _scheduled(step, trainer, schedule)
        return steps


def _scheduled(step: Step, trainer: DynamicSparseTraining, schedule: UpdateSchedule) -> Step:
    def run() -> None:
        trainer.schedule = schedule
        step()

    return run


def measure(steps: Mapping[str, Step], rounds: int) -> Times:
    """Milliseconds of every step in every round; the first rounds warm up and do not count."""
    times: Times = {kind: [] for kind in steps}
    for round_number in range(rounds + WARM_UP):
        for kind, step in steps.items():
            started = time.perf_counter()
            step()
            if round_number >= WARM_UP:
                times[kind].append(1000 * (time.perf_counter() - started))
    return times


def summarise_steps(times: Times) -> dict[str, dict[str, object]]:
    """Milliseconds a step and the ratio to the dense step of the same round."""
    rows = {}
    for kind, values in times.items():
        ratios = [value / base for value, base in zip(values, times["dense"], strict=True)]
        ms = middle(values, 1)
        rows[kind] = {
            "median_ms": ms["median"],
            "quartiles_ms": ms["quartiles"],
            "median_ratio_to_dense": round(statistics.median(ratios), 3),
        }
    return rows


def summarise_updates(times: Times) -> dict[str, dict[str, object]]:
    """What an update adds: milliseconds, and dense steps of the same round."""
    rows = {}
    for growth in GROWTHS:
        added = [
            updated - plain
            for updated, plain in zip(times[f"{growth} update"], times[growth], strict=True)
        ]
        dense_steps = [extra / base for extra, base in zip(added, times["dense"], strict=True)]
        rows[growth] = {"ms": middle(added, 1), "dense_steps": middle(dense_steps, 3)}
    return rows


def mask_bytes(bench: Bench) -> dict[str, float]:
    """Bytes on disk of a task's mask, file header included, over its number of weights."""
    network, optimizer = bench.network()
    result = {}
    for density in DENSITIES:
        trainer = SparseTraining(network, optimizer, **bench.settings(density))
        packed = pack_masks(trainer.masks)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "masks.safetensors"
            write_tensors(path, packed, {"shapes": trainer.shapes})
            weights = sum(mask.numel() for mask in trainer.masks.values())
            result[str(density)] = round(path.stat().st_size / weights, 5)
    return result


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=enough_rounds, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    allow_tf32(False)
    bench = Bench(torch.device(options.device))
    told = machine(device=bench.device)
    steps = summarise_steps(measure(bench.without_updates(), options.rounds))
    print("| step | median, ms | quartiles, ms | ratio to dense |\n|---|---|---|---|")
    for kind, row in steps.items():
        low, high = row["quartiles_ms"]
        ratio = row["median_ratio_to_dense"]
        print(f"| {kind} | {row['median_ms']} | {low} to {high} | {ratio} |")
    updates: dict[str, dict[str, object]] = {}
    print("\n| update | density | growth | median, ms | dense steps | quartiles |")
    print("|---|---|---|---|---|---|")
    for protocol, kind in PROTOCOLS.items():
        updates[protocol] = {}
        for density in DENSITIES:
            times = measure(bench.with_updates(kind, density), options.rounds)
            updates[protocol][str(density)] = rows = summarise_updates(times)
            for growth, row in rows.items():
                cost = row["dense_steps"]
                low, high = cost["quartiles"]
                print(
                    f"| {protocol} | {density} | {growth} | {row['ms']['median']} "
                    f"| {cost['median']} | {low} to {high} |", flush=True,
                )  # fmt: skip
    masks = mask_bytes(bench)
    print(f"\nbytes a weight and task, on disk: {masks}")
    told |= {"threads": torch.get_num_threads(), "rounds": options.rounds, "variants": steps}
    record(
        f"dst_step-{bench.device.type}", told | {"updates": updates, "mask_bytes_a_weight": masks}
    )


if __name__ == "__main__":
    main()
