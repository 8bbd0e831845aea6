"""What comparisons with the public code of other methods share: digits, networks, records.

The code is fetched by the user and read from a folder; nothing of it is part of this repository.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from machine import machine, record
from tables import print_table
from torch import Tensor

from dstcl.continual.library import Learned
from dstcl.continual.metrics import acc, accuracy_matrix, forgetting
from dstcl.continual.tasks import PreparedTasks
from dstcl.data.stored import load_prepared
from dstcl.data.tasks import split_classes
from dstcl.evaluation.statistics import mean_interval

TASKS = 5
Pair = tuple[Tensor, Tensor]
Pairs = list[tuple[Pair, Pair]]
"""Training and test images of each task, normalised, with labels from 0."""
Measured = dict[str, float]
"""What a run comes to: acc, forgetting and used_fraction, in [0, 1]."""


class Setting(NamedTuple):
    """A comparison: its name in the record, and how both sides run with a seed."""

    name: str
    public: Callable[[Pairs, int], Measured]
    ours: Callable[[Pairs, int], Measured]


def digit_tasks(file: Path, seed: int) -> Pairs:
    """Two digits a task, in the order that a run of this seed has."""
    data = load_prepared(file)
    classes = split_classes(len(data.class_names), TASKS, f"seed{seed}")
    tasks = PreparedTasks(data, classes, torch.device("cpu"))

    def pair(task: int, part: Any) -> Pair:
        examples = tasks.examples([task], part)
        return examples.normalised(examples.images), examples.labels

    return [(pair(task, "train"), pair(task, "test")) for task in range(TASKS)]


def measured(rows: Iterable[Mapping[str, Any]], used_fraction: float) -> Measured:
    """ACC, forgetting and the share of weights that some task uses.

    Args:
        rows: after_task and task, both from 1, and accuracy.
        used_fraction: the third of them.
    """
    matrix = accuracy_matrix(rows)
    lost = forgetting(matrix)
    assert lost is not None  # tasks came one after the other
    return {"acc": acc(matrix), "forgetting": lost, "used_fraction": used_fraction}


def of_learned(learned: Learned) -> Measured:
    """The same of a run of ours."""
    return measured(learned.outcome.accuracy, learned.outcome.store.used_fraction())


@contextmanager
def old_torch() -> Iterator[None]:
    """What code of torch 0.2 to 1.x asks for and torch 2 has no more: on a processor, `cuda` does
    nothing, variables are tensors, and clipping has a name without underscore."""
    with ExitStack() as stack:
        for owner, name, value in (
            (torch.Tensor, "cuda", lambda tensor, *_: tensor),
            (torch.nn.Module, "cuda", lambda module, *_: module),
            (torch.autograd, "Variable", lambda tensor, **_: tensor),
            (torch.nn.utils, "clip_grad_norm", torch.nn.utils.clip_grad_norm_),
        ):
            stack.enter_context(patch.object(owner, name, value, create=True))
        yield


def compare(
    name: str, about: str, settings: Callable[[Path], Sequence[Setting]], repository: str
) -> None:
    """Run both sides of every setting, seed by seed, record and print.

    Args:
        name: of the record.
        about: first line of the help.
        settings: of the folder with the public code.
        repository: where it comes from.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--code", type=Path, required=True, help=f"a clone of {repository}")
    parser.add_argument("--data", type=Path, required=True, help="prepared file of mnist5k")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default %(default)s)")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error(f"--seeds: {options.seeds}; at least 2, or there is no spread over seeds")
    git = ["git", "-C", str(options.code), "rev-parse", "--short", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    told = machine() | {"public_code": f"{repository}@{head}", "data": options.data.name}
    found = {}
    for setting in settings(options.code):
        runs: dict[str, list[Measured]] = {"public": [], "ours": []}
        for seed in range(options.seeds):
            pairs = digit_tasks(options.data, seed)
            runs["public"].append(setting.public(pairs, seed))
            runs["ours"].append(setting.ours(pairs, seed))
            both = {side: own[-1] for side, own in runs.items()}
            print(f"{setting.name}, seed {seed}: {both}", file=sys.stderr, flush=True)
        found[setting.name] = runs
    differences = {name: _difference(runs) for name, runs in found.items()}
    record(name, told | {"settings": found, "ours_minus_public_points": differences})
    columns = ["setting", "code", "ACC, %", "forgetting, points", "weights used, %"]
    print_table(columns, [row for key in found for row in _rows(key, found[key])])
    print_table(
        ["setting", "ours - public, points", "95% interval, paired by seed"],
        [(key, round(one["mean"], 1), [round(one["low"], 1), round(one["high"], 1)])
         for key, one in differences.items()],
    )  # fmt: skip


def _difference(runs: Mapping[str, Sequence[Measured]]) -> dict[str, float]:
    points = [100 * (a["acc"] - b["acc"]) for a, b in zip(runs["ours"], runs["public"])]
    estimate = mean_interval(points)
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}


def _rows(setting: str, runs: Mapping[str, Sequence[Measured]]) -> list[list[str]]:
    def both(own: Sequence[Measured], measure: str, digits: int) -> str:
        values = [100 * one[measure] for one in own]
        return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"

    measures = {"acc": 1, "forgetting": 2, "used_fraction": 0}
    return [
        [setting, side, *(both(own, measure, digits) for measure, digits in measures.items())]
        for side, own in runs.items()
    ]
