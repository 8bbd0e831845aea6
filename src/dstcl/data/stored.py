"""What training reads: a prepared data set and a task split.

Both carry a digest of all that they hold. It is compared with the content before anything is
computed: of a prepared file when it is new to this machine or has changed, then remembered.

Apart from the modules that write them, so that another reader or check re-trains nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstcl.data.contents import remembered
from dstcl.storage import read_json, read_tensors

if TYPE_CHECKING:
    from torch import Tensor

AGAIN = "delete it and make it again"
PIECE = 4096
"""Images that are hashed at a time."""


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        images: uint8, (N, C, S, S).
        labels: int64, (N,).
        is_test: bool, (N,).
        class_names: by label.
        mean, std: for normalisation, on the scale 0 to 1, one value per channel.
        digest: over all of these; see `content_digest`.
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
    """Open a prepared file whose content is what its digest says; images stay on disk until used.

    Raises:
        ValueError: naming the file, if it is missing, damaged, changed or of another kind.
    """
    # Before it is read: what changes from here on is not taken for what was checked.
    files = [(path.name, path.stat())] if path.is_file() else []
    data = read_prepared(path)
    found = remembered(f"data digest of {path.absolute()}", files, lambda: content_digest(data))
    if found != data.digest:
        raise ValueError(
            f"{path}: its content has the digest {found}, not {data.digest} as when it was "
            f"prepared; {AGAIN}"
        )
    return data


def read_prepared(path: Path) -> Prepared:
    """Open a prepared file without comparing its content with its digest.

    Raises:
        ValueError: naming the file, if it is missing, damaged or of another kind.
    """
    tensors, metadata = read_tensors(path)
    keys = ("class_names", "mean", "std", "digest")
    if not tensors.keys() >= {"images", "labels", "is_test"} or not metadata.keys() >= set(keys):
        raise ValueError(f"{path}: not a prepared data set")
    data = Prepared(
        tensors["images"],
        tensors["labels"],
        tensors["is_test"],
        *(metadata.get(key, "") for key in (*keys, "dataset")),
    )
    if problem := _problem(data):
        raise ValueError(f"{path}: not a prepared data set ({problem}); {AGAIN}")
    return data


def _problem(data: Prepared) -> str:
    """What parts do not fit together, or ""."""
    shape, count = data.images.shape, len(data.images)
    kinds = [str(t.dtype) for t in (data.images, data.labels, data.is_test)]
    if kinds != ["torch.uint8", "torch.int64", "torch.bool"] or len(shape) != 4 or not count:
        return "other numbers than those of images"
    if data.labels.shape != (count,) or data.is_test.shape != (count,):
        return f"labels or split are not those of {count} images"
    if not isinstance(data.class_names, list) or not data.class_names:
        return "no names of classes"
    low, high = int(data.labels.min()), int(data.labels.max())
    if low < 0 or high >= len(data.class_names):
        return f"labels from {low} to {high}; there are {len(data.class_names)} classes"
    for name, values in (("mean", data.mean), ("std", data.std)):
        if not isinstance(values, list) or len(values) != shape[1]:
            return f"{name}: {values!r}; {shape[1]} values are needed"
    return ""


def content_digest(data: Prepared) -> str:
    """Sixteen hexadecimal digits over all of a data set that training sees, computed anew.

    Pixels, labels and split, and the `described` rest, in this order.
    """
    digest = hashlib.sha256()
    for tensor in (data.images, data.labels, data.is_test):
        for piece in tensor.split(PIECE):
            digest.update(piece.contiguous().numpy().data)
    digest.update(described(data.dataset, data.class_names, data.mean, data.std, data.images.shape))
    return digest.hexdigest()[:16]


def described(
    dataset: str,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    shape: Sequence[int],
) -> bytes:
    """What a data digest covers beside pixels, labels and split: a line of JSON.

    Args:
        shape: (N, C, S, S) of the images.
    """
    facts = [dataset, list(class_names), list(mean), list(std), list(shape)]
    return json.dumps(facts).encode()


def read_tasks(path: Path) -> dict[str, Any]:
    """The content of a file of `write_tasks`.

    Raises:
        ValueError: naming the file, if it is missing, no split, or not as it was written.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not {"tasks", "data_digest", "digest"} <= content.keys():
        raise ValueError(f"{path}: not a task split")
    found = split_digest(content)
    if found != content["digest"]:
        raise ValueError(
            f"{path}: its content has the digest {found}, not {content['digest']} as when it was "
            f"written; {AGAIN}"
        )
    return content


def split_digest(content: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits over a task split, but for the digest in it."""
    held = {key: value for key, value in content.items() if key != "digest"}
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:16]
