"""Convolution as a matrix product: equal to torch's in any shape, and chosen where it pays."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dstcl.networks.arithmetic import Arithmetic
from dstcl.networks.build import build_network
from dstcl.networks.convolution import UnfoldedConv2d


def layer(*sizes: int, **options: Any) -> UnfoldedConv2d:
    torch.manual_seed(0)
    return UnfoldedConv2d(*sizes, **options)


def calls(made: UnfoldedConv2d, maps: Tensor, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often the layer multiplied instead of convolving."""
    counted = []
    product = UnfoldedConv2d._product
    monkeypatch.setattr(UnfoldedConv2d, "_product", lambda *a: counted.append(1) or product(*a))
    made(maps)
    return len(counted)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"),
    [
        (3, 1, 1, 2),
        (3, 2, 1, 4),
        (3, 2, 1, 3),
        (1, 2, 0, 4),
        (1, 1, 0, 1),
        (3, 1, 1, 1),
        (5, 3, 2, 7),
        ((3, 1), (1, 2), (1, 0), 3),
        (2, 1, 0, 2),
    ],
)
def test_product_is_the_convolution(
    kernel: Any, stride: Any, padding: Any, side: int, bias: bool
) -> None:
    made = layer(3, 8, kernel, stride=stride, padding=padding, bias=bias).double()
    maps = torch.randn(2, 3, side, side + 1, dtype=torch.float64)
    found, expected = [], []
    for results, compute in (
        (found, made._product),
        (expected, super(UnfoldedConv2d, made).forward),
    ):
        given = maps.clone().requires_grad_()
        out = compute(given)
        wanted = [given, *made.parameters()]
        results += [out, *torch.autograd.grad((out**2).sum(), wanted)]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("made", "side", "expected"),
    [
        (layer(256, 128, 3, padding=1), 2, 1),  # 64 * 4 positions of a batch, 128 channels
        (layer(256, 127, 3, padding=1), 2, 0),
        (layer(256, 128, 3, padding=1), 3, 0),
        (layer(256, 128, 3, stride=2, padding=1), 4, 1),
        (layer(227, 128, 3, padding=1), 2, 0),  # 261,504 weights, 640 fewer than 2^18
        (layer(1024, 256, 3, padding=1, groups=4), 2, 0),
        (layer(256, 128, 3, padding=2, dilation=2), 2, 0),
        (layer(256, 128, 3, padding="same"), 2, 0),
        (layer(256, 128, 3, padding=1, padding_mode="circular"), 2, 0),
    ],
)
def test_it_is_taken_where_weights_outnumber_maps(
    made: UnfoldedConv2d, side: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calls(made, torch.randn(2, made.in_channels, side, side), monkeypatch) == expected


@pytest.mark.parametrize("images", [1, 64, 500])
def test_the_batch_does_not_decide(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls(layer(256, 128, 3, padding=1), torch.randn(images, 256, 2, 2), monkeypatch) == 1


@pytest.mark.parametrize(("layout", "expected"), [("unfolded", True), ("channels_last", False)])
def test_the_layout_decides_for_every_layer(layout: str, expected: bool) -> None:
    network = build_network("resnet18-slim", 3, 10, seed=0, arithmetic=Arithmetic(layout=layout))
    layers = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(layers) == 20
    assert all(isinstance(each, UnfoldedConv2d) is expected for each in layers)


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "mobilenetv2", "lenet5"])
def test_networks_compute_the_same(name: str) -> None:
    images = torch.randn(8, 3, 32, 32)
    plain, other = (
        build_network(name, 3, 10, seed=0, arithmetic=Arithmetic(layout=layout))(images)
        for layout in ("contiguous", "unfolded")
    )
    assert (plain - other).norm() < 1e-3 * plain.norm()
