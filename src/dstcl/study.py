"""The types of params.yaml: what can be studied, with ranges and the meaning of every key.

The JSON Schema of params.yaml is generated from these classes (`make schema`).
"""

from __future__ import annotations

from itertools import product
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from dstcl.data.catalog import DATASETS

GROWTH_CRITERIA = ("random", "unfired", "gradient", "momentum", "momentum_neuron")
GROWTHS = GROWTH_CRITERIA + tuple(
    f"{first}-then-{then}" for first, then in product(GROWTH_CRITERIA, repeat=2) if first != then
)


def _known_growth(name: str) -> str:
    if name not in GROWTHS:
        simple = ", ".join(GROWTH_CRITERIA)
        raise ValueError(f"allowed: {simple}, or a switch between two, as random-then-gradient")
    return name


def _distinct(values: list[Any]) -> list[Any]:
    repeated = [value for index, value in enumerate(values) if value in values[:index]]
    if repeated:
        raise ValueError(f"each value once; repeated: {', '.join(map(str, repeated))}")
    return values


Method = Literal["dst", "static", "gradual", "packnet", "finetune", "ewc", "separate", "joint"]
# Every weight active: density, init and growth mean nothing.
DENSE_METHODS = ("finetune", "ewc", "separate", "joint")
Network = Literal[
    "convnet",
    "lenet5",
    "resnet18-slim",
    "resnet18",
    "resnet18-3x3",
    "mobilenetv2-slim",
    "mobilenetv2",
    "vgg16-slim",
    "vgg16",
]
T = TypeVar("T")
Axis = Annotated[list[T], Field(min_length=1), AfterValidator(_distinct)]
Growth = Annotated[
    str, AfterValidator(_known_growth), Field(json_schema_extra={"enum": list(GROWTHS)})
]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
# Becomes the name of a folder.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Density = Annotated[float, Field(gt=0, le=1)]


class Model(BaseModel):
    """Strict, closed and immutable: no unknown keys, no text where a number is meant."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Benchmark(Model):
    """A data set cut into tasks, with what differs from the preset's training on it."""

    dataset: Literal["mnist5k", "cifar100", "miniimagenet"]
    """Name of a data set in the catalogue."""
    tasks: Annotated[int, Field(ge=1)]
    """Number of tasks; must divide the number of classes."""
    image_size: Annotated[int, Field(ge=8, le=256)] | None = None
    """Edge of the prepared images in pixels; null for the data set's own."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Epochs a task here; null for the preset's."""
    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Batch size here; null for the preset's."""
    update_every: Annotated[int, Field(ge=1)] | None = None
    """Steps between topology updates here; null for the preset's."""

    @model_validator(mode="after")
    def _tasks_divide_classes(self) -> Benchmark:
        classes = DATASETS[self.dataset].classes
        if classes % self.tasks or classes // self.tasks < 2:
            allowed = [t for t in range(1, classes // 2 + 1) if classes % t == 0]
            raise ValueError(
                f"tasks: {self.tasks} tasks do not divide the {classes} classes of "
                f"{self.dataset} into equal tasks of at least 2; "
                f"allowed: {', '.join(map(str, allowed))}"
            )
        size = DATASETS[self.dataset].image_size
        if DATASETS[self.dataset].fixed_size and self.image_size not in (None, size):
            raise ValueError(f"image_size: {self.image_size}; {self.dataset} has only {size}")
        return self


class Training(Model):
    """How each task is trained."""

    augment: Literal["none", "crop-flip"] = "none"
    """"crop-flip": random crop with 4 pixels of zero padding and horizontal flip."""
    epochs: Annotated[int, Field(ge=1)]
    """Passes over a task's training images."""
    batch_size: Annotated[int, Field(ge=2)]
    """Images a step; the last batch of an epoch may be smaller."""
    test_batch_size: Annotated[int, Field(ge=1)] = 128
    """Images a step in evaluation; changes nothing but speed and memory."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Fresh for each task; sgd has momentum 0.9 and Nesterov."""
    learning_rate: Annotated[float, Field(gt=0)]
    """At the start of each task."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """L2 penalty; never moves an inactive or frozen weight."""
    lr_milestones: list[Fraction] = [0.5, 0.75]
    """Fractions of the epochs after which the learning rate is multiplied by lr_factor."""
    lr_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """See lr_milestones."""


class Topology(Model):
    """How masks change while a task is trained (method dst)."""

    prune: Literal["magnitude", "set", "taylor", "random"] = "magnitude"
    """Which active weights go."""
    prune_rate: Fraction = 0.5
    """Share of a layer's active weights replaced by the first update."""
    prune_rate_floor: Fraction = 0.005
    """Share replaced at the end of the decay."""
    prune_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the share falls from prune_rate to prune_rate_floor."""
    update_every: Annotated[int, Field(ge=1)]
    """Optimiser steps between updates."""
    redistribute: Literal["none", "momentum", "gradient", "nonzeros"] = "none"
    """Whether layers compete for the weights that all of them lost, and by what score."""
    switch_at: Fraction = 0.5
    """For growth "a-then-b": the fraction of the task's steps after which b takes over."""

    @model_validator(mode="after")
    def _rate_falls(self) -> Topology:
        if self.prune_rate_floor > self.prune_rate:
            raise ValueError(
                f"prune_rate_floor: {self.prune_rate_floor}; at most prune_rate, {self.prune_rate}"
            )
        return self


class Baselines(Model):
    """Settings of methods that dynamic sparse training is compared with."""

    ewc_strength: Annotated[float, Field(ge=0)] = 100.0
    """Lambda of elastic weight consolidation, for a loss that is a mean over images."""


class Protocol(Model):
    """What is measured and what a task may use, as switches that can be flipped one at a time.

    The first value named is that of "corrected", the other that of "published"; sections c and d
    of the description of the paper's code say where each comes from.
    """

    logits: Literal["task", "all"]
    """Prediction: largest logit of the task's classes, or of all classes learned or not."""
    head: Literal["task", "shared"]
    """A head for each task outside the masks, or one masked head over all classes."""
    batch_norm: Literal["task", "batch", "shared"]
    """Statistics and affine parameters for each task; or statistics of the batch at hand, also in
    testing, without affine parameters; or one set that all tasks go on training."""
    test_augment: bool
    """Whether test images are augmented like training images."""
    mask_counts: Literal["exact", "bernoulli"]
    """Exact counts in every layer; or draws, ties and optimiser state as in the paper's code."""
    free_weights: Literal["keep", "zero"]
    """What a weight that no task uses is at the start of a task: its random value, or zero."""
    regrown_frozen: Literal["stored", "zero"]
    """What a frozen weight is when it is grown: its stored value; or zero while the task is
    trained and its stored value in testing."""
    candidates: Literal["all", "free", "published"]
    """Which inactive weights may be grown: all; or those no earlier task uses; or all for random
    and unfired growth while gradient and momentum growth avoid frozen ones."""
    checkpoint: Literal["last", "best_training_accuracy"]
    """Which epoch of a task is kept."""
    stop_at: Fraction
    """Fraction of a task's steps after which its mask no longer changes."""
    class_order: Literal["seed", "natural"]
    """Classes shuffled by the run's seed, or 0, 1, 2, ... for every seed."""

    @model_validator(mode="after")
    def _head_fits_logits(self) -> Protocol:
        if self.logits == "all" and self.head != "shared":
            raise ValueError(
                "logits: 'all' compares logits of all classes and needs head: shared; "
                "a head of its own for each task has only the task's"
            )
        return self


class Axes(Model):
    """Lists whose every combination is a run."""

    benchmarks: Annotated[list[Benchmark], Field(min_length=1)]
    """Data sets and numbers of tasks."""
    protocols: Axis[str]
    """Names of entries under protocols."""
    networks: Axis[Network]
    """Networks."""
    methods: Axis[Method]
    """A sub-network a task: dst (dynamic sparse training), static (the first mask is kept), gradual
    (dense to sparse by magnitude), packnet (train all that is left, keep the largest; density is
    what a task may add). Dense: finetune (forgets), ewc (forgets less), separate (a network a
    task), joint (all tasks at once). Only dst has a growth; dense ones have density 1, init
    "none"."""
    densities: Axis[Density]
    """Active share of the maskable weights in each task; sparsity is 1 - density."""
    inits: Axis[Literal["uniform", "erk"]]
    """How a task's first mask spreads its weights over the layers."""
    growths: Axis[Growth]
    """Growth criteria."""
    seeds: Axis[Seed]
    """Decide initial weights, masks, growth, batches and, where switched on, the class order."""


class Extra(Model):
    """More runs: the preset's lists with those given here in their place."""

    benchmarks: Annotated[list[Benchmark], Field(min_length=1)] | None = None
    """Instead of the preset's; the same holds for every key here."""
    protocols: Axis[str] | None = None
    """See the preset."""
    networks: Axis[Network] | None = None
    """See the preset."""
    methods: Axis[Method] | None = None
    """See the preset."""
    densities: Axis[Density] | None = None
    """See the preset."""
    inits: Axis[Literal["uniform", "erk"]] | None = None
    """See the preset."""
    growths: Axis[Growth] | None = None
    """See the preset."""
    seeds: Axis[Seed] | None = None
    """See the preset."""


class Preset(Axes):
    """One scale of the study: every combination of its lists is a run."""

    training: Training
    topology: Topology
    baselines: Baselines = Baselines()
    extra: list[Extra] = []
    """Further blocks of runs that differ in some lists; a run named twice is made once."""

    def blocks(self) -> list[Axes]:
        """The preset's own lists, then one set of lists for each extra."""
        own = {name: getattr(self, name) for name in Axes.model_fields}
        blocks = [Axes.model_construct(**own)]
        for extra in self.extra:
            given = {n: v for n in Axes.model_fields if (v := getattr(extra, n)) is not None}
            blocks.append(Axes.model_construct(**(own | given)))
        return blocks

    @model_validator(mode="after")
    def _axes_tell_runs_apart(self) -> Preset:
        """Tables know a run by its axes: other epochs would pass for more seeds."""
        seen: dict[tuple[str, int], dict[str, Any]] = {}
        for block in self.blocks():
            for bench in block.benchmarks:
                training = {"epochs": self.training.epochs, "batch_size": self.training.batch_size}
                settings = {
                    "image_size": DATASETS[bench.dataset].image_size,
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

    def protocol_names(self) -> list[str]:
        """Every protocol that some block uses."""
        return list(dict.fromkeys(name for block in self.blocks() for name in block.protocols))


class Figures(Model):
    """How figures look; changing anything here re-draws figures and re-trains nothing."""

    dpi: Annotated[int, Field(ge=50, le=600)] = 150
    """Resolution of PNG files."""


class Params(Model):
    """The whole of params.yaml."""

    preset: str
    """Which preset is run."""
    presets: Annotated[dict[Name, Preset], Field(min_length=1)]
    """Scales of the study."""
    protocols: Annotated[dict[Name, Protocol], Field(min_length=1)]
    """Protocols by name."""
    figures: Figures

    @model_validator(mode="after")
    def _names_exist(self) -> Params:
        if self.preset not in self.presets:
            raise ValueError(f"preset: {self.preset!r}; allowed: {', '.join(self.presets)}")
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

    @property
    def study(self) -> Preset:
        """The preset that is run."""
        return self.presets[self.preset]
