"""What a mark of a figure is a mean over: the same cells in every seed, and in what is beside it.

As in comparisons.csv, a mean over growths or over varied settings is made of the same cells in
every seed. The marks of a panel are read against each other, so they share the values of varied
settings too: else a difference between two settings would show as one between two growths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import METHOD_BLOCK, NOT_READ, SUBNETWORK, mean_over, varied_axes
from dstcl.evaluation.compare import in_every_seed
from dstcl.evaluation.shared_values import Values, that_all_have
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.statistics import mean_interval
from dstcl.figures.style import sparsity
from dstcl.figures.tables import NotDrawnError

APART = "settings"
"""Column with the values of varied settings, where the marks of a panel share none."""
NOT_SHARED = "not in the means, as others in the panel lack it"
MISSING = "not in the means, as runs are missing"
EACH_APART = "each value by itself, as those compared share none"
MOST_NAMED = 6
PANEL, CELL_NUMBER = "_panel", "_cell"
"""Columns of runs, while they are chosen: numbers of the panel, and of the cell of a mean."""


@dataclass(frozen=True)
class Averaged:
    """Rows of a table that means may be taken over.

    Attributes:
        rows: with the column `APART`, if ``apart`` has it.
        apart: `APART` if it tells marks apart, else nothing.
        note: what the means are over and what they leave out; "" where there is nothing to say.
    """

    rows: pd.DataFrame
    apart: tuple[str, ...]
    note: str


def over_seeds(
    values: pd.DataFrame, by: list[str], column: str, *, by_seed: bool = False
) -> pd.DataFrame:
    """Mean of a column over seeds with its 95% interval: ``by``, seeds, mean, low, high.

    Several values of a seed count as their mean: of the same cells in every seed, as `same_cells`
    chooses them. Where asked for, ``by_seed`` has the value of each seed, as numbers with spaces
    between them.
    """
    rows, per_seed = [], values.groupby([*by, "seed"], sort=False, as_index=False)[[column]].mean()
    for key, group in per_seed.groupby(by, sort=False):
        estimate = mean_interval(group[column].tolist())
        each = " ".join(f"{value:.10g}" for value in group[column])
        rows.append((*key, len(group), estimate.mean, estimate.low, estimate.high, each))
    table = pd.DataFrame(rows, columns=[*by, "seeds", "mean", "low", "high", "by_seed"])
    return table if by_seed else table.drop(columns="by_seed")


def same_cells_of_growths(rows: pd.DataFrame) -> Averaged:
    """`same_cells` for panels of one init and density, with a line for each growth."""
    return same_cells(rows, [*METHOD_BLOCK, *SUBNETWORK], ["growth"])


def same_cells(rows: pd.DataFrame, panel: Sequence[str], mark: Sequence[str]) -> Averaged:
    """The rows of those runs that the marks of every panel may be means over.

    A mark keeps the values of varied settings that all marks of its panel have, and of these the
    cells that are there in every seed. Where the marks of a panel share no value, each value is a
    mark of its own, told apart by the column `APART`.

    Args:
        rows: one or several of each run, with the axes.
        panel: columns that tell panels apart.
        mark: columns that tell the marks of a panel apart. Panel or mark has the method.

    Raises:
        NotDrawnError: nothing is left.
    """
    own = [*panel, *mark]
    varied = [axis for axis in varied_axes(rows) if axis not in own]
    cell = [axis for axis in ("growth", *varied) if axis not in own]
    if rows.empty or not cell:
        return Averaged(rows, (), "")
    runs = rows[[*own, *cell, "seed"]].drop_duplicates(ignore_index=True)
    numbers = {
        name: runs.groupby(list(columns), sort=False).ngroup()
        for name, columns in ((PANEL, panel), (CELL_NUMBER, cell))
    }
    columns = _Columns(tuple(panel), (*mark, APART), tuple(varied), tuple(cell))
    chosen = _choose(runs.assign(**numbers, **{APART: ""}), columns)
    notes = list(_notes(chosen, columns))
    kept = chosen.runs[chosen.reason == ""]
    if kept.empty:
        raise NotDrawnError(f"no mean has the same runs in every seed ({together(notes)})")
    means = mean_over(kept, varied, [*own, APART])
    apart = (APART,) if chosen.apart else ()
    if apart or len(kept) < len(runs):
        keys = [*own, *cell, "seed"]
        rows = rows.merge(kept[[*keys, *apart]], on=keys)
    return Averaged(rows, apart, together([means, *notes]))


def together(notes: Iterable[str]) -> str:
    """Several notes as one, each said once."""
    return "; ".join(dict.fromkeys(filter(None, notes)))


@dataclass(frozen=True)
class _Columns:
    """Columns of runs, by what they do."""

    panel: tuple[str, ...]
    mark: tuple[str, ...]
    varied: tuple[str, ...]
    cell: tuple[str, ...]


@dataclass
class _Choice:
    """Runs of all panels; why each is left out, "" if it is not; and panels whose marks share no
    value of varied settings."""

    runs: pd.DataFrame
    reason: pd.Series[str]
    apart: set[int]


def _choose(runs: pd.DataFrame, columns: _Columns) -> _Choice:
    """Until nothing changes: cells that one mark loses because runs are missing are shared no
    more."""
    found = _Choice(runs, pd.Series("", runs.index), set())
    reads = {axis: set(runs["method"][runs[axis] != NOT_READ]) for axis in columns.varied}
    while True:
        kept = runs[found.reason == ""]
        shared, without = _shared(kept[~kept[PANEL].isin(found.apart)], columns, reads)
        if without:
            for panel in without:
                again = runs[PANEL] == panel
                runs.loc[again, APART] = _settings(runs[again], columns)
                found.reason[again] = ""
            found.apart |= without
            continue
        found.reason[shared.index[~shared]] = NOT_SHARED
        whole = _whole(runs[found.reason == ""], columns)
        found.reason[whole.index[~whole]] = MISSING
        if whole.all():
            return found


def _shared(
    runs: pd.DataFrame, columns: _Columns, reads: Mapping[str, set[str]]
) -> tuple[pd.Series[bool], set[int]]:
    """Whether all marks of its panel have a run's varied settings; and panels in which some mark
    has none that all others have.

    A method that does not read a setting goes with each of its values.
    """
    keys, found = [], dict[int, dict[Any, set[Values]]]()
    for row in runs.to_dict("records"):
        mark = tuple(row[name] for name in columns.mark)
        values = tuple(row[n] if row["method"] in reads[n] else None for n in columns.varied)
        keys.append((row[PANEL], values))
        found.setdefault(row[PANEL], {}).setdefault(mark, set()).add(values)
    common = {panel: that_all_have(marks.values()) for panel, marks in found.items()}
    without = {
        panel
        for panel, marks in found.items()
        if any(common[panel].isdisjoint(values) for values in marks.values())
    }
    kept = [values in common[panel] for panel, values in keys]
    return pd.Series(kept, runs.index, dtype=bool), without


def _whole(runs: pd.DataFrame, columns: _Columns) -> pd.Series[bool]:
    """Whether a run is of a seed and a cell of those that are the same in every seed of a mark."""
    marks = runs.groupby([PANEL, *columns.mark], sort=False)
    full = marks["seed"].transform("nunique") * marks[CELL_NUMBER].transform("nunique")
    ragged = runs[full > marks["seed"].transform("size")]
    kept = pd.Series(True, runs.index)
    for _, own in ragged.assign(_run=1.0).groupby([PANEL, *columns.mark], sort=False):
        found = in_every_seed(own.pivot_table("_run", "seed", CELL_NUMBER))
        kept[own.index] = own["seed"].isin(found.index) & own[CELL_NUMBER].isin(found.columns)
    return kept


def _settings(runs: pd.DataFrame, columns: _Columns) -> list[str]:
    """Values of the settings that vary in these runs, as words."""
    names = _differing(runs, columns.varied)
    return [
        ", ".join(f"{n.rpartition('.')[2]} {row[n]}" for n in names if row[n] != NOT_READ)
        for row in runs.to_dict("records")
    ]


def _differing(runs: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [name for name in names if runs[name].nunique() > 1]


def _notes(chosen: _Choice, columns: _Columns) -> Iterator[str]:
    """A sentence for each reason: what is left out, of which marks, in which panels."""
    panels = chosen.runs.drop_duplicates(PANEL).set_index(PANEL)[[*columns.panel]]
    of_marks: dict[tuple[str, str], dict[str, list[int]]] = {}
    for reason, what, mark, panel in _losses(chosen, columns):
        of_marks.setdefault((reason, what), {}).setdefault(mark, []).append(panel)
    said: dict[str, list[str]] = {}
    for (reason, what), found in of_marks.items():
        marks: dict[str, list[str]] = {}
        for mark, own in found.items():
            marks.setdefault(_place(panels.loc[own], panels), []).append(mark)
        for place, names in marks.items():
            of = f" of {named(names)}" if any(names) else ""
            said.setdefault(reason, []).append(f"{what}{of}{place}")
    for reason, words in said.items():
        yield f"{reason}: {named(words)}"


def _losses(chosen: _Choice, columns: _Columns) -> Iterator[tuple[str, str, str, int]]:
    """Reason, what is left out, of which mark, number of the panel."""
    runs, reason = chosen.runs, chosen.reason
    for panel in sorted(chosen.apart):
        names = _differing(runs[runs[PANEL] == panel], columns.varied)
        yield EACH_APART, " and ".join(names), "", panel
    for key, own in runs.groupby([PANEL, *columns.mark], sort=False):
        left = own[reason[own.index] == ""]
        mark = " · ".join(_words(dict(zip(columns.mark, key[1:]))))
        for why in (NOT_SHARED, MISSING):
            if len(lost := own[reason[own.index] == why]):
                yield why, _loss(lost, left, why, columns), mark, int(own[PANEL].iloc[0])


def _loss(lost: pd.DataFrame, left: pd.DataFrame, reason: str, columns: _Columns) -> str:
    """What a mark loses: all runs, seeds, or cells."""
    if left.empty:
        return "all runs"
    seeds = sorted(set(lost["seed"]) - set(left["seed"]))
    if reason == MISSING and seeds:
        return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    within = columns.cell if reason == MISSING else columns.varied
    names = _differing(pd.concat([lost, left]), within)
    cells = lost[names].drop_duplicates().to_dict("records")
    if len(names) == 1:
        return f"{names[0]} {', '.join(str(row[names[0]]) for row in cells)}"
    return " and ".join(" with ".join(f"{n} {v}" for n, v in row.items()) for row in cells)


def _place(some: pd.DataFrame, panels: pd.DataFrame) -> str:
    """Which of the panels these are, by what they have in common; "" for all."""
    if len(some) == len(panels):
        return ""
    common = {
        str(name): some[name].iloc[0]
        for name in panels
        if panels[name].nunique() > 1 and some[name].nunique() == 1
    }
    return f" ({', '.join([*_words(common), f'{len(some)} of {len(panels)} panels'])})"


def _words(axes: Mapping[str, Any]) -> list[str]:
    """Values of axes as figures have them; a dense method has no density."""
    dense = axes.get("init") == NOT_READ
    made = {"density": sparsity, "tasks": "{} tasks".format}
    return [
        made[name](value) if name in made else spelled(str(value))
        for name, value in axes.items()
        if value not in (NOT_READ, "") and not (dense and name == "density")
    ]


def named(words: Sequence[str]) -> str:
    """The first of several words, and how many more there are."""
    more = [f"{len(words) - MOST_NAMED} more"] if len(words) > MOST_NAMED else []
    return ", ".join([*words[:MOST_NAMED], *more])
