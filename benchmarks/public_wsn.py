"""Winning subnetworks beside their authors' code: the same digits, split, network and start.

    git clone https://github.com/ihaeyong/WSN
    python benchmarks/public_wsn.py --code WSN --data mnist5k-28px.safetensors

Both sides have that code's perceptron of two hidden layers without biases, the same first weights,
scores and heads, the same batches in the same order, Adam at a constant rate and the last epoch.
Its own layers, masks, training and test (of permuted MNIST) are used as they are; the loop over
tasks makes its steps in its order. Then the same again with three details as in ours (`AsTheyAre`
and `OwnDetails` tell them): if these are all that differs, both sides agree bit for bit.

Writes public_wsn.json here and prints the tables of docs/methods.md; some minutes of one core.
"""

from __future__ import annotations

import importlib
import os
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from public_methods import Ran, Setting, compare, own_run, ran, stand_ins
from public_twins import (
    CLASSES,
    CPU,
    SIDE,
    TASKS,
    Pairs,
    Start,
    batches,
    highest,
    no_head_bias,
    perceptron,
    starts,
)
from torch import Tensor, nn

from dstcl.continual.subnets import SubnetStore

EPOCHS, BATCH, RATE, WIDTH = 10, 64, 1e-3, 100
"""Rate and width are those of the public code's permuted MNIST."""
DENSITIES = (0.5, 0.1)
LAYERS = ("fc1", "fc2")
"""The masked layers of the public network; heads are dense and a task's own."""
NOT_USED = (
    *("torchvision", "matplotlib", "matplotlib.pyplot", "seaborn", "pandas"),
    *("scipy", "scipy.sparse", "ipdb"),
)


def public_code() -> Any:
    """Training on permuted MNIST, with what it imports."""
    with stand_ins(*NOT_USED):
        return importlib.import_module("main_wsn_pmnist")


def public_network(density: float, seed: int) -> Any:
    """The perceptron of the public code, as it draws it. Its ``sparsity`` is what is left out."""
    torch.manual_seed(seed)
    classes = [(task, CLASSES) for task in range(TASKS)]
    return public_code().MLPNet(classes, 1 - density, n_hidden=WIDTH)


def own_network(public: Any) -> nn.Module:
    """The same without scores, which begins with the same weights."""
    return perceptron(*(getattr(public, layer).weight for layer in LAYERS))


@torch.no_grad()
def give_start(public: Any, begin: list[Start]) -> None:
    """Let the public network begin with our scores and heads."""
    for layer, scores in zip(LAYERS, begin[0].scores.values(), strict=True):
        getattr(public, layer).w_m.copy_(scores)
    for head, start in zip(public.last, begin, strict=True):
        head.weight.copy_(start.head)


def joined(used: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Weights that this task or an earlier one uses; None for biases, which there are not."""
    return {
        name: mask if mask is None or name not in used else torch.maximum(used[name], mask)
        for name, mask in own.items()
    }


class AsTheyAre:
    """The details of the public code.

    Args:
        network: of the public code.
    """

    def __init__(self, network: Any) -> None:
        self.network = network

    def masking(self) -> AbstractContextManager[Any]:
        """While networks are trained. The scores from a quantile on: one weight more than ours
        where the count is no whole number, and another for each score that equals it."""
        return nullcontext()

    def optimizer(self) -> torch.optim.Optimizer:
        """Of a task. Weights that have left the mask go on moving by their momentum."""
        return torch.optim.Adam(self.network.parameters(), lr=RATE)

    def end_task(self, task: int, images: Tensor) -> None:
        """The masks that are kept are those of the last forward pass, before the last step."""


class OwnDetails(AsTheyAre):
    """The same three as in ours."""

    def masking(self) -> AbstractContextManager[Any]:
        """Exactly so many weights."""
        exact = SimpleNamespace(apply=lambda scores, _, __, left_out: highest(scores, 1 - left_out))
        return patch.object(importlib.import_module("networks.subnet"), "GetSubnetFaster", exact)

    def optimizer(self) -> torch.optim.Optimizer:
        """Weights that have left the mask rest."""
        optimizer = HoldingAdam(self.network.parameters(), lr=RATE)
        optimizer.layers = [getattr(self.network, name) for name in LAYERS]
        return optimizer

    def end_task(self, task: int, images: Tensor) -> None:
        """One more forward pass, so that the masks are those after the last step."""
        self.network(images, task, None)


class HoldingAdam(torch.optim.Adam):
    """Leaves alone the weights that the last forward pass did not use, whatever their momentum."""

    layers: Sequence[Any] = ()

    def step(self, closure: Any = None) -> None:
        """One step for all parameters."""
        before = [layer.weight.detach().clone() for layer in self.layers]
        super().step(closure)
        with torch.no_grad():
            for layer, weight in zip(self.layers, before, strict=True):
                layer.weight.copy_(torch.where(layer.weight_mask > 0, layer.weight, weight))


def public_run(density: float, details: type[AsTheyAre], pairs: Pairs, seed: int) -> Ran:
    """The public code's steps over all tasks."""
    code, network = public_code(), public_network(density, seed)
    give_start(network, starts(own_network(network), SubnetStore, density, seed))
    chosen = details(network)
    options = Namespace(batch_size_train=BATCH, batch_size_test=256)
    loss = nn.CrossEntropyLoss()
    kept: list[dict[str, Any]] = []
    used: dict[str, Any] = {}
    rows = []
    with (
        open(os.devnull, "w") as nowhere,
        redirect_stdout(nowhere),
        patch.object(np.random, "shuffle", lambda order: None),  # images come in order of batches
        chosen.masking(),
    ):
        for task in range(len(pairs)):
            optimizer = chosen.optimizer()
            for epoch in batches(pairs, task, BATCH, EPOCHS, seed):
                images, labels = (torch.cat(part) for part in zip(*epoch))
                code.train(options, network, CPU, images, labels, optimizer, loss, task, used)
            chosen.end_task(task, pairs[task][0][0])
            kept.append(network.get_masks(task))
            used = joined(used, kept[task])
            for seen in range(task + 1):
                images, labels = pairs[seen][1]
                tested = (network, CPU, images, labels, loss, seen, kept[seen])
                accuracy = code.test(options, *tested)[1] / 100
                rows.append({"after_task": task + 1, "task": seen + 1, "accuracy": accuracy})
    return ran(rows, [{layer: own[f"{layer}.weight"] > 0 for layer in LAYERS} for own in kept])


def wsn_run(density: float, pairs: Pairs, seed: int) -> Ran:
    """Method wsn, with the same settings."""
    with no_head_bias():
        return own_run(
            own_network(public_network(density, seed)),
            pairs,
            seed,
            method="wsn",
            density=density,
            init="uniform",
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=RATE,
            optimizer="torch.optim:Adam",
            weight_decay=0.0,
        )


def drawn(density: float, seed: int) -> dict[str, Start]:
    """What each side begins with by itself."""
    network = public_network(density, seed)
    network(torch.zeros(1, SIDE, SIDE), 0, None)
    layers = {name: getattr(network, name) for name in LAYERS}
    public = Start(
        {name: layer.weight.detach() for name, layer in layers.items()},
        {name: layer.w_m.detach() for name, layer in layers.items()},
        {name: layer.weight_mask > 0 for name, layer in layers.items()},
        network.last[0].weight.detach(),
    )
    return {"public": public, "ours": starts(own_network(network), SubnetStore, density, seed)[0]}


def settings(code: Path) -> list[Setting]:
    """Per density the public code as it is, and with our details."""
    sys.path.insert(0, str(code))
    found = []
    for density in DENSITIES:
        name, ours = f"density {density}", partial(wsn_run, density)
        public = partial(public_run, density, AsTheyAre)
        found.append(Setting(name, public, ours, True, partial(drawn, density)))
        public = partial(public_run, density, OwnDetails)
        found.append(Setting(f"{name}, details as in ours", public, ours, True))
    return found


if __name__ == "__main__":
    compare("public_wsn", __doc__.splitlines()[0], settings, "github.com/ihaeyong/WSN")
