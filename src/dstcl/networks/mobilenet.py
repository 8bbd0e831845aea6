"""MobileNetV2 as in the paper's code (section c1), and narrower variants."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

# For stages of blocks: expansion, width, number of blocks, stride of the first.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, LAST = 32, 1280


def _convolution(
    channels: int, width: int, size: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Convolution that halves or keeps the spatial size, and norm."""
    return [
        nn.Conv2d(channels, width, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(width),
    ]


class InvertedResidual(nn.Module):
    """1x1 conv that expands, 3x3 depthwise conv, 1x1 conv that projects, each with norm, the first
    two with ReLU6; plus the input where sizes stay the same.

    The first conv is there even where it expands by 1.
    """

    def __init__(self, channels: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.residual = stride == 1 and channels == width
        self.layers = nn.Sequential(
            *_convolution(channels, hidden),
            nn.ReLU6(),
            *_convolution(hidden, hidden, size=3, stride=stride, groups=hidden),
            nn.ReLU6(),
            *_convolution(hidden, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, width, H / stride, W / stride)."""
        out = self.layers(x)
        return x + out if self.residual else out


def mobilenetv2(
    channels: int, classes: int, width: int = STEM, head_bias: bool = True
) -> nn.Module:
    """Stem 3x3 stride 2, 17 inverted residuals, 1x1 conv, global average pooling, head.

    ``width`` is that of the stem; the others keep their proportion to it but have at least 8
    channels. 32 is the paper's network, with the strides for ImageNet (spatial size 1 at the end
    for 32-pixel images); 8 is the slim one with a quarter of the channels, where the first block
    and the stem have equal widths and hence a residual between them.
    """

    def scaled(published: int) -> int:
        return max(8, published * width // STEM)

    layers = [*_convolution(channels, scaled(STEM), size=3, stride=2), nn.ReLU6()]
    channels = scaled(STEM)
    for expansion, published, blocks, first_stride in STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            layers.append(InvertedResidual(channels, scaled(published), stride, expansion))
            channels = scaled(published)
    layers += [*_convolution(channels, scaled(LAST)), nn.ReLU6()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    head = nn.Linear(scaled(LAST), classes, bias=head_bias)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=head))
