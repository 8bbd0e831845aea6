"""Means over seeds with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import nan, sqrt
from statistics import fmean, stdev

from scipy.stats import t as student


@dataclass(frozen=True)
class Estimate:
    """A mean with the standard deviation and the confidence interval of few values."""

    mean: float
    sd: float
    low: float
    high: float


def mean_interval(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean, sample standard deviation and Student's t interval.

    One value has no spread: sd and interval are NaN, never zero. No value at all: all NaN.
    """
    if not values:
        return Estimate(nan, nan, nan, nan)
    mean = fmean(values)
    if len(values) == 1:
        return Estimate(mean, nan, nan, nan)
    sd = stdev(values)
    half = _quantile((1 + level) / 2, len(values) - 1) * sd / sqrt(len(values))
    return Estimate(mean, sd, mean - half, mean + half)


@lru_cache
def _quantile(probability: float, freedom: int) -> float:
    """Of Student's t; asked for thousands of times with the same few degrees of freedom."""
    return float(student.ppf(probability, freedom))
