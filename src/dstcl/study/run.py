"""A run: the resolved description of one training, as plain data.

Standard library only, so that a machine with nothing but Python and torch can train from a JSON
file (`dstcl train`). The typed study that produces runs is `dstcl.study.load`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from dstcl.data.orders import Order, order_name

AXES = (
    "dataset",
    "tasks",
    "protocol",
    "network",
    "method",
    "density",
    "init",
    "growth",
    "seed",
)


KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "tuple[float, ...]": (list, tuple),
    "tuple[int, ...]": (list, tuple),
}
"""What `Run.from_dict` takes for a field of each annotated type."""
LISTS = ("lr_milestones", "task_sizes")


@dataclass(frozen=True)
class Run:
    """Everything that decides the numbers of one training.

    The first nine fields are the axes of the study; the others are documented, with their
    units and ranges, where they are set: `dstcl.study.settings` and `dstcl.study.presets`.
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
    image_size: int
    class_order: str
    task_sizes: tuple[int, ...]
    validation: float
    augment: str
    epochs: int
    batch_size: int
    test_batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    lr_milestones: tuple[float, ...]
    lr_factor: float
    prune: str
    prune_rate: float
    prune_rate_floor: float
    prune_schedule: str
    redistribute: str
    update_every: int
    stop_at: float
    switch_at: float
    candidates: str
    logits: str
    head: str
    batch_norm: str
    test_augment: bool
    mask_counts: str
    free_weights: str
    regrown_frozen: str
    checkpoint: str
    ewc_strength: float
    precision: str
    layout: str
    compile: str

    def to_dict(self) -> dict[str, Any]:
        """A flat dictionary that JSON can hold."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {name: list(values[name]) for name in LISTS}
        return values | lists

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Run:
        """The inverse of `to_dict`.

        Raises:
            ValueError: naming the keys that are missing or unknown.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"run description: a mapping is needed, not {values!r}")
        known = {field.name for field in fields(cls)}
        missing, unknown = known - values.keys(), values.keys() - known
        if missing or unknown:
            parts = [f"missing {sorted(missing)}"] * bool(missing)
            parts += [f"unknown {sorted(unknown)}"] * bool(unknown)
            raise ValueError(f"run description: {'; '.join(parts)}")
        for field in fields(cls):
            if not isinstance(values[field.name], KINDS[str(field.type)]):
                raise ValueError(
                    f"run description: {field.name} is {values[field.name]!r}, not {field.type}"
                )
        return cls(**{**values, **{name: tuple(values[name]) for name in LISTS}})

    @cached_property
    def digest(self) -> str:
        """Ten hexadecimal digits over every field: two runs share it only if they are equal."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def folder(self) -> str:
        """Where the run's results live below ``results/<preset>/runs``."""
        return str(
            PurePosixPath(
                f"{self.dataset}-{self.tasks}tasks",
                self.protocol,
                self.network,
                self.method,
                f"density{self.density:g}",
                self.init,
                self.growth,
                f"seed{self.seed}-{self.digest}",
            )
        )

    @property
    def data_name(self) -> str:
        """Name of the prepared data file, without its suffix."""
        return f"{self.dataset}-{self.image_size}px"

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
        classes = f"seed{self.seed}" if self.class_order == "seed" else self.class_order
        return order_name(Order(classes, self.task_sizes, self.validation))


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
