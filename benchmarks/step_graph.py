"""Whether steps replayed from a CUDA graph train the network that plain steps train.

    python benchmarks/step_graph.py [--device cuda]

What tests/unit/test_step_graph.py checks bit for bit on a stand-in, on the device itself and
without what tests need: losses of every epoch, plain steps twice (what rounding does), then both
graphs. Random images are learned by heart, so a loss that does not fall is a step that was not
made. Exit code 1 if a loss is off by more than `ALLOWED`. Writes step_graph-<device>.json here.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import torch
from machine import machine, record
from subjects import random_data, short_run, task_classes
from tables import print_table

from dstcl.continual.learner import learner_of
from dstcl.data.stored import Prepared

ALLOWED = 0.25
"""Of the plain loss, as rounding ends in other masks; also what the last epoch's loss must have
fallen by, at least."""
TASKS, IMAGES, EPOCHS = 2, 711, 6
PUBLISHED = {
    "mask_counts": "bernoulli",
    "candidates": "published",
    "regrown_frozen": "zero",
    "batch_norm": "batch",
    "head": "shared",
    "logits": "all",
}
# Learning rates that float32 holds exactly, as a graph reads them from a tensor.
EXACT = {"learning_rate": 2**-10, "lr_factor": 0.5}
SETTINGS: dict[str, dict[str, Any]] = {
    "corrected, gradient": {"growth": "gradient"},
    "corrected, momentum, SGD": {"growth": "momentum", "optimizer": "sgd", "learning_rate": 2**-6},
    "published, momentum": {"growth": "momentum", **PUBLISHED},
}
WAYS = ("off", "off", "step-graph", "compiled-step-graph")


def losses(settings: dict[str, Any], way: str, data: Prepared, device: torch.device) -> list[float]:
    """Of every epoch of every task."""
    common = {"tasks": TASKS, "epochs": EPOCHS, "augment": "none", **EXACT}
    run = short_run("resnet18-slim", **(common | settings), compile=way)
    learner = learner_of(run, data, task_classes(TASKS), device)
    return [row["loss"] for row in learner.fit().history]


def strays(plain: Sequence[float], other: Sequence[float]) -> float:
    """Largest difference, as a share of the plain loss; NaN if there is one."""
    before, after = torch.tensor(plain), torch.tensor(other)
    return float(((after - before).abs() / before).max())


def judged(rows: dict[str, list[list[float]]]) -> list[str]:
    """What is wrong, a line each.

    Args:
        rows: losses of each of `WAYS`, for each of the settings.
    """
    wrong = []
    for name, (plain, _, *graphs) in rows.items():
        if plain[EPOCHS - 1] > (1 - ALLOWED) * plain[0]:
            wrong.append(f"{name}: plain steps learn nothing, so this tells nothing")
        wrong += [
            f"{name}: {way} is off by {strays(plain, graph):.0%}"
            for way, graph in zip(WAYS[2:], graphs, strict=True)
            if not strays(plain, graph) <= ALLOWED
        ]
    return wrong


def main() -> None:
    """Train, compare, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    device = torch.device(parser.parse_args().device)
    told = machine(device=device)
    data = random_data(IMAGES, 32, 3, TASKS)
    rows = {
        name: [losses(settings, way, data, device) for way in WAYS]
        for name, settings in SETTINGS.items()
    }
    print_table(
        ("settings", "steps", "first and last loss of the first task", "off by"),
        (
            (name, way, f"{found[0]:.3f}, {found[EPOCHS - 1]:.3f}", f"{strays(ways[0], found):.2%}")
            for name, ways in rows.items()
            for way, found in zip(WAYS, ways, strict=True)
        ),
    )
    wrong = judged(rows)
    record(f"step_graph-{device.type}", told | {"ways": WAYS, "losses": rows, "wrong": wrong})
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
