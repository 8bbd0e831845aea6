"""Masks after many updates equal recorded ones, so that recorded runs can be made again.

The digests were made before selection was made faster (commit 42e473b). Weights and gradients are
small multiples of a power of two and nothing is summed, so that no machine or thread count rounds
anything differently; the coarse grid also makes many ties. Only a change that is meant to change
results may change a digest.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dstcl.continual.published import PublishedSparseTraining
from dstcl.sparse import DynamicSparseTraining, GradualMagnitudePruning, SparseTraining
from dstcl.sparse.masks import pack_mask

UPDATES = 12


def grid(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Values in [-4, 4) in steps of 1/256."""
    return torch.randint(-1024, 1024, shape, generator=generator) / 256


def network(generator: torch.Generator) -> nn.Sequential:
    """Never run: gradients are set by hand."""
    model = nn.Sequential(nn.Linear(512, 300, bias=False), nn.Conv2d(16, 32, 3, bias=False))
    for weight in model.parameters():
        weight.data = grid(weight.shape, generator)
    return model


def digest(made: type[SparseTraining], **changes: Any) -> str:
    """Of the masks and explored weights after each of twelve updates."""
    generator = torch.Generator().manual_seed(7)
    model = network(generator)
    frozen = {
        name: torch.randint(3, weight.shape, generator=generator) == 0
        for name, weight in model.named_parameters()
    }
    optimizer = torch.optim.SGD(model.parameters(), lr=0.125)
    draws = torch.Generator().manual_seed(8)
    sparse = made(
        model, optimizer, density=0.2, update_every=1, stop_at=1.0, frozen=frozen,
        total_steps=UPDATES + 1, generator=draws, **changes,
    )  # fmt: skip
    found = hashlib.sha256()
    for _ in range(UPDATES):
        for weight in model.parameters():
            weight.grad = grid(weight.shape, generator)
        sparse.step()
        for masks in (sparse.masks, sparse.explored):
            for mask in masks.values():
                found.update(bytes(pack_mask(mask).tolist()))
    found.update(bytes(draws.get_state().tolist()))
    return found.hexdigest()[:16]


CORRECTED = {
    ("magnitude", "random"): "7f1e99a7bd60cd37",
    ("magnitude", "unfired"): "c6050331bd109c93",
    ("magnitude", "gradient"): "3b0c7b62641486cb",
    ("magnitude", "momentum"): "9d12079384a94992",
    ("set", "random"): "db917e83cfff2f75",
    ("taylor", "gradient"): "9058c09a34aa78fa",
    ("random", "random"): "6ad4abf3d088b0b1",
}

PUBLISHED = {
    "random": "fcf050639da8906f",
    "unfired": "73693bcd9587d72e",
    "gradient": "2873ea542756ada4",
    "momentum": "d3d013f7cd3467a4",
}


@pytest.mark.parametrize(("prune", "grow"), CORRECTED)
def test_masks_of_protocol_corrected(prune: str, grow: str) -> None:
    found = digest(
        DynamicSparseTraining, prune=prune, grow=grow, prune_schedule="constant", init="erk"
    )
    assert found == CORRECTED[prune, grow]


@pytest.mark.parametrize("grow", PUBLISHED)
def test_masks_of_protocol_published(grow: str) -> None:
    found = digest(
        PublishedSparseTraining, grow=grow, prune_schedule="constant", init="uniform",
        candidates="frozen_without_gradient", regrown="zero",
    )  # fmt: skip
    assert found == PUBLISHED[grow]


def test_masks_of_competing_layers_with_free_candidates() -> None:
    found = digest(
        DynamicSparseTraining, grow="unfired", redistribute="nonzeros", candidates="free"
    )
    assert found == "0957cd9e7775dde9"


def test_masks_of_gradual_pruning() -> None:
    assert digest(GradualMagnitudePruning) == "1726db9a1742a174"
