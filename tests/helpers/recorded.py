"""Tables of recorded studies, as a page of results reads them."""

from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = REPOSITORY / "workflow" / "report" / "results.html.j2"
PAPER = REPOSITORY / "reference" / "paper" / "curves.csv"
CELL = {"dataset": "cifar100", "tasks": 10, "protocol": "corrected", "network": "resnet18"}
CELL |= {"method": "dst", "density": 0.2, "init": "erk"}


def summary_of(growths: tuple[str, ...] = ("random", "gradient"), seeds: int = 3) -> pd.DataFrame:
    """Accuracies 50, 52, 54% with random growth; ten points more with the next one, and so on."""
    rows = [
        {**CELL, "growth": growth, "seed": seed, "acc": 0.5 + 0.02 * seed + 0.1 * place}
        | {"digest": f"{place:05x}{seed:05x}", "forgetting": 0.0}
        for place, growth in enumerate(growths)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def accuracy_of(summary: pd.DataFrame, tasks: int = 2) -> pd.DataFrame:
    """Of every run: the first task at acc, every later one ten points below the one before."""
    rows = [
        (row.digest, after, task, row.acc - 0.1 * (task - 1))
        for row in summary.itertuples()
        for after in range(tasks + 1)
        for task in range(1, tasks + 1)
    ]
    return pd.DataFrame(rows, columns=["digest", "after_task", "task", "accuracy"])


def empty_reference(folder: Path) -> Path:
    """A folder of recorded studies with the paper's curves and no study yet."""
    (folder / "paper").mkdir(parents=True)
    (folder / "paper" / "curves.csv").write_bytes(PAPER.read_bytes())
    return folder
