"""What training reads: a prepared data set and a task split.

Apart from the modules that write them, so that another reader or check re-trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstcl.storage import read_json, read_tensors

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        images: uint8, (N, C, S, S).
        labels: int64, (N,).
        is_test: bool, (N,).
        class_names: by label.
        mean, std: for normalisation, on the scale 0 to 1, one value per channel.
        digest: over pixels, labels and split.
        dataset: name of the data set.
    """

    images: Tensor
    labels: Tensor
    is_test: Tensor
    class_names: list[str]
    mean: list[float]
    std: list[float]
    digest: str
    dataset: str = ""


def load_prepared(path: Path) -> Prepared:
    """Open a prepared file; images stay on disk until they are used.

    Raises:
        ValueError: naming the file, if it is missing, damaged or of another kind.
    """
    tensors, metadata = read_tensors(path)
    keys = ("class_names", "mean", "std", "digest")
    if not tensors.keys() >= {"images", "labels", "is_test"} or not metadata.keys() >= set(keys):
        raise ValueError(f"{path}: not a prepared data set")
    return Prepared(
        tensors["images"],
        tensors["labels"],
        tensors["is_test"],
        *(metadata.get(key, "") for key in (*keys, "dataset")),
    )


def read_tasks(path: Path) -> dict[str, Any]:
    """The content of a file of `write_tasks`.

    Raises:
        ValueError: naming the file, if it is missing or no split.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"tasks", "data_digest", "digest"} <= content.keys():
        raise ValueError(f"{path}: not a task split")
    return content
