"""What methods keep and compute, before a run is started: memory in bits, multiply-adds.

From shapes and densities alone; `dstcl.continual.memory` and `dstcl.continual.flops` count the
same of a finished run, where masks are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from dstcl.data.catalog import DATASETS
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
NUMBER = 32
SEED = 64


@dataclass(frozen=True)
class Kept:
    """Of one run; all but the last in bits.

    Attributes:
        weights: at most, if tasks share none that they need not; a seed where training moves none.
        masks: a bit per weight and task.
        units: a bit per output of a layer and task.
        local: heads, norms and biases of all tasks.
        trained: numbers that the optimiser moves in a task, without its moments.
        multiply_adds: of active weights, for one image.
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
    total, each = sum(sizes.values()), sum(active.values())
    subnets = 1 if facts.joint else run.learned
    together = each if facts.one_mask else min(total, subnets * each)
    stored = subnets * total if facts.own_networks else together
    units = sum(dims[0] for dims in shape.maskable.values())
    moved = {"weights": total, "scores": total, "units": units}
    return Kept(
        weights=NUMBER * stored if "weights" in facts.keeps else SEED,
        masks=subnets * total if "masks" in facts.keeps else 0,
        units=subnets * units if "units" in facts.keeps else 0,
        local=NUMBER * subnets * shape.local,
        trained=NUMBER * (sum(moved[what] for what in facts.trains) + shape.local),
        multiply_adds=round(sum((active | shape.head)[n] * k for n, k in shape.uses.items())),
    )


def kept_rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """A row for each method, density and init, under a head line; `HEAD` names the columns."""
    shapes: dict[tuple[object, ...], Shape] = {}
    rows: dict[tuple[str, ...], None] = {HEAD: None}
    for run in runs:
        alike = (run.dataset, run.tasks, run.network, run.own_heads, run.switches.batch_norm)
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
