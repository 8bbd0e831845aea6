"""How fast runs train: the engine's switches one by one, against a plain loop, and runs at once.

    python benchmarks/engine.py [--network resnet18] [--images 2000] [--rounds 5] [--device cuda]

Images per second of training steps, topology updates and masks included, evaluation not; second
epoch of a task, so that what is compiled or cached is. Variants take turns within each round;
medians and quartiles, and the loss that each ends with, which must be much the same. With
--at-once, so many processes of one thread each train at the same time. Writes
engine-<network>-<device>.json here.
The plain loop needs torchvision, which comes with the extra ``dev``; --no-plain-loop leaves it out.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

import torch
from machine import enough_rounds, machine, need_torchvision, record
from paces import Pace, second_epochs
from subjects import random_data, short_run, task_classes
from tables import middle, print_table

from dstcl.continual.learner import learner_of
from dstcl.continual.precision import arithmetic_of
from dstcl.data.stored import Prepared
from dstcl.networks.build import build_network
from dstcl.sparse import forward_flops, uses_per_image
from dstcl.study.run import Run

OUTPUTS = 20
"""Classes of the one task."""
LAST = {"precision": "bfloat16", "layout": "channels_last"}
SWITCHES: dict[str, dict[str, str]] = {
    "float32": {"precision": "float32", "layout": "contiguous"},
    "float32, channels last": {"precision": "float32", "layout": "channels_last"},
    "bfloat16": {"precision": "bfloat16", "layout": "contiguous"},
    "bfloat16, channels last": LAST,
}
UNFOLDED = {"precision": "bfloat16", "layout": "unfolded"}
ON_CPU: dict[str, dict[str, str]] = {
    "bfloat16, unfolded": UNFOLDED,
    "bfloat16, unfolded, compiled": UNFOLDED | {"compile": "on"},
}
ON_CUDA: dict[str, dict[str, str]] = {
    "tf32, channels last": {"precision": "tf32", "layout": "channels_last"},
    "bfloat16, channels last, step graph": LAST | {"compile": "step-graph"},
    "bfloat16, channels last, compiled": LAST | {"compile": "on"},
    "bfloat16, channels last, compiled, graphs": LAST | {"compile": "graphs"},
    "bfloat16, channels last, compiled, step graph": LAST | {"compile": "compiled-step-graph"},
}


def second_epoch(run: Run, images: int, device: torch.device) -> Pace:
    """Of the one task."""
    data = one_task(run, images)
    (pace,) = second_epochs(run, data, task_classes(1, OUTPUTS), device)
    return pace


def one_task(run: Run, images: int) -> Prepared:
    """Its images; a tenth of them are for testing."""
    return random_data(images, run.data.image_size, 3, 1, OUTPUTS)


def tried(
    variants: dict[str, Callable[[], float]],
) -> tuple[dict[str, Callable[[], float]], dict[str, str]]:
    """Those that work, and why others do not: one that a device cannot do, or has no memory for,
    must not lose what the others take minutes for."""
    works, failed = {}, {}
    for name, measure in variants.items():
        try:
            measure()
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
            print(f"{name}: {failed[name]}", file=sys.stderr)
        else:
            works[name] = measure
    return works, failed


def in_turn(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, dict[str, Any]]:
    """Median and quartiles of each, and how many times the first one's median."""
    speeds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            speeds[name].append(measure())
    first = statistics.median(next(iter(speeds.values())))
    rows = {}
    for name, values in speeds.items():
        speed = middle(values, 1)
        rows[name] = {
            "images_per_second": speed["median"],
            "quartiles": speed["quartiles"],
            "times_the_first": round(statistics.median(values) / first, 2),
        }
    return rows


_line: Barrier | None = None


def _line_up(line: Barrier) -> None:
    global _line
    _line = line
    torch.set_num_threads(1)


def _one_of_many(run: Run, images: int, device: str) -> tuple[float, float, int]:
    """When this process's second epoch began and ended, and its images."""
    times: list[float] = []

    def note(task: int, epoch: int, row: dict[str, Any]) -> None:
        times.append(time.monotonic())
        if epoch == 1 and _line is not None:
            _line.wait()  # nobody measures while another one still starts
            times[-1] = time.monotonic()

    tasks = task_classes(1, OUTPUTS)
    learner = learner_of(run, one_task(run, images), tasks, torch.device(device), note)
    learner.fit()
    return times[0], times[1], learner.outcome.effort.images // 2


def together(run: Run, images: int, device: str, count: int) -> float:
    """Images per second of so many runs at the same time, in all: from the first start of a second
    epoch to the last end."""
    context = get_context("spawn")
    with ProcessPoolExecutor(count, context, _line_up, (context.Barrier(count),)) as pool:
        jobs = [pool.submit(_one_of_many, run, images, device) for _ in range(count)]
        starts, ends, trained = zip(*(job.result() for job in jobs), strict=True)
    return float(sum(trained) / (max(ends) - min(starts)))


def peak_flops(device: torch.device, precision: str) -> float:
    """FLOP a second of large matrix products: what this device can do at best."""
    size, products = (8192, 30) if device.type == "cuda" else (2048, 4)
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        for _ in range(products):
            c = a @ b
        float(c[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return products * 2 * size**3 / best


def roofline(run: Run, speed: float, device: torch.device) -> dict[str, float]:
    """FLOP/s of training, at three forward passes an image of the dense network, against the peak:
    masks save no arithmetic on this hardware."""
    network = build_network(run.network, 3, OUTPUTS, seed=0)
    uses = uses_per_image(network, torch.zeros(1, 3, run.data.image_size, run.data.image_size))
    sizes = {name: weight.numel() for name, weight in network.named_parameters()}
    flops = forward_flops({name: sizes[name] for name in uses}, uses)
    achieved = 3 * flops * speed
    peak = peak_flops(device, arithmetic_of(run.engine, device).precision)
    return {
        "mega_flops_an_image_forward": round(flops / 1e6, 1),
        "achieved_giga_flops": round(achieved / 1e9, 1),
        "peak_giga_flops": round(peak / 1e9, 1),
        "share_of_peak": round(achieved / peak, 3),
    }


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnet18-slim")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=2000, help="of an epoch")
    parser.add_argument("--rounds", type=enough_rounds, default=5)
    parser.add_argument("--at-once", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--workers", type=int, default=2, help="loaders of the plain loop")
    parser.add_argument("--no-plain-loop", action="store_true", help="where torchvision is missing")
    parser.add_argument(
        "--no-compile", action="store_true", help="nothing that torch.compile makes"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    told = machine(device=device) | {"threads": torch.get_num_threads()}
    switches = SWITCHES | (ON_CUDA if device.type == "cuda" else ON_CPU)
    if options.no_compile:
        switches = {
            name: values
            for name, values in switches.items()
            if values.get("compile", "step-graph") == "step-graph"
        }
    count = options.images * 10 // 9  # a tenth are test images
    variants: dict[str, Callable[[], float]] = {}
    if not options.no_plain_loop:
        need_torchvision(", or --no-plain-loop")
        import plain_loop

        plain = short_run(options.network)
        data = one_task(plain, count)
        variants["plain loop"] = lambda: plain_loop.images_per_second(
            plain, data, device, options.workers
        )
    losses: dict[str, float] = {}

    def measure(name: str) -> float:
        pace = second_epoch(short_run(options.network, **switches[name]), count, device)
        losses[name] = round(pace.loss, 4)
        return pace.images_per_second

    variants |= {name: partial(measure, name) for name in switches}
    variants, failed = tried(variants)
    rows = in_turn(variants, options.rounds)
    for name, row in rows.items():
        row["loss"] = losses.get(name)
    columns = ("variant", "images/s", "quartiles", "times the first", "loss in training")
    print_table(columns, ((name, *row.values()) for name, row in rows.items()))
    default = short_run(options.network)
    many = {
        str(number): round(
            statistics.median(
                together(default, count, options.device, number) for _ in range(options.rounds)
            ),
            1,
        )
        for number in options.at_once
    }
    print_table(("runs at once, one thread each", "images/s in all"), many.items())
    chosen = arithmetic_of(default.engine, device)
    key = f"{chosen.precision}, {chosen.layout.replace('_', ' ')}".replace(", contiguous", "")
    roof = roofline(default, rows[key]["images_per_second"], device)
    print(f"\n{key}: {roof}")
    told |= {"network": options.network, "images": options.images, "rounds": options.rounds}
    told |= {"variants": rows, "failed": failed, "at_once": many, "roofline": roof}
    record(f"engine-{options.network}-{device.type}", told)


if __name__ == "__main__":
    main()
