"""Continual-learning metrics as plain functions of the accuracy matrix.

``R[i][j]`` is the accuracy on task j measured after learning task i, both counted from 1, in
[0, 1]; row 0 is the untrained network. Definitions: Lopez-Paz and Ranzato 2017 for ACC, BWT and
FWT; Chaudhry et al. 2018 for forgetting; Riemer et al. 2019 for learning accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

Matrix = dict[tuple[int, int], float]


def accuracy_matrix(rows: Iterable[Mapping[str, Any]]) -> Matrix:
    """Rows ``after_task, task, accuracy`` (accuracy.csv) as ``{(i, j): R[i][j]}``."""
    return {(int(r["after_task"]), int(r["task"])): float(r["accuracy"]) for r in rows}


def number_of_tasks(matrix: Matrix) -> int:
    """Tasks learned, T."""
    return max(after for after, _ in matrix)


def in_sequence(matrix: Matrix) -> bool:
    """Whether tasks were learned one after the other. Where all were learned at once there is only
    a last row, and every measure of what happens between tasks is None."""
    return all((task, task) in matrix for task in range(1, number_of_tasks(matrix) + 1))


def acc(matrix: Matrix) -> float:
    """ACC: mean accuracy over all tasks after the last one, ``mean_j R[T][j]``."""
    last = number_of_tasks(matrix)
    return fmean(matrix[last, task] for task in range(1, last + 1))


def bwt(matrix: Matrix) -> float | None:
    """Backward transfer, ``mean_{j<T} (R[T][j] - R[j][j])``; None for a single task."""
    last = number_of_tasks(matrix)
    if not in_sequence(matrix):
        return None
    return _mean(matrix[last, task] - matrix[task, task] for task in range(1, last))


def fwt(matrix: Matrix) -> float | None:
    """Forward transfer, ``mean_{j>1} (R[j-1][j] - R[0][j])``; None for a single task.

    With a head of its own for each task, a task's head is untrained until the task is: both
    terms are guesses, and FWT says how lucky they were, not how useful the shared weights are.
    """
    last = number_of_tasks(matrix)
    if not in_sequence(matrix):
        return None
    return _mean(matrix[task - 1, task] - matrix[0, task] for task in range(2, last + 1))


def forgetting(matrix: Matrix) -> float | None:
    """``mean_{j<T} (max_{j<=i<T} R[i][j] - R[T][j])``; None for a single task."""
    last = number_of_tasks(matrix)
    if not in_sequence(matrix):
        return None
    return _mean(
        max(matrix[after, task] for after in range(task, last)) - matrix[last, task]
        for task in range(1, last)
    )


def learning_accuracy(matrix: Matrix) -> float | None:
    """Mean accuracy on each task right after learning it, ``mean_j R[j][j]``."""
    if not in_sequence(matrix):
        return None
    return fmean(matrix[task, task] for task in range(1, number_of_tasks(matrix) + 1))


def running_mean(matrix: Matrix) -> list[float]:
    """Mean accuracy over the tasks seen so far, after each task: the paper's curve.

    The paper's code averages the final row instead (docs/published-code.md, d6); the two are equal
    when nothing is forgotten.
    """
    last = number_of_tasks(matrix)
    rows = range(1, last + 1) if in_sequence(matrix) else [last]
    return [fmean(matrix[i, j] for j in range(1, i + 1)) for i in rows]


def all_metrics(matrix: Matrix) -> dict[str, float | None]:
    """Every metric by the name of its column in summary.csv."""
    return {
        "acc": acc(matrix),
        "bwt": bwt(matrix),
        "fwt": fwt(matrix),
        "forgetting": forgetting(matrix),
        "learning_accuracy": learning_accuracy(matrix),
    }


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return fmean(values) if values else None
