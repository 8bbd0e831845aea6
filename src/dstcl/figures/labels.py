"""Names beside the points of a panel, placed so that none lies on another name, sign or line."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, hypot, pi, sin
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from dstcl.figures.style import GREY

DISTANCES = (6.0, 9.0, 13.0, 18.0, 24.0, 31.0, 40.0, 52.0)
"""From a point to its name, in points (1/72 inch)."""
DIRECTIONS = 16
LED_FROM = 12.0
"""Distance from which a thin line leads to the point."""
SIGN = 3.0
"""Half the side of a sign, in points."""
AIR = 3.0, 1.0
"""Added to width and height of a name, in points, so that two side by side are not read as one."""
ROUNDS = 4
"""How often each name may look for a better place, once the others have theirs."""


class Box(NamedTuple):
    """A rectangle; all in points."""

    left: float
    bottom: float
    right: float
    top: float

    def shared(self, other: Box) -> float:
        """Area of both."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(0.0, wide) * max(0.0, high)

    @property
    def area(self) -> float:
        """Width by height."""
        return (self.right - self.left) * (self.top - self.bottom)


class Place(NamedTuple):
    """Where a name may stand: its box, and how far that is from its point."""

    box: Box
    distance: float


def place_names(
    panel: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    bold: Sequence[bool],
    bars: Sequence[tuple[float, float, float, float]] = (),
) -> list[Annotation]:
    """Write names beside points; call it last, as it takes the panel as it lies on the page.

    Args:
        panel: with its final limits and scales.
        points: in data.
        names: one a point.
        bold: whether to write a name so.
        bars: what names should keep off as well: (x, x, y, y) in data, as intervals are.
    """
    figure = panel.get_figure(root=True)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()
    scale = 72 / figure.dpi

    def on_page(x: float, y: float) -> tuple[float, float]:
        place = panel.transData.transform((x, y))
        return float(place[0]) * scale, float(place[1]) * scale

    written = [
        panel.annotate(
            name,
            point,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=7,
            fontweight="bold" if heavy else "normal",
            ha="center",
            va="center",
            annotation_clip=False,
            zorder=4,
        )
        for name, point, heavy in zip(names, points, bold)
    ]
    extents = [text.get_window_extent() for text in written]
    sizes = [(one.width * scale + AIR[0], one.height * scale + AIR[1]) for one in extents]
    centres = [on_page(*point) for point in points]
    ends = [(on_page(x, y), on_page(more_x, more_y)) for x, more_x, y, more_y in bars]
    taken = [Box(x - SIGN, y - SIGN, x + SIGN, y + SIGN) for x, y in centres]
    taken += [Box(x - 0.5, y - 0.5, mx + 0.5, my + 0.5) for (x, y), (mx, my) in ends]
    (left, bottom), (right, top) = panel.get_window_extent().get_points() * scale
    found = places(centres, sizes, taken, Box(left, bottom, right, top))
    for text, (x, y), place in zip(written, centres, found):
        middle = (place.box.left + place.box.right) / 2, (place.box.bottom + place.box.top) / 2
        text.set_position((middle[0] - x, middle[1] - y))
        text.set_in_layout(False)
        if place.distance >= LED_FROM:
            end = _nearest(place.box, x, y)
            panel.annotate(
                "",
                (x, y),
                end,
                xycoords="figure points",
                textcoords="figure points",
                arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0},
            ).set_in_layout(False)
    return written


def places(
    centres: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    taken: Sequence[Box],
    inside: Box,
) -> list[Place]:
    """The best place for each name, given those of the others.

    Those with the most neighbours choose first; then each looks again, a few times.

    Args:
        centres: of the points.
        sizes: width and height of the names.
        taken: where there is something else.
        inside: where names must be.
    """
    order = sorted(range(len(centres)), key=lambda k: _crowd(k, centres))
    chosen: dict[int, Place] = {}
    for _ in range(ROUNDS):
        for k in order:
            others = [place.box for other, place in chosen.items() if other != k]
            options = _options(centres[k], sizes[k])
            chosen[k] = min(options, key=lambda one: _cost(one, others, taken, inside))
    return [chosen[k] for k in range(len(centres))]


def _crowd(k: int, centres: Sequence[tuple[float, float]]) -> float:
    """Small where other points are near."""
    x, y = centres[k]
    far = sorted(hypot(x - ox, y - oy) for ox, oy in centres)
    return sum(far[1:4])


def _options(centre: tuple[float, float], size: tuple[float, float]) -> list[Place]:
    """Boxes around a point: those nearest first, and of these the one to the right."""
    found = []
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            angle = 2 * pi * step / DIRECTIONS
            x = centre[0] + (distance + size[0] / 2) * cos(angle)
            y = centre[1] + (distance + size[1] / 2) * sin(angle)
            half = size[0] / 2, size[1] / 2
            box = Box(x - half[0], y - half[1], x + half[0], y + half[1])
            found.append(Place(box, distance))
    return found


def _cost(place: Place, others: Sequence[Box], taken: Sequence[Box], inside: Box) -> float:
    """In points: how far it is, and what it hides. Names on names are the worst."""
    outside = place.box.area - place.box.shared(inside)
    hidden = sum(place.box.shared(one) for one in taken)
    return place.distance + 3 * hidden + 20 * (sum(map(place.box.shared, others)) + outside)


def _nearest(box: Box, x: float, y: float) -> tuple[float, float]:
    """The point of a box that is nearest to another."""
    return min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)
