"""The numbers of docs/paper-forensics.md, as tables that are written into the page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from dstcl.reference import forensics, statements

GROWTHS = ("random", "unfired", "gradient", "momentum")
SAME = 0.05
"""Points within which a mean over intervals counts as a point of Figure 4."""
SETTINGS = {
    "2": "CIFAR-100, 20 tasks",
    "3": "miniImageNet, 10 tasks",
    "4": "CIFAR-100, 10 tasks",
    "5": "CIFAR-100, 5 tasks",
    "B": "CIFAR-100, 10 tasks",
    "C": "the same, MobileNetV2",
    "D": "the same, VGG-like",
}
Numbers = Callable[[pd.DataFrame, pd.DataFrame], list[str]]


def with_numbers(page: str, tables: pd.DataFrame, curves: pd.DataFrame) -> str:
    """The page with the table between each ``<!-- numbers: NAME -->`` and ``<!-- end -->`` anew.

    Raises:
        ValueError: the page names a table that does not exist, or leaves one out.
    """
    named = re.findall(r"<!-- numbers: ([\w-]+) -->", page)
    if wrong := set(named) ^ set(BLOCKS):
        raise ValueError(
            f"tables of numbers: {', '.join(sorted(wrong))} unknown or not in the page"
        )

    def anew(match: re.Match[str]) -> str:
        lines = BLOCKS[match.group(1)](tables, curves)
        return "\n".join([f"<!-- numbers: {match.group(1)} -->", "", *lines, "", "<!-- end -->"])

    return re.sub(r"<!-- numbers: ([\w-]+) -->.*?<!-- end -->", anew, page, flags=re.DOTALL)


def _intervals(_: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    rows = []
    for growth in GROWTHS:
        both = forensics.interval_means(curves, growth)
        rows.append(
            [
                growth,
                _of(both.difference <= SAME),
                f"{both.difference.max():.4f}",
                f"{both.difference.median():.4f}",
                _of(both.band_difference <= SAME),
                f"{both.band_difference.max():.4f}",
            ]
        )
    return _table(
        [
            "growth in Figure 4",
            f"points within {SAME}",
            "largest difference",
            "median",
            f"bands within {SAME}",
            "largest difference of bands",
        ],
        rows,
    )


def _spreads(tables: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    both = forensics.interval_spreads(tables, curves)
    rows = [
        [_panel(row["init"], row["density"]), f"{row['sd']:.3f}", f"{row['printed']:.2f}"]
        for row in both.to_dict("records")
    ]
    return _table(["cell", "standard deviation over four intervals", "printed ±"], rows)


def _grid(_: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    grid = forensics.on_grid(curves, most=4)
    rows = [
        [
            f"Figure {figure}",
            *(f"{row['on_grid']} of {row['points']}" for row in own.to_dict("records")),
        ]
        for figure, own in grid.groupby("figure", sort=False)
    ]
    return _table(["points on task 1", *("1 run", "2 runs", "3 runs", "4 runs")], rows)


def _ratio(tables: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    behind = forensics.runs_by_spread(tables, curves)
    rows = []
    for table, own in behind.groupby("table", sort=False):
        fits = own.runs.str.split(",")
        counts = [_of(fits.map(lambda some, n=n: str(n) in some)) for n in (2, 3, 4)]
        rows.append([f"Table {table}", f"{own.ratio.median():.3f}", *counts])
    expected = [f"fit {n} runs ({math.sqrt((n - 1) / n):.3f})" for n in (2, 3, 4)]
    return _table(["cells", "median band / ±", *expected], rows)


def _single(_: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    own = forensics.alone(curves)
    chosen = {"B": ("ResNet-18, 99%", 0.01), "C": ("MobileNetV2, 90%", 0.1)}
    rows = []
    for figure, (name, density) in chosen.items():
        cells = own[(own.figure == figure) & (own.init == "uniform") & (own.density == density)]
        for growth in GROWTHS:
            values = cells[cells.growth == growth].sort_values("task").alone_percent
            rows.append([f"{name}, {growth}", *(_signed(value, 1) for value in values)])
    return _table(["uniform, sparsity, growth", *(f"task {k}" for k in range(1, 11))], rows)


def _forward(tables: pd.DataFrame, _: pd.DataFrame) -> list[str]:
    rows = [
        [
            f"Table {row['table']}",
            f"{row['chance']:g}",
            f"{row['lowest']:.2f}",
            f"{row['mean']:.2f}",
            f"{row['highest']:.2f}",
            f"{row['above']} of {row['cells']}",
            f"{row['clearly_above']} of {row['cells']}",
        ]
        for row in forensics.forward_transfer(tables).to_dict("records")
    ]
    head = ["", "chance", "lowest", "mean", "highest", "above chance", "above it by twice the ±"]
    return _table(head, rows)


def _backward(tables: pd.DataFrame, _: pd.DataFrame) -> list[str]:
    rows = [
        [
            f"Table {row['table']}",
            f"{row['within']} of {row['cells']}",
            f"{row['largest']:.2f}",
            f"{row['positive']} of {row['cells']}",
            f"{row['negative']} of {row['cells']}",
        ]
        for row in forensics.backward_transfer(tables).to_dict("records")
    ]
    return _table(["", "within 0.5 points", "largest size", "above 0", "below 0"], rows)


def _adaptive(_: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    rows = [
        [
            str(row["task"]),
            f"{row['random']:.2f}",
            f"{row['gradient']:.2f}",
            f"{row['adaptive']:.2f}",
            f"{row['over_random']:.2f}",
            _signed(row["alone_over_random"], 2),
        ]
        for row in forensics.adaptive_leads(curves).to_dict("records")
    ]
    head = ["tasks learned", "random", "gradient", "adaptive", "adaptive - random"]
    return _table([*head, "the same, last task alone"], rows)


def _apart(tables: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    rows = [
        [
            f"Table {row['table']}, {_panel(row['init'], row['density'])}, {row['growth']}",
            f"{row['printed']:.2f}",
            f"{row['drawn']:.2f}",
            f"{row['difference']:.2f}",
        ]
        for row in forensics.apart(tables, curves).to_dict("records")
    ]
    return _table(["cell", "printed ACC", "end of its curve", "printed - curve"], rows)


def _impossible(_: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    rows = [
        [
            f"Figure {row['figure']}, {_panel(row['init'], row['density'])}, {row['growth']}",
            str(row["task"]),
            f"{row['accuracy_percent']:.2f}",
            f"{row['alone_percent']:.2f}",
        ]
        for row in forensics.impossible(curves).to_dict("records")
    ]
    return _table(["curve", "task", "mean so far", "this task alone"], rows)


def _leads(_: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    rows = []
    for (figure, density), own in _panels(statements.erk_leads(curves)):
        by_growth = own.set_index("growth").lead
        leads = [_signed(by_growth[growth], 1) for growth in GROWTHS]
        rows.append([figure, density, *leads, _of(own.lead > 0)])
    return _table(["ERK - uniform", "sparsity", *GROWTHS, "ERK ahead"], rows)


def _ranges(_: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    rows = []
    for (figure, density), own in _panels(statements.growth_ranges(curves)):
        own = own.set_index("init")
        values = [f"{own.range[init]:.1f}" for init in ("uniform", "erk")]
        leads = [_signed(own.guided_lead[init], 1) for init in ("uniform", "erk")]
        rows.append([figure, density, *values, *leads])
    head = ["range over growths", "sparsity", "uniform", "ERK"]
    return _table([*head, "informed - random, uniform", "informed - random, ERK"], rows)


def _best(_: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    rows = [
        [
            _panel(row["init"], row["density"]),
            str(row["best"]),
            str(row["second"]),
            f"{row['lead']:.2f}",
            f"{row['range']:.2f}",
        ]
        for row in statements.best_intervals(curves).to_dict("records")
    ]
    head = ["Figure A", "best interval", "second best", "its lead", "range over four"]
    return _table(head, rows)


def _learned(_: pd.DataFrame, curves: pd.DataFrame) -> list[str]:
    strict, loose = statements.learned(curves), statements.learned(curves, share=0.5)
    own = strict.assign(both=[f"{a} / {b}" for a, b in zip(strict.learned, loose.learned)])
    rows = []
    for figure in ("2", "3", "4"):
        for init in ("uniform", "erk"):
            cells = own[(own.figure == figure) & (own.init == init) & (own.density == 0.2)]
            by_growth = cells.set_index("growth").both
            rows.append([SETTINGS[figure], _init(init), *(by_growth[g] for g in GROWTHS)])
    return _table(["tasks learned, sparsity 80%", "init", *GROWTHS], rows)


BLOCKS: dict[str, Numbers] = {
    "intervals": _intervals,
    "spreads": _spreads,
    "grid": _grid,
    "ratio": _ratio,
    "single": _single,
    "forward": _forward,
    "backward": _backward,
    "adaptive": _adaptive,
    "apart": _apart,
    "impossible": _impossible,
    "leads": _leads,
    "ranges": _ranges,
    "best": _best,
    "learned": _learned,
}
"""Every table of the page by its name."""


def _panels(table: pd.DataFrame) -> Iterable[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each figure and density, from low to high sparsity, with their words."""
    for figure, name in SETTINGS.items():
        own = table[table.figure == figure].sort_values("density", ascending=False, kind="stable")
        for density, rows in own.groupby("density", sort=False):
            yield (f"{name} (Figure {figure})", _sparsity(float(str(density)))), rows


def _panel(init: str, density: float) -> str:
    return f"{_init(init)} {_sparsity(density)}"


def _init(name: str) -> str:
    return "ERK" if name == "erk" else name


def _sparsity(density: float) -> str:
    return f"{round(100 * (1 - density)):d}%"


def _of(true: pd.Series) -> str:
    return f"{int(true.sum())} of {len(true)}"


def _signed(value: float, digits: int) -> str:
    """Without a minus before a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(head), ["---"] + ["---:"] * (len(head) - 1), *(list(row) for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]
