"""What can be set for a training, section by section: names, ranges and meanings, once.

The same classes serve params.yaml, its schema (`dstcl.study.params`), the JSON of a run
(`dstcl.study.run`) and machines without pydantic. Which of them decide the numbers of a run is
said in `dstcl.study.identity`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from dstcl.study.controllers import FIXED, check_controller
from dstcl.study.fields import Between, BuiltInOr, Check, Fraction, FromList, Settings

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("milestones", "cosine", "one-cycle", "constant")
PRUNINGS = ("magnitude", "set", "taylor", "random")


def _validation_share(value: float) -> float:
    if (value and not 0.01 <= value <= 0.5) or round(value, 3) != value:
        raise ValueError("0, or from 0.01 to 0.5 with at most 3 digits after the point")
    return value


@dataclass(frozen=True, kw_only=True)
class Data(Settings):
    """Which images, and how many classes each task has."""

    image_size: Annotated[int, Between(ge=8, le=256)]
    """Edge of the prepared images in pixels."""
    task_sizes: Annotated[tuple[Annotated[int, Between(ge=2)], ...], FromList()] = ()
    """Classes of each task if tasks are unequal, for example [50, 10, 10, 10, 10, 10]."""
    learn: Annotated[int, Between(ge=1)] | None = None
    """Tasks that are learned, the first so many; null for all. Head and class order are those of
    all tasks, so what is learned is the beginning of the whole run."""


@dataclass(frozen=True, kw_only=True)
class Training(Settings):
    """How each task is trained."""

    augment: Literal["none", "crop-flip"] = "none"
    """"crop-flip": random crop with 4 pixels of zero padding and horizontal flip."""
    epochs: Annotated[int, Between(ge=1)]
    """Passes over a task's training images."""
    batch_size: Annotated[int, Between(ge=2)]
    """Images per step; the last batch of an epoch may be smaller."""
    test_batch_size: Annotated[int, Between(ge=1)] = 128
    """Images per step in evaluation. It affects results only under batch_norm: batch, where a test
    batch is normalised with its own statistics; otherwise it affects only speed and memory."""
    optimizer: Annotated[str, BuiltInOr(OPTIMIZERS)] = "adam"
    """Fresh for each task: adam, adamw, sgd (momentum 0.9 and Nesterov unless optimizer_settings
    say otherwise), or module:attribute of any torch optimiser, e.g. torch.optim:RMSprop."""
    optimizer_settings: dict[str, Any] = field(default_factory=dict)
    """Additional keyword arguments of the optimiser, for example {momentum: 0.95}."""
    learning_rate: Annotated[float, Between(gt=0)]
    """Learning rate at the start of each task; with schedule one-cycle, the highest one."""
    weight_decay: Annotated[float, Between(ge=0)] = 0.0
    """L2 penalty (adamw: decoupled); never moves an inactive or frozen weight."""
    schedule: Annotated[str, BuiltInOr(SCHEDULES)] = "milestones"
    """How the learning rate changes within a task: milestones (by epoch, see lr_milestones), cosine
    (to zero, by step), one-cycle (up for 30% of the steps, then down; Smith and Topin 2019),
    constant, or module:attribute of a function; see docs/extending.md."""
    lr_milestones: Annotated[tuple[Fraction, ...], FromList()] = (0.5, 0.75)
    """Fractions of the epochs after which the learning rate is multiplied by lr_factor."""
    lr_factor: Annotated[float, Between(gt=0, le=1)] = 0.1
    """See lr_milestones."""
    validation: Annotated[float, Check(_validation_share)] = 0.0
    """Fraction of each class's training images held out for validation; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class Engine(Settings):
    """How the arithmetic is done. A run's provenance.json records the choice made by "auto"."""

    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """Precision of matrix products and convolutions; weights, gradients and optimiser state are
    always float32. tf32 needs an NVIDIA GPU. auto: bfloat16 on NVIDIA GPUs since Ampere, and
    on processors with AMX, AVX512_BF16 or ARM's BF16 that are measured to be faster in it; else
    float32."""
    layout: Literal["auto", "contiguous", "channels_last", "unfolded"] = "auto"
    """Memory layout of feature maps. unfolded: channels_last, and on CPUs small maps with many
    channels become rows of a matrix. auto: with bfloat16 or tf32, unfolded on CPUs and
    channels_last on GPUs; else contiguous."""
    compile: Literal["off", "on", "graphs", "step-graph", "compiled-step-graph"] = "off"
    """on: forward and backward pass through torch.compile. This pays off in long runs: the first
    step takes a minute, and a C++ compiler is needed. graphs: additionally, these passes as CUDA
    graphs. step-graph: not compiled, but the whole step, including masks and optimiser, as one
    CUDA graph. compiled-step-graph: both."""


@dataclass(frozen=True, kw_only=True)
class Topology(Settings):
    """How masks change during the training of a task, for methods that change them."""

    prune: Annotated[str, BuiltInOr(PRUNINGS)] = "magnitude"
    """Criterion for pruning active weights: magnitude, set, taylor, random, or module:attribute."""
    prune_rate: Fraction = 0.5
    """Fraction of a layer's active weights that the first update replaces."""
    prune_rate_floor: Fraction = 0.005
    """Fraction replaced at the end of the decay."""
    prune_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the fraction falls from prune_rate to prune_rate_floor."""
    update_every: Annotated[int, Between(ge=1)]
    """Optimiser steps between updates."""
    redistribute: Literal["none", "momentum", "gradient", "nonzeros"] = "none"
    """Whether layers compete for the weights pruned in all of them, and by which score."""
    switch_at: Fraction = 0.5
    """For growth "a-then-b": the fraction of the task's steps after which b takes over."""
    controller: Annotated[str | dict[str, Any], Check(check_controller)] = FIXED
    """Rule that decides before each task and during it, from the state of training: saturation,
    saturation_mix, free_capacity, random_switch, survival_bandit, density_by_gain, settling,
    plasticity_guard, or module:attribute; with settings as {name: saturation, threshold: 0.3},
    under another label as {name: early, from: saturation, threshold: 0.8}. Growth and init are the
    starting point. See docs/adaptive.md."""

    def __post_init__(self) -> None:
        if self.prune_rate_floor > self.prune_rate:
            raise ValueError(
                f"prune_rate_floor: {self.prune_rate_floor}; at most prune_rate, {self.prune_rate}"
            )


@dataclass(frozen=True, kw_only=True)
class Protocol(Settings):
    """What is measured and what a task may use, as switches that can be set independently.

    The first value named is that of "corrected", the other that of "published";
    docs/published-code.md says where each comes from.
    """

    logits: Literal["task", "all"]
    """Prediction: the largest logit among the task's classes, or among all, learned or not."""
    head: Literal["task", "shared"]
    """A head for each task outside the masks, or one masked head over all classes."""
    batch_norm: Literal["task", "batch", "shared"]
    """Statistics and affine parameters for each task; or statistics of the current batch, also in
    testing, without affine parameters; or one set that all tasks continue to train."""
    test_augment: bool
    """Whether test images are augmented like training images."""
    mask_counts: Literal["exact", "bernoulli"]
    """Exact counts in every layer; or draws, ties and optimiser state as in the paper's code."""
    free_weights: Literal["keep", "zero"]
    """Value of a weight that no task uses, at the start of a task: its random value, or zero."""
    regrown_frozen: Literal["stored", "zero"]
    """Value of a frozen weight when it is grown: its stored value; or zero while the task is
    trained and its stored value in testing."""
    candidates: Literal["all", "free", "published"]
    """Inactive weights that may be grown: all; or those that no earlier task uses; or all for
    random and unfired growth, while gradient and momentum growth avoid frozen ones."""
    checkpoint: Literal["last", "best_training_accuracy", "best_validation_accuracy"]
    """The epoch of a task to keep; the last of the three needs training.validation above 0."""
    stop_at: Fraction
    """Fraction of a task's steps after which its mask no longer changes."""
    class_order: Literal["seed", "natural", "superclass"]
    """Classes shuffled by the run's seed; or 0, 1, 2, ... for every seed; or the classes of a
    superclass together (CIFAR-100)."""

    def __post_init__(self) -> None:
        if self.logits == "all" and self.head != "shared":
            raise ValueError(
                "logits: 'all' compares logits of all classes and needs head: shared; "
                "a head of its own for each task has only the task's"
            )


@dataclass(frozen=True, kw_only=True)
class AxisValues(Settings):
    """The nine axes of one run, as its description has them."""

    dataset: str
    """Of the catalogue, or of the user's own."""
    tasks: Annotated[int, Between(ge=1, le=10_000)]
    """Into which the classes are cut."""
    protocol: str
    """What its switches are called."""
    network: str
    """What the network is called."""
    method: str
    """What the method is called."""
    density: Annotated[float, Between(gt=0, le=1)]
    """Active share of the maskable weights in each task."""
    init: str
    """How a task's first mask is drawn."""
    growth: str
    """Growth criterion, two with a switch, or a plan over the tasks."""
    seed: Annotated[int, Between(ge=0, lt=2**31)]
    """Of everything that is drawn."""


SECTIONS: dict[str, type[Settings]] = {
    "data": Data,
    "switches": Protocol,
    "training": Training,
    "topology": Topology,
    "engine": Engine,
}
"""The sections of a run, by the name that keys such as ``topology.update_every`` begin with."""
