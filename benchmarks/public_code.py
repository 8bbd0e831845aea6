"""Training steps per second beside the paper's public code: the same network, batches and thread.

    git clone https://github.com/muratonuryildirim/CL-with-DST
    python benchmarks/public_code.py --code CL-with-DST [--batch 128] [--rounds 7]

Writes public_code-<precision of auto>.json here. Both train the ResNet-18 of that code, a task's
first mask at density 0.2, Adam, on ready batches, so without reading and augmenting images; no
update falls into a measured round. Theirs is its function ``train`` on its class ``Masking``, as
it is; ours is the step of the pipeline under ``published``. Rounds take turns, in processor time
of one thread. Before, weights are copied from theirs to ours, and both must have the same logits.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import logging
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from machine import enough_rounds, machine, record
from tables import middle, print_table
from torch import Tensor, nn

from dstcl.continual.precision import arithmetic_of, bfloat16_units
from dstcl.continual.published import PublishedSparseTraining
from dstcl.continual.scoring import Outputs
from dstcl.continual.step import training_step
from dstcl.networks.build import build_network
from dstcl.sparse import UpdateSchedule
from dstcl.study.settings import Engine

CPU = torch.device("cpu")
CLASSES, PER_TASK, DENSITY, NEVER = 100, 5, 0.2, 10**9
ENGINES = {
    "ours, auto": Engine(),
    "ours, float32": Engine(precision="float32"),
    "ours, float32, channels last": Engine(precision="float32", layout="channels_last"),
}
Batches = list[tuple[Tensor, Tensor]]
Round = Callable[[], None]


def public_modules(folder: Path) -> tuple[ModuleType, ModuleType]:
    """Its modules ``core`` and ``models``, which log to nowhere."""
    if not (folder / "core.py").is_file():
        sys.exit(f"--code: {folder} has no core.py; give the folder of the public code")
    sys.path.insert(0, str(folder))
    core, models, utils = (importlib.import_module(name) for name in ("core", "models", "utils"))
    utils.logger = logging.getLogger("public code")  # type: ignore[attr-defined]
    utils.logger.propagate = False
    return core, models


def theirs(core: ModuleType, network: nn.Module, batches: Batches, size: int) -> Round:
    """An epoch of the public code over the batches."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    with contextlib.redirect_stdout(io.StringIO()):
        masking = core.Masking(
            "ERK", DENSITY, "magnitude", "gradient", 0.5, 25, NEVER, 1.0,
            core.DeathCosineDecay(0.5, NEVER), optimizer, CPU,
        )  # fmt: skip
        masking.add_module(network)

    def epoch() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            core.train(network, optimizer, 0, batches, PER_TASK, False, True, size, 0, CPU, masking)

    return epoch


def like(network: nn.Module, engine: Engine) -> nn.Module:
    """Our ResNet-18 with the same weights, which come in the same order."""
    arithmetic = arithmetic_of(engine, CPU)
    mine = build_network("resnet18", 3, CLASSES, seed=0, norm="batch", arithmetic=arithmetic)
    with torch.no_grad():
        for to, source in zip(mine.parameters(), network.parameters(), strict=True):
            to.copy_(source)
    return mine


def ours(network: nn.Module, engine: Engine, batches: Batches, size: int) -> Round:
    """An epoch of the pipeline's own step over the batches."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    sparse = PublishedSparseTraining(
        network, optimizer, density=DENSITY, init="erk", total_steps=NEVER,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    sparse.schedule = UpdateSchedule(NEVER, NEVER)
    scoring = Outputs(0, PER_TASK, among_all=True)
    step = training_step(engine, size, network, scoring, sparse, CPU)

    def epoch() -> None:
        for images, labels in batches:
            loss, hits = step(images, labels)
            float(loss), int(hits)  # as theirs reads them

    return epoch


def refuse_other_network(network: nn.Module, images: Tensor) -> float:
    """The largest difference of a logit between theirs and ours; ends where it is no rounding."""
    network.train()
    with torch.no_grad():
        expected = network(images)
        found = like(network, Engine(precision="float32")).train()(images)
    apart = float((expected - found).abs().max())
    if apart > 1e-3 * float(expected.abs().max()):
        sys.exit(f"the two networks differ: logits by up to {apart:.2g}")
    return apart


def measure(rounds: dict[str, Round], repeats: int, steps: int) -> dict[str, list[float]]:
    """Steps per second of processor time, in turns, after one round each that is not counted."""
    speeds: dict[str, list[float]] = {name: [] for name in rounds}
    for repeat in range(repeats + 1):
        for name, epoch in rounds.items():
            started = time.process_time()
            epoch()
            if repeat:
                speeds[name].append(steps / (time.process_time() - started))
    return speeds


def main() -> None:
    """Measure in turns, record and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--code", type=Path, required=True, help="folder of the public code")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=6, help="of a round")
    parser.add_argument("--rounds", type=enough_rounds, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    told = machine() | {"threads": 1, "batch": options.batch, "steps": options.steps}
    core, models = public_modules(options.code)
    batches = [
        (torch.randn(options.batch, 3, 32, 32), torch.randint(PER_TASK, (options.batch,)))
        for _ in range(options.steps)
    ]
    network = models.ResNet18(CLASSES)
    told["logits_apart"] = refuse_other_network(network, batches[0][0])
    rounds = {
        name: ours(like(network, engine), engine, batches, options.batch)
        for name, engine in ENGINES.items()
    }
    rounds = {"public code": theirs(core, network, batches, options.batch)} | rounds
    speeds = measure(rounds, options.rounds, options.steps)
    base = speeds["public code"]
    precision = arithmetic_of(Engine(), CPU).precision
    rows: list[dict[str, Any]] = []
    for name, values in speeds.items():
        ratios = [value / other for value, other in zip(values, base, strict=True)]
        rows.append(
            {"way": name}
            | middle(values, 3)
            | {"times_public": round(statistics.median(ratios), 2)}
            | {"times_public_quartiles": middle(ratios, 2)["quartiles"]}
        )
    told |= {"auto": precision, "units": bfloat16_units(CPU) or "none"}
    record(f"public_code-{precision}", {"machine": told, "rows": rows})
    print_table(list(rows[0]), [list(row.values()) for row in rows])


if __name__ == "__main__":
    main()
