"""What the page holds of single runs: accuracy matrix, densities of layers, overlap of masks.

They are most of a page of a thousand runs, so they are packed (`packed`), and equal ones are held
once: seeds of a configuration mostly have the same densities.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Shares = NDArray[np.float64]
"""Numbers from 0 to 1; NaN where there is none."""
MISSING = 0xFFFF
"""Stands for a number that there is not, in a packed grid."""


@dataclass
class Details:
    """What is known of runs, by the run's place on the page.

    Attributes:
        grids: packed shares, which the others name by their place.
        stacks: layers, from input to output, each with its number of weights.
        accuracy: number of tasks, and the accuracy matrix: a row after each task, from none on.
        layers: stack, densities (a row a task, a column a layer), and a grid of three columns: a
            task's density over all layers, the share of its weights that an earlier task uses,
            and the share of all weights that any task so far uses.
        overlap: Jaccard index of each pair of tasks: 2 with 1, 3 with 1, 3 with 2, and so on.
    """

    grids: list[str] = field(default_factory=list)
    stacks: list[list[tuple[str, int]]] = field(default_factory=list)
    accuracy: dict[int, tuple[int, int]] = field(default_factory=dict)
    layers: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    overlap: dict[int, int] = field(default_factory=dict)
    _places: dict[Any, int] = field(default_factory=dict)

    def add_accuracy(self, path: Path, table: pd.DataFrame, runs: dict[str, int]) -> None:
        """Add accuracy matrices.

        Args:
            path: of the table, for messages.
            table: accuracy.csv of a study.
            runs: by digest, places on the page; others are left out.

        Raises:
            ValueError: a row that cannot be; the line names file and run.
        """
        for run, own in _by_run(path, table, runs, after_task=0, task=1):
            matrix = _filled(own["after_task"], own["task"] - 1, own["accuracy"])
            self.accuracy[run] = (matrix.shape[1], self._grid(path, matrix))

    def add_layers(self, path: Path, table: pd.DataFrame, runs: dict[str, int]) -> None:
        """Add densities of layers; arguments and errors as of `add_accuracy`, of capacity.csv."""
        for run, own in _by_run(path, table, runs, task=1):
            layer, names = pd.factorize(own["layer"])
            task = own["task"] - 1
            size, active, shared, free = (
                _filled(task, layer, own[name]) for name in ("size", "active", "shared", "free")
            )
            stack = list(zip(names, np.nanmax(size, axis=0).astype(int).tolist()))
            with np.errstate(divide="ignore", invalid="ignore"):
                densities = active / size
                sums = size.sum(1), active.sum(1), shared.sum(1), free.sum(1)
                whole = [sums[1] / sums[0], sums[2] / sums[1], 1 - sums[3] / sums[0]]
            grids = (self._grid(path, densities), self._grid(path, np.stack(whole, axis=1)))
            self.layers[run] = (self._place(tuple(stack), self.stacks, stack), *grids)

    def add_overlap(self, path: Path, table: pd.DataFrame, runs: dict[str, int]) -> None:
        """Add overlaps of masks; arguments and errors as of `add_accuracy`, of overlap.csv."""
        for run, own in _by_run(path, table, runs, task=2, other=1):
            if (own["other"] >= own["task"]).any():
                raise ValueError(f"{path}: other must be a task before task")
            pairs = _filled(own["task"] - 1, own["other"] - 1, own["jaccard"])
            self.overlap[run] = self._grid(path, pairs[np.tril_indices(len(pairs), -1)])

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def _grid(self, path: Path, shares: Shares) -> int:
        try:
            text = packed(shares)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return self._place(text, self.grids, text)

    def _place(self, key: Any, there: list[Any], value: Any) -> int:
        """Place of a value among those that are there, where it comes to stand if it is new."""
        if key not in self._places:
            self._places[key] = len(there)
            there.append(value)
        return self._places[key]


def packed(shares: Shares) -> str:
    """Hundredths of a per cent, two bytes each with the lower one first, in base64.

    Args:
        shares: of any shape, row by row.

    Raises:
        ValueError: a number is not between 0 and 1.
    """
    values = np.round(10_000 * shares)
    wrong = (values < 0) | (values > 10_000)
    if wrong.any():
        raise ValueError(f"{shares[wrong][0]:g} is not a share between 0 and 1")
    numbers = np.where(np.isnan(values), MISSING, values)
    return b64encode(numbers.astype("<u2").tobytes()).decode("ascii")


def _by_run(
    path: Path, table: pd.DataFrame, runs: dict[str, int], **first: int
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Rows of each run that is on the page.

    Args:
        path: of the table, for messages.
        table: with a column digest.
        runs: places by digest.
        **first: columns that count something, and where each begins.
    """
    for name, least in first.items():
        number = table[name]
        # No table of a run has more tasks than rows; a larger number would be a large grid.
        most = table.groupby("digest")[name].transform("size") + least
        wrong = (number < least) | (number > most) | (number % 1 != 0)
        if wrong.any():
            raise ValueError(
                f"{path}: run {table['digest'][wrong].iloc[0]} has no such {name}: "
                f"{number[wrong].iloc[0]:g}"
            )
    for digest, own in table.groupby("digest", sort=False):
        if digest in runs:
            yield runs[str(digest)], own


def _filled(rows: Any, columns: Any, values: Any) -> Shares:
    """A grid with each value at its row and column, counted from 0."""
    down, across = np.asarray(rows, int), np.asarray(columns, int)
    grid = np.full((down.max() + 1, across.max() + 1), np.nan)
    grid[down, across] = values
    return grid
