"""Controllers that change how many weights are active, or which layers still exchange any."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dstcl.continual.capacity import capacity_rows
from dstcl.continual.controllers import (
    NOTHING,
    ControlledTraining,
    Controller,
    ControllerError,
    Decision,
    Seen,
)
from dstcl.continual.controllers.density_by_gain import DensityByGain, slope_over_log
from dstcl.continual.controllers.settling import Settling
from dstcl.continual.flops import run_costs, training_flops
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.sparse import forward_flops, uses_per_image
from dstcl.sparse.water_filling import poured
from dstcl.study.run import Run
from helpers.runs import changed, fit, learner

TASKS = split_classes(10, 5, "natural")
HELD_OUT = list(range(0, 800, 10))
LAYERS = ("0.weight", "2.weight")  # of 600 and 300 weights


class Scripted(Controller):
    """Decides what it is told, by number of the update; 0 is before the task."""

    growths = ("gradient",)
    changes_density = True

    def __init__(self, script: dict[int, Decision]) -> None:
        super().__init__()
        self.script = script

    def before_task(self, seen: Seen) -> Decision:
        return self.script.get(0, NOTHING)

    def after_update(self, seen: Seen) -> Decision:
        return self.script.get(seen.updates, NOTHING)


class Fixed(Scripted):
    changes_density = False


def controlled(controller: Controller, **more: Any) -> tuple[nn.Module, ControlledTraining]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    settings = {"density": 0.2, "grow": "random", "init": "uniform", "update_every": 10}
    settings |= {"total_steps": 100, "stop_at": 1.0}
    settings["generator"] = torch.Generator().manual_seed(3)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    return model, ControlledTraining(model, optimizer, controller=controller, **settings | more)


def steps(model: nn.Module, training: ControlledTraining, first: int, last: int) -> None:
    for step in range(first, last + 1):
        inputs = torch.randn(16, 20, generator=torch.Generator().manual_seed(step))
        training.optimizer.zero_grad()
        model(inputs).square().mean().backward()
        training.step()
        training.check_counts()


def half_frozen() -> dict[str, torch.Tensor]:
    """Half of each layer is used by earlier tasks: 300 and 150 weights."""
    frozen = {"0.weight": torch.zeros(30, 20).bool(), "2.weight": torch.zeros(10, 30).bool()}
    frozen["0.weight"][:, :10] = True
    frozen["2.weight"][:5] = True
    return frozen


# Settled layers


@pytest.mark.parametrize("redistribute", ["none", "nonzeros"])
def test_a_settled_layer_exchanges_nothing_more(redistribute: str) -> None:
    script = Scripted({2: Decision(settled=("0.weight",))})
    model, training = controlled(script, redistribute=redistribute)
    steps(model, training, 1, 20)
    before = {name: mask.clone() for name, mask in training.masks.items()}
    steps(model, training, 21, 40)
    assert torch.equal(training.masks["0.weight"], before["0.weight"])
    assert not torch.equal(training.masks["2.weight"], before["2.weight"])
    assert training.updates == 4


def test_once_all_layers_are_settled_there_are_no_updates() -> None:
    script = {2: Decision(growth="gradient"), 4: Decision(settled=LAYERS)}
    model, training = controlled(Scripted(script))
    assert not training.settled()
    steps(model, training, 1, 100)
    assert training.updates == 4
    assert training.settled()
    assert training.dense_gradient_share() == 2 / 100  # of updates 3 and 4


def test_a_settled_layer_stays_so_after_an_interruption() -> None:
    script = {1: Decision(settled=("0.weight",)), 2: Decision(active={"2.weight": 90})}
    whole_model, whole = controlled(Scripted(script))
    steps(whole_model, whole, 1, 23)
    states = [deepcopy(one.state_dict()) for one in (whole_model, whole.optimizer, whole)]
    steps(whole_model, whole, 24, 60)
    model, resumed = controlled(Scripted(script))
    for one, state in zip((model, resumed.optimizer, resumed), states):
        one.load_state_dict(state)
    steps(model, resumed, 24, 60)
    for name, mask in whole.masks.items():
        assert torch.equal(mask, resumed.masks[name])
        assert torch.equal(whole.weights[name], resumed.weights[name])
    assert resumed.counts == whole.counts == {"0.weight": 120, "2.weight": 90}
    assert resumed.mean_counts() == whole.mean_counts()


def after_update(update: int, every: int, changes: dict[str, float], kept: dict[str, int]) -> Seen:
    """After an update that changed these shares, and kept so many of ten grown before."""
    return Seen(
        task=0, tasks=5, step=10 * update, total_steps=100, updates=update,
        sizes=dict.fromkeys(changes, 100), free=dict.fromkeys(changes, 100),
        active=dict.fromkeys(changes, 20), growth="random", mask_change=changes,
        update_every=every,
        survival={name: {"random": number / 10} for name, number in kept.items()},
        grown={name: {"random": 10} for name in kept},
    )  # fmt: skip


def test_a_layer_settles_when_little_lasts_in_updates_in_a_row() -> None:
    """What lasts of an update: the share that it changed, times the share of it that survives."""
    rule = Settling(lasting=0.05, patience=2, longer=1.0)
    rule.before_task(after_update(0, 10, {"a": 0.0, "b": 0.0}, {}))
    changes = {"a": 0.2, "b": 0.2}
    assert rule.after_update(after_update(1, 10, changes, {})).settled == ()
    # 0.2 x 0.2 = 0.04 and 0.2 x 0.5 = 0.1; then 0.02 and 0.04; then b for the second time.
    assert rule.after_update(after_update(2, 10, changes, {"a": 2, "b": 5})).settled == ()
    decision = rule.after_update(after_update(3, 10, {"a": 0, "b": 0.2}, {"a": 1, "b": 2}))
    assert decision.settled == ("a",)
    assert decision.evidence_of["a"].startswith("0.0200 changed lastingly; at least 0.05 in one")
    decision = rule.after_update(after_update(4, 10, {"a": 0, "b": 0.2}, {"b": 0}))
    assert decision.settled == ("b",)
    assert decision.rows(1, 40)[0]["what"] == "settled"
    rule.before_task(after_update(0, 10, changes, {}))
    assert rule.memory() == {"quiet": {}, "settled": [], "change": {}}


def test_a_full_layer_is_settled_by_its_first_update() -> None:
    """Not one that is full by now but has exchanged something, as where layers compete."""
    rule = Settling(patience=3)
    first = replace(
        after_update(1, 10, {"a": 0.0, "b": 0.0, "c": 0.1}, {}),
        active={"a": 100, "b": 20, "c": 100},
    )
    decision = rule.after_update(first)
    assert decision.settled == ("a",)
    assert decision.evidence_of == {"a": "full; nothing to exchange"}
    assert rule.after_update(first).settled == ()


def test_with_a_full_layer_updates_end_when_the_others_are_settled() -> None:
    rule = Settling(lasting=1.0, patience=1, longer=1.0)
    masks = {"0.weight": torch.ones(30, 20).bool(), "2.weight": torch.zeros(10, 30).bool()}
    masks["2.weight"][:, ::2] = True
    model, training = controlled(rule, masks=masks)
    steps(model, training, 1, 100)
    assert training.updates == 2  # after the first of them the other layer cannot be judged yet
    assert [(row["step"], row["layer"]) for row in rule.rows] == [
        (10, "0.weight"), (20, "2.weight"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("every", "kept", "longer"), [(8, 1, 12), (1, 1, 2), (3, 1, 4), (8, 3, None), (8, 9, None)]
)
def test_intervals_become_longer_where_too_few_survive(
    every: int, kept: int, longer: int | None
) -> None:
    """Of 20 grown in two layers, kept + 4 survive; a quarter would be 5, and 7 are enough."""
    rule = Settling(lasting=0.0, survival=0.3, longer=1.5)
    decision = rule.after_update(after_update(2, every, {"a": 0.2}, {"a": kept, "b": 4}))
    assert decision.update_every == longer
    if longer:
        assert decision.evidence == "0.2500 of 20 grown weights survived; at least 0.3"


# Other numbers of weights


def test_a_layer_has_the_weights_that_are_decided_from_that_update_on() -> None:
    script = {
        1: Decision(active={"0.weight": 180, "2.weight": 61}),
        2: Decision(active={"2.weight": 200}, growth="gradient"),
        3: Decision(active={"0.weight": 5, "2.weight": 300}),
    }
    model, training = controlled(Scripted(script))
    steps(model, training, 1, 9)
    assert training.counts == {"0.weight": 120, "2.weight": 60}
    steps(model, training, 10, 10)
    assert training.counts == {"0.weight": 180, "2.weight": 61}
    steps(model, training, 11, 20)
    assert training.counts == {"0.weight": 180, "2.weight": 200}
    steps(model, training, 21, 50)
    assert training.counts == {"0.weight": 5, "2.weight": 300}
    assert training.density() == 305 / 900
    # Ten steps each with 120, 180 and 180, and twenty with 5; the update's own step has the old.
    assert training.mean_counts()["0.weight"] == (10 * 120 + 20 * 180 + 20 * 5) / 50


def test_counts_are_not_decided_where_masks_are_given() -> None:
    masks = {"0.weight": torch.ones(30, 20).bool(), "2.weight": torch.ones(10, 30).bool()}
    rule = Scripted({0: Decision(active={"0.weight": 50, "2.weight": 40})})
    with pytest.raises(ControllerError, match="active: masks are given, which decide the counts"):
        controlled(rule, masks=masks)


def test_what_is_pruned_are_the_smallest_and_what_is_grown_starts_at_zero() -> None:
    model, training = controlled(Scripted({1: Decision(active={"0.weight": 20, "2.weight": 90})}))
    training.schedule = replace(training.schedule, prune_rate=0.0, floor=0.0)
    steps(model, training, 1, 9)
    before = {name: weight.detach().clone() for name, weight in training.weights.items()}
    masks = {name: mask.clone() for name, mask in training.masks.items()}
    inputs = torch.randn(16, 20)
    training.optimizer.zero_grad()
    (0 * model(inputs)).sum().backward()
    for group in training.optimizer.param_groups:
        group["lr"] = 0.0
    training.step()
    largest = before["0.weight"].abs().flatten().topk(20).indices.sort().values
    assert torch.equal(training.masks["0.weight"].flatten().nonzero().flatten(), largest)
    grown = training.masks["2.weight"] & ~masks["2.weight"]
    assert int(grown.sum()) == 30
    assert not training.weights["2.weight"][grown].any()
    assert not training.masks["2.weight"].logical_not().logical_and(masks["2.weight"]).any()


def test_no_frozen_weight_changes_and_no_quota_is_exceeded_at_any_moment() -> None:
    quota = {"0.weight": 40, "2.weight": 25}
    script = {
        0: Decision(
            active={"0.weight": 60, "2.weight": 40}, new={"0.weight": 30, "2.weight": 20},
            quota=quota,
        ),
        2: Decision(active={"0.weight": 200, "2.weight": 60}),
        4: Decision(active={"0.weight": 340, "2.weight": 175}),  # all that there may be
    }  # fmt: skip
    for growth in ("random", "gradient", "unfired"):
        frozen = half_frozen()
        model, training = controlled(Scripted(script), frozen=frozen, grow=growth)
        stored = {name: weight.clone() for name, weight in training.stored.items()}
        for step in range(1, 101):
            steps(model, training, step, step)
            for name, mask in training.masks.items():
                assert int((mask & ~frozen[name]).sum()) <= quota[name]
                held = training.weights[name][mask & frozen[name]]
                assert torch.equal(held, stored[name][mask & frozen[name]])
        assert training.counts == {"0.weight": 340, "2.weight": 175}
        assert training.updates == 10


def test_a_quota_takes_the_best_free_weights_and_fills_up_with_used_ones() -> None:
    """By gradient: all free weights score higher; the quota has room for two of them."""
    scores = torch.zeros(10, 30)
    scores[5:] = 1 + torch.arange(150).view(5, 30)  # the free half
    scores[:5] = torch.arange(150).view(5, 30) / 150
    decided = Decision(
        active={"0.weight": 60, "2.weight": 40}, new={"0.weight": 30, "2.weight": 20},
        quota={"0.weight": 40, "2.weight": 22},
    )  # fmt: skip
    _, training = controlled(Scripted({0: decided}), frozen=half_frozen())
    candidates = ~training.masks["2.weight"]
    picked = training._picked("2.weight", scores, candidates, 5)
    free = ~training.frozen["2.weight"]
    best = (scores * (candidates & free)).flatten().topk(2).indices
    assert int(picked.sum()) == 5
    assert set((picked & free).flatten().nonzero().flatten().tolist()) == set(best.tolist())


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({1: Decision(active={"0.weight": 601})}, "active: 601 in 0.weight, which may have 1 to 6"),
        ({1: Decision(active={"0.weight": 0})}, "active: 0 in 0.weight, which may have 1 to 600"),
        ({1: Decision(active={"1.weight": 5})}, "active: no layer '1.weight'"),
        ({1: Decision(new={"0.weight": 5})}, "active: decided before a task, not within one"),
        ({1: Decision(quota={"0.weight": 5})}, "active: decided before a task, not within one"),
        ({1: Decision(settled=("1.weight",))}, "settled: no layer '1.weight'"),
        ({0: Decision(active={"0.weight": 50})}, "active: counts must be of 2 layers"),
        ({0: Decision(quota={"0.weight": 50})}, "quota: needs active, new and quota of every"),
        (
            {0: Decision(active=dict.fromkeys(LAYERS, 50), new=dict.fromkeys(LAYERS, 50),
                         quota={"0.weight": 50, "2.weight": 49})},
            "quota: 49 in 2.weight, which has 50 new weights",
        ),
    ],
)  # fmt: skip
def test_counts_that_cannot_be_are_refused_in_one_line(
    script: dict[int, Decision], words: str
) -> None:
    with pytest.raises(ControllerError) as caught:
        steps(*controlled(Scripted(script)), 1, 20)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("more", [{"redistribute": "nonzeros"}, {"candidates": "free"}])
def test_a_quota_needs_layers_by_themselves_and_used_candidates(more: dict[str, str]) -> None:
    own = dict.fromkeys(LAYERS, 50)
    with pytest.raises(ControllerError, match="quota: needs redistribute: none, and used weights"):
        controlled(Scripted({0: Decision(active=own, new=own, quota=own)}), **more)


def test_a_controller_that_does_not_say_so_changes_no_density() -> None:
    with pytest.raises(ControllerError, match="active: decided before a task, not within one"):
        steps(*controlled(Fixed({1: Decision(active={"0.weight": 121})})), 1, 10)
    with pytest.raises(ControllerError, match="counts must be of 2 layers and add to 180"):
        controlled(Fixed({0: Decision(active=dict.fromkeys(LAYERS, 60))}))


# Density by gain


def task_begins(task: int, free: dict[str, int], asked: dict[str, int], tasks: int = 4) -> Seen:
    return Seen(
        task=task, tasks=tasks, step=0, total_steps=100, updates=0,
        sizes={"a": 100, "b": 400}, free=free, active=asked, growth="random",
    )  # fmt: skip


def epoch(before: Seen, step: int, active: dict[str, int], *validation: float) -> Seen:
    return replace(before, step=step, active=active, validation=validation)


def test_the_slope_is_that_of_least_squares() -> None:
    assert slope_over_log([(10, 0.5)]) is None
    assert slope_over_log([(10, 0.5), (10, 0.7)]) is None
    assert slope_over_log([(10, 0.5), (20, 0.6)]) == pytest.approx(0.1 / log(2))
    # x = 0, 1, 2 in units of log 2; y = 0, 3, 3: slope 1.5.
    assert slope_over_log([(1, 0.0), (2, 3.0), (4, 3.0)]) == pytest.approx(1.5 / log(2))


def test_a_task_begins_with_a_share_and_has_a_quota_of_what_is_left() -> None:
    """Of a 40 are asked: four tasks may use all 100; of b 20, so 80. Task 2 of 4 finds 30 and 10
    used: 70 and 70 left for three tasks, twice a third of which is 46."""
    seen = task_begins(1, {"a": 70, "b": 390}, {"a": 40, "b": 20})
    decision = DensityByGain(start=0.5, kappa=2.0).before_task(seen)
    assert decision.quota == {"a": 46, "b": 46}
    assert decision.active == {"a": 20, "b": 10}
    assert decision.new == {"a": 14, "b": 10}  # 20 x 70/100, 10 x 390/400
    assert decision.evidence_of["a"] == "budget 100; used 30; tasks left 3"


def test_quotas_that_cannot_be_met_are_told() -> None:
    """The budget is used up: 12 and 4 weights are there to be used again."""
    seen = task_begins(3, {"a": 88, "b": 396}, {"a": 3, "b": 1})
    rule = DensityByGain(start=1.0, begin=0.0)
    decision = rule.before_task(seen)
    assert decision.quota == decision.new == {"a": 0, "b": 0}
    assert decision.active == {"a": 3, "b": 1}
    full = replace(seen, active={"a": 40, "b": 1})  # 160, at most 100, of which 12 are used
    assert rule.before_task(full).quota == {"a": 88, "b": 0}
    rule._quota = {"a": 0, "b": 0}
    decision = rule.after_update(epoch(seen, 10, {"a": 12, "b": 4}, 0.5))
    assert decision.active == {}
    assert decision.rows(4, 10)[0]["what"] == "nothing"
    assert decision.evidence == "validation 0.5000; quotas have no room; the density is final"


def test_a_density_above_what_quotas_allow_begins_smaller() -> None:
    seen = task_begins(0, {"a": 100, "b": 400}, {"a": 80, "b": 320}, tasks=10)
    decision = DensityByGain(start=1.0, kappa=1.0).before_task(seen)
    assert decision.active == decision.quota == {"a": 10, "b": 40}
    assert "quotas have room for 50 of 400 weights" in decision.evidence_of["a"]


def test_steps_go_on_while_the_fitted_gain_is_above_epsilon() -> None:
    before = task_begins(0, {"a": 100, "b": 400}, {"a": 20, "b": 20})
    rule = DensityByGain(start=0.5, epsilon=0.05, begin=0.2, kappa=4.0)
    assert rule.before_task(before).active == {"a": 10, "b": 10}
    ten = {"a": 10, "b": 10}
    assert rule.after_update(epoch(before, 5, ten)) == NOTHING  # no epoch yet
    assert rule.after_update(epoch(before, 15, ten, 0.3)) == NOTHING  # too early
    decision = rule.after_update(epoch(before, 25, ten, 0.3, 0.4))
    assert decision.active == {"a": 15, "b": 15}
    assert decision.evidence == "validation 0.4000"
    more = {"a": 15, "b": 15}
    assert rule.after_update(epoch(before, 30, more, 0.3, 0.4)) == NOTHING  # no new epoch
    # Points 0.3 and 0.4 at 20 weights, 0.6 at 30: the slope is 0.25 in steps of 1.5.
    decision = rule.after_update(epoch(before, 35, more, 0.3, 0.4, 0.6))
    assert decision.evidence == "validation 0.6000; fitted gain of a step 0.2500; epsilon 0.05"
    assert decision.active == {"a": 22, "b": 22}
    # Of the last three, 0.4, 0.6 and 0.5: a gain of about 0.06 by hand, at 20, 30 and 44.
    x = [log(20), log(30), log(44)]
    mean = sum(x) / 3
    slope = sum((p - mean) * (y - 0.5) for p, y in zip(x, (0.4, 0.6, 0.5))) / sum(
        (p - mean) ** 2 for p in x
    )
    most = {"a": 22, "b": 22}
    decision = rule.after_update(epoch(before, 45, most, 0.3, 0.4, 0.6, 0.5))
    assert f"step {slope * log(1.5):.4f}" in decision.evidence
    assert decision.active == ({"a": 33, "b": 33} if slope * log(1.5) > 0.05 else {})


def test_a_step_that_does_not_pay_is_the_last() -> None:
    before = task_begins(0, {"a": 100, "b": 400}, {"a": 20, "b": 20})
    rule = DensityByGain(begin=0.0)
    rule.before_task(before)
    rule.after_update(epoch(before, 10, {"a": 10, "b": 10}, 0.5))
    decision = rule.after_update(epoch(before, 20, {"a": 15, "b": 15}, 0.5, 0.5))
    assert decision.evidence.endswith("epsilon 0.03; the density is final")
    assert rule.after_update(epoch(before, 30, {"a": 15, "b": 15}, 0.5, 0.5, 0.9)) == NOTHING


def test_in_the_last_quarter_there_is_no_step() -> None:
    before = task_begins(0, {"a": 100, "b": 400}, {"a": 20, "b": 20})
    rule = DensityByGain(until=0.5)
    rule.before_task(before)
    assert rule.after_update(epoch(before, 50, {"a": 10, "b": 10}, 0.5)).active
    decision = rule.after_update(epoch(before, 51, {"a": 15, "b": 15}, 0.5, 0.9))
    assert decision.evidence == "step 51 of 100; the density is final"


def test_what_a_full_layer_cannot_take_goes_to_others() -> None:
    assert poured({"a": 60, "b": 30, "c": 10}, {"a": 50, "b": 100, "c": 100}) == {
        "a": 50, "b": 38, "c": 12,
    }  # fmt: skip
    assert poured({"a": 60, "b": 30}, {"a": 50, "b": 31}) == {"a": 50, "b": 31}


@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    density=st.floats(0.01, 1),
    kappa=st.floats(1, 20),
    taken=st.lists(st.floats(0, 1), min_size=8, max_size=8),
    tasks=st.integers(1, 8),
)
def test_no_sequence_uses_more_new_weights_than_a_fixed_density_may(
    sizes: list[int], density: float, kappa: float, taken: list[float], tasks: int
) -> None:
    """Whatever share of its quota each task takes."""
    layers = {f"l{number}": size for number, size in enumerate(sizes)}
    asked = {name: max(1, round(density * size)) for name, size in layers.items()}
    free, rule = dict(layers), DensityByGain(kappa=kappa)
    for task in range(tasks):
        decision = rule.before_task(
            Seen(task, tasks, 0, 100, 0, layers, dict(free), asked, "random")
        )
        for name, quota in decision.quota.items():
            used = layers[name] - free[name]
            assert decision.new[name] <= quota <= free[name]
            assert 1 <= decision.active[name] <= used + quota
            assert decision.active[name] - decision.new[name] <= used
            free[name] -= max(decision.new[name], int(taken[task] * quota))
    for name, size in layers.items():
        assert size - free[name] <= min(size, tasks * asked[name])


# In a run


@pytest.fixture
def growing(short_run: Run) -> Run:
    """A run whose density grows, in 20 steps a task with updates up to the 15th."""
    rule = {"name": "density_by_gain", "start": 0.5, "begin": 0.0, "epsilon": 0.0}
    return changed(short_run, controller=rule, validation=0.1, epochs=4, learn=3)


def test_a_run_has_the_density_of_its_decisions_within_the_budget(
    growing: Run, digits: Prepared
) -> None:
    trained = learner(growing, digits, TASKS, validation=HELD_OUT)
    outcome = trained.fit()
    rows = outcome.store.capacity()
    last = {
        (row["task"], row["layer"], row["what"]): row["value"]
        for row in outcome.decisions  # in order, so that later ones count
    }
    for row in rows:
        assert row["active"] == last[row["task"], row["layer"], "active"]
        assert row["new"] <= last[row["task"], row["layer"], "quota"]
    assert any(row["step"] > 0 and row["what"] == "active" for row in outcome.decisions)
    asked = trained.method._controlled  # type: ignore[attr-defined]
    assert asked is not None
    for name in asked.weights:
        size = asked.weights[name].numel()
        fixed = round(0.3 * size)  # of uniform density, as in this run
        assert sum(int(r["new"]) for r in rows if r["layer"] == name) <= min(size, 5 * fixed)
    per_task = [sum(int(r["active"]) for r in rows if r["task"] == t) / 900 for t in (1, 2, 3)]
    ends = {row["task"]: row["density"] for row in outcome.history}
    assert [ends[task] for task in (1, 2, 3)] == pytest.approx(per_task)
    assert len({row["density"] for row in outcome.history}) > 1  # within tasks, too


def test_flops_are_those_of_the_counts_in_force(growing: Run, digits: Prepared) -> None:
    """An image's FLOPs are linear in the counts, so those of mean counts are the mean."""
    trained = learner(changed(growing, growth="random"), digits, TASKS, validation=HELD_OUT)
    outcome = trained.fit()
    sample, images = digits.images[:1].float(), outcome.effort.images
    costs = run_costs(trained.method, outcome.store, outcome.history, images, sample)
    uses = uses_per_image(outcome.store.network, sample)
    head = {name: p.numel() for name, p in outcome.store.network.named_parameters() if name in uses}
    means = [trained.method.mean_counts(task) for task in range(3)]
    each = [forward_flops(head | dict(counts or {}), uses) for counts in means]
    assert costs["training_flops"] == pytest.approx(images * sum(each))  # 3 passes, 3 tasks
    starts = [sum(r["value"] for r in outcome.decisions
                  if r["task"] == t and r["step"] == 0 and r["what"] == "active")
              for t in (1, 2, 3)]  # fmt: skip
    for counts, start in zip(means, starts):
        assert counts is not None
        assert start < sum(counts.values())
    history = [{"task": 1, "density": density} for density in (0.1, 0.2)]
    assert training_flops(trained.method, history, [20], 100, 2, {0: 15.0}) == 2 * 3 * 15


@pytest.mark.parametrize("kind", ["density_by_gain", "settling"])
def test_a_run_goes_on_bit_for_bit_from_any_step(kind: str, growing: Run, digits: Prepared) -> None:
    run, more = growing, {"validation": HELD_OUT}
    if kind == "settling":
        rule = {"name": "settling", "lasting": 0.2, "patience": 1}
        run = changed(growing, controller=rule)
    run = changed(run, learn=2)
    whole, states = learner(run, digits, TASKS, **more), []
    whole.pause = lambda state, task_end: states.append(deepcopy(state()))
    whole.fit()
    assert {row["what"] for row in whole.outcome.decisions} >= (
        {"active", "quota"} if kind == "density_by_gain" else {"settled"}
    )
    assert len(states) == 42  # every step, and the ends of two tasks
    for moment in (1, 6, 7, 11, 20, 23, 33):
        resumed = learner(run, digits, TASKS, **more)
        resumed.load_state_dict(states[moment])
        resumed.fit()
        assert resumed.outcome.accuracy == whole.outcome.accuracy
        assert resumed.outcome.decisions == whole.outcome.decisions
        assert [resumed.method.mean_counts(t) for t in (0, 1)] == [
            whole.method.mean_counts(t) for t in (0, 1)
        ]
        for one, other in zip(whole.outcome.store.subnets, resumed.outcome.store.subnets):
            assert all(torch.equal(mask, other.masks[name]) for name, mask in one.masks.items())


def test_the_best_epoch_is_one_with_the_final_density(growing: Run, digits: Prepared) -> None:
    run = changed(growing, checkpoint="best_validation_accuracy", validation=0.1, learn=2)
    outcome = fit(run, digits, TASKS, validation=HELD_OUT)
    last = {
        (row["task"], row["layer"]): row["value"]
        for row in outcome.decisions
        if row["what"] == "active"
    }
    for row in capacity_rows([subnet.masks for subnet in outcome.store.subnets]):
        assert row["active"] == last[row["task"], row["layer"]]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "density_by_gain", "factor": 1}, "density_by_gain.factor: 1; should be greater"),
        ({"name": "density_by_gain", "kappa": 0.5}, "kappa: 0.5; should be greater than or equal"),
        ({"name": "density_by_gain", "start": 0}, "start: 0; should be greater than 0"),
        ({"name": "settling", "patience": 0}, "patience: 0; should be greater than or equal to 1"),
        ({"name": "settling", "longer": 0.5}, "longer: 0.5; should be greater than or equal to 1"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(
    given: dict[str, Any], words: str, short_run: Run
) -> None:
    with pytest.raises(ValueError) as caught:
        changed(short_run, controller=given, validation=0.1)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_without_held_out_images_density_by_gain_is_refused(short_run: Run) -> None:
    with pytest.raises(ValueError, match="'density_by_gain'; needs training.validation above 0"):
        changed(short_run, controller="density_by_gain")
