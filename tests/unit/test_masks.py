"""Exact selection, drawing and packing of masks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dstcl.sparse import draw_masks, pack_masks, select_top, unpack_masks
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
