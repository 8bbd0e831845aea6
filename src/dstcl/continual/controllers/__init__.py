"""Controllers: what decides on growth, masks and schedule of a task from what it sees.

Every controller is one file here: a class with its rule and its settings. The training that obeys
one is `ControlledTraining`. A controller from outside is named as ``module:attribute``;
docs/adaptive.md has an example.
"""

from __future__ import annotations

from dstcl import plugins
from dstcl.continual.controllers.base import (
    NOTHING,
    Controller,
    ControllerError,
    Decision,
    Seen,
)
from dstcl.continual.controllers.training import ControlledTraining
from dstcl.sparse import check_criterion
from dstcl.study.controllers import BUILT_IN, CONTROLLER
from dstcl.study.run import Run

__all__ = [
    "NOTHING",
    "ControlledTraining",
    "Controller",
    "ControllerError",
    "Decision",
    "Seen",
    "controller_of",
]


def controller_of(run: Run) -> Controller | None:
    """The run's controller, with its settings, for a training that begins; None without one.

    Raises:
        PluginError: its name leads to no subclass of `Controller`; one line that names it.
    """
    source = run.controller
    if source is None:
        return None
    found = plugins.load(BUILT_IN.get(source.source, source.source))
    if not (isinstance(found, type) and issubclass(found, Controller)):
        raise plugins.PluginError(
            f"{CONTROLLER}: {source.source!r} is no subclass of "
            "dstcl.continual.controllers.Controller"
        )
    controller = found(seed=run.seed, **source.settings)
    # Before hours are spent: a criterion of a user's own is first used at its first update.
    for name in controller.growths:
        check_criterion(name, "grow")
    return controller
