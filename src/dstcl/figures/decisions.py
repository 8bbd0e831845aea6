"""What controllers decided as each task begins: growth, weights and channels of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from dstcl.evaluation.axes import METHOD_BLOCK, SUBNETWORK
from dstcl.figures.means import APART, over_seeds, same_cells
from dstcl.figures.panels import blocks, densities, stacked
from dstcl.figures.style import sparsity
from dstcl.figures.tables import NotDrawnError, Tables
from dstcl.study.controllers import CONTROLLER, SHARE

CAPTION = (
    "Decisions of controllers as each task begins. Lines are means over seeds, and bands are 95% "
    "intervals. Growth: the share of grown weights that the run's own criterion did not choose; a "
    "rule that switches is at 0 or 100% in each seed, so its mean is the share of seeds that have "
    "switched. Layers: active weights at the start of the task, from the input (dark) to the "
    "output (light). Channels: of a layer's channels with free weights, the share that is drawn "
    "anew after the first batch of the task. Runs without a controller are not shown."
)

LIMITS = (-4.0, 104.0)
GROWTH, LAYERS = "another growth (%)", "active in a layer (%)"
CHANNELS = "drawn anew (%)"


def draw(tables: Tables) -> tuple[Figure, pd.DataFrame]:
    """The figure and its numbers, in per cent."""
    controller = [CONTROLLER] if CONTROLLER in tables.decisions else []
    panel = [*METHOD_BLOCK, *controller, "density"]
    averaged = same_cells(tables.decisions, panel, ["init", "growth"])
    rows, batch = (averaged.rows[averaged.rows.step == step] for step in (0, 1))
    by = [*METHOD_BLOCK, *SUBNETWORK, "growth", *controller, *averaged.apart]
    found = [
        _growth(rows, by),
        _layers(rows, by, tables.capacity),
        _channels(batch, by, tables.capacity),
    ]
    parts = [one for one in found if not one.empty]
    if not parts:
        raise NotDrawnError("no controller decided on growth, or on weights or channels of layers")
    numbers = pd.concat(parts, ignore_index=True)
    panels = [
        (f"{title} · {name}", kind, part)
        for title, block in blocks(numbers, tables.title)
        for name, own in _by_controller(block)
        for kind, part in own.groupby("what", sort=False)
    ]
    figure, subfigures = stacked([48] * len(panels), note=averaged.note)
    for (title, kind, part), subfigure in zip(panels, subfigures):
        _draw_part(title, str(kind), part, subfigure)
    names = {"mean": "percent", "low": "low_percent", "high": "high_percent"}
    return figure, numbers.rename(columns=names)


def _growth(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Share of another criterion, for each task."""
    one = [*by, "seed", "digest", "task"]
    chosen = rows[rows.what == "growth"]
    chosen = chosen.assign(percent=100.0 * (chosen.value != chosen.growth))
    first = rows[rows.what == "first_share"]
    first = first.assign(first=100 * pd.to_numeric(first.value))[["digest", "task", "first"]]
    chosen = chosen[[*one, "percent"]].merge(first, on=["digest", "task"], how="left")
    chosen["percent"] = chosen["first"].fillna(chosen.percent)
    chosen = pd.concat([chosen, _other_shares(rows, one)], ignore_index=True)
    return _means(chosen.assign(layer=""), by).assign(what=GROWTH)


def _other_shares(rows: pd.DataFrame, one: Sequence[str]) -> pd.DataFrame:
    """Of mixes by shares, what is not the run's own; a mean over layers, if each has its own."""
    shares = rows[rows.what.str.startswith(SHARE)]
    shares = shares.assign(percent=100 * pd.to_numeric(shares.value))
    others = shares.assign(percent=shares.percent * (shares.what != SHARE + shares.growth))
    by_layer = others.groupby([*one, "layer"], as_index=False).percent.sum()
    return by_layer.groupby(list(one), as_index=False).percent.mean()


def _layers(rows: pd.DataFrame, by: Sequence[str], capacity: pd.DataFrame) -> pd.DataFrame:
    """Active share of each layer, for each task."""
    active = rows[rows.what == "active"]
    sizes = capacity[["digest", "layer", "size"]].drop_duplicates()
    active = active.merge(sizes, on=["digest", "layer"])
    active = active.assign(percent=100 * pd.to_numeric(active.value) / active["size"])
    return _means(active, by).assign(what=LAYERS)


def _channels(rows: pd.DataFrame, by: Sequence[str], capacity: pd.DataFrame) -> pd.DataFrame:
    """Share of each layer's channels that is drawn anew after the first batch, for each task of
    the runs that decide on it; 0 where they decided for none."""
    if "channels" not in capacity:
        return pd.DataFrame()
    place = ["digest", "task", "layer"]
    anew = rows[rows.what == "anew"]
    asked = rows[rows.what.isin(["anew", "nothing"]) & rows.digest.isin(anew.digest)]
    asked = asked.drop_duplicates(["digest", "task"]).drop(columns=["layer", "value"])
    sizes = capacity.loc[capacity.channels > 0, [*place, "channels"]]
    layers = asked.merge(sizes, on=["digest", "task"]).merge(
        anew[[*place, "value"]], on=place, how="left"
    )
    percent = 100 * pd.to_numeric(layers.value).fillna(0) / layers.channels
    return _means(layers.assign(percent=percent), by).assign(what=CHANNELS)


def _means(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    return over_seeds(rows, [*by, "layer", "task"], "percent")


def _by_controller(block: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if CONTROLLER not in block:
        return [("controller", block)]
    return [(f"controller {name}", own) for name, own in block.groupby(CONTROLLER, sort=False)]


def _draw_part(title: str, kind: str, part: pd.DataFrame, subfigure: SubFigure) -> None:
    columns = densities(part)
    axes = subfigure.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)[0]
    subfigure.suptitle(title, fontweight="bold")
    subfigure.supylabel(kind)
    subfigure.supxlabel("task")
    axes[0].set_ylim(LIMITS)
    for density, panel in zip(columns, axes):
        panel.set_title(sparsity(density))
        panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        _draw_lines(panel, part[part.density == density])
    if kind == GROWTH:
        axes[-1].legend(loc="center right")


def _draw_lines(panel: Axes, rows: pd.DataFrame) -> None:
    """A line for each layer, or for each init and growth; a layer's is a mean over growths."""
    of_layers = bool((rows.layer != "").any())
    names = ["layer"] if of_layers else ["init", "growth"]
    names += [APART] if APART in rows else []
    lines = list(rows.groupby(names, sort=False))
    colors = mpl.colormaps["cividis"]
    for index, (key, line) in enumerate(lines):
        # The end of the map is too pale on white.
        color = colors(0.88 * index / max(1, len(lines) - 1))
        line = line.groupby("task", as_index=False)[["mean", "low", "high"]].mean()
        style: dict[str, Any] = {"color": color, "label": ", ".join(filter(None, map(str, key)))}
        panel.fill_between(line.task, line.low, line.high, color=color, alpha=0.1, linewidth=0)
        marker = "none" if of_layers else "os^Dv"[index % 5]
        panel.plot(line.task, line["mean"], marker=marker, **style)
