"""The sparse step: hand-computed updates, isolation under every optimiser, exact resume."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_networks import dynamic, one_layer, small_network, step_with_gradient, train
from torch import nn

from dstcl.sparse import (
    GROW,
    PRUNE,
    GradualMagnitudePruning,
    LayerView,
    SparseTraining,
    UpdateSchedule,
)
from dstcl.sparse.redistribution import allocate

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
    "fused adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.1, fused=True),
}


def test_magnitude_pruning_and_gradient_growth_by_hand():
    """Four active weights, half replaced: .1 and -.2 go; gradients 9 and 8 come, from zero."""
    model, dst = one_layer(
        [0.1, -0.9, 0.5, -0.2, 7.0, 7.0, 7.0], [1, 1, 1, 1, 0, 0, 0], grow="gradient"
    )
    assert model[0].weight.tolist() == [pytest.approx([0.1, -0.9, 0.5, -0.2, 0, 0, 0])]
    step_with_gradient(model, dst, [1.0, 1.0, 1.0, 1.0, 8.0, 0.5, -9.0])
    assert dst.masks["0.weight"].tolist() == [[False, True, True, False, True, False, True]]
    assert model[0].weight.tolist() == [pytest.approx([0, -0.9, 0.5, 0, 0, 0, 0])]


def test_set_pruning_takes_the_smallest_of_both_signs_by_hand():
    """Two of six go: the smallest positive .1 and the largest negative -.3, not the smaller .2."""
    model, dst = one_layer(
        [0.1, 0.2, -0.3, -0.4, 0.9, -0.9, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0], prune="set",
        grow="gradient", prune_rate=0.3, floor=0.3,
    )  # fmt: skip
    step_with_gradient(model, dst, [0.0] * 6 + [1.0, 2.0])
    assert dst.masks["0.weight"].tolist() == [[False, True, False, True, True, True, True, True]]


def test_set_pruning_goes_on_with_one_sign_when_the_other_runs_out():
    model, dst = one_layer(
        [0.1, 0.2, 0.3, -0.4, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0], prune="set", grow="gradient",
        prune_rate=0.75, floor=0.75,
    )  # fmt: skip
    step_with_gradient(model, dst, [0.0] * 4 + [1.0, 2.0, 3.0])
    assert dst.masks["0.weight"].tolist() == [[False, False, True, False, True, True, True]]


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=40), st.booleans())
def test_set_pruning_ranks_magnitudes_within_each_sign(values, double):
    """Zeros score 0; the others 1, 2, ... within their sign, the first of equal ones first."""
    weight = torch.tensor(values, dtype=torch.float64 if double else torch.float32)
    expected = [0.0] * len(values)
    for sign in (1, -1):
        signed = [i for i, value in enumerate(values) if value * sign > 0]
        for rank, index in enumerate(sorted(signed, key=lambda i: abs(values[i])), start=1):
            expected[index] = float(rank)
    layer = LayerView(weight, weight != 0, None, None, torch.Generator())
    assert PRUNE["set"].score(layer).tolist() == expected


def test_taylor_pruning_takes_the_least_weight_times_gradient():
    """(w g)^2 is 1, .01, .04, 4: the two in the middle go although weight 0 is smallest."""
    model, dst = one_layer(
        [0.1, 1.0, 2.0, 4.0, 0, 0], [1, 1, 1, 1, 0, 0], prune="taylor", grow="gradient"
    )
    step_with_gradient(model, dst, [10.0, 0.1, 0.1, 0.5, 20.0, 30.0])
    assert dst.masks["0.weight"].tolist() == [[True, False, False, True, True, True]]


def test_momentum_per_neuron_weighs_by_the_output():
    """Equal momentum at [0, 2] and [1, 2]; the second output has the larger mean."""
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    dst = dynamic(
        model,
        torch.optim.SGD(model.parameters(), 0.0),
        grow="momentum_neuron",
        density=0.5,
        masks={"0.weight": torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()},
        prune_rate=0.1,
        floor=0.1,
        update_every=1,
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1, 2.0, 0.0], [3.0, 0.0, 0.0]]))
    model[0].weight.grad = torch.tensor([[0.0, 0.0, 1.0], [5.0, 0.5, 1.0]])
    dst.step()
    assert dst.masks["0.weight"].tolist() == [[False, True, False], [True, False, True]]


def test_a_weight_pruned_and_grown_back_in_one_update_keeps_its_value():
    model, dst = one_layer([0.1, -0.9, 0.5, -0.2, 7.0], [1, 1, 1, 1, 0], grow="gradient", floor=0.2,
                           prune_rate=0.2)  # fmt: skip
    step_with_gradient(model, dst, [5.0, 1.0, 1.0, 1.0, 0.5])
    assert dst.masks["0.weight"].tolist() == [[True, True, True, True, False]]
    assert model[0].weight[0, 0].item() == pytest.approx(0.1)


def test_the_number_replaced_is_rounded_up():
    """A fifth of three active weights is 0.6: one is replaced."""
    model, dst = one_layer([0.3, 0.2, 0.1, 1.0, 1.0], [1, 1, 1, 0, 0], prune_rate=0.2, floor=0.2)
    step_with_gradient(model, dst, [0.0, 0.0, 0.0, 1.0, 2.0])
    assert dst.masks["0.weight"].tolist() == [[True, True, False, False, True]]


def test_a_dense_layer_stays_as_it_is():
    model, dst = one_layer([0.3, 0.2, 0.1], [1, 1, 1])
    step_with_gradient(model, dst, [1.0, 2.0, 3.0])
    assert dst.masks["0.weight"].all()
    assert model[0].weight.tolist() == [pytest.approx([0.3, 0.2, 0.1])]


def test_zero_gradients_still_give_an_exact_count():
    """The published code loses density here: ties of zero scores fall on active weights."""
    model, dst = one_layer([0.3, 0.2, 0.4, 0.5, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0], grow="gradient")
    step_with_gradient(model, dst, [0.0] * 7)
    assert int(dst.masks["0.weight"].sum()) == 4


def test_unfired_prefers_weights_never_active():
    """Weight 4 was active before; of the candidates 3, 4, 5 only 3 and 5 are unexplored."""
    model, dst = one_layer([0.1, 0.2, 0.9, 0, 0, 0], [1, 1, 1, 0, 0, 0], grow="unfired")
    dst.explored["0.weight"][0, 4] = True
    step_with_gradient(model, dst, [0.0] * 6)
    assert dst.masks["0.weight"].tolist() == [[False, False, True, True, False, True]]
    assert dst.explored["0.weight"].all()


def test_random_growth_reaches_every_candidate_about_equally():
    """Two weights are replaced among five candidates: 2/5 of 1,000 trials each, sigma 15.5."""
    hits = torch.zeros(6)
    for seed in range(1000):
        model, dst = one_layer(
            [0.9, 0.1, 0.2, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            grow="random",
            generator=torch.Generator().manual_seed(seed),
        )
        step_with_gradient(model, dst, [0.0] * 6)
        hits += dst.masks["0.weight"][0]
    assert hits[0] == 1000
    assert (hits[1:] - 400).abs().max() < 80


def test_momentum_growth_with_sgd_sees_gradients_of_inactive_weights():
    """Only the first of two batches has a gradient at weight 4; weight 5's is smaller."""
    model, dst = one_layer(
        [0.9, 0.1, 0.5, 0.8, 0, 0], [1, 1, 1, 1, 0, 0], grow="momentum", update_every=2,
        prune_rate=0.25, floor=0.25,
    )  # fmt: skip
    step_with_gradient(model, dst, [0.0, 0.0, 0.0, 0.0, 3.0, 0.0])
    step_with_gradient(model, dst, [0.0, 0.0, 0.0, 0.0, 0.0, 2.0])
    # running gradient with momentum 0.9: 2.7 at weight 4, 2.0 at weight 5
    assert dst.masks["0.weight"].tolist() == [[True, False, True, True, True, False]]


def test_momentum_growth_with_adam_is_bias_corrected_first_over_root_of_second():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4, bias=False))
    optimizer = torch.optim.Adam(model.parameters(), 0.01, betas=(0.8, 0.9))
    dst = dynamic(model, optimizer, grow="momentum", update_every=20)
    gradients = [torch.randn(4, 6) for _ in range(3)]
    for gradient in gradients:
        model[0].weight.grad = gradient.clone()
        dst.step()
    first = sum(0.2 * 0.8 ** (2 - i) * g for i, g in enumerate(gradients)) / (1 - 0.8**3)
    second = sum(0.1 * 0.9 ** (2 - i) * g**2 for i, g in enumerate(gradients)) / (1 - 0.9**3)
    torch.testing.assert_close(dst._moments.score(0, dst.steps), first / second.sqrt())
    again = dst._moments.score(0, dst.steps)
    assert torch.equal(again, dst._moments.score(0, dst.steps)), "reading leaves it as it is"


def test_of_three_betas_the_running_gradient_takes_the_first_and_the_last():
    """As Adan and AdEMAMix have them."""
    model = nn.Sequential(nn.Linear(6, 4, bias=False))
    groups = [{"params": list(model.parameters()), "betas": (0.8, 0.5, 0.9)}]
    dst = dynamic(model, torch.optim.SGD(groups, 0.01), grow="momentum")
    gradients = [torch.randn(4, 6) for _ in range(2)]
    for gradient in gradients:
        model[0].weight.grad = gradient.clone()
        dst.step()
    first = (0.16 * gradients[0] + 0.2 * gradients[1]) / 0.36
    second = (0.09 * gradients[0] ** 2 + 0.1 * gradients[1] ** 2) / 0.19
    torch.testing.assert_close(dst._moments.score(0, dst.steps), first / second.sqrt())


def test_a_switch_uses_the_first_criterion_and_then_the_second():
    _, dst = one_layer(
        [0.1, 0.2, 0.9, 0, 0, 0], [1, 1, 1, 0, 0, 0], grow="random-then-gradient", switch_at=0.5,
        total_steps=4, stop_at=1.0,
    )  # fmt: skip
    assert [dst.grow.at(step / 4).name for step in (1, 2, 3, 4)] == [
        "random",
        "gradient",
        "gradient",
        "gradient",
    ]


@pytest.mark.parametrize(
    ("prune", "grow", "init", "density", "candidates"),
    list(
        itertools.product(
            PRUNE,
            [*GROW, "random-then-gradient"],
            ["uniform", "erk"],
            [0.5, 0.05],
            ["all", "free"],
        )
    ),
)
def test_every_layer_keeps_its_exact_count(prune, grow, init, density, candidates):
    """Across criteria, inits and densities, with half of the weights frozen."""
    model = small_network()
    generator = torch.Generator().manual_seed(9)
    frozen = {
        name: torch.rand(p.shape, generator=generator) < 0.5
        for name, p in model.named_parameters()
        if name.endswith("weight") and p.dim() > 1
    }
    dst = dynamic(
        model, prune=prune, grow=grow, init=init, density=density, candidates=candidates,
        frozen=frozen,
    )  # fmt: skip
    before = {name: mask.clone() for name, mask in dst.masks.items()}
    train(dst, model, 10)
    dst.check_counts()
    assert dst.updates == 3
    assert any(not torch.equal(before[name], dst.masks[name]) for name in before)
    for name, weight in dst.weights.items():
        assert not weight[~dst.masks[name]].any(), "an inactive weight is not zero"
        assert not (dst.masks[name] & ~dst.explored[name]).any()


def test_free_candidates_never_take_a_frozen_weight():
    model = small_network()
    frozen = {
        name: torch.rand(p.shape, generator=torch.Generator().manual_seed(2)) < 0.5
        for name, p in model.named_parameters()
        if name.endswith("weight") and p.dim() > 1
    }
    dst = dynamic(model, grow="random", candidates="free", frozen=frozen, update_every=1)
    started = {name: mask.clone() for name, mask in dst.masks.items()}
    train(dst, model, 10)
    for name, mask in dst.masks.items():
        assert not (mask & frozen[name] & ~started[name]).any()
    dst.check_counts()


def test_no_free_weight_left_changes_nothing():
    model = small_network()
    frozen = {
        name: torch.ones_like(p).bool()
        for name, p in model.named_parameters()
        if name.endswith("weight") and p.dim() > 1
    }
    dst = dynamic(model, grow="random", candidates="free", frozen=frozen)
    started = {name: mask.clone() for name, mask in dst.masks.items()}
    train(dst, model, 10)
    assert all(torch.equal(started[name], mask) for name, mask in dst.masks.items())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("grow", ["random", "gradient", "momentum"])
def test_frozen_and_inactive_weights_never_move(optimizer, grow):
    """Weight decay, momentum and topology updates included, bit for bit."""
    model = small_network()
    original = {name: p.detach().clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(4)
    frozen = {
        name: torch.rand(p.shape, generator=generator) < 0.4
        for name, p in original.items()
        if name.endswith("weight") and p.dim() > 1
    }
    dst = dynamic(model, OPTIMIZERS[optimizer](model.parameters()), grow=grow, frozen=frozen)
    for seed in range(10):
        train(dst, model, 1, seed)
        for name, weight in dst.weights.items():
            active = dst.masks[name] & frozen[name]
            assert torch.equal(weight[active], original[name][active])
            assert not weight[~dst.masks[name]].any()
    moved = dst.masks["6.weight"] & ~frozen["6.weight"]
    assert not torch.equal(dst.weights["6.weight"][moved], original["6.weight"][moved])
    for name, value in dst.consolidated().items():
        assert torch.equal(value[frozen[name]], original[name][frozen[name]])
        outside = ~dst.masks[name]
        assert torch.equal(value[outside], original[name][outside])


def test_a_grown_frozen_weight_takes_its_stored_value():
    model, dst = one_layer(
        [0.1, 0.9, 0.33, 0.44], [1, 1, 0, 0], grow="gradient",
        frozen={"0.weight": torch.tensor([[0, 0, 1, 0]]).bool()},
    )  # fmt: skip
    step_with_gradient(model, dst, [0.0, 0.0, 5.0, 1.0])
    assert model[0].weight.tolist() == [pytest.approx([0, 0.9, 0.33, 0])]


@pytest.mark.parametrize("optimizer", ["momentum", "adam", "fused adam"])
def test_optimizer_state_of_changed_weights_is_reset(optimizer):
    model = small_network()
    dst = dynamic(model, OPTIMIZERS[optimizer](model.parameters()), grow="random", update_every=5)
    train(dst, model, 4)
    before = {name: mask.clone() for name, mask in dst.masks.items()}
    train(dst, model, 1, seed=3)
    changed = 0
    for name, weight in dst.weights.items():
        came_or_went = before[name] ^ dst.masks[name]
        changed += int(came_or_went.sum())
        stayed = before[name] & dst.masks[name]
        for state in dst.optimizer.state[weight].values():
            if state.shape == weight.shape:
                assert not state[came_or_went].any()
                assert state[stayed].any()
    assert changed > 0


def test_static_training_keeps_its_mask_and_learns():
    model = small_network()
    sparse = SparseTraining(model, torch.optim.SGD(model.parameters(), 0.1), density=0.2)
    mask = sparse.masks["6.weight"].clone()
    value = model[6].weight.detach().clone()
    train(sparse, model, 5)
    assert torch.equal(sparse.masks["6.weight"], mask)
    assert not torch.equal(model[6].weight, value)
    assert sparse.density() == pytest.approx(0.2, abs=0.01)


def test_a_dense_mask_trains_exactly_like_the_plain_optimiser():
    plain, sparse = small_network(), small_network()
    optimizer = torch.optim.Adam(plain.parameters(), 0.01, weight_decay=0.01)
    dst = dynamic(
        sparse, torch.optim.Adam(sparse.parameters(), 0.01, weight_decay=0.01), density=1.0
    )
    train(dst, sparse, 6)
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        images = torch.randn(8, 1, 8, 8, generator=generator)
        labels = torch.randint(5, (8,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(images), labels).backward()
        optimizer.step()
    for mine, theirs in zip(sparse.parameters(), plain.parameters()):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("grow", [*GROW, "random-then-gradient"])
def test_resuming_in_mid_task_is_bit_identical(grow):
    whole = small_network()
    reference = dynamic(whole, grow=grow)
    train(reference, whole, 7)
    saved = copy.deepcopy(
        (whole.state_dict(), reference.optimizer.state_dict(), reference.state_dict())
    )
    train(reference, whole, 8, seed=2)

    resumed = small_network(seed=77)
    restored = dynamic(resumed, grow=grow, generator=torch.Generator().manual_seed(99))
    resumed.load_state_dict(saved[0])
    restored.optimizer.load_state_dict(saved[1])
    restored.load_state_dict(saved[2])
    train(restored, resumed, 8, seed=2)

    for name in reference.masks:
        assert torch.equal(reference.masks[name], restored.masks[name])
        assert torch.equal(reference.explored[name], restored.explored[name])
        assert torch.equal(reference.weights[name], restored.weights[name])


def test_scaled_gradients_are_unscaled_before_growth_reads_them():
    """With a scaler, weights and masks equal those without one up to rounding."""
    plain, scaled = small_network(), small_network()
    dst = dynamic(plain, grow="momentum")
    train(dst, plain, 6)
    other = dynamic(scaled, grow="momentum")
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        images = torch.randn(8, 1, 8, 8, generator=generator)
        labels = torch.randint(5, (8,), generator=generator)
        other.optimizer.zero_grad()
        scaler.scale(nn.functional.cross_entropy(scaled(images), labels)).backward()
        other.step(scaler)
        scaler.update()
    for name in dst.masks:
        assert torch.equal(dst.masks[name], other.masks[name])
    torch.testing.assert_close(list(plain.parameters()), list(scaled.parameters()))


@pytest.mark.parametrize("spoiled", [math.inf, math.nan])
def test_a_step_that_the_scaler_skips_is_no_step(spoiled: float) -> None:
    """Else one overflow would stay in the running gradients, and growth see nothing but NaN."""
    model = small_network()
    dst = dynamic(model, grow="momentum")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    images, labels = torch.randn(8, 1, 8, 8), torch.randint(5, (8,))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for step in range(3):
        dst.optimizer.zero_grad()
        scaler.scale(nn.functional.cross_entropy(model(images), labels)).backward()
        if step == 0:
            model[-1].bias.grad[0] = spoiled
        dst.step(scaler)
        scaler.update()
        if step == 0:
            assert dst.steps == 0
            assert all(map(torch.equal, model.parameters(), before))
    assert dst.steps == 2
    assert all(
        dst._moments.score(layer, dst.steps).isfinite().all() for layer in range(len(dst.weights))
    )


def test_excluded_modules_stay_dense():
    model = small_network()
    dst = dynamic(model, exclude=["6"])
    assert set(dst.masks) == {"0.weight", "3.weight"}
    assert model[6].weight.all()


def test_step_without_backward_says_so():
    model = small_network()
    with pytest.raises(RuntimeError, match="'0.weight'"):
        dynamic(model).step()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grow": "gradeint"}, "unknown grow 'gradeint'; known: random, .* 'a-then-b'"),
        ({"grow": "random-then-x"}, "unknown grow 'x'"),
        ({"grow": "random-then-gradient-then-random"}, "grow: .* has 3 criteria; two"),
        ({"grow": 3}, "grow: 'int' is a int; it must be a Criterion or a function"),
        ({"prune": "size"}, "unknown prune 'size'; known: magnitude, .* or module:attribute"),
        ({"prune": "nowhere:at_all"}, "prune: 'nowhere:at_all': no nowhere.py"),
        ({"candidates": "some"}, "unknown candidates"),
        ({"candidates": "published"}, "unknown candidates"),
        ({"prune_schedule": "step"}, "unknown prune schedule"),
        ({"density": 1.2}, "density"),
        ({"init": "kre"}, "unknown init"),
        ({"init": []}, "init: 'list' is a list; it must be a function"),
        ({"masks": {"0.weight": torch.ones(4, 1, 3, 3).bool()}}, "masks: nothing for .*'3.weight'"),
        ({"frozen": {"0.weight": torch.ones(4)}}, "frozen: torch.float32 .*'0.weight'; .* boolean"),
        ({"exclude": ["0", "3", "6"]}, "no linear or convolutional layer"),
        ({"update_every": 0}, "update_every"),
    ],
)
def test_bad_arguments_name_themselves(changes, message):
    with pytest.raises(ValueError, match=message):
        dynamic(small_network(), **changes)


def test_prune_rate_of_the_published_setting():
    """Rates of the 19 updates of the paper's CIFAR-100 setting, three digits."""
    schedule = UpdateSchedule(total_steps=7900, update_every=400, stop_at=1.0)
    updates = [step for step in range(1, 7901) if schedule.due(step)]
    expected = (
        "0.497 0.488 0.472 0.452 0.426 0.396 0.362 0.325 0.287 0.248 0.208 0.170 0.135 0.102 "
        "0.072 0.048 0.028 0.015 0.007"
    )
    # The list prints .135 for 0.13448 (step 5200), so half a digit is not quite enough.
    assert [schedule.rate(step) for step in updates] == pytest.approx(
        [float(rate) for rate in expected.split()], abs=0.0006
    )


def test_updates_stop_in_time_and_the_rate_reaches_its_floor_there():
    schedule = UpdateSchedule(total_steps=100, update_every=10, stop_at=0.75)
    assert [step for step in range(1, 101) if schedule.due(step)] == [10, 20, 30, 40, 50, 60, 70]
    assert schedule.rate(75) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("shape", "halfway"), [("cosine", 0.2525), ("linear", 0.2525), ("constant", 0.5)]
)
def test_schedule_shapes(shape, halfway):
    schedule = UpdateSchedule(total_steps=100, update_every=10, shape=shape, stop_at=1.0)
    assert schedule.rate(50) == pytest.approx(halfway)
    assert schedule.rate(0) == pytest.approx(0.5)


@pytest.mark.parametrize("redistribute", ["momentum", "gradient", "nonzeros"])
@pytest.mark.parametrize("candidates", ["all", "free"])
def test_competing_layers_keep_the_total_exact(redistribute, candidates):
    model = small_network()
    dst = dynamic(model, redistribute=redistribute, candidates=candidates, grow="random")
    total, first = sum(dst.counts.values()), dict(dst.counts)
    train(dst, model, 15)
    dst.check_counts()
    assert sum(dst.counts.values()) == total
    assert dst.counts != first


@pytest.mark.parametrize("redistribute", ["momentum", "gradient", "nonzeros"])
def test_a_layer_that_wins_nothing_keeps_its_last_weight(redistribute):
    """Half of every layer goes at each update, and the first layer's gradient is zero."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    dst = dynamic(
        model, torch.optim.SGD(model.parameters(), 0.0), grow="gradient", redistribute=redistribute,
        density=0.1, prune_rate=0.5, floor=0.5, update_every=1, total_steps=20, init="uniform",
    )  # fmt: skip
    for _ in range(12):
        model[0].weight.grad = torch.full((8, 8), 1e-30)
        model[1].weight.grad = torch.randn(8, 8)
        dst.step()
        assert min(dst.counts.values()) >= 1
        assert sum(dst.counts.values()) == sum(dst.budget.values())


def test_a_layer_made_dense_does_not_compete():
    """Its gradient is so small that it would win back nothing of what it lost."""
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    dst = dynamic(
        model, torch.optim.SGD(model.parameters(), 0.0), grow="random", redistribute="gradient",
        density=0.6, overrides={"0": 1.0}, prune_rate=0.5, floor=0.5, update_every=1,
    )  # fmt: skip
    for layer, size in zip(model, (1e-9, 1.0)):
        layer.weight.grad = torch.full((8, 8), size)
    dst.step()
    assert dst.counts == dst.budget
    assert dst.counts["0.weight"] == 64


def test_layers_with_larger_gradients_win_weights():
    """Two equal layers lose two weights each; the second one's gradients are three times larger."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        for layer in model:
            layer.weight.copy_(torch.arange(1.0, 17.0).view(4, 4))
    masks = {f"{i}.weight": (torch.arange(16) < 4).view(4, 4) for i in (0, 1)}
    dst = dynamic(
        model, torch.optim.SGD(model.parameters(), 0.0), grow="gradient", redistribute="gradient",
        density=0.25, masks=masks, prune_rate=0.5, floor=0.5, update_every=1,
    )  # fmt: skip
    for i, size in ((0, 1.0), (1, 3.0)):
        model[i].weight.grad = torch.full((4, 4), size)
    dst.step()
    assert dst.counts == {"0.weight": 3, "1.weight": 5}


@pytest.mark.parametrize(
    ("total", "weights", "room", "expected"),
    [
        (10, [1, 1], [10, 10], [5, 5]),
        (10, [1, 3], [10, 10], [3, 7]),
        (10, [1, 3], [10, 4], [6, 4]),
        (3, [1, 1, 1, 1], [5, 5, 5, 5], [1, 1, 1, 0]),
        (4, [0, 0], [5, 5], [2, 2]),
        (5, [0, 1], [5, 3], [2, 3]),
        (0, [1, 2], [0, 0], [0, 0]),
        (3, [float("nan"), 1.0], [5, 5], [0, 3]),
    ],
)
def test_allocation_by_hand(total, weights, room, expected):
    assert allocate(total, weights, room) == expected


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), min_size=1), st.data())
def test_allocation_is_exact_and_stays_in_its_room(layers, data):
    weights, room = zip(*layers)
    total = data.draw(st.integers(0, sum(room)))
    parts = allocate(total, weights, room)
    assert sum(parts) == total
    assert all(0 <= part <= limit for part, limit in zip(parts, room))


def test_allocation_without_room_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        allocate(5, [1.0], [4])


def test_gradual_pruning_follows_the_cubic_schedule_and_keeps_the_largest():
    """100 weights to 10 in 8 steps: 10 + 90 (1 - t/8)^3, so 47 after 2, 21 after 4, 11 after 6."""
    model = nn.Sequential(nn.Linear(10, 10, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(1.0, 101.0).view(10, 10))
    sparse = GradualMagnitudePruning(
        model, torch.optim.SGD(model.parameters(), 0.0), density=0.1, total_steps=10,
        update_every=2, stop_at=0.8,
    )  # fmt: skip
    counts = []
    for _ in range(10):
        model[0].weight.grad = torch.zeros(10, 10)
        sparse.step()
        counts.append(int(sparse.masks["0.weight"].sum()))
    assert counts == [100, 47, 47, 21, 21, 11, 11, 10, 10, 10]
    assert model[0].weight[sparse.masks["0.weight"]].tolist() == list(range(91, 101))
