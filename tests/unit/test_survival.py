"""Survival of grown weights: what is measured, and growth that is chosen by it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dstcl.continual.controllers import (
    NOTHING,
    ControlledTraining,
    Controller,
    ControllerError,
    Decision,
    Seen,
)
from dstcl.continual.controllers.survival import Survival
from dstcl.continual.controllers.survival_bandit import SurvivalBandit
from dstcl.sparse import GROW, LayerView, criterion
from dstcl.sparse.criteria import Criterion
from dstcl.sparse.mixed_growth import MixedGrowth, picks, shared_growth
from helpers.runs import changed, quick_run

LAYERS = ("0.weight", "2.weight")


def bits(*ones: int, size: int = 6) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(ones)] = True
    return mask


# Growth by several criteria


def test_of_several_criteria_each_grows_its_share_and_together_all() -> None:
    """Ends of the shares 0.5, 0.8 and 1 times the count, rounded."""
    mix = shared_growth([("gradient", 0.5), ("unfired", 0.3), ("random", 0.2)])
    assert isinstance(mix, MixedGrowth)
    assert (mix.needs_gradient, mix.needs_momentum) == (True, False)
    expected = {0: [0, 0, 0], 1: [1, 0, 0], 3: [2, 0, 1], 10: [5, 3, 2], 1001: [501, 300, 200]}
    assert {count: mix.split(count) for count in expected} == expected
    for count in range(300):
        assert sum(mix.split(count)) == count
        assert min(mix.split(count)) >= 0


def test_shares_a_little_above_1_take_nothing_back() -> None:
    mix = shared_growth([("gradient", 0.5), ("unfired", 0.5005), ("random", 0.0003)])
    assert isinstance(mix, MixedGrowth)
    assert mix.split(5000) == [2500, 2500, 0]


def test_criteria_without_a_share_are_left_out() -> None:
    assert shared_growth([("gradient", 0), ("random", 1), ("momentum", 0)]).name == "random"
    mix = shared_growth([("gradient", 0.3333), ("momentum", 0), ("random", 0.6666)])
    assert [criterion.name for criterion, _ in picks(mix, 9)] == ["gradient", "random"]
    assert not mix.needs_momentum
    assert [number for _, number in picks(mix, 9)] == [3, 6]


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ([("gradient", 0.5), ("random", 0.4)], "share: all together 0.9; should be 1"),
        ([("gradient", -0.5), ("random", 1.5)], "share: -0.5; should be from 0 to 1"),
        ([], "share: all together 0; should be 1"),
        ([("random-then-gradient", 1.0)], "a mix is of single criteria"),
    ],
)
def test_shares_that_are_none_are_refused(shares: list[tuple[str, float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        shared_growth(shares)


# What is measured


def test_a_criterion_that_picks_twice_is_counted_once() -> None:
    survival = Survival({"layer": torch.zeros(6)}, after=1)
    survival.grew(0, "layer", "random", bits(0, 1), 2)
    survival.grew(0, "layer", "random", bits(2, 3), 2)
    shares, grown = survival.judge(1, {"layer": bits(0, 1, 2)})
    assert (shares, grown) == ({"layer": {"random": 0.75}}, {"layer": {"random": 4}})


def test_survival_counts_what_is_left_of_an_update() -> None:
    survival = Survival({"layer": torch.zeros(6)}, after=2)
    survival.grew(0, "layer", "a", bits(0, 1), 2)
    survival.grew(0, "layer", "b", bits(2), 1)
    assert survival.judge(0, {"layer": bits(0, 1, 2)}) == ({}, {})
    survival.grew(1, "layer", "b", bits(0, 3), 2)  # 0 was pruned, and is b's from now on
    assert survival.judge(1, {"layer": bits(0, 1, 2, 3)}) == ({}, {})
    shares, grown = survival.judge(2, {"layer": bits(0, 1, 2)})  # 3 is gone
    assert shares == {"layer": {"a": 0.5, "b": 1.0}}
    assert grown == {"layer": {"a": 2, "b": 1}}
    assert survival.judge(3, {"layer": bits(0, 1, 2)})[0] == {"layer": {"b": 0.5}}
    assert survival.judge(4, {"layer": bits(0, 1, 2)}) == ({}, {})


def test_what_is_drawn_anew_did_not_survive() -> None:
    survival = Survival({"layer": torch.zeros(6)}, after=1)
    survival.grew(0, "layer", "a", bits(0, 1, 2), 3)
    survival.forget("layer", bits(1))
    assert survival.judge(1, {"layer": bits(0, 1, 2)})[0] == {"layer": {"a": pytest.approx(2 / 3)}}


def test_origins_are_used_again_without_a_mix_up() -> None:
    """With each update judged one later, origins of update 0 have the number of update 2."""
    survival = Survival({"layer": torch.zeros(6)}, after=1)
    for update in range(40):
        survival.grew(update, "layer", "a", bits(update % 6, (update + 1) % 6), 2)
        shares, _ = survival.judge(update, {"layer": bits(0, 1, 2, 3, 4, 5)})
        # The next update grew one of the two anew.
        assert shares == ({"layer": {"a": 0.5}} if update else {})


@pytest.mark.parametrize("after", [0, 1001])
def test_a_range_of_updates_that_cannot_be_is_refused(after: int) -> None:
    with pytest.raises(ValueError, match=f"survival_after: {after}; should be from 1 to 1000"):
        Survival({}, after)


def test_more_criteria_than_an_origin_can_tell_apart_are_refused() -> None:
    survival = Survival({"layer": torch.zeros(6)}, after=1000)
    with pytest.raises(ValueError, match="too long for so many criteria"):
        for number in range(40):
            survival.grew(1000, "layer", str(number), bits(0), 1)


class Watching(Controller):
    """Grows by a mix from the start, and keeps what it sees."""

    growths = ("gradient",)
    survival_after = 2

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []

    def before_task(self, seen: Seen) -> Decision:
        return Decision(shares={"gradient": 0.6, "random": 0.4})

    def after_update(self, seen: Seen) -> Decision:
        self.seen.append(seen)
        return NOTHING


class Recorded(ControlledTraining):
    """Keeps what each criterion grew, and the masks after each update, for an oracle."""

    def __init__(self, *given: Any, **more: Any) -> None:
        self.picked: dict[tuple[int, str, str], Tensor] = {}
        self.masks_after: list[dict[str, Tensor]] = []
        super().__init__(*given, **more)

    def grew(self, name: str, criterion: Criterion, picked: Tensor, count: int) -> None:
        self.picked[self.updates, name, criterion.name] = picked.clone()
        super().grew(name, criterion, picked, count)

    def update_topology(self) -> None:
        super().update_topology()
        self.masks_after.append({name: mask.clone() for name, mask in self.masks.items()})


def trained(
    controller: Controller, *, steps: int = 100, keep: int = 0, state: Any = None, **more: Any
) -> tuple[Recorded, Any]:
    """A training of two layers with exact counts after every step, and its state after one."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    given: dict[str, Any] = {"density": 0.2, "grow": "random", "update_every": 10,
                             "total_steps": 100, "stop_at": 1.0}  # fmt: skip
    training = Recorded(model, optimizer, controller=controller, **(given | more))
    kept, draws = None, torch.Generator().manual_seed(1)
    for step in range(1, steps + 1):
        inputs, targets = (torch.randn(16, size, generator=draws) for size in (20, 10))
        if state is not None and step <= state[0]:
            continue
        if state is not None and step == state[0] + 1:
            model.load_state_dict(state[1])
            optimizer.load_state_dict(state[2])
            training.load_state_dict(state[3])
            controller.load_state_dict(state[4])
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        training.step()
        training.check_counts()
        assert training.counts == training.budget
        if step == keep:
            parts = (model, optimizer, training, controller)
            kept = deepcopy([step, *(part.state_dict() for part in parts)])
    return training, kept


def test_survival_is_what_an_oracle_counts() -> None:
    controller = Watching()
    training, _ = trained(controller)
    assert len(controller.seen) == 10
    assert [bool(seen.survival) for seen in controller.seen] == [False] * 2 + [True] * 8
    for update, seen in enumerate(controller.seen[2:], start=2):
        for layer, name in _grown(training, update - 2):
            alive = training.picked[update - 2, layer, name]
            number = int(alive.sum())
            for later in (update - 1, update):
                for other in ("gradient", "random"):
                    alive = alive & ~training.picked[later, layer, other]
            alive = alive & training.masks_after[update][layer]
            assert seen.grown[layer][name] == number
            assert seen.survival[layer][name] == int(alive.sum()) / number


def _grown(training: Recorded, update: int) -> Iterator[tuple[str, str]]:
    for (number, layer, name), picked in training.picked.items():
        if number == update and picked.any():
            yield layer, name


def test_survival_of_all_layers_is_weighted_by_what_was_grown() -> None:
    seen = Seen(
        task=0, tasks=1, step=1, total_steps=2, updates=3, sizes={}, free={}, active={}, growth="",
        survival={"x": {"a": 0.5, "b": 0.0}, "y": {"a": 1.0}},
        grown={"x": {"a": 30, "b": 5}, "y": {"a": 10}},
    )  # fmt: skip
    assert seen.pooled_survival() == {"a": (25 / 40, 40), "b": (0.0, 5)}


def test_where_nobody_asks_nothing_is_measured() -> None:
    class Blind(Watching):
        survival_after = 0

    controller = Blind()
    training, kept = trained(controller, keep=50)
    assert training._survival is None
    assert kept[3]["survival"] is None
    assert not any(seen.survival or seen.grown for seen in controller.seen)


def test_measuring_changes_no_number() -> None:
    class Blind(Watching):
        survival_after = 0

    trainings = [trained(controller)[0] for controller in (Watching(), Blind())]
    for layer in LAYERS:
        assert torch.equal(trainings[0].weights[layer], trainings[1].weights[layer])


# Decisions on shares


class Told(Controller):
    growths = ("gradient", "momentum")

    def __init__(self, script: dict[int, Decision]) -> None:
        super().__init__()
        self.script = script

    def before_task(self, seen: Seen) -> Decision:
        return self.script.get(0, NOTHING)

    def after_update(self, seen: Seen) -> Decision:
        return self.script.get(seen.updates, NOTHING)


def test_shares_are_obeyed_in_all_layers_or_in_one() -> None:
    decision = Decision(
        shares={"gradient": 0.5, "random": 0.5}, shares_of={"2.weight": {"gradient": 1.0}}
    )
    ended = Decision(growth="random")
    training, _ = trained(Told({0: decision, 2: ended}))
    numbers = {key: int(picked.sum()) for key, picked in training.picked.items()}
    counts = training.budget
    assert numbers[0, "0.weight", "gradient"] + numbers[0, "0.weight", "random"] > 0
    assert abs(numbers[0, "0.weight", "gradient"] - numbers[0, "0.weight", "random"]) <= 1
    assert (0, "2.weight", "random") not in numbers
    assert numbers[0, "2.weight", "gradient"] <= counts["2.weight"] / 2 + 1
    assert all(name == "random" for update, _, name in numbers if update >= 2)


def test_shares_of_one_layer_leave_the_others_as_they_are() -> None:
    """Also after a resume: layers are decided on one by one, over a mix of all."""
    script = {
        0: Decision(shares={"gradient": 1.0}),
        1: Decision(shares_of={"0.weight": {"momentum": 1.0}}),
        2: Decision(shares_of={"2.weight": {"random": 1.0}}),
    }
    training, kept = trained(Told(script), keep=25)
    resumed, _ = trained(Told(script), state=kept)
    grown = {update: {layer: "" for layer in LAYERS} for update in range(10)}
    for (update, layer, name), picked in training.picked.items():
        assert not picked.any() or not grown[update][layer]
        grown[update][layer] = name
    assert [tuple(grown[update].values()) for update in (0, 1, 2, 9)] == [
        ("gradient", "gradient"), ("momentum", "gradient"),
        ("momentum", "random"), ("momentum", "random"),
    ]  # fmt: skip
    assert all(torch.equal(training.masks[layer], resumed.masks[layer]) for layer in LAYERS)


def test_shares_are_rows_of_the_decisions() -> None:
    decision = Decision(shares={"gradient": 0.7, "random": 0.3}, shares_of={"a": {"random": 1.0}})
    assert [(row["layer"], row["what"], row["value"]) for row in decision.rows(1, 0)] == [
        ("", "share of gradient", 0.7), ("", "share of random", 0.3), ("a", "share of random", 1.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (Decision(shares={"gradient": 0.5}), "mixed: share: all together 0.5; should be 1"),
        (Decision(shares={"unfired": 1.0}), "growth: 'unfired'; it may choose gradient, momentum"),
        (Decision(shares_of={"5.weight": {"gradient": 1.0}}), "shares_of: no layer '5.weight'"),
        (Decision(shares={"random": 1.0}, mixed=("gradient", 1)), "mixed: decided beside shares"),
    ],
)
def test_shares_that_cannot_be_are_refused_in_one_line(decision: Decision, words: str) -> None:
    with pytest.raises(ControllerError) as caught:
        trained(Told({0: decision}), steps=0)
    assert words in str(caught.value)
    assert str(caught.value).startswith("controller Told: task 1: ")
    assert len(str(caught.value).splitlines()) == 1


# Growth by survival


def judged(task: int = 0, **survival: tuple[float, int]) -> Seen:
    """After an update of two layers of which the second grew nothing that is judged."""
    return Seen(
        task=task, tasks=3, step=10, total_steps=100, updates=4, sizes={"x": 100, "y": 50},
        free={"x": 100, "y": 50}, active={"x": 20, "y": 10}, growth="random",
        survival={"x": {name: share for name, (share, _) in survival.items()}},
        grown={"x": {name: number for name, (_, number) in survival.items()}},
    )  # fmt: skip


def test_shares_follow_survival_by_hand() -> None:
    """Rewards 0.75 and 0.25 are 0.25 above and below their mean; 60 weights were grown, twice the
    30 active ones, so rate 1 makes 0.5 and -0.5; the softmax is 1 / (1 + e^-1) = 0.73106, and
    0.1 + 0.8 * 0.73106 = 0.68485."""
    bandit = SurvivalBandit(rate=1.0, floor=0.1, discount=0.5)
    assert bandit.before_task(judged()).shares == {"gradient": 0.5, "random": 0.5}
    decision = bandit.after_update(judged(gradient=(0.75, 40), random=(0.25, 20)))
    assert decision.shares == {"gradient": 0.6848, "random": 0.3152}
    assert decision.evidence == "survived gradient 0.7500 of 40; random 0.2500 of 20"
    # Half of the preferences: 1 / (1 + e^-0.5) = 0.6225.
    assert bandit.before_task(judged(1)).shares["gradient"] == pytest.approx(0.598, abs=1e-4)


def test_without_anything_judged_nothing_is_decided() -> None:
    bandit = SurvivalBandit()
    bandit.before_task(judged())
    assert bandit.after_update(replace(judged(), survival={}, grown={})) == NOTHING


def test_a_criterion_that_grew_nothing_keeps_its_preference() -> None:
    bandit = SurvivalBandit(criteria=["gradient", "unfired", "random"], rate=1.0, floor=0.0)
    bandit.before_task(judged())
    bandit.after_update(judged(gradient=(1.0, 10), random=(0.0, 10)))
    (found,) = bandit.memory()["preferences"].values()
    assert found == pytest.approx({"gradient": 1 / 3, "unfired": 0, "random": -1 / 3})


def test_no_preference_takes_a_share_below_the_floor() -> None:
    bandit = SurvivalBandit(rate=1000.0, floor=0.2)
    bandit.before_task(judged())
    for _ in range(50):
        shares = bandit.after_update(judged(gradient=(0.0, 9), random=(1.0, 9))).shares
    assert shares == {"gradient": 0.2, "random": 0.8}


def test_a_rate_of_zero_is_an_equal_mix_for_ever() -> None:
    bandit = SurvivalBandit(rate=0.0)
    bandit.before_task(judged())
    decision = bandit.after_update(judged(gradient=(1.0, 9), random=(0.0, 9)))
    assert decision.shares == {"gradient": 0.5, "random": 0.5}


def test_layers_learn_by_themselves() -> None:
    """60 weights were grown, three times the 20 active ones of the layer."""
    bandit = SurvivalBandit(layerwise=True, rate=2 / 3)
    opening = bandit.before_task(judged())
    assert opening.shares_of == {n: {"gradient": 0.5, "random": 0.5} for n in ("x", "y")}
    decision = bandit.after_update(judged(gradient=(0.75, 40), random=(0.25, 20)))
    assert decision.shares_of == {"x": {"gradient": 0.6848, "random": 0.3152}}
    assert decision.shares == {}
    assert bandit.shares("y") == {"gradient": 0.5, "random": 0.5}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"criteria": ["gradient"]}, "criteria: ['gradient']; should be two or more, each once"),
        ({"criteria": ["random", "random"]}, "should be two or more, each once"),
        ({"criteria": ["random", "nothing"]}, "allowed: random, unfired, gradient"),
        ({"criteria": "random"}, "criteria: 'random'; should be a list"),
        ({"criteria": ["random", "unfired", "gradient"], "floor": 0.4}, "at most 1 / 3"),
        ({"floor": -0.1}, "floor: -0.1; should be greater than or equal to 0"),
        ({"horizon": 0}, "horizon: 0; should be greater than or equal to 1"),
        ({"horizon": 1001}, "horizon: 1001; should be less than or equal to 1000"),
        ({"rate": -1.0}, "rate: -1.0; should be greater than or equal to 0"),
        ({"discount": 1.5}, "discount: 1.5; should be less than or equal to 1"),
        ({"layerwise": 1}, "layerwise: 1; should be of type bool"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        changed(quick_run(), controller={"name": "survival_bandit"} | given)
    assert words in str(caught.value)
    assert f"survival_bandit.{next(reversed(given))}: " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@criterion()
def doomed(layer: LayerView) -> Tensor:
    """Grows the last weights, whose gradient is zero: they stay at zero and are pruned next."""
    return torch.arange(layer.weight.numel()).view_as(layer.weight).float()


@criterion()
def useful(layer: LayerView) -> Tensor:
    """Grows the first ones."""
    return -torch.arange(layer.weight.numel()).view_as(layer.weight).float()


def test_a_state_of_another_kind_of_controller_is_refused_and_nothing_changed() -> None:
    def training(controller: Controller) -> ControlledTraining:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 4))
        dst = ControlledTraining(
            model, torch.optim.SGD(model.parameters(), 0.1), controller=controller, density=0.5,
            total_steps=10, update_every=2, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        dst.begin()
        return dst

    looks, blind = training(SurvivalBandit()), training(Controller())
    before = {name: mask.clone() for name, mask in looks.masks.items()}
    with pytest.raises(ValueError, match="controller with another survival_after"):
        looks.load_state_dict(blind.state_dict())
    assert all(torch.equal(mask, before[name]) for name, mask in looks.masks.items())


class Earlier(Watching):
    """Judged one update after growth instead of two."""

    survival_after = 1


class Unmixed(Watching):
    growths = ()

    def before_task(self, seen: Seen) -> Decision:
        return NOTHING


@pytest.mark.parametrize(
    ("controller", "words"),
    [
        (Earlier, "another survival_after"),
        (Unmixed, "Unmixed: task 1: growth: 'gradient'; it may choose random"),
    ],
)
def test_a_state_of_another_controller_is_refused_before_anything_is_changed(
    controller: type[Controller], words: str, tmp_path: Path
) -> None:
    whole, _ = trained(Watching(), steps=45)
    whole.save(tmp_path / "state.safetensors")
    other, _ = trained(controller(), steps=5)
    before = deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=words):
        other.load(tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match=words):
        other.load_state_dict(whole.state_dict())
    after = other.state_dict()
    assert after["steps"] == 5
    assert torch.equal(after["generator"], before["generator"])
    for key in ("masks", "explored", "stored"):
        assert all(torch.equal(after[key][layer], before[key][layer]) for layer in LAYERS)


def test_a_state_that_lacks_something_changes_nothing() -> None:
    whole, _ = trained(Watching(), steps=45)
    state = whole.state_dict()
    del state["validation"]
    other, _ = trained(Watching(), steps=5)
    with pytest.raises(ValueError, match="has 'validation', too"):
        other.load_state_dict(state)
    assert other.steps == 5


class FirstBatches(Watching):
    """Also looks at the first eight batches."""

    survival_after = 1
    first_batches = 8

    def after_batch(self, seen: Seen) -> Decision:
        self.seen.append(seen)
        return NOTHING


def test_what_survived_is_seen_after_a_resumption_too() -> None:
    """Updates follow steps 2, 4, ...; the one after step 4 judges what that after step 2 grew."""
    _, kept = trained(whole := FirstBatches(), steps=8, keep=4, update_every=2)
    trained(again := FirstBatches(), steps=8, state=kept, update_every=2)
    after = [seen for seen in whole.seen if seen.step > 4]
    assert [seen.step for seen in after] == [5, 6, 6, 7, 8, 8]
    assert after[0].survival
    assert again.seen == after


def test_a_state_of_earlier_code_has_nothing_that_survived() -> None:
    _, kept = trained(Watching(), steps=45, keep=45)
    del kept[3]["survived"], kept[3]["survival"]["after"]
    resumed, _ = trained(Watching(), state=kept)
    whole, _ = trained(Watching())
    assert all(torch.equal(whole.masks[layer], resumed.masks[layer]) for layer in LAYERS)


@pytest.mark.parametrize("better_first", [True, False])
@pytest.mark.parametrize("layerwise", [True, False])
def test_the_better_of_two_criteria_is_found(better_first: bool, layerwise: bool) -> None:
    """Only the first half of the inputs is ever anything but zero, and only it is learned from."""
    GROW.register("doomed", doomed, doomed.score)
    GROW.register("useful", useful, useful.score)
    bandit = SurvivalBandit(rate=5.0, horizon=1, layerwise=layerwise)
    bandit.growths = ("useful", "doomed") if better_first else ("doomed", "useful")
    torch.manual_seed(0)
    layer = nn.Linear(40, 1, bias=False)
    model = nn.Sequential(layer)
    training = ControlledTraining(
        model, torch.optim.SGD(model.parameters(), 0.1), controller=bandit, density=0.5,
        grow="useful", update_every=1, total_steps=60, stop_at=1.0, prune_rate=0.2,
        prune_schedule="constant", init="uniform",
    )  # fmt: skip
    draws = torch.Generator().manual_seed(0)
    for _ in range(60):
        layer.weight.grad = torch.randn(1, 40, generator=draws)
        layer.weight.grad[:, 20:] = 0
        training.step()
        training.check_counts()
        assert training.counts == {"0.weight": 20}
    place = "0.weight" if layerwise else ""
    assert bandit.shares(place)["useful"] == pytest.approx(0.9, abs=0.01)
    assert {row["layer"] for row in bandit.rows} == {place}


@pytest.mark.parametrize("layerwise", [True, False])
@pytest.mark.parametrize("moment", [1, 29, 30, 55])
def test_growth_by_survival_is_resumed_bit_for_bit(layerwise: bool, moment: int) -> None:
    """Also with weights of several criteria on trial, and a momentum that is kept."""
    given = {"criteria": ["momentum", "gradient", "random"], "layerwise": layerwise, "horizon": 2}
    whole, kept = trained(bandit := SurvivalBandit(**given), keep=moment)
    resumed, _ = trained(again := SurvivalBandit(**given), state=kept)
    for layer in LAYERS:
        assert torch.equal(whole.weights[layer], resumed.weights[layer])
        assert torch.equal(whole.masks[layer], resumed.masks[layer])
    assert bandit.rows == again.rows
    assert len(bandit.rows) > 20
    assert bandit.memory() == again.memory()


def test_the_state_of_growth_by_survival_is_a_file(tmp_path: Path) -> None:
    whole, _ = trained(SurvivalBandit(), steps=45)
    whole.save(tmp_path / "state.safetensors")
    fresh, _ = trained(SurvivalBandit(), steps=0)
    fresh.model.load_state_dict(whole.model.state_dict())
    fresh.load(tmp_path / "state.safetensors")
    assert whole._survival is not None
    assert fresh._survival is not None
    old, new = whole._survival.state_dict(), fresh._survival.state_dict()
    assert (old["criteria"], old["grown"]) == (new["criteria"], new["grown"])
    assert all(torch.equal(old["origin"][layer], new["origin"][layer]) for layer in LAYERS)
    assert fresh.grow == whole.grow
