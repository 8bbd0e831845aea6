"""One look for all figures: colours that survive colour-blindness and grey, and fixed bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dstcl.evaluation.axes import NOT_READ

Look = dict[str, Any]
"""Colour, line style and marker, as keywords of ``Axes.plot``."""

MM = 1 / 25.4
WIDTH_MM = 180.0
"""Width of a figure where nobody asks for another: a full page."""

GREY = "#595959"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "figure.titlesize": 8,
    "figure.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.5,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "pdf.fonttype": 42,
    # A "$" in the name of a data set is a dollar.
    "text.parse_math": False,
    "svg.hashsalt": "dstcl",
}

# Okabe and Ito's palette with two darker colours. First those that single built-in names lack.
OTHER_GROWTHS = ("#009E73", "#8E3B76", "#7A4A00", "#000000", "#E69F00", "#56B4E9", "#D55E00")
OTHER_INITS = ("#0072B2", "#D55E00", "#E69F00", "#56B4E9", "#000000", "#CC79A7", "#7A4A00")
# Of names that are not built in. The lengths have no common divisor, so that all pairs occur.
OTHER_MARKERS = ("<", ">", "+", "1")
OTHER_LINES = ("-", (0, (2, 1)), (0, (7, 2)), (0, (4, 1, 1, 1, 1, 1)), (0, (10, 2, 2, 2)))
# One criterion: a colour of its own.
SIMPLE_GROWTHS: dict[str, Look] = {
    "random": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "unfired": {
        "color": "#56B4E9",
        "linestyle": (0, (4, 1.2)),
        "marker": "s",
        "markerfacecolor": "white",
    },
    "gradient": {"color": "#D55E00", "linestyle": (0, (6, 1, 1, 1)), "marker": "^"},
    "momentum": {"color": "#E69F00", "linestyle": (0, (1.5, 0.8)), "marker": "D"},
    "momentum_neuron": {"color": "#CC79A7", "linestyle": (0, (3, 1, 1, 1)), "marker": "p"},
    # A method without growth, static sparse training for one.
    "none": {"color": "#000000", "linestyle": (0, (1, 2.5)), "marker": "x"},
}
# A switch "a-then-b": the colour says a, marker and line say b.
FIRST_COLORS = {
    "random": "#009E73",
    "unfired": "#7A4A00",
    "gradient": "#CC79A7",
    "momentum": "#000000",
    "momentum_neuron": "#8E3B76",
}
THEN_MARKS: dict[str, Look] = {
    "random": {"linestyle": (0, (5, 2)), "marker": "P"},
    "unfired": {"linestyle": (0, (1, 1.5)), "marker": "X"},
    "gradient": {"linestyle": (0, (8, 1.5)), "marker": "v"},
    "momentum": {"linestyle": (0, (3, 1, 1, 1, 1, 1)), "marker": "*"},
    "momentum_neuron": {"linestyle": (0, (6, 1, 1, 1, 1, 1)), "marker": "d"},
}

INITS: dict[str, Look] = {
    "uniform": {"color": "#009E73", "linestyle": "none", "marker": "o", "fillstyle": "none"},
    "erk": {"color": "#8E3B76", "linestyle": "-", "marker": "D"},
}

PROTOCOLS: dict[str, Look] = {
    "published": {"color": "#D55E00", "linestyle": "none", "marker": "s"},
    "corrected": {
        "color": "#0072B2",
        "linestyle": "none",
        "marker": "o",
        "markerfacecolor": "white",
    },
}
METHOD_KINDS: dict[str, Look] = {
    "grows": {"color": "#0072B2", "marker": "o"},
    "masked": {"color": "#009E73", "marker": "s"},
    "dense": {"color": GREY, "marker": "D"},
}
"""By what a method does: grow weights as it trains, keep to masks otherwise, or use all weights."""
# Blue and orange differ for everybody, the signs also in grey.
VERDICTS: dict[str, dict[str, str]] = {
    "supported": {"color": "#0072B2", "light": "#cfe5f3", "sign": "✓", "marker": "o"},
    "contradicted": {"color": "#D55E00", "light": "#f9d9c0", "sign": "✗", "marker": "X"},
    "inconclusive": {"color": "#595959", "light": "#ececec", "sign": "?", "marker": "D"},
    "not tested": {"color": "#8c8c8c", "light": "#ffffff", "sign": "-", "marker": "_"},
}


def growth_looks(names: Iterable[str]) -> dict[str, Look]:
    """The look of each growth: built-in ones have the same in every figure and study."""
    return _looks(names, _known_growth, OTHER_GROWTHS)


def init_looks(names: Iterable[str]) -> dict[str, Look]:
    """The look of each init: built-in ones have the same in every figure and study."""
    return _looks(names, INITS.get, OTHER_INITS)


def method_looks(runs: pd.DataFrame) -> dict[str, Look]:
    """The look of each method: of its kind, as its runs show it.

    Args:
        runs: one row per run: method, init, growth.
    """
    kinds = {}
    for name, own in runs.groupby("method", sort=False):
        dense, grows = (own.init == NOT_READ).all(), (own.growth != NOT_READ).any()
        kinds[str(name)] = METHOD_KINDS["dense" if dense else "grows" if grows else "masked"]
    return kinds


def _looks(
    names: Iterable[str], known: Callable[[str], Look | None], colors: Sequence[str]
) -> dict[str, Look]:
    """The look of each name; unknown ones get theirs from a cycle, in the order of the names.

    No two of 28 unknown names share both colour and marker, and no known name has such a marker.
    """
    found: dict[str, Look] = {}
    unknown = 0
    for name in names:
        look = known(name)
        if look is None:
            look = {
                "color": colors[unknown % len(colors)],
                "linestyle": OTHER_LINES[unknown % len(OTHER_LINES)],
                "marker": OTHER_MARKERS[unknown % len(OTHER_MARKERS)],
            }
            unknown += 1
        found[name] = dict(look)
    return found


def _known_growth(growth: str) -> Look | None:
    if growth in SIMPLE_GROWTHS:
        return SIMPLE_GROWTHS[growth]
    first, _, then = growth.partition("-then-")
    if first in FIRST_COLORS and then in THEN_MARKS:
        return {"color": FIRST_COLORS[first], **THEN_MARKS[then]}
    return None


def handle(name: str, look: Look) -> Line2D:
    """The legend's sample of a name."""
    return Line2D([], [], label=name, **look)


def sparsity(density: float) -> str:
    """``0.05`` as "sparsity 95%"."""
    return f"sparsity {round(100 * (1 - density), 6):g}%"


@contextmanager
def applied_style(width_mm: float = WIDTH_MM) -> Iterator[None]:
    """matplotlib's defaults and this style, whatever the user's own settings are.

    Args:
        width_mm: of every figure; type keeps its size.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)  # type: ignore[arg-type]
        mpl.rcParams["figure.figsize"] = (width_mm * MM, width_mm * MM)
        yield


def width_mm() -> float:
    """The width of a figure within `applied_style`, in mm."""
    return float(mpl.rcParams["figure.figsize"][0] / MM)


def rendered(figure: Figure, dpi: int, source: str | None = None) -> dict[str, bytes]:
    """The figure by file suffix, without dates: the same figure gives the same bytes.

    Args:
        figure: to write.
        dpi: of the PNG.
        source: what the SVG says of its source.
    """
    undated: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Source": source},
        "pdf": {"CreationDate": None},
        "png": {},
    }
    files = {}
    for suffix, metadata in undated.items():
        content = BytesIO()
        figure.savefig(content, format=suffix, dpi=dpi, metadata=metadata)
        files[suffix] = content.getvalue()
    return files
