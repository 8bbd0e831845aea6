"""Structured masks: selection in groups, updates by hand, invariants, what is refused."""

import copy
from math import inf, nan, prod
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_networks import dynamic, one_layer, small_network, step_with_gradient, train
from torch import nn

from dstcl.continual.published import PublishedSparseTraining
from dstcl.sparse import DynamicSparseTraining, GradualMagnitudePruning, SparseTraining
from dstcl.sparse.mixed_growth import mixed_growth
from dstcl.sparse.structure import (
    AblatingFanIn,
    Blocks,
    FanIn,
    NofM,
    Topology,
    layer_structures,
    ranks,
    structure_named,
)

VALUES = st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, 3.0, inf, -inf, nan])


@st.composite
def groups(draw):
    """Scores with many ties, what is eligible, and counts that it suffices for."""
    number, size = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    flat = st.lists(VALUES, min_size=number * size, max_size=number * size)
    bits = st.lists(st.booleans(), min_size=number * size, max_size=number * size)
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    score = torch.tensor(draw(flat), dtype=dtype).view(number, size)
    eligible = torch.tensor(draw(bits)).view(number, size)
    counts = [draw(st.integers(0, int(row.sum()))) for row in eligible]
    return score, eligible, torch.tensor(counts)


def highest(score, eligible, counts):
    """The same choice, entry by entry."""
    chosen = torch.zeros_like(eligible)
    for g, count in enumerate(counts.tolist()):
        values = [-1e30 if v != v or v == -inf else min(v, 1e30) for v in score[g].tolist()]
        order = sorted(eligible[g].nonzero().flatten().tolist(), key=lambda i: (-values[i], i))
        chosen[g, order[:count]] = True
    return chosen


@given(groups())
def test_the_highest_of_each_group_however_they_are_found(case):
    score, eligible, counts = case
    values, expected = ranks.candidates(score, eligible), highest(score, eligible, counts)
    assert torch.equal(ranks.select_in_groups(values, counts), expected)
    assert torch.equal(ranks._select_sorted(values, counts), expected)
    assert torch.equal(ranks._select_down_to_threshold(values, counts), expected)
    by_pairs = ranks._ranks_by_pairs(values.t().contiguous()) < counts
    assert torch.equal(by_pairs.t(), expected)


def test_two_of_four_by_hand():
    """Three quarters of four go: .1, .2 and .3. The first group lost two of them and grows the
    gradients 9 and 8, the second group lost one and grows 7, although 6.5 and 6 of the first are
    higher than what is left there."""
    model, dst = one_layer(
        [0.1, 0.2, 0, 0, 0.3, 0.9, 0, 0], [1, 1, 0, 0, 1, 1, 0, 0], grow="gradient",
        structure="2:4", density=0.5, prune_rate=0.75, floor=0.75,
    )  # fmt: skip
    step_with_gradient(model, dst, [6.5, 6.0, 8.0, 9.0, 1.0, 1.0, 2.0, 7.0])
    assert dst.masks["0.weight"].int().tolist() == [[0, 0, 1, 1, 0, 1, 0, 1]]
    assert model[0].weight.tolist() == [pytest.approx([0, 0, 0, 0, 0, 0.9, 0, 0])]


def test_two_of_four_at_each_position_of_a_kernel():
    """Groups are four input channels at one position; here the position decides by sign."""
    scores = torch.arange(8.0).view(1, 4, 1, 2)
    scores[..., 1] *= -1
    assert NofM(2, 4).draw(scores, 4).int().tolist() == [[[[0, 1]], [[0, 1]], [[1, 0]], [[1, 0]]]]


def test_fan_in_by_hand():
    """Layer-wide the two smallest go, both of the second output, which takes its two best."""
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    masks = {"0.weight": torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]]).bool()}
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.8, 0.9, 5, 5], [0.1, 0.2, 5, 5]]))
    dst = dynamic(
        model, torch.optim.SGD(model.parameters(), 0.0), structure="fan-in", density=0.5,
        grow="gradient", masks=masks, update_every=1, prune_rate=0.5, prune_schedule="constant",
    )  # fmt: skip
    model[0].weight.grad = torch.tensor([[9.0, 9.0, 9.0, 9.0], [1.0, 3.0, 2.0, 0.5]])
    dst.step()
    assert dst.masks["0.weight"].int().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]
    assert model[0].weight[1].tolist() == pytest.approx([0, 0.2, 0, 0])  # grown back, and new


def test_blocks_by_hand():
    """Of the 1x2 blocks (.5, .5), (.9, .2) and (0, 0), (0, 0) the one with the smaller sum goes,
    although it does not have the smallest weight, and the one with the larger gradients comes."""
    model, dst = one_layer(
        [0.5, 0.5, 0.9, 0.2, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0], grow="gradient",
        structure="block:1x2", density=0.5, prune_rate=0.5, floor=0.5,
    )  # fmt: skip
    step_with_gradient(model, dst, [0.0, 0.0, 0.0, 0.0, 5.0, 1.0, 4.0, 4.0])
    assert dst.masks["0.weight"].int().tolist() == [[0, 0, 1, 1, 0, 0, 1, 1]]


def test_a_block_holds_inputs_and_outputs_at_one_position_of_a_kernel():
    scores = torch.zeros(4, 4, 1, 2)
    scores[3, 1, 0, 1] = 1.0  # of outputs 2 and 3, inputs 0 and 1
    mask = Blocks(2, 2).draw(scores, 4)
    assert mask[2:, :2, 0, 1].all()
    assert int(mask.sum()) == 4


def layer(mask, prune, grow, **changes):
    tensors = [torch.tensor(values) for values in (mask, prune, grow)]
    known = {
        "mask": tensors[0].bool(), "prune": tensors[1], "grow": tensors[2], "growable": None,
        "active": int(tensors[0].sum()), "budget": int(tensors[0].sum()), "rate": 0.5,
    }  # fmt: skip
    return Topology(**(known | changes))


def test_ablation_by_hand():
    """Three outputs with two weights each; three weights go: .1, .2 and .3, so of the last output
    nothing is left. Without a structure the gradients 9, 8, 7 would come, none of them there: it
    has no salient weight and is ablated. Its two weights go to the others: three each."""
    before = layer(
        [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]],
        [[0.8, 0.9, 0, 0], [0.7, 0.3, 0, 0], [0.1, 0.2, 0, 0]],
        [[0.0, 0.0, 9.0, 1.0], [0.0, 0.5, 8.0, 7.0], [1.0, 2.0, 3.0, 4.0]],
    )
    mask, active = AblatingFanIn(0.5).replace(before)
    assert mask.int().tolist() == [[1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]]
    assert active == 6
    again, active = AblatingFanIn(0.5).replace(
        layer(mask.int().tolist(), [[0.5] * 4] * 3, [[0.0] * 4, [0.0] * 4, [99.0] * 4], budget=6)
    )
    assert not again[2].any(), "an ablated output stays ablated"
    assert active == 6


def test_what_growth_would_bring_saves_an_output():
    before = layer(
        [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]],
        [[0.8, 0.9, 0, 0], [0.7, 0.3, 0, 0], [0.1, 0.2, 0, 0]],
        [[0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0], [1.0, 1.0, 9.0, 1.0]],
    )
    mask, _ = AblatingFanIn(0.5).replace(before)
    assert mask.flatten(1).sum(1).tolist() == [2, 2, 2]


def test_outputs_are_not_ablated_below_what_the_budget_needs():
    """Eight weights fill two outputs of four inputs; no share would leave fewer."""
    before = layer(
        [[1, 1, 0, 0]] * 4, [[0.4, 0.4, 0, 0], [0.3, 0.3, 0, 0], [0.1] * 4, [0.2] * 4],
        [[0.0] * 4] * 4, rate=0.9,
    )  # fmt: skip
    mask, active = AblatingFanIn(1.0).replace(before)
    assert active == int(mask.sum()) == 8
    assert mask.any(1).sum() == 2


def test_ties_go_to_the_lower_index():
    """All scores equal: the first weights of a group go, and the first candidates come."""
    model, dst = one_layer(
        [1.0] * 8, [0, 1, 0, 1, 0, 1, 0, 1], grow="gradient", structure="2:4", density=0.5,
        prune_rate=0.25, floor=0.25,
    )  # fmt: skip
    step_with_gradient(model, dst, [1.0] * 8)
    assert dst.masks["0.weight"].int().tolist() == [[1, 0, 0, 1, 0, 1, 0, 1]]


def test_a_group_without_room_for_free_weights_keeps_its_frozen_ones():
    """Candidates are free weights alone. The first group has none to grow, so of it nothing goes,
    although it has the smallest weights; the second has one."""
    frozen = torch.tensor([[1, 1, 1, 1, 0, 0, 1, 0]]).bool()
    model, dst = one_layer(
        [0.1, 0.2, 0, 0, 0.8, 0.9, 0, 0], [1, 1, 0, 0, 1, 1, 0, 0], grow="gradient",
        structure="2:4", density=0.5, candidates="free", frozen={"0.weight": frozen},
        prune_rate=0.75, floor=0.75,
    )  # fmt: skip
    step_with_gradient(model, dst, [1.0, 1.0, 9.0, 9.0, 1.0, 1.0, 9.0, 2.0])
    assert dst.masks["0.weight"].int().tolist() == [[1, 1, 0, 0, 0, 1, 0, 1]]


STRUCTURES = ("1:2", "2:4", "3:4", "1:12", "block:2x2", "block:1x4", "fan-in", "fan-in:ablate=0.9")


@st.composite
def trainings(draw):
    name = draw(st.sampled_from(STRUCTURES))
    kernel = draw(st.sampled_from([(), (1, 1), (2, 3)]))
    shape = (2 * draw(st.integers(1, 3)), 12 * draw(st.integers(1, 2)), *kernel)
    return {
        "structure": name,
        "shape": shape,
        "density": structure_named(name).density() or draw(st.floats(0.05, 0.95)),
        "grow": draw(st.sampled_from(["random", "gradient", "momentum", "unfired"])),
        "prune": draw(st.sampled_from(["magnitude", "set", "taylor"])),
        "candidates": draw(st.sampled_from(["all", "frozen_without_gradient", "free"])),
        "frozen": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "rate": draw(st.sampled_from([0.1, 0.5, 1.0])),
        "zeros": draw(st.booleans()),
        "seed": draw(st.integers(0, 99)),
    }


def structured(case):
    """A layer of the case and its trainer."""
    torch.manual_seed(case["seed"])
    out, into, *kernel = case["shape"]
    one = nn.Conv2d(into, out, tuple(kernel)) if kernel else nn.Linear(into, out)
    frozen = torch.rand(case["shape"]) < case["frozen"]
    dst = DynamicSparseTraining(
        one, torch.optim.AdamW(one.parameters(), 0.1, weight_decay=0.1), total_steps=9,
        update_every=1, stop_at=1.0, density=case["density"], structure=case["structure"],
        grow=case["grow"], prune=case["prune"], candidates=case["candidates"],
        prune_rate=case["rate"], prune_schedule="constant", frozen={"weight": frozen},
    )  # fmt: skip
    return one, dst


def step(one, dst, case):
    for parameter in one.parameters():
        parameter.grad = torch.randn(parameter.shape) * (not case["zeros"])
    dst.step()


@settings(max_examples=80)
@given(trainings())
def test_counts_structure_and_isolation_hold_after_every_update(case):
    ablates = "ablate" in case["structure"]
    assume(not (ablates and case["candidates"] == "free"))
    one, dst = structured(case)
    budget, stored = dst.budget["weight"], dst.stored["weight"]
    fan_in = prod(case["shape"][1:])
    for _ in range(4):
        before, frozen = dst.masks["weight"].clone(), dst.frozen["weight"]
        step(one, dst, case)
        mask, weight = dst.masks["weight"], one.weight.detach()
        assert dst.structures["weight"].problem_of_mask(mask) == ""
        count = int(mask.sum())
        assert count == dst.counts["weight"]
        outputs = int(mask.flatten(1).any(1).sum())
        assert count == budget or (ablates and abs(count - budget) <= max(1, outputs / 2))
        assert count <= fan_in * outputs
        assert (weight[~mask] == 0).all()
        assert torch.equal(weight[mask & frozen], stored[mask & frozen])
        if case["candidates"] == "free":
            assert not (mask & ~before & frozen).any()
    assert torch.equal(dst.consolidated()["weight"][frozen], stored[frozen])


@settings(max_examples=15)
@given(trainings())
def test_training_goes_on_bit_for_bit(case):
    assume(not ("ablate" in case["structure"] and case["candidates"] == "free"))
    one, dst = structured(case)
    step(one, dst, case)
    saved = copy.deepcopy((one.state_dict(), dst.optimizer.state_dict(), dst.state_dict()))
    other, resumed = structured(case | {"seed": case["seed"] + 1})
    resumed.frozen["weight"].copy_(dst.frozen["weight"])
    other.load_state_dict(saved[0])
    resumed.optimizer.load_state_dict(saved[1])
    resumed.load_state_dict(saved[2])
    for trained, trainer in ((one, dst), (other, resumed)):
        torch.manual_seed(7)
        for _ in range(3):
            step(trained, trainer, case)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(dst.masks["weight"], resumed.masks["weight"])


def test_a_network_of_linear_and_convolutional_layers():
    """Each layer by the first pattern that fits; the first convolution has one input channel."""
    model = small_network()
    dst = dynamic(model, structure={"0": "none", "3*": "2:4", "*": "fan-in"}, density=0.4)
    train(dst, model, 9)
    assert dst.updates == 3
    assert {name: s.name for name, s in dst.structures.items()} == {
        "3.weight": "2:4",
        "6.weight": "fan-in",
    }
    assert dst.counts["3.weight"] == 6 * 4 * 9 // 2
    assert dst.masks["3.weight"].sum(1).eq(2).all()
    assert dst.masks["6.weight"].sum(1).unique().numel() == 1


@pytest.mark.parametrize("candidates", ["all", "free"])
def test_a_layer_without_structure_is_changed_as_if_none_had_one(candidates):
    model = small_network()
    torch.manual_seed(1)
    shapes = {name: w.shape for name, w in dynamic(model).weights.items()}
    frozen = {name: torch.rand(shape) < 0.4 for name, shape in shapes.items()}
    masks = {name: torch.rand(shape) < 0.3 for name, shape in shapes.items()}
    masks["6.weight"] = torch.arange(54).expand(5, 54) % 3 == 0
    gradients = {name: torch.randn(shape) for name, shape in shapes.items()}
    changed = []
    for structure in ("none", {"6.weight": "fan-in"}):
        trained = copy.deepcopy(model)
        dst = dynamic(trained, structure=structure, grow="gradient", candidates=candidates,
                      density=None, masks=masks, frozen=frozen, update_every=1)  # fmt: skip
        for name, weight in dst.weights.items():
            weight.grad = gradients[name].clone()
        dst.step()
        changed.append(dst.masks)
    for name in ("0.weight", "3.weight"):
        assert torch.equal(changed[0][name], changed[1][name])
        assert not torch.equal(changed[0][name], masks[name])
    assert not torch.equal(changed[0]["6.weight"], changed[1]["6.weight"])


def test_a_static_mask_has_its_structure():
    model = nn.Linear(8, 3)
    dst = SparseTraining(
        model, torch.optim.SGD(model.parameters()), density=0.3, structure="fan-in"
    )
    assert dst.masks["weight"].sum(1).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("structure", "shape", "density", "active"),
    [
        (FanIn(), (10, 7), 0.2, 10),  # 1.4 for each output
        (FanIn(), (10, 7), 0.25, 20),  # 1.75
        (FanIn(), (10, 7), 0.001, 10),
        (FanIn(), (10, 7), 1.0, 70),
        (Blocks(2, 2), (4, 6), 0.2, 4),  # 1.2 of 6 blocks
        (Blocks(2, 2), (4, 6), 0.3, 8),  # 1.8
        (Blocks(2, 2), (4, 6, 3, 3), 0.001, 4),
        (NofM(2, 4), (5, 8, 3, 3), 0.5, 180),
    ],
)
def test_counts_become_the_nearest_possible_ones(structure, shape, density, active):
    assert structure.nearest(shape, round(density * prod(shape))) == active


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", None),
        ("2:4", NofM(2, 4)),
        ("8:32", NofM(8, 32)),
        ("block:4x1", Blocks(4, 1)),
        ("fan-in", FanIn()),
        ("fan-in:ablate", AblatingFanIn(0.3)),
        ("fan-in:ablate=.5", AblatingFanIn(0.5)),
    ],
)
def test_names_of_structures(name, expected):
    assert structure_named(name) == expected
    if expected is not None:
        assert structure_named(expected.name) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"structure": "2/4"}, "structure: unknown '2/4'; known: none, n:m"),
        ({"structure": "4x4"}, "structure: unknown '4x4'"),
        ({"structure": "block:0x4"}, "structure block:0x4: rows and columns must be at least 1"),
        ({"structure": "5:4"}, "structure 5:4: n must be at least 1 and at most m"),
        ({"structure": "0:4"}, "structure 0:4: n must be"),
        ({"structure": "fan-in:ablate=1.5"}, "the share must be in (0, 1]"),
        ({"structure": "2:4"}, "layer '0.weight' has 1 inputs, no multiple of 4"),
        ({"structure": "block:3x1"}, "layer '0.weight' has 4 outputs, no multiple of 3"),
        ({"structure": {"head*": "fan-in"}}, "structure: no layer is named 'head*'"),
        ({"structure": "1:1"}, "density 0.3: structure 1:1 has 1; give density=1"),
        (
            {"structure": {"3": "2:4"}, "overrides": {"3.weight": 0.2}},
            "density of layer '3.weight': structure 2:4 has 0.5, got 0.2",
        ),
        (
            {"structure": "fan-in", "redistribute": "gradient"},
            "redistribute 'gradient': with a structure every layer keeps its number",
        ),
        (
            {"structure": "fan-in:ablate", "candidates": "free"},
            "candidates 'free': outputs that are left",
        ),
    ],
)
def test_what_a_structure_cannot_have_is_refused_in_one_line(changes, message):
    with pytest.raises(ValueError) as refused:
        dynamic(small_network(), **changes)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_masks_of_a_structure_need_no_density():
    """2:4 fixes the density of its layer, which is no density that someone asks for."""
    drawn = dynamic(small_network(), structure={"3": "2:4"})
    dst = dynamic(small_network(), structure={"3": "2:4"}, density=None, masks=drawn.masks)
    assert dst.counts == dst.budget == drawn.budget
    assert dst.counts["3.weight"] == 108, "half of 6 * 4 * 9"


def test_masks_and_states_without_the_structure_are_refused():
    model = small_network()
    plain = dynamic(model)
    with pytest.raises(ValueError, match="masks: layer '3.weight' is not 2:4: 0 to 3 active"):
        dynamic(model, structure={"3": "2:4"}, density=None, masks=plain.masks)
    structured = dynamic(model, structure={"6": "fan-in"})
    with pytest.raises(ValueError, match="state: layer '6.weight' is not fan-in"):
        structured.load_state_dict(plain.state_dict())


@pytest.mark.parametrize(
    ("kind", "error"), [(PublishedSparseTraining, ValueError), (GradualMagnitudePruning, TypeError)]
)
def test_other_trainings_refuse_a_structure(kind, error):
    model = small_network()
    with pytest.raises(error, match="structure"):
        kind(model, torch.optim.Adam(model.parameters()), density=0.3, total_steps=9,
             structure={"6": "fan-in"})  # fmt: skip


def test_the_first_pattern_that_fits_decides():
    shapes = {"a.b.weight": (4, 4), "a.c.weight": (4, 4), "d.weight": (4, 4)}
    found = layer_structures({"a.b": "none", "a.*": "2:4", "*": "fan-in"}, shapes)
    assert {name: s.name for name, s in found.items()} == {
        "a.c.weight": "2:4",
        "d.weight": "fan-in",
    }


@pytest.mark.parametrize(
    ("layer", "include"),
    [(nn.ConvTranspose2d(8, 8, 2), ()), (nn.Embedding(8, 8), ("0",))],
    ids=["transposed", "embedding"],
)
def test_layers_without_outputs_first_have_no_structure(
    layer: nn.Module, include: tuple[str, ...]
) -> None:
    model = nn.Sequential(layer, nn.Linear(8, 8))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    settings: dict[str, Any] = {"density": 0.5, "total_steps": 10, "include": include}
    with pytest.raises(ValueError, match="'0.weight' .* does not have outputs first; give it none"):
        DynamicSparseTraining(model, sgd, structure="fan-in", **settings)
    apart = {"0.weight": "none", "*": "fan-in"}
    dst = DynamicSparseTraining(model, sgd, structure=apart, **settings)
    assert list(dst.structures) == ["1.weight"]


def test_a_structured_layer_without_a_gradient_keeps_its_mask() -> None:
    model = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 16)])
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    dst = DynamicSparseTraining(
        model, sgd, density=0.5, total_steps=10, update_every=1, structure="2:4"
    )
    before = {name: mask.clone() for name, mask in dst.masks.items()}
    model[0](torch.randn(4, 16)).sum().backward()
    dst.step()
    assert not torch.equal(dst.masks["0.weight"], before["0.weight"])
    assert torch.equal(dst.masks["1.weight"], before["1.weight"])


def test_groups_of_a_structured_network_keep_their_criteria() -> None:
    """Random growth in one layer leaves the other layer's choice by gradient as it was."""
    grown = []
    for groups in ({}, {"0": {"grow": "random"}}):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        dst = DynamicSparseTraining(
            model, sgd, density=0.5, total_steps=10, update_every=1, structure="2:4", groups=groups
        )
        model(torch.randn(4, 16)).square().sum().backward()
        dst.step()
        grown.append({name: mask.clone() for name, mask in dst.masks.items()})
    assert not torch.equal(grown[0]["0.weight"], grown[1]["0.weight"])
    assert torch.equal(grown[0]["1.weight"], grown[1]["1.weight"])


def nested() -> nn.Module:
    """Two linear layers, each within a module of its own."""
    return nn.Sequential(nn.Sequential(nn.Linear(16, 16)), nn.Sequential(nn.Linear(16, 16)))


def nested_training(**given: Any) -> DynamicSparseTraining:
    model = nested()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    return DynamicSparseTraining(model, sgd, **({"density": 0.5, "total_steps": 10} | given))


def test_a_structure_is_given_to_all_of_a_module_as_groups_are():
    assert list(nested_training(structure={"1": "2:4"}).structures) == ["1.0.weight"]


def test_a_density_of_a_group_that_its_structure_cannot_have_is_refused():
    groups = {"1": {"density": 0.1}}
    with pytest.raises(ValueError, match="density of layer '1.0.weight': structure 2:4 has 0.5"):
        nested_training(structure={"1": "2:4"}, groups=groups)
    assert nested_training(structure={"0": "2:4"}, groups=groups).counts["1.0.weight"] == 26


def test_a_mix_of_growths_is_for_layers_without_a_structure():
    mixed = mixed_growth("random", "gradient", 0.5)
    with pytest.raises(ValueError, match="grow: a layer with a structure grows by one criterion"):
        nested_training(grow=mixed, structure="2:4")
    groups = {"1": {"grow": mixed}}
    dst = nested_training(structure={"0": "2:4"}, groups=groups, update_every=1)
    dst.model(torch.randn(4, 16)).square().sum().backward()
    dst.step()
    dst.check_counts()


def test_a_state_of_another_structure_changes_nothing():
    plain, structured = nested_training(), nested_training(structure="2:4")
    before = {name: mask.clone() for name, mask in structured.masks.items()}
    with pytest.raises(ValueError, match="state: layer '0.0.weight' is not 2:4"):
        structured.load_state_dict(plain.state_dict() | {"steps": 7})
    assert structured.steps == 0
    assert all(torch.equal(structured.masks[name], before[name]) for name in before)
