"""Growths by name: criteria, switches within a task, plans over the tasks."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dstcl.continual.methods import method_of
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.study.entries import is_growth
from dstcl.study.growths import growth_by_task, growth_names, is_plan
from dstcl.study.run import Run
from helpers.runs import changed, fit, learner

TASKS = split_classes(10, 5, "natural")


def test_the_paper_s_plan_by_hand() -> None:
    assert growth_by_task("5xrandom+5xgradient", 10) == ["random"] * 5 + ["gradient"] * 5


def test_a_growth_without_a_plan_is_every_task_s() -> None:
    assert growth_by_task("random-then-gradient", 3) == ["random-then-gradient"] * 3


@pytest.mark.parametrize(
    ("growth", "tasks", "counts"),
    [
        ("0.5xrandom+0.5xgradient", 10, (5, 5)),
        ("0.5xrandom+0.5xgradient", 5, (3, 2)),  # half of five is rounded up
        ("0.2xrandom+0.8xgradient", 20, (4, 16)),
        ("0.25xrandom+0.75xgradient", 4, (1, 3)),
    ],
)
def test_shares_are_cut_at_whole_tasks(growth: str, tasks: int, counts: tuple[int, int]) -> None:
    expected = ["random"] * counts[0] + ["gradient"] * counts[1]
    assert growth_by_task(growth, tasks) == expected


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_every_task_of_a_plan_of_numbers_has_the_growth_of_its_part(counts: list[int]) -> None:
    names = ["random", "gradient", "momentum", "unfired", "momentum_neuron", "random-then-gradient"]
    plan = "+".join(f"{count}x{name}" for count, name in zip(counts, names))
    expected = [name for count, name in zip(counts, names) for _ in range(count)]
    assert growth_by_task(plan, sum(counts)) == expected
    assert is_plan(plan)
    assert is_growth(plan)


@pytest.mark.parametrize(
    ("growth", "words"),
    [
        ("5xrandom+4xgradient", "is a plan for 9 tasks; there are 10"),
        ("5xrandom+0.5xgradient", "both numbers of tasks and shares"),
        ("0.5xrandom+0.4xgradient", "shares add up to 0.9, not to 1"),
        ("10xrandom+0xgradient", "gradient has none of 10 tasks"),
        ("0.01xrandom+0.99xgradient", "random has none of 10 tasks"),
        ("5x", "'5x' is no part of a plan"),
        ("5xrandom+gradient", "'gradient' is no part of a plan"),
    ],
)
def test_a_plan_that_does_not_add_up_is_named(growth: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        growth_by_task(growth, 10)


@pytest.mark.parametrize("growth", ["5xrandom+5xnothing", "5x", "x", "5xrandom-then-random", "5"])
def test_other_words_are_no_growth(growth: str) -> None:
    assert not is_growth(growth)


def test_criteria_of_a_plan_are_each_named_once() -> None:
    assert growth_names("2xrandom+1xgradient-then-own:one+2xrandom") == [
        "random",
        "gradient",
        "own:one",
    ]


# In training


def measured(run: Run, digits: Prepared) -> list[dict[str, Any]]:
    return fit(run, digits, TASKS).accuracy


def test_a_plan_trains_like_its_parts(short_run: Run, digits: Prepared) -> None:
    """Up to the switch the masks are those of the first growth alone, bit for bit."""
    random, planned = (
        fit(changed(short_run, growth=growth), digits, TASKS).store.subnets
        for growth in ("random", "2xrandom+3xgradient")
    )
    same = [
        all(torch.equal(one.masks[name], other.masks[name]) for name in one.masks)
        for one, other in zip(random, planned)
    ]
    assert same == [True, True, False, False, False]


def test_a_plan_by_shares_is_the_plan_by_numbers(short_run: Run, digits: Prepared) -> None:
    by_share, by_number = (
        measured(changed(short_run, growth=growth, epochs=1, learn=3), digits)
        for growth in ("0.4xrandom+0.6xgradient", "2xrandom+3xgradient")
    )
    assert by_share == by_number


def test_dense_gradients_are_counted_task_by_task(short_run: Run) -> None:
    run = changed(short_run, growth="2xrandom+3xgradient", update_every=10, stop_at=0.75)
    shares = [method_of(run).dense_gradient_share(100, task) for task in range(5)]
    assert shares == pytest.approx([0, 0, 0.07, 0.07, 0.07])


def test_a_description_with_a_plan_that_does_not_fit_is_refused(short_run: Run) -> None:
    values = short_run.to_dict()
    values["axes"]["growth"] = "5xrandom+5xgradient"
    with pytest.raises(ValueError, match="is a plan for 10 tasks; there are 5"):
        Run.from_dict(json.loads(json.dumps(values)))


# Plans of one's own

OWN = """
from dstcl.continual import GrowthPlan


class ByRoom(GrowthPlan):
    def growth(self, task):
        return "gradient" if task.store.used_fraction() > 0.5 else "random"


class Switching(GrowthPlan):
    def growth(self, task):
        return "random-then-gradient"
"""


@pytest.fixture
def own_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a name of its own in the working folder: Python imports a name once."""
    module = f"plans_{tmp_path.name}_{abs(hash(tmp_path))}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return module


def test_a_plan_of_ones_own_decides_from_what_it_sees(
    own_plans: str, short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, growth=f"{own_plans}:ByRoom", density=0.3, epochs=1)
    trained = learner(run, digits, TASKS)
    trained.fit()
    chosen = trained.method.report()["growth_by_task"]
    # 0.3 of the weights after one task, about 1 - 0.7^2 = 0.51 after two.
    assert chosen[:2] == ["random", "random"]
    assert chosen[2:] == ["gradient"] * 3


def test_what_a_plan_decided_outlives_an_interruption(
    own_plans: str, short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, growth=f"{own_plans}:ByRoom", epochs=1)
    whole, states = learner(run, digits, TASKS), []
    whole.pause = lambda state, task_end: states.append(deepcopy(state())) if task_end else None
    whole.fit()
    resumed = learner(run, digits, TASKS)
    resumed.load_state_dict(states[2])
    resumed.fit()
    assert resumed.method.report() == whole.method.report()
    assert resumed.outcome.accuracy == whole.outcome.accuracy


def test_a_plan_of_ones_own_may_not_switch_within_a_task(
    own_plans: str, short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, growth=f"{own_plans}:Switching", epochs=1)
    with pytest.raises(ValueError, match="chose 'random-then-gradient'; one criterion only"):
        fit(run, digits, TASKS)
