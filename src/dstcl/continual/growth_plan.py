"""Which growth each task has: the same one, a plan that was made before, or one's own decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dstcl import plugins
from dstcl.study.growths import THEN, growth_by_task, growth_names
from dstcl.study.run import Run

if TYPE_CHECKING:
    from dstcl.continual.methods.base import OpenTask


class GrowthPlan:
    """Decides the growth of a task when it begins.

    A subclass named as a growth, ``module:attribute``, may decide from what it sees: the store of
    the open task knows which weights are still free. What it decided for a task is kept with a
    run's checkpoint and in its metrics.json.

    Args:
        run: settings.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.by_task: list[str] = []
        """What was decided, for the tasks that have begun or were planned before."""

    def of_task(self, task: OpenTask) -> str:
        """The growth of a task that begins, or of one that goes on after an interruption.

        Raises:
            ValueError: a decision for a switch within the task, whose `topology.switch_at` would
                be no part of the run's digest.
        """
        if task.index == len(self.by_task):
            chosen = self.growth(task)
            if THEN in chosen:
                raise ValueError(f"growth: {self.run.growth} chose {chosen!r}; one criterion only")
            self.by_task.append(chosen)
        return self.by_task[task.index]

    def growth(self, task: OpenTask) -> str:
        """The name of a criterion."""
        raise NotImplementedError


class Planned(GrowthPlan):
    """What the name of the growth says: one for all tasks, or a plan over them."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.by_task = growth_by_task(run.growth, run.tasks)


def growth_plan_of(run: Run) -> GrowthPlan:
    """The plan that a run's growth stands for.

    Raises:
        PluginError: a growth of one's own that leads nowhere.
    """
    if plugins.is_plugin(run.growth) and growth_names(run.growth) == [run.growth]:
        try:
            found = plugins.load(run.growth)
        except plugins.PluginError as error:
            raise plugins.PluginError(f"grow: {error}") from error
        if isinstance(found, type) and issubclass(found, GrowthPlan):
            return found(run)
    return Planned(run)
