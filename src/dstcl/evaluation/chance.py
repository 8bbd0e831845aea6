"""Which settings let an accuracy change although the network does not."""

from __future__ import annotations

from dstcl.study.run import Run


def measured_with_chance(run: Run) -> str:
    """The settings in force under which a test draws random numbers, in words; "" if none does.

    A finished task is tested anew after every later task, each time with random numbers of its own.
    """
    found = []
    if run.switches.batch_norm == "batch":
        found.append("batch_norm is batch: statistics of test batches that are shuffled")
    if run.switches.test_augment and run.training.augment != "none":
        found.append(f"test_augment is true: test images get {run.training.augment} at random")
    return "; ".join(found)
