"""Supermasks in superposition beside their authors' code: the same digits, network and start.

    git clone https://github.com/RAIVNLab/supsup
    python benchmarks/public_supsup.py --code supsup --data mnist5k-28px.safetensors

Both sides have that code's LeNet at half its width (150 and 50 hidden units, no biases), the same
random weights, scores and heads, the same batches in the same order, Adam at a constant rate with
its weight decay, and the last epoch. Its own layers, masks, weights of one size, training and test
are used as they are, with the task given (GG); the loop over tasks makes its steps in its order.

In ours each task has a trained head. The public code can do so too (``--individual-heads``), but
the paper's head is random and masked as any layer; both are compared with ours. There layers are
convolutions of one pixel, which round sums differently from linear layers: with the same layers
computed as products of matrices, and the same choice between equal scores, both sides agree bit for
bit.

Writes public_supsup.json here and prints the tables of docs/methods.md; some minutes of one core.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import torch
from public_methods import Ran, Setting, compare, own_run, ran, stand_ins
from public_twins import (
    CLASSES,
    CPU,
    TASKS,
    Pair,
    Pairs,
    Start,
    batches,
    highest,
    no_head_bias,
    perceptron,
    starts,
)
from torch import Tensor, nn

from dstcl.continual.methods.supsup import RandomWeightStore

EPOCHS, BATCH, RATE, DECAY = 5, 64, 1e-3, 1e-4
"""Rate and weight decay are those of the public code's Split CIFAR-100."""
WIDTH = 0.5
"""Of the 300 and 100 hidden units that the public code has."""
DENSITIES = (0.5, 0.2)
HIDDEN = (0, 2)
"""Places of the hidden layers in the public network; at 4 is its head."""
NOT_USED = ("scipy", "scipy.stats", "PIL", "yaml", "tqdm")


class Batches(list[Pair]):
    """An epoch as the public code goes through it: batches that know how many images they have."""

    @property
    def dataset(self) -> Tensor:
        """All labels."""
        return torch.cat([labels for _, labels in self])


def public_code(name: str) -> Any:
    """A module of the public code, which reads the command line when it is imported."""
    with stand_ins(*NOT_USED), patch.object(sys, "argv", ["main.py"]):
        return importlib.import_module(name)


def public_network(density: float, trained_heads: bool, seed: int) -> Any:
    """LeNet-300-100 of the public code, as it draws it. Its ``sparsity`` is a density."""
    options = public_code("args").args
    options.sparsity, options.individual_heads = density, trained_heads
    options.num_tasks, options.output_size, options.device = TASKS, CLASSES, CPU
    options.width_mult = WIDTH
    options.conv_type, options.conv_init = "MultitaskMaskConv", "signed_constant"
    torch.manual_seed(seed)
    return public_code("models.small").LeNet()


def own_network(public: Any) -> nn.Module:
    """The same without scores, which begins with the same weights."""
    return perceptron(*(public.linear[place].weight.flatten(1) for place in HIDDEN))


@torch.no_grad()
def give_start(public: Any, trained_heads: bool, begin: list[Start]) -> None:
    """Let the public network begin with our scores and, where they are trained, heads."""
    for task, start in enumerate(begin):
        given = dict(zip(HIDDEN, start.scores.values(), strict=True))
        if trained_heads:
            given[4] = start.head
        for place, values in given.items():
            held = public.linear[place].scores[task]
            held.copy_(values.view_as(held))


def parameters_of(network: Any, task: int) -> list[nn.Parameter]:
    """What the public code trains for a task: its scores, which are also what it calls a head."""
    return [
        parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and name.split(".")[-2:] == ["scores", str(task)]
    ]


def set_task(network: Any, task: int) -> None:
    """Tell every layer which task it works for."""
    network.apply(lambda layer: setattr(layer, "task", task))


def masks_of(network: Any, density: float, task: int) -> dict[str, Tensor]:
    """Those of the hidden layers for a task."""
    subnet = public_code("models.module_util").get_subnet
    scores = {str(place): network.linear[place].scores[task].detach() for place in HIDDEN}
    return {name: subnet(own.abs(), density).flatten(1) > 0 for name, own in scores.items()}


def as_product(images: Tensor, weight: Tensor, *_: Any) -> Tensor:
    """A convolution of one pixel, as linear layers compute it."""
    return nn.functional.linear(images.flatten(1), weight.flatten(1))[..., None, None]


@contextmanager
def own_details() -> Iterator[None]:
    """Layers computed as linear ones, and of equal scores the choice that ours makes."""
    subnets = public_code("models.module_util")
    with (
        patch.object(nn.functional, "conv2d", as_product),
        patch.object(subnets, "GetSubnet", SimpleNamespace(apply=highest)),
        patch.object(subnets, "get_subnet", highest),
    ):
        yield


def public_run(density: float, trained_heads: bool, alike: bool, pairs: Pairs, seed: int) -> Ran:
    """The public code's steps over all tasks; ``alike``: with our details."""
    network = public_network(density, trained_heads, seed)
    trainer = public_code("trainers.default")
    begin = starts(own_network(network), RandomWeightStore, density, seed)
    give_start(network, trained_heads, begin)
    loss, log, rows = nn.CrossEntropyLoss(), MagicMock(), []
    details = own_details() if alike else nullcontext()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), details:
        for task in range(len(pairs)):
            set_task(network, task)
            own = parameters_of(network, task)
            optimizer = torch.optim.Adam(own, lr=RATE, weight_decay=DECAY)
            for number, epoch in enumerate(batches(pairs, task, BATCH, EPOCHS, seed), start=1):
                trainer.train(network, log, Batches(epoch), optimizer, loss, number, task)
            for seen in range(task + 1):
                set_task(network, seen)
                tests = Batches([pairs[seen][1]])
                accuracy = trainer.test(network, log, loss, tests, EPOCHS, seen)
                rows.append({"after_task": task + 1, "task": seen + 1, "accuracy": accuracy})
        masks = [masks_of(network, density, task) for task in range(len(pairs))]
    return ran(rows, masks)


def supsup_run(density: float, pairs: Pairs, seed: int) -> Ran:
    """Method supsup, with the same settings."""
    with no_head_bias():
        return own_run(
            own_network(public_network(density, True, seed)),
            pairs,
            seed,
            method="supsup",
            density=density,
            init="uniform",
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=RATE,
            optimizer="torch.optim:Adam",
            weight_decay=DECAY,
        )


def drawn(density: float, seed: int) -> dict[str, Start]:
    """What each side begins with by itself."""
    network = public_network(density, True, seed)
    layers = {str(place): network.linear[place] for place in HIDDEN}
    public = Start(
        {name: layer.weight.detach().flatten(1) for name, layer in layers.items()},
        {name: layer.scores[0].detach().flatten(1) for name, layer in layers.items()},
        masks_of(network, density, 0),
        network.linear[4].scores[0].detach().flatten(1),
    )
    ours = starts(own_network(network), RandomWeightStore, density, seed)[0]
    return {"public": public, "ours": ours}


def settings(code: Path) -> list[Setting]:
    """Per density: trained heads, the same with our details, and masked random heads."""
    sys.path.insert(0, str(code))
    found = []
    for density in DENSITIES:
        ours = partial(supsup_run, density)
        for name, trained_heads, alike in (
            ("trained heads", True, False),
            ("trained heads, details as in ours", True, True),
            ("masked random heads", False, False),
        ):
            public = partial(public_run, density, trained_heads, alike)
            begin = partial(drawn, density) if name == "trained heads" else None
            found.append(Setting(f"density {density}, {name}", public, ours, True, begin))
    return found


if __name__ == "__main__":
    compare("public_supsup", __doc__.splitlines()[0], settings, "github.com/RAIVNLab/supsup")
