"""Masks for averaged copies of the model, whatever they are wrapped in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from dstcl.sparse import DynamicSparseTraining, SparseTraining


def training(model: nn.Module, masks: dict[str, list[list[int]]]) -> SparseTraining:
    given = {name: torch.tensor(mask, dtype=torch.bool) for name, mask in masks.items()}
    return SparseTraining(model, torch.optim.SGD(model.parameters(), 0.1), masks=given)


def network() -> nn.Sequential:
    """Two layers of ones."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model


MASKS = {"0.weight": [[1, 0, 0], [0, 1, 1]], "1.weight": [[0, 1], [1, 1]]}


def assert_masked(model: nn.Module) -> None:
    values = [p.tolist() for p in model.parameters()]
    assert values == [MASKS["0.weight"], [1, 1], MASKS["1.weight"], [1, 1]]


@pytest.mark.parametrize(
    "wrap",
    [
        copy.deepcopy,
        AveragedModel,
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: AveragedModel(torch.compile(model, backend="eager")),
        lambda model: nn.Sequential(torch.compile(model[0], backend="eager"), model[1]),
    ],
    ids=["copy", "average", "parallel", "compiled", "average of compiled", "layer compiled"],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_a_copy_gets_the_masks_of_now(
    wrap: Callable[[nn.Module], nn.Module], compiled: bool
) -> None:
    model = torch.compile(network(), backend="eager") if compiled else network()
    prefix = "_orig_mod." if compiled else ""
    dst = training(model, {prefix + name: mask for name, mask in MASKS.items()})
    other = wrap(network())
    dst.mask_model(other)
    assert_masked(other)


def test_a_copy_in_distributed_data_parallel(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        other = DistributedDataParallel(network())
        training(network(), MASKS).mask_model(AveragedModel(other))
        training(network(), MASKS).mask_model(other)
    finally:
        dist.destroy_process_group()
    assert_masked(other)


def test_an_average_over_different_masks_is_as_sparse_as_the_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    dst = DynamicSparseTraining(
        model, optimizer, density=0.2, total_steps=12, update_every=2, stop_at=1.0
    )
    average = AveragedModel(model)
    for _ in range(12):
        optimizer.zero_grad()
        model(torch.randn(8, 20)).square().sum().backward()
        dst.step()
        average.update_parameters(model)
    weights = {name: average.module.get_parameter(name) for name in dst.weights}
    denser = {name: weight.detach().clone() for name, weight in weights.items()}
    assert sum(int(w.count_nonzero()) for w in denser.values()) > sum(dst.budget.values())
    dst.mask_model(average)
    for name, weight in weights.items():
        assert torch.equal(weight, denser[name] * dst.masks[name])


def test_a_submodule_that_is_called_like_that_of_a_wrapper_is_itself() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(2, 1, bias=False)
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.module(inputs * self.weight)

    dst = training(Named(), {"module.weight": [[0, 1]]})
    other = Named()
    nn.init.ones_(other.module.weight)
    average = AveragedModel(other)
    dst.mask_model(average)
    assert average.module.module.weight.tolist() == [[0, 1]]
    assert average.module.weight.tolist() == [1, 1]


def test_every_name_of_a_tied_weight_is_masked() -> None:
    def tied() -> nn.Sequential:
        model = nn.Sequential(nn.Embedding(2, 3), nn.Linear(3, 2, bias=False))
        nn.init.ones_(model[1].weight)
        model[0].weight = model[1].weight
        return model

    dst = training(tied(), {"1.weight": [[1, 0, 0], [0, 1, 1]]})
    apart = tied()
    apart[0].weight = nn.Parameter(torch.ones(2, 3))
    dst.mask_model(apart)
    assert apart[0].weight.tolist() == apart[1].weight.tolist() == [[1, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (nn.Linear(3, 2), r"model: masked weight '0.weight' is not in it; give a copy"),
        (nn.Sequential(nn.Linear(3, 2)), r"model: masked weight '1.weight' is not in it"),
        (
            nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3)),
            r"model: '1.weight' has shape \(3, 2\) there, \(2, 2\) here",
        ),
    ],
)
def test_another_model_is_refused_and_stays_as_it_is(other: nn.Module, message: str) -> None:
    before = [p.detach().clone() for p in other.parameters()]
    with pytest.raises(ValueError, match=message) as refusal:
        training(network(), MASKS).mask_model(other)
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))
