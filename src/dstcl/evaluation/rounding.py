"""How far accuracies of the same run may be apart on two machines: measured, and compared with."""

from __future__ import annotations

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
"""Of rounding.csv, which benchmarks/rounding.py writes."""
