"""Exact selection, drawing and packing of masks."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dstcl.sparse import (
    PackedMasks,
    draw_masks,
    pack_masks,
    select_top,
    selection,
    unpack_masks,
)
from dstcl.sparse.masks import pack_mask, unpack_mask


def everywhere(score: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(score, dtype=torch.bool)


def test_highest_scores_win():
    score = torch.tensor([[0.1, 0.9], [0.5, 0.7]])
    assert select_top(score, everywhere(score), 2).tolist() == [[False, True], [False, True]]


def test_ties_go_to_the_lower_index():
    score = torch.tensor([1.0, 2.0, 1.0, 1.0, 0.0])
    assert select_top(score, everywhere(score), 3).tolist() == [True, True, True, False, False]


def test_only_eligible_entries_are_chosen_even_with_the_lowest_score():
    score = torch.tensor([9.0, -9.0, 0.0, -float("inf"), float("nan")])
    eligible = torch.tensor([False, True, False, True, True])
    assert select_top(score, eligible, 3).tolist() == eligible.tolist()


def test_nan_ranks_last():
    score = torch.tensor([float("nan"), -5.0, float("nan"), -6.0])
    assert select_top(score, everywhere(score), 2).tolist() == [False, True, False, True]


def test_infinite_scores_win():
    score = torch.tensor([3.0, float("inf"), 4.0])
    assert select_top(score, everywhere(score), 1).tolist() == [False, True, False]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.lists(st.booleans(), min_size=60, max_size=60),
    st.data(),
)
def test_selection_is_exact_and_equals_a_stable_sort(values, eligible, data):
    """An independent oracle: Python's stable sort of eligible positions by descending score."""
    positions = [i for i in range(len(values)) if eligible[i]]
    count = data.draw(st.integers(0, len(positions)))
    expected = set(sorted(positions, key=lambda i: -values[i])[:count])
    chosen = select_top(
        torch.tensor(values, dtype=torch.float32), torch.tensor(eligible[: len(values)]), count
    )
    assert set(chosen.nonzero().flatten().tolist()) == expected


def by_full_sort(score: Tensor, eligible: Tensor, count: int) -> Tensor:
    """The slow oracle: sort all eligible entries, the first of equal ones first."""
    positions = eligible.flatten().nonzero().flatten()
    lowest, highest = torch.finfo(score.dtype).min, torch.finfo(score.dtype).max
    values = score.flatten()[positions]
    values = torch.where(values.isnan(), lowest, values).clamp(lowest, highest)
    order = values.sort(descending=True, stable=True).indices
    chosen = torch.zeros(score.numel(), dtype=torch.bool)
    chosen[positions[order[:count]]] = True
    return chosen.view(score.shape)


def extremes(score: Tensor) -> Tensor:
    """A fifth each of NaN, both infinities and both ends of the finite range among the others."""
    ends = torch.finfo(score.dtype)
    odd = [float("nan"), float("inf"), -float("inf"), ends.max, ends.min]
    values = score.clone()
    for offset, value in enumerate(odd):
        values.view(-1)[offset::7] = value
    return values


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda score: score,
    "whole numbers": lambda score: score.round(),
    "equal": torch.zeros_like,
    "mostly zero": lambda score: torch.where(score > 1.5, score, 0.0),
    "extremes": extremes,
    "NaN alone": lambda score: torch.full_like(score, float("nan")),
    "half precision": lambda score: score.half(),
    "bfloat16": lambda score: score.bfloat16(),
    "double": lambda score: score.double(),
    "ascending": lambda score: score.flatten().sort().values.view(score.shape),
}


@pytest.fixture(params=["few", "all"])
def ranking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to select: rank few entries (CPU), or all without reading anything (CUDA)."""
    monkeypatch.setattr(selection, "reading_is_free", lambda score: request.param == "few")


@pytest.mark.usefixtures("ranking")
@pytest.mark.parametrize("shape", [(7,), (3, 5), (64, 32, 3, 3), (300, 131)])
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_selection_equals_a_full_stable_sort(
    shape: tuple[int, ...], share: float, kind: str
) -> None:
    """Below and above the size at which a sample is taken, for counts from none to all."""
    generator = torch.Generator().manual_seed(0)
    score = KINDS[kind](torch.randn(shape, generator=generator))
    eligible = torch.rand(shape, generator=generator) < share
    total = int(eligible.sum())
    counts = [0, 1, total // 20, total // 5, total // 2, 2 * total // 3, total - 1, total]
    for count in {max(0, min(count, total)) for count in counts}:
        chosen = select_top(score, eligible, count)
        assert torch.equal(chosen, by_full_sort(score, eligible, count)), count


SPECIAL = [float("nan"), float("inf"), -float("inf"), 3.4028234663852886e38, -3.4028234663852886e38]


@given(
    st.lists(
        st.tuples(st.one_of(st.integers(-3, 3), st.sampled_from(SPECIAL)), st.booleans()),
        min_size=1,
        max_size=120,
    ),
    st.integers(1, 8),
    st.data(),
)
def test_a_sample_that_misleads_changes_nothing(entries, sample, data):
    """With a sample of a few entries and no margin the bracket is often wrong on either side."""
    values, eligible = map(torch.tensor, zip(*entries))
    count = data.draw(st.integers(0, int(eligible.sum())))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "SAMPLE", sample)
        patch.setattr(selection, "MARGIN", 0.0)
        chosen = select_top(values.float(), eligible, count)
    assert torch.equal(chosen, by_full_sort(values.float(), eligible, count))


@pytest.mark.parametrize("seen", [0.0, 9.0])
def test_a_threshold_outside_the_bracket_is_found_all_the_same(
    seen: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sample, every ninth of 40,000, sees only lower or only higher scores than the others."""
    score = 1 + torch.rand(40_000, generator=torch.Generator().manual_seed(0))
    score[::9] = seen + score[::9] / 100
    brackets: list[tuple[float, float]] = []

    def divide(*arguments: object) -> tuple[Tensor, Tensor]:
        brackets.append(arguments[2:])
        return original(*arguments)

    original = selection._divide
    monkeypatch.setattr(selection, "_divide", divide)
    chosen = select_top(score, everywhere(score), 20_000)
    assert torch.equal(chosen, by_full_sort(score, everywhere(score), 20_000))
    assert len(brackets) == 2, "this case is meant to need the second attempt"
    assert brackets[1] == (-float("inf"), float("inf"))


def test_a_sample_without_an_eligible_entry_changes_nothing() -> None:
    """Every ninth of 40,000 is sampled; NaN and the lowest finite score tie."""
    score = torch.full((40_000,), torch.finfo(torch.float32).min)
    score[:20_000] = float("nan")
    eligible = torch.arange(40_000) % 9 > 0
    for count in (10_000, 17_778, 30_000):
        assert torch.equal(
            select_top(score, eligible, count), by_full_sort(score, eligible, count)
        ), count


def test_few_entries_are_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what makes an update cheap: of a million entries at most a seventh are."""
    score = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    ranked: list[int] = []

    def highest(values: Tensor, count: int) -> Tensor:
        ranked.append(len(values))
        return original(values, count)

    original = selection._highest
    monkeypatch.setattr(selection, "_highest", highest)
    for count in (1_000, 50_000, 500_000, 950_000):
        select_top(score, everywhere(score), count)
    for count in (1_000, 50_000, 250_000):
        select_top(score, score < 0, count)
    assert len(ranked) == 7
    assert max(ranked) <= len(score) / 7
    assert min(ranked) > 0


@pytest.mark.usefixtures("ranking")
def test_order_is_that_of_indices_and_not_of_memory() -> None:
    score = torch.randn(300, 200, generator=torch.Generator().manual_seed(0)).round()
    eligible = torch.rand(300, 200, generator=torch.Generator().manual_seed(1)) < 0.5
    expected = by_full_sort(score, eligible, 9_000)
    for turned in (score.t().contiguous().t(), score):
        for mask in (eligible.t().contiguous().t(), eligible):
            assert torch.equal(select_top(turned, mask, 9_000), expected)


@pytest.mark.usefixtures("ranking")
def test_too_few_eligible_entries_are_all_taken_and_no_other() -> None:
    eligible = torch.arange(20_000) % 7 == 0
    score = torch.full((20_000,), -float("inf"))
    assert torch.equal(select_top(score, eligible, 10_000), eligible)


@pytest.mark.usefixtures("ranking")
def test_arguments_are_left_alone() -> None:
    score = extremes(torch.randn(20_000, generator=torch.Generator().manual_seed(0)))
    eligible = torch.arange(20_000) % 3 > 0
    before = score.clone(), eligible.clone()
    for count in (0, 10, 10_000):
        chosen = select_top(score, eligible, count)
        chosen.zero_()
        torch.testing.assert_close(score, before[0], rtol=0, atol=0, equal_nan=True)
        assert torch.equal(eligible, before[1])


def test_drawn_masks_have_exact_counts_and_depend_on_the_generator_alone():
    shapes = {"a": (7, 5), "b": (3, 4, 3, 3)}
    counts = {"a": 11, "b": 1}
    draws = [
        draw_masks(shapes, counts, torch.Generator().manual_seed(seed), torch.device("cpu"))
        for seed in (0, 0, 1)
    ]
    assert {name: int(mask.sum()) for name, mask in draws[0].items()} == counts
    assert all(torch.equal(draws[0][name], draws[1][name]) for name in shapes)
    assert not torch.equal(draws[0]["a"], draws[2]["a"])


def test_drawing_is_uniform_over_positions():
    """Each of 20 positions is active in half of 4,000 draws; 5 sigma is 158."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(20)
    for _ in range(4000):
        total += draw_masks({"a": (4, 5)}, {"a": 10}, generator, torch.device("cpu"))["a"].flatten()
    assert (total - 2000).abs().max() < 158


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_packing_takes_one_bit_a_weight_and_comes_back(bits):
    mask = torch.tensor(bits)
    packed = pack_mask(mask)
    assert packed.dtype == torch.uint8
    assert packed.numel() == -(-len(bits) // 8)
    assert torch.equal(unpack_mask(packed, mask.shape), mask)


def test_packing_agrees_with_numpy():
    numpy = pytest.importorskip("numpy")
    mask = torch.rand(13, 7, generator=torch.Generator().manual_seed(3)) < 0.3
    assert pack_mask(mask).tolist() == numpy.packbits(mask.numpy()).tolist()


def test_packing_many_layers():
    masks = {"a": torch.eye(5).bool(), "b": torch.ones(2, 3, 3, 3).bool()}
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    restored = unpack_masks(pack_masks(masks), shapes)
    assert all(torch.equal(restored[name], masks[name]) for name in masks)


def test_wrong_number_of_bytes_is_refused():
    with pytest.raises(ValueError, match="2 bytes"):
        unpack_mask(torch.zeros(2, dtype=torch.uint8), (3, 3, 3))


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=40), min_size=1, max_size=4))
def test_packed_masks_are_those_that_were_packed(layers):
    masks = {str(index): torch.tensor(layer).view(-1, 1) for index, layer in enumerate(layers)}
    shapes = {name: tuple(mask.shape) for name, mask in masks.items()}
    packed = PackedMasks(pack_masks(masks), shapes | {"head": (9,)}, torch.device("cpu"))
    assert list(packed) == list(masks)
    assert len(packed) == len(masks)
    for name, mask in packed.items():
        assert mask.dtype == torch.bool
        assert torch.equal(mask, masks[name])
    assert "head" not in packed
    with pytest.raises(KeyError):
        packed["head"]


def test_a_layer_of_unknown_shape_is_refused_at_once():
    with pytest.raises(KeyError, match="b"):
        PackedMasks({"b": torch.zeros(1, dtype=torch.uint8)}, {"a": (8,)}, torch.device("cpu"))
