"""Models that are not ours: each takes a mask, steps, and an update with exact counts."""

from __future__ import annotations

import warnings

import pytest
import torch
from model_zoo import MAKE, NOT_TRAINED, TIMM, loss_of, torchvision_names

from dstcl.sparse import DynamicSparseTraining

NAMES = [("torchvision", name) for name in torchvision_names()] + [("timm", name) for name in TIMM]
SMALL = (
    "test_", "mnasnet", "mobilenet", "regnet", "shufflenet", "squeezenet", "resnet18", "googlenet",
)  # fmt: skip
"""Those that take a second at most begin so; the others are slow together."""


def cases() -> list[object]:
    return [
        pytest.param(
            library, name, id=f"{library} {name}",
            marks=() if name.startswith(SMALL) else (pytest.mark.slow,),
        )
        for library, name in NAMES
    ]  # fmt: skip


@pytest.mark.parametrize(("library", "name"), cases())
def test_a_model_is_trained_sparsely(library: str, name: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    if name in NOT_TRAINED:
        pytest.skip(NOT_TRAINED[name])
    torch.manual_seed(0)
    model, inputs = MAKE[library](name)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="stays dense")
        dst = DynamicSparseTraining(
            model, optimizer, density=0.1, total_steps=8, update_every=2, stop_at=1.0
        )
    masks = {name: mask.clone() for name, mask in dst.masks.items()}
    for _ in range(2):
        optimizer.zero_grad()
        loss_of(model, inputs).backward()
        dst.step()

    total = sum(weight.numel() for weight in dst.weights.values())
    assert dst.updates == 1
    assert sum(dst.budget.values()) == pytest.approx(0.1 * total, abs=len(dst.weights))
    for weight_name, weight in dst.weights.items():
        mask = dst.masks[weight_name]
        assert int(mask.count_nonzero()) == dst.budget[weight_name]
        assert not weight[~mask].any()
        assert weight.isfinite().all()
    sparse = [n for n, w in dst.weights.items() if w.grad is not None and not dst.masks[n].all()]
    changed = [n for n in sparse if not torch.equal(dst.masks[n], masks[n])]
    assert len(changed) > 0.9 * len(sparse) > 0  # few weights may come back all at once


def test_the_zoo_is_large() -> None:
    assert len(set(NAMES)) == len(NAMES) >= 100
    assert not set(NOT_TRAINED) - {name for _, name in NAMES}
