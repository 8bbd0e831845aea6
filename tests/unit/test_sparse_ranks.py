"""Training in two processes over gloo, as on two GPUs: one model, one mask, whatever is seeded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dstcl.sparse import DynamicSparseTraining

STEPS, BATCH = 13, 8


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 3)).double()


def training(model: nn.Module, **changes: Any) -> DynamicSparseTraining:
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    settings = {
        "density": 0.3, "update_every": 3, "total_steps": 20, "stop_at": 1.0, "frozen": {},
    }  # fmt: skip
    return DynamicSparseTraining(model, optimizer, **(settings | changes))


def loss(model: nn.Module, inputs: Tensor) -> Tensor:
    return (model(inputs) - inputs[:, :3].square()).square().mean()


def learn(dst: DynamicSparseTraining, model: nn.Module, rank: int, ranks: int) -> None:
    draws = torch.Generator().manual_seed(7)
    for _ in range(STEPS):
        inputs = torch.randn(BATCH, 12, generator=draws, dtype=torch.float64)
        dst.optimizer.zero_grad()
        loss(model, inputs.chunk(ranks)[rank]).backward()
        dst.step()


def kept(dst: DynamicSparseTraining) -> dict[str, Any]:
    names = [name.removeprefix("module.") for name in dst.weights]
    return {
        "masks": dict(zip(names, dst.masks.values())),
        "weights": {n: w.detach() for n, w in zip(names, dst.weights.values())},
        "stored": dict(zip(names, dst.stored.values())),
        "updates": dst.updates,
    }


def one_rank(rank: int, ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks
    )
    results = {}
    for grow in ("gradient", "random"):
        for before in (True, False):
            torch.manual_seed(100 + rank)  # other weights and other draws on each rank
            model = network()
            shared = None if before else DistributedDataParallel(model)
            dst = training(model if before else shared, grow=grow)
            learn(dst, shared or DistributedDataParallel(model), rank, ranks)
            results[grow, before] = kept(dst)
    torch.manual_seed(100 + rank)
    results["apart"] = kept(training(network(), sync=False))
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(one_rank, (2, str(folder)), nprocs=2)
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(2)]


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_ranks_have_the_same_masks_whatever_seeds_they_have(
    grow: str, before: bool, ranks: list[Any]
) -> None:
    first, second = (results[grow, before] for results in ranks)
    assert first["updates"] == second["updates"] == 4
    for what in ("masks", "weights", "stored"):
        assert equal(first[what], second[what]), what


@pytest.mark.slow
def test_two_halves_of_a_batch_are_the_batch(ranks: list[Any]) -> None:
    torch.manual_seed(100)
    model = network()
    dst = training(model, grow="gradient")
    learn(dst, model, 0, 1)
    assert equal(dst.masks, ranks[0]["gradient", True]["masks"])
    torch.testing.assert_close(
        list(dst.weights.values()), list(ranks[0]["gradient", True]["weights"].values()),
        check_device=False,
    )  # fmt: skip


@pytest.mark.slow
def test_ranks_with_models_of_their_own_are_left_alone(ranks: list[Any]) -> None:
    first, second = (results["apart"] for results in ranks)
    assert not equal(first["masks"], second["masks"])
    assert not equal(first["stored"], second["stored"])
