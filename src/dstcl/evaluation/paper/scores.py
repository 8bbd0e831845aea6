"""How much of each table and figure of the paper a study reproduces, in one line a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from dstcl.evaluation.paper.catalog import PARTS, Part

FEWEST_RANKED = 3


@dataclass(frozen=True)
class Score:
    """What became of a part's numbers under one protocol.

    Attributes:
        reproduced, missed, open: how many numbers came out, did not, or are open.
        difference: mean of ours minus the paper's, in points.
        rank: Spearman's correlation with the paper over configurations, after the last task that
            both have; NaN below three configurations or where all are equal.
    """

    reproduced: int
    missed: int
    open: int
    difference: float
    rank: float

    @property
    def compared(self) -> int:
        """How many numbers both have."""
        return self.reproduced + self.missed + self.open


@dataclass(frozen=True)
class PartScores:
    """A table or figure of the paper in a study.

    Attributes:
        learned: tasks that were learned of `part.tasks`.
        network: the study's.
    """

    part: Part
    network: str
    learned: int
    by_protocol: Mapping[str, Score]


def part_scores(curves: pd.DataFrame, tables: pd.DataFrame) -> list[PartScores]:
    """A row for each table and figure of which the study has anything, tables first.

    Args:
        curves: a study's paper.csv.
        tables: a study's paper_tables.csv; ACC alone is counted.
    """
    accuracies = tables[tables["metric"] == "acc"]
    found = []
    for part in PARTS:
        table = accuracies if part.kind == "table" else curves
        rows = table[table[part.kind] == part.number]
        for network, own in rows.groupby("network", sort=False):
            learned = int(own["learned" if part.kind == "table" else "task"].max())
            scores = {str(name): score(one) for name, one in own.groupby("protocol", sort=False)}
            found.append(PartScores(part, str(network), learned, scores))
    return found


def score(rows: pd.DataFrame) -> Score:
    """Of the rows of one part, network and protocol."""
    counts = rows["reproduced"].value_counts()
    finals = rows[rows["task"] == rows["task"].max()] if "task" in rows else rows
    return Score(
        reproduced=int(counts.get("yes", 0)),
        missed=int(counts.get("no", 0)),
        open=int(counts.get("open", 0)),
        difference=float((rows["ours_percent"] - rows["paper_percent"]).mean()),
        rank=rank_agreement(finals),
    )


def rank_agreement(finals: pd.DataFrame) -> float:
    """Spearman's correlation of the paper's accuracies with ours, over configurations.

    NaN below three configurations or where all are equal.
    """
    if len(finals) < FEWEST_RANKED:
        return float("nan")
    return float(finals["paper_percent"].corr(finals["ours_percent"], method="spearman"))
