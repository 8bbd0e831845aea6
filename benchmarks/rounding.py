"""What another processor does: the same seeds of preset quick, trained with other rounding.

    python benchmarks/rounding.py --data mnist5k-28px.safetensors [--seeds 3]

Sums are rounded in the order in which a processor takes them. Another order is asked for by more
threads, another memory layout, or by the instructions that torch and oneDNN may use (set by
ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA, which act when a process starts: each way of rounding is
a process of its own). Seeds, images, masks and tasks stay the same, so all differences are
rounding, and what training makes of it.

Writes rounding.json here, and reference/quick/rounding.csv, by which `dstcl confirm` tells how far
another machine may be off.
"""

from __future__ import annotations

import argparse
import json
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
from dstcl.study.load import load_file, runs
from dstcl.study.run import Run

PRESET = "quick"
GROWTHS = ("random", "gradient")
"""Those that every protocol of the preset has."""


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


def train_all(name: str, file: Path, seeds: int) -> None:
    """Train every run in one way, in this process; prints ACC by digest as JSON."""
    way = WAYS[name]
    torch.set_num_threads(way.threads)
    found = {}
    for run in planned(seeds):
        found[run.digest] = acc(run.changed({"engine.layout": way.layout}), file)
        print(f"{name}: {run.folder} {found[run.digest]:.4f}", file=sys.stderr, flush=True)
    print(json.dumps(found))


def trained(name: str, file: Path, seeds: int) -> dict[str, float]:
    """ACC by digest of every run in one way, trained in a process of its own."""
    command = [sys.executable, __file__, "--data", str(file), "--seeds", str(seeds)]
    threads = {"OMP_NUM_THREADS": str(WAYS[name].threads)}
    done = subprocess.run(
        [*command, "--way", name],
        env={**os.environ, **threads, **WAYS[name].variables},
        stdout=subprocess.PIPE,
        check=True,
    )
    return dict(json.loads(done.stdout))


def same_rounding(table: pd.DataFrame, one: str, other: str) -> bool:
    """Whether two ways gave the same accuracy in every run: then they are one way."""
    return bool((table[one] == table[other]).all())


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracies of two ways that round differently, one minus the other: a row a run and pair."""
    pairs = [
        (table[one] - table[other]).rename("difference").to_frame()
        for one, other in combinations(WAYS, 2)
        if not same_rounding(table, one, other)
    ]
    return pd.concat(pairs) if pairs else pd.DataFrame({"difference": []})


def groups(table: pd.DataFrame) -> pd.DataFrame:
    """For each protocol and density: the spread over seeds, and that over ways of rounding.

    Args:
        table: a row a run, with its axes and ACC in every way.
    """
    rows: list[dict[str, Any]] = []
    for key, own in table.groupby(list(GROUP), sort=False):
        off = differences(own)["difference"]
        cells = own.groupby(["init", "growth"])[list(WAYS)]
        over_seeds = float(cells.var().to_numpy().mean() ** 0.5)
        over_rounding = float(((off**2).mean() / 2) ** 0.5)
        rows.append(
            dict(zip(GROUP, key))
            | {
                "runs": len(own),
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
    plain = table["as planned"]
    return [
        {
            "way": name,
            "equal_runs": int((table[name] == plain).sum()),
            "mean_difference": float((table[name] - plain).mean()),
            "largest_difference": float((table[name] - plain).abs().max()),
        }
        for name in list(WAYS)[1:]
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train in every way, compare, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="prepared file")
    parser.add_argument("--seeds", type=int, default=3, help="the first so many of the preset")
    parser.add_argument("--way", choices=WAYS, help="train in this way alone and print accuracies")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds: {options.seeds}; at least 2, or there is no spread over seeds")
    if options.way:
        train_all(options.way, options.data, options.seeds)
        return
    told = machine() | {"instructions": torch.backends.cpu.get_cpu_capability()}
    found = {name: trained(name, options.data, options.seeds) for name in WAYS}
    every = planned(options.seeds)
    axes = pd.DataFrame([run.axes() for run in every], index=[run.digest for run in every])
    table = axes.join(pd.DataFrame(found))
    spread, ways = groups(table), by_way(table)
    content = {"runs": len(table), "ways": ways, "groups": spread.to_dict("records")}
    record("rounding", told | content | {"acc": found})
    folder = REPOSITORY / "reference" / PRESET
    folder.mkdir(exist_ok=True)
    spread.to_csv(folder / "rounding.csv", index=False)
    print(pd.DataFrame(ways).to_string(index=False))
    print(spread.to_string(index=False))


if __name__ == "__main__":
    main()
