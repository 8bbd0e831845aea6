"""How far accuracies of the same runs may be apart on two machines: measured, and compared with.

Two processors add in another order, so that last digits differ; training amplifies that. What it
does to accuracies is measured by benchmarks/rounding.py, which trains the same seeds with other
rounding, and kept beside a recorded study as rounding.csv.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from pathlib import Path

import pandas as pd
from scipy import special

from dstcl.evaluation.statistics import Estimate, above, mean_interval
from dstcl.evaluation.tables import Needs, read_table

GROUP = ("protocol", "density")
"""Rounding is measured for each: starved networks and other protocols amplify it differently."""
COLUMNS = (
    *GROUP,
    "runs",
    "sd_rounding",
    "sd_seeds",
    "share_of_variance",
    "equal",
    "quantile_95",
    "largest",
)
"""Of rounding.csv; accuracies are fractions, one difference in 20 exceeds ``quantile_95``."""
NEEDS = Needs(COLUMNS, ("density", *COLUMNS[2:]))
LEVEL = 0.01
"""A set of accuracies is called further apart than rounding explains below this p-value."""
BEYOND = 0.05
"""Share of differences beyond ``quantile_95``."""


@dataclass(frozen=True)
class Distance:
    """How far the accuracies of the same runs are apart.

    Attributes:
        runs: compared.
        equal: runs with the same accuracy to the last bit.
        mean_size, largest: of the absolute differences of the others; NaN where there is none.
        shift: mean of all differences with its 95 % interval.
        p_shift: of no shift (Student's t): rounding has no direction.
        measured: runs of groups whose rounding was measured.
        beyond: those that differ by more than one difference in 20 does by rounding.
        p_beyond: probability of so many of them, were it rounding; NaN where none was measured.
    """

    runs: int
    equal: int
    mean_size: float
    largest: float
    shift: Estimate
    p_shift: float
    measured: int
    beyond: int
    p_beyond: float

    @property
    def further(self) -> bool | None:
        """Whether more than rounding is at work; None where that cannot be told."""
        if self.p_shift < LEVEL or self.p_beyond < LEVEL:
            return True
        return False if self.measured or self.equal == self.runs else None


def distance(pairs: pd.DataFrame, noise: pd.DataFrame | None) -> Distance:
    """Compare the accuracies of runs that are the same but for the machine.

    Args:
        pairs: a row a run: `GROUP`, and its accuracies ``here`` and ``recorded``.
        noise: rounding.csv; None if rounding was not measured.
    """
    off = pairs["here"] - pairs["recorded"]
    others = off[off != 0].abs()
    known = pairs.assign(size=off.abs())
    measured, beyond, p_beyond = 0, 0, nan
    if noise is not None:
        limits = noise.set_index(list(GROUP))["quantile_95"].to_dict()
        limit = pd.Series([limits.get(tuple(row), nan) for row in known[list(GROUP)].to_numpy()])
        there = limit.notna().to_numpy()
        measured = int(there.sum())
        # Accuracies are counts: a difference of the very size of the limit is not beyond it.
        beyond = int((known["size"].to_numpy()[there] > limit.to_numpy()[there] + 1e-9).sum())
        p_beyond = float(special.bdtrc(beyond - 1, measured, BEYOND)) if measured else nan
    shifted = above(off.tolist())
    return Distance(
        runs=len(pairs),
        equal=int((off == 0).sum()),
        mean_size=float(others.mean()),
        largest=float(others.max()),
        shift=mean_interval(off.tolist()),
        p_shift=shifted.p if len(others) else nan,
        measured=measured,
        beyond=beyond,
        p_beyond=p_beyond,
    )


def read_noise(folder: Path) -> pd.DataFrame | None:
    """rounding.csv of a recorded study; None if it has none.

    Raises:
        ValueError: naming the file; it is no such table.
    """
    if not (folder / "rounding.csv").exists():
        return None
    return read_table(folder, "rounding", NEEDS)
