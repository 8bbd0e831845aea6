"""From the lines of a drawn panel to accuracies: its axis, its legend, its curves and bands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Point = tuple[float, float]
"""Place on a page, x to the right and y upwards, in points of 1/72 inch."""
SAME_LINE = 1.0
"""Points of 1/72 inch by which baselines of one line of text can differ."""
SAME_PLACE = 0.05
"""Points of 1/72 inch by which two ends of the same place can differ."""


class Word(NamedTuple):
    """A piece of text: left and right edge, and baseline."""

    text: str
    left: float
    right: float
    base: float


@dataclass(frozen=True)
class Stroke:
    """A drawn path of more than two points: a curve, a legend's sample, or a filled band."""

    color: tuple[float, ...]
    points: Sequence[Point]
    filled: bool = False


@dataclass(frozen=True)
class Panel:
    """What is drawn in one pair of axes.

    ``grid`` are straight lines in the order of drawing: those of the grid, then the frame's.
    """

    words: Sequence[Word]
    strokes: Sequence[Stroke]
    grid: Sequence[Sequence[Point]]


class Curve(NamedTuple):
    """Accuracy in per cent after each task, with the edges of its band where there is one."""

    color: tuple[float, ...]
    accuracy: list[float]
    low: list[float]
    high: list[float]


class LayoutError(ValueError):
    """A panel or a table that is not drawn as those of the paper are."""


def words(glyphs: Iterable[Word]) -> list[Word]:
    """Characters joined to words, line by line from the top; a gap of a point ends a word."""
    lines: list[list[Word]] = []
    for glyph in sorted(glyphs, key=lambda word: -word.base):
        if not lines or lines[-1][0].base - glyph.base > SAME_LINE:
            lines.append([])
        lines[-1].append(glyph)
    found: list[Word] = []
    for line in lines:
        first = True
        for glyph in sorted(line, key=lambda word: word.left):
            if glyph.text.isspace():
                first = True
            elif first or glyph.left - found[-1].right > 1:
                found.append(glyph)
                first = False
            else:
                last = found[-1]
                found[-1] = Word(last.text + glyph.text, last.left, glyph.right, last.base)
    return found


def read_curves(panel: Panel, tasks: int) -> list[Curve]:
    """The curves of a panel with a point a task, in the order in which they were drawn.

    Raises:
        LayoutError: no axis can be read, or a point has no band where others have one.
    """
    scale = _scale(panel)
    bands = {stroke.color: stroke.points for stroke in panel.strokes if stroke.filled}
    curves = []
    for stroke in panel.strokes:
        if stroke.filled or len(stroke.points) != tasks:
            continue
        low, high = [], []
        for x, _ in stroke.points if stroke.color in bands else ():
            edges = [y for at, y in bands[stroke.color] if abs(at - x) < SAME_PLACE]
            if not edges:
                raise LayoutError(f"the band of colour {stroke.color} ends before its curve")
            low.append(scale(min(edges)))
            high.append(scale(max(edges)))
        curves.append(Curve(stroke.color, [scale(y) for _, y in stroke.points], low, high))
    return curves


def legend(panel: Panel) -> dict[tuple[float, ...], str]:
    """Name of each colour; empty where the panel has no legend.

    A sample is a line of three points, and its name the word to its right.
    """
    named = {}
    for stroke in panel.strokes:
        if stroke.filled or len(stroke.points) != 3:
            continue
        x, y = stroke.points[-1]
        right = [word for word in panel.words if word.left > x]
        if not right:
            raise LayoutError(f"no name in the legend for colour {stroke.color}")
        named[stroke.color] = min(right, key=lambda word: abs(word.base - y)).text
    return named


class _Scale(NamedTuple):
    """Accuracy at a height, from two labelled lines of the grid."""

    bottom: float
    top: float
    low: float
    high: float

    def __call__(self, y: float) -> float:
        return self.low + (y - self.bottom) / (self.top - self.bottom) * (self.high - self.low)


def _scale(panel: Panel) -> _Scale:
    """The scale of the y axis. Bottom and top of the frame are drawn after the grid's lines."""
    flat = [line for line in panel.grid if abs(line[0][1] - line[-1][1]) < SAME_PLACE]
    if not flat:
        raise LayoutError("a panel without an axis")
    heights = sorted(line[0][1] for line in flat[:-2])
    left = min(x for line in flat for x, _ in line)
    labels = sorted(
        (word.base, float(word.text))
        for word in panel.words
        if word.right < left and re.fullmatch(r"[\d.]+", word.text)
    )
    if len(labels) < 2 or len(labels) != len(heights):
        raise LayoutError(f"{len(labels)} labels at {len(heights)} lines of a grid")
    return _Scale(heights[0], heights[-1], labels[0][1], labels[-1][1])
