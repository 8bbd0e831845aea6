"""When sparse linear layers are faster than dense ones: CSR and condensed constant fan-in on a CPU.

    python benchmarks/sparse_layers.py [--rounds 11]

Writes sparse_layers.json here. One thread, float32, square layers without bias. CPU time of this
process, so that other processes disturb less; within each round the layers take turns, and ratios
are taken within rounds. A measurement repeats a layer until it takes a few milliseconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from machine import enough_rounds, machine, record
from tables import middle, print_table
from torch import Tensor, nn

from dstcl.sparse import CondensedLinear, CSRLinear
from dstcl.sparse.structure import FanIn

SIZES = (256, 512, 1024, 2048)
BATCHES = (1, 16, 64, 256)
DENSITIES = (0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)
FORMS: dict[str, Callable[[nn.Linear, Tensor], nn.Module]] = {
    "csr": CSRLinear,
    "condensed": CondensedLinear,
}
LEAST_SECONDS = 0.003


def layers(size: int, density: float) -> dict[str, nn.Module]:
    """A dense layer with constant fan-in, and the same weights in each form."""
    draws = torch.Generator().manual_seed(0)
    mask = FanIn().draw(
        torch.rand(size, size, generator=draws),
        FanIn().nearest((size, size), int(density * size**2)),
    )
    dense = nn.Linear(size, size, bias=False).requires_grad_(False)
    dense.weight.mul_(mask)
    return {"dense": dense} | {name: form(dense, mask) for name, form in FORMS.items()}


def repeats(layer: nn.Module, inputs: Tensor) -> int:
    """How often a layer must run to be measured."""
    layer(inputs)
    started = time.process_time()
    layer(inputs)
    return max(1, round(LEAST_SECONDS / max(1e-6, time.process_time() - started)))


def measure(kinds: Mapping[str, nn.Module], inputs: Tensor, rounds: int) -> dict[str, list[float]]:
    """Microseconds of one pass of each layer in every round."""
    often = {name: repeats(layer, inputs) for name, layer in kinds.items()}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, layer in kinds.items():
            started = time.process_time()
            for _ in range(often[name]):
                layer(inputs)
            times[name].append(1e6 * (time.process_time() - started) / often[name])
    return times


def summarise(times: Mapping[str, list[float]]) -> dict[str, Any]:
    """Microseconds of each layer, and how many times faster than the dense one each form is."""
    told: dict[str, Any] = {name: {"us": middle(values, 1)} for name, values in times.items()}
    for name in FORMS:
        faster = [dense / own for dense, own in zip(times["dense"], times[name], strict=True)]
        told[name]["times_faster"] = middle(faster, 2)
    return told


def crossover(rows: Mapping[str, Mapping[str, Any]], form: str) -> float | None:
    """The highest density from which on, downwards, a form is faster than dense."""
    found = None
    for density in sorted(map(float, rows)):
        if rows[str(density)][form]["times_faster"]["median"] <= 1:
            break
        found = density
    return found


@torch.no_grad()
def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=enough_rounds, default=11)
    options = parser.parse_args()
    torch.set_num_threads(1)
    told = machine() | {"threads": 1, "rounds": options.rounds, "time": "CPU time of the process"}
    found: dict[str, Any] = {}
    for size in SIZES:
        for batch in BATCHES:
            inputs = torch.randn(batch, size)
            rows = {
                str(density): summarise(measure(layers(size, density), inputs, options.rounds))
                for density in DENSITIES
            }
            found.setdefault(str(size), {})[str(batch)] = rows
            print(size, batch, {form: crossover(rows, form) for form in FORMS}, flush=True)
    record("sparse_layers", told | {"layers": found})
    print_tables(found)


def print_tables(found: Mapping[str, Any]) -> None:
    """For each form how many times faster than dense it is."""
    for form in FORMS:
        print(f"\n{form}: times faster than dense (quartiles)")
        rows = []
        for size, batches in found.items():
            for batch, densities in batches.items():
                cells = [f"{size}", batch, middle_of(densities[str(DENSITIES[0])]["dense"]["us"])]
                cells += [middle_of(densities[str(d)][form]["times_faster"]) for d in DENSITIES]
                rows.append(cells)
        print_table(["size", "batch", "dense, µs", *map(str, DENSITIES)], rows)


def middle_of(value: Mapping[str, Any]) -> str:
    """Median and quartiles in one cell."""
    low, high = value["quartiles"]
    return f"{value['median']} ({low} to {high})"


if __name__ == "__main__":
    main()
