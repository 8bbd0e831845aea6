"""Means with intervals, and tests that few repetitions can carry: is an effect above a boundary?

A unit of replication, a seed or an update interval (`dstcl.evaluation.replication`), is one
observation: runs of one seed share initial weights, tasks and batches, so that its cells are
averaged first and never counted as replicates. Student's t is used because resampling fails with so
few: with 3 units a percentile bootstrap of "95%" covers the truth 76 times in 100 (85 with 5, 90
with 10), and no sign-flip or rank test can reach p < 0.05 below 6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite, nan, sqrt
from statistics import fmean, stdev

import numpy as np
import scipy
from scipy import special

MOST_UNITS = 1000
POWER = 0.8
Needed = Callable[[float, float], int | None]
"""Units by the two-sided level of a test and the power that it shall have."""


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
    return float(special.stdtrit(freedom, probability))


@dataclass(frozen=True)
class Evidence:
    """An effect, its 95 % interval, and one-sided p-values on either side of the boundary.

    ``support`` is small where the effect is above the boundary, ``against`` where it is below.
    ``needed`` gives the units that settle the question at a two-sided level with some power, if
    effect and spread are those seen here; None where more than `MOST_UNITS`.
    """

    effect: float
    sd: float
    low: float
    high: float
    support: float
    against: float
    units: int
    needed: Needed

    @property
    def p(self) -> float:
        """Two-sided: below 0.05 exactly where the 95 % interval leaves the boundary out."""
        return float(np.minimum(1.0, 2 * np.minimum(self.support, self.against)))


def above(values: Sequence[float], boundary: float = 0.0) -> Evidence:
    """Is the mean of these values, one per unit, above the boundary? (One-sample Student's t.)

    Of paired differences this is the paired t-test; with a negative boundary a test of
    non-inferiority with that margin. Fewer than two values have no p-value (NaN).
    """
    found = mean_interval(values)
    units, distance = len(values), found.mean - boundary
    if units < 2:
        return Evidence(found.mean, nan, nan, nan, nan, nan, units, _never)
    if found.sd < 1e-12:  # every unit says the same
        support, against = float(distance <= 1e-12), float(distance >= -1e-12)
    else:
        t = distance / (found.sd / sqrt(units))
        support, against = (float(special.stdtr(units - 1, x)) for x in (-t, t))

    def needed(level: float, power: float) -> int | None:
        return units_for_mean(distance, found.sd, level, power)

    return Evidence(found.mean, found.sd, found.low, found.high, support, against, units, needed)


def every(tests: Sequence[Evidence]) -> Evidence:
    """Are all effects above the boundary? (Intersection-union test.)

    Support is as weak as the weakest part and needs no correction; one part clearly below
    speaks against the whole, corrected for the number of parts. Effect and interval are those
    of the weakest part. Units needed are those that settle one of the parts that are below, with
    that correction; where none is, those that settle all parts.
    """
    weakest = max(tests, key=lambda test: test.support if isfinite(test.support) else -test.effect)
    if any(test.units < 2 for test in tests):
        return weakest

    below = [test for test in tests if test.against < test.support]

    def needed(level: float, power: float) -> int | None:
        if below:
            return units_for_one([test.needed(level / len(tests), power) for test in below])
        return units_for_all([test.needed(level, power) for test in tests])

    against = min(1.0, len(tests) * min(test.against for test in tests))
    return replace(weakest, against=against, needed=needed)


def interaction(cube: np.ndarray, boundary: float = 0.0) -> Evidence:
    """Do the differences between levels depend on the condition?

    Repeated-measures F-test of the interaction with units as blocks and the degrees of freedom of
    Greenhouse and Geisser (1959), which allow for unequal variances and correlations and are
    cautious with few units. The effect is the root mean square of what is left of the cell means
    after conditions' and levels' means, without the part that noise adds; its interval inverts
    the noncentral F distribution.

    Args:
        cube: values, shape (units, conditions, levels).
        boundary: an interaction smaller than this counts as none, in the values' units.
    """
    units, conditions, levels = cube.shape
    centred = cube - cube.mean(1, keepdims=True) - cube.mean(2, keepdims=True)
    centred = centred + cube.mean((1, 2), keepdims=True)
    squares = float((centred.mean(0) ** 2).sum())
    cells, free = conditions * levels, (conditions - 1) * (levels - 1)
    if units < 2:
        return Evidence(sqrt(squares / cells), nan, nan, nan, nan, nan, units, _never)
    residual = (centred - centred.mean(0)).reshape(units, -1)
    gram = residual @ residual.T
    noise = float(np.trace(gram)) / (free * (units - 1))
    if noise < 1e-20:  # every unit says the same
        effect = sqrt(squares / cells)
        support, against = float(effect <= boundary), float(effect >= boundary)
        settled = 3 if abs(effect - boundary) > 1e-12 else None
        return Evidence(effect, 0.0, effect, effect, support, against, units, lambda *_: settled)
    epsilon = min(1.0, max(1 / free, float(np.trace(gram) ** 2 / (free * (gram**2).sum()))))
    f = units * squares / free / noise
    one, two = epsilon * free, epsilon * free * (units - 1)
    scale = epsilon * units * cells / noise
    true_epsilon = _true_epsilon(epsilon, free, units)

    def share_below(noncentrality: float) -> float:
        return _share_below(f, one, two, noncentrality)

    def root(share: float) -> float:
        """The rms effect under which a smaller F than this one has this probability."""
        if share_below(0.0) <= share:
            return 0.0
        top = 1.0
        while share_below(top) > share:
            top *= 2
        return sqrt(scipy.optimize.brentq(lambda nc: share_below(nc) - share, 0.0, top) / scale)

    mean_square = max(0.0, squares - free * noise / units) / cells
    at_boundary = share_below(scale * boundary**2)

    def needed(level: float, power: float) -> int | None:
        above_boundary = mean_square > boundary**2
        share = 1 - level / 2 if above_boundary else level / 2

        def enough(n: int) -> bool:
            per_square = n * cells / noise
            cautious = free * _estimated_epsilon(true_epsilon, free, n)
            exact = free * true_epsilon
            critical = _f_with_share(
                share, cautious, cautious * (n - 1), cautious / free * per_square * boundary**2
            )
            below = _share_below(
                critical, exact, exact * (n - 1), true_epsilon * per_square * mean_square
            )
            return (1 - below if above_boundary else below) >= power

        return _fewest(enough)

    return Evidence(
        sqrt(mean_square),
        sqrt(noise),
        root(0.975),
        root(0.025),
        1 - at_boundary,
        at_boundary,
        units,
        needed,
    )


def _share_below(f: float, one: float, two: float, noncentrality: float) -> float:
    """Probability of a smaller F than ``f``."""
    if noncentrality <= 0:
        return float(special.fdtr(one, two, f))
    share = float(special.ncfdtr(one, two, noncentrality, f))
    if isfinite(share):
        return share
    # scipy has no value so far out in a tail that it would be 0 or 1.
    return float(f > (one + noncentrality) / one)


def _f_with_share(share: float, one: float, two: float, noncentrality: float) -> float:
    """The F below which this share lies: the inverse of `_share_below`."""
    if noncentrality <= 0:
        return float(special.fdtri(one, two, share))
    return float(special.ncfdtri(one, two, noncentrality, share))


def _estimated_epsilon(true: float, free: int, units: int) -> float:
    """What the estimate of epsilon is like with so many units: the fewer, the smaller.

    The ratio of the expectations of its numerator and denominator, of a Wishart distribution.
    """
    inverse, m = 1 / (free * true), units - 1
    return min(1.0, max(1 / free, (m + 2 * inverse) / ((m + 1) * inverse + 1) / free))


def _true_epsilon(estimate: float, free: int, units: int) -> float:
    """The inverse of `_estimated_epsilon`, from 1 / free to 1; two units say nothing of it."""
    if units < 3:
        return 1.0
    found, m = 1 / (free * estimate), units - 1
    inverse = (found * m - 1) / (m + 1 - 2 * found)
    return 1 / (free * min(1.0, max(1 / free, inverse)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that bound the chance of any false finding among all of them (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted, largest = [nan] * len(order), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(order) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def power_for_mean(distance: float, sd: float, units: int, level: float) -> float:
    """Probability that a two-sided t-test at this level finds this distance, on its side of zero.

    By the noncentral t distribution.
    """
    if sd < 1e-12:
        return float(abs(distance) > 1e-12)
    critical = special.stdtrit(units - 1, 1 - level / 2)
    # special.nctdtr is NaN for large distances. scipy loads stats, which is slow, only when asked.
    return float(scipy.stats.nct.sf(critical, units - 1, abs(distance) / sd * sqrt(units)))


def units_for_mean(distance: float, sd: float, level: float, power: float = POWER) -> int | None:
    """Units for which a two-sided t-test at this level finds this distance with this power."""
    if sd < 1e-12:
        return 3 if abs(distance) > 1e-12 else None
    return _fewest(lambda n: power_for_mean(distance, sd, n, level) >= power)


def units_for_one(numbers: Sequence[int | None]) -> int | None:
    """Units that settle one of several parts: the smallest number; None where all are too many."""
    return min((number for number in numbers if number is not None), default=None)


def units_for_all(numbers: Sequence[int | None]) -> int | None:
    """Units that settle each of several parts: the largest number; None where any is too many."""
    return None if None in numbers else max(number for number in numbers if number is not None)


def _never(level: float, power: float) -> int | None:
    """No number of units is known that would settle the question."""
    return None


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """Smallest number from 3 to `MOST_UNITS` that is enough; None if none is."""
    low, high = 3, MOST_UNITS
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
