"""What another processor does: the same seeds of preset quick, trained with other rounding.

    python benchmarks/rounding.py --data mnist5k-28px.safetensors --keep FOLDER [--seeds 3]

Sums are rounded in the order in which a processor takes them. Another order is asked for by more
threads, another memory layout, or by the instructions that torch and oneDNN may use (set by
ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA, which act when a process starts: each way of rounding is
a process of its own). Seeds, images, masks and tasks stay the same, so all differences are
rounding, and what training makes of it.

Accuracies are kept run by run, so a measurement that was stopped goes on, and --kept takes what is
there: a way with fewer runs counts with these.

Writes rounding.json here, and reference/quick/rounding.csv, by which `dstcl confirm` tells how far
another machine may be off.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
import torch
from machine import REPOSITORY, machine, record

from dstcl.continual.learner import learner_of
from dstcl.continual.metrics import accuracy_matrix, all_metrics
from dstcl.data.stored import load_prepared
from dstcl.data.tasks import split_classes
from dstcl.evaluation.rounding import COLUMNS, GROUP
from dstcl.storage import read_json, write_json
from dstcl.study.load import load_file, runs
from dstcl.study.run import Run

PRESET = "quick"
GROWTHS = ("random", "gradient")
"""Those that every protocol of the preset has."""


FEWEST = 10
"""Runs of a group from which its rounding is told."""


class Way(NamedTuple):
    """A way of rounding: threads, layout, and variables of the environment."""

    threads: int = 1
    layout: str = "contiguous"
    variables: Mapping[str, str] = MappingProxyType({})


WAYS = {
    "as planned": Way(),
    "channels last": Way(layout="channels_last"),
    "torch without vector instructions": Way(variables={"ATEN_CPU_CAPABILITY": "default"}),
    "torch and oneDNN with AVX2": Way(
        variables={"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    ),
    "oneDNN with SSE4.1": Way(variables={"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    # Without the variable threads that wait take a core from other work.
    "two threads": Way(threads=2, variables={"OMP_WAIT_POLICY": "passive"}),
}


def planned(seeds: int) -> list[Run]:
    """The runs of the preset with these growths that have one of the first seeds."""
    every = runs(load_file(REPOSITORY / "params.yaml", PRESET))
    return [run for run in every if run.seed < seeds and run.growth in GROWTHS]


def acc(run: Run, file: Path) -> float:
    """Accuracy over all tasks after learning them."""
    data = load_prepared(file)
    tasks = split_classes(len(data.class_names), run.tasks, run.order_name)
    outcome = learner_of(run, data, tasks, torch.device("cpu")).fit()
    return float(all_metrics(accuracy_matrix(outcome.accuracy))["acc"])


def kept_file(keep: Path, name: str) -> Path:
    """Where the accuracies of a way are kept."""
    return keep / f"{name.replace(' ', '-')}.json"


def kept(keep: Path, name: str) -> dict[str, float]:
    """ACC by digest of the runs that were trained in this way before."""
    file = kept_file(keep, name)
    return dict(read_json(file)) if file.exists() else {}


def train_missing(name: str, file: Path, seeds: int, keep: Path) -> None:
    """Train in one way, in this process, what is not kept yet, and keep it run by run."""
    way, found = WAYS[name], kept(keep, name)
    torch.set_num_threads(way.threads)
    for run in planned(seeds):
        if run.digest not in found:
            found[run.digest] = acc(run.changed({"engine.layout": way.layout}), file)
            write_json(kept_file(keep, name), found)
            print(f"{name}: {run.folder} {found[run.digest]:.4f}", file=sys.stderr, flush=True)


def train_elsewhere(name: str, file: Path, seeds: int, keep: Path) -> None:
    """`train_missing` in a process of its own, whose environment is that of the way."""
    command = [sys.executable, __file__, "--data", str(file), "--seeds", str(seeds)]
    threads = {"OMP_NUM_THREADS": str(WAYS[name].threads)}
    subprocess.run(
        [*command, "--keep", str(keep), "--way", name],
        env={**os.environ, **threads, **WAYS[name].variables},
        check=True,
    )


def distinct_ways(table: pd.DataFrame) -> list[str]:
    """Ways that round differently: some accuracy is another than in every way before."""
    found: list[str] = []
    for name in WAYS:
        off = [(table[name] - table[other]).dropna() for other in found]
        if table[name].notna().any() and all((one != 0).any() for one in off):
            found.append(name)
    return found


def differences(table: pd.DataFrame, ways: Sequence[str]) -> pd.Series[float]:
    """Accuracies in two ways, one minus the other, of every run and pair of ways."""
    pairs = [(table[one] - table[other]).dropna() for one, other in combinations(ways, 2)]
    return pd.concat(pairs or [pd.Series(dtype=float)])


def groups(table: pd.DataFrame) -> pd.DataFrame:
    """For each protocol and density: the spread over seeds, and that over ways of rounding.

    Args:
        table: a row a run, with its axes and ACC in every way; NaN where it was not trained so.
    """
    rows: list[dict[str, Any]] = []
    ways = distinct_ways(table)
    for key, own in table.groupby(list(GROUP), sort=False):
        off = differences(own, ways)
        if off.index.nunique() < FEWEST:
            continue
        over_seeds = float(own.groupby(["init", "growth"])["as planned"].var().mean() ** 0.5)
        over_rounding = float(((off**2).mean() / 2) ** 0.5)
        rows.append(
            dict(zip(GROUP, key))
            | {
                "runs": off.index.nunique(),
                "sd_rounding": over_rounding,
                "sd_seeds": over_seeds,
                "share_of_variance": over_rounding**2 / over_seeds**2,
                "equal": float((off == 0).mean()),
                "quantile_95": float(off.abs().quantile(0.95)),
                "largest": float(off.abs().max()),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def by_way(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Each way against the planned one: runs that are equal, and how far the others are."""
    off = {name: (table[name] - table["as planned"]).dropna() for name in list(WAYS)[1:]}
    return [
        {
            "way": name,
            "runs": len(one),
            "equal_runs": int((one == 0).sum()),
            "mean_difference": float(one.mean()),
            "largest_difference": float(one.abs().max()),
        }
        for name, one in off.items()
        if len(one)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train in every way, compare, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared file")
    parser.add_argument("--seeds", type=int, default=3, help="the first so many of the preset")
    parser.add_argument("--keep", type=Path, required=True, help="folder of what was measured")
    parser.add_argument("--kept", action="store_true", help="train nothing, take what is kept")
    parser.add_argument("--way", choices=WAYS, help="train in this way alone")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds: {options.seeds}; at least 2, or there is no spread over seeds")
    if options.way:
        train_missing(options.way, options.data, options.seeds, options.keep)
        return
    told = machine() | {"instructions": torch.backends.cpu.get_cpu_capability()}
    for name in () if options.kept else WAYS:
        train_elsewhere(name, options.data, options.seeds, options.keep)
    found = {name: kept(options.keep, name) for name in WAYS}
    every = planned(options.seeds)
    axes = pd.DataFrame([run.axes() for run in every], index=[run.digest for run in every])
    # An accuracy is a count of images, so the digits beyond are those of its sum.
    table = axes.join(pd.DataFrame(found).round(6))
    spread, ways = groups(table), by_way(table)
    trained = int(table[list(WAYS)].notna().sum(axis=1).gt(1).sum())
    content = {"runs": trained, "ways": ways, "groups": spread.to_dict("records")}
    record("rounding", told | content | {"acc": found})
    folder = REPOSITORY / "reference" / PRESET
    folder.mkdir(exist_ok=True)
    spread.to_csv(folder / "rounding.csv", index=False)
    print(pd.DataFrame(ways).to_string(index=False))
    print(spread.to_string(index=False))


if __name__ == "__main__":
    main()
