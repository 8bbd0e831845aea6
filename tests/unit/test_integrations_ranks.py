"""Sparse training in two processes, as each framework starts them: one model, mask and state."""

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
from torch import Tensor
from training_in_ranks import BATCHES, EPOCHS, RANKS

SCRIPT = Path(__file__).with_name("training_in_ranks.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
LAUNCHERS = {"lightning": [], "transformers": TORCHRUN, "accelerate": TORCHRUN}
STATES = {
    "lightning": ["epoch=0.ckpt", "epoch=1.ckpt"],
    "transformers": [f"checkpoint-{n}/sparse_training.safetensors" for n in (2, 4, 6, 8)],
    "accelerate": ["custom_checkpoint_0.pkl"],
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=LAUNCHERS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
        and request.param
    )


@pytest.fixture(scope="module")
def folder(framework: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what both processes have written."""
    folder = tmp_path_factory.mktemp(framework)
    command = [sys.executable, *LAUNCHERS[framework], str(SCRIPT), framework, str(folder)]
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=folder, env=own | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[Any]:
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(RANKS)]


@pytest.fixture
def in_double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def equal(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_ranks_have_the_same_masks_and_weights_whatever_seeds_they_have(ranks: list[Any]) -> None:
    for which in ("whole", "resumed"):
        first, second = (found[which] for found in ranks)
        assert first["steps"] == second["steps"] == EPOCHS * BATCHES
        for what in ("masks", "explored", "weights", "parameters"):
            assert equal(first[what], second[what]), (which, what)


def test_growth_sees_the_gradient_of_all_ranks(ranks: list[Any], in_double: None) -> None:
    alone, _ = trained(BATCHES, epochs=EPOCHS, generator=torch.Generator().manual_seed(50))
    whole = ranks[0]["whole"]
    assert alone.updates == 4
    assert equal(list(alone.masks.values()), whole["masks"])
    torch.testing.assert_close(list(alone.model.parameters()), whole["parameters"])


def test_all_ranks_go_on_from_the_state_that_one_has_written(
    framework: str, folder: Path, ranks: list[Any]
) -> None:
    below = folder / "checkpoints"
    states = {Path(name).name for name in STATES[framework]}
    found = [str(p.relative_to(below)) for p in below.rglob("*") if p.name in states]
    assert sorted(found) == STATES[framework]
    for found in ranks:
        for what in ("masks", "explored", "parameters"):
            assert equal(found["whole"][what], found["resumed"][what]), what
