"""One file a data set, decoded once: uint8 images, labels and the split, with a digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dstcl.data.catalog import DATASETS
from dstcl.data.sources import read_source
from dstcl.storage import read_tensors, write_tensors


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        images: uint8, (N, C, S, S).
        labels: int64, (N,).
        is_test: bool, (N,).
        class_names: by label.
        mean, std: for normalisation, on the scale 0 to 1, one value a channel.
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


def prepare(dataset: str, image_size: int, out: Path) -> str:
    """Read a data set and write its prepared file; returns the digest.

    Raises:
        DataError: see `dstcl.data.sources.read_source`.
    """
    source = read_source(dataset, image_size)
    tensors = {
        "images": torch.from_numpy(source.pixels),
        "labels": torch.from_numpy(source.labels),
        "is_test": torch.from_numpy(source.is_test),
    }
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(tensor.numpy().tobytes())
    info = DATASETS[dataset]
    metadata = {
        "dataset": dataset,
        "class_names": source.class_names,
        "mean": info.mean,
        "std": info.std,
        "digest": digest.hexdigest()[:16],
    }
    write_tensors(out, tensors, metadata)
    return str(metadata["digest"])


def load_prepared(path: Path) -> Prepared:
    """Open a prepared file.

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
