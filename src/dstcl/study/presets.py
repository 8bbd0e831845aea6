"""The types of params.yaml: what can be studied, with ranges and the meaning of every key.

The JSON Schema of params.yaml is generated from these classes (`make schema`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from dstcl import plugins
from dstcl.data.catalog import DATASETS, DatasetInfo, own_dataset
from dstcl.data.orders import size_problem
from dstcl.data.superclasses import SUPERCLASSES
from dstcl.study.controllers import (
    CONTROLLER,
    ControllerSource,
    controller_label,
    controller_problem,
    controller_source,
)
from dstcl.study.entries import GrowthName, MethodEntry, NetworkEntry
from dstcl.study.fields import BuiltInOr, Fraction, check_setting, setting_names
from dstcl.study.growths import growth_by_task, growth_names
from dstcl.study.methods import method_facts
from dstcl.study.run import decay_problem
from dstcl.study.settings import SECTIONS, Engine, Protocol, Topology, Training


class Model(BaseModel):
    """Strict, closed and immutable: no unknown keys, no text where a number is meant."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
    )


def _distinct(values: list[Any]) -> list[Any]:
    names = [str(value) for value in values]
    repeated = [name for index, name in enumerate(names) if name in names[:index]]
    if repeated:
        raise ValueError(f"each value once; repeated: {', '.join(repeated)}")
    return values


INITS = ("uniform", "uniform_dense_first", "er", "erk")
# Of a data set, as part of file names; other names than these are those of the user's own sets.
PATTERN = r"^[a-z][a-z0-9]{0,99}$"
NAMES: dict[str, Any] = {"pattern": PATTERN, "examples": list(DATASETS)}
T = TypeVar("T")
Axis = Annotated[list[T], Field(min_length=1), AfterValidator(_distinct)]
Init = Annotated[str, BuiltInOr(INITS)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
# Becomes the name of a folder.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Parts = Annotated[
    list[Name],
    # On a command line a single name needs no brackets.
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    AfterValidator(_distinct),
]
Density = Annotated[float, Field(gt=0, le=1)]


class Benchmark(Model):
    """A data set cut into tasks, with what differs from the preset's training on it."""

    dataset: Annotated[str, Field(json_schema_extra=NAMES)]
    """Name of a data set in the catalogue, or of one under datasets."""
    tasks: Annotated[int, Field(ge=1)]
    """Number of tasks; must divide the number of classes, unless task_sizes are given."""
    task_sizes: list[Annotated[int, Field(ge=2)]] | None = None
    """Classes of each task where they are not equal, as [50, 10, 10, 10, 10, 10]."""
    learn: Annotated[int, Field(ge=1)] | None = None
    """Tasks that are learned, the first so many; null for all. A beginning is cheap, and compares
    with the beginning of a curve: head and class order are those of all tasks."""
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
    """Images of the user's own, in any layout that docs/data.md lists."""

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
    """How figures and reports call it; null for its name."""

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> OwnDataset:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{name}: {values}; {self.channels} values are needed")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean: both mean and std, or neither")
        return self


class Axes(Model):
    """Lists whose every combination is a run."""

    part: Name | None = None
    """Name of this block of runs, as table-3: it can be run, and its cost told, by itself."""
    benchmarks: Annotated[list[Benchmark], Field(min_length=1)]
    """Data sets and numbers of tasks."""
    protocols: Axis[str]
    """Names of entries under protocols."""
    networks: Axis[NetworkEntry]
    """Built-in names, or module:attribute of anything that returns a torch module; as a mapping
    with a label of its own: {name: tv18, from: torchvision.models:resnet18, head: fc,
    arguments: {weights: null}}."""
    methods: Axis[MethodEntry]
    """A sub-network per task: dst (dynamic sparse training), static (the first mask is kept),
    gradual (dense to sparse by magnitude), packnet (train all that is left, keep the largest;
    density is what a task may add), wsn (the highest learned scores), supsup (the same over
    random weights that are never trained), hat (units claimed by learned gates), nispa (units
    that are active become stable; density is that of all tasks together). Controls: disjoint
    (random masks that share nothing),
    unisolated (dst that freezes nothing: one sparse network, which forgets). Dense: finetune
    (forgets), ewc (forgets less), separate (a network per task), joint (all tasks at once). Or
    module:attribute of a class of one's own. With settings: {name: ewc, strength: 300}, or under
    another label: {name: ewc-strong, from: ewc, strength: 300}. Only dst and unisolated have a
    growth; dense ones have density 1, init "none"."""
    densities: Axis[Density]
    """Active share of the maskable weights in each task; sparsity is 1 - density."""
    inits: Axis[Init]
    """How a task's first mask spreads its weights over the layers: uniform, erk, or
    module:attribute."""
    growths: Axis[GrowthName]
    """Growth criteria, built-in or module:attribute; two with "-then-" between them switch within
    each task, at topology.switch_at. A plan over the tasks says how many of them have which:
    5xrandom+5xgradient, or by shares for any number of tasks 0.5xrandom+0.5xgradient."""
    seeds: Axis[Seed]
    """Decide initial weights, masks, growth, batches and, where switched on, the class order."""
    vary: dict[str, Axis[Any]] = Field(default={})
    """Further axes: any setting by its section and name with a list of values, as
    {topology.update_every: [50, 100]}; sections: data, switches, training, topology, engine,
    and method for a method's own settings."""

    @model_validator(mode="after")
    def _varied_settings_exist(self) -> Axes:
        for key, values in (self.vary or {}).items():
            _check_varied(key, values, self.methods)
        return self


def _check_varied(key: str, values: list[Any], methods: list[MethodEntry] | None) -> None:
    section, _, name = key.partition(".")
    if section == "method":
        kinds = [method_facts(entry.source).settings for entry in methods or []]
        known = [kind for kind in kinds if kind is not None and name in setting_names(kind)]
        if methods and not known:
            raise ValueError(f"vary.{key}: no method of the preset has a setting {name!r}")
    elif section in SECTIONS:
        names = setting_names(SECTIONS[section])
        if name not in names:
            raise ValueError(f"vary.{key}: unknown setting; allowed: {', '.join(names)}")
        known = [SECTIONS[section]]
    else:
        allowed = ", ".join([*SECTIONS, "method"])
        raise ValueError(f"vary.{key}: unknown section; allowed: {allowed}")
    for value in values:
        for kind in known:
            try:
                check_setting(kind, name, value)
            except ValueError as error:
                raise ValueError(f"vary.{key}: {value!r}; {error}") from None
    if key == CONTROLLER:
        try:
            _distinct([controller_label(value) for value in values])
        except ValueError as error:
            raise ValueError(f"vary.{key}: {error}; name tells two of one kind apart") from None


class Extra(Model):
    """More runs: the preset's lists with those given here in their place."""

    part: Name | None = None
    """See the preset; without a name these runs are in no part."""
    benchmarks: Annotated[list[Benchmark], Field(min_length=1)] | None = None
    """Instead of the preset's; the same holds for every key here."""
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

    @model_validator(mode="after")
    def _varied_settings_exist(self) -> Extra:
        for key, values in (self.vary or {}).items():
            _check_varied(key, values, self.methods)
        return self


class Preset(Axes):
    """One scale of the study: every combination of its lists is a run."""

    training: Training
    topology: Topology
    engine: Engine = Engine()
    extra: list[Extra] = Field(default=[])
    """Further blocks of runs that differ in some lists; a run named twice is made once."""

    def blocks(self) -> list[Axes]:
        """The preset's own lists, then one set of lists for each extra."""
        own = {name: getattr(self, name) for name in Axes.model_fields}
        blocks = [Axes.model_construct(**own)]
        for extra in self.extra:
            given = {n: v for n in Axes.model_fields if (v := getattr(extra, n)) is not None}
            blocks.append(Axes.model_construct(**(own | {"part": None} | given)))
        return blocks

    def parts(self) -> list[str]:
        """Names of the blocks that have one."""
        return list(dict.fromkeys(block.part for block in self.blocks() if block.part))

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

    def plugins(self) -> Iterator[tuple[str, str]]:
        """Names of the form module:attribute, with the key that holds each."""
        named = [("topology.prune", self.topology.prune)]
        named += [("training.optimizer", self.training.optimizer)]
        named += [("training.schedule", self.training.schedule)]
        for block in self.blocks():
            named += [("networks", entry.source) for entry in block.networks]
            named += [("methods", entry.source) for entry in block.methods]
            named += [("inits", init) for init in block.inits]
            named += [("growths", one) for growth in block.growths for one in growth_names(growth)]
            named += [(CONTROLLER, source.source) for source in self.controllers(block)]
            for key in ("topology.prune", "training.optimizer", "training.schedule"):
                named += [(f"vary.{key}", str(value)) for value in block.vary.get(key, [])]
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


class Figures(Model):
    """How figures look; changing anything here re-draws figures and re-trains nothing."""

    dpi: Annotated[int, Field(ge=50, le=600)] = 150
    """Resolution of PNG files."""
    manuscript_width: Annotated[int, Field(ge=100, le=250)] = 140
    """Width in mm of the text of a manuscript, and so of the figures for it."""


class Params(Model):
    """The whole of params.yaml."""

    preset: str
    """Which preset is run."""
    parts: Parts = Field(default=[])
    """Which of its parts, by name, as [table-3]; none named for all of them, and for the runs that
    are in no part."""
    presets: Annotated[dict[Name, Preset], Field(min_length=1)]
    """Scales of the study."""
    protocols: Annotated[dict[Name, Protocol], Field(min_length=1)]
    """Protocols by name."""
    datasets: dict[Annotated[str, Field(pattern=PATTERN)], OwnDataset] = Field(default={})
    """Data sets of the user's own, by name."""
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
            places = {"": preset.protocols} | {
                f".extra[{k}]": extra.protocols or [] for k, extra in enumerate(preset.extra)
            }
            for place, names in places.items():
                for protocol in names:
                    if protocol not in self.protocols:
                        raise ValueError(
                            f"presets.{name}{place}.protocols: {protocol!r}; "
                            f"allowed: {', '.join(self.protocols)}"
                        )
        return self

    @model_validator(mode="after")
    def _data_sets_exist(self) -> Params:
        for name in self.datasets:
            if name in DATASETS:
                raise ValueError(
                    f"datasets.{name}: is the name of a known data set; choose another"
                )
        for name, preset in self.presets.items():
            places = {"": preset.benchmarks} | {
                f".extra[{k}]": extra.benchmarks or [] for k, extra in enumerate(preset.extra)
            }
            for place, benchmarks in places.items():
                for k, benchmark in enumerate(benchmarks):
                    self._check_benchmark(f"presets.{name}{place}.benchmarks[{k}]", benchmark)
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
            for block in preset.blocks():
                sets = {benchmark.dataset for benchmark in block.benchmarks}
                for protocol in block.protocols:
                    order = self.protocols[protocol].class_order
                    if order == "superclass" and (others := sorted(sets - SUPERCLASSES.keys())):
                        raise ValueError(
                            f"protocols.{protocol}.class_order: 'superclass'; preset {name} uses "
                            f"it on {', '.join(others)}; allowed on: {', '.join(SUPERCLASSES)}"
                        )
        return self

    @model_validator(mode="after")
    def _validation_where_needed(self) -> Params:
        for name, preset in self.presets.items():
            for protocol in preset.protocol_names():
                by_validation = self.protocols[protocol].checkpoint == "best_validation_accuracy"
                if by_validation and not preset.training.validation:
                    raise ValueError(
                        f"presets.{name}.training.validation: 0; protocol {protocol} keeps the "
                        "epoch that is best in validation and needs a share above 0, as 0.1"
                    )
        return self

    @model_validator(mode="after")
    def _controllers_can_work(self) -> Params:
        for name, preset in self.presets.items():
            for block in preset.blocks():
                if not any("topology" in method_facts(one.source).reads for one in block.methods):
                    continue
                values = block.vary.get(CONTROLLER, [preset.topology.controller])
                shares = block.vary.get("training.validation", [preset.training.validation])
                for protocol, value, share in product(block.protocols, values, shares):
                    own = self.protocols[protocol].mask_counts
                    for counts in block.vary.get("switches.mask_counts", [own]):
                        if problem := controller_problem(value, counts, share):
                            raise ValueError(
                                f"presets.{name}.topology.{problem} (protocol {protocol})"
                            )
        return self

    @model_validator(mode="after")
    def _weight_decay_moves_no_frozen_weight(self) -> Params:
        for name, preset in self.presets.items():
            for block in preset.blocks():
                if all(benchmark.tasks == 1 for benchmark in block.benchmarks):
                    continue
                decays = block.vary.get("training.weight_decay", [preset.training.weight_decay])
                for protocol, method, decay in product(block.protocols, block.methods, decays):
                    training = replace(preset.training, weight_decay=decay)
                    own = self.protocols[protocol].mask_counts
                    for counts in block.vary.get("switches.mask_counts", [own]):
                        if problem := decay_problem(training, counts, method.source):
                            raise ValueError(
                                f"presets.{name}.training.{problem} (protocol {protocol})"
                            )
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
