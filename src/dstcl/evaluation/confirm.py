"""Whether a study says what a recorded one says: verdicts, effects, accuracies, machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import special

from dstcl.evaluation.axes import BLOCK
from dstcl.evaluation.rounding import Distance, distance, read_noise
from dstcl.evaluation.same_study import check_data, same_runs
from dstcl.evaluation.statistics import Estimate, mean_interval
from dstcl.evaluation.tables import read_table

KEY = ("claim", *BLOCK)
SAME_CLAIM = ("statement", "kind", "measure", "more_than")
"""What makes a claim of the same name the same claim."""
DECIDED = ("supported", "contradicted")
OUTCOMES = ("agrees", "contradicts", "weaker", "stronger", "new", "not here")
"""What may become of a verdict: the same; the opposite; inconclusive here, or there; tested here
alone, or there alone."""
MADE_BY = ("device", "threads", "precision", "layout", "torch", "python")
NAMED = ("threads", "torch", "python")
"""Columns whose values say nothing without their name."""


@dataclass(frozen=True)
class Compared:
    """A claim here and as it was recorded.

    Attributes:
        key: values of `KEY`.
        statement: of the claim.
        outcome: one of `OUTCOMES`.
        here, recorded: verdicts; "" where the claim was not tested.
        effect, recorded_effect: as fractions; NaN where not tested.
        difference: of the effects, here minus recorded, with its 95 % interval; NaN where there
            is none.
        paired: over how many seeds (or intervals) the difference is paired; 0 where it is not.
    """

    key: dict[str, Any]
    statement: str
    outcome: str
    here: str
    recorded: str
    effect: float
    recorded_effect: float
    difference: Estimate
    paired: int


@dataclass(frozen=True)
class Confirmation:
    """Two studies compared.

    Attributes:
        reference: folder of the recorded one.
        claims: those tested in either.
        distance: of the accuracies of runs in both.
        runs, recorded_runs: how many each has.
        machines, recorded_machines: what each was made with, and how many runs by it.
    """

    reference: Path
    claims: list[Compared]
    distance: Distance
    runs: int
    recorded_runs: int
    machines: dict[str, int]
    recorded_machines: dict[str, int]

    def named(self, outcome: str) -> list[str]:
        """Claims of an outcome, with the protocol where they are of several."""
        several = len({found.key["protocol"] for found in self.claims}) > 1
        return [
            found.key["claim"] + (f" ({found.key['protocol']})" if several else "")
            for found in self.claims
            if found.outcome == outcome
        ]

    @property
    def contradicts(self) -> bool:
        """Whether some claim is supported in one study and contradicted in the other."""
        return any(found.outcome == "contradicts" for found in self.claims)


def confirm(study: Path, reference: Path) -> Confirmation:
    """Compare a study, finished or partial, with a recorded one.

    Args:
        study: folder with summary.csv, claims.csv and, if there are any, claim_units.csv,
            provenance.csv and params.json.
        reference: folder with the same of the recorded study, and rounding.csv where rounding was
            measured.

    Raises:
        Incomparable: other preset, data or settings.
        ValueError: a table is missing or damaged; names it.
    """
    summaries = [read_table(folder, "summary") for folder in (study, reference)]
    pairs = same_runs(study, reference, *summaries)
    made = [_provenance(*given) for given in zip((study, reference), summaries)]
    check_data(study, reference, pairs, *made)
    return Confirmation(
        reference=reference,
        claims=_compared(study, reference),
        distance=distance(pairs, read_noise(reference)),
        runs=len(summaries[0]),
        recorded_runs=len(summaries[1]),
        machines=_machines(made[0]),
        recorded_machines=_machines(made[1]),
    )


def _provenance(folder: Path, summary: pd.DataFrame) -> pd.DataFrame:
    """provenance.csv, a row a run; no rows where a study was recorded without it."""
    if not (folder / "provenance.csv").exists():
        return pd.DataFrame(columns=["digest", "data_digest", *MADE_BY])
    made = read_table(folder, "provenance")
    if sorted(made["digest"]) != sorted(summary["digest"]):
        raise ValueError(f"{folder / 'provenance.csv'}: not of the runs of summary.csv")
    return made


def _machines(made: pd.DataFrame) -> dict[str, int]:
    """With what runs were made, in words, and how many were."""
    there = [name for name in MADE_BY if name in made]
    words = [
        ", ".join(f"{name} {row[name]}" if name in NAMED else str(row[name]) for name in there)
        for row in made[there].astype(object).fillna("unknown").to_dict("records")
    ]
    return dict(Counter(words))


def _compared(study: Path, reference: Path) -> list[Compared]:
    """Every claim that is tested in either study, those of this one first."""
    tables = [_claims(folder) for folder in (study, reference)]
    units = [_units(folder) for folder in (study, reference)]
    here, recorded = tables
    found = []
    for key in dict.fromkeys([*here, *recorded]):
        ours, theirs = here.get(key), recorded.get(key)
        if ours and theirs and any(_differ(ours[name], theirs[name]) for name in SAME_CLAIM):
            theirs = None  # a claim that was changed since is a new one
        if ours or theirs:
            found.append(_compare(key, ours or {}, theirs or {}, units))
    return found


Key = tuple[Any, ...]


def _claims(folder: Path) -> dict[Key, dict[str, Any]]:
    """Rows of claims.csv that have a verdict, by `KEY`."""
    table = read_table(folder, "claims")
    if "measure" not in table:
        raise ValueError(f"{folder / 'claims.csv'}: no column measure")
    _refuse_twice(folder / "claims.csv", table, KEY)
    tested = table[table["verdict"] != "not tested"]
    rows = [{str(name): value for name, value in row.items()} for row in tested.to_dict("records")]
    return {tuple(row[name] for name in KEY): row for row in rows}


def _units(folder: Path) -> dict[Key, dict[int, pd.Series[float]]]:
    """The effects of each part of a claim by seed or interval; {} where they are not recorded."""
    if not (folder / "claim_units.csv").exists():
        return {}
    table = read_table(folder, "claim_units").astype({"value": str})
    _refuse_twice(folder / "claim_units.csv", table, (*KEY, "part", "value"))
    found: dict[Key, dict[int, pd.Series[float]]] = {}
    for (*key, part), rows in table.groupby([*KEY, "part"], sort=False):
        found.setdefault(tuple(key), {})[int(str(part))] = rows.set_index("value")["effect"]
    return found


def _refuse_twice(path: Path, table: pd.DataFrame, key: Sequence[str]) -> None:
    """A row that is there twice would count as another seed, or stand for another verdict."""
    twice = table[table.duplicated(list(key))]
    if len(twice):
        raise ValueError(f"{path}: claim {twice['claim'].iloc[0]} twice")


def _compare(
    key: Key,
    ours: dict[str, Any],
    theirs: dict[str, Any],
    units: Sequence[dict[Key, dict[int, pd.Series[float]]]],
) -> Compared:
    here, recorded = ours.get("verdict", ""), theirs.get("verdict", "")
    difference, paired = Estimate(nan, nan, nan, nan), 0
    if ours and theirs:
        difference, paired = _difference(ours, theirs, *(one.get(key, {}) for one in units))
    return Compared(
        key=dict(zip(KEY, key)),
        statement=(ours or theirs)["statement"],
        outcome=outcome_of(here, recorded),
        here=here,
        recorded=recorded,
        effect=ours.get("effect", nan),
        recorded_effect=theirs.get("effect", nan),
        difference=difference,
        paired=paired,
    )


def outcome_of(here: str, recorded: str) -> str:
    """What became of a verdict, one of `OUTCOMES`; "" is a claim that was not tested."""
    if not recorded:
        return "new"
    if not here:
        return "not here"
    if here == recorded:
        return "agrees"
    if here in DECIDED and recorded in DECIDED:
        return "contradicts"
    return "stronger" if here in DECIDED else "weaker"


def _difference(
    ours: dict[str, Any],
    theirs: dict[str, Any],
    here: dict[int, pd.Series[float]],
    recorded: dict[int, pd.Series[float]],
) -> tuple[Estimate, int]:
    """Of the effects, with its interval; and over how many seeds or intervals it is paired.

    Of a claim of several parts the one that its recorded effect is of is compared. Without two
    seeds in common: Welch's interval, from both standard deviations. There is none of an
    interaction: its effect is a root mean square over cells, of which ``sd`` is not the spread.
    """
    part = min(
        recorded, key=lambda number: abs(recorded[number].mean() - theirs["effect"]), default=0
    )
    if part in here:
        off = (here[part] - recorded[part]).dropna()
        if len(off) > 1:
            return mean_interval(off.tolist()), len(off)
    mean = ours["effect"] - theirs["effect"]
    squares = [row["sd"] ** 2 / row["units"] for row in (ours, theirs) if row["units"] > 1]
    total = sum(squares)
    no_error = len(squares) < 2 or not total > 0  # an exact claim, or one repetition
    if no_error or ours["kind"] == "interaction":
        return Estimate(mean, nan, nan, nan), 0
    freedom = total**2 / sum(
        square**2 / (row["units"] - 1) for square, row in zip(squares, (ours, theirs))
    )
    half = float(special.stdtrit(freedom, 0.975)) * sqrt(total)
    return Estimate(mean, nan, mean - half, mean + half), 0


def _differ(one: Any, other: Any) -> bool:
    """Whether two values of a table differ; two that are missing do not."""
    return not (one == other or (pd.isna(one) and pd.isna(other)))
