"""The guard of plasticity: what it draws anew, exactly that, and nothing else."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
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
from dstcl.continual.controllers.plasticity_guard import PlasticityGuard
from dstcl.continual.controllers.revival import drawn_anew, fresh_values
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.study.run import Run
from helpers.runs import changed, fit, learner, quick_run

TASKS = split_classes(10, 5, "natural")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# The exchange


@pytest.mark.parametrize("inputs", [1, 2, 5])
def test_an_exchange_keeps_every_count(inputs: int) -> None:
    """On random layers: active and free active weights, frozen ones, and each channel's share."""
    draws = generator(inputs)
    for seed in range(60):
        mask = torch.rand(6, 3, 2, generator=draws) < 0.25
        frozen = torch.rand(6, 3, 2, generator=draws) < 0.3
        weight = torch.randn(6, 3, 2, generator=draws)
        channels = torch.randperm(6, generator=draws)[:3].tolist()
        stay, drawn = drawn_anew(mask, frozen, channels, inputs, weight, generator(seed))
        found = stay | drawn
        assert not (stay & drawn).any()
        assert found.sum() == mask.sum()
        assert (found & frozen).equal(mask & frozen)
        assert not (drawn & frozen).any()
        others = [row for row in range(6) if row not in channels]
        assert not drawn[others].any()
        assert not (stay & ~mask).any()
        for row in others:  # the largest active weight of a channel is never given up
            assert found[row].any() == mask[row].any()
        has = drawn[channels].flatten(1).sum(1)
        room = (~frozen[channels]).flatten(1).sum(1)
        given = (mask & ~frozen)[channels].sum()
        assert drawn.sum() >= given
        if drawn.sum() == given:  # no more were needed, or none were there
            continue
        assert (has <= room.clamp(max=inputs)).all(), "others give only what is lacking"


def test_channels_get_a_first_weight_before_any_gets_a_second() -> None:
    mask = torch.zeros(4, 8).bool()
    mask[0, :6] = True  # all six of one channel; three dead channels have none
    frozen, weight = torch.zeros(4, 8).bool(), torch.arange(32.0).view(4, 8)
    stay, drawn = drawn_anew(mask, frozen, [1, 2, 3], 1, weight, generator())
    assert stay[0].tolist() == [False] * 3 + [True] * 3 + [False] * 2  # the smallest three went
    assert drawn.sum(1).tolist() == [0, 1, 1, 1]
    _, drawn = drawn_anew(mask, frozen, [0, 1, 2, 3], 2, weight, generator())
    assert sorted(drawn.sum(1).tolist()) == [1, 1, 2, 2]


def test_a_layer_with_nothing_to_give_stays_as_it_is() -> None:
    mask = torch.eye(3).bool()
    mask[2] = False
    stay, drawn = drawn_anew(mask, torch.zeros(3, 3).bool(), [2], 1, torch.ones(3, 3), generator())
    assert stay.equal(mask)
    assert not drawn.any()


def test_fresh_values_are_those_of_free_weights() -> None:
    stored = torch.tensor([[1.0, 2.0, 3.0], [40.0, 5.0, 60.0]])
    frozen = torch.tensor([[0, 0, 0], [1, 0, 1]]).bool()
    values = fresh_values(stored, frozen, 400, generator())
    assert set(values.tolist()) == {1.0, 2.0, 3.0, 5.0}
    drawn = fresh_values(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4).bool(), 400, generator())
    assert 0.2 < drawn.abs().max() <= 0.25  # one over the square root of 16 inputs
    assert drawn.dtype == torch.float32


# The rule


def seen(dead: dict[str, tuple[int, ...]], step: int = 1) -> Seen:
    """After a batch, with layers of ten channels."""
    names = list(dead)
    return Seen(
        task=1,
        tasks=5,
        step=step,
        total_steps=100,
        updates=0,
        sizes=dict.fromkeys(names, 100),
        free=dict.fromkeys(names, 50),
        active=dict.fromkeys(names, 20),
        growth="random",
        channels=dict.fromkeys(names, tuple(range(10))),
        dead=dead,
    )


def test_the_guard_acts_where_more_are_dead_than_the_threshold() -> None:
    guard = PlasticityGuard(threshold=0.25, inputs=3)
    few = guard.after_batch(seen({"a": (1, 2), "b": (5, 6, 7)}))
    assert few == Decision(evidence="dead 5 of 20 channels; threshold 0.25")
    assert guard.after_batch(seen({"a": (1, 2), "b": (5, 6, 7)}, step=2)) is NOTHING
    many = guard.after_batch(seen({"a": (), "b": (0, 1, 2, 5, 6, 7)}, step=2))
    assert (many.anew, many.inputs) == ({"b": (0, 1, 2, 5, 6, 7)}, 3)
    rows = many.rows(2, 2)
    assert [(row["layer"], row["what"], row["value"]) for row in rows] == [("b", "anew", 6)]
    assert rows[0]["evidence"] == "dead 6 of 10; in all dead 6 of 20 channels; threshold 0.25"


def test_the_control_draws_as_many_channels_of_each_layer() -> None:
    found = Counter[int]()
    for seed in range(100):
        control = PlasticityGuard(seed=seed, threshold=0.0, at_random=True)
        dead = {"a": (0, 1, 2, 3), "b": ()}
        decision = control.after_batch(seen(dead))
        assert control.after_batch(seen(dead)) == decision
        assert {name: len(anew) for name, anew in decision.anew.items()} == {"a": 4}
        found.update(decision.anew["a"])
    assert set(found) == set(range(10))
    assert max(found.values()) < 60  # of 100, with 40 expected
    assert decision.rows(1, 1)[0]["evidence"].startswith("dead 4 of 10; ")


def test_without_free_weights_there_is_nothing_to_guard() -> None:
    assert PlasticityGuard(threshold=0.0).after_batch(seen({})) == Decision(
        evidence="dead 0 of 0 channels; threshold 0"
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threshold": 1.0}, "plasticity_guard.threshold: 1.0; should be less"),
        ({"threshold": -0.1}, "plasticity_guard.threshold: -0.1; should be"),
        ({"batches": 0}, "plasticity_guard.batches: 0; should be"),
        ({"inputs": 0}, "plasticity_guard.inputs: 0; should be"),
        ({"at_random": "yes"}, "plasticity_guard.at_random: 'yes'; should be"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(settings: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        changed(quick_run(), controller={"name": "plasticity_guard", **settings})
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


# A training that obeys, in a loop of one's own


def model_with_dead_channels(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(12, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4, bias=False)
    )


def masks_with_dead_channels() -> dict[str, Tensor]:
    """Channels 5 to 7 of the first layer have no input."""
    first = torch.zeros(8, 12).bool()
    first[:5, :4] = True
    return {"0.weight": first, "3.weight": torch.ones(4, 8).bool()}


def training(controller: Controller, **more: Any) -> tuple[nn.Module, ControlledTraining]:
    model = model_with_dead_channels()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    given: dict[str, Any] = {
        "grow": "gradient",
        "masks": masks_with_dead_channels(),
        "update_every": 50,
        "total_steps": 100,
        "generator": generator(3),
    }
    return model, ControlledTraining(model, optimizer, controller=controller, **(given | more))


def step(model: nn.Module, dst: ControlledTraining, number: int) -> None:
    inputs = torch.randn(32, 12, generator=generator(number))
    dst.optimizer.zero_grad()
    model(inputs).square().mean().backward()
    dst.step()
    dst.check_counts()


def empty(dst: ControlledTraining) -> list[int]:
    return (~dst.masks["0.weight"].any(1)).nonzero().flatten().tolist()


def test_channels_without_input_get_weights_with_initial_values() -> None:
    model, dst = training(PlasticityGuard(batches=2))
    stored = dst.stored["0.weight"]
    step(model, dst, 1)
    assert empty(dst) == []
    drawn = dst.masks["0.weight"][5:]
    assert drawn.sum() == 3
    assert set(model[0].weight[5:][drawn].tolist()) <= set(stored.flatten().tolist())
    assert (dst.masks["3.weight"]).all()
    state = dst.optimizer.state[dst.weights["0.weight"]]
    assert not state["exp_avg"][5:].any()
    step(model, dst, 2)
    assert (state["exp_avg"][5:] != 0).sum() == 3  # they learn now
    first = {row["step"]: row for row in dst.controller.rows}
    assert list(first) == [1]
    assert first[1]["evidence"].startswith("dead 3 of 8; in all dead 3 of 12 channels")


def test_growth_alone_does_not_bring_them_back() -> None:
    """Which is why weights are drawn and not grown."""
    for grow in ("gradient", "random"):
        model, dst = training(Controller(), grow=grow, update_every=2, prune_rate=0.6)
        for number in range(1, 60):
            step(model, dst, number)
        dead = model[0].weight.grad[5:]
        assert not dead.any(), grow


def test_frozen_weights_never_move() -> None:
    frozen = {"0.weight": torch.zeros(8, 12).bool(), "3.weight": torch.zeros(4, 8).bool()}
    frozen["0.weight"][:, ::2] = True
    frozen["3.weight"][1] = True
    model, dst = training(PlasticityGuard(threshold=0.0, batches=20, inputs=3), frozen=frozen)
    before = {name: mask & frozen[name] for name, mask in dst.masks.items()}
    new = {name: int((mask & ~frozen[name]).sum()) for name, mask in dst.masks.items()}
    for number in range(1, 21):
        step(model, dst, number)
        for name, mask in dst.masks.items():
            assert (mask & frozen[name]).equal(before[name])
            assert int((mask & ~frozen[name]).sum()) == new[name]
            held = mask & frozen[name]
            assert torch.equal(dst.weights[name][held], dst.stored[name][held])
            assert not dst.weights[name][~mask].any()
    assert empty(dst) == []


def test_a_guard_that_has_nothing_to_do_changes_nothing() -> None:
    given = {"update_every": 5, "masks": None, "density": 0.5}
    model, dst = training(PlasticityGuard(threshold=0.5), **given)
    plain_model, plain = training(Controller(), **given)
    for number in range(1, 30):
        step(model, dst, number)
        step(plain_model, plain, number)
    assert dst.updates == plain.updates == 5
    for name, weight in dst.weights.items():
        assert torch.equal(weight, plain.weights[name])
    assert [row["what"] for row in dst.controller.rows] == ["nothing"]
    assert dst.dense_gradient_share() == pytest.approx((8 + 5 - 1) / 29)  # step 5 has both


def test_layers_with_a_structure_are_left_alone() -> None:
    model, dst = training(
        PlasticityGuard(threshold=0.0), masks=None, density=0.5, structure={"0.weight": "2:4"}
    )
    step(model, dst, 1)
    assert dst.controller.rows[0]["evidence"].endswith("of 4 channels; threshold 0")


class Scripted(Controller):
    """Decides what it is told after the first batch, before the task or after an update."""

    first_batches = 1

    def __init__(self, **script: Decision) -> None:
        super().__init__()
        self.script = script

    def before_task(self, seen: Seen) -> Decision:
        return self.script.get("before", NOTHING)

    def after_batch(self, seen: Seen) -> Decision:
        return self.script.get("batch", NOTHING)

    def after_update(self, seen: Seen) -> Decision:
        return self.script.get("update", NOTHING)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"before": Decision(anew={"0.weight": (1,)})}, "anew: decided after one of the first"),
        ({"update": Decision(anew={"0.weight": (1,)})}, "anew: decided after one of the first"),
        ({"batch": Decision(anew={"0.weight": (8,)})}, "anew: no channel 8 with free weights in 0"),
        ({"batch": Decision(anew={"1.weight": (0,)})}, "anew: no channel 0 with free weights in 1"),
        ({"batch": Decision(anew={"0.weight": (1,)}, inputs=0)}, "inputs: 0; should be at least 1"),
        *(
            ({"batch": decision}, "after_batch: only anew and inputs are decided after a batch")
            for decision in (
                Decision(active={"0.weight": 3}),
                Decision(update_every=400),
                Decision(growth="gradient"),
                Decision(settled=("0.weight",), anew={"0.weight": (1,)}),
            )
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    script: dict[str, Decision], words: str
) -> None:
    with pytest.raises(ControllerError) as caught:
        model, dst = training(Scripted(**script), update_every=1)
        step(model, dst, 1)
    assert str(caught.value).startswith(f"controller Scripted: task 1: {words}")
    assert len(str(caught.value).splitlines()) == 1


# In a run


def test_dead_channels_of_a_sequence_come_back(short_run: Run, digits: Prepared) -> None:
    """Of the paper's kind of mask: uniform, of very few weights. Counts are those without it."""
    run = changed(
        short_run, init="uniform", density=0.05, growth="gradient", epochs=1, update_every=100
    )
    guarded = fit(changed(run, controller="plasticity_guard"), digits, TASKS)
    fixed = fit(run, digits, TASKS)
    dead = {(row["task"], row["step"]): _dead(row) for row in guarded.decisions}
    for task in range(1, 6):
        steps = [number for at, number in sorted(dead) if at == task]
        assert dead[task, steps[-1]] < dead[task, 1]
    for row, other in zip(guarded.capacity(), fixed.capacity()):
        assert row["active"] == other["active"]
    assert guarded.capacity()[0]["dead"] == fixed.capacity()[0]["dead"]  # seen before it acts


def _dead(row: dict[str, Any]) -> int:
    """Of all layers, as the evidence has it."""
    words = str(row["evidence"]).split("in all ")[-1]
    return int(words.split()[1])


def test_a_run_goes_on_bit_for_bit_amid_the_first_batches(short_run: Run, digits: Prepared) -> None:
    run = changed(
        short_run, init="uniform", density=0.05, learn=2, epochs=1, controller="plasticity_guard"
    )
    whole, states = learner(run, digits, TASKS), []
    whole.pause = lambda state, task_end: states.append(deepcopy(state()))
    whole.fit()
    steps = len(states) // 2
    resumed = learner(run, digits, TASKS)
    resumed.load_state_dict(states[steps + 3])  # the second task has made a few steps
    resumed.fit()
    assert resumed.outcome.accuracy == whole.outcome.accuracy
    assert resumed.outcome.decisions == whole.outcome.decisions
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name])
