"""Benchmarks in params.yaml: data sets cut into tasks, and data sets of the user's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dstcl.data.catalog import DATASETS, DatasetInfo
from dstcl.data.orders import size_problem
from dstcl.study.fields import Fraction
from dstcl.study.models import NAMES, Model


class Benchmark(Model):
    """A data set divided into tasks, with settings that replace the preset's."""

    dataset: Annotated[str, Field(json_schema_extra=NAMES)]
    """Name of a data set in the catalogue, or of one under datasets."""
    tasks: Annotated[int, Field(ge=1)]
    """Number of tasks; must divide the number of classes, unless task_sizes are given."""
    task_sizes: list[Annotated[int, Field(ge=2)]] | None = None
    """Classes of each task if tasks are unequal, for example [50, 10, 10, 10, 10, 10]."""
    learn: Annotated[int, Field(ge=1)] | None = None
    """Number of tasks to learn, from the first; null for all. A prefix is cheap and can be compared
    with the beginning of a curve, because head and class order are those of all tasks."""
    image_size: Annotated[int, Field(ge=8, le=256)] | None = None
    """Edge of the prepared images in pixels; null for the data set's own."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs per task here; null for the preset's."""
    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Batch size here; null for the preset's."""
    update_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between topology updates here; null for the preset's."""

    @model_validator(mode="after")
    def _fits_the_data_set(self) -> Benchmark:
        if self.dataset in DATASETS and (problem := self.problem(DATASETS[self.dataset])):
            raise ValueError(problem)
        return self

    def problem(self, info: DatasetInfo) -> str:
        """What does not fit the data set, or ""; `Params` asks it for sets of the user's own."""
        classes = info.classes
        if self.learn is not None and self.learn > self.tasks:
            return f"learn: {self.learn}; there are {self.tasks} tasks"
        if self.task_sizes is not None:
            if wrong := size_problem(self.task_sizes, classes, self.tasks):
                return f"task_sizes: {self.task_sizes}; {wrong}"
        elif classes % self.tasks or classes // self.tasks < 2:
            allowed = [t for t in range(1, classes // 2 + 1) if classes % t == 0]
            return (
                f"tasks: {self.tasks} tasks do not divide the {classes} classes of "
                f"{self.dataset} into equal tasks of at least 2; "
                f"allowed: {', '.join(map(str, allowed))}"
            )
        if info.fixed_size and self.image_size not in (None, info.image_size):
            return f"image_size: {self.image_size}; {self.dataset} has only {info.image_size}"
        return ""


class OwnDataset(Model):
    """Your own images, in any layout listed in docs/data.md."""

    path: Annotated[str, Field(min_length=1)]
    """Folder or archive."""
    classes: Annotated[int, Field(ge=2)]
    """Number of classes; checked when the set is prepared."""
    image_size: Annotated[int, Field(ge=8, le=256)] = 32
    """Edge of the prepared images in pixels, unless a benchmark asks for another."""
    channels: Literal[1, 3] = 3
    """1 for grey, 3 for colour."""
    mean: list[Fraction] | None = None
    """One value per channel on the scale 0 to 1; null to measure it on the training images."""
    std: list[Annotated[float, Field(gt=0, le=1)]] | None = None
    """As mean."""
    title: Annotated[str, Field(max_length=200)] | None = None
    """Name in figures and reports; null for its key."""

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> OwnDataset:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{name}: {values}; {self.channels} values are needed")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean: both mean and std, or neither")
        return self
