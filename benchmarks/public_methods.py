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
from unittest.mock import MagicMock, patch

import torch
from machine import machine, record
from public_twins import CPU, TASKS, Masks, Pair, Pairs, Start, described, in_common
from tables import print_table
from torch import nn

from dstcl.continual import learn
from dstcl.continual.capacity import used_fraction
from dstcl.continual.metrics import acc, accuracy_matrix, forgetting
from dstcl.continual.tasks import PreparedTasks
from dstcl.data.stored import load_prepared
from dstcl.data.tasks import split_classes
from dstcl.evaluation.statistics import mean_interval

Measured = dict[str, float]
"""What a run comes to: acc, forgetting, used_fraction (of weights, by some task) and density (of a
task's mask, mean over tasks), in [0, 1]."""


class Ran(NamedTuple):
    """A run: what it comes to, and the masks of its tasks."""

    measured: Measured
    masks: Masks


class Setting(NamedTuple):
    """A comparison: its name in the record, and how both sides run with a seed.

    Attributes:
        ours: settings that share it share its runs.
        twins: both begin alike, so that it means something how far their masks agree.
        drawn: what each side draws by itself for the first task with a seed.
    """

    name: str
    public: Callable[[Pairs, int], Ran]
    ours: Callable[[Pairs, int], Ran]
    twins: bool = False
    drawn: Callable[[int], dict[str, Start]] | None = None


def digit_tasks(file: Path, seed: int) -> Pairs:
    """Two digits a task, in the order that a run of this seed has."""
    data = load_prepared(file)
    classes = split_classes(len(data.class_names), TASKS, f"seed{seed}")
    tasks = PreparedTasks(data, classes, CPU)

    def pair(task: int, part: Any) -> Pair:
        examples = tasks.examples([task], part)
        return examples.normalised(examples.images), examples.labels

    return [(pair(task, "train"), pair(task, "test")) for task in range(TASKS)]


def own_run(network: nn.Module, pairs: Pairs, seed: int, **settings: Any) -> Ran:
    """A run of ours at a constant rate, in its last epoch."""
    fixed = {"schedule": "constant", "augment": "none", "precision": "float32", "device": "cpu"}
    learned = learn(network, pairs, seed=seed, **fixed | settings)
    masks = [learned.masks(task) for task in range(1, len(pairs) + 1)]
    return ran(learned.outcome.accuracy, masks)


def ran(rows: Iterable[Mapping[str, Any]], masks: Masks) -> Ran:
    """What a run comes to.

    Args:
        rows: after_task and task, both from 1, and accuracy in [0, 1].
        masks: of its tasks.
    """
    matrix = accuracy_matrix(rows)
    lost = forgetting(matrix)
    assert lost is not None  # tasks came one after the other
    figures = {"acc": acc(matrix), "forgetting": lost, "used_fraction": used_fraction(masks)}
    return Ran(figures | {"density": fmean(used_fraction([own]) for own in masks)}, masks)


@contextmanager
def stand_ins(*packages: str) -> Iterator[None]:
    """Packages that public code imports and these runs never use need not be installed."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update({name: MagicMock() for name in absent})
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


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
    found, drawn, common = {}, {}, {}
    done: dict[tuple[Any, int], Ran] = {}
    for setting in settings(options.code):
        key, sides = setting.name, _all_seeds(setting, options.data, options.seeds, done)
        found[key] = {side: [one.measured for one in own] for side, own in sides.items()}
        if setting.twins:
            pairs = zip(sides["ours"], sides["public"], strict=True)
            common[key] = [in_common(ours.masks, public.masks) for ours, public in pairs]
        if setting.drawn is not None:
            begun = setting.drawn(0).items()
            drawn[key] = {side: described(start) for side, start in begun}
    differences = {name: _difference(runs) for name, runs in found.items()}
    told |= {"settings": found, "ours_minus_public_points": differences}
    of_twins = {"masks_in_common": common, "drawn": drawn} if common else {}
    record(name, told | of_twins)
    columns = ["setting", "code", "ACC, %", "forgetting, points", "weights used, %", "by a task, %"]
    print_table(columns, [row for key in found for row in _rows(key, found[key])])
    print_table(
        ["setting", "ours - public, points", "95% interval, paired by seed", "masks in common, %"],
        [(key, round(one["mean"], 2), [round(one["low"], 2), round(one["high"], 2)],
          round(100 * fmean(common[key]), 1) if key in common else "-")
         for key, one in differences.items()],
    )  # fmt: skip


def _all_seeds(
    setting: Setting, data: Path, seeds: int, done: dict[tuple[Any, int], Ran]
) -> dict[str, list[Ran]]:
    """Runs of both sides; ``done`` are those of ours so far."""
    runs: dict[str, list[Ran]] = {"public": [], "ours": []}
    for seed in range(seeds):
        pairs = digit_tasks(data, seed)
        if (setting.ours, seed) not in done:
            done[setting.ours, seed] = setting.ours(pairs, seed)
        runs["public"].append(setting.public(pairs, seed))
        runs["ours"].append(done[setting.ours, seed])
        both = {side: own[-1].measured for side, own in runs.items()}
        print(f"{setting.name}, seed {seed}: {both}", file=sys.stderr, flush=True)
    return runs


def _difference(runs: Mapping[str, Sequence[Measured]]) -> dict[str, float]:
    points = [100 * (a["acc"] - b["acc"]) for a, b in zip(runs["ours"], runs["public"])]
    estimate = mean_interval(points)
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}


def _rows(setting: str, runs: Mapping[str, Sequence[Measured]]) -> list[list[str]]:
    def both(own: Sequence[Measured], measure: str, digits: int) -> str:
        values = [100 * one[measure] for one in own]
        return f"{fmean(values):.{digits}f} ± {stdev(values):.{digits}f}"

    measures = {"acc": 1, "forgetting": 2, "used_fraction": 0, "density": 0}
    return [
        [setting, side, *(both(own, measure, digits) for measure, digits in measures.items())]
        for side, own in runs.items()
    ]
