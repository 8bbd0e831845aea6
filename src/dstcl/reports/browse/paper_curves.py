"""The paper's curves as the page holds them: those that stand beside a study's configurations."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dstcl.evaluation.paper.catalog import family
from dstcl.evaluation.replication import INTERVAL
from dstcl.reports.browse.plain import plain_rows, short

CURVE_KEY = ("dataset", "tasks", "network", "init", "density", "growth")


class PaperCurves:
    """The paper's curves: found by configuration, and those of them that stand beside a study."""

    def __init__(self, paper: pd.DataFrame) -> None:
        self._curves = dict(list(paper.groupby(list(CURVE_KEY), sort=False)))
        self._places: dict[tuple[Any, ...], int] = {}
        self.shown: list[dict[str, Any]] = []

    def beside(self, cell: dict[str, Any]) -> int | None:
        """Place in ``shown`` of the paper's curve of a configuration; None if it has none.

        A curve of one update interval stands beside runs of that interval, any other beside all.
        """
        if cell["method"] != "dst":  # The paper is about this one method.
            return None
        wanted = cell | {"network": family(str(cell["network"]))}
        key = tuple(wanted[name] for name in CURVE_KEY)
        if (points := self._curves.get(key)) is None:
            return None
        mean = points[points["update_every"].isna()]
        same = points[points["update_every"].astype(str) == f"{cell.get(INTERVAL, '')}.0"]
        chosen = same if len(same) else mean
        if chosen.empty:
            return None
        place = (*key, chosen["figure"].iloc[0], chosen["update_every"].iloc[0])
        place = tuple(map(str, place))
        if place not in self._places:
            self._places[place] = len(self.shown)
            self.shown.append(self._curve(chosen[chosen["figure"] == chosen["figure"].iloc[0]]))
        return self._places[place]

    def _curve(self, points: pd.DataFrame) -> dict[str, Any]:
        columns = ["task", "accuracy_percent", "band_low", "band_high"]
        rows = [[short(value) for value in row] for row in plain_rows(points[columns])]
        return {"figure": str(points["figure"].iloc[0]), "points": rows}
