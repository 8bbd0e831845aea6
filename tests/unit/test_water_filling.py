"""Weights spread over layers by what is free: by hand, and whatever the numbers are."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from dstcl.sparse.water_filling import draw_filled, water_filled

SIZES = {"narrow": 100, "wide": 400}
ASKED = {"narrow": 60, "wide": 40}


def test_what_a_quota_cuts_off_spills_over() -> None:
    """Two tasks left: half of each layer. The narrow one asks for 60 of 100 and may have 50."""
    filling = water_filled(ASKED, SIZES, free=SIZES, tasks_left=2)
    assert filling.active == {"narrow": 50, "wide": 50}
    assert filling.new == {"narrow": 50, "wide": 50}
    assert filling.slack == 1


def test_the_last_task_gets_what_init_asks_and_shares_in_proportion() -> None:
    free = {"narrow": 50, "wide": 350}
    filling = water_filled(ASKED, SIZES, free, tasks_left=1)
    assert filling.active == ASKED
    assert filling.new == {"narrow": 30, "wide": 35}  # 60 x 50/100, 40 x 350/400


def test_used_weights_are_had_beside_the_quota() -> None:
    """Of the narrow layer 80 are used; a quarter of the other 20 is 5, so 60 fit."""
    free = {"narrow": 20, "wide": 400}
    filling = water_filled({"narrow": 90, "wide": 10}, SIZES, free, tasks_left=4)
    assert filling.active == {"narrow": 85, "wide": 15}
    assert filling.new == {"narrow": 5, "wide": 15}


def test_quotas_without_room_for_all_are_raised_alike() -> None:
    """A tenth of everything is 50, and 100 are asked for: twice a tenth."""
    filling = water_filled(ASKED, SIZES, free=SIZES, tasks_left=10)
    assert filling.active == {"narrow": 20, "wide": 80}
    assert filling.slack == pytest.approx(2, rel=1e-5)


def test_more_slack_leaves_more_as_asked() -> None:
    assert water_filled(ASKED, SIZES, SIZES, 10, slack=6.0).active == ASKED


def test_with_no_free_weight_left_all_are_used_ones() -> None:
    filling = water_filled(ASKED, SIZES, dict.fromkeys(SIZES, 0), tasks_left=3)
    assert filling.active == ASKED
    assert filling.new == {"narrow": 0, "wide": 0}
    assert filling.slack == 1


def test_spilling_follows_what_is_asked_of_the_others() -> None:
    sizes = {"a": 10, "b": 1000, "c": 1000}
    filling = water_filled({"a": 10, "b": 30, "c": 60}, sizes, sizes, tasks_left=10)
    assert filling.active == {"a": 1, "b": 33, "c": 66}  # nine more: three and six


@pytest.mark.parametrize(
    ("tasks_left", "slack", "words"),
    [(0, 1.0, "tasks_left 0"), (1, 0.0, "slack 0"), (1, float("inf"), "slack inf")],
)
def test_what_means_nothing_is_refused(tasks_left: int, slack: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        water_filled(ASKED, SIZES, SIZES, tasks_left, slack)


@pytest.mark.parametrize("asked", [0, 101])
def test_counts_that_no_layer_has_are_refused(asked: int) -> None:
    with pytest.raises(ValueError, match=f"layer 'narrow': {asked} active"):
        water_filled({"narrow": asked, "wide": 1}, SIZES, SIZES, 2)


@dataclass(frozen=True)
class Layers:
    asked: dict[str, int]
    sizes: dict[str, int]
    free: dict[str, int]


@st.composite
def layers(draw: st.DrawFn) -> Layers:
    sizes = draw(st.lists(st.integers(1, 5000), min_size=1, max_size=6))
    names = [f"layer{index}" for index in range(len(sizes))]
    return Layers(
        {name: draw(st.integers(1, size)) for name, size in zip(names, sizes)},
        dict(zip(names, sizes)),
        {name: draw(st.integers(0, size)) for name, size in zip(names, sizes)},
    )


def limits(case: Layers, tasks_left: int, slack: float) -> dict[str, int]:
    return {
        name: max(1, size - case.free[name] + int(min(1, slack / tasks_left) * case.free[name]))
        for name, size in case.sizes.items()
    }


@given(layers(), st.integers(1, 50), st.sampled_from([0.25, 1.0, 1.5, 4.0, 100.0]))
def test_counts_are_exact_and_within_quotas(case: Layers, tasks_left: int, slack: float) -> None:
    found = water_filled(case.asked, case.sizes, case.free, tasks_left, slack)
    assert sum(found.active.values()) == sum(case.asked.values())
    assert found.slack >= slack
    for name, size in case.sizes.items():
        active, new, free = found.active[name], found.new[name], case.free[name]
        assert 1 <= active <= size
        assert 0 <= new <= free
        assert 0 <= active - new <= size - free
        # One more for what rounding does to the quota, one for a layer that would be empty.
        assert new <= found.slack * free / tasks_left + 1


@given(layers(), st.integers(1, 50), st.sampled_from([0.25, 1.0, 4.0]))
def test_quotas_are_raised_only_where_they_must_be(
    case: Layers, tasks_left: int, slack: float
) -> None:
    found = water_filled(case.asked, case.sizes, case.free, tasks_left, slack)
    total = sum(case.asked.values())
    if found.slack > slack:
        assert sum(limits(case, tasks_left, found.slack * (1 - 1e-5)).values()) < total
    room = limits(case, tasks_left, slack)
    if all(case.asked[name] < room[name] for name in room):
        assert found.active == case.asked


@given(
    st.integers(1, 9), st.integers(1, 7), st.integers(0, 2**20), st.floats(0, 1), st.floats(0, 1)
)
def test_a_mask_has_its_counts_and_as_many_live_outputs_as_they_allow(
    outputs: int, inputs: int, seed: int, first: float, second: float
) -> None:
    draws = torch.Generator().manual_seed(seed)
    chance = torch.rand(outputs, 1, generator=draws)  # some rows are nearly used up
    free = torch.rand(outputs, inputs, generator=draws) < chance
    new = round(first * int(free.sum()))
    used = round(second * int((~free).sum()))
    assume(new + used)
    mask = draw_filled(free, new + used, new, draws)
    assert int((mask & free).sum()) == new
    assert int((mask & ~free).sum()) == used
    assert int(mask.any(1).sum()) == most_live_rows(free, new, used)


def most_live_rows(free: torch.Tensor, new: int, used: int) -> int:
    """By trying how many of the rows that have both kinds take a free weight."""
    both = int((free.any(1) & (~free).any(1)).sum())
    only_free, only_used = int(free.all(1).sum()), int((~free).all(1).sum())
    return max(
        min(only_free + some, new) + min(only_used + both - some, used) for some in range(both + 1)
    )


def test_uniform_masks_of_99_percent_leave_no_output_without_input() -> None:
    """10 x 100 weights, 10 of them active: independent draws leave a third of the rows empty."""
    free = torch.ones(10, 100, dtype=torch.bool)
    for seed in range(20):
        mask = draw_filled(free, 10, 10, torch.Generator().manual_seed(seed))
        assert mask.sum(1).tolist() == [1] * 10


def test_where_a_mask_begins_is_random() -> None:
    free = torch.ones(4, 5, 3, 3, dtype=torch.bool)
    often = sum(
        draw_filled(free, 60, 60, torch.Generator().manual_seed(seed)).float()
        for seed in range(400)
    )
    assert isinstance(often, torch.Tensor)
    assert often.shape == free.shape
    # 60 of 180: each weight in a third of the masks, give or take four standard deviations.
    assert (often / 400 - 1 / 3).abs().max() < 4 * (2 / 9 / 400) ** 0.5 + 0.01
