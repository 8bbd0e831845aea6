"""A figure that says why there is nothing to draw."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.figure import Figure

from dstcl.figures.style import GREY, MM, WIDTH

NOT_DRAWN = "not_drawn"


def figure_of_words(reason: str) -> tuple[Figure, pd.DataFrame]:
    """The sentence as a figure, and as a table whose only column is ``not_drawn``."""
    figure = Figure(figsize=(WIDTH, 24 * MM))
    text = textwrap.fill(f"Not drawn for this study: {reason}.", 96)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=GREY)
    return figure, pd.DataFrame({NOT_DRAWN: [reason]})
