"""Figures of a study: one module each, drawn from its tables alone.

Parsing a Snakefile imports this file, so matplotlib and pandas are imported inside the function.
"""

from __future__ import annotations

from pathlib import Path

FIGURES = {
    "accuracy_over_tasks": (
        "Mean test accuracy over the tasks seen so far, after each learned task: a panel for each "
        "init and sparsity, a line for each growth (mean over seeds), the band is the 95 % "
        "Student-t interval over seeds and may run off the panel; each protocol has a scale of its "
        "own; look for lines that part as tasks are added or sparsity rises, and judge single "
        "differences by comparisons.csv, "
        "because seeds share their tasks and bands can overlap where every seed agrees."
    ),
    "accuracy_matrix": (
        "Test accuracy on every seen task (columns) after each learned task (rows), for the "
        "configuration with the best and the one with the worst mean accuracy at each sparsity, "
        "each shown for its lowest seed, so without an interval; look down a column: numbers "
        "that fall are forgetting, a column that is low from its first number was never learned "
        "well."
    ),
    "capacity": (
        "How fast tasks use up the network: above, the share of maskable weights that any task so "
        "far uses, below, the share of the newest task's active weights that earlier tasks use "
        "too, means over seeds with their 95 % Student-t interval as band; the dashed line is "
        "what masks drawn independently and uniformly would give, so lines below it above, and "
        "above it below, mean that tasks share more than chance and save capacity."
    ),
    "layer_densities": (
        "Share of each layer's weights that a task makes active, from input (top) to output "
        "(bottom) with the layer's number of weights, mean over tasks, growths and seeds, so "
        "without an interval; uniform follows the dashed line of the network's density, erk "
        "gives the layers right of it more weights and pays with those left of it."
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
