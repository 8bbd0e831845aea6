"""Figures of a study: one module each, drawn from its tables alone.

Parsing a Snakefile imports this file, so matplotlib and pandas are imported inside the function.
"""

from __future__ import annotations

from pathlib import Path

FIGURES = {
    "claims": (
        "What the paper claims, tested on this study: effect of each claim in points of accuracy "
        "with its 95 % interval, positive in the claim's favour, the grey tick is the boundary "
        "beyond which it holds; claims that cannot be tested are left out, and protocols that flip "
        "one switch are in the figure ablation; a verdict needs three seeds and p < 0.05 after "
        "Holm's correction over the claims of a block, so an interval may leave the boundary out "
        "and the verdict still be open; docs/claims.md explains the tests."
    ),
    "paper_panels": (
        "The curves of the paper's figure (digitised; band: reading error) and ours below them on "
        "the same scale, for each init and sparsity: mean accuracy over the tasks seen so far, "
        "band: 95 % interval over seeds; look whether curves have the same order and fall at the "
        "same task, because the paper does not say which network and how many epochs it used."
    ),
    "protocols": (
        "The same configuration as the paper's code runs it (published) and as a careful reader "
        "would (corrected): accuracy after the last task, mean over seeds with 95 % interval; a "
        "long grey bar is a number that depends on defects of the code; compare the order of the "
        "squares with that of the circles within an init and sparsity: where it differs, what one "
        "concludes may depend on them too, and comparisons.csv has the differences between "
        "growths and inits, paired by seed, with their intervals for each protocol."
    ),
    "ablation": (
        "One switch of the protocol flipped at a time, away from corrected: what it changes in "
        "accuracy (left) and in two of the paper's contrasts, gradient against random growth and "
        "ERK against uniform, each as flipped minus corrected, paired by seed over the cells that "
        "both have, mean with 95 % interval; a contrast whose change is far from zero depends on "
        "that switch, and with so many intervals one in 20 leaves zero out by chance; changes of "
        "single switches need not add up to that of all of them."
    ),
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
        "what independent masks with the same number of weights in each layer would give (worked "
        "out for each init, mean over growths), so lines below it above, and above it below, "
        "mean that tasks choose the same weights more often than chance and save capacity."
    ),
    "layer_densities": (
        "Share of each layer's weights that a task makes active, from input (top) to output "
        "(bottom) with the layer's number of weights, mean over tasks, growths and seeds, so "
        "without an interval; the pale bar goes from the first to the last task; uniform follows "
        "the dashed line of the network's density, erk gives the layers right of it more weights "
        "and pays with those left of it."
    ),
    "accuracy_over_capacity": (
        "Accuracy on a task right after it is learned against the share of weights that were "
        "free when it began: time runs from left to right, a point is a task, a line a growth "
        "(mean over seeds, band: 95 % interval); a line that breaks down on the right side means "
        "that tasks fail where weights run out; tasks differ in difficulty, so compare lines."
    ),
    "mask_overlap": (
        "Weights that two tasks share, in per cent of all that either uses (Jaccard index), mean "
        "over growths and seeds, without an interval; the colour is that number relative to what "
        "independent masks with the same number of weights in each layer would share (named in "
        "the panel): white pairs share as much as chance, orange ones more, purple ones less, on "
        "one scale for all studies."
    ),
    "explored": (
        "Share of weights that were active at any time since their task began, over the training "
        "of all tasks, mean over seeds with 95 % interval as band; a line that rises far above "
        "the density has tried many weights, a flat one keeps growing the same."
    ),
    "ranking": (
        "Configurations in the order of their mean rank: runs of one seed are ranked among each "
        "other (1 is best), the dot is the mean over seeds and the line its 95 % interval, cut at "
        "the first and the last rank; a long line is a rank that changes from seed to seed, but "
        "whether two configurations differ is not seen in whether their lines overlap: "
        "comparisons.csv has their difference in accuracy, paired by seed, with its interval."
    ),
    "baselines": (
        "Dynamic sparse training (dst, mean over growths) beside other methods on the same tasks: "
        "accuracy at the end and forgetting, mean over seeds with 95 % interval; separate has a "
        "network a task and joint all tasks at once, so they bound what can be expected."
    ),
    "costs": (
        "What methods cost: wall time of a run, arithmetic of its training and of one image, and "
        "bytes of a task's masks on disk, mean over seeds with 95 % interval (growths pooled); "
        "arithmetic counts active weights only, as hardware for sparse networks would, while "
        "times are those of dense kernels and of a machine that may have been shared."
    ),
}


def draw_figure(name: str, study: Path, dpi: int) -> None:
    """Write ``study/figures/<name>`` as .svg, .pdf and .png, and the numbers drawn as .csv.

    The same tables give the same bytes. ``dpi`` is the resolution of the PNG. Where the study has
    nothing to show, the figure says why, and so does the CSV: its only column is ``not_drawn``.

    Raises:
        ValueError: an unknown figure, or a table or a column that is missing.
    """
    if name not in FIGURES:
        raise ValueError(f"{name!r} is no figure; known: {', '.join(FIGURES)}")
    from importlib import import_module

    from dstcl.figures.style import applied_style, rendered
    from dstcl.figures.tables import NotDrawnError, Tables
    from dstcl.figures.words import figure_of_words
    from dstcl.storage import write_bytes

    with applied_style():
        try:
            figure, numbers = import_module(f"dstcl.figures.{name}").draw(Tables(study))
        except NotDrawnError as reason:
            figure, numbers = figure_of_words(str(reason))
        files = rendered(figure, dpi)
    files["csv"] = numbers.to_csv(index=False, lineterminator="\n").encode()
    for suffix, content in files.items():
        write_bytes(study / "figures" / f"{name}.{suffix}", content)
