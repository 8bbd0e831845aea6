"""Protocol "published": each quirk of the paper's code is there, and absent from "corrected"."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dstcl.continual import Learner, learner_of
from dstcl.continual.best_epoch import BestEpoch
from dstcl.continual.published import PublishedSparseTraining, grow_as_published, prune_with_ties
from dstcl.continual.scoring import Outputs, measure_accuracy
from dstcl.data.batches import evaluation_batches
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.networks.build import build_network
from dstcl.sparse import SparseTraining, growth_plan
from dstcl.sparse.criteria import LayerView
from dstcl.study.fields import plain_settings
from dstcl.study.load import load_file
from dstcl.study.run import Run
from helpers.runs import changed

CPU = torch.device("cpu")
TASKS = split_classes(10, 5, "natural")
PROTOCOLS = {name: plain_settings(p) for name, p in load_file().protocols.items()}
SWITCHES = sorted(PROTOCOLS["published"])


def bits(*values: int) -> torch.Tensor:
    return torch.tensor(values).bool()


def under(run: Run, protocol: str, **changes: object) -> Run:
    return changed(run, **(PROTOCOLS[protocol] | {"protocol": protocol} | changes))


def fit(run: Run, data: Prepared, tasks: int = 2) -> Learner:
    learner = learner_of(run, data, TASKS[:tasks], CPU)
    learner.fit()
    return learner


# Pruning and growth (docs/published-code.md, c6 and c7), by hand


def test_pruning_takes_ties_too() -> None:
    """Five active, a fifth asked: two are equal smallest, and both go."""
    weight = torch.tensor([0.1, 0.1, 0.3, 0.4, 0.5, 0.0])
    kept = prune_with_ties(weight, bits(1, 1, 1, 1, 1, 0), rate=0.2)
    assert kept.tolist() == [False, False, True, True, True, False]


def test_pruning_takes_every_active_zero() -> None:
    """Three active zeros, one asked: exactly the three go."""
    weight = torch.tensor([0.0, 0.0, 0.0, 0.4, 0.5, 0.0])
    kept = prune_with_ties(weight, bits(1, 1, 1, 1, 1, 0), rate=0.2)
    assert kept.tolist() == [False, False, False, True, True, False]


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_pruning_takes_the_smallest(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    weight, mask = torch.randn(40, generator=draws), torch.rand(40, generator=draws) < 0.6
    active = int(mask.sum())
    kept = prune_with_ties(weight, mask, rate=0.3)
    smallest = sorted(abs(float(w)) for w in weight[mask])[ceil(0.3 * active) :]
    assert sorted(abs(float(w)) for w in weight[kept]) == smallest


def view(gradient: list[float], explored: torch.Tensor | None = None, seed: int = 0) -> LayerView:
    weight = torch.zeros(len(gradient))
    return LayerView(
        weight,
        torch.zeros_like(weight).bool() if explored is None else explored,
        torch.tensor(gradient),
        None,
        torch.Generator().manual_seed(seed),
    )


def test_gradient_growth_takes_the_largest_inactive() -> None:
    grown = grow_as_published(
        growth_plan("gradient").first,
        view([9.0, -3.0, 1.0, 2.0]),
        bits(1, 0, 0, 0),
        2,
        bits(1, 1, 1, 1),
    )
    assert grown.tolist() == [True, True, False, True]


def test_gradient_growth_loses_density_where_gradients_are_zero() -> None:
    """Two are to be grown and one inactive weight has a gradient; the tie falls on weight 0,
    which is active already."""
    grown = grow_as_published(
        growth_plan("gradient").first,
        view([5.0, 5.0, 0.0, 2.0]),
        bits(1, 1, 0, 0),
        2,
        bits(1, 1, 1, 1),
    )
    assert grown.tolist() == [True, True, False, True]


def test_unfired_growth_is_exact_while_unexplored_weights_last() -> None:
    explored = bits(1, 1, 0, 0, 0, 1)
    for seed in range(20):
        grown = grow_as_published(
            growth_plan("unfired").first,
            view([0.0] * 6, explored, seed),
            bits(1, 0, 0, 0, 0, 0),
            2,
            bits(1, 1, 1, 1, 1, 1),
        )
        assert int(grown.sum()) == 3
        assert not grown[[1, 5]].any()


def test_unfired_growth_then_takes_all_of_them_and_others_by_chance() -> None:
    """One unexplored weight, two to grow: one more among three others, each with chance 1/3."""
    explored = bits(1, 1, 1, 1, 0)
    total = torch.zeros(5)
    for seed in range(900):
        total += grow_as_published(
            growth_plan("unfired").first,
            view([0.0] * 5, explored, seed),
            bits(1, 0, 0, 0, 0),
            2,
            bits(1, 1, 1, 1, 1),
        )
    assert total[0] == total[4] == 900
    assert (total[1:4] - 300).abs().max() < 75


def test_random_growth_is_right_on_average_and_fluctuates() -> None:
    counts = [
        int(
            grow_as_published(
                growth_plan("random").first,
                view([0.0] * 50, seed=seed),
                torch.arange(50) < 10,
                10,
                torch.ones(50).bool(),
            ).sum()
        )
        for seed in range(300)
    ]
    assert sum(counts) / 300 == pytest.approx(20, abs=0.6)
    assert len(set(counts)) > 5


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_pruning_is_by_the_kth_smallest_of_the_whole_tensor(entries, rate: float) -> None:
    """Against the description: sort all magnitudes, inactive ones as zeros, keep what exceeds."""
    weight, mask = map(torch.tensor, zip(*entries))
    weight = (weight * mask).float()
    asked = ceil(rate * int(mask.sum()))
    inactive = int((~mask).sum())
    ordered = weight.abs().sort().values
    threshold = ordered[inactive + asked - 1] if asked else torch.tensor(0.0)
    assert torch.equal(prune_with_ties(weight, mask, rate), weight.abs() > threshold)


@pytest.mark.parametrize("odd", [None, float("nan"), float("inf")])
@pytest.mark.parametrize("removed", [0, 1, 300, 9_000])
def test_gradient_growth_equals_a_stable_sort_of_the_whole_tensor(
    odd: float | None, removed: int
) -> None:
    """With many equal gradients; NaN comes first, then infinity, as in the original's sort."""
    draws = torch.Generator().manual_seed(0)
    gradient = torch.randn(20_000, generator=draws).mul(4).round()
    kept, allowed = (torch.rand(20_000, generator=draws) < share for share in (0.2, 0.5))
    if odd is not None:
        gradient[::17] = float("inf")
        gradient[::13] = odd
    layer = LayerView(gradient, kept, gradient, None, draws)
    score = gradient.abs() * (~kept & allowed)
    best = score.sort(descending=True, stable=True).indices[:removed]
    expected = kept.clone()
    expected[best] = True
    growth = growth_plan("gradient").first
    assert torch.equal(grow_as_published(growth, layer, kept, removed, allowed), expected)


class CoarseDraws(LayerView):
    """Draws among eight values, so that the last place is always contested."""

    def random(self) -> torch.Tensor:
        return super().random().mul(8).floor() / 8


@pytest.mark.parametrize("made", [LayerView, CoarseDraws])
@pytest.mark.parametrize("removed", [0, 1, 1_500, 4_500])
def test_unfired_growth_takes_what_the_original_takes_among_equal_draws(
    made: type[LayerView], removed: int
) -> None:
    draws = torch.Generator().manual_seed(0)
    kept, explored = (torch.rand(20_000, generator=draws) < share for share in (0.2, 0.5))
    explored |= kept

    def layer() -> LayerView:
        nothing = torch.zeros(20_000)
        return made(nothing, explored, None, None, torch.Generator().manual_seed(1))

    order = torch.where(~explored, layer().random(), -1.0)
    expected = kept.clone()
    expected[torch.topk(order, removed).indices] = True
    growth, allowed = growth_plan("unfired").first, torch.ones_like(kept)
    assert torch.equal(grow_as_published(growth, layer(), kept, removed, allowed), expected)


def published(model: nn.Module, **changes: object) -> PublishedSparseTraining:
    settings = {
        "density": 0.2,
        "update_every": 2,
        "total_steps": 20,
        "stop_at": 1.0,
        "candidates": "frozen_without_gradient",
        "regrown": "zero",
        "generator": torch.Generator().manual_seed(0),
    }
    return PublishedSparseTraining(
        model, torch.optim.Adam(model.parameters(), 0.01), **(settings | changes)
    )


def test_it_can_be_made_where_nothing_is_frozen_yet() -> None:
    layer = nn.Linear(40, 20, bias=False)
    before = layer.weight.detach().clone()
    training = published(layer, frozen=None)
    values = training.consolidated()["weight"]
    assert torch.equal(values, before)
    assert 0 < int(training.masks["weight"].sum()) < 800


def test_masks_are_bernoulli_draws() -> None:
    """10,000 weights at 0.2: sd of the count is 40; exact counts would be 2,000 every time."""
    model = nn.Linear(100, 100, bias=False)
    counts = [
        int(published(model, generator=torch.Generator().manual_seed(seed)).counts["weight"])
        for seed in range(8)
    ]
    assert len(set(counts)) > 4
    assert all(abs(count - 2000) < 200 for count in counts)


def test_inactive_weights_keep_their_gradient_history() -> None:
    """Adam sees dense gradients, so weights that come back go on with old moments."""
    model = nn.Linear(10, 10, bias=False)
    sparse = published(model)
    model.weight.grad = torch.ones(10, 10)
    sparse.step()
    moments = sparse.optimizer.state[model.weight]["exp_avg"]
    assert (moments != 0).all()
    assert not model.weight[~sparse.masks["weight"]].any()


def test_frozen_weights_have_no_gradient_and_do_not_move() -> None:
    model = nn.Linear(10, 10, bias=False)
    frozen = torch.rand(10, 10, generator=torch.Generator().manual_seed(1)) < 0.5
    sparse = published(model, frozen={"weight": frozen}, grow="random")
    started = model.weight.detach().clone()
    shared = sparse.masks["weight"] & frozen
    for _ in range(6):
        model.weight.grad = torch.randn(10, 10)
        sparse.step()
    still = shared & sparse.masks["weight"]
    came = ~shared & sparse.masks["weight"] & frozen
    assert torch.equal(model.weight[shared & (model.weight != 0)], started[shared & (model.weight != 0)])  # fmt: skip  # noqa: E501
    assert came.any()
    assert not model.weight[came].any(), "grown on a frozen position: zero while training"
    assert still.any()


def test_a_regrown_frozen_weight_gets_its_stored_value_back_in_the_merge() -> None:
    model = nn.Linear(10, 10, bias=False)
    stored = model.weight.detach().clone()
    frozen = torch.ones(10, 10).bool()
    sparse = published(model, frozen={"weight": frozen}, grow="random")
    for _ in range(4):
        model.weight.grad = torch.zeros(10, 10)
        sparse.step()
    mask = sparse.masks["weight"]
    assert (model.weight[mask] == 0).any()
    assert torch.equal(sparse.consolidated()["weight"], stored)


@pytest.mark.parametrize(("growth", "avoids"), [("random", False), ("gradient", True)])
def test_random_growth_takes_frozen_weights_and_gradient_growth_avoids_them(
    growth: str, avoids: bool
) -> None:
    model = nn.Linear(30, 30, bias=False)
    frozen = torch.rand(30, 30, generator=torch.Generator().manual_seed(1)) < 0.5
    sparse = published(model, frozen={"weight": frozen}, grow=growth, update_every=1)
    before = sparse.masks["weight"].clone()
    model.weight.grad = torch.randn(30, 30, generator=torch.Generator().manual_seed(2))
    sparse.step()
    grown = sparse.masks["weight"] & ~before
    assert grown.any()
    assert not (grown & frozen).any() if avoids else (grown & frozen).any()


def test_criteria_the_code_has_not_are_refused() -> None:
    with pytest.raises(ValueError, match="only magnitude"):
        published(nn.Linear(4, 4), prune="random")


# The protocols as a whole


def test_the_published_network_has_one_masked_head_without_bias(
    short_run: Run, digits: Prepared
) -> None:
    learner = learner_of(under(short_run, "published"), digits, TASKS, CPU)
    assert learner.network.head.weight.shape == (10, 8)
    assert learner.network.head.bias is None
    assert "head.weight" in learner.outcome.store.dense
    assert [n for n, _ in learner.network.named_parameters()] == list(learner.outcome.store.dense)


def test_published_resnet18_has_no_parameter_outside_the_masks() -> None:
    network = build_network("resnet18", 3, 100, 0, norm="batch", head_bias=False)
    assert sum(p.numel() for p in network.parameters()) == 11_218_112
    assert not list(network.buffers())


def test_published_accuracy_depends_on_the_test_batch_and_corrected_does_not(
    short_run: Run, digits: Prepared
) -> None:
    for protocol, depends in (("published", True), ("corrected", False)):
        learner = fit(under(short_run, protocol, epochs=6), digits, tasks=1)
        learner.outcome.store.activate(0)
        outputs = Outputs(0, 2, among_all=False)
        found = {
            measure_accuracy(learner.network, evaluation_batches(learner._tests[0], size), outputs)
            for size in (2, 7, 40)
        }
        assert (len(found) > 1) == depends, protocol


def test_prediction_among_all_classes_can_name_another_task() -> None:
    logits = torch.tensor([[0.0, 9.0, 5.0, 1.0], [0.0, 1.0, 2.0, 3.0]])
    assert Outputs(2, 4, among_all=False).predictions(logits).tolist() == [0, 1]
    assert Outputs(2, 4, among_all=True).predictions(logits).tolist() == [-1, 1]


@pytest.mark.parametrize(("keep", "expected"), [("zero", True), ("keep", False)])
def test_unused_weights_start_again_at_zero(
    short_run: Run, digits: Prepared, keep: str, expected: bool
) -> None:
    learner = fit(under(short_run, "published", free_weights=keep), digits, tasks=1)
    store = learner.outcome.store
    free = torch.cat([v[~store.used[name]] for name, v in store.dense.items()])
    assert len(free) > 100
    assert (not free.any()) == expected


def test_the_first_best_epoch_is_kept_with_its_mask() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    sparse = SparseTraining(model, torch.optim.SGD(model.parameters(), 1.0), density=1.0)
    best = BestEpoch()
    for value, accuracy in ((1.0, 0.5), (2.0, 0.9), (3.0, 0.9), (4.0, 0.7)):
        with torch.no_grad():
            model[0].weight.fill_(value)
        sparse.masks["0.weight"].fill_(value < 3)
        best.offer(accuracy, model, sparse)
    best.restore(model, sparse)
    assert model[0].weight.unique().tolist() == [2.0]
    assert sparse.masks["0.weight"].all()


def test_published_loses_density_with_gradient_growth_and_corrected_keeps_it(
    short_run: Run, digits: Prepared
) -> None:
    def densities(protocol: str) -> list[float]:
        run = under(short_run, protocol, init="erk", growth="gradient", density=0.5, epochs=4)
        rows = fit(run, digits, tasks=3).outcome.store.capacity()
        totals = [[r for r in rows if r["task"] == task] for task in (1, 2, 3)]
        return [sum(r["active"] for r in t) / sum(r["size"] for r in t) for t in totals]

    assert densities("published")[2] < 0.4
    assert densities("corrected") == pytest.approx([0.5] * 3, abs=0.003)


def test_test_images_are_augmented_only_where_switched_on(
    short_run: Run, digits: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dstcl.continual import learner as module

    asked: list[str] = []
    original: Callable[..., object] = module.evaluation_batches

    def record(*arguments: object, **options: object) -> object:
        asked.append(str(options["augment"]))
        return original(*arguments, **options)

    monkeypatch.setattr(module, "evaluation_batches", record)
    for protocol, expected in (("published", "crop-flip"), ("corrected", "none")):
        asked.clear()
        fit(under(short_run, protocol, augment="crop-flip", epochs=1), digits, tasks=1)
        assert set(asked) == {expected}


def outcome(run: Run, data: Prepared) -> tuple[list[float], int]:
    learner = fit(run, data)
    rows = learner.outcome.accuracy + learner.outcome.history
    active = sum(int(row["active"]) for row in learner.outcome.store.capacity())
    return [float(row["accuracy"]) for row in rows], active


@pytest.mark.parametrize("switch", [s for s in SWITCHES if s != "class_order"])
@pytest.mark.parametrize("protocol", ["corrected", "published"])
def test_every_switch_can_be_flipped_alone_and_changes_the_run(
    short_run: Run, digits: Prepared, protocol: str, switch: str
) -> None:
    """Except where it cannot matter: logits of all classes need a common head."""
    other = "published" if protocol == "corrected" else "corrected"
    base = under(
        short_run, protocol, epochs=4, density=0.5, augment="crop-flip", update_every=1, init="erk"
    )
    if protocol == "corrected" and switch == "logits":
        base = changed(base, head="shared")
    if protocol == "published" and switch == "head":
        base = changed(base, logits="task")
    if switch == "candidates":
        base = changed(base, growth="gradient")
    flipped = changed(base, **{switch: PROTOCOLS[other][switch]})
    assert outcome(base, digits) != outcome(flipped, digits)


def test_a_common_batch_norm_goes_on_and_finished_tasks_change(
    short_run: Run, digits: Prepared
) -> None:
    learner = fit(under(short_run, "corrected", batch_norm="shared", epochs=4), digits, tasks=3)
    rows = {(r["after_task"], r["task"]): r["accuracy"] for r in learner.outcome.accuracy}
    assert any(rows[3, task] != rows[task, task] for task in (1, 2))


def test_gradual_pruning_ends_at_the_density_in_every_task(
    short_run: Run, digits: Prepared
) -> None:
    run = changed(under(short_run, "corrected"), method="gradual", growth="none", epochs=4)
    learner = fit(run, digits)
    for subnet in learner.outcome.store.subnets:
        for mask in subnet.masks.values():
            assert abs(int(mask.sum()) - 0.3 * mask.numel()) <= 1


def test_static_training_keeps_the_first_mask(short_run: Run, digits: Prepared) -> None:
    run = changed(under(short_run, "corrected"), method="static", growth="none")
    learner = fit(run, digits)
    assert {row["prune_rate"] for row in learner.outcome.history} == {0.0}
    assert len({round(row["explored"], 6) for row in learner.outcome.history}) == 1
