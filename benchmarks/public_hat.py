"""Hard attention to the task beside its authors' code: the same digits, split and network.

    git clone https://github.com/joansj/hat
    python benchmarks/public_hat.py --code hat --data mnist5k-28px.safetensors

Both sides have that code's perceptron of two hidden layers with dropout, the same first weights,
SGD, a constant rate, the last epoch, smax 400 and strength 0.75. Its own training, loss, gates and
gradients are used as they are; only the rule that stops on validation is answered so that
it never acts, as there are no images for it. What differs by design is in docs/methods.md.

Writes public_hat.json here and prints the tables of docs/methods.md; some minutes of one core.
"""

from __future__ import annotations

import importlib
import os
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from public_methods import Ran, Setting, compare, old_torch, own_run, ran
from public_twins import CLASSES, SIDE, Pairs
from torch import Tensor, nn

from dstcl.continual.methods.units import connections

EPOCHS, BATCH, RATE = 30, 64, 0.05
SMAX, STRENGTH = 400.0, 0.75
DROPOUT = (0.2, 0.5)
"""Of inputs and of hidden units, as in the public code."""
WIDTHS = (400, 50)
"""Hidden units a layer: enough for five tasks, and few."""


def public_network(width: int, tasks: int, seed: int) -> nn.Module:
    """The perceptron of the public code with its first weights."""
    torch.manual_seed(seed)
    module = importlib.import_module("networks.mlp_hat")
    classes = [(task, CLASSES) for task in range(tasks)]
    network: nn.Module = module.Net((1, SIDE, SIDE), classes, nhid=width)
    return network


def own_network(public: Any) -> nn.Module:
    """The same without gates, whose two hidden layers begin with the same weights."""
    width = public.fc1.out_features
    first, second = nn.Linear(SIDE * SIDE, width), nn.Linear(width, width)
    first.load_state_dict(public.fc1.state_dict())
    second.load_state_dict(public.fc2.state_dict())
    drop_input, drop_hidden = DROPOUT
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(drop_input),
        first,
        nn.ReLU(),
        nn.Dropout(drop_hidden),
        second,
        nn.ReLU(),
        nn.Dropout(drop_hidden),
        nn.Linear(width, CLASSES),
    )


def masks_of(network: Any, task: int) -> dict[str, Tensor]:
    """Weights of a task of the public code: those between units whose gates are over a half."""
    gates = network.mask(torch.tensor([task]), s=SMAX)
    first, second = (gate.detach().flatten() > 0.5 for gate in gates)
    pixels = torch.ones(SIDE * SIDE, dtype=torch.bool)
    return {
        "fc1": connections(network.fc1.weight, first, pixels),
        "fc2": connections(network.fc2.weight, second, first),
    }


def public_run(width: int, pairs: Pairs, seed: int) -> Ran:
    """The public code's approach over all tasks."""
    kind = importlib.import_module("approaches.hat").Appr
    network = public_network(width, len(pairs), seed)
    np.random.seed(seed)
    approach = kind(
        network, EPOCHS, BATCH, RATE, lamb=STRENGTH, smax=SMAX, args=Namespace(parameter="")
    )
    test, rows = approach.eval, []
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), old_torch():
        for task, ((images, labels), _) in enumerate(pairs):
            falling = iter(
                range(0, -4 * EPOCHS, -1)
            )  # each loss of "validation" is the best so far
            approach.eval = lambda *_, falling=falling: (next(falling), 0.0)
            approach.train(task, images, labels, images, labels)
            with torch.no_grad():
                for seen in range(task + 1):
                    accuracy = test(seen, *pairs[seen][1])[1]
                    rows.append({"after_task": task + 1, "task": seen + 1, "accuracy": accuracy})
    return ran(rows, [masks_of(network, task) for task in range(len(pairs))])


def hat_run(width: int, pairs: Pairs, seed: int) -> Ran:
    """Method hat, with the same settings."""
    return own_run(
        own_network(public_network(width, len(pairs), seed)),
        pairs,
        seed,
        method="hat",
        epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=RATE,
        optimizer="torch.optim:SGD",
        weight_decay=0.0,
        smax=SMAX,
        strength=STRENGTH,
    )


def settings(code: Path) -> list[Setting]:
    """One per width."""
    sys.path.insert(0, str(code / "src"))
    return [
        Setting(
            f"{width} units",
            lambda pairs, seed, width=width: public_run(width, pairs, seed),
            lambda pairs, seed, width=width: hat_run(width, pairs, seed),
        )
        for width in WIDTHS
    ]


if __name__ == "__main__":
    compare("public_hat", __doc__.splitlines()[0], settings, "github.com/joansj/hat")
