"""How many seeds a claim needs: a calculation from recorded runs, made before new ones.

For each part of a claim (`dstcl.evaluation.claim_tests.Part`) the distance of the effect from its
boundary and the standard deviation over seeds are taken from recorded studies, and the noncentral t
distribution says how many seeds a two-sided t-test needs to find that distance. The level is the
strictest that Holm's correction can ask of one of the tests. A standard deviation from three seeds
is itself rough: ``seeds_cautious`` takes the largest that is compatible with what was seen, the
upper bound of its one-sided 80 % interval (chi-square), as Browne (1995) recommends for pilots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import special

from dstcl.evaluation.axes import BLOCK
from dstcl.evaluation.claim_cells import Blocks
from dstcl.evaluation.claim_grid import NotTested
from dstcl.evaluation.claim_kinds import AnyClaim, Unchanged, Untestable
from dstcl.evaluation.claim_measures import Tables
from dstcl.evaluation.claim_tests import Finding, find
from dstcl.evaluation.judge import LEVEL
from dstcl.evaluation.same_study import same_runs
from dstcl.evaluation.statistics import (
    mean_interval,
    power_for_mean,
    units_for_all,
    units_for_mean,
    units_for_one,
)
from dstcl.evaluation.tables import TABLES, read_table

POWER = 0.9
CAUTIOUS = 0.8
"""Confidence of the upper bound of a standard deviation."""
NOT_MEASURED = "not measured: "
COLUMNS = (
    *("claim", *BLOCK, "left_out", "effect", "boundary", "sd"),
    *("power", "seeds_needed", "seeds_cautious"),
)


@dataclass(frozen=True)
class Planned:
    """What is known beforehand of one part of a claim: values are fractions.

    Attributes:
        distance: of the effect from its boundary.
        sd: over seeds.
        freedom: degrees of freedom of ``sd``.
    """

    distance: float
    sd: float
    freedom: int

    @property
    def cautious_sd(self) -> float:
        """The upper bound of the standard deviation."""
        return self.sd * sqrt(self.freedom / special.chdtri(self.freedom, CAUTIOUS))


def power_table(
    claims: Sequence[AnyClaim], studies: Sequence[Path], seeds: int, digests: bool = True
) -> tuple[pd.DataFrame, int]:
    """What each claim needs to be decided with a power of 90 %, and the number of tests corrected.

    Claims that are left out of a block (``not_for``) are calculated too, but not counted as tests.
    Claims that need tables which a recorded study lacks are counted, and have no numbers.

    Args:
        claims: planned.
        studies: folders with summary.csv, and accuracy.csv and capacity.csv if there are any; of
            several (the same study on other machines) effects are averaged and variances pooled.
        seeds: with which ``power`` is calculated.
        digests: whether several studies must have runs of equal digests.

    Returns:
        A row a claim and block, `COLUMNS`; and how many tests Holm's correction is over, of the
        block with the most.

    Raises:
        Incomparable: the studies are not the same study.
        ValueError: a table is missing or damaged, or no claim can be tested.
    """
    tables = [_tables(study) for study in studies]
    for study, other in zip(studies[1:], tables[1:]):
        same_runs(study, studies[0], other.summary, tables[0].summary, digests=digests)
    known: list[tuple[dict[str, Any], AnyClaim, list[Finding]]] = []
    for values, _ in tables[0].summary.groupby(list(BLOCK), sort=False):
        block = dict(zip(BLOCK, values))
        known += [(block, claim, found) for claim, found in _found(claims, block, tables)]
    if not known:
        raise ValueError(f"{studies[0]}: no claim can be tested on its runs")
    counted = [tuple(block.values()) for block, claim, _ in known if not claim.not_for.holds(block)]
    tests = max(map(counted.count, counted), default=1)
    rows = [_row(block, claim, found, LEVEL / tests, seeds) for block, claim, found in known]
    return pd.DataFrame(rows, columns=list(COLUMNS)), tests


def planned_parts(findings: Sequence[Finding]) -> list[Planned]:
    """The parts of a claim, pooled over studies of the same runs on several machines."""
    found = []
    for parts in zip(*(finding.parts for finding in findings), strict=True):
        estimates = [mean_interval(part.values.tolist()) for part in parts]
        distances = [e.mean - part.boundary for e, part in zip(estimates, parts)]
        variance = sum(e.sd**2 for e in estimates) / len(parts)
        # The same seeds on another machine are new draws of rounding alone, so that they add
        # fewer degrees of freedom than new seeds would: none are counted.
        freedom = min(len(part.values) for part in parts) - 1
        found.append(Planned(sum(distances) / len(parts), sqrt(variance), freedom))
    return found


def _found(
    claims: Sequence[AnyClaim], block: dict[str, Any], studies: Sequence[Tables]
) -> Iterator[tuple[AnyClaim, list[Finding]]]:
    """Claims of a block that are statistical tests, with what each study says of them."""
    for claim in claims:
        if isinstance(claim, Unchanged | Untestable):
            continue
        every = claim.model_copy(update={"not_for": Blocks()})
        try:
            found = [find(every, block, _of_block(study, block), study) for study in studies]
        except NotTested as reason:
            if str(reason).startswith(NOT_MEASURED):
                yield claim, []
            continue
        # Fewer than two seeds say nothing of a spread.
        if all(finding.evidence.units > 1 for finding in found):
            yield claim, [finding for finding in found if finding.parts]


def _row(
    block: dict[str, Any],
    claim: AnyClaim,
    findings: Sequence[Finding],
    level: float,
    seeds: int,
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= block | {"claim": claim.id, "left_out": bool(claim.not_for.holds(block))}
    if not (parts := planned_parts(findings) if findings else []):
        return row
    # One part beyond its boundary on the wrong side decides, at the level of the test that corrects
    # for the number of parts (`dstcl.evaluation.statistics.every`). Otherwise all must be found.
    below = [part for part in parts if part.distance < 0]
    deciding, level = (below, level / len(parts)) if below else (parts, level)
    units, pick = (units_for_one, max) if below else (units_for_all, min)
    powers = [power_for_mean(part.distance, part.sd, seeds, level) for part in deciding]
    shown = deciding[powers.index(pick(powers))]
    as_seen = [units_for_mean(part.distance, part.sd, level, POWER) for part in deciding]
    cautious = [units_for_mean(part.distance, part.cautious_sd, level, POWER) for part in deciding]
    boundary = findings[0].parts[parts.index(shown)].boundary
    return row | {
        "effect": shown.distance + boundary,
        "boundary": boundary,
        "sd": shown.sd,
        "power": pick(powers),
        "seeds_needed": units(as_seen),
        "seeds_cautious": units(cautious),
    }


def _of_block(study: Tables, block: dict[str, Any]) -> pd.DataFrame:
    runs = study.summary
    for axis, value in block.items():
        runs = runs[runs[axis] == value]
    return runs


def _tables(study: Path) -> Tables:
    """A study's tables; long ones that are not recorded are empty."""

    def long(name: str) -> pd.DataFrame:
        if (study / f"{name}.csv").exists():
            return read_table(study, name)
        return pd.DataFrame(columns=list(TABLES[name].columns))

    return Tables(read_table(study, "summary"), long("accuracy"), long("capacity"))
