"""What grows with what: steps and topology updates, and where a whole run's time goes.

    python benchmarks/scaling.py [--network resnet18-slim] [--rounds 5] [--device cpu]

A few minutes; writes scaling-<device>.json here. Speeds are of the second epoch of a task, as in
engine.py, but of the steps between updates alone; updates are timed one by one, each replacing half
of the active weights. Variants take turns within each round; medians and quartiles. The whole run
is made once, in a process of its own, with all files and a checkpoint after every task.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from machine import enough_rounds, machine, record
from paces import Pace, second_epochs, timed_updates
from subjects import CLASSES, default_width, of_width, random_data, short_run, task_classes
from tables import middle, print_table
from whole_run import whole_run

from dstcl.networks import NETWORKS

DENSITIES = (0.8, 0.2, 0.1, 0.05, 0.01)
TASK_CLASSES = (2, 10, 100)
ALL_CLASSES = (10, 100, 1000)
FINISHED = (0, 1, 5, 9)
WIDTHS = (8, 16, 32, 64)

UPDATE_EVERY, BATCH = 5, 64
UPDATES = {"update_every": UPDATE_EVERY, "stop_at": 1.0, "prune_schedule": "constant"}
WHOLE = {"tasks": 5, "epochs": 4, "update_every": 40}


@dataclass(frozen=True)
class Variants:
    """What is measured in one go.

    Attributes:
        axis: what varies.
        values: along the axis.
        measure: returns a pace for each of them.
    """

    axis: str
    values: Sequence[object]
    measure: Callable[[], list[Pace]]


class Bench:
    """Trains on random images.

    Args:
        network: by its name.
        images: of each task, the last tenth of them for testing.
        device: where.
    """

    def __init__(self, network: str, images: int, device: torch.device) -> None:
        self.network, self.images, self.device = network, images, device

    def variants(self, widths: Sequence[int]) -> Iterator[Variants]:
        """Everything whose speed is compared, axis by axis."""
        for density in DENSITIES:
            yield self._one("density", density, density=density)
        for classes in TASK_CLASSES:
            yield self._one("classes, own head", classes, classes)
        shared = {"head": "shared", "logits": "all"}
        for classes in ALL_CLASSES:
            yield self._one("classes, shared head in the mask", classes, classes, **shared)
        for width in widths:
            yield self._one("width", width, network=of_width(self.network, width))
        yield Variants("finished tasks", FINISHED, self._finished)

    def _one(self, axis: str, value: object, classes: int = CLASSES, **settings: Any) -> Variants:
        return Variants(axis, [value], lambda: self._paces(1, classes, **settings))

    def _finished(self) -> list[Pace]:
        paces = self._paces(max(FINISHED) + 1, CLASSES)
        return [paces[finished] for finished in FINISHED]

    def _paces(self, tasks: int, classes: int, **settings: Any) -> list[Pace]:
        """Of each task, in the order of learning."""
        chosen: dict[str, Any] = {"network": self.network, "tasks": tasks} | UPDATES | settings
        run = short_run(**chosen)
        data = random_data(self.images, run.data.image_size, 3, tasks, classes)
        split = task_classes(tasks, classes)
        with timed_updates(self.device) as updates:
            return second_epochs(run, data, split, self.device, updates)


def speeds(variants: Sequence[Variants], rounds: int) -> dict[str, dict[str, dict[str, Any]]]:
    """By axis and value: images per second and milliseconds of an update, median and quartiles of
    the rounds, and how many times those of the axis's first value."""
    paces: dict[str, dict[str, list[Pace]]] = {}
    for _ in range(rounds):
        for variant in variants:
            values = paces.setdefault(variant.axis, {})
            for value, pace in zip(variant.values, variant.measure(), strict=True):
                values.setdefault(str(value), []).append(pace)
    return {axis: _rows(values) for axis, values in paces.items()}


def _rows(paces: dict[str, list[Pace]]) -> dict[str, dict[str, Any]]:
    measured = {
        value: ([p.between_updates for p in given], [p.update_ms for p in given])
        for value, given in paces.items()
    }
    first_speed, first_update = map(statistics.median, next(iter(measured.values())))
    return {
        value: {
            "images_per_second": middle(speed, 1),
            "times_the_first": round(statistics.median(speed) / first_speed, 2),
            "update_ms": middle(update, 2),
            "update_times_the_first": round(statistics.median(update) / first_update, 2),
        }
        for value, (speed, update) in measured.items()
    }


def print_speeds(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    """A row for each value of each axis."""
    print_table(
        (
            *("varies", "value", "images/s", "quartiles", "times the first"),
            *("an update, ms", "quartiles", "times the first"),
        ),
        (
            (
                *(axis, value),
                *row["images_per_second"].values(),
                row["times_the_first"],
                *row["update_ms"].values(),
                row["update_times_the_first"],
            )
            for axis, rows in found.items()
            for value, row in rows.items()
        ),
    )


def print_parts(run: dict[str, Any]) -> None:
    """Where a whole run's time went."""
    whole = sum(run["seconds"].values())
    parts = run["seconds"] | {"whole run": whole}
    rows = ((part, round(s, 2), f"{100 * s / whole:.1f} %") for part, s in parts.items())
    print_table(("part", "s", "share"), rows)


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="resnet18-slim")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=960, help="of a task, a tenth for testing")
    parser.add_argument("--rounds", type=enough_rounds, default=5)
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    options = parser.parse_args()
    if options.images - options.images // 10 <= (UPDATE_EVERY - 1) * BATCH:
        parser.error(f"--images: too few for {UPDATE_EVERY} steps of {BATCH} an epoch")
    device = torch.device(options.device)
    told = machine(device=device) | {"threads": torch.get_num_threads()}
    widths = options.widths if default_width(options.network) else ()
    variants = list(Bench(options.network, options.images, device).variants(widths))
    found = speeds(variants, options.rounds)
    print_speeds(found)
    run = whole_run(options.network, None, 2 * options.images, options.device, **WHOLE)
    print_parts(run)
    told |= {"network": options.network, "images": options.images, "rounds": options.rounds}
    told |= {"speeds": found, "whole_run": WHOLE | run}
    record(f"scaling-{device.type}", told)


if __name__ == "__main__":
    main()
