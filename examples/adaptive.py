"""A controller of one's own, and two built-in ones, in a loop over tasks.

python examples/adaptive.py

Four tasks share one network: what a task uses is frozen for the next. Before each task, and after
each update of its mask, a controller decides.
"""

import torch
from torch import nn

from dstcl.continual.controllers import NOTHING, ControlledTraining, Controller, Decision
from dstcl.continual.controllers.saturation import Saturation
from dstcl.continual.controllers.survival_bandit import SurvivalBandit

TASKS, STEPS = 4, 200


class Slower(Controller):
    """Updates become rarer once the mask hardly changes any more."""

    def after_update(self, seen):
        change = max(seen.mask_change.values())
        if change > 0.3 or seen.step < 60:
            return NOTHING
        return Decision(update_every=40, evidence=f"at most {change:.3f} of a layer changed")


def learn(controller: Controller) -> None:
    """Train all tasks, and print what the controller decided."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 2))
    inputs = torch.randn(2048, 32)
    used: dict[str, torch.Tensor] = {}
    untrained = {name: value.clone() for name, value in model[2].state_dict().items()}
    for task in range(TASKS):
        labels = (inputs[:, 8 * task : 8 * task + 8].sum(1) > 0).long()
        model[2].load_state_dict(untrained)  # a head for each task
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        sparse = ControlledTraining(
            model, optimizer, controller=controller, task=task, tasks=TASKS,
            frozen=used, exclude=["2"], density=0.2, init="uniform", grow="random",
            update_every=20, total_steps=STEPS,
        )  # fmt: skip
        for _ in range(STEPS):
            batch = torch.randint(len(inputs), (64,))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            loss.backward()
            sparse.step()  # instead of optimizer.step()
        print(f"task {task + 1}: density {sparse.density():.3f}, loss {loss:.2f}")
        with torch.no_grad():  # what earlier tasks left goes on
            for name, value in sparse.consolidated().items():
                sparse.weights[name].copy_(value)
        masks = sparse.masks
        used = {name: mask | used[name] if used else mask for name, mask in masks.items()}
    for row in controller.rows:
        print(f"  task {row['task']}, step {row['step']}: {row['what']} {row['value']}", end="")
        print(f" ({row['evidence']})")


for chosen in (Saturation(), Slower(), SurvivalBandit(criteria=["gradient", "random"])):
    print(type(chosen).__name__)
    learn(chosen)
