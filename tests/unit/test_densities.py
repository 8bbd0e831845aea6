"""Densities against the paper's table, the closed form and hand-computed cases."""

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstcl.networks.build import build_network
from dstcl.sparse import (
    INITS,
    active_counts,
    er_densities,
    erk_densities,
    layer_densities,
    maskable_weights,
    uniform_densities,
)

# ERK densities of the published ResNet-18 with its 100-way head, four digits
# (docs/published-code.md, c4).
PUBLISHED = {
    "features.0": {0.2: 1, 0.1: 1, 0.05: 0.5185, 0.02: 0.2061, 0.01: 0.1031},
    "features.3.conv1": {0.2: 0.9975, 0.1: 0.4580, 0.05: 0.2189, 0.02: 0.0870, 0.01: 0.0435},
    "features.5.conv1": {0.2: 0.7370, 0.1: 0.3383, 0.05: 0.1617, 0.02: 0.0643, 0.01: 0.0321},
    "features.5.conv2": {0.2: 0.4876, 0.1: 0.2239, 0.05: 0.1070, 0.02: 0.0425, 0.01: 0.0213},
    "features.5.shortcut.0": {0.2: 1, 0.1: 1, 0.05: 1, 0.02: 0.5670, 0.01: 0.2835},
    "features.7.shortcut.0": {0.2: 1, 0.1: 1, 0.05: 0.7095, 0.02: 0.2820, 0.01: 0.1410},
    "features.9.shortcut.0": {0.2: 1, 0.1: 0.7401, 0.05: 0.3538, 0.02: 0.1407, 0.01: 0.0703},
    "features.7.conv1": {0.2: 0.3629, 0.1: 0.1666, 0.05: 0.0796, 0.02: 0.0317, 0.01: 0.0158},
    "features.7.conv2": {0.2: 0.2410, 0.1: 0.1106, 0.05: 0.0529, 0.02: 0.0210, 0.01: 0.0105},
    "features.9.conv1": {0.2: 0.1801, 0.1: 0.0827, 0.05: 0.0395, 0.02: 0.0157, 0.01: 0.0079},
    "features.9.conv2": {0.2: 0.1198, 0.1: 0.0550, 0.05: 0.0263, 0.02: 0.0105, 0.01: 0.0052},
    "head": {0.2: 1, 0.1: 1, 0.05: 0.7199, 0.02: 0.2862, 0.01: 0.1431},
}
DENSITIES = (0.2, 0.1, 0.05, 0.02, 0.01)

shapes_strategy = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3), st.just(3)),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def resnet_shapes() -> dict[str, tuple[int, ...]]:
    network = build_network("resnet18", channels=3, classes=100, seed=0)
    return {name: tuple(w.shape) for name, w in maskable_weights(network).items()}


def test_published_resnet_has_the_published_number_of_maskable_weights(resnet_shapes):
    assert len(resnet_shapes) == 21
    assert sum(prod(shape) for shape in resnet_shapes.values()) == 11_218_112


@pytest.mark.parametrize("density", DENSITIES)
def test_erk_equals_the_papers_table(resnet_shapes, density):
    densities = erk_densities(resnet_shapes, density)
    for layer, expected in PUBLISHED.items():
        assert densities[f"{layer}.weight"] == pytest.approx(expected[density], abs=5.1e-5), layer


@pytest.mark.parametrize("density", DENSITIES)
def test_erk_equals_the_closed_form(resnet_shapes, density):
    """Given which layers are dense, the factor follows from the budget alone."""
    densities = erk_densities(resnet_shapes, density)
    size = {name: prod(shape) for name, shape in resnet_shapes.items()}
    sparse = [name for name in resnet_shapes if densities[name] < 1]
    budget = density * sum(size.values()) - sum(size[n] for n in size if n not in sparse)
    factor = budget / sum(sum(resnet_shapes[name]) for name in sparse)
    for name in sparse:
        expected = factor * sum(resnet_shapes[name]) / size[name]
        assert densities[name] == pytest.approx(expected, rel=1e-9)


def test_er_by_hand():
    """Raw shares (2+2)/4 = 1 and (4+4)/16 = 0.5; 4a + 8a = 0.3 * 20 gives a = 0.5."""
    densities = er_densities({"a": (2, 2), "b": (4, 4)}, 0.3)
    assert densities == pytest.approx({"a": 0.5, "b": 0.25})


def test_erk_makes_a_layer_dense_and_solves_again():
    """Raw 1 and 0.2; at 0.25 of 104 weights the first layer would pass 1, so 4 + 100 b = 26."""
    densities = erk_densities({"a": (2, 2), "b": (10, 10)}, 0.25)
    assert densities == pytest.approx({"a": 1.0, "b": 0.22})


def test_uniform_with_dense_first_layer():
    """10 of the 110 weights are dense; the target of 55 leaves 45 for the other 100."""
    densities = uniform_densities({"a": (5, 2), "b": (10, 10)}, 0.5, dense_first=True)
    assert densities == pytest.approx({"a": 1.0, "b": 0.45})


def test_overrides_stand_apart_from_the_shared_budget():
    shapes = {"a": (10, 10), "b": (10, 10)}
    assert layer_densities(shapes, 0.2, "uniform", {"b": 1.0}) == {"a": 0.2, "b": 1.0}


@given(shapes_strategy, st.floats(0.001, 1), st.sampled_from(sorted(INITS)))
def test_total_is_met_and_no_layer_passes_one(shapes, density, init):
    total = sum(prod(shape) for shape in shapes.values())
    first = prod(next(iter(shapes.values())))
    if init == "uniform_dense_first" and first > density * total:
        with pytest.raises(ValueError, match="exceed"):
            layer_densities(shapes, density, init)
        return
    densities = layer_densities(shapes, density, init)
    assert list(densities) == list(shapes)
    assert all(0 <= d <= 1 + 1e-12 for d in densities.values())
    realised = sum(d * prod(shapes[name]) for name, d in densities.items())
    assert realised == pytest.approx(density * total, rel=1e-9)


@given(shapes_strategy, st.floats(0.001, 1), st.sampled_from(["uniform", "er", "erk"]))
def test_counts_are_within_one_weight_a_layer(shapes, density, init):
    densities = layer_densities(shapes, density, init)
    counts = active_counts(shapes, densities)
    for name, shape in shapes.items():
        assert 1 <= counts[name] <= prod(shape)
        assert abs(counts[name] - densities[name] * prod(shape)) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"a": (2, 2)}, 0.0, "erk"), "density"),
        (({"a": (2, 2)}, 1.5, "erk"), "density"),
        (({"a": (2, 2)}, 0.5, "kre"), "unknown init 'kre'"),
        (({"a": (2, 2)}, 0.5, "erk", {"b": 0.5}), "unknown layer 'b'"),
        (({"a": (2, 2)}, 0.5, "erk", {"a": 2.0}), "layer 'a'"),
        (({}, 0.5, "erk"), "no layers"),
    ],
)
def test_bad_input_names_itself(arguments, message):
    if not arguments[0]:
        with pytest.raises(ValueError, match=message):
            erk_densities(*arguments[:2])
        return
    with pytest.raises(ValueError, match=message):
        layer_densities(*arguments)
