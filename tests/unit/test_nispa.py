"""NISPA: a phase by hand, its network over several tasks, and what it goes back to."""

from __future__ import annotations

from itertools import pairwise
from math import cos, pi, sqrt
from typing import Any

import pytest
import torch
from small_networks import Residual
from torch import Tensor, nn

from dstcl.continual.methods.nispa import Nispa
from dstcl.continual.methods.phases import NispaTraining, annealed
from dstcl.continual.methods.rewiring import draw_anew, drawn_like, most_active, outgoing_first
from dstcl.continual.methods.units import input_units
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.jobs.checkpoints import decode, encode
from dstcl.study.kept import kept_of
from dstcl.study.methods import method_settings
from dstcl.study.run import Run
from helpers.runs import changed, learner

TASKS = split_classes(10, 5, "natural")[:3]


def as_nispa(run: Run, **changes: Any) -> Run:
    settings = {"growth": "none", "tasks": len(TASKS), "epochs": 6, "phases": 6} | changes
    return changed(run, method="nispa", **settings)


def bools(*values: int) -> Tensor:
    return torch.tensor(values).bool()


# The rule, by hand


def test_the_share_of_candidates_falls_as_a_cosine() -> None:
    found = [annealed(p, 4) for p in range(5)]
    assert found == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0])
    assert annealed(3, 30) == pytest.approx((1 + cos(pi / 10)) / 2)


@pytest.mark.parametrize(
    ("share", "chosen"),
    [(0.0, [1]), (0.5, [1]), (0.51, [1, 2]), (0.7, [1, 2]), (0.71, [1, 2, 3]), (1.0, [0, 1, 2, 3])],
)
def test_candidates_are_the_fewest_units_with_the_share(share: float, chosen: list[int]) -> None:
    """Of ten in all: 5, then 2, then 2 again of a later unit, then 1."""
    mass = torch.tensor([1.0, 5.0, 2.0, 2.0])
    assert most_active(mass, share).nonzero().flatten().tolist() == chosen


def test_where_nothing_is_active_one_unit_is_chosen() -> None:
    assert most_active(torch.zeros(3), 0.9).tolist() == [True, False, False]


def tiny(
    stable: dict[str, Tensor] | None = None, frozen: dict[str, Tensor] | None = None, **more: Any
) -> tuple[nn.Sequential, NispaTraining]:
    """Two inputs, three units, three units, one output; outputs of units for the input (1, 2): 1,
    4, 1, then 4, 3 and 2."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(2, 3, bias=False), nn.ReLU(),
        nn.Linear(3, 3, bias=False), nn.ReLU(),
        nn.Linear(3, 1, bias=False),
    )  # fmt: skip
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    second = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 1.0], [0.0, 0.5, 0.0]])
    with torch.no_grad():
        model[0].weight.copy_(first)
        model[2].weight.copy_(second)
        model[4].weight.copy_(torch.tensor([[1.0, 10.0, 100.0]]))
    given = {"phases": 2, "grown": "zero", "accuracy_drop": 0.0075} | more
    epochs = given.pop("epochs", 2)
    training = NispaTraining(
        model,
        torch.optim.SGD(model.parameters(), lr=given.pop("lr", 0.0)),
        stable=stable or {},
        images=torch.zeros(2, 2),
        total_steps=epochs,
        epochs=epochs,
        exclude=["4"],
        masks={"0.weight": first != 0, "2.weight": second != 0},
        frozen=frozen,
        generator=torch.Generator().manual_seed(1),
        **given,
    )
    return model, training


INPUT = torch.tensor([[1.0, 2.0]])


def take_epoch(model: nn.Module, training: NispaTraining, accuracy: float = 0.5) -> None:
    """One step, down the sum of outputs."""
    training.optimizer.zero_grad()
    model(INPUT).sum().backward()
    training.step()
    training.saw_epoch(accuracy)


def test_a_phase_by_hand() -> None:
    """Half of 6 is in the second unit; half of 9 needs 4 and 3, the first two. Both connections
    from plastic units into these go, and what lost all its connections gets one first."""
    model, training = tiny()
    assert model(INPUT).item() == 4 + 30 + 200
    take_epoch(model, training)
    assert training.units["0.weight"].tolist() == [False, True, False]
    assert training.units["2.weight"].tolist() == [True, True, False]
    assert training.masks["2.weight"].int().tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert training.masks["0.weight"].int().tolist() == [[1, 0], [0, 1], [1, 1]]
    assert training.counts == {"0.weight": 4, "2.weight": 4}
    assert model[2].weight.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0.5, 0]]
    assert model(INPUT).item() == 4  # the third unit is plastic, the second has no input left


def test_a_task_ends_with_what_leads_to_its_units() -> None:
    model, training = tiny()
    take_epoch(model, training)
    assert not training.settled()
    take_epoch(model, training)
    assert training.settled()
    assert training.masks["0.weight"].int().tolist() == [[0, 0], [0, 1], [0, 0]]
    assert training.masks["2.weight"].int().tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert training.topology["2.weight"].int().tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 1]]
    assert not any(module._forward_hooks for module in model.modules())
    assert model(INPUT).item() == 4


def test_new_connections_are_drawn_like_those_that_stay() -> None:
    """Of 1 and 0.5: by hand their mean is 0.75 and their deviation 0.25."""
    model, training = tiny(grown="normal")
    take_epoch(model, training)
    draws = torch.Generator().manual_seed(2)
    many = drawn_like(torch.tensor([1.0, 0.5]), (200, 200), draws)
    assert float(many.mean()) == pytest.approx(0.75, abs=0.01)
    assert float(many.std()) == pytest.approx(0.25, rel=0.02)
    grown = model[2].weight[2, [0, 2]]
    assert grown.ne(0).all()
    assert grown.sub(0.75).abs().lt(1.5).all()
    assert float(drawn_like(torch.zeros(0), (50, 3, 2, 2), draws).std()) == pytest.approx(
        sqrt(2 / 200), rel=0.1
    )


def test_stable_units_stay_chosen_and_take_no_new_connection() -> None:
    """The third unit of the second layer is stable; frozen is what leads to it from the second."""
    stable = {"0.weight": bools(0, 1, 0), "2.weight": bools(0, 0, 1)}
    frozen = {
        name: torch.zeros(3, size).bool() for name, size in (("0.weight", 2), ("2.weight", 3))
    }
    frozen["0.weight"][1, 1] = frozen["2.weight"][2, 1] = True
    model, training = tiny(stable, frozen, lr=0.01)
    take_epoch(model, training)
    assert training.units["2.weight"].tolist() == [True, True, True]
    # No plastic unit is left in the layer to take what was dropped.
    assert training.masks["2.weight"].int().tolist() == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]
    assert model[2].weight[2, 1] == 0.5
    assert model[0].weight[1, 1] == 2
    assert model[2].weight[0, 1] != 1  # a candidate's learns


def test_what_found_no_room_is_grown_when_there_is_some() -> None:
    stable = {"0.weight": bools(0, 1, 0), "2.weight": bools(0, 0, 1)}
    _, training = tiny(stable)
    training.masses["0.weight"].copy_(torch.tensor([0.0, 1.0, 0.0]))
    training.masses["2.weight"].copy_(torch.tensor([1.0, 1.0, 1.0]))
    with torch.no_grad():
        training._choose(1.0)
        assert training.counts["2.weight"] == 2
        training._choose(0.1)
    assert training.units["2.weight"].tolist() == [True, False, True]
    assert training.counts["2.weight"] == int(training.masks["2.weight"].sum()) == 4


def test_idle_inputs_come_first_also_in_groups() -> None:
    """Two groups of two outputs and two inputs; the third input is idle, the fourth not asked."""
    mask = torch.tensor([[1, 1], [0, 0], [0, 0], [0, 0]]).bool().view(4, 2, 1, 1)
    room = ~mask
    room[2] = False
    draws = torch.Generator().manual_seed(0)
    scores = outgoing_first(mask, room, bools(1, 1, 1, 0), draws).view(4, 2)
    assert (scores >= 1).tolist() == [[False, False], [False, False], [False, False], [True, False]]


def test_what_is_not_frozen_is_drawn_anew_after_a_task() -> None:
    weights = {"a": torch.full((64, 8, 3, 3), 9.0)}
    frozen = {"a": torch.zeros(64, 8, 3, 3).bool()}
    frozen["a"][0] = True
    draw_anew(weights, frozen, torch.Generator().manual_seed(0))
    assert (weights["a"][0] == 9).all()
    assert float(weights["a"][1:].std()) == pytest.approx(sqrt(2 / (64 * 9)), rel=0.05)


# Going back


def phase_by_phase(accuracies: list[float], drop: float) -> tuple[list[dict[str, Tensor]], Any]:
    """Units after each phase of the tiny network, and its training."""
    model, training = tiny(lr=0.01, epochs=9, phases=9, accuracy_drop=drop, grown="normal")
    seen = []
    for accuracy in accuracies:
        take_epoch(model, training, accuracy)
        seen.append({name: units.clone() for name, units in training.units.items()})
    return seen, training


def test_a_fall_of_accuracy_takes_the_last_candidates_back() -> None:
    seen, training = phase_by_phase([0.5, 0.9, 0.95], 0.02)
    kept = {name: value.clone() for name, value in training._before.network.items()}
    masks = {name: mask.clone() for name, mask in training._before.masks.items()}
    units = seen[1]  # chosen after the second phase, tried in the third
    take_epoch(training.model, training, 0.92)
    assert training.fixed
    assert all(torch.equal(value, kept[n]) for n, value in training.model.state_dict().items())
    assert all(torch.equal(mask, masks[name]) for name, mask in training.masks.items())
    assert all(torch.equal(found, units[name]) for name, found in training.units.items())
    training.check_counts()
    take_epoch(training.model, training, 0.1)
    assert all(torch.equal(mask, masks[name]) for name, mask in training.masks.items())
    assert not torch.equal(training.model[0].weight, kept["0.weight"])


@pytest.mark.parametrize(
    ("accuracies", "fixed"),
    [
        ([0.9, 0.5], False),  # nothing to go back to yet
        ([0.5, 0.9, 0.885], False),  # within the limit
        ([0.5, 0.9, 0.87], True),
        ([0.5, 0.9, 0.885, 0.87], True),  # below the best, not below the last
    ],
)
def test_accuracy_is_compared_with_the_best_so_far(accuracies: list[float], fixed: bool) -> None:
    assert phase_by_phase(accuracies, 0.02)[1].fixed == fixed


def test_validation_images_decide_where_there_are_some(short_run: Run) -> None:
    seen: list[float] = []

    class Open:
        saw_epoch = staticmethod(seen.append)

    method = Nispa(as_nispa(short_run))
    method._open = Open()  # type: ignore[assignment]
    for validated in (None, 0.7):
        method.after_epoch(None, {"accuracy": 0.8, "validation_accuracy": validated})  # type: ignore[arg-type]
    assert seen == [0.8, 0.7]


# Over several tasks


def look(training: NispaTraining) -> list[bool]:
    """Whether layers have their density, after an epoch; only want of room excuses fewer.

    No connection may lead from what no stable or candidate unit feeds into one of these.
    """
    full = []
    for name, mask in (training.topology or training.masks).items():
        full.append(int(mask.sum()) == training.budget[name])
        if not full[-1]:
            plastic = ~training.units[name]
            assert int(mask.sum()) < training.budget[name]
            assert mask[plastic].all()
    if training.units:
        feeding = input_units(training.model, training.units, training.weights, training._images)
        for name, mask in training.masks.items():
            into = mask[training.units[name]].flatten(2).any(2)
            assert not into[:, ~feeding[name]].any()
    return full


@pytest.mark.parametrize(("density", "init"), [(0.2, "uniform"), (0.5, "erk")])
def test_the_density_stays_and_nothing_plastic_leads_to_what_is_stable(
    density: float, init: str, short_run: Run, digits: Prepared
) -> None:
    run = as_nispa(short_run, density=density, init=init, accuracy_drop=0.05)
    full: list[bool] = []

    def progress(task: int, epoch: int, row: dict[str, Any]) -> None:
        full.extend(look(trained.method._open))  # type: ignore[attr-defined]

    trained = learner(run, digits, TASKS, progress=progress)
    store = trained.fit().store
    assert len(full) == 3 * 6 * len(store.dense)
    assert sum(full) > 0.6 * len(full)
    assert store.used_fraction() <= density + 0.002
    tasks = [dict(subnet.masks) for subnet in store.subnets]
    for earlier, later in pairwise(tasks):
        for name, mask in earlier.items():
            assert not (mask & ~later[name]).any()
            # A stable unit has the connections that it had when it became one.
            rows = mask.flatten(1).any(1)
            assert torch.equal(mask[rows], later[name][rows])


def test_frozen_connections_never_move_and_others_do(short_run: Run, digits: Prepared) -> None:
    """Beside the learner's own checks: values of the first task's weights, at the end."""
    values: dict[str, Tensor] = {}

    def pause(state: Any, task_end: bool) -> None:
        if task_end and not values:
            values.update({n: v.clone() for n, v in trained.outcome.store.dense.items()})

    run = as_nispa(short_run, density=0.5, accuracy_drop=0.05, weight_decay=0.01)
    trained = learner(run, digits, TASKS, pause=pause)
    store = trained.fit().store
    first, last = dict(store.subnets[0].masks), dict(store.subnets[-1].masks)
    for name, value in store.dense.items():
        assert torch.equal(value[first[name]], values[name][first[name]])
    added = {name: last[name] & ~first[name] for name in last}
    assert any(mask.any() for mask in added.values())
    for name, mask in added.items():
        assert (store.dense[name][mask] != values[name][mask]).all()


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_any_number_of_epochs_makes_a_task(epochs: int, short_run: Run, digits: Prepared) -> None:
    store = learner(as_nispa(short_run, epochs=epochs, phases=3), digits, TASKS).fit().store
    size = sum(int(mask.sum()) for mask in store.subnets[0].masks.values())
    assert 0 < size <= 0.3 * sum(value.numel() for value in store.dense.values()) + 1


def test_closing_a_task_changes_no_output_of_a_network_with_sums() -> None:
    """Gates show what the task's network will compute, also where layers are added."""
    torch.manual_seed(0)
    network = Residual()
    training = NispaTraining(
        network,
        torch.optim.Adam(network.parameters(), lr=0.01),
        stable={},
        images=torch.zeros(2, 1, 4, 4),
        total_steps=6,
        epochs=3,
        phases=3,
        accuracy_drop=0.0075,
        grown="normal",
        density=0.5,
        init="uniform",
        exclude=["head"],
        generator=torch.Generator().manual_seed(0),
    )
    draws = torch.Generator().manual_seed(0)
    images = torch.randn(20, 1, 4, 4, generator=draws)
    for _ in range(5):
        network.train()
        training.optimizer.zero_grad()
        network(images).square().sum().backward()
        training.step()
        if training.steps % 2 == 0:
            training.saw_epoch(0.5)
    assert not all(units.all() for units in training.units.values())
    network.eval()
    with torch.no_grad():
        gated = network(images)
        with training.without_gates():
            assert not torch.equal(network(images), gated)
        training.steps = training.total_steps
        training._change_masks()
        assert torch.equal(network(images), gated)


def test_a_run_cut_after_going_back_ends_as_if_it_had_not_been(
    short_run: Run, digits: Prepared
) -> None:
    """Cut in the second task, once before and once after its candidates were taken back."""
    run = as_nispa(short_run, accuracy_drop=0.0, learning_rate=0.05, tasks=2, epochs=8, phases=8)
    flags: list[tuple[int, bool, bool]] = []

    def noting(state: Any, task_end: bool) -> None:
        open_ = whole.method._open
        flags.append((whole._stages_done, open_.fixed, open_._before is not None))

    whole = learner(run, digits, TASKS[:2], pause=noting)
    expected = whole.fit()
    cuts = [
        next(
            i for i, (task, fixed, before) in enumerate(flags) if task == 1 and found(fixed, before)
        )
        for found in (lambda fixed, before: before, lambda fixed, before: fixed)
    ]
    for cut in cuts:
        resumed = learner(run, digits, TASKS[:2])
        resumed.load_state_dict(decode(state_at(cut, run, digits)))
        outcome = resumed.fit()
        assert outcome.accuracy == expected.accuracy
        assert outcome.history == expected.history
        for name, value in expected.store.dense.items():
            assert torch.equal(value, outcome.store.dense[name])
            assert torch.equal(*(o.store.subnets[1].masks[name] for o in (expected, outcome)))


def state_at(cut: int, run: Run, digits: Prepared) -> bytes:
    """What a run that is cut after so many steps leaves."""

    class Cut(Exception):
        pass

    saved: list[bytes] = []
    left = iter(range(cut, -1, -1))

    def pause(state: Any, task_end: bool) -> None:
        if next(left) == 0:
            saved.append(encode(state()))
            raise Cut

    with pytest.raises(Cut):
        learner(run, digits, TASKS[:2], pause=pause).fit()
    return saved[0]


# Settings, and what is kept


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"phases": 1}, "phases: 1; should be greater than or equal to 2"),
        ({"accuracy_drop": 2.5}, "accuracy_drop: 2.5; should be less than or equal to 1"),
        ({"grown": "uniform"}, "grown: 'uniform'; allowed: 'normal', 'zero'"),
        ({"tau": 1}, "tau: unknown key; allowed: phases, accuracy_drop, grown"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        method_settings("nispa", values)
    assert str(caught.value) == f"methods.nispa.{words}"


def test_all_tasks_together_keep_no_more_than_one_budget(short_run: Run) -> None:
    """A tenth of 36, 288 and 576 weights, whatever the number of tasks."""
    run = changed(as_nispa(short_run), tasks=5, density=0.1, init="uniform")
    assert kept_of(run).weights == 32 * (4 + 29 + 58)
    assert kept_of(changed(run, method="static")).weights == 5 * 32 * (4 + 29 + 58)
