"""Tables of verdicts that both the page and the summary show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import SETTING
from dstcl.evaluation.replication import UNITS
from dstcl.evaluation.spelling import percent_signs
from dstcl.evaluation.tables import Title

MAIN_PROTOCOLS = ("corrected", "published")


def claim_blocks(claims: pd.DataFrame, title: Title) -> list[dict[str, Any]]:
    """For each data set, number of tasks and network: its protocols, and one row per claim.

    A claim that none of the protocols can test has no row; ``untested`` names, by protocol, all
    claims that it cannot test.
    Protocols that flip one switch belong to the figure of the switches; they are here only where
    the study has neither ``corrected`` nor ``published``.
    """
    blocks = []
    for key, rows in claims.groupby(list(SETTING), sort=False):
        there = list(rows["protocol"].unique())
        protocols = [name for name in MAIN_PROTOCOLS if name in there] or there
        named: dict[str, dict[str, Any]] = {}
        for row in rows.to_dict("records"):
            claim = named.setdefault(row["claim"], {"claim": row["claim"], "by_protocol": {}})
            claim |= {name: _text(row[name]) for name in ("statement", "source", "note")}
            claim["otherwise"] = _text(row["paper_says_otherwise"])
            claim["paper"] = _points(row["paper_effect"])
            claim["by_protocol"][row["protocol"]] = _verdict(row)
        words, network = setting_words(key, title)
        tested = [
            claim
            for claim in named.values()
            if any(claim["by_protocol"][p]["verdict"] != "not tested" for p in protocols)
        ]
        untested = {
            name: [c for c in named if named[c]["by_protocol"][name]["verdict"] == "not tested"]
            for name in protocols
        }
        counts = {
            name: rows[rows["protocol"] == name]["verdict"].value_counts().to_dict()
            for name in protocols
        }
        blocks.append(
            {
                "title": f"{words}, network {network}",
                # A column of nothing but dashes says less than the line about what is not tested.
                "protocols": [p for p in protocols if len(untested[p]) < len(named)] or protocols,
                "claims": tested,
                "untested": {name: found for name, found in untested.items() if found},
                "known": len(named),
                "counts": counts,
            }
        )
    return blocks


def _verdict(row: dict[Any, Any]) -> dict[str, Any]:
    """A verdict in words and in points."""
    count = UNITS[row["unit"]].count(int(row["units"]))
    found = {"verdict": row["verdict"], "detail": _text(row["detail"]), "units": count}
    if row["verdict"] == "not tested":
        return found | {"effect": "", "interval": "", "p": ""}
    effect = _points(row["effect"])
    interval = "" if pd.isna(row["low"]) else f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}"
    p = "" if pd.isna(row["p_holm"]) else _p_value(row["p_holm"])
    return found | {"effect": effect, "interval": interval, "p": p}


def _points(effect: float) -> str:
    return "" if pd.isna(effect) else f"{100 * effect:+.2f}"


def _p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def setting_words(key: Sequence[Any], title: Title) -> tuple[str, str]:
    """``CIFAR-100, 10 tasks`` and the network, if there is one."""
    dataset, tasks, *network = key
    return title.setting(str(dataset), tasks), str(network[0]) if network else ""


def _text(value: Any) -> str:
    return "" if pd.isna(value) else percent_signs(str(value))
