"""Accuracy against cost: which methods no other beats, and names that can be read."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from dstcl.figures.labels import Box, places
from dstcl.figures.tradeoffs import on_front

GRID = st.integers(0, 6).map(float)


def test_the_front_is_what_no_other_beats() -> None:
    costs, accuracies = [1.0, 2.0, 2.0, 3.0, 4.0], [50.0, 70.0, 60.0, 70.0, 90.0]
    # The third is less accurate at the same cost, the fourth as accurate at a higher one.
    assert on_front(costs, accuracies) == [True, True, False, False, True]


def test_of_two_equals_both_are_on_the_front() -> None:
    assert on_front([1.0, 1.0], [80.0, 80.0]) == [True, True]


@given(st.lists(st.tuples(GRID, GRID), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_the_front_beats_all_others_and_none_of_itself(pairs: list[tuple[float, float]]) -> None:
    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one != other and one[0] <= other[0] and one[1] >= other[1]

    found = on_front([cost for cost, _ in pairs], [accuracy for _, accuracy in pairs])
    front = [pair for pair, is_on in zip(pairs, found) if is_on]
    assert not any(beats(a, b) or beats(b, a) for a, b in combinations(front, 2))
    for pair, is_on in zip(pairs, found):
        assert is_on or any(beats(one, pair) for one in front)


def test_names_of_near_points_lie_apart_and_inside() -> None:
    centres = [(100.0, 100.0), (104.0, 101.0), (99.0, 107.0), (190.0, 100.0)]
    taken = [Box(x - 3, y - 3, x + 3, y + 3) for x, y in centres]
    inside = Box(0, 0, 200, 200)
    found = [place.box for place in places(centres, [(40.0, 8.0)] * 4, taken, inside)]
    assert all(one.shared(other) == 0 for one, other in combinations(found, 2))
    assert all(abs(box.shared(inside) - box.area) < 1e-9 for box in found)
    assert all(box.shared(sign) == 0 for box in found for sign in taken)


def test_a_point_by_itself_has_its_name_on_the_right() -> None:
    (place,) = places([(50.0, 50.0)], [(20.0, 8.0)], [], Box(0, 0, 200, 200))
    assert place.box.left > 50
    assert place.box.bottom < 50 < place.box.top
