"""Steps under what training loops do: scalers, clipping, closures, layers without gradients, and
gradients that are no numbers."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_networks import dynamic, one_layer, small_network, step_with_gradient, train
from torch import Tensor, nn

from dstcl.continual import DivergedError, SubnetStore
from dstcl.networks.build import build_network
from dstcl.sparse import (
    PRUNE,
    Criterion,
    DynamicSparseTraining,
    GradualMagnitudePruning,
    LayerView,
    SparseTraining,
    UpdateSchedule,
    foreach,
)
from dstcl.sparse.presets import DEFAULTS, PRESETS
from dstcl.sparse.redistribution import shares
from dstcl.sparse.schedule import rounded_up

ADAM: Callable[[Any], torch.optim.Optimizer] = lambda p: torch.optim.Adam(p, 0.01)  # noqa: E731
FUSED: Callable[[Any], torch.optim.Optimizer] = lambda p: torch.optim.Adam(p, 0.01, fused=True)  # noqa: E731
SGD: Callable[[Any], torch.optim.Optimizer] = lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)  # noqa: E731


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(1)
    return [
        (torch.randn(8, 1, 8, 8, generator=draws), torch.randint(5, (8,), generator=draws))
        for _ in range(count)
    ]


def backward(model: nn.Module, batch: tuple[Tensor, Tensor], scaler: Any = None) -> Tensor:
    images, labels = batch
    loss = nn.functional.cross_entropy(model(images), labels)
    (loss if scaler is None else scaler.scale(loss)).backward()
    return loss


def same(one: SparseTraining, other: SparseTraining) -> bool:
    return one.steps == other.steps and all(
        torch.equal(one.masks[name], other.masks[name])
        and torch.equal(one.weights[name], other.weights[name])
        for name in one.masks
    )


# Gradients that are no numbers


@pytest.mark.parametrize("spoiled", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("make", [ADAM, FUSED, SGD])
@pytest.mark.parametrize("what", ["inactive", "frozen"])
def test_an_infinite_gradient_of_a_weight_that_is_not_trained_changes_nothing(
    spoiled: float, make: Any, what: str
) -> None:
    model = small_network()
    frozen = {n: torch.rand(w.shape) < 0.5 for n, w in dynamic(small_network()).weights.items()}
    dst = dynamic(model, make(model.parameters()), frozen=frozen, grow="gradient")
    name = "6.weight"
    for batch in batches(7):
        dst.optimizer.zero_grad()
        backward(model, batch)
        active = dst.masks[name]
        where = ~active if what == "inactive" else active & frozen[name]
        dst.weights[name].grad[tuple(where.nonzero()[0])] = spoiled
        dst.step()
        assert all(p.isfinite().all() for p in model.parameters())
        kept = dst.masks[name] & frozen[name]
        assert torch.equal(dst.weights[name][kept], dst.stored[name][kept])
        assert not dst.weights[name][~dst.masks[name]].any()
    assert dst.updates == 2


def struck(bad: float, strike: str, **changes: Any) -> tuple[DynamicSparseTraining, nn.Module]:
    """Twenty updates; before the first, one gradient of a weight that is not trained is ``bad``."""
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))
    draws = torch.Generator().manual_seed(7)
    frozen = {
        name: torch.rand(w.shape, generator=draws) < 0.3
        for name, w in model.named_parameters()
        if w.dim() > 1
    }
    dst = dynamic(
        model, SGD(model.parameters()), preset="snfs", grow="random", density=0.4, update_every=1,
        total_steps=20, frozen=frozen, **changes,
    )  # fmt: skip
    masks = dst.masks["2.weight"]
    where = {"inactive": ~masks & ~frozen["2.weight"], "frozen": masks & frozen["2.weight"]}[strike]
    for step in range(20):
        for weight in model.parameters():
            weight.grad = torch.randn(weight.shape, generator=draws)
        if step == 0:
            model[2].weight.grad[tuple(where.nonzero()[0])] = bad
        dst.step()
    return dst, model


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("strike", ["inactive", "frozen"])
@pytest.mark.parametrize("candidates", ["all", "frozen_without_gradient"])
@pytest.mark.parametrize("redistribute", ["momentum", "gradient"])
def test_a_gradient_that_is_no_number_takes_nothing_from_its_layer(
    bad: float, strike: str, candidates: str, redistribute: str
) -> None:
    """Both layers have gradients of the same size, so neither ends with nearly nothing."""
    dst, _ = struck(bad, strike, candidates=candidates, redistribute=redistribute)
    assert all(moment.isfinite().all() for moment in dst._moments.first) if dst._moments else True
    assert min(dst.counts.values()) > 20
    assert sum(dst.counts.values()) == sum(dst.budget.values())


def test_a_mean_over_a_mask_counts_nothing_else_by_hand() -> None:
    """Over |-1|, 3 and an infinite one that are kept, the mean of what is finite is 2."""
    values = torch.tensor([-1.0, 3.0, math.inf, math.nan, 50.0])
    view = LayerView(values, values > 0, values, None, torch.Generator())
    kept = torch.tensor([True, True, True, False, False])
    assert shares([view], [kept], "gradient") == [2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_zeros_of_a_mask_are_those_of_a_product_bit_for_bit(dtype: torch.dtype) -> None:
    values = torch.tensor([-3.0, 3.0, -0.0, 0.0, -1e-40, 2.0], dtype=dtype)
    mask = torch.tensor([True, True, True, True, True, False])
    found, product = foreach.zero_where(mask, values), values * ~mask
    assert found.view(torch.uint8).tolist() == product.view(torch.uint8).tolist()
    bad = torch.tensor([-math.inf, math.inf, math.nan], dtype=dtype)
    assert foreach.zero_where(torch.ones(3, dtype=torch.bool), bad).tolist() == [0, 0, 0]


@pytest.mark.parametrize("regrown", ["stored", "zero"])
def test_an_active_weight_that_is_infinite_is_zero_once_it_is_pruned(regrown: str) -> None:
    """Weights 0 and 1 diverge and are no more; weight 3 is frozen."""
    model, dst = one_layer(
        [1.0, 1.0, 3.0, 4.0, 0.0, 0.0], [1, 1, 1, 1, 0, 0], grow="gradient", regrown=regrown,
        frozen={"0.weight": torch.tensor([[0, 0, 0, 1, 0, 0]]).bool()},
        prune=lambda layer: layer.weight.nan_to_num(-1.0),
    )  # fmt: skip
    with torch.no_grad():
        model[0].weight[0, :2] = math.nan
    step_with_gradient(model, dst, [0.0, 0.0, 0.0, 0.0, 1.0, 2.0])
    assert dst.masks["0.weight"].tolist() == [[False, False, True, True, True, True]]
    assert model[0].weight.tolist() == [[0, 0, 3, 4, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_types_are_kept_bit_for_bit(dtype: torch.dtype) -> None:
    model = nn.Linear(12, 12, bias=False).to(dtype)
    frozen = {"weight": torch.rand(12, 12) < 0.5}
    before = model.weight.detach().clone()
    dst = dynamic(model, SGD(model.parameters()), frozen=frozen, update_every=1)
    for _ in range(5):
        model.weight.grad = torch.randn(12, 12).to(dtype)
        model.weight.grad[0] = math.nan
        model.weight.grad *= ~frozen["weight"] & dst.masks["weight"] | (torch.arange(12) > 0)
        model.weight.grad[dst.masks["weight"] & ~frozen["weight"]] = 0.25
        dst.step()
    kept = dst.masks["weight"] & frozen["weight"]
    assert kept.any()
    assert torch.equal(model.weight[kept], before[kept])
    assert not model.weight[~dst.masks["weight"]].any()


def test_a_store_says_that_a_training_diverged() -> None:
    network = build_network("convnet", 1, 2, seed=0)
    store = SubnetStore(network, seed=0)
    for task in range(2):
        store.open_task(task)
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        dst = SparseTraining(
            network, optimizer, density=0.5, frozen=store.frozen(), exclude=store.unmasked
        )
        if task:
            with torch.no_grad():
                network.get_parameter("features.0.weight").fill_(math.nan)
            with pytest.raises(
                DivergedError, match=r"'features.0.weight' is not finite; .*diverged"
            ):
                store.close_task(dst)
        else:
            store.close_task(dst)


# Mixed precision and clipping


def test_gradients_that_were_unscaled_for_clipping_are_not_unscaled_again() -> None:
    one, other = small_network(), small_network()
    plain, scaled = dynamic(one), dynamic(other)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    for batch in batches(7):
        plain.optimizer.zero_grad()
        backward(one, batch)
        nn.utils.clip_grad_norm_(one.parameters(), 0.1)
        plain.step()
        scaled.optimizer.zero_grad()
        backward(other, batch, scaler)
        scaler.unscale_(scaled.optimizer)
        nn.utils.clip_grad_norm_(other.parameters(), 0.1)
        scaled.step(scaler)
        scaler.update()
    assert scaled.updates == 2
    assert all(torch.equal(plain.masks[name], scaled.masks[name]) for name in plain.masks)
    torch.testing.assert_close(list(one.parameters()), list(other.parameters()))


def test_clipping_can_see_the_norm_of_what_trains() -> None:
    """Gradients 3 and 4 of active weights, 12 of an inactive one: the norm is 5, not 13."""
    model, dst = one_layer([1.0, 1.0, 1.0], [1, 1, 0], grow="gradient", update_every=1)
    model[0].weight.grad = torch.tensor([[3.0, 4.0, 12.0]])
    dst.mask_gradients()
    assert float(nn.utils.clip_grad_norm_(model.parameters(), 1.0)) == pytest.approx(5)
    dst.step()
    assert dst.steps == 1
    assert dst.masks["0.weight"].tolist() == [[False, True, True]], "growth saw the 12"


def test_masking_first_changes_no_step() -> None:
    one, other = small_network(), small_network()
    plain, first = dynamic(one, grow="momentum"), dynamic(other, grow="momentum")
    for batch in batches(7):
        for model, dst in ((one, plain), (other, first)):
            dst.optimizer.zero_grad()
            backward(model, batch)
            if dst is first:
                dst.mask_gradients()
            dst.step()
    assert same(plain, first)


@pytest.mark.parametrize("attached", [False, True])
def test_a_skipped_step_after_masking_is_no_step(attached: bool) -> None:
    model = small_network()
    dst = dynamic(model, grow="momentum")
    if attached:
        dst.attach()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    for number, batch in enumerate(batches(3)):
        dst.optimizer.zero_grad()
        backward(model, batch, scaler)
        if number == 0:
            model[-1].bias.grad[0] = math.inf
        dst.mask_gradients(scaler)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if attached:
            scaler.step(dst.optimizer)
        else:
            dst.step(scaler)
        scaler.update()
        assert dst.steps == number
    assert all(p.isfinite().all() for p in model.parameters())
    assert dst._moments.score(0, dst.steps).isfinite().all()


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("grow", ["gradient", "momentum"])
def test_a_step_that_the_loop_skips_leaves_no_trace(grow: str, attached: bool) -> None:
    """Batches 2 and 4 have a norm that is not finite; 2 would have been an update."""

    def fit(skip: bool) -> DynamicSparseTraining:
        model = small_network()
        dst = dynamic(model, grow=grow)
        if attached:
            dst.attach()
        for number, batch in enumerate(batches(9)):
            if skip and number in (2, 4):
                continue
            dst.optimizer.zero_grad()
            backward(model, batch)
            if number in (2, 4):
                model[6].weight.grad.fill_(math.nan)
            dst.mask_gradients()
            if nn.utils.clip_grad_norm_(model.parameters(), 1.0).isfinite():
                (dst.optimizer if attached else dst).step()
        return dst

    skipped, plain = fit(False), fit(True)
    assert (skipped.steps, skipped.updates) == (7, 2)
    assert same(skipped, plain)
    if grow == "momentum":
        assert all(map(torch.equal, skipped._moments.first, plain._moments.first))


def test_a_running_gradient_has_every_step_once() -> None:
    """Momentum 0.9 of gradients 1 and 2, with a skipped 5 between: 2 + 0.9 * 1 = 2.9."""
    model, dst = one_layer([1.0, 1.0], [1, 0], grow="momentum", update_every=9)
    for gradient, stepped in ((1.0, True), (5.0, False), (2.0, True)):
        model[0].weight.grad = torch.full((1, 2), gradient)
        dst.mask_gradients()
        if stepped:
            dst.step()
    assert dst.state_dict()["moments"]["first"][0].tolist() == [pytest.approx([2.9, 2.9])]


def states(model: nn.Module, dst: SparseTraining) -> tuple[Any, Any, Any]:
    return copy.deepcopy((model.state_dict(), dst.optimizer.state_dict(), dst.state_dict()))


@pytest.mark.parametrize("grow", ["gradient", "momentum"])
@pytest.mark.parametrize("attached", [False, True])
def test_loading_a_state_forgets_a_step_that_was_masked_only(grow: str, attached: bool) -> None:
    """Batches 1 and 3 are spoiled: one between updates, one at the first of two."""

    def fit(spoiled: bool) -> DynamicSparseTraining:
        model = small_network()
        dst = dynamic(model, SGD(model.parameters()), grow=grow)
        if attached:
            dst.attach()
        for number, batch in enumerate(batches(9)):
            dst.optimizer.zero_grad()
            backward(model, batch)
            if number not in (1, 3):
                (dst.optimizer if attached else dst).step()
                saved = states(model, dst)
            elif spoiled:
                model[6].weight.grad[0, 0] = math.nan
                dst.mask_gradients()
                assert dst.state_dict()["steps"] == saved[2]["steps"]
                model.load_state_dict(saved[0])
                dst.optimizer.load_state_dict(saved[1])
                dst.load_state_dict(saved[2])
        return dst

    spoiled, plain = fit(True), fit(False)
    assert (spoiled.steps, spoiled.updates) == (7, 2)
    assert same(spoiled, plain)


def test_a_scaler_that_is_switched_off_is_none() -> None:
    one, other = small_network(), small_network()
    plain, scaled = dynamic(one), dynamic(other)
    train(plain, one, 4)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for batch in batches(4):
        scaled.optimizer.zero_grad()
        backward(other, batch, scaler)
        scaled.step(scaler)
        scaler.update()
    assert same(plain, scaled)


class Tokens(nn.Module):
    """An embedding with sparse gradients, before a masked layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(10, 8, sparse=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embedding(tokens))


def test_sparse_gradients_of_what_is_not_masked_may_be_scaled() -> None:
    def fit(scaler: torch.amp.GradScaler) -> SparseTraining:
        model = Tokens()
        optimizers = [
            torch.optim.SparseAdam(model.embedding.parameters(), 0.01),
            SGD(model.head.parameters()),
        ]
        dst = SparseTraining(model, optimizers, density=0.5, generator=torch.Generator())
        for number in range(4):
            tokens = torch.arange(number, number + 4)
            model.zero_grad()
            loss = nn.functional.cross_entropy(model(tokens), tokens % 3)
            scaler.scale(loss).backward()
            if number == 1 and scaler.is_enabled():
                model.embedding.weight.grad._values()[0, 0] = math.inf
            if number == 1 and not scaler.is_enabled():
                continue
            dst.step(scaler)
            scaler.update(64.0)
        return dst

    scaled = fit(torch.amp.GradScaler("cpu", init_scale=64.0))
    plain = fit(torch.amp.GradScaler("cpu", enabled=False))
    assert scaled.steps == 3
    assert same(scaled, plain)
    assert torch.equal(scaled.model.embedding.weight, plain.model.embedding.weight)


def test_a_masked_embedding_with_sparse_gradients_is_told_in_a_line() -> None:
    for training in (SparseTraining, DynamicSparseTraining):
        model, more = Tokens(), {"total_steps": 10} if training is DynamicSparseTraining else {}
        dst = training(model, SGD(model.parameters()), density=0.5, include="embedding", **more)
        model(torch.arange(4)).sum().backward()
        before = {name: weight.detach().clone() for name, weight in dst.weights.items()}
        for call in (dst.step, dst.mask_gradients):
            with pytest.raises(ValueError) as refusal:
                call()
            assert str(refusal.value) == (
                "'embedding.weight' is masked, but its gradient is a sparse tensor; make the layer "
                "with sparse=False, or leave it dense: not in include=, or in exclude="
            )
        assert dst.steps == 0
        assert all(torch.equal(weight, before[name]) for name, weight in dst.weights.items())


def test_a_sparse_embedding_that_is_tied_to_a_layer_has_a_dense_gradient() -> None:
    model = Tokens()
    model.head = nn.Linear(8, 10)
    model.head.weight = model.embedding.weight
    dst = SparseTraining(model, SGD(model.parameters()), density=0.5)
    model(torch.arange(4)).square().sum().backward()
    dst.step()
    assert int((model.embedding.weight != 0).sum()) == 40


def test_a_model_that_is_converted_too_late_is_told_in_a_line() -> None:
    """From float32 to float64 a weight of one column would else be masked wrongly."""
    for dtype, layer in ((torch.float64, nn.Linear(1, 6)), (torch.bfloat16, nn.Linear(6, 6))):
        dst = dynamic(nn.Sequential(layer), density=0.5)
        layer.to(dtype)
        layer.weight.grad = torch.ones_like(layer.weight)
        for call in (dst.step, dst.mask_gradients):
            with pytest.raises(ValueError) as refusal:
                call()
            assert str(refusal.value) == (
                f"model: '0.weight' was torch.float32 when this training was made, and is {dtype} "
                "now; convert the model first"
            )
        assert dst.steps == 0


# Layers without a gradient


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(10, 10) for _ in range(3))

    def forward(self, x: Tensor, expert: int) -> Tensor:
        return self.experts[expert](x)


@pytest.mark.parametrize("redistribute", ["none", "gradient"])
@pytest.mark.parametrize("grow", ["gradient", "momentum", "random"])
def test_a_layer_without_a_gradient_is_left_alone(grow: str, redistribute: str) -> None:
    torch.manual_seed(0)
    model = Experts()
    dst = dynamic(
        model, SGD(model.parameters()), grow=grow, update_every=2, redistribute=redistribute
    )
    for step, expert in enumerate([0, 1, 0, 1, 0, 1]):
        before = copy.deepcopy((model.state_dict(), dst.masks))
        dst.optimizer.zero_grad()
        model(torch.randn(4, 10), expert).square().sum().backward()
        dst.step()
        for name in ("experts.2.weight", f"experts.{1 - expert}.weight"):
            assert torch.equal(before[0][name], dst.weights[name]), step
            assert torch.equal(before[1][name], dst.masks[name]), step
    assert dst.updates == 3
    assert sum(dst.counts.values()) == sum(dst.budget.values())


class Routed(Experts):
    """Every expert sees its part of the batch, which may be empty: its gradient is then zero."""

    def forward(self, x: Tensor, expert: int) -> Tensor:
        parts = [x if index == expert else x[:0] for index in range(3)]
        return torch.cat([part(rows) for part, rows in zip(self.experts, parts)])


def test_a_zero_gradient_is_a_gradient() -> None:
    """Random growth goes on exploring where nothing passes, as behind dead channels."""
    torch.manual_seed(0)
    model = Routed()
    dst = dynamic(model, SGD(model.parameters()), grow="random", update_every=2)
    before = dst.masks["experts.2.weight"].clone()
    for _ in range(2):
        dst.optimizer.zero_grad()
        model(torch.randn(4, 10), 0).square().sum().backward()
        assert not dst.weights["experts.2.weight"].grad.any()
        dst.step()
    assert not torch.equal(before, dst.masks["experts.2.weight"])


def test_layers_that_no_update_reaches_are_told_once() -> None:
    """Expert 2 is never used; expert 1 only at the first update."""
    model, dst = experts()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for step in range(30):
            model.zero_grad()
            model(torch.randn(4, 10), int(step == 1)).square().sum().backward()
            dst.step()
            assert len(told) == int(dst.updates >= 10)
    assert "no gradient at any of 10 updates" in str(told[0].message)
    assert "'experts.2.weight'" in str(told[0].message)
    assert "'experts.1.weight'" not in str(told[0].message)


def test_a_step_without_any_gradient_is_refused_and_not_counted() -> None:
    model = small_network()
    dst = dynamic(model)
    with pytest.raises(RuntimeError, match="no gradient for '0.weight' or any other weight"):
        dst.step()
    assert dst.steps == 0


# Optimisers of other kinds


class Counting(torch.optim.Optimizer):
    """Counts the steps of every weight, in integers."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            state = self.state[parameter]
            if not state:
                state["count"] = torch.zeros_like(parameter, dtype=torch.uint8)
                state["mean"] = torch.zeros_like(parameter)
            state["count"] += 1
            state["mean"].lerp_(parameter.grad, 0.5)


def test_of_an_optimisers_state_only_numbers_are_forgotten() -> None:
    layer = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, 1.0, 0.0, 0.0]]))
    dst = dynamic(
        layer, Counting(layer.parameters()), update_every=1, prune_rate=0.5, floor=0.5,
        density=0.5, masks={"weight": torch.tensor([[1, 1, 0, 0]]).bool()},
    )  # fmt: skip
    layer.weight.grad = torch.tensor([[2.0, 4.0, 8.0, 6.0]])
    dst.step()
    assert dst.masks["weight"].tolist() == [[True, False, True, False]]
    state = dst.optimizer.state[layer.weight]
    assert state["mean"].tolist() == [[1, 0, 0, 0]]
    assert state["count"].tolist() == [[1, 1, 1, 1]]


# Where a trainer calls optimizer.step()


def closing(model: nn.Module, dst: SparseTraining, batch: Any) -> None:
    def closure() -> Tensor:
        dst.optimizer.zero_grad()
        return backward(model, batch)

    dst.optimizer.step(closure)


def stepping(model: nn.Module, dst: SparseTraining, batch: Any) -> None:
    dst.optimizer.zero_grad()
    backward(model, batch)
    dst.optimizer.step()


def through_dst(model: nn.Module, dst: SparseTraining, batch: Any) -> None:
    dst.optimizer.zero_grad()
    backward(model, batch)
    dst.step()


@pytest.mark.parametrize("loop", [closing, stepping, through_dst])
@pytest.mark.parametrize("make", [ADAM, FUSED, SGD])
@pytest.mark.parametrize("grow", ["gradient", "momentum"])
def test_an_attached_training_is_the_plain_one_bit_for_bit(loop: Any, make: Any, grow: str) -> None:
    one, other = small_network(), small_network()
    frozen = {n: torch.rand(w.shape) < 0.3 for n, w in dynamic(small_network()).weights.items()}
    plain = dynamic(one, make(one.parameters()), grow=grow, frozen=frozen)
    attached = dynamic(other, make(other.parameters()), grow=grow, frozen=frozen)
    attached.attach()
    schedules = [torch.optim.lr_scheduler.StepLR(d.optimizer, 3) for d in (plain, attached)]
    for batch in batches(7):
        through_dst(one, plain, batch)
        loop(other, attached, batch)
        for schedule in schedules:
            schedule.step()
    assert plain.updates == 2
    assert same(plain, attached)
    assert all(map(torch.equal, one.parameters(), other.parameters()))


@pytest.mark.parametrize("make", [ADAM, FUSED])
@pytest.mark.parametrize("clip", [False, True])
def test_an_attached_training_works_with_a_scaler(make: Any, clip: bool) -> None:
    one, other = small_network(), small_network()
    plain = dynamic(one, make(one.parameters()), grow="momentum")
    attached = dynamic(other, make(other.parameters()), grow="momentum")
    attached.attach()
    for dst, model in ((plain, one), (attached, other)):
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        for number, batch in enumerate(batches(8)):
            dst.optimizer.zero_grad()
            backward(model, batch, scaler)
            if number == 2:
                model[6].weight.grad[0, 0] = math.inf
            if clip:
                scaler.unscale_(dst.optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            if dst is plain:
                dst.step(scaler)
            else:
                scaler.step(dst.optimizer)
            scaler.update()
    assert plain.steps == attached.steps == 7
    assert same(plain, attached)


def test_several_attached_optimisers_make_one_step_together() -> None:
    def build() -> tuple[nn.Module, DynamicSparseTraining]:
        model = small_network()
        head = torch.optim.SGD(model[6].parameters(), 0.05, momentum=0.9)
        return model, dynamic(model, [torch.optim.Adam(model[:6].parameters(), 0.01), head])

    (one, plain), (other, attached) = build(), build()
    attached.attach()
    for batch in batches(7):
        one.zero_grad()
        backward(one, batch)
        plain.step()
        other.zero_grad()
        backward(other, batch)
        for optimizer in reversed(attached.optimizers):
            optimizer.step()
    assert plain.updates == 2
    assert same(plain, attached)


def experts(**changes: Any) -> tuple[nn.Module, DynamicSparseTraining]:
    """With an optimiser for each of the three."""
    torch.manual_seed(0)
    model = Experts()
    optimizers = [SGD(part.parameters()) for part in model.experts]
    return model, dynamic(model, optimizers, update_every=2, **changes)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("grow", ["gradient", "momentum", "random"])
def test_an_optimiser_without_gradients_is_done_when_it_is_called(
    order: tuple[int, ...], grow: str
) -> None:
    (one, plain), (other, attached) = experts(grow=grow), experts(grow=grow)
    attached.attach()
    for step, expert in enumerate([0, 1, 2, 2, 1, 0], 1):
        inputs = torch.randn(4, 10)
        for model in (one, other):
            model.zero_grad()
            model(inputs, expert).square().sum().backward()
        plain.step()
        for index in order:
            attached.optimizers[index].step()
        assert attached.steps == step
        assert same(plain, attached)
    assert attached.updates == 3


def test_a_scaler_leaves_out_an_optimiser_without_gradients() -> None:
    (one, plain), (other, scaled) = experts(), experts()
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    for expert in (0, 1, 2, 2):
        inputs = torch.randn(4, 10)
        one.zero_grad()
        one(inputs, expert).square().sum().backward()
        plain.step()
        other.zero_grad()
        scaler.scale(other(inputs, expert).square().sum()).backward()
        scaled.step(scaler)
        scaler.update()
    assert same(plain, scaled)


def test_detaching_finishes_a_step_that_some_optimisers_have_made() -> None:
    model, dst = experts()
    dst.attach()
    for _ in range(2):  # the other optimisers are never called
        model.zero_grad()
        model(torch.randn(4, 10), 0).square().sum().backward()
        dst.optimizer.step()
    assert dst.updates == 0
    dst.detach()
    assert (dst.steps, dst.updates) == (2, 1)
    model.zero_grad()
    model(torch.randn(4, 10), 0).square().sum().backward()
    dst.step()
    assert dst.steps == 3
    weight = model.experts[0].weight
    assert not weight.grad[~dst.masks["experts.0.weight"]].any()


def test_loading_a_state_begins_a_new_round() -> None:
    model, dst = experts()
    dst.attach()
    state = dst.state_dict()
    for expert in (0, 1, 2):
        model.zero_grad()
        model(torch.randn(4, 10), expert).square().sum().backward()
        dst.optimizers[expert].step()
        if expert == 0:
            dst.load_state_dict(state)
            dst.restore()
    assert dst.steps == 1  # the third has stepped, the first of this round not yet
    dst.optimizers[0].step()
    assert (dst.steps, dst.updates) == (1, 0)


@pytest.mark.parametrize("grow", ["gradient", "momentum"])
def test_an_optimiser_called_for_nothing_does_not_hide_the_next_gradients(grow: str) -> None:
    """The first is called without gradients, then both make a step that was masked before."""
    (one, plain), (other, attached) = experts(grow=grow), experts(grow=grow)
    attached.attach()
    for expert in (0, 1, 2, 0):
        inputs = torch.randn(4, 10)
        for model in (one, other):
            model.zero_grad()
        attached.optimizers[0].step()
        for model in (one, other):
            model(inputs, expert).square().sum().backward()
        plain.step()
        attached.mask_gradients()
        for optimizer in attached.optimizers:
            optimizer.step()
    assert plain.updates == attached.updates == 2
    assert same(plain, attached)


def test_masking_gradients_begins_a_step_where_only_some_have_made_the_last() -> None:
    """Only the first expert ever trains, so no round is completed by the others; growth looks at
    gradients that are not masked yet all the same."""
    seen = []

    def watching(layer: LayerView) -> Tensor:
        seen.append(float((layer.gradient * (layer.weight == 0)).abs().sum()))
        return layer.gradient.abs()

    model, dst = experts(grow=Criterion("watching", watching, needs_gradient=True))
    seen.clear()
    dst.attach()
    for _ in range(4):
        model.zero_grad()
        model(torch.randn(4, 10), 0).square().sum().backward()
        dst.mask_gradients()
        dst.optimizers[0].step()
    dst.detach()
    assert (dst.steps, dst.updates) == (4, 2)
    assert len(seen) == 2
    assert min(seen) > 0


def test_a_step_that_some_optimisers_have_made_is_in_the_state_and_in_copies() -> None:
    model, dst = experts()
    dst.attach()
    model(torch.randn(4, 10), 0).square().sum().backward()
    dst.optimizer.step()  # two more are to be called
    assert dst.steps == dst.state_dict()["steps"] == copy.deepcopy(dst).steps == 1


def test_optimisers_with_a_backward_pass_each_move_no_inactive_weight() -> None:
    """As where two parts of a model take turns: the second one's gradient is a new one."""
    model = small_network()
    head = torch.optim.SGD(model[6].parameters(), 0.05, momentum=0.9)
    body = torch.optim.SGD(model[:6].parameters(), 0.05, momentum=0.9)
    dst = dynamic(model, [body, head])
    dst.attach()
    for batch in batches(4):
        for optimizer in (body, head):
            model.zero_grad()
            backward(model, batch)
            optimizer.step()
    moments = head.state[model[6].weight]["momentum_buffer"]
    assert not moments[~dst.masks["6.weight"]].any()


def test_an_attached_training_of_several_optimisers_refuses_a_scaler_that_it_sees() -> None:
    model = small_network()
    parts = [model[:6].parameters(), model[6].parameters()]
    dst = dynamic(model, [torch.optim.Adam(part, 0.01, fused=True) for part in parts])
    dst.attach()
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    backward(model, next(iter(batches(1))), scaler)
    with pytest.raises(RuntimeError, match=r"call dst\.step\(scaler\) instead"):
        scaler.step(dst.optimizers[0])


def test_two_attached_trainings_of_a_weight_and_an_optimiser_are_refused() -> None:
    """As of a notebook's cell that is run twice."""
    model = small_network()
    optimizer = SGD(model.parameters())
    first = dynamic(model, optimizer, exclude="6")
    first.attach()
    second = dynamic(model, optimizer)
    with pytest.raises(ValueError, match=r"attach: .* of '0.weight', '3.weight' is attached to th"):
        second.attach()
    assert not second.attached
    head = dynamic(model, optimizer, exclude=["0", "3"])
    head.attach()  # other weights
    dynamic(model, SGD(model.parameters())).attach()  # another optimiser, as of the next phase
    first.detach()
    head.detach()
    second.attach()
    train(second, model, 3)
    assert (first.steps, second.steps, second.updates) == (0, 3, 1)
    second.check_counts()
    assert all(int((w != 0).sum()) <= second.counts[n] for n, w in second.weights.items())


def test_detaching_gives_the_optimiser_back() -> None:
    model = small_network()
    dst = dynamic(model)
    dst.attach()
    dst.attach()
    dst.detach()
    stepping(model, dst, batches(1)[0])
    assert dst.steps == 0
    assert any(w[~dst.masks[n]].any() for n, w in dst.weights.items())
    dst.restore()
    assert not any(w[~dst.masks[n]].any() for n, w in dst.weights.items())


def test_gradients_may_be_accumulated_over_several_batches() -> None:
    """Two halves of a batch are the whole batch, where no layer looks at batch statistics."""
    torch.manual_seed(0)
    one = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 3)).double()
    other = copy.deepcopy(one)
    whole, halves = dynamic(one, SGD(one.parameters())), dynamic(other, SGD(other.parameters()))
    halves.attach()
    for _ in range(7):
        inputs = torch.randn(8, 12, dtype=torch.float64)
        whole.optimizer.zero_grad()
        one(inputs).square().mean().backward()
        whole.step()
        halves.optimizer.zero_grad()
        for half in inputs.chunk(2):
            (other(half).square().mean() / 2).backward()
        halves.optimizer.step()
    assert whole.updates == 2
    assert all(torch.equal(whole.masks[name], halves.masks[name]) for name in whole.masks)
    torch.testing.assert_close(list(one.parameters()), list(other.parameters()))


# Redistribution where weights of earlier tasks are pruned and cannot come back


@pytest.mark.parametrize("redistribute", ["momentum", "gradient", "nonzeros"])
def test_competing_layers_never_lose_more_than_all_can_grow(redistribute: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(64, 64)
    frozen = {"weight": torch.rand(64, 64) < 0.6}
    dst = dynamic(
        model, density=0.8, redistribute=redistribute, candidates="free", frozen=frozen,
        update_every=1,
    )  # fmt: skip
    for _ in range(10):
        model.weight.grad = torch.randn(64, 64)
        dst.step()
        assert int(dst.masks["weight"].sum()) == dst.budget["weight"]


# Arguments, rounding, presets


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prune_rate": 1.7}, "prune_rate: 1.7; must be from 0 to 1"),
        ({"prune_rate": -0.3}, "prune_rate: -0.3"),
        ({"floor": 3}, "floor: 3"),
        ({"stop_at": 3}, "stop_at: 3"),
        ({"switch_at": -1}, "switch_at: -1"),
        ({"total_steps": 10.5}, "whole numbers"),
        ({"preset": "rigel"}, "unknown preset 'rigel'; known: rigl, set, snfs, itop"),
        ({"preset": "set", "update_every": None}, "update_every: preset 'set' .* each epoch"),
    ],
)
def test_rates_and_presets_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dynamic(small_network(), **changes)


def test_a_share_is_rounded_up_only_where_it_is_more_than_rounding() -> None:
    """At two thirds of a cosine the rate is 0.125 and a little, by arithmetic alone."""
    rate = UpdateSchedule(90, 1, 0.5, 0.0, stop_at=1.0).rate(60)
    assert math.ceil(rate * 128) == 17
    assert rounded_up(rate, 128) == 16
    assert [rounded_up(r, n) for r, n in [(0.5, 4), (0.51, 4), (0.2, 3), (0.0, 9), (1.0, 7)]] == [
        2, 3, 1, 0, 7,
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_set_ranks_every_weight_whatever_its_type(dtype: torch.dtype) -> None:
    weight = torch.linspace(-1, 1, 3000).to(dtype)
    weight = weight[weight != 0]
    score = PRUNE["set"].score(LayerView(weight, weight != 0, None, None, torch.Generator()))
    for side in (weight > 0, weight < 0):
        assert sorted(score[side].tolist()) == list(range(1, int(side.sum()) + 1))


def test_presets_have_the_values_of_their_papers() -> None:
    def settings(preset: str, **more: Any) -> tuple[Any, ...]:
        model = small_network()
        dst = DynamicSparseTraining(
            model, SGD(model.parameters()), density=0.3, total_steps=1000, preset=preset, **more
        )
        s = dst.schedule
        return (
            dst.prune.name, dst.grow.first.name, dst.redistribute, s.update_every, s.shape,
            s.rate(0), s.rate(s.last_step), s.last_step,
        )  # fmt: skip

    near = pytest.approx
    assert settings("rigl") == ("magnitude", "gradient", "none", 100, "cosine", 0.3, near(0), 750)
    assert settings("set", update_every=50) == (
        "set", "random", "none", 50, "constant", near(0.3), near(0.3), 999,
    )  # fmt: skip
    assert settings("snfs", update_every=50) == (
        "magnitude", "momentum", "momentum", 50, "cosine", 0.5, near(0.005), 999,
    )  # fmt: skip
    with pytest.warns(
        UserWarning, match="update_every: 4000, but masks may change up to step 1000"
    ):
        itop = settings("itop")
    assert itop == (
        "magnitude",
        "gradient",
        "none",
        4000,
        "cosine",
        0.5,
        near(0.005),
        1000,
    )
    assert settings("rigl", grow="random", stop_at=1.0)[1:] == (
        "random", "none", 100, "cosine", 0.3, near(0), 1000,
    )  # fmt: skip
    assert {key for preset in PRESETS.values() for key in preset} <= set(DEFAULTS)


@pytest.mark.parametrize("preset", ["set", "snfs"])
def test_what_would_not_be_trained_is_not_grown(preset: str) -> None:
    """Three epochs of 4 steps: SET's and SNFS's code changes masks after the first two."""
    model = small_network()
    optimizer = SGD(model.parameters())
    dst = DynamicSparseTraining(
        model, optimizer, density=0.3, total_steps=12, preset=preset, update_every=4
    )
    changed = []
    for step in range(1, 13):
        before = {name: mask.clone() for name, mask in dst.masks.items()}
        optimizer.zero_grad()
        model(torch.randn(8, 1, 8, 8)).square().mean().backward()
        dst.step()
        if any(not before[name].equal(mask) for name, mask in dst.masks.items()):
            changed.append(step)
    assert changed == [4, 8]


def test_the_last_step_is_rounded_down_only_where_it_is_more_than_rounding() -> None:
    """900/7000 of 7000 steps are 900, though the product is 899.9999999999999."""
    assert UpdateSchedule(7000, 100, stop_at=900 / 7000).last_step == 900
    assert UpdateSchedule(7000, 100, stop_at=899.9 / 7000).last_step == 899
    model = small_network()
    gradual = GradualMagnitudePruning(
        model, SGD(model.parameters()), density=0.1, total_steps=7000, stop_at=900 / 7000
    )
    assert gradual.last_step == 900
    for steps in range(1, 5000):
        assert UpdateSchedule(steps, 1, stop_at=0.75).last_step == 3 * steps // 4
        assert UpdateSchedule(steps, 1, stop_at=1.0).last_step == steps


@pytest.mark.parametrize("preset", [None, "rigl", "set", "snfs", "itop"])
def test_a_rate_of_zero_exchanges_nothing(preset: str | None) -> None:
    dst = dynamic(small_network(), preset=preset, prune_rate=0.0, update_every=1)
    masks = {name: mask.clone() for name, mask in dst.masks.items()}
    train(dst, dst.model, 6)
    assert dst.updates == 6
    assert all(torch.equal(mask, masks[name]) for name, mask in dst.masks.items())


def test_a_floor_that_is_given_counts() -> None:
    assert dynamic(small_network(), prune_rate=0.0, floor=0.1).schedule.floor == 0.1
    assert dynamic(small_network(), prune_rate=0.002).schedule.floor == 0.002
    assert dynamic(small_network(), prune_rate=0.3).schedule.floor == 0.005


def test_updates_that_never_come_are_told() -> None:
    with pytest.warns(UserWarning, match="4000, but masks may change up to step 3000 of 3000 only"):
        dynamic(small_network(), preset="itop", update_every=None, total_steps=3000)
    with pytest.warns(UserWarning, match="100, but masks may change up to step 99 of 132 only"):
        dynamic(small_network(), update_every=100, total_steps=132, stop_at=0.75)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dynamic(small_network(), update_every=100, total_steps=134, stop_at=0.75)  # up to 100
        dynamic(small_network(), update_every=100, total_steps=20, stop_at=0.0)

        class Own(DynamicSparseTraining):
            def changes_masks(self, step: int) -> bool:
                return step == 7

        model = small_network()
        Own(model, SGD(model.parameters()), density=0.3, update_every=100, total_steps=20)


def test_gradual_pruning_goes_on_from_given_masks() -> None:
    """50 of 100 weights to 10 in 8 steps: 10 + 40 (1 - t/8)^3, so 26 after 2, 15 after 4."""
    model = nn.Sequential(nn.Linear(10, 10, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(1.0, 101.0).view(10, 10))
    mask = torch.arange(100).view(10, 10) % 2 == 0
    sparse = GradualMagnitudePruning(
        model, torch.optim.SGD(model.parameters(), 0.0), density=0.1, total_steps=10,
        update_every=2, stop_at=0.8, masks={"0.weight": mask},
    )  # fmt: skip
    counts = []
    for _ in range(10):
        model[0].weight.grad = torch.zeros(10, 10)
        sparse.step()
        counts.append(int(sparse.masks["0.weight"].sum()))
        assert not (sparse.masks["0.weight"] & ~mask).any()
    assert counts == [50, 26, 26, 15, 15, 10, 10, 10, 10, 10]


def test_gradual_pruning_leaves_a_layer_that_is_sparse_enough() -> None:
    model = nn.Sequential(nn.Linear(10, 10, bias=False))
    mask = torch.arange(100).view(10, 10) < 5
    sparse = GradualMagnitudePruning(
        model, SGD(model.parameters()), density=0.1, total_steps=4, update_every=1,
        masks={"0.weight": mask},
    )  # fmt: skip
    for _ in range(4):
        model[0].weight.grad = torch.zeros(10, 10)
        sparse.step()
    assert torch.equal(sparse.masks["0.weight"], mask)


# What it says of itself


def test_the_summary_has_a_row_a_weight_and_flops_of_active_ones() -> None:
    model = small_network()
    dst = dynamic(model, density=0.5, init="uniform", exclude="6")
    lines = dst.summary(torch.zeros(2, 1, 8, 8)).splitlines()
    assert lines[0].split() == ["weight", "shape", "density", "active", "frozen", "FLOPs"]
    assert lines[1].split() == [
        "0.weight", "4", "x", "1", "x", "3", "x", "3", "0.5000", "18", "0", f"{2 * 18 * 64:,}",
    ]  # fmt: skip
    total = 2 * 18 * 64 + 2 * 108 * 9 + 2 * 270
    assert f"{total:,} FLOPs an input" in lines[5]
    assert "540 of both are not of these" in lines[5]
    assert lines[6] == "dense: 6.weight (excluded)"
    assert repr(dst) == "DynamicSparseTraining(2 weights of 252 entries, density 0.5000, 0 steps)"


def test_the_log_tells_what_an_update_changed_and_what_survived() -> None:
    """Two of four weights are replaced at each update; at the second one of the two new goes."""
    model, dst = one_layer(
        [0.9, 0.8, 0.2, 0.1, 0.0, 0.0, 0.0], [1, 1, 1, 1, 0, 0, 0], grow="gradient"
    )
    told = dst.log()
    assert told == {
        "density": 4 / 7, "prune_rate": 0.5, "explored": pytest.approx(4 / 7), "dead_units": 0,
        "density/0.weight": 4 / 7,
    }  # fmt: skip
    step_with_gradient(model, dst, [0, 0, 0, 0, 3.0, 2.0, 1.0])
    told = dst.log()
    assert told["change"] == 0.5
    assert "survival" not in told
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.9, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0]]))
    step_with_gradient(model, dst, [0, 0, 0, 0, 0, 0, 9.0])
    told = dst.log()
    assert told["survival"] == 0.5
    assert told["explored"] == 1.0


def test_units_without_an_active_weight_are_dead() -> None:
    model = nn.Linear(4, 5)
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[:3, 1] = True
    sparse = SparseTraining(model, SGD(model.parameters()), masks={"weight": mask})
    assert sparse.log()["dead_units"] == pytest.approx(0.4)
