"""A study judged by what the paper says: a verdict on every claim."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import BLOCK, SETTING
from dstcl.evaluation.claim_grid import NotTested
from dstcl.evaluation.claim_kinds import AnyClaim, Unchanged
from dstcl.evaluation.claim_measures import Tables
from dstcl.evaluation.claim_tests import find
from dstcl.evaluation.claims import load_claims
from dstcl.evaluation.claims_on_paper import judge_paper, read_paper_study
from dstcl.evaluation.collect import write_csv
from dstcl.evaluation.made_from import RESULTS, digest_of
from dstcl.evaluation.replication import UNITS, unit_of
from dstcl.evaluation.statistics import MOST_UNITS, POWER, holm
from dstcl.evaluation.tables import read_table
from dstcl.study.plan import read_plan
from dstcl.study.run import Run

LEVEL = 0.05
FEWEST_UNITS = 3
VERDICTS = ("supported", "contradicted", "inconclusive", "not tested")
COLUMNS = (
    "claim",
    "statement",
    "effect",
    "low",
    "high",
    "p",
    "units",
    "verdict",
    *("protocol", "dataset", "tasks", "network"),
    *("unit", "p_holm", "units_needed", "sd", "more_than", "kind", "measure", "group", "source"),
    *("detail", "note", "paper_effect", "paper_says_otherwise"),
)
UNIT_COLUMNS = ("claim", *BLOCK, "part", "unit", "value", "effect")
"""Of claim_units.csv: the effect of each part of a claim in each seed or interval."""


def write_claims(study: Path, reference: Path) -> None:
    """Test ``reference/claims.yaml`` on the study and put the paper's own numbers beside it.

    Writes claims.csv, and claim_units.csv with the effects that each test was made of. The column
    ``made_from`` of claims.csv says of which results (`dstcl.evaluation.made_from`).

    Raises:
        ValueError: a file is missing or says something that cannot be used; names it.
    """
    claims = load_claims(reference / "claims.yaml")
    own = read_paper_study(reference / "paper")
    random = {run.digest: test_randomness(run) for run in read_plan(study)[1]}
    summary, accuracy, capacity = (
        read_table(study, name) for name in ("summary", "accuracy", "capacity")
    )
    if unplanned := set(summary["digest"]) - set(random):
        raise ValueError(f"{study / 'summary.csv'}: run {min(unplanned)} is not in plan.json")
    tables = Tables(summary, accuracy, capacity, random)
    rows = _judged_rows(claims, tables)
    judged = with_paper(_claims_table(rows), judge_paper(claims, own, summary))
    write_csv(study / "claim_units.csv", _units_table(rows))
    # Last: what it was made from holds for all tables of claims.
    origin = f"{RESULTS} {digest_of(study, RESULTS)}"
    write_csv(study / "claims.csv", judged.assign(made_from=origin))


def with_paper(claims: pd.DataFrame, paper: pd.DataFrame) -> pd.DataFrame:
    """The paper's own effect beside each row of the same data, number of tasks and network.

    Args:
        claims: of a study.
        paper: of the paper's numbers (`dstcl.evaluation.claims_on_paper.judge_paper`).
    """
    key = ["claim", *SETTING]
    effects = paper.set_index(key)["effect"].to_dict()
    found = [effects.get(tuple(row), nan) for row in claims[key].itertuples(index=False)]
    return claims.assign(paper_effect=found)


def test_randomness(run: Run) -> str:
    """Settings under which a test draws random numbers, in words; "" if none is in force.

    A finished task is tested anew after every later task, each time with random numbers of its
    own, so its accuracy may change although the network does not.
    """
    found = []
    if run.switches.batch_norm == "batch":
        found.append("batch_norm is batch: statistics of test batches that are shuffled")
    if run.switches.test_augment and run.training.augment != "none":
        found.append(f"test_augment is true: test images get {run.training.augment} at random")
    return "; ".join(found)


def judge_claims(claims: Sequence[AnyClaim], tables: Tables) -> pd.DataFrame:
    """A row for each claim and block: `COLUMNS`, effects as fractions, positive as claimed.

    p is two-sided and uncorrected, low and high are the 95 % interval that belongs to it;
    ``p_holm`` is corrected over the claims tested in the block, and the verdict follows it.
    ``unit`` says what was repeated, seeds or update intervals, and ``units`` how often.
    """
    return _claims_table(_judged_rows(claims, tables))


def _judged_rows(claims: Sequence[AnyClaim], tables: Tables) -> list[dict[str, Any]]:
    """A row for each claim and block, with the ``parts`` that were compared."""
    rows: list[dict[str, Any]] = []
    for values, runs in tables.summary.groupby(list(BLOCK), sort=False):
        rows += _block(claims, dict(zip(BLOCK, values)), runs, tables)
    return rows


def _claims_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"units": "Int64", "units_needed": "Int64", "group": "Int64"})


def _units_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """`UNIT_COLUMNS`: what a claim's test was made of, one row a part and unit."""
    found = [
        {name: row[name] for name in ("claim", *BLOCK, "unit")}
        | {"part": number, "value": value, "effect": effect}
        for row in rows
        for number, part in enumerate(row.get("parts", ()), start=1)
        for value, effect in part.values.items()
    ]
    return pd.DataFrame(found, columns=list(UNIT_COLUMNS))


def _block(
    claims: Sequence[AnyClaim], block: dict[str, Any], runs: pd.DataFrame, tables: Tables
) -> list[dict[str, Any]]:
    """The rows of one block, in the order of the claims."""
    rows = []
    for claim in claims:
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= block | {"claim": claim.id, "kind": claim.kind, "source": claim.source}
        row |= {"statement": claim.statement, "note": claim.note, "group": claim.group}
        row |= {"paper_says_otherwise": claim.paper_says_otherwise, "unit": unit_of(runs).many}
        row |= {"more_than": getattr(claim, "more_than", nan), "units": 0}
        exact = isinstance(claim, Unchanged)
        row["measure"] = getattr(claim, "measure", "accuracy" if exact else "acc")
        try:
            finding = find(claim, block, runs, tables)
        except NotTested as reason:
            rows.append(row | {"verdict": "not tested", "detail": str(reason)})
            continue
        found = finding.evidence
        row |= {"effect": found.effect, "sd": found.sd, "low": found.low, "high": found.high}
        row |= {"units": found.units, "p": found.p, "detail": finding.detail, "evidence": found}
        row["unit"], row["parts"] = finding.unit.many, finding.parts
        rows.append(row)
    _judge(rows)
    return rows


def _judge(rows: Sequence[dict[str, Any]]) -> None:
    """Correct p-values over the block's tests and write verdicts with their reasons."""
    found = [row for row in rows if "evidence" in row]
    tested = [row for row in found if row["units"] >= FEWEST_UNITS and not isnan(row["p"])]
    for row, p_holm in zip(tested, holm([row["p"] for row in tested])):
        row["p_holm"] = p_holm
    for row in found:
        evidence, reasons = row["evidence"], [row["detail"]] * bool(row["detail"])
        unit = UNITS[row["unit"]]
        if row["units"] < FEWEST_UNITS:
            row["verdict"], row["units_needed"] = "inconclusive", FEWEST_UNITS
            reasons.append(f"{unit.count(row['units'])}; a verdict needs at least {FEWEST_UNITS}")
        elif row["kind"] == "unchanged":
            row["verdict"] = "supported" if row["effect"] == 0 else "contradicted"
        elif row["p_holm"] < LEVEL:
            supported = evidence.support < evidence.against
            row["verdict"] = "supported" if supported else "contradicted"
        else:
            row["verdict"] = "inconclusive"
            row["units_needed"] = evidence.needed(LEVEL / len(tested), POWER)
            reasons.append(_why_inconclusive(row, len(tested)))
        row["detail"] = "; ".join(reasons)


def _why_inconclusive(row: dict[str, Any], tests: int) -> str:
    parts, boundary = len(row["parts"]), row["more_than"]
    if row["p"] < LEVEL:
        reason = f"clear alone, but not as one of {tests} tests (Holm)"
    elif parts > 1 and row["high"] < boundary:
        reason = f"clear alone, but not as one of {parts} comparisons"
    elif parts > 1 and row["low"] > boundary:
        reason = "the comparison shown is clear, another is not"
    else:
        reason = "the interval holds both answers"
    needed, many = row["units_needed"], row["unit"]
    if needed is None:
        close = "an effect is so close to its" if parts > 1 else "the effect is so close to the"
        return f"{reason}; {close} boundary that {MOST_UNITS} {many} are few"
    if needed <= row["units"]:
        return f"{reason}; with as many new {many} it would come out 4 times in 5"
    return f"{reason}; if effect and spread are as seen, {needed} {many} settle it 4 times in 5"
