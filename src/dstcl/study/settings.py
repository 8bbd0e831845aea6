"""The types of the settings that runs of a preset or protocol share (`dstcl.study.presets`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]


def _validation_share(value: float) -> float:
    if (value and not 0.01 <= value <= 0.5) or round(value, 3) != value:
        raise ValueError("0, or from 0.01 to 0.5 with at most 3 digits after the point")
    return value


class Model(BaseModel):
    """Strict, closed and immutable: no unknown keys, no text where a number is meant."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


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
    validation: Annotated[float, AfterValidator(_validation_share)] = 0.0
    """Share of each class's training images that is held out for validation; 0 for none."""


class Engine(Model):
    """How the arithmetic is done. What "auto" became on a device is in a run's provenance.json."""

    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"
    """Of matrix products and convolutions; weights, gradients and optimiser are float32 always.
    tf32 is for NVIDIA GPUs alone. auto: bfloat16 on a GPU or processor with matrix units for it
    (NVIDIA Ampere or later, Intel AMX), else float32."""
    layout: Literal["auto", "contiguous", "channels_last", "unfolded"] = "auto"
    """Of maps in memory; unfolded: channels_last, and on CPUs small maps of many channels as rows
    of a matrix. auto: with bfloat16 or tf32 channels_last, on CPUs unfolded; else contiguous."""
    compile: Literal["off", "on", "graphs", "step-graph", "compiled-step-graph"] = "off"
    """on: forward and backward pass through torch.compile, which pays in long runs: the first step
    takes a minute, and a C++ compiler is needed. graphs: these passes as CUDA graphs too.
    step-graph: not compiled, but the whole step, masks and optimiser included, as one CUDA graph.
    compiled-step-graph: both."""


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
    checkpoint: Literal["last", "best_training_accuracy", "best_validation_accuracy"]
    """Which epoch of a task is kept; the last of the three needs training.validation above 0."""
    stop_at: Fraction
    """Fraction of a task's steps after which its mask no longer changes."""
    class_order: Literal["seed", "natural", "superclass"]
    """Classes shuffled by the run's seed; or 0, 1, 2, ... for every seed; or the classes of a
    superclass side by side (CIFAR-100)."""

    @model_validator(mode="after")
    def _head_fits_logits(self) -> Protocol:
        if self.logits == "all" and self.head != "shared":
            raise ValueError(
                "logits: 'all' compares logits of all classes and needs head: shared; "
                "a head of its own for each task has only the task's"
            )
        return self
