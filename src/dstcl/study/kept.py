"""What methods keep and compute, before a run is started: memory in bits, multiply-adds.

From shapes and densities alone; `dstcl.continual.memory` and `dstcl.continual.flops` count the
same of a finished run, where masks are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from statistics import fmean

from dstcl.data.catalog import DATASETS
from dstcl.study.bits import PER_NUMBER, PER_SEED, huffman_bits
from dstcl.study.run import Run

HEAD = (
    "method",
    "density",
    "init",
    "data set",
    "tasks",
    "protocol",
    "network",
    "kept (MB)",
    "in training (MB)",
    "multiply-adds",
)
Counts = Mapping[str, int]
"""By layer."""


@dataclass(frozen=True)
class Kept:
    """Of one run; all but the last in bits.

    Attributes:
        weights: at most, if tasks share none that they need not; a seed where training moves none.
        masks: at most, a bit per weight and task; where one mask holds the next, or is that of all
            tasks, what their code takes.
        units: a bit per output of a layer and task.
        local: heads, norms and biases of all tasks.
        trained: numbers that the optimiser moves in a task, without its moments.
        multiply_adds: of active weights, for one image; where tasks use more and more, a mean.
    """

    weights: int
    masks: int
    units: int
    local: int
    trained: int
    multiply_adds: int

    @property
    def bits(self) -> int:
        """All that is kept of the sequence."""
        return self.weights + self.masks + self.units + self.local


@dataclass(frozen=True)
class Shape:
    """What a network of a run is made of.

    Attributes:
        maskable: shape of each maskable weight.
        uses: how often each weight of a layer is used for an image, the head's included.
        local: numbers that each task has of its own.
        head: weights of the head, where it is one of these.
    """

    maskable: dict[str, tuple[int, ...]]
    uses: dict[str, float]
    local: int
    head: dict[str, int]


def kept_of(run: Run, shape: Shape | None = None) -> Kept:
    """What a run keeps.

    Args:
        run: of a data set whose size is known.
        shape: of its network; None to build that.
    """
    from dstcl.sparse import active_counts, layer_densities

    shape, facts = shape or shape_of(run), run.facts
    sizes = {name: prod(dims) for name, dims in shape.maskable.items()}
    active = sizes
    if not facts.dense:
        densities = layer_densities(shape.maskable, run.density, run.init)
        active = active_counts(shape.maskable, densities)
    tasks = 1 if facts.joint else run.learned
    masks = _masks(sizes, active, tasks) if facts.nested else [active]
    total, units = sum(sizes.values()), sum(dims[0] for dims in shape.maskable.values())
    code = tasks * total
    if facts.own_networks:
        stored = tasks * total
    elif facts.nested or facts.one_mask:
        used = [sum(mask.values()) for mask in masks]
        stored = used[-1]
        # A weight is told from others by the first task that uses it.
        code = huffman_bits([*(now - then for then, now in pairwise([0, *used])), total - stored])
    elif facts.one_budget:
        stored = sum(active.values())
    else:
        stored = min(total, tasks * sum(active.values()))
    moved = {"weights": total, "scores": total, "units": units}
    per_image = [sum((mask | shape.head)[n] * k for n, k in shape.uses.items()) for mask in masks]
    return Kept(
        weights=PER_NUMBER * stored if "weights" in facts.keeps else PER_SEED,
        masks=code if "masks" in facts.keeps else 0,
        units=tasks * units if "units" in facts.keeps else 0,
        local=PER_NUMBER * tasks * shape.local,
        trained=PER_NUMBER * (sum(moved[what] for what in facts.trains) + shape.local),
        multiply_adds=round(fmean(per_image)),
    )


def _masks(sizes: Counts, added: Counts, tasks: int) -> list[dict[str, int]]:
    """Active weights of each task and layer, where a task uses what earlier ones use and adds as
    many weights, or what is left."""
    return [
        {name: min(size, task * added[name]) for name, size in sizes.items()}
        for task in range(1, tasks + 1)
    ]


def kept_rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """A row for each method, density and init, under a head line; `HEAD` names the columns."""
    shapes: dict[tuple[object, ...], Shape] = {}
    rows: dict[tuple[str, ...], None] = {HEAD: None}
    for run in runs:
        network = (run.network, run.own_heads, run.switches.batch_norm)
        alike = (run.dataset, run.tasks, run.data, *network)
        if alike not in shapes:
            shapes[alike] = shape_of(run)
        kept = kept_of(run, shapes[alike])
        row = (
            run.method,
            f"{run.density:g}",
            run.init,
            run.dataset,
            str(run.learned),
            run.protocol,
            run.network,
            f"{kept.bits / 8e6:,.3f}",
            f"{kept.trained / 8e6:,.3f}",
            f"{kept.multiply_adds:,}",
        )
        rows[row] = None
    return list(rows)


def shape_of(run: Run) -> Shape:
    """The shape of a run's network; it is built, and sees two black images, as norms need two."""
    import torch

    from dstcl.networks.build import build_network
    from dstcl.networks.head import find_head
    from dstcl.sparse import maskable_weights, uses_per_image

    info, source = DATASETS[run.dataset], run.network_source
    sizes = run.data.task_sizes or (info.classes // run.tasks,) * run.tasks
    network = build_network(
        source.source,
        info.channels,
        run.outputs(sizes),
        seed=0,
        norm=run.switches.batch_norm,
        head_bias=True if run.switches.head == "task" else None,
        head=source.head,
        arguments=source.arguments,
    )
    pixels = run.data.image_size
    uses = uses_per_image(network, torch.zeros(2, info.channels, pixels, pixels))
    name, head = find_head(network)
    masked = maskable_weights(network, [name] if run.own_heads else [])
    numbers = {n: t.numel() for n, t in network.state_dict().items() if t.is_floating_point()}
    return Shape(
        {n: tuple(weight.shape) for n, weight in masked.items()},
        uses,
        sum(size for n, size in numbers.items() if n not in masked),
        {f"{name}.weight": head.weight.numel()} if run.own_heads else {},
    )
