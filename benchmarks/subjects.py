"""What is trained in benchmarks: runs and data that need neither params.yaml nor images, so that a
machine with Python and torch alone can measure."""

from __future__ import annotations

from pathlib import Path

import torch

from dstcl.data.stored import Prepared
from dstcl.runs import Run
from dstcl.storage import read_json

CLASSES = 10


def paper_run() -> Run:
    """A run of preset paper (benchmarks/run.json; a test keeps it in step with params.yaml)."""
    return Run.from_dict(read_json(Path(__file__).with_name("run.json")))


def random_data(images: int, size: int, channels: int) -> Prepared:
    """Two tasks of ten classes; pixels do not matter for speed."""
    labels = torch.arange(2 * images) % (2 * CLASSES)
    return Prepared(
        images=torch.randint(256, (2 * images, channels, size, size), dtype=torch.uint8),
        labels=labels,
        is_test=torch.arange(2 * images) % 10 == 9,
        class_names=[str(label) for label in range(2 * CLASSES)],
        mean=[0.5] * channels,
        std=[0.25] * channels,
        digest="random",
    )
