"""A method of one's own: masks at random among free weights only, so that tasks share nothing.

python examples/own_method.py; in params.yaml, with this file beside it:

    methods: [dst, {name: isolated, from: own_method:RandomIsolated, reserve: 0.2}]
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import nn

from dstcl.continual import learn
from dstcl.continual.methods import Method
from dstcl.sparse import SparseTraining, select_top
from dstcl.study.fields import Between, Settings


@dataclass(frozen=True, kw_only=True)
class IsolatedSettings(Settings):
    """What can be set in params.yaml, checked like any other setting."""

    reserve: Annotated[float, Between(ge=0, lt=1)] = 0.0
    """Share of a layer's free weights that a task leaves to later ones at least."""


class IsolatedTraining(SparseTraining):
    """One task: fewer weights than asked for where no more are free."""

    def __init__(self, model, optimizer, *, reserve, **sparse):
        super().__init__(model, optimizer, **sparse)
        self.reserve = reserve

    def first_masks(self):
        masks = {}
        for name, frozen in self.frozen.items():
            most = int((1 - self.reserve) * int((~frozen).sum()))
            scores = torch.rand(frozen.shape, generator=self.generator).to(frozen.device)
            masks[name] = select_top(scores, ~frozen, min(self.budget[name], most))
        return masks


class RandomIsolated(Method):
    """Facts are literals, so that a study can be planned without importing this file."""

    settings = IsolatedSettings

    def training(self, task):
        reserve = self.settings.reserve
        return IsolatedTraining(
            task.network, task.optimizer, reserve=reserve, **self.common(task)
        )  # fmt: skip


if __name__ == "__main__":
    torch.manual_seed(0)
    images, labels = torch.randn(90, 1, 8, 8), torch.arange(90) % 3
    images[range(90), 0, labels] += 2
    tasks = [((images, labels), (images, labels))] * 3
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 50), nn.ReLU(), nn.Linear(50, 3))
    learned = learn(
        network, tasks, method=RandomIsolated, density=0.5, reserve=0.2, init="uniform",
        epochs=5, batch_size=30, learning_rate=0.01,
    )  # fmt: skip
    for row in learned.capacity():
        print("task {task}, {layer}: {new} new, {shared} shared, {free} free".format(**row))
    print(f"ACC {learned.metrics()['acc']:.2f}")
