"""ResNet-18 as in the paper's code (section c1), and variants in width and stem."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN plus the input (through a 1x1 conv-BN where sizes change)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, width, H / stride, W / stride)."""
        out = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(out)) + self.shortcut(x)).relu()


def resnet18(
    channels: int,
    classes: int,
    width: int = 64,
    stem_size: int = 7,
    stem_stride: int = 2,
    head_bias: bool = False,
) -> nn.Module:
    """Stem without max-pooling, four stages of two blocks, global average pooling, head.

    ``width`` is that of the first stage; the others double it. 64 and a 7x7 stem of stride 2 are
    the paper's network (spatial sizes 16, 16, 8, 4, 2 for 32-pixel images); a 3x3 stem of stride 1
    is the usual one for such images and costs about four times as much a step.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, stem_size, stem_stride, padding=stem_size // 2, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]
    channels = width
    for stage in range(4):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            layers.append(BasicBlock(channels, width << stage, stride))
            channels = width << stage
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    head = nn.Linear(channels, classes, bias=head_bias)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=head))
