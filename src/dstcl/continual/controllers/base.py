"""What a controller sees, what it may decide, and how its decisions are remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch

from dstcl.seeds import generator
from dstcl.study.controllers import SHARE
from dstcl.study.fields import Settings, plain_settings, read_settings


class ControllerError(ValueError):
    """A controller that decides what cannot be done; one line with its name."""


@dataclass(frozen=True)
class Seen:
    """What is known at the moment of a decision. Layers go by parameter name.

    Attributes:
        task: that is trained, from 0.
        tasks: that will be, in all.
        step: optimiser steps of the task that were made; 0 before it begins.
        total_steps: that the task has.
        updates: of the mask that were made in the task.
        sizes: weights of each layer.
        free: weights of each layer that no earlier task uses.
        active: weights of each layer that the mask holds, or before the task, that init asks for.
        growth: the criterion in force, before the task that of the run.
        prune_rate: share of each layer's active weights that the last update asked to exchange; 0
            before the first.
        update_every: steps from one update to the next.
        mask_change: share of each layer's active weights that the last update exchanged; empty
            before the first.
        gradient: of each layer, norm of the last gradient that growth looked at, over free weights;
            empty where growth looks at none.
        validation: accuracy on held-out images after each epoch so far; empty without any.
        survival: of each layer and criterion, share of the weights grown
            `Controller.survival_after` updates ago that are still active; empty where nothing was
            grown then, and in layers with a structure.
        grown: how many weights those were.
        channels: of each layer without a structure, after one of the first batches of a task, the
            channels (rows of the weight) with a free weight. Layers whose weight has its inputs
            first, such as transposed convolutions, are left out.
        dead: those of them by whose free weights that batch had no gradient
            (`dstcl.continual.plasticity.dead_channels`).
    """

    task: int
    tasks: int
    step: int
    total_steps: int
    updates: int
    sizes: Mapping[str, int]
    free: Mapping[str, int]
    active: Mapping[str, int]
    growth: str
    prune_rate: float = 0.0
    update_every: int = 1
    mask_change: Mapping[str, float] = field(default_factory=dict)
    gradient: Mapping[str, float] = field(default_factory=dict)
    validation: tuple[float, ...] = ()
    survival: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    grown: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    channels: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dead: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def pooled_survival(self) -> dict[str, tuple[float, int]]:
        """`survival` over all layers, by criterion: the share, and of how many weights."""
        alive: Counter[str] = Counter()
        grown: Counter[str] = Counter()
        for layer, numbers in self.grown.items():
            for criterion, number in numbers.items():
                alive[criterion] += round(self.survival[layer][criterion] * number)
                grown[criterion] += number
        return {name: (alive[name] / number, number) for name, number in grown.items()}

    def free_share(self) -> dict[str, float]:
        """Free weights of each layer over all of its weights."""
        return {name: self.free[name] / size for name, size in self.sizes.items()}

    def tightest(self) -> tuple[str, float] | None:
        """The layer with the smallest free share among those that are not dense, and that share.

        A dense layer is used up by the first task whatever growth does. None if all are dense.
        """
        shares = self.free_share()
        sparse = [name for name, size in self.sizes.items() if self.active[name] < size]
        name = min(sparse, key=lambda name: shares[name], default=None)
        return None if name is None else (name, shares[name])


@dataclass(frozen=True)
class Decision:
    """What a controller decides; whatever is None or empty stays as it is.

    Attributes:
        growth: criterion; one of the controller's `Controller.growths` or the run's own. It ends a
            mix, unless one is decided with it.
        mixed: another criterion that picks first, and its share of what is grown.
        shares: a mix of several criteria, each with its share of what is grown, in the order in
            which they pick (`dstcl.sparse.mixed_growth`); together 1.
        shares_of: the same for single layers, whose shares end with the next growth or mix that is
            decided for all.
        prune_rate: at step 0 of the schedule, which falls from there as before.
        update_every: steps from one update to the next.
        settled: layers that exchange nothing more in this task; once all are, masks stay.
        active: weights of each layer, together as many as before; only before a task. Of a
            controller that `Controller.changes_density`, any number, and after an update too: what
            a layer has more is grown at once, what it has less is pruned.
        new: those of them that are free ones; the mask is then drawn with these counts and with
            no output channel without input, as far as counts allow. Only before a task.
        quota: free weights that each layer may hold at any moment of the task; only before it, with
            ``new`` within it.
        anew: channels of each layer whose free active weights get other places in them and fresh
            initial values (`dstcl.continual.controllers.revival`); only after one of the first
            batches of a task.
        inputs: active free weights that each of these channels gets, as far as counts allow.
        evidence: what it was decided on, in a few words.
        evidence_of: the same for single layers.
    """

    growth: str | None = None
    mixed: tuple[str, float] | None = None
    shares: dict[str, float] = field(default_factory=dict)
    shares_of: dict[str, dict[str, float]] = field(default_factory=dict)
    prune_rate: float | None = None
    update_every: int | None = None
    settled: tuple[str, ...] = ()
    active: dict[str, int] = field(default_factory=dict)
    new: dict[str, int] = field(default_factory=dict)
    quota: dict[str, int] = field(default_factory=dict)
    anew: dict[str, tuple[int, ...]] = field(default_factory=dict)
    inputs: int = 1
    evidence: str = ""
    evidence_of: dict[str, str] = field(default_factory=dict)

    def rows(self, task: int, step: int) -> list[dict[str, Any]]:
        """What is decided, as rows of decisions.csv; task from 1."""
        found: list[tuple[str, str, Any]] = []
        if self.growth is not None:
            found.append(("", "growth", self.growth))
        if self.mixed is not None:
            found += [("", "first_pick", self.mixed[0]), ("", "first_share", self.mixed[1])]
        for layer, shares in {"": self.shares, **self.shares_of}.items():
            found += [(layer, f"{SHARE}{name}", share) for name, share in shares.items()]
        for name in ("prune_rate", "update_every"):
            if (value := getattr(self, name)) is not None:
                found.append(("", name, value))
        found += [(layer, "settled", "") for layer in self.settled]
        for name in ("active", "new", "quota"):
            found += [(layer, name, count) for layer, count in getattr(self, name).items()]
        found += [(layer, "anew", len(channels)) for layer, channels in self.anew.items()]
        if not found and self.evidence:
            found.append(("", "nothing", ""))
        return [
            {
                "task": task,
                "step": step,
                "layer": layer,
                "what": what,
                "value": value,
                "evidence": _one_cell(self.evidence_of.get(layer, self.evidence)),
            }
            for layer, what, value in found
        ]


NOTHING = Decision()


def _one_cell(text: str) -> str:
    """Text that needs no quotes in a CSV file: the study's table is made by copying lines."""
    return " ".join(text.replace(",", ";").replace('"', "'").split())


class Controller:
    """Decides before each task, after its first batches and after each update of the mask.

    A subclass overrides some of `before_task`, `after_batch` and `after_update`. The facts below
    are read from the text of the file when a study is planned, so a subclass writes them as
    literals.

        class Hurried(Controller):
            growths = ("gradient",)

            def before_task(self, seen):
                last = seen.task == seen.tasks - 1
                return Decision(growth="gradient", evidence="last task") if last else NOTHING

    Args:
        seed: of what it draws.
        **settings: its own settings.

    Attributes:
        needs_validation: it reads `Seen.validation`, so a share of images must be held out.
        changes_density: the number of active weights is its own, not that of the density.
        decides_counts: `Decision.active` of some task is its own, so tasks must draw first masks.
        growths: criteria that it may choose besides the run's; on an object those that its
            settings leave. Their running gradients are kept from the start of a task.
        survival_after: updates after which `Seen.survival` is measured, at most 1000; 0 for
            nothing, which costs nothing.
        first_batches: batches at the start of each task after which `after_batch` is asked.
        settings: class of its own settings (a frozen dataclass, subclass of
            `dstcl.study.fields.Settings`), on an object the settings themselves; None without any.
        rows: what it decided so far, as decisions.csv has it.
    """

    needs_validation: ClassVar[bool] = False
    changes_density: ClassVar[bool] = False
    decides_counts: ClassVar[bool] = False
    settings: Any = None
    growths: tuple[str, ...] = ()
    survival_after: int = 0
    first_batches: int = 0

    def __init__(self, *, seed: int = 0, **settings: Any) -> None:
        self.seed = seed
        kind = type(self).settings
        if isinstance(kind, type) and issubclass(kind, Settings):
            self.settings = read_settings(kind, settings, type(self).__name__)
        elif settings:
            raise ValueError(f"{type(self).__name__}.{next(iter(settings))}: it has no settings")
        self.rows: list[dict[str, Any]] = []
        self._before: dict[int, Decision] = {}

    def before_task(self, seen: Seen) -> Decision:
        """What is decided before a task; nothing unless a controller says so."""
        return NOTHING

    def after_batch(self, seen: Seen) -> Decision:
        """What is decided after each of the first `first_batches` steps of a task, when `Seen.dead`
        is known: only `Decision.anew` and `Decision.inputs`."""
        return NOTHING

    def after_update(self, seen: Seen) -> Decision:
        """What is decided after an update of the mask, for those that follow."""
        return NOTHING

    def memory(self) -> dict[str, Any]:
        """What the controller itself remembers: JSON values and tensors."""
        return {}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Restore what `memory` returned."""

    def draws(self, *parts: int) -> torch.Generator:
        """A source of randomness that depends on the seed and on these numbers alone."""
        return generator(self.seed, "controller", *parts)

    def opening(self, seen: Seen) -> Decision:
        """What was decided before this task; asked once, also where the task is begun anew."""
        if seen.task not in self._before:
            decision = self._before[seen.task] = self.before_task(seen)
            self.note(decision, seen)
        return self._before[seen.task]

    def note(self, decision: Decision, seen: Seen) -> None:
        """Remember a decision."""
        self.rows += decision.rows(seen.task + 1, seen.step)

    def state_dict(self) -> dict[str, Any]:
        """All that was decided, and what the controller remembers."""
        before = {task: asdict(decision) for task, decision in self._before.items()}
        return {"rows": list(self.rows), "before": before, "memory": self.memory()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.rows = list(state["rows"])
        self._before = {task: Decision(**values) for task, values in state["before"].items()}
        self.remember(state["memory"])

    def words(self) -> str:
        """Its name and settings, for messages."""
        given = plain_settings(self.settings) if self.settings is not None else {}
        return " ".join([type(self).__name__, *(f"{name} {v}" for name, v in given.items())])
