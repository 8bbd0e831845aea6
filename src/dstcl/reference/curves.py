"""The curves of the paper's Figures 2 to 6 and A to D as rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from dstcl.reference.panels import Curve, LayoutError, Panel, legend, read_curves

CURVE_COLUMNS = (
    *("figure", "dataset", "tasks", "network", "init", "density", "growth", "update_every"),
    *("task", "accuracy_percent", "band_low", "band_high"),
)
DECIMALS = 4
"""Of the accuracies: paths in the PDF are that fine."""


class Layout(NamedTuple):
    """A figure of the paper: a panel for each init (rows) and density (columns)."""

    figure: str
    dataset: str
    tasks: int
    network: str
    inits: Sequence[str]
    densities: Sequence[float]


BOTH = ("uniform", "erk")
USUAL = (0.2, 0.1, 0.05)
FIGURES = (
    Layout("2", "cifar100", 20, "resnet18", BOTH, USUAL),
    Layout("3", "miniimagenet", 10, "resnet18", BOTH, USUAL),
    Layout("4", "cifar100", 10, "resnet18", BOTH, USUAL),
    Layout("5", "cifar100", 5, "resnet18", BOTH, USUAL),
    Layout("6", "cifar100", 10, "resnet18", ("erk",), (0.1,)),
    Layout("A", "cifar100", 10, "resnet18", BOTH, USUAL),
    Layout("B", "cifar100", 10, "resnet18", BOTH, (0.3, 0.15, 0.01)),
    Layout("C", "cifar100", 10, "mobilenetv2", BOTH, (0.3, 0.2, 0.1)),
    Layout("D", "cifar100", 10, "vgg16", BOTH, USUAL),
)
"""In the order of the pages; panels go row by row."""


def curve_rows(
    panels: Sequence[Panel], figures: Sequence[Layout] = FIGURES
) -> list[dict[str, Any]]:
    """A row a point, columns `CURVE_COLUMNS`, of all figures.

    Args:
        panels: of these figures, in their order and row by row.
        figures: what each figure shows.

    Raises:
        LayoutError: other numbers of panels or of curves, or a colour without a name.
    """
    expected = sum(len(layout.inits) * len(layout.densities) for layout in figures)
    if len(panels) != expected:
        raise LayoutError(f"{len(panels)} panels instead of {expected}")
    rows, rest = [], list(panels)
    for layout in figures:
        cells = list(product(layout.inits, layout.densities))
        own, rest = rest[: len(cells)], rest[len(cells) :]
        names = {color: name for panel in own for color, name in legend(panel).items()}
        for (init, density), panel in zip(cells, own):
            curves = read_curves(panel, layout.tasks)
            if len(curves) != len(names) or any(curve.color not in names for curve in curves):
                raise LayoutError(
                    f"Figure {layout.figure}, {init}, density {density:g}: {len(curves)} curves, "
                    f"a legend of {len(names)}"
                )
            for curve in curves:
                cell = {"init": init, "density": density, **_named(names[curve.color])}
                rows += [{**layout._asdict(), **cell, **point} for point in _points(curve)]
    return [{name: row[name] for name in CURVE_COLUMNS} for row in rows]


def _named(name: str) -> dict[str, Any]:
    """A legend's name: a growth, or the update interval of random growth in Figure A."""
    interval = re.fullmatch(r"\D*T=(\d+)", name)
    if interval:
        return {"growth": "random", "update_every": int(interval.group(1))}
    return {"growth": name, "update_every": ""}


def _points(curve: Curve) -> Iterator[dict[str, Any]]:
    blank: list[Any] = [""] * len(curve.accuracy)
    edges = zip(curve.accuracy, curve.low or blank, curve.high or blank)
    for task, (accuracy, low, high) in enumerate(edges, start=1):
        values = {"accuracy_percent": accuracy, "band_low": low, "band_high": high}
        yield {
            "task": task,
            **{name: _rounded(value) for name, value in values.items()},
        }


def _rounded(value: Any) -> Any:
    """Also -0.0 as 0.0."""
    return value if value == "" else round(value, DECIMALS) + 0.0
