"""Columns of a run's tables: training writes them, and evaluation reads them."""

from __future__ import annotations

ACCURACY = ("after_task", "task", "accuracy")
HISTORY = (
    "task",
    "epoch",
    "loss",
    "accuracy",
    "validation_accuracy",
    "learning_rate",
    "prune_rate",
    "density",
    "explored",
)
PLASTICITY = ("channels", "dead", "gradient", "rank")
"""How well a layer could learn as its task began; see `dstcl.continual.plasticity`."""
CAPACITY = ("task", "layer", "size", "active", "new", "shared", "free", *PLASTICITY)
OVERLAP = ("task", "other", "shared", "jaccard")
DECISIONS = ("task", "step", "layer", "what", "value", "evidence")
