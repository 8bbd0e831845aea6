"""What a structure costs: topology updates with one, over updates without one.

    python benchmarks/structured.py [--rounds 15]

Writes structured.json here. One layer, one thread, CPU time of this process. An update is all that
a step adds when masks change: scores, pruning, growth, the optimiser's state, weights, the check of
counts. Layers take turns within each round, with the same weights and gradients; ratios are taken
within rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import torch
from machine import enough_rounds, machine, record
from tables import middle, print_table
from torch import nn

from dstcl.sparse import DynamicSparseTraining

LAYERS: dict[str, tuple[int, ...]] = {
    "linear 1024 x 1024": (1024, 1024),
    "convolution 512 x 512 x 3 x 3": (512, 512, 3, 3),
}
STRUCTURES: dict[float, tuple[str, ...]] = {
    0.5: ("2:4", "4:8", "block:4x4", "fan-in", "fan-in:ablate"),
    0.1: ("block:4x4", "fan-in", "fan-in:ablate"),
}
GROWTHS = ("gradient", "random")
RATE = 0.3
WARM_UP = 3


class Update:
    """A layer whose mask changes when asked."""

    def __init__(self, shape: tuple[int, ...], density: float, growth: str, structure: str) -> None:
        out, into, *kernel = shape
        self.layer: nn.Module = nn.Linear(into, out, bias=False)
        if kernel:
            self.layer = nn.Conv2d(into, out, (kernel[0], kernel[1]), bias=False)
        self.weight = self.layer.get_parameter("weight")
        optimizer = torch.optim.SGD([self.weight], 0.1, momentum=0.9)
        self.training = DynamicSparseTraining(
            self.layer, optimizer, density=density, grow=growth, structure=structure,
            prune_rate=RATE, floor=RATE, update_every=2, total_steps=10**9, stop_at=1.0,
        )  # fmt: skip

    def seconds(self, weight: torch.Tensor, gradient: torch.Tensor) -> float:
        """CPU time of a step with an update less that of the step before, without one."""
        with torch.no_grad():
            self.weight.copy_(weight * self.training.masks["weight"])
        plain, update = (self._step(gradient) for _ in range(2))
        return update - plain

    def _step(self, gradient: torch.Tensor) -> float:
        self.weight.grad = gradient.clone()
        started = time.process_time()
        self.training.step()
        return time.process_time() - started


def measure(
    shape: tuple[int, ...], density: float, growth: str, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of an update of every structure in every round; "none" first."""
    updates = {
        name: Update(shape, density, growth, name) for name in ("none", *STRUCTURES[density])
    }
    times: dict[str, list[float]] = {name: [] for name in updates}
    draws = torch.Generator().manual_seed(0)
    for round_number in range(rounds + WARM_UP):
        weight, gradient = (torch.randn(shape, generator=draws) for _ in range(2))
        for name, update in updates.items():
            seconds = update.seconds(weight, gradient)
            if round_number >= WARM_UP:
                times[name].append(1000 * seconds)
    return times


def summarise(times: Mapping[str, list[float]]) -> dict[str, Any]:
    """Milliseconds, and the ratio to an update without a structure in the same round."""
    return {
        name: {
            "ms": middle(values, 1),
            "ratio": middle([v / base for v, base in zip(values, times["none"], strict=True)], 2),
        }
        for name, values in times.items()
    }


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=enough_rounds, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    told = machine() | {"threads": 1, "rounds": options.rounds, "time": "CPU time of the process"}
    found: dict[str, Any] = {}
    rows = []
    for layer, shape in LAYERS.items():
        for density in STRUCTURES:
            for growth in GROWTHS:
                told_of = summarise(measure(shape, density, growth, options.rounds))
                found.setdefault(layer, {}).setdefault(str(density), {})[growth] = told_of
                rows += [
                    [layer, density, growth, name, row["ms"]["median"], row["ratio"]["median"],
                     row["ratio"]["quartiles"]]
                    for name, row in told_of.items()
                ]  # fmt: skip
    record("structured", told | {"updates": found})
    columns = ["layer", "density", "growth", "structure", "ms", "times none", "quartiles"]
    print_table(columns, rows)


if __name__ == "__main__":
    main()
