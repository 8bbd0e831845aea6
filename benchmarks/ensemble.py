"""Several runs as one: networks stacked and stepped together, against one after the other.

    python benchmarks/ensemble.py [--network resnet18-slim] [--networks 1 2 4] [--device cuda]

Each network has weights, masks (of gradients) and images of its own. Stacked, a step of all of them
is one call (torch.func.vmap: convolutions become grouped ones); apart, each takes its step in turn.
Both are first checked to have the same losses. Images per second in all; the two take turns within
each round; medians. Processes side by side are measured by engine.py. Writes
ensemble-<network>-<device>.json here.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from engine import in_turn
from machine import machine, record
from subjects import CLASSES
from tables import print_table
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from dstcl.continual.precision import allow_tf32
from dstcl.networks.arithmetic import Arithmetic
from dstcl.networks.build import build_network
from dstcl.sparse import draw_masks, maskable_weights

BATCH, DENSITY, RATE = 64, 0.2, 1e-3
Step = Callable[[Tensor, Tensor], Tensor]
"""From images (networks, N, C, H, W) and labels (networks, N) to losses (networks,)."""


def build(name: str, count: int, arithmetic: Arithmetic, device: torch.device) -> list[nn.Module]:
    """Networks that differ in their weights. Batch norm as published has nothing to update beside
    them."""
    return [
        build_network(name, 3, CLASSES, seed, norm="batch", arithmetic=arithmetic).to(device)
        for seed in range(count)
    ]


def masks_of(networks: list[nn.Module], device: torch.device) -> list[dict[str, Tensor]]:
    """Random ones, others for each network."""
    draws = torch.Generator().manual_seed(1)
    weights = maskable_weights(networks[0])
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    counts = {name: int(DENSITY * weight.numel()) for name, weight in weights.items()}
    return [draw_masks(shapes, counts, draws, device) for _ in networks]


def apart(networks: list[nn.Module], masks: list[dict[str, Tensor]]) -> Step:
    """One network after the other."""
    optimizers = [torch.optim.Adam(n.parameters(), lr=RATE, fused=True) for n in networks]

    def step(images: Tensor, labels: Tensor) -> Tensor:
        losses = []
        for network, optimizer, mask, x, y in zip(networks, optimizers, masks, images, labels):
            loss = nn.functional.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            for name, kept in mask.items():
                gradient = network.get_parameter(name).grad
                assert gradient is not None
                gradient *= kept
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    return step


def stacked(networks: list[nn.Module], masks: list[dict[str, Tensor]]) -> Step:
    """All networks in one call."""
    weights, _ = stack_module_state(list(networks))  # type: ignore[arg-type]
    kept = {name: torch.stack([mask[name] for mask in masks]) for name in masks[0]}
    optimizer = torch.optim.Adam(list(weights.values()), lr=RATE, fused=True)

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(networks[0], values, x), y)

    every = vmap(grad_and_value(loss))

    def step(images: Tensor, labels: Tensor) -> Tensor:
        gradients, losses = every({n: w.detach() for n, w in weights.items()}, images, labels)
        for name, weight in weights.items():
            gradient = gradients[name]
            weight.grad = gradient * kept[name] if name in kept else gradient
        optimizer.step()
        return losses.detach()

    return step


def batches(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random images and labels for each network."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(count, BATCH, 3, 32, 32, generator=draws)
    labels = torch.randint(CLASSES, (count, BATCH), generator=draws)
    return images.to(device), labels.to(device)


def disagreement(
    name: str, count: int, arithmetic: Arithmetic, device: torch.device, steps: int
) -> float:
    """Largest relative difference of losses over the first steps."""
    images, labels = batches(count, device)
    one, other = both(name, count, arithmetic, device).values()
    return max(
        float(((a - b).abs() / a).max())
        for a, b in ((one(images, labels), other(images, labels)) for _ in range(steps))
    )


def both(name: str, count: int, arithmetic: Arithmetic, device: torch.device) -> dict[str, Step]:
    """The two ways, on equal networks and masks."""
    networks = build(name, count, arithmetic, device)
    masks = masks_of(networks, device)
    return {
        "apart": apart(networks, masks),
        "stacked": stacked(build(name, count, arithmetic, device), masks),
    }


def images_per_second(step: Step, images: Tensor, labels: Tensor, steps: int) -> float:
    """Of all networks, after a step to warm up."""
    float(step(images, labels).sum())
    started = time.perf_counter()
    for _ in range(steps):
        losses = step(images, labels)
    float(losses.sum())  # waits for the device
    return steps * labels.numel() / (time.perf_counter() - started)


def compared(
    name: str, count: int, precision: str, device: torch.device, steps: int, rounds: int
) -> dict[str, dict[str, Any]]:
    """What `in_turn` finds of both ways."""
    images, labels = batches(count, device)
    ways = both(name, count, Arithmetic(precision), device)
    measures: dict[str, Callable[[], float]] = {
        way: lambda step=step: images_per_second(step, images, labels, steps)
        for way, step in ways.items()
    }
    return in_turn(measures, rounds)


def main() -> None:
    """Check, measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18-slim")
    parser.add_argument("--networks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    name, device = options.network, torch.device(options.device)
    told = machine(device=device) | {"threads": torch.get_num_threads(), "network": name}
    allow_tf32(False)
    off = disagreement(name, max(options.networks), Arithmetic(), device, 3)
    print(f"largest relative difference of losses in 3 steps of float32: {off:.1e}")
    rows: dict[str, dict[str, dict[str, dict[str, Any]]]] = {"float32": {}, "bfloat16": {}}
    for precision, count in product(rows, options.networks):
        found = compared(name, count, precision, device, options.steps, options.rounds)
        rows[precision][str(count)] = found
    columns = ("precision", "networks", "apart, images/s", "stacked, images/s", "times apart")
    print_table(
        columns,
        (
            (
                *(precision, count),
                *(way["images_per_second"] for way in found.values()),
                found["stacked"]["times_the_first"],
            )
            for precision, counts in rows.items()
            for count, found in counts.items()
        ),
    )
    told |= {"batch": BATCH, "rounds": options.rounds, "steps": options.steps}
    told |= {"relative_difference": off, "precisions": rows}
    record(f"ensemble-{name}-{device.type}", told)


if __name__ == "__main__":
    main()
