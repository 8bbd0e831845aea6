"""What a reader should know of a study before hours are spent."""

from __future__ import annotations

import pytest

from dstcl.study.load import load_file, runs
from dstcl.study.remarks import remarks
from helpers.runs import REPOSITORY, changed, quick_run

PAPER = runs(load_file(REPOSITORY / "params.yaml", "paper", ["table-1"]))


def test_presets_of_the_repository_give_no_cause_for_remarks() -> None:
    for preset in ("quick", "paper"):
        assert remarks(runs(load_file(REPOSITORY / "params.yaml", preset))) == []


def test_an_interval_longer_than_a_task_is_said() -> None:
    """Twenty tasks of 2,500 images, 25 epochs, batch 128: 500 steps."""
    (line,) = remarks([changed(PAPER[0], update_every=501), changed(PAPER[1], update_every=501)])
    assert line == (
        "topology.update_every: 501; a task of cifar100 with 20 tasks has 500 steps under "
        "published, so masks are never updated (2 runs)"
    )
    assert remarks([changed(PAPER[0], update_every=500)]) == []


@pytest.mark.parametrize(("every", "said"), [(375, 0), (376, 1)])
def test_a_protocol_that_fixes_masks_earlier_counts(every: int, said: int) -> None:
    corrected = quick_run().switches
    run = changed(PAPER[0], update_every=every, stop_at=corrected.stop_at)
    found = remarks([run])
    assert len(found) == said
    assert all("500 steps and fixes masks at 0.75 of them" in line for line in found)


def test_methods_that_never_update_give_no_cause() -> None:
    run = changed(PAPER[0], method="static", growth="none", update_every=10**6)
    assert remarks([run]) == []
