"""Sparse training in processes that the user's own program starts, as in notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_loops import trained
from training_in_ranks import BATCHES, EPOCHS, RANKS

SCRIPT = Path(__file__).with_name("training_launched.py")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _in_double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def run(launcher: str, folder: Path) -> list[Any]:
    """What every process has written."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), launcher, str(folder)],
        cwd=folder, env=own | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


def assert_one_training(ranks: list[Any]) -> None:
    """All processes have made the training of a plain loop over the whole batches."""
    alone, _ = trained(BATCHES, epochs=EPOCHS, generator=torch.Generator().manual_seed(50))
    assert alone.updates == 4
    for found in ranks:
        whole = found["whole"]
        assert whole["steps"] == EPOCHS * BATCHES
        for mine, other in zip(alone.masks.values(), whole["masks"], strict=True):
            assert torch.equal(mine, other)
        for mine, other in zip(ranks[0]["whole"]["parameters"], whole["parameters"], strict=True):
            assert torch.equal(mine, other)
        torch.testing.assert_close(list(alone.model.parameters()), whole["parameters"])


def test_accelerate_in_a_notebook(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    ranks = run("notebook_launcher", tmp_path)
    assert_one_training(ranks)
    for found in ranks:
        for what in ("masks", "explored", "parameters"):
            pairs = zip(found["whole"][what], found["resumed"][what], strict=True)
            assert all(torch.equal(one, other) for one, other in pairs), what


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_lightning_that_starts_processes_has_the_weights_and_says_where_the_state_is(
    strategy: str, tmp_path: Path
) -> None:
    pytest.importorskip("lightning", reason="lightning is not installed")
    ranks = run(strategy, tmp_path)
    assert_one_training(ranks)
    parent = torch.load(tmp_path / "parent.pt", weights_only=True)
    pairs = zip(parent["parameters"], ranks[0]["whole"]["parameters"], strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert parent["dst"].startswith("dst: training ran in processes that have ended (ddp_spawn, ")
    [told] = [text for text in parent["warnings"] if "sparse" in text]
    assert told.startswith("checkpoint without sparse state: training ran in processes that have")
    assert "\n" not in told + parent["dst"]
