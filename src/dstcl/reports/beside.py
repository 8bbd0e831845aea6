"""The paper's tables and figures with ours, as both the page and the summary show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dstcl.evaluation.paper.beside import averaged_over
from dstcl.evaluation.paper.catalog import PARTS, TABLES, TITLES, Part
from dstcl.evaluation.paper.scores import PartScores, Score, part_scores
from dstcl.evaluation.replication import INTERVAL, SEEDS
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.tables import Title, tasks_in_words
from dstcl.reports.tables import MAIN_PROTOCOLS

SIGNS = {"yes": "✓", "no": "✗", "open": "?"}
METRICS = {"acc": ("ACC", 1), "bwt": ("BWT", 2), "fwt": ("FWT", 1)}
"""What each measure is called, and its decimals."""
WITH_TABLES = {part.curves for part in TABLES.values()}
"""Figures whose last points are a table of their own."""


def shown_protocols(*tables: pd.DataFrame) -> list[str]:
    """``published`` and ``corrected``, if the study has either; else all that there are."""
    there = list(dict.fromkeys(name for table in tables for name in table["protocol"]))
    return [name for name in reversed(MAIN_PROTOCOLS) if name in there] or there


def front_rows(curves: pd.DataFrame, tables: pd.DataFrame, title: Title) -> list[dict[str, Any]]:
    """A row a table and a figure: what it is of, and for each protocol how much came out again.

    Args:
        curves: a study's paper.csv.
        tables: a study's paper_tables.csv.
        title: of a data set.
    """
    protocols = shown_protocols(curves, tables)
    return [
        {
            "name": found.part.name,
            "id": _anchor(found.part, found.network),
            "words": _words(found, title),
            "scores": [_score(found.by_protocol.get(name)) for name in protocols],
        }
        for found in part_scores(curves, tables)
    ]


def _words(found: PartScores, title: Title) -> str:
    part = found.part
    tasks = tasks_in_words(found.learned, part.tasks)
    words = [title(part.dataset), tasks, _network(part, found.network)]
    words += [part.about] * bool(part.about)
    there = max(score.compared for score in found.by_protocol.values())
    if there < part.numbers:
        kind = "cells" if part.kind == "table" else "points"
        words.append(f"{there} of its {part.numbers} {kind}")
    return ", ".join(words)


def _network(part: Part, network: str) -> str:
    theirs = TITLES[part.network]
    return theirs if network == part.network else f"ours {network} for its {theirs}"


def _score(score: Score | None) -> dict[str, str]:
    if score is None:
        return {"reproduced": "no runs", "difference": "", "rank": ""}
    unsure = f" ({score.open} open)" if score.open else ""
    return {
        "reproduced": f"{score.reproduced} of {score.compared}{unsure}",
        "difference": f"{score.difference:+.1f}",
        "rank": "" if pd.isna(score.rank) else f"{score.rank:.2f}",
    }


def paper_parts(curves: pd.DataFrame, tables: pd.DataFrame, title: Title) -> list[dict[str, Any]]:
    """Each table of the paper, and the last points of figures without one, in its layout with ours.

    Args:
        curves: a study's paper.csv.
        tables: a study's paper_tables.csv.
        title: of a data set.
    """
    protocols, found = shown_protocols(curves, tables), []
    for part in PARTS:
        if part.kind == "figure" and part.number in WITH_TABLES:
            continue
        rows = tables if part.kind == "table" else curves
        for network, own in rows[rows[part.kind] == part.number].groupby("network", sort=False):
            shown = own[own["protocol"].isin(protocols)]
            if len(shown):
                found.append(_part(part, str(network), shown, protocols, title))
    return found


def _part(
    part: Part, network: str, rows: pd.DataFrame, protocols: Sequence[str], title: Title
) -> dict[str, Any]:
    if part.kind == "figure":
        last = rows["task"].max()
        rows = rows[rows["task"] == last].assign(metric="acc", paper_pm=float("nan"), learned=last)
    learned = int(rows["learned"].max())
    there = [name for name in protocols if name in set(rows["protocol"])]
    words = [title(part.dataset), f"{part.tasks} tasks", _network(part, network)]
    words += [part.about] * bool(part.about)
    notes = []
    if learned < part.tasks:
        notes.append(f"Only the first {learned} of {part.tasks} tasks were learned; {_at(rows)}.")
    elif part.kind == "figure":
        notes.append(f"Where the curves end, after task {learned}.")
    if over := "" if part.single else averaged_over(rows):
        notes.append(f"Ours: {over}.")
    unlike = dict.fromkeys(text for text in rows["unlike"].dropna() if text)
    notes += [f"Unlike the paper: {text}." for text in unlike]
    return {
        "id": _anchor(part, network),
        "title": f"{part.name}: {', '.join(words)}",
        "notes": notes,
        "metrics": [
            _layout(METRICS[str(metric)], own, there, _rows_are(part))
            for metric, own in rows.groupby("metric", sort=False)
        ],
    }


def _at(rows: pd.DataFrame) -> str:
    beside = " and ".join(dict.fromkeys(rows.get("compared_with", pd.Series(dtype=str))))
    return f"the paper's numbers are those of {beside}" if beside else "so are the paper's points"


def _rows_are(part: Part) -> str:
    """The column that tells the rows of a table apart."""
    return INTERVAL if part.single else "growth"


def _layout(
    metric: tuple[str, int], rows: pd.DataFrame, protocols: Sequence[str], by: str
) -> dict[str, Any]:
    """Growths (or update intervals) by init and sparsity; each with the paper's and our numbers."""
    name, decimals = metric
    by = by if by in rows else "growth"
    inits = list(rows["init"].unique())
    columns = [
        (init, density)
        for init in inits
        for density in sorted(rows.loc[rows["init"] == init, "density"].unique(), reverse=True)
    ]
    lines = []
    for key, own in rows.groupby(by, sort=False):
        cells = [own[(own["init"] == init) & (own["density"] == d)] for init, d in columns]
        sources = [{"name": "paper", "cells": [_paper(cell, decimals) for cell in cells]}]
        for protocol in protocols:
            ours = [_ours(cell[cell["protocol"] == protocol], decimals) for cell in cells]
            sources.append({"name": protocol, "cells": ours})
        lines.append({"name": str(key) if by == "growth" else f"every {key}", "sources": sources})
    return {
        "name": name,
        "rows_are": "growth" if by == "growth" else "update",
        "inits": [(spelled(init), sum(one == init for one, _ in columns)) for init in inits],
        "sparsities": [f"{round(100 * (1 - density), 6):g}%" for _, density in columns],
        "lines": lines,
    }


def _paper(rows: pd.DataFrame, decimals: int) -> dict[str, str]:
    if rows.empty:
        return {"number": "", "interval": "", "mark": ""}
    row = rows.iloc[0]
    number = _with_spread(row["paper_percent"], row["paper_pm"], decimals)
    return {"number": number, "interval": "", "mark": ""}


def _ours(rows: pd.DataFrame, decimals: int) -> dict[str, str]:
    if rows.empty:
        return {"number": "-", "interval": "", "mark": ""}
    row = rows.iloc[0]
    interval = ""
    if row["unit"] == SEEDS.many and pd.notna(row["low_percent"]):
        low, high = (_fixed(row[f"{end}_percent"], decimals) for end in ("low", "high"))
        interval = f"{low} to {high}"
    number = _with_spread(row["ours_percent"], row["sd_intervals"], decimals)
    return {"number": number, "interval": interval, "mark": row["reproduced"]}


def _with_spread(value: float, spread: float, decimals: int) -> str:
    mean = _fixed(value, decimals)
    return mean if pd.isna(spread) else f"{mean} ± {_fixed(spread, decimals)}"


def _fixed(value: float, decimals: int) -> str:
    """Without a minus in front of zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def _anchor(part: Part, network: str) -> str:
    """The place on the page; figures with a table of their own are in the drawing alone."""
    if part.kind == "figure" and part.number in WITH_TABLES:
        return "figure-paper_panels"
    return f"paper-{part.kind}-{part.number}-{_slug(network)}"


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)
