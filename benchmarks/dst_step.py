"""What sparsity costs: steps of the plain optimiser and steps with masks, measured in turns.

    python benchmarks/dst_step.py [--rounds 15] [--device cpu]    # writes benchmarks/dst_step.json

ResNet-18 as published, batch 64, 32-pixel images. Variants take turns within each round, so that
what else the machine does falls on all of them; medians and the spread between quartiles.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from dstcl.models import build_network
from dstcl.sparse import DynamicSparseTraining, SparseTraining

Step = Callable[[], None]


def variants(device: torch.device) -> dict[str, Step]:
    """One function a variant; each makes one whole training step."""
    images = torch.randn(64, 3, 32, 32, device=device)
    labels = torch.randint(100, (64,), device=device)

    def made(kind: str) -> Step:
        network = build_network("resnet18", 3, 100, seed=0).to(device)
        optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
        sparse: SparseTraining | None = None
        settings = {"density": 0.1, "init": "erk"}
        if kind != "dense":
            settings["generator"] = torch.Generator(device).manual_seed(0)
        if kind == "static":
            sparse = SparseTraining(network, optimizer, **settings)
        elif kind != "dense":
            frozen = None
            if kind == "isolated":
                first = SparseTraining(network, optimizer, **settings)
                frozen = {name: mask.clone() for name, mask in first.masks.items()}
            every = 1 if kind.startswith("update") else 10**9
            growth = kind.partition(" ")[2] or "gradient"
            sparse = DynamicSparseTraining(
                network, optimizer, grow=growth, total_steps=10**9, update_every=every,
                frozen=frozen, stop_at=1.0, **settings,
            )  # fmt: skip

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(network(images), labels).backward()
            (sparse or optimizer).step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return step

    kinds = ["dense", "static", "dynamic", "isolated", "update random", "update gradient"]
    return {kind: made(kind) for kind in [*kinds, "update momentum"]}


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    steps = variants(device)
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for round_number in range(options.rounds + 2):
        for kind, step in steps.items():
            started = time.perf_counter()
            step()
            if round_number >= 2:  # the first two rounds warm up
                times[kind].append(1000 * (time.perf_counter() - started))
    dense = statistics.median(times["dense"])
    rows = {}
    for kind, values in times.items():
        quartiles = statistics.quantiles(values, n=4)
        ratios = [value / base for value, base in zip(values, times["dense"], strict=True)]
        rows[kind] = {
            "median_ms": round(statistics.median(values), 1),
            "quartiles_ms": [round(quartiles[0], 1), round(quartiles[2], 1)],
            "median_ratio_to_dense": round(statistics.median(ratios), 3),
        }
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": options.rounds,
        "variants": rows,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    print("| step | median, ms | quartiles, ms | ratio to dense |\n|---|---|---|---|")
    for kind, row in rows.items():
        low, high = row["quartiles_ms"]
        ratio = row["median_ratio_to_dense"]
        print(f"| {kind} | {row['median_ms']} | {low} to {high} | {ratio} |")
    print(
        f"\nAn update costs its row's ratio minus that of 'dynamic' in steps; dense {dense:.1f} ms"
    )


if __name__ == "__main__":
    main()
