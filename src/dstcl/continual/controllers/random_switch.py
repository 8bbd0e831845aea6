"""A control for rules that switch growth: it switches too, but at a task that is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from dstcl.continual.controllers.base import Controller, Decision, Seen
from dstcl.study.fields import BuiltInOr, Settings
from dstcl.study.growths import GROWTH_CRITERIA


@dataclass(frozen=True, kw_only=True)
class RandomSwitchSettings(Settings):
    """Settings of the random switch."""

    then: Annotated[str, BuiltInOr(GROWTH_CRITERIA)] = "gradient"
    """Growth from the drawn task on; before it is the run's own."""


class RandomSwitch(Controller):
    """Another growth from a task on that is drawn once per seed, each but the first equally likely.

    A rule that looks at the network has to beat this one, which has the same two growths and looks
    at nothing.
    """

    settings = RandomSwitchSettings

    def __init__(self, *, seed: int = 0, **settings: object) -> None:
        super().__init__(seed=seed, **settings)
        self.growths = (self.settings.then,)

    def switch(self, tasks: int) -> int:
        """The first task, from 0, with the other growth; of a single task none."""
        return 1 + int(torch.randint(max(1, tasks - 1), (), generator=self.draws()))

    def before_task(self, seen: Seen) -> Decision:
        """The growth of the task."""
        switch = self.switch(seen.tasks)
        growth = self.settings.then if seen.task >= switch else seen.growth
        return Decision(growth=growth, evidence=f"drawn to switch at task {switch + 1}")
