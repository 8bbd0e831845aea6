"""The whole of params.yaml, and what its parts must agree on.

The JSON Schema of params.yaml is generated from these classes (`make schema`).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Annotated

from pydantic import Field, model_validator

from dstcl import plugins
from dstcl.data.catalog import DATASETS, DatasetInfo, own_dataset
from dstcl.data.superclasses import SUPERCLASSES
from dstcl.study.benchmarks import Benchmark, OwnDataset
from dstcl.study.conflicts import decay_problem, validation_problem
from dstcl.study.controllers import CONTROLLER, controller_problem
from dstcl.study.methods import method_facts
from dstcl.study.models import PATTERN, Model, Name, Parts
from dstcl.study.presets import Preset
from dstcl.study.settings import Protocol


class Figures(Model):
    """Appearance of figures; a change here redraws figures and trains nothing."""

    dpi: Annotated[int, Field(ge=50, le=600)] = 150
    """Resolution of PNG files."""
    manuscript_width: Annotated[int, Field(ge=100, le=250)] = 140
    """Text width of a manuscript in mm, which is also the width of its figures."""


class Params(Model):
    """All of params.yaml."""

    preset: str
    """The preset to run."""
    parts: Parts = Field(default=[])
    """Parts of the preset to run, by name, for example [table-3]. If none is named, everything is
    run, including runs that are in no part."""
    presets: Annotated[dict[Name, Preset], Field(min_length=1)]
    """Scales of the study."""
    protocols: Annotated[dict[Name, Protocol], Field(min_length=1)]
    """Protocols by name."""
    datasets: dict[Annotated[str, Field(pattern=PATTERN)], OwnDataset] = Field(default={})
    """Your own data sets, by name."""
    figures: Figures

    @model_validator(mode="after")
    def _names_exist(self) -> Params:
        if self.preset not in self.presets:
            raise ValueError(f"preset: {self.preset!r}; allowed: {', '.join(self.presets)}")
        known = self.presets[self.preset].parts()
        if unknown := [part for part in self.parts if part not in known]:
            allowed = ", ".join(known) or f"none, as preset {self.preset} has no parts"
            raise ValueError(f"parts: {unknown[0]!r}; allowed: {allowed}")
        for name, preset in self.presets.items():
            for key, protocols in preset.written("protocols"):
                if unknown := [one for one in protocols if one not in self.protocols]:
                    allowed = ", ".join(self.protocols)
                    raise ValueError(f"presets.{name}.{key}: {unknown[0]!r}; allowed: {allowed}")
        return self

    @model_validator(mode="after")
    def _data_sets_exist(self) -> Params:
        for name in self.datasets:
            if name in DATASETS:
                raise ValueError(
                    f"datasets.{name}: is the name of a known data set; choose another"
                )
        for name, preset in self.presets.items():
            for key, benchmarks in preset.written("benchmarks"):
                for k, benchmark in enumerate(benchmarks):
                    self._check_benchmark(f"presets.{name}.{key}[{k}]", benchmark)
        return self

    def _check_benchmark(self, key: str, benchmark: Benchmark) -> None:
        known = [*DATASETS, *self.datasets]
        if benchmark.dataset not in known:
            raise ValueError(f"{key}.dataset: {benchmark.dataset!r}; allowed: {', '.join(known)}")
        if problem := benchmark.problem(self.dataset_info(benchmark.dataset)):
            raise ValueError(f"{key}.{problem}")

    @model_validator(mode="after")
    def _superclasses_exist(self) -> Params:
        for name, preset in self.presets.items():
            for place, block in preset.placed_blocks():
                sets = {benchmark.dataset for benchmark in block.benchmarks}
                for protocol in block.protocols:
                    own = self.protocols[protocol].class_order
                    orders = block.vary.get("switches.class_order", [own])
                    others = sorted(sets - SUPERCLASSES.keys())
                    if "superclass" in orders and others:
                        at = f"protocols.{protocol}.class_order"
                        if place.has(key := "switches.class_order"):
                            at = f"presets.{name}.{place.key(key)}"
                        raise ValueError(
                            f"{at}: 'superclass'; preset {name} uses it on {', '.join(others)}; "
                            f"allowed on: {', '.join(SUPERCLASSES)}"
                        )
        return self

    @model_validator(mode="after")
    def _varied_data_fit(self) -> Params:
        for name, preset in self.presets.items():
            for place, block in preset.placed_blocks():
                keys = [
                    key
                    for key in ("task_sizes", "learn", "image_size")
                    if f"data.{key}" in block.vary
                ]
                for benchmark, *values in product(
                    block.benchmarks, *(block.vary[f"data.{key}"] for key in keys)
                ):
                    varied = benchmark.model_copy(update=dict(zip(keys, values)))
                    if problem := varied.problem(self.dataset_info(benchmark.dataset)):
                        raise ValueError(f"presets.{name}.{place.vary}.data.{problem}")
        return self

    @model_validator(mode="after")
    def _validation_where_needed(self) -> Params:
        for name, preset in self.presets.items():
            for place, block in preset.placed_blocks():
                shares = block.vary.get("training.validation", [preset.training.validation])
                for protocol, share in product(block.protocols, shares):
                    own = self.protocols[protocol].checkpoint
                    for checkpoint in block.vary.get("switches.checkpoint", [own]):
                        if problem := validation_problem(checkpoint, share):
                            raise ValueError(f"presets.{name}.{place.refusal(problem, protocol)}")
        return self

    @model_validator(mode="after")
    def _controllers_can_work(self) -> Params:
        for name, preset in self.presets.items():
            for place, block in preset.placed_blocks():
                if not any("topology" in method_facts(one.source).reads for one in block.methods):
                    continue
                values = block.vary.get(CONTROLLER, [preset.topology.controller])
                shares = block.vary.get("training.validation", [preset.training.validation])
                for protocol, value, share in product(block.protocols, values, shares):
                    own = self.protocols[protocol].mask_counts
                    for counts in block.vary.get("switches.mask_counts", [own]):
                        if problem := controller_problem(value, counts, share):
                            raise ValueError(f"presets.{name}.{place.refusal(problem, protocol)}")
        return self

    @model_validator(mode="after")
    def _weight_decay_moves_no_frozen_weight(self) -> Params:
        for name, preset in self.presets.items():
            for place, block in preset.placed_blocks():
                if all(benchmark.tasks == 1 for benchmark in block.benchmarks):
                    continue
                names = ("weight_decay", "optimizer_settings")
                values = product(
                    *(block.vary.get(f"training.{n}", [getattr(preset.training, n)]) for n in names)
                )
                trainings = [replace(preset.training, **dict(zip(names, own))) for own in values]
                for protocol, method, training in product(
                    block.protocols, block.methods, trainings
                ):
                    own = self.protocols[protocol].mask_counts
                    for counts in block.vary.get("switches.mask_counts", [own]):
                        if problem := decay_problem(training, counts, method.source):
                            raise ValueError(f"presets.{name}.{place.refusal(problem, protocol)}")
        return self

    @model_validator(mode="after")
    def _plugins_exist(self) -> Params:
        for name, preset in self.presets.items():
            for key, plugin in preset.plugins():
                try:
                    plugins.find(plugin)
                except plugins.PluginError as error:
                    raise ValueError(f"presets.{name}.{key}: {error}") from None
        return self

    def dataset_info(self, name: str) -> DatasetInfo:
        """The facts of a data set of the catalogue or of the user's own."""
        own = self.datasets.get(name)
        return own_dataset(name, own.model_dump()) if own else DATASETS[name]

    @property
    def study(self) -> Preset:
        """The preset that is run."""
        return self.presets[self.preset]
