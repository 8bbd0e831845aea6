"""One switch of the protocol at a time: what each does to accuracy and to each claim."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from dstcl.data.catalog import DATASETS
from dstcl.evaluation.intervals import mean_interval
from dstcl.figures.panels import dots, name_rows, say, stacked
from dstcl.figures.style import VERDICTS
from dstcl.figures.tables import CELL, NotDrawnError, Tables

BASE, ALL = "corrected", "published"
SETTING = ["dataset", "tasks", "network"]


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in points.

    Raises:
        NotDrawnError: no protocol of the study differs from ``corrected`` in one switch.
    """
    switches = tables.single_switches
    runs = tables.summary
    used = [name for name in switches if name in set(runs.protocol)]
    if not used or BASE not in set(runs.protocol):
        raise NotDrawnError(f"no protocol with runs differs from {BASE} in a single switch")
    names = [*used, *([ALL] if ALL in set(runs.protocol) else [])]
    labels = {name: f"{name}: {switches[name]}" if name in switches else ALL for name in names}
    labels[ALL] = f"{ALL}: all switches"
    numbers = pd.concat(
        [_changes(rows, key, names, labels) for key, rows in runs.groupby(SETTING, sort=False)]
    )
    claims = tables.claims[tables.claims.protocol.isin([BASE, *names])].copy()
    claims["effect_points"] = 100 * pd.to_numeric(claims.effect)
    settings = list(numbers.groupby(SETTING, sort=False))
    heights = [10 * len(rows) + 5.4 * (len(rows) + 1) + 62 for _, rows in settings]
    figure, subfigures = stacked(heights)
    for (key, rows), subfigure in zip(settings, subfigures):
        here = claims[(claims[SETTING] == list(key)).all(axis=1)]
        _draw_setting(key, rows.reset_index(drop=True), here, labels, subfigure)
    numbers = numbers.merge(
        claims[[*SETTING, "protocol", "claim", "effect_points", "verdict"]],
        on=[*SETTING, "protocol"],
        how="left",
    )
    return figure, numbers


def _changes(
    runs: pd.DataFrame, key: Any, names: list[str], labels: dict[str, str]
) -> pd.DataFrame:
    """Mean change of ACC against ``corrected``, paired by seed, over the cells that both have."""
    cell = [axis for axis in CELL if axis != "protocol"]
    wide = runs.pivot_table("acc", [*cell, "seed"], "protocol")
    rows = []
    for name in names:
        if name not in wide or BASE not in wide:
            continue
        paired = (100 * (wide[name] - wide[BASE])).dropna()
        per_seed = paired.groupby("seed").mean().tolist()
        found = mean_interval(per_seed)
        cells = len(paired.groupby(cell))
        rows.append(
            (*key, name, labels[name], cells, len(per_seed), found.mean, found.low, found.high)
        )
    columns = [*SETTING, "protocol", "switch", "cells", "seeds", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _draw_setting(
    key: Any, rows: pd.DataFrame, claims: pd.DataFrame, labels: dict[str, str], part: SubFigure
) -> None:
    dataset, tasks, network = key
    title = DATASETS[dataset].title if dataset in DATASETS else dataset
    part.suptitle(f"{title}, {tasks} tasks · network {network}", fontweight="bold")
    ratios = [10 * len(rows) + 10, 5.4 * (len(rows) + 1) + 46]
    above, below = part.subplots(2, 1, height_ratios=ratios)
    rows = rows.assign(place=range(len(rows)))
    above.axvline(0, color="black", linewidth=0.7)
    dots(above, rows, color="#0072B2", marker="o")
    for place, row in enumerate(rows.itertuples()):
        text = f"{row.mean:+.1f} · {row.cells} cells, {row.seeds} seeds"
        above.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center")
    name_rows(above, [_two_lines(text) for text in rows.switch])
    above.set_xlabel(f"change of accuracy against {BASE} (points), 95 % interval over seeds")
    _draw_claims(below, claims, [BASE, *rows.protocol])


def _two_lines(label: str) -> str:
    return label.replace(": ", ":\n", 1)


def _draw_claims(panel: Axes, claims: pd.DataFrame, protocols: list[str]) -> None:
    """A grid of protocols and claims: sign of the verdict and effect in points."""
    shown = [
        name
        for name, rows in claims.groupby("claim", sort=False)
        if (rows.verdict != "not tested").any()
    ]
    panel.grid(False)
    if not shown:
        panel.set_axis_off()
        say(panel, "no claim can be tested with these runs")
        return
    panel.set_xlim(-0.5, len(shown) - 0.5)
    name_rows(panel, protocols)
    panel.set_xticks(
        range(len(shown)), labels=[str(name) for name in shown], rotation=28, ha="right"
    )
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    known = {(row["protocol"], row["claim"]): row for row in claims.to_dict("records")}
    for y, protocol in enumerate(protocols):
        for x, claim in enumerate(shown):
            row = known.get((protocol, claim), {"verdict": "not tested"})
            look, tested = VERDICTS[row["verdict"]], row["verdict"] != "not tested"
            panel.fill_between([x - 0.48, x + 0.48], y - 0.46, y + 0.46, color=look["light"])
            text = look["sign"] + (f" {row['effect_points']:+.1f}" if tested else "")
            color = "black" if tested else look["color"]
            panel.text(x, y, text, ha="center", va="center", color=color)
    legend = "   ".join(f"{look['sign']} {name}" for name, look in VERDICTS.items())
    panel.set_title(f"What each claim becomes: effect in points, positive as claimed\n{legend}")
