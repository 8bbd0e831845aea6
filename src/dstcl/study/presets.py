"""Presets in params.yaml: the lists whose combinations are the runs of a study."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any

from pydantic import Field, model_validator

from dstcl import plugins
from dstcl.data.catalog import DATASETS
from dstcl.study.benchmarks import Benchmark
from dstcl.study.controllers import (
    CONTROLLER,
    ControllerSource,
    controller_label,
    controller_source,
)
from dstcl.study.entries import GrowthName, MethodEntry, NetworkEntry
from dstcl.study.fields import check_setting, setting_names
from dstcl.study.growths import growth_by_task, growth_names
from dstcl.study.methods import method_facts
from dstcl.study.models import Axis, Density, Init, Model, Name, Seed, distinct
from dstcl.study.places import Place
from dstcl.study.settings import SECTIONS, Engine, Topology, Training


class Axes(Model):
    """Lists whose every combination is a run."""

    part: Name | None = None
    """Name of this block of runs, for example table-3; it can be run, and its cost estimated,
    separately."""
    benchmarks: Annotated[list[Benchmark], Field(min_length=1)]
    """Data sets and numbers of tasks."""
    protocols: Axis[str]
    """Names of entries under protocols."""
    networks: Axis[NetworkEntry]
    """Built-in names, or module:attribute of anything that returns a torch module. A mapping gives
    it its own label: {name: tv18, from: torchvision.models:resnet18, head: fc, arguments:
    {weights: null}}."""
    methods: Axis[MethodEntry]
    """A sub-network per task: dst (dynamic sparse training), static (the first mask is kept),
    gradual (dense to sparse by magnitude), packnet (train all that is left, keep the largest;
    density is what a task may add), wsn (the highest learned scores), supsup (the same over
    random weights that are never trained), hat (units claimed by learned gates), nispa (units
    that are active become stable; density is that of all tasks together). Controls: disjoint
    (random masks that share nothing),
    unisolated (dst that freezes nothing: one sparse network, which forgets). Dense: finetune
    (forgets), ewc (forgets less), separate (a network per task), joint (all tasks at once). Or
    module:attribute of your own class. With settings: {name: ewc, strength: 300}, or under
    another label: {name: ewc-strong, from: ewc, strength: 300}. Only dst and unisolated have a
    growth; dense ones have density 1, init "none"."""
    densities: Axis[Density]
    """Active share of the maskable weights in each task; sparsity is 1 - density."""
    inits: Axis[Init]
    """How a task's first mask distributes its weights over the layers: uniform, erk, or
    module:attribute."""
    growths: Axis[GrowthName]
    """Growth criteria, built-in or module:attribute; two with "-then-" between them switch within
    each task, at topology.switch_at. A plan over the tasks gives the number of tasks for each
    growth: 5xrandom+5xgradient, or by shares for any number of tasks 0.5xrandom+0.5xgradient."""
    seeds: Axis[Seed]
    """Seeds for initial weights, masks, growth, batches and, if switched on, the class order."""
    vary: dict[str, Axis[Any]] = Field(default={})
    """Additional axes: any setting, by section and name, with a list of values, for example
    {topology.update_every: [50, 100]}; sections: data, switches, training, topology, engine,
    and method for the settings of a method."""


def _check_varied(key: str, values: list[Any], methods: list[MethodEntry]) -> None:
    section, _, name = key.partition(".")
    if section == "method":
        kinds = [method_facts(entry.source).settings for entry in methods]
        known = [kind for kind in kinds if kind is not None and name in setting_names(kind)]
        if not known:
            raise ValueError(f"{key}: no method of the preset has a setting {name!r}")
    elif section in SECTIONS:
        names = setting_names(SECTIONS[section])
        if name not in names:
            raise ValueError(f"{key}: unknown setting; allowed: {', '.join(names)}")
        known = [SECTIONS[section]]
    else:
        allowed = ", ".join([*SECTIONS, "method"])
        raise ValueError(f"{key}: unknown section; allowed: {allowed}")
    for value in values:
        for kind in known:
            try:
                check_setting(kind, name, value)
            except ValueError as error:
                raise ValueError(f"{key}: {value!r}; {error}") from None
    if key == CONTROLLER:
        try:
            distinct([controller_label(value) for value in values])
        except ValueError as error:
            raise ValueError(f"{key}: {error}; name tells two of one kind apart") from None


class Extra(Model):
    """Additional runs: lists given here replace those of the preset."""

    part: Name | None = None
    """See the preset; without a name, these runs are in no part."""
    benchmarks: Annotated[list[Benchmark], Field(min_length=1)] | None = None
    """Replaces the preset's value, like every key here."""
    protocols: Axis[str] | None = None
    """See the preset."""
    networks: Axis[NetworkEntry] | None = None
    """See the preset."""
    methods: Axis[MethodEntry] | None = None
    """See the preset."""
    densities: Axis[Density] | None = None
    """See the preset."""
    inits: Axis[Init] | None = None
    """See the preset."""
    growths: Axis[GrowthName] | None = None
    """See the preset."""
    seeds: Axis[Seed] | None = None
    """See the preset."""
    vary: dict[str, Axis[Any]] | None = None
    """See the preset."""


class Preset(Axes):
    """One scale of the study: every combination of its lists is a run."""

    training: Training
    topology: Topology
    engine: Engine = Engine()
    extra: list[Extra] = Field(default=[])
    """Additional blocks of runs with other lists; a run that is named twice is made once."""

    def blocks(self) -> list[Axes]:
        """The preset's own lists, then one set of lists for each extra."""
        own = {name: getattr(self, name) for name in Axes.model_fields}
        blocks = [Axes.model_construct(**own)]
        for extra in self.extra:
            given = {n: v for n in Axes.model_fields if (v := getattr(extra, n)) is not None}
            blocks.append(Axes.model_construct(**(own | {"part": None} | given)))
        return blocks

    def placed_blocks(self) -> Iterator[tuple[Place, Axes]]:
        """Every block with the place of what it varies."""
        own = [(f"extra[{k}].vary", extra.vary) for k, extra in enumerate(self.extra)]
        keys = ["vary", *("vary" if vary is None else key for key, vary in own)]
        for key, block in zip(keys, self.blocks()):
            yield Place(key, tuple(block.vary)), block

    def written(self, axis: str) -> Iterator[tuple[str, list[Any]]]:
        """Every list of an axis as the file has it, with its key in the preset."""
        yield axis, getattr(self, axis)
        for k, extra in enumerate(self.extra):
            if values := getattr(extra, axis):
                yield f"extra[{k}].{axis}", values

    def parts(self) -> list[str]:
        """Names of the blocks that have one."""
        return list(dict.fromkeys(block.part for block in self.blocks() if block.part))

    @model_validator(mode="after")
    def _varied_settings_exist(self) -> Preset:
        first: dict[str, Axes] = {}
        for place, block in self.placed_blocks():
            first.setdefault(place.vary, block)
        for where, block in first.items():
            for key, values in block.vary.items():
                try:
                    _check_varied(key, values, block.methods)
                except ValueError as error:
                    raise ValueError(f"{where}.{error}") from None
        return self

    @model_validator(mode="after")
    def _plans_over_tasks_fit(self) -> Preset:
        for block in self.blocks():
            for growth, benchmark in product(block.growths, block.benchmarks):
                try:
                    growth_by_task(growth, benchmark.tasks)
                except ValueError as error:
                    where = f"{benchmark.dataset} with {benchmark.tasks} tasks"
                    raise ValueError(f"growths: {error} ({where})") from None
        return self

    @model_validator(mode="after")
    def _axes_tell_runs_apart(self) -> Preset:
        """Tables know a run by its axes: other epochs would pass for more seeds."""
        seen: dict[tuple[str, int], dict[str, Any]] = {}
        for block in self.blocks():
            for bench in block.benchmarks:
                training = {"epochs": self.training.epochs, "batch_size": self.training.batch_size}
                settings = {
                    "image_size": getattr(DATASETS.get(bench.dataset), "image_size", None),
                    **training,
                    "update_every": self.topology.update_every,
                    **bench.model_dump(exclude_none=True),
                }
                if seen.setdefault((bench.dataset, bench.tasks), settings) != settings:
                    raise ValueError(
                        f"benchmarks: {bench.dataset} with {bench.tasks} tasks twice, with other "
                        "settings; allowed: once, or in a preset of its own"
                    )
        return self

    def names_again(self) -> bool:
        """Whether blocks use a name of a network, method or controller for two things, so that
        runs of equal axes may differ."""
        known: dict[tuple[str, str], Any] = {}
        return any(
            known.setdefault((kind, one.label), one) != one
            for block in self.blocks()
            for kind, entries in (
                ("networks", block.networks),
                ("methods", block.methods),
                (CONTROLLER, self.controllers(block)),
            )
            for one in entries
        )

    def plugins(self) -> Iterator[tuple[str, str]]:
        """Names of the form module:attribute, with the key that holds each."""
        named = [("topology.prune", self.topology.prune)]
        named += [("training.optimizer", self.training.optimizer)]
        named += [("training.schedule", self.training.schedule)]
        for place, block in self.placed_blocks():
            named += [("networks", entry.source) for entry in block.networks]
            named += [("methods", entry.source) for entry in block.methods]
            named += [("inits", init) for init in block.inits]
            named += [("growths", one) for growth in block.growths for one in growth_names(growth)]
            named += [(place.key(CONTROLLER), one.source) for one in self.controllers(block)]
            for key in ("topology.prune", "training.optimizer", "training.schedule"):
                named += [(place.key(key), str(value)) for value in block.vary.get(key, [])]
        return ((key, name) for key, name in dict.fromkeys(named) if plugins.is_plugin(name))

    def controllers(self, block: Axes) -> list[ControllerSource]:
        """Those that runs of a block may have."""
        values = block.vary.get(CONTROLLER, [self.topology.controller])
        return [source for value in values if (source := controller_source(value))]

    def varied(self) -> tuple[str, ...]:
        """Settings that some block varies; each is an axis of every run of the preset."""
        return tuple(dict.fromkeys(key for block in self.blocks() for key in block.vary))

    def protocol_names(self) -> list[str]:
        """Every protocol that some block uses."""
        return list(dict.fromkeys(name for block in self.blocks() for name in block.protocols))
