"""Learning rates within a task: one function per schedule, called before every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, isfinite, pi

from dstcl import plugins
from dstcl.plugins import PluginError
from dstcl.study.settings import Training

TRIED = 10
"""Steps of the task of two epochs that a schedule of the user's own is tried on."""


@dataclass(frozen=True)
class Moment:
    """A step of a task.

    Attributes:
        step: that is about to be made, from 0.
        steps: of the task.
        epoch: the step belongs to, from 0.
        epochs: of the task.
    """

    step: int
    steps: int
    epoch: int
    epochs: int


Schedule = Callable[[Moment, Training], float]
"""The learning rate of a step; ``training.learning_rate`` is the one asked for."""

WARM_UP = 0.3
START, END = 1 / 25, 1 / 250_000
"""Of the highest rate, at both ends of one-cycle: the defaults of torch's OneCycleLR."""


def milestones(moment: Moment, training: Training) -> float:
    """Multiplied by ``lr_factor`` at each milestone that has passed, by whole epochs."""
    rate = training.learning_rate
    for fraction in sorted(training.lr_milestones):
        if moment.epoch >= int(fraction * moment.epochs):
            rate *= training.lr_factor
    return rate


def cosine(moment: Moment, training: Training) -> float:
    """From the rate to zero along half a cosine, by step (Loshchilov and Hutter 2017)."""
    return training.learning_rate * (1 + cos(pi * moment.step / moment.steps)) / 2


def one_cycle(moment: Moment, training: Training) -> float:
    """Up for 30% of the steps, then down to about zero, along half cosines (Smith and Topin 2019).

    As torch's OneCycleLR with its defaults, but without changing momentum.
    """
    highest, last = training.learning_rate, moment.steps - 1
    turn = WARM_UP * moment.steps - 1
    if moment.step <= turn:
        return _between(START * highest, highest, moment.step / turn if turn > 0 else 1.0)
    share = (moment.step - turn) / (last - turn) if last > turn else 1.0
    return _between(highest, END * highest, share)


def constant(moment: Moment, training: Training) -> float:
    """The same in every step."""
    return training.learning_rate


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + cos(pi * share)) / 2


BUILT_IN: dict[str, Schedule] = {
    "milestones": milestones,
    "cosine": cosine,
    "one-cycle": one_cycle,
    "constant": constant,
}


def schedule_of(training: Training) -> Schedule:
    """The schedule that is asked for, built in or ``module:attribute``.

    One of the user's own is tried on a short task, and its answers are checked in training too.

    Raises:
        PluginError: it leads to no function, or to one whose answers are no learning rates.
    """
    name = training.schedule
    if name in BUILT_IN:
        return BUILT_IN[name]
    key = f"training.schedule: {name!r}"
    try:
        found: Schedule = plugins.load(name)
    except PluginError as error:
        raise PluginError(f"training.schedule: {error}") from error

    def checked(moment: Moment, training: Training) -> float:
        try:
            rate = found(moment, training)
        except Exception as error:  # whatever a user's function raises is told in one line
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise PluginError(
                f"{key} failed as a function of moment and training ({reason})"
            ) from error
        if not isinstance(rate, int | float) or not isfinite(rate) or rate < 0:
            raise PluginError(f"{key} gives {rate!r} at {moment}, not a learning rate")
        return rate

    for step in range(TRIED):
        checked(Moment(step, TRIED, 2 * step // TRIED, 2), training)
    return checked
