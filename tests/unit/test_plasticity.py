"""What is seen of a network as a task begins: dead channels, gradient and rank; and no trace."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dstcl.continual.capacity import with_plasticity
from dstcl.continual.library import PROTOCOLS
from dstcl.continual.plasticity import (
    dead_channels,
    effective_rank,
    open_channels,
    plasticity_rows,
)
from dstcl.continual.task_training import TaskTraining
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.evaluation.collect import LONG_TABLES, long_table
from dstcl.study.columns import CAPACITY, PLASTICITY
from dstcl.study.run import Run
from helpers.runs import changed, learner

TASKS = split_classes(10, 5, "natural")


# Dead channels


def test_a_channel_is_dead_if_no_free_weight_of_it_has_a_gradient() -> None:
    """Rows: moved; moved by a frozen weight alone; not moved; not moved and all frozen."""
    gradient = torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    frozen = torch.tensor([[1, 0], [1, 0], [0, 0], [1, 1]]).bool()
    assert open_channels(frozen).tolist() == [True, True, True, False]
    assert dead_channels(gradient, frozen).tolist() == [False, True, True, False]


def test_channels_of_kernels_are_their_outputs() -> None:
    gradient = torch.zeros(2, 3, 3, 3)
    gradient[1, 2, 0, 1] = -1e-30
    assert dead_channels(gradient, torch.zeros(2, 3, 3, 3).bool()).tolist() == [True, False]


# Effective rank


@pytest.mark.parametrize("size", [1, 3])
def test_the_rank_of_equal_directions_is_their_number(size: int) -> None:
    assert effective_rank(-2 * torch.eye(5)[:, :size]) == pytest.approx(size)


def test_the_rank_is_the_entropy_of_singular_values() -> None:
    outputs = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    size = torch.linalg.svdvals(outputs.double())
    shares = size / size.sum()
    expected = float(torch.distributions.Categorical(probs=shares).entropy().exp())
    assert effective_rank(outputs) == pytest.approx(expected)
    assert 1 < expected < 6


@pytest.mark.parametrize(("value", "rank"), [(0.0, 0.0), (1.0, 1.0), (torch.inf, torch.nan)])
def test_the_rank_of_equal_numbers(value: float, rank: float) -> None:
    assert effective_rank(torch.full((4, 3), value)) == pytest.approx(rank, nan_ok=True)


# Of a network


def three_layers() -> nn.Sequential:
    """Two convolutions of weights of one, with batch norm and ReLU, and a head."""
    torch.manual_seed(0)
    network = nn.Sequential(
        # Of one input alone, batch norm would undo any change of the weight.
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5),
        nn.Conv2d(3, 2, 1, bias=False), nn.BatchNorm2d(2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2),
    )  # fmt: skip
    with torch.no_grad():
        for name in ("0", "4"):
            network.get_submodule(name).weight.fill_(1.0)
    return network


def rows_of(network: nn.Module, **frozen: Tensor) -> dict[str, dict[str, Any]]:
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(32, 1, 4, 4, generator=draws)
    labels = torch.randint(2, (32,), generator=draws)
    weights = {n: p for n, p in network.named_parameters() if n in ("0.weight", "4.weight")}
    held = {n: frozen.get(f"of_{n[0]}", torch.zeros_like(w).bool()) for n, w in weights.items()}
    rows = plasticity_rows(network, weights, held, nn.functional.cross_entropy, (images, labels))
    return {row.pop("layer"): row for row in rows}


def test_empty_and_unread_channels_are_dead() -> None:
    network = three_layers()
    with torch.no_grad():
        network[0].weight[0] = 0.0  # no input: behind batch norm and ReLU nothing comes back
        network[4].weight[:, 1] = 0.0  # nothing reads the second channel
    rows = rows_of(network)
    assert (rows["0.weight"]["channels"], rows["0.weight"]["dead"]) == (3, 2)
    assert (rows["4.weight"]["channels"], rows["4.weight"]["dead"]) == (2, 0)
    assert rows["0.weight"]["rank"] == 1  # of three outputs one is zero, two are the same
    assert rows["0.weight"]["gradient"] > 0
    held = torch.zeros(3, 1, 3, 3).bool()
    held[:2] = True
    assert rows_of(network, of_0=held)["0.weight"] | {"gradient": 0} == {
        "channels": 1, "dead": 0, "rank": 1.0, "gradient": 0,
    }  # fmt: skip


def test_a_network_without_any_path_has_no_gradient() -> None:
    network = three_layers()
    nn.init.zeros_(network[4].weight)
    rows = rows_of(network)
    assert [(row["channels"], row["dead"]) for row in rows.values()] == [(3, 3), (2, 2)]
    assert [row["gradient"] for row in rows.values()] == [0, 0]
    assert [row["rank"] for row in rows.values()] == [1, 0]


def test_looking_leaves_no_trace() -> None:
    """In batch norm, the mode, gradients and random numbers; dropout would draw some."""
    network = three_layers().eval()
    before, random = deepcopy(network.state_dict()), torch.get_rng_state()
    first = rows_of(network)
    assert not network.training
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks for module in network.modules())
    assert rows_of(network) == first


class Counting(nn.Module):
    """Puts a new tensor in the place of its buffer, and makes another buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("last", None)

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = self.seen + 1
        self.last = inputs
        self.register_buffer("first", inputs)
        return self.norm(self.layer(inputs))


def test_modes_of_single_modules_and_replaced_buffers_are_what_they_were() -> None:
    network = Counting()
    network.norm.eval()
    seen, weight = network.seen, network.layer.weight
    plasticity_rows(
        network, {"layer.weight": weight}, {"layer.weight": torch.zeros_like(weight).bool()},
        nn.functional.cross_entropy, (torch.randn(5, 4), torch.randint(3, (5,))),
    )  # fmt: skip
    modes = (network.training, network.layer.training, network.norm.training)
    assert modes == (True, True, False)
    assert network.seen is seen
    assert (float(network.seen), network.last) == (0.0, None)
    assert set(dict(network.named_buffers())) == {
        "seen", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked",
    }  # fmt: skip
    assert int(network.norm.num_batches_tracked) == 0


def test_numbers_that_are_not_finite_are_left_out() -> None:
    network = three_layers()
    with torch.no_grad():
        network[0].weight[0] = torch.inf
    rows = rows_of(network)
    assert rows["0.weight"]["rank"] is None
    assert rows["0.weight"]["gradient"] is None


class Unusual(nn.Module):
    """A transposed convolution, a layer that is not called, and one that is given a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 3, 1), nn.ConvTranspose2d(3, 2, 2)
        self.unused, self.token = nn.Linear(4, 4), nn.Linear(5, 2)

    def forward(self, images: Tensor) -> Tensor:
        token = self.token(torch.ones(5))
        return self.up(self.down(images)).mean((2, 3)) + token


def test_layers_of_all_kinds_are_looked_at_as_far_as_there_is_something_to_see() -> None:
    torch.manual_seed(0)
    network = Unusual()
    weights = {n: p for n, p in network.named_parameters() if n.endswith("weight")}
    held = {name: torch.zeros_like(weight).bool() for name, weight in weights.items()}
    batch = torch.randn(4, 1, 3, 3), torch.tensor([0, 1, 0, 1])
    rows = plasticity_rows(network, weights, held, nn.functional.cross_entropy, batch)
    found = {row["layer"]: row for row in rows}
    assert (found["down.weight"]["channels"], found["down.weight"]["dead"]) == (3, 0)
    assert (found["up.weight"]["channels"], found["up.weight"]["dead"]) == (None, None)
    assert found["up.weight"]["gradient"] > 0
    unused = found["unused.weight"]
    assert [unused[name] for name in PLASTICITY] == [4, None, None, None]
    assert found["token.weight"]["rank"] == 1


def test_more_channels_than_outputs_have_the_rank_of_the_outputs() -> None:
    outputs = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    assert effective_rank(outputs) == pytest.approx(effective_rank(outputs.T))


# In a run


def test_looking_changes_no_run(
    short_run: Run, digits: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = changed(short_run, learn=2, epochs=1, init="uniform", density=0.05)
    looked = learner(run, digits, TASKS)
    looked.fit()
    monkeypatch.setattr(TaskTraining, "plasticity", lambda stage: [])
    blind = learner(run, digits, TASKS)
    blind.fit()
    assert looked.outcome.accuracy == blind.outcome.accuracy
    assert looked.outcome.history == blind.outcome.history
    for name, value in looked.network.state_dict().items():
        assert torch.equal(value, blind.network.state_dict()[name]), name
    rows, blanks = looked.outcome.capacity(), blind.outcome.capacity()
    assert [row | dict.fromkeys(PLASTICITY) for row in rows] == blanks
    assert sum(row["dead"] for row in rows) > 0  # uniform masks leave channels without input
    assert all(0 <= row["dead"] <= row["channels"] <= 8 for row in rows)


def test_a_resumed_run_looks_once(short_run: Run, digits: Prepared) -> None:
    run = changed(short_run, learn=2, epochs=1)
    whole, states = learner(run, digits, TASKS), []
    whole.pause = lambda state, task_end: states.append(deepcopy(state()))
    whole.fit()
    for state in (states[3], states[-2]):
        resumed = learner(run, digits, TASKS)
        resumed.load_state_dict(state)
        resumed.fit()
        assert resumed.outcome.capacity() == whole.outcome.capacity()
    del states[3]["plasticity"]  # as in a checkpoint of earlier code
    resumed = learner(run, digits, TASKS)
    resumed.load_state_dict(states[3])
    resumed.fit()
    assert [row["dead"] is None for row in resumed.outcome.capacity()] == [True] * 3 + [False] * 3


@pytest.mark.parametrize(
    "method", ["joint", "ewc", "separate", "static", "packnet", "wsn", "supsup", "hat", "nispa"]
)
def test_every_kind_of_method_is_looked_at(method: str, short_run: Run, digits: Prepared) -> None:
    run = changed(short_run, method=method, growth="none", tasks=2, epochs=1)
    if run.facts.dense:
        run = replace(run, density=1.0, init="none")
    rows = learner(run, digits, TASKS[:2]).fit().capacity()
    assert {row["task"] for row in rows} == ({1} if method == "joint" else {1, 2})
    if method == "supsup":  # its weights are never trained
        assert all((row["channels"], row["dead"], row["gradient"]) == (0, 0, 0) for row in rows)
    else:
        assert all(row["gradient"] > 0 and row["rank"] >= 1 for row in rows if row["channels"])
        assert any(row["channels"] for row in rows)


@pytest.mark.parametrize("batch_norm", ["batch", "shared"])
def test_the_published_protocol_is_looked_at(
    batch_norm: str, short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, growth="random", tasks=2, epochs=1)
    run = replace(run, switches=replace(PROTOCOLS["published"], batch_norm=batch_norm))
    rows = learner(run, digits, TASKS[:2]).fit().capacity()
    assert all(row["channels"] and row["gradient"] > 0 and row["rank"] >= 1 for row in rows)


# In tables


def test_tables_of_older_runs_are_read_with_blanks(tmp_path: Any, short_run: Run) -> None:
    folder = tmp_path / short_run.folder
    folder.mkdir(parents=True)
    new = ",".join(CAPACITY)
    for header, line, expected in [
        ("task,layer,size,active,new,shared,free", "1,a,9,3,3,0,6", "1,a,9,3,3,0,6,,,,"),
        ("layer,task,size,active,new,shared,free", "a,1,9,3,3,0,6", "1,a,9,3,3,0,6,,,,"),
        (new, "1,a,9,3,3,0,6,3,1,0.5,2", "1,a,9,3,3,0,6,3,1,0.5,2"),
    ]:
        (folder / "capacity.csv").write_text(f"{header}\n{line}\n")
        text = long_table("capacity", LONG_TABLES["capacity"], [short_run], tmp_path)
        assert text == f"digest,{new}\n{short_run.digest},{expected}\n"


def test_what_was_not_seen_is_none() -> None:
    rows = [{"task": 1, "layer": "a"}, {"task": 2, "layer": "a"}]
    seen = [{"task": 2, "layer": "a", "channels": 4, "dead": 1, "gradient": 0.1, "rank": 2.0}]
    first, second = with_plasticity(rows, seen)
    assert first == rows[0] | dict.fromkeys(PLASTICITY)
    assert second == seen[0]
