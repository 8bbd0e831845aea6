"""Reading result files so that every mistake names its file."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

Rows = list[dict[str, float]]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a file into a ValueError that names it."""
    try:
        yield
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error


def table(path: Path, required: Iterable[str], optional: Sequence[str] = ()) -> Rows:
    """Numeric columns of a CSV file without the empty optional cells; ValueError names the file."""
    with naming(path), path.open(newline="") as file:
        return [
            {name: float(row[name]) for name in [*required, *filter(row.get, optional)]}
            for row in csv.DictReader(file)
        ]


def reference(path: Path) -> str:
    """``md5  path`` as md5sum prints it; the path counts from the folder that holds results/."""
    _, results, below = path.as_posix().rpartition("results/")
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'md5').hexdigest()}  {results}{below}"
