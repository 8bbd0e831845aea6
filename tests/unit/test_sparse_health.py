"""Trainings that look sound and are not: masks that act on nothing, weights that are no numbers."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import dynamic, small_network, train
from torch import nn

from dstcl.sparse import DynamicSparseTraining, GradualMagnitudePruning, SparseTraining

STRAY = r"inactive weights are not zero: .*'3\.weight'.*; call restore\(\)"
REPLACED = r"the model has other tensors than those that are masked.*'3\.weight'.*anew"


def sgd(model: nn.Module, rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), rate, momentum=0.9)


def backward(model: nn.Module) -> None:
    nn.functional.cross_entropy(
        model(torch.randn(4, 1, 8, 8)), torch.tensor([0, 1, 2, 3])
    ).backward()


def ask_everything(dst: SparseTraining, folder: Path, message: str) -> None:
    for ask in (dst.log, dst.summary, dst.state_dict, lambda: dst.save(folder / "state")):
        with pytest.warns(UserWarning, match=message):
            ask()


def is_silent(dst: SparseTraining, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dst.log()
        dst.summary(torch.zeros(1, 1, 8, 8))
        dst.state_dict()
        dst.save(folder / "state")


def test_an_optimiser_that_is_not_attached_is_noticed(tmp_path: Path) -> None:
    model = small_network()
    dst = dynamic(model, sgd(model))
    dst.attach()
    backward(model)
    sgd(model).step()  # a trainer has made its own
    ask_everything(dst, tmp_path, STRAY)
    dst.restore()
    is_silent(dst, tmp_path)


def test_dense_weights_that_were_loaded_are_noticed(tmp_path: Path) -> None:
    model = small_network()
    dense = copy.deepcopy(model.state_dict())
    dst = dynamic(model, sgd(model))
    model.load_state_dict(dense)
    ask_everything(dst, tmp_path, STRAY)
    dst.restore()
    is_silent(dst, tmp_path)


def test_weights_that_were_assigned_are_noticed(tmp_path: Path) -> None:
    model = small_network()
    dst = dynamic(model, sgd(model))
    model.load_state_dict(copy.deepcopy(model.state_dict()), assign=True)
    ask_everything(dst, tmp_path, REPLACED)
    backward(model)
    with pytest.raises(RuntimeError, match=f"no gradient: {REPLACED}"):
        dst.step()


@pytest.mark.parametrize("other", [nn.Conv2d(4, 6, 3, stride=2), nn.Identity()])
def test_a_layer_that_was_replaced_is_noticed(other: nn.Module, tmp_path: Path) -> None:
    model = small_network()
    dst = dynamic(model, sgd(model))
    model[3] = other
    for ask in (dst.log, dst.summary, dst.state_dict):
        with pytest.warns(UserWarning, match=REPLACED):
            ask()


@pytest.mark.parametrize("regrown", ["stored", "zero"])
@pytest.mark.parametrize("structure", ["none", "fan-in:ablate"])
@pytest.mark.parametrize("attached", [True, False])
def test_a_sound_training_is_told_nothing(
    regrown: str, structure: str, attached: bool, tmp_path: Path
) -> None:
    """With frozen weights, updates, decay, a copy, a conversion and a state that was loaded."""
    model = small_network()
    frozen = {n: torch.rand(w.shape) < 0.3 for n, w in model.named_parameters() if w.dim() > 1}
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
    frozen = {} if structure != "none" else frozen
    dst = dynamic(model, optimizer, frozen=frozen, regrown=regrown, structure=structure)
    is_silent(dst, tmp_path)
    if attached:
        dst.attach()
        for _ in range(7):
            optimizer.zero_grad()
            backward(model)
            optimizer.step()
    else:
        train(dst, model, 7)
    is_silent(dst, tmp_path)
    is_silent(copy.deepcopy(dst), tmp_path)
    other = small_network(1)
    optimizer = torch.optim.AdamW(other.parameters(), 0.01, weight_decay=0.1)
    resumed = dynamic(other, optimizer, frozen=frozen, regrown=regrown, structure=structure)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(dst.state_dict())
    is_silent(resumed, tmp_path)
    other.double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed.log()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [DynamicSparseTraining, GradualMagnitudePruning])
def test_divergence_is_told_once_at_the_next_update(bad: float, kind: Any) -> None:
    model = small_network()
    dst = kind(model, sgd(model), density=0.5, total_steps=20, update_every=3)
    train(dst, model, 1)
    with torch.no_grad():
        model[3].weight[dst.masks["3.weight"]] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backward(model)
        dst.step()  # a plain step does not wait for the device
    backward(model)
    with pytest.warns(UserWarning, match="not finite, training diverged: .*'3.weight'"):
        dst.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(dst, model, 6)
        dst.log()


def test_divergence_of_a_fixed_mask_is_told_by_the_log_once_and_again_after_loading() -> None:
    model = small_network()
    dst = SparseTraining(model, sgd(model), density=0.5)
    state = dst.state_dict()
    with torch.no_grad():
        model[3].weight[dst.masks["3.weight"]] = float("nan")
    with pytest.warns(UserWarning, match="not finite, training diverged: '3.weight'"):
        dst.log()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dst.log()
    dst.load_state_dict(state)
    with pytest.warns(UserWarning, match="not finite"):
        dst.log()
