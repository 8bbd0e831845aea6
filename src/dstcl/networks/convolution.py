"""Convolution that CPUs compute as a matrix product where maps are small and channels many."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FEWEST_WEIGHTS = 2**18
"""Of a layer that is worth unfolding for: 128 to 128 channels (147,456) gain nothing."""


class UnfoldedConv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, the same but for rounding, with another way to compute it.

    torch's kernels for CPUs take long where a layer has more weights than its maps have numbers.
    With maps unfolded to rows (im2col) and multiplied by the weights, the paper's ResNet-18 trains
    1.6 times as fast in bfloat16 (docs/benchmarks.md).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps (N, in_channels, H, W) to (N, out_channels, H', W'): as a product on a CPU and
        where it pays."""
        if input.device.type == "cpu" and self._pays(input):
            return self._product(input)
        return super().forward(input)

    def _pays(self, maps: Tensor) -> bool:
        """Whether a batch of 64 unfolds to at most twice as many numbers as there are weights, and
        these are so many that the product takes longer than its preparation. The batch at hand does
        not matter, lest the last one of an epoch be rounded in another way."""
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        if not plain or isinstance(self.padding, str) or self.weight.numel() < FEWEST_WEIGHTS:
            return False
        height, width = self._output_size(maps)
        return 64 * height * width <= 2 * self.out_channels

    def _output_size(self, maps: Tensor) -> tuple[int, int]:
        assert not isinstance(self.padding, str)
        height, width = (
            (side + 2 * padding - kernel) // stride + 1
            for side, padding, kernel, stride in zip(
                maps.shape[2:], self.padding, self.kernel_size, self.stride, strict=True
            )
        )
        return height, width

    def _product(self, maps: Tensor) -> Tensor:
        assert not isinstance(self.padding, str)
        (above, left), (down, right) = self.padding, self.stride
        height, width = self._output_size(maps)
        padded = functional.pad(maps.permute(0, 2, 3, 1), (0, 0, left, left, above, above))
        seen = [
            padded[
                :, i : i + (height - 1) * down + 1 : down, j : j + (width - 1) * right + 1 : right
            ]
            for i in range(self.kernel_size[0])
            for j in range(self.kernel_size[1])
        ]
        rows = torch.stack(seen, -1).flatten(3)  # (N, H', W', in_channels * taps)
        return functional.linear(rows, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
