"""Continual learning as one call in your own program, without files or the pipeline.

    from dstcl.continual import learn

    learned = learn(network, [(train, test), ...], method="dst", density=0.1, growth="gradient",
                    epochs=10, batch_size=64, learning_rate=1e-3)
    print(learned.accuracy, learned.metrics())
    network = learned.network(1)           # a plain module: the sub-network of the first task

This creates a `Run` and a `Learner`, as the pipeline does, so the same assertions hold. For your
own loop, use the core: with ``DynamicSparseTraining(model, optimizer, density=0.1, frozen=masks)``
weights never change where ``masks`` is true, which preserves earlier tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dstcl import plugins
from dstcl.continual.learner import Learner, Outcome, Progress, checked_network
from dstcl.continual.methods import Method
from dstcl.continual.metrics import accuracy_matrix, all_metrics
from dstcl.continual.tasks import OwnTasks
from dstcl.networks.build import Source
from dstcl.study.controllers import CONTROLLER, FIXED, controller_facts, controller_source
from dstcl.study.fields import read_settings, setting_names
from dstcl.study.identity import birth_defaults
from dstcl.study.methods import method_facts
from dstcl.study.parts import NOT_READ, SECTIONED, MethodSource, NetworkSource
from dstcl.study.run import Run
from dstcl.study.settings import Data, Engine, Protocol, Topology, Training

PROTOCOLS = {
    "corrected": Protocol(
        logits="task",
        head="task",
        batch_norm="task",
        test_augment=False,
        mask_counts="exact",
        free_weights="keep",
        regrown_frozen="stored",
        candidates="all",
        checkpoint="last",
        stop_at=0.75,
        class_order="seed",
    ),
    "published": Protocol(
        logits="all",
        head="shared",
        batch_norm="batch",
        test_augment=True,
        mask_counts="bernoulli",
        free_weights="zero",
        regrown_frozen="zero",
        candidates="published",
        checkpoint="best_training_accuracy",
        stop_at=1.0,
        class_order="natural",
    ),
}
"""As params.yaml has them."""

OF_FILES = ("data.image_size", "data.task_sizes", "training.validation", "switches.class_order")
"""Settings of how a data set is prepared and split, which mean nothing for images at hand."""


@dataclass(frozen=True)
class Learned:
    """The result of `learn`. Tasks count from 1, as in files and in every table.

    Attributes:
        run: description of the training, with every setting.
        outcome: all measurements, and the store of weights and masks.
    """

    run: Run
    outcome: Outcome

    @property
    def accuracy(self) -> Tensor:
        """Row i holds accuracies after i tasks, row 0 those of the untrained network; column j has
        those of task j + 1; NaN where nothing was measured.

        In [0, 1], float64 (learned tasks + 1, learned tasks).
        """
        tasks = self.run.learned
        matrix = torch.full((tasks + 1, tasks), torch.nan, dtype=torch.float64)
        for row in self.outcome.accuracy:
            matrix[row["after_task"], row["task"] - 1] = row["accuracy"]
        return matrix

    def metrics(self) -> dict[str, float | None]:
        """ACC, BWT, FWT, forgetting and learning accuracy: see `dstcl.continual.metrics`."""
        return all_metrics(accuracy_matrix(self.outcome.accuracy))

    def network(self, task: int) -> nn.Module:
        """The network of a task, with its mask, head and norms; a copy, ready for evaluation.

        If each task has its own head but numbers of classes differ, only the first outputs, as many
        as the task has classes, are meaningful.

        Args:
            task: from 1.

        Raises:
            ValueError: task 0.
            IndexError: a task that was not learned.
        """
        self.outcome.store.activate(self._subnet(task))
        return deepcopy(self.outcome.store.network).eval()

    def masks(self, task: int) -> dict[str, Tensor]:
        """Boolean masks of a task by parameter name; true where it uses a weight.

        Args:
            task: from 1.

        Raises:
            ValueError, IndexError: see `network`.
        """
        return dict(self.outcome.store.subnets[self._subnet(task)].masks)

    def capacity(self) -> list[dict[str, Any]]:
        """For each task (from 1) and layer: size, active, new, shared and free weights; and as the
        task begins: channels with a free weight, dead ones, norm of the gradient by free weights,
        effective rank of the outputs (`dstcl.continual.plasticity`)."""
        return self.outcome.capacity()

    def _subnet(self, task: int) -> int:
        if task == 0:
            raise ValueError("task 0; tasks count from 1, as in capacity() and in files")
        if not 1 <= task <= self.run.learned:
            raise IndexError(f"task {task}; there are 1 to {self.run.learned}")
        return 0 if self.run.facts.joint else task - 1


def learn(
    network: nn.Module | Source,
    tasks: Sequence[tuple[Any, Any]],
    *,
    method: str | type[Method] = "dst",
    density: float = 0.1,
    init: str | Callable[..., Any] = "erk",
    growth: str | Callable[..., Any] = "gradient",
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int = 0,
    device: str | torch.device = "auto",
    protocol: str | Protocol = "corrected",
    head_layer: str | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Learned:
    """Learn tasks one after the other, as a run of a study does.

    Args:
        network: a torch module, whose initial weights are used (the module is copied and not
            changed); a function or class that creates one; a built-in name; or
            ``module:attribute``. Its last linear layer becomes the head, with as many outputs as
            the tasks need.
        tasks: training and test images of each task: pairs of tensors, images (N, C, H, W) and
            labels (N,) from 0 within the task, or torch data sets. Normalise images first.
        method: a built-in name, ``module:attribute`` or a subclass of `Method`.
        density, init, growth: as in params.yaml; an init or growth may also be a function, as in
            the core.
        epochs, batch_size, learning_rate: for each task.
        seed: seed of all random numbers.
        device: where to train; "auto": on a GPU if there is one.
        protocol: "corrected", "published" or your own switches.
        head_layer: name of the layer that becomes the head, if it is not the last linear one.
        progress: called after every epoch with the task (from 1), the epoch and its row of history.
        **settings: any other setting of `dstcl.study.settings` by its name (``update_every=50``,
            ``optimizer=torch.optim.RMSprop``, ``head="shared"``), and those of the method. No
            images are held out, so a controller that needs some is refused.

    Raises:
        ValueError: the arguments cannot be trained; the message has one line.
        InvariantError: see `Learner.fit`.
    """
    where = _device(device)
    own = OwnTasks(tasks, where)
    label, source = _network(network)
    chosen = _method(method)
    facts, switches, changes = method_facts(chosen), _switches(protocol), _keys(chosen, settings)
    checkpoint = changes.get("switches.checkpoint", switches.checkpoint)
    if checkpoint == "best_validation_accuracy":
        raise ValueError(f"checkpoint: {checkpoint} needs held-out images; none here")
    _refuse_held_out(changes.get(CONTROLLER, FIXED))
    run = Run(
        dataset="own",
        tasks=len(own.sizes),
        protocol=protocol if isinstance(protocol, str) else "own",
        network=label,
        method=chosen,
        density=1.0 if facts.dense else float(density),
        init=NOT_READ if facts.dense else _name(init),
        growth=_name(growth) if facts.grows else NOT_READ,
        seed=seed,
        data=Data(image_size=own.image[1], task_sizes=tuple(own.sizes)),
        switches=switches,
        network_source=NetworkSource(label, head_layer),
        method_source=MethodSource(chosen, {}),
        **_sections(epochs, batch_size, learning_rate),
    )
    run = run.changed(changes)
    cards = [where] if where.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):  # the caller's random numbers stay their own
        built = checked_network(run, own, own.image, where, source)
        return Learned(run, Learner(run, built, own, progress).fit())


def _sections(epochs: int, batch_size: int, learning_rate: float) -> dict[str, Any]:
    born = birth_defaults()
    asked = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    return {
        "training": read_settings(Training, born["training"] | asked, "training"),
        "topology": read_settings(Topology, born["topology"], "topology"),
        "engine": read_settings(Engine, born["engine"], "engine"),
    }


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def _network(network: nn.Module | Source) -> tuple[str, Source]:
    """What a network is called, and what makes it."""
    if isinstance(network, str):
        return network, network
    if not isinstance(network, nn.Module):
        return getattr(network, "__qualname__", type(network).__name__), network

    def copied() -> nn.Module:
        return deepcopy(network)

    copied.__qualname__ = type(network).__qualname__  # as messages call it
    return type(network).__qualname__, copied


def _method(method: str | type[Method]) -> str:
    if isinstance(method, str):
        return method
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise ValueError(f"method: {method!r}; a name, or a subclass of {Method.__name__}")
    return plugins.name_of(method)


def _name(part: Any) -> Any:
    """Functions and classes by a name; anything else as it is."""
    return plugins.name_of(part) if callable(part) else part


def _switches(protocol: str | Protocol) -> Protocol:
    if isinstance(protocol, Protocol):
        return protocol
    if protocol not in PROTOCOLS:
        known = ", ".join(PROTOCOLS)
        raise ValueError(f"protocol: {protocol!r}; allowed: {known}, or a Protocol")
    return PROTOCOLS[protocol]


def _refuse_held_out(controller: str | Mapping[str, Any]) -> None:
    """Refuse a controller that decides by held-out images."""
    try:
        source = controller_source(controller)
        needed = source is not None and controller_facts(source.source).needs_validation
    except ValueError:  # `Run.changed` says what else is wrong with it
        return
    if source is not None and needed:
        raise ValueError(
            f"controller: {source.label!r} needs held-out images; none here, so it cannot be used "
            "in learn, only in a study"
        )


def _keys(method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the key that `Run.changed` knows; a method's own name goes before others."""
    kind = method_facts(method).settings
    of_method = setting_names(kind) if kind else ()
    known = {name: key for name, key in SECTIONED.items() if key not in OF_FILES}
    known |= {name: f"method.{name}" for name in of_method}
    for name in settings:
        if name not in known:
            raise ValueError(f"{name}: no setting; allowed: {', '.join(sorted(known))}")
    return {known[name]: _name(value) for name, value in settings.items()}
