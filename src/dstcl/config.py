"""The study as typed data: params.yaml in, a checked list of runs out.

Parsing a Snakefile imports this module, so it imports pydantic but neither torch nor mlflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from dstcl.data.catalog import DATASETS
from dstcl.runs import Run

GROWTH_CRITERIA = ("random", "unfired", "gradient", "momentum")
GROWTHS = GROWTH_CRITERIA + tuple(
    f"{first}-then-{then}" for first, then in product(GROWTH_CRITERIA, repeat=2) if first != then
)


class ConfigError(ValueError):
    """A params.yaml that cannot be run; the message is one line that names the key."""


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


T = TypeVar("T")
Axis = Annotated[list[T], Field(min_length=1), AfterValidator(_distinct)]
Growth = Annotated[
    str, AfterValidator(_known_growth), Field(json_schema_extra={"enum": list(GROWTHS)})
]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Density = Annotated[float, Field(gt=0, le=1)]


class Model(BaseModel):
    """Strict, closed and immutable: no unknown keys, no text where a number is meant."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
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

    prune: Literal["magnitude", "random"] = "magnitude"
    """Which active weights go."""
    prune_rate: Fraction = 0.5
    """Share of a layer's active weights replaced by the first update."""
    prune_rate_floor: Fraction = 0.005
    """Share replaced at the end of the decay."""
    prune_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the share falls from prune_rate to prune_rate_floor."""
    update_every: Annotated[int, Field(ge=1)]
    """Optimiser steps between updates."""
    switch_at: Fraction = 0.5
    """For growth "a-then-b": the fraction of the task's steps after which b takes over."""


class Protocol(Model):
    """Named switches: what is measured and what a growth may choose (architecture, protocols)."""

    class_order: Literal["seed", "natural"]
    """"seed": classes shuffled by the run's seed; "natural": 0, 1, 2, ... for every seed."""
    candidates: Literal["all", "free"]
    """Which inactive weights may be grown: all (a frozen one takes its stored value), or only
    those no earlier task uses."""
    stop_at: Fraction
    """Fraction of a task's steps after which its mask no longer changes."""


class Preset(Model):
    """One scale of the study: every combination of the lists is a run."""

    benchmarks: Annotated[list[Benchmark], Field(min_length=1)]
    """Data sets and numbers of tasks."""
    protocols: Axis[str]
    """Names of entries under protocols."""
    networks: Axis[Literal["convnet", "resnet18-slim", "resnet18"]]
    """Networks."""
    methods: Axis[Literal["dst"]]
    """dst: dynamic sparse training."""
    densities: Axis[Density]
    """Active share of the maskable weights in each task; sparsity is 1 - density."""
    inits: Axis[Literal["uniform", "erk"]]
    """How a task's first mask spreads its weights over the layers."""
    growths: Axis[Growth]
    """Growth criteria."""
    seeds: Axis[Seed]
    """Decide initial weights, masks, growth, batches and, where switched on, the class order."""
    training: Training
    topology: Topology


class Figures(Model):
    """How figures look; changing anything here re-draws figures and re-trains nothing."""

    dpi: Annotated[int, Field(ge=50, le=600)] = 150
    """Resolution of PNG files."""


class Params(Model):
    """The whole of params.yaml."""

    preset: str
    """Which preset is run."""
    presets: Annotated[dict[str, Preset], Field(min_length=1)]
    """Scales of the study."""
    protocols: Annotated[dict[str, Protocol], Field(min_length=1)]
    """Protocols by name."""
    figures: Figures

    @model_validator(mode="after")
    def _names_exist(self) -> Params:
        if self.preset not in self.presets:
            raise ValueError(f"preset: {self.preset!r}; allowed: {', '.join(self.presets)}")
        for name, preset in self.presets.items():
            for protocol in preset.protocols:
                if protocol not in self.protocols:
                    raise ValueError(
                        f"presets.{name}.protocols: {protocol!r}; "
                        f"allowed: {', '.join(self.protocols)}"
                    )
        return self

    @property
    def study(self) -> Preset:
        """The preset that is run."""
        return self.presets[self.preset]


def load(values: Mapping[str, Any], source: str = "params.yaml") -> Params:
    """Check a configuration.

    Raises:
        ConfigError: one line that names the key, the value and what is allowed.
    """
    try:
        return Params.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{source}: {_one_line(error)}") from None


def load_file(path: str | Path = "params.yaml", preset: str | None = None) -> Params:
    """Read and check a YAML file; ``preset`` replaces the file's.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not pass `load`.
    """
    try:
        values = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}:{where} is not YAML") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a mapping with keys {', '.join(Params.model_fields)} is needed")
    return load(values | ({"preset": preset} if preset else {}), str(path))


def runs(params: Params) -> list[Run]:
    """The runs that the chosen preset means, in the order of its lists."""
    study = params.study
    axes = product(
        study.benchmarks,
        study.protocols,
        study.networks,
        study.methods,
        study.densities,
        study.inits,
        study.growths,
        study.seeds,
    )
    return [_run(params, *point) for point in axes]


def _run(
    params: Params,
    benchmark: Benchmark,
    protocol: str,
    network: str,
    method: str,
    density: float,
    init: str,
    growth: str,
    seed: int,
) -> Run:
    overrides = benchmark.model_dump(exclude_none=True)
    settings = {
        "image_size": DATASETS[benchmark.dataset].image_size,
        **params.study.training.model_dump(),
        **params.study.topology.model_dump(),
        **params.protocols[protocol].model_dump(),
        **overrides,
    }
    return Run.from_dict(
        settings
        | {
            "protocol": protocol,
            "network": network,
            "method": method,
            "density": float(density),
            "init": init,
            "growth": growth,
            "seed": seed,
        }
    )


def json_schema() -> dict[str, Any]:
    """JSON Schema of params.yaml, for editors; kept in workflow/schemas and tested in step."""
    return Params.model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of dstcl",
    }


def _one_line(error: ValidationError) -> str:
    """The first problem as ``key: value; what is allowed``, and how many more there are."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ""
    for part in first["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    if first["type"] == "extra_forbidden":
        text = f"{key}: unknown key; allowed: {', '.join(_siblings(first['loc']))}"
    elif first["type"] == "missing":
        text = f"{key}: missing"
    elif first["type"] == "value_error" and isinstance(first["input"], (dict, Model)):
        message = str(first["ctx"]["error"])
        text = f"{key}.{message}" if key else message
    else:
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        text = f"{key}: {first['input']!r}; {allowed}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(text.split()) + more


def _siblings(location: tuple[Any, ...]) -> list[str]:
    """Names allowed beside an unknown key, found by walking the types along its location."""
    kind: Any = Params
    for part in location[:-1]:
        if isinstance(kind, type) and issubclass(kind, Model):
            kind = kind.model_fields[part].annotation
        else:
            arguments = [a for a in kind.__args__ if isinstance(a, type) and issubclass(a, Model)]
            kind = arguments[-1] if arguments else kind.__args__[-1]
    return list(kind.model_fields)
