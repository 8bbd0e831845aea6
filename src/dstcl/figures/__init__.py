"""Figures of a study: one module each, drawn from its tables alone.

Parsing a Snakefile imports this file, so matplotlib and pandas are imported inside the function.
"""

from __future__ import annotations

from pathlib import Path

FIGURES = {
    "accuracy_over_tasks": (
        "Mean test accuracy over the tasks seen so far, after each learned task: one panel for "
        "each init and sparsity, one line for each growth (mean over seeds), the band is the 95 % "
        "Student-t interval over seeds; look for growths whose bands stay apart, and for how the "
        "panels of one init compare with those of the other at the same sparsity."
    ),
    "accuracy_matrix": (
        "Test accuracy on every seen task (columns) after each learned task (rows), for the "
        "configuration with the best and the one with the worst mean ACC at each sparsity, each "
        "shown for its lowest seed, so without an interval; look down a column: a number that "
        "falls is forgetting, and a column that is low from its first number was never learned "
        "well."
    ),
    "capacity": (
        "How fast tasks use up the network: the share of maskable weights that any task so far "
        "uses, and the share of the newest task's active weights that earlier tasks use too, "
        "means over seeds with their 95 % Student-t interval as band; the dashed line is what "
        "independent, uniformly drawn masks would give, so a line below it in the upper panels "
        "saves capacity by sharing more than chance."
    ),
    "layer_densities": (
        "Share of each layer's weights that a task makes active, mean over tasks, growths and "
        "seeds, from input (top) to output (bottom) with the layer's number of weights; uniform "
        "follows the dashed line of the network's density, and points of ERK to its right and "
        "left show which layers ERK gives more and which it pays for them."
    ),
    "accuracy_vs_free": (
        "Accuracy on each task after the first, right after learning it, against the share of "
        "weights that no earlier task uses: one point for each init, growth and task, mean over "
        "seeds, the bar is the 95 % Student-t interval; look for points that sink towards the "
        "left of a panel, where free weights run out."
    ),
}


def draw_figure(name: str, study: Path, dpi: int) -> None:
    """Write ``study/figures/<name>`` as .svg, .pdf and .png, and the numbers drawn as .csv.

    The same tables give the same bytes. ``dpi`` is the resolution of the PNG.

    Raises:
        ValueError: an unknown figure, or a table or a column that is missing.
    """
    if name not in FIGURES:
        raise ValueError(f"{name!r} is no figure; known: {', '.join(FIGURES)}")
    from importlib import import_module

    from dstcl.figures.style import applied_style, rendered
    from dstcl.figures.tables import Tables
    from dstcl.storage import write_bytes

    with applied_style():
        figure, numbers = import_module(f"dstcl.figures.{name}").draw(Tables(study))
        files = rendered(figure, dpi)
    files["csv"] = numbers.to_csv(index=False, lineterminator="\n").encode()
    for suffix, content in files.items():
        write_bytes(study / "figures" / f"{name}.{suffix}", content)
