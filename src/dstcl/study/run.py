"""A run: the resolved description of one training, as plain data.

Standard library only, so that a machine with nothing but Python and torch can train from a JSON
file (`dstcl train`). The typed study that produces runs is `dstcl.study.load`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from dstcl import plugins
from dstcl.data.orders import Order, order_name
from dstcl.study.changes import changed_fields
from dstcl.study.conflicts import decay_problem, validation_problem
from dstcl.study.controllers import (
    CONTROLLER,
    ControllerSource,
    controller_label,
    controller_problem,
    controller_source,
)
from dstcl.study.fields import plain
from dstcl.study.growths import growth_names
from dstcl.study.identity import decides, description, identity, read_description
from dstcl.study.methods import MethodFacts, method_facts
from dstcl.study.parts import AXES, NOT_READ, MethodSource, NetworkSource
from dstcl.study.settings import Data, Engine, Protocol, Topology, Training

FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")
"""What a label may become as a part of a path; above all nothing that leads elsewhere."""


@dataclass(frozen=True)
class Run:
    """Everything that decides the numbers of one training, and how it is computed.

    The first nine fields are the axes of the study. The sections are documented, with units and
    ranges, in `dstcl.study.settings`; of them, only what the run's method reads is part of its
    description and its digest (`dstcl.study.identity`).

    Attributes:
        switches: what the protocol of that name means.
        network_source, method_source: what the labels ``network`` and ``method`` stand for.
        vary: keys such as ``topology.update_every`` that the study varies; each is one more axis.
    """

    dataset: str
    tasks: int
    protocol: str
    network: str
    method: str
    density: float
    init: str
    growth: str
    seed: int
    data: Data
    switches: Protocol
    training: Training
    topology: Topology
    engine: Engine
    network_source: NetworkSource
    method_source: MethodSource
    vary: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        method, counts = self.method_source.source, self.switches.mask_counts
        if self.tasks > 1 and (problem := decay_problem(self.training, counts, method)):
            raise ValueError(problem)
        if problem := validation_problem(self.switches.checkpoint, self.training.validation):
            raise ValueError(problem)
        if self.learned > self.tasks:
            raise ValueError(f"data.learn: {self.learned}; there are {self.tasks} tasks")
        if problem := self._controller_problem():
            raise ValueError(problem)

    def axes(self) -> dict[str, Any]:
        """The axes by name: the nine, and every varied setting as text between growth and seed."""
        own = {axis: getattr(self, axis) for axis in AXES}
        seed = own.pop("seed")
        return own | self.varied | {"seed": seed}

    @cached_property
    def varied(self) -> dict[str, str]:
        """The varied settings as text; "none" where the method does not read one."""
        return {key: self._text(key) if decides(self, key) else NOT_READ for key in self.vary}

    def _text(self, key: str) -> str:
        value = self.setting(key)
        return controller_label(value) if key == CONTROLLER else value_text(value)

    def _controller_problem(self) -> str:
        if self.controller is None:
            return ""
        return controller_problem(
            self.topology.controller,
            self.switches.mask_counts,
            self.training.validation,
            self.facts.one_mask and self.tasks > 1,
        )

    @cached_property
    def controller(self) -> ControllerSource | None:
        """What decides on growth and more before each task; None without, or where the method
        does not read it."""
        return controller_source(self.topology.controller) if decides(self, CONTROLLER) else None

    @property
    def result_files(self) -> dict[str, str]:
        """The files that the run leaves, by their keys in `ALL_FILES`."""
        return RESULT_FILES if self.controller is None else ALL_FILES

    @property
    def facts(self) -> MethodFacts:
        """What the run's method says of itself."""
        return method_facts(self.method_source.source)

    def setting(self, key: str) -> Any:
        """The value of ``section.name``, or of ``method.name`` for a setting of the method.

        None for a setting that the run's method does not have.
        """
        section, _, name = key.partition(".")
        if section == "method":
            return self.method_source.settings.get(name)
        return getattr(getattr(self, section), name)

    def changed(self, values: Mapping[str, Any]) -> Run:
        """The same run with other values, by axis or setting: ``topology.update_every``.

        The section may be left out where the name is a section's. Another network or method is a
        built-in one or module:attribute, with its default settings.

        Raises:
            ValueError: no such key, or a value that is not allowed; one line.
        """
        return replace(self, **changed_fields(vars(self), values))

    def to_dict(self) -> dict[str, Any]:
        """A nested dictionary that JSON can hold: the axes, and of each section what is read."""
        return description(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Run:
        """The inverse of `to_dict`. What the run does not read may be left out.

        Raises:
            ValueError: one line that names the key, its value and what is allowed.
        """
        fields = read_description(values)
        try:
            run = cls(**fields)
            _ = run.folder  # a plan of someone else must not write elsewhere
        except ValueError as error:
            raise ValueError(f"run description: {error}") from None
        return run

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that decides the numbers of the run, where it differs from birth defaults."""
        return identity(self)

    @cached_property
    def digest(self) -> str:
        """Ten hexadecimal digits over `identity`: equal only for runs of equal numbers."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def folder(self) -> str:
        """Where the run's results live below ``results/<preset>/runs``.

        Raises:
            ValueError: a label that cannot be the name of a folder, as ``../x``; names its key.
        """
        first = f"-first{self.data.learn}" if self.data.learn else ""
        parts = {
            "axes.dataset": f"{self.dataset}-{self.tasks}tasks{first}",
            "axes.protocol": self.protocol,
            "axes.network": folder_name(self.network),
            "axes.method": folder_name(self.method),
            "axes.density": f"density{self.density:g}",
            "axes.init": folder_name(self.init),
            "axes.growth": folder_name(self.growth),
            **{key: f"{key}={folder_name(value)}" for key, value in self.varied.items()},
            "axes.seed": f"seed{self.seed}-{self.digest}",
        }
        for key, part in parts.items():
            if not FOLDER_NAME.fullmatch(part):
                raise ValueError(
                    f"{key}: {part!r} cannot be the name of a folder: letters, digits and . _ + - "
                    "only, a letter or digit first"
                )
        return "/".join(parts.values())

    @property
    def learned(self) -> int:
        """How many of the tasks are learned."""
        return self.data.learn or self.tasks

    @property
    def data_name(self) -> str:
        """Name of the prepared data file, without its suffix."""
        return f"{self.dataset}-{self.data.image_size}px"

    @property
    def data_file(self) -> str:
        """The prepared data set, below the folder of all data."""
        return f"prepared/{self.data_name}.safetensors"

    @property
    def tasks_file(self) -> str:
        """The split of the data set into tasks, below the folder of all data."""
        return f"tasks/{self.data_name}-{self.tasks}tasks/{self.order_name}.json"

    @property
    def order_name(self) -> str:
        """Name of the task split, which says all that decides it: see `dstcl.data.orders`."""
        order = self.switches.class_order
        classes = f"seed{self.seed}" if order == "seed" else order
        return order_name(Order(classes, self.data.task_sizes, self.training.validation))

    @property
    def own_heads(self) -> bool:
        """Whether each task has a head of its own; tasks learned together share one."""
        return self.switches.head == "task" and not self.facts.joint

    def outputs(self, sizes: tuple[int, ...] | list[int]) -> int:
        """Outputs that the network needs for tasks of so many classes each."""
        return max(sizes) if self.own_heads else sum(sizes)

    def plugins(self) -> dict[str, str]:
        """Names of the form module:attribute in this run, by the key that holds them."""
        return {key: name for key, name in self._names() if plugins.is_plugin(name)}

    def _names(self) -> Iterator[tuple[str, str]]:
        yield "networks", self.network_source.source
        yield "methods", self.method_source.source
        yield "inits", self.init
        for criterion in growth_names(self.growth):
            yield "growths", criterion
        yield "topology.prune", self.topology.prune if self.facts.grows else NOT_READ
        yield CONTROLLER, self.controller.source if self.controller else NOT_READ
        yield "training.optimizer", self.training.optimizer
        yield "training.schedule", self.training.schedule


def value_text(value: Any) -> str:
    """A setting's value as tables and folders have it: compact JSON, text without quotes."""
    if value is None:
        return NOT_READ
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(plain(value), separators=(",", ":"))


def folder_name(value: str) -> str:
    """A label as the name of a folder: module:attribute with a point, no brackets or commas."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", value.replace(":", ".")).strip("_")


RESULT_FILES = {
    "config": "config.json",
    "metrics": "metrics.json",
    "accuracy": "accuracy.csv",
    "history": "history.csv",
    "capacity": "capacity.csv",
    "overlap": "overlap.csv",
    "masks": "masks.safetensors",
    "weights": "weights.safetensors",
    "provenance": "provenance.json",
}
"""What every run leaves, by key."""
ALL_FILES = RESULT_FILES | {"decisions": "decisions.csv"}
"""And what a run with a controller leaves besides."""
