"""Whether two studies say the same, file by file, but for times."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.study.run import RESULT_FILES

TIMES = ("seconds", "images_per_second", "files", "checksum")
SAME_BYTES = ("accuracy", "capacity", "overlap", "history", "claims")
TABLES = ("summary", "cells", "comparisons")


def differences(one: Path, other: Path) -> list[str]:
    """Files of a study, and of its runs, that say something else in another one's folder."""
    folders = [sorted(p.parent.relative_to(s) for p in runs_of(s)) for s in (one, other)]
    found = [] if folders[0] == folders[1] else ["other runs"]
    found += [
        f"{name}.csv"
        for name in SAME_BYTES
        if (one / f"{name}.csv").read_bytes() != (other / f"{name}.csv").read_bytes()
    ]
    found += [f"{name}.csv" for name in TABLES if not _table(one, name).equals(_table(other, name))]
    for folder in set(folders[0]) & set(folders[1]):
        for kind, name in RESULT_FILES.items():
            if kind != "provenance" and _content(one / folder / name) != _content(
                other / folder / name
            ):
                found.append(f"{folder}/{name}")
    return found


def runs_of(study: Path) -> list[Path]:
    """The metrics of the runs that its plan names."""
    plan = json.loads((study / "plan.json").read_text())
    return [study / "runs" / entry["folder"] / "metrics.json" for entry in plan["runs"]]


def _content(path: Path) -> Any:
    if path.name != "metrics.json":
        return path.read_bytes()
    values = json.loads(path.read_text())
    return {name: value for name, value in values.items() if name not in TIMES}


def _table(study: Path, name: str) -> pd.DataFrame:
    table = pd.read_csv(study / f"{name}.csv")
    return table.drop(columns=[c for c in table if c.startswith(TIMES)])
