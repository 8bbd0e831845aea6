"""Networks against the sizes and densities of the paper's code (paper.md, c1 and c4)."""

import hashlib
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from dstcl.codedigest import code_digest, code_files
from dstcl.networks import NETWORKS, network_modules
from dstcl.networks.build import build_network
from dstcl.networks.check import check_network
from dstcl.networks.head import Head, find_head
from dstcl.sparse import erk_densities, maskable_weights

GREY = ("convnet", "lenet5")
NORMED = [name for name in NETWORKS if name != "lenet5"]

# All parameters and maskable weights with a head of 100 classes, without affine batch norm.
PUBLISHED_SIZES = {
    "resnet18": (11_218_112, 11_218_112, 21),
    "resnet18-3x3": (11_210_432, 11_210_432, 21),
    "mobilenetv2": (2_318_884, 2_318_784, 54),
    "vgg16": (15_028_644, 15_023_808, 15),
    "lenet5": (51_750, 51_750, 5),
}


def published(name: str, seed: int = 0) -> nn.Module:
    return build_network(name, 1 if name in GREY else 3, 100, seed, norm="batch")


def images(name: str, size: int | None = None) -> Tensor:
    """Two of the size that the paper has for the network, or of another."""
    size = size or (28 if name in GREY else 32)
    draws = torch.Generator().manual_seed(0)
    return torch.randn(2, 1 if name in GREY else 3, size, size, generator=draws)


def erk(name: str, density: float) -> dict[tuple[str, tuple[int, ...]], float]:
    """Densities by name and shape, in the order of the layers."""
    shapes = {n: tuple(w.shape) for n, w in maskable_weights(published(name)).items()}
    return {(n, shapes[n]): d for n, d in erk_densities(shapes, density).items()}


def map_sizes(network: nn.Module, batch: Tensor) -> list[int]:
    """Height of what every layer at the top of the features gives, until it is pooled."""
    layers = list(network.features.children())
    until = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.AdaptiveAvgPool2d))
    heights = []
    for layer in layers[:until]:
        batch = layer(batch)
        heights.append(batch.shape[2])
    return heights


# Sizes


@pytest.mark.parametrize("name", PUBLISHED_SIZES)
def test_published_networks_have_the_published_sizes(name: str) -> None:
    network = published(name)
    weights = maskable_weights(network)
    found = (
        sum(p.numel() for p in network.parameters()),
        sum(w.numel() for w in weights.values()),
        len(weights),
    )
    assert found == PUBLISHED_SIZES[name]
    assert not list(network.buffers())


@pytest.mark.parametrize("name", NETWORKS)
def test_only_biases_are_left_out_of_the_masks_without_affine_norms(name: str) -> None:
    network = published(name)
    left_out = set(dict(network.named_parameters())) - set(maskable_weights(network))
    assert all(n.rpartition(".")[2] == "bias" for n in left_out)


def test_heads_have_a_bias_where_the_paper_has_one_or_where_it_is_asked_for() -> None:
    with_bias = {name for name in NETWORKS if published(name).head.bias is not None}
    assert with_bias == {"mobilenetv2", "mobilenetv2-slim", "vgg16", "vgg16-slim"}
    for name in ("convnet", "vgg16-slim"):
        assert build_network(name, 1, 2, 0, head_bias=True).head.bias is not None
        assert build_network(name, 1, 2, 0, head_bias=False).head.bias is None


@pytest.mark.parametrize(
    ("slim", "full"),
    [("mobilenetv2-slim", "mobilenetv2"), ("resnet18-slim", "resnet18"), ("vgg16-slim", "vgg16")],
)
def test_slim_networks_have_a_quarter_of_the_channels_and_at_least_8(slim: str, full: str) -> None:
    narrow, wide = maskable_weights(published(slim)), maskable_weights(published(full))
    assert list(narrow) == list(wide)
    floor = 0
    for layer, weight in wide.items():
        if layer == "head.weight":
            assert narrow[layer].shape == (100, weight.shape[1] // 4)
        elif layer.endswith(("layers.0.weight", "layers.3.weight")):
            # Expanded width of a block of MobileNetV2: a multiple of its input.
            assert narrow[layer].shape[0] >= weight.shape[0] // 4
        else:
            assert narrow[layer].shape[0] == max(8, weight.shape[0] // 4)
            floor += weight.shape[0] < 32
    assert floor == (3 if full == "mobilenetv2" else 0)


# Densities


@pytest.mark.parametrize(
    ("density", "head", "first", "wide"),
    [
        (0.2, 1, 1, 0.148),
        (0.1, 1, 1, 0.071),
        (0.05, 0.935, 1, 0.034),
        (0.02, 0.373, 1, 0.014),
        (0.01, 0.186, 0.658, 0.007),
    ],
)
def test_erk_on_vgg16_equals_the_paper(
    density: float, head: float, first: float, wide: float
) -> None:
    densities = erk("vgg16", density)
    assert densities["head.weight", (100, 512)] == pytest.approx(head, abs=5.1e-4)
    assert next(iter(densities.values())) == pytest.approx(first, abs=5.1e-4)
    widest = [d for (_, shape), d in densities.items() if shape == (512, 512, 3, 3)]
    assert widest == pytest.approx([wide] * 5, abs=5.1e-4)


@pytest.mark.parametrize(
    ("density", "dense", "head", "last"),
    [
        (0.2, 21, 0.215, 0.078),
        (0.1, 2, 0.092, 0.033),
        (0.05, 0, 0.046, 0.017),
        (0.02, 0, 0.018, 0.007),
        (0.01, 0, 0.009, 0.003),
    ],
)
def test_erk_on_mobilenetv2_equals_the_paper(
    density: float, dense: int, head: float, last: float
) -> None:
    densities = erk("mobilenetv2", density)
    assert sum(d == 1 for d in densities.values()) == dense
    # c4 gives 0.09147 as .092, rounded twice.
    assert densities["head.weight", (100, 1280)] == pytest.approx(head, abs=5.6e-4)
    (found,) = [d for (_, shape), d in densities.items() if shape == (1280, 320, 1, 1)]
    assert found == pytest.approx(last, abs=5.1e-4)


# Shapes


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [16, 28, 32, 64])
def test_images_of_every_size_become_one_logit_a_class(name: str, size: int) -> None:
    assert published(name)(images(name, size)).shape == (2, 100)


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("resnet18", [16, 16, 8, 4, 2]),
        ("resnet18-slim", [16, 16, 8, 4, 2]),
        ("resnet18-3x3", [32, 32, 16, 8, 4]),
    ],
)
def test_stem_and_stages_of_resnet_have_the_published_sizes(name: str, sizes: list[int]) -> None:
    stem, *stages = sizes
    twice = [size for size in stages for _ in range(2)]
    assert map_sizes(published(name), images(name)) == [stem] * 3 + twice


@pytest.mark.parametrize(
    ("name", "last"), [("convnet", 4), ("lenet5", 4), ("mobilenetv2", 1), ("vgg16", 1)]
)
def test_maps_end_at_the_published_size(name: str, last: int) -> None:
    assert map_sizes(published(name), images(name))[-1] == last


def test_mobilenetv2_halves_the_maps_as_for_imagenet() -> None:
    stem_and_last = 3
    stages = [16, 8, 8, 4, 4, 4, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1]
    sizes = map_sizes(published("mobilenetv2"), images("mobilenetv2"))
    assert sizes == [16] * stem_and_last + stages + [1] * stem_and_last


# Norms


@pytest.mark.parametrize("name", NORMED)
def test_every_norm_is_made_by_the_rule_given(name: str) -> None:
    made: list[nn.Module] = []

    def norm(layer: nn.BatchNorm2d) -> nn.Module:
        made.append(nn.GroupNorm(1, layer.num_features))
        return made[-1]

    network = build_network(name, 1, 2, 0, norm=norm)
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
    assert [m for m in network.modules() if isinstance(m, kinds)] == made
    assert made


@pytest.mark.parametrize("own", [False, True])
def test_the_classifier_of_vgg16_is_normalised_like_batch_norm_of_vectors(own: bool) -> None:
    network = build_network("vgg16-slim", 3, 2, 0, norm="task" if own else "batch")
    *_, rectified, as_maps, norm, as_vectors = network.features.children()
    assert isinstance(rectified, nn.ReLU)
    vectors = torch.randn(9, 128, generator=torch.Generator().manual_seed(1))
    expected = nn.BatchNorm1d(128, affine=own, track_running_stats=own)
    for _ in range(2):
        found = as_vectors(norm(as_maps(vectors)))
        torch.testing.assert_close(found, expected(vectors))
    norm.eval()
    expected.eval()
    torch.testing.assert_close(as_vectors(norm(as_maps(vectors))), expected(vectors))


# Weights


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_decides_the_weights_and_nothing_else_does(name: str) -> None:
    first = maskable_weights(published(name, seed=3))
    torch.rand(1)
    state = torch.get_rng_state()
    again, other = (maskable_weights(published(name, seed=seed)) for seed in (3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[layer], again[layer]) for layer in first)
    assert not any(torch.equal(first[layer], other[layer]) for layer in first)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("norm", ["task", "batch"])
def test_a_step_of_training_reaches_every_layer(name: str, norm: str) -> None:
    batch = images(name)
    network = build_network(name, batch.shape[1], 2, 0, norm=norm).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = network.head.weight.detach().clone()
    nn.functional.cross_entropy(network(batch), torch.tensor([0, 1])).backward()
    optimizer.step()
    assert not torch.equal(network.head.weight, before)
    for layer, weight in maskable_weights(network).items():
        assert weight.isfinite().all(), layer
        assert weight.grad is not None, layer
        assert weight.grad.any(), layer


# By name and head_bias, of the state with 10 classes and seed 7 (sha256 over names and float32
# bytes, sorted by name): as the networks of the recorded runs began.
INITIAL = {
    ("convnet", None): "178ed5d30496187d",
    ("convnet", True): "a811fb7500f3ade0",
    ("lenet5", None): "1922c72a0f65553b",
    ("lenet5", True): "59297c265b210338",
    ("resnet18-slim", None): "eb94e99b4dc40da3",
    ("resnet18-slim", True): "9c265b4e0bc2ff8e",
    ("resnet18", None): "73b481e7bbc9829b",
    ("resnet18-3x3", None): "76bad0ad5b5919c3",
    ("mobilenetv2-slim", None): "bb95fb89e7a963e3",
    ("mobilenetv2", None): "175da81cf72d2831",
    ("vgg16-slim", None): "43affe33d877ffda",
    ("vgg16", None): "9ecd7edfe915e4c6",
}


@pytest.mark.parametrize(("name", "bias"), INITIAL)
def test_initial_weights_are_those_of_recorded_runs(name: str, bias: bool | None) -> None:
    network = build_network(name, 1 if name in GREY else 3, 10, 7, head_bias=bias)
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.float().numpy().tobytes())
    assert digest.hexdigest()[:16] == INITIAL[name, bias]


def test_initial_weights_of_every_network_are_recorded() -> None:
    assert {name for name, _ in INITIAL} == set(NETWORKS)


# Names and code


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_is_where_recorded_runs_have_it(name: str) -> None:
    network = published(name)
    assert find_head(network) == ("head", network.head)
    assert type(network.head) is Head
    check_network(network, images(name).shape[1:], 100, name)


def test_the_code_of_a_network_is_its_own_file() -> None:
    digests = {name: code_digest(*network_modules(name)) for name in NETWORKS}
    assert digests["resnet18"] == digests["resnet18-3x3"] != digests["vgg16"]
    for name in NETWORKS:
        others = {network_modules(other) for other in NETWORKS} - {network_modules(name)}
        found = {path.stem for path in code_files("networks.build", *network_modules(name))}
        assert network_modules(name)[0].partition(".")[2] in found
        assert not found & {module.partition(".")[2] for (module,) in others}


def test_the_names_are_known_without_torch() -> None:
    code = "import sys, dstcl.networks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arguments_can_be_others_than_those_of_the_name() -> None:
    wider = build_network("resnet18-slim", 3, 10, 0, arguments={"width": 64})
    theirs = build_network("resnet18", 3, 10, 0).state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in wider.state_dict().items())


def test_an_unknown_network_is_refused_with_those_known() -> None:
    with pytest.raises(
        ValueError,
        match=r"^networks: no 'resnet50'; built in: convnet, lenet5, .*vgg16; one of your own",
    ):
        build_network("resnet50", 3, 100, 0)
