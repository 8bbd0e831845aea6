"""Linear layers that hold and multiply active weights only, for inference.

Both give what `torch.nn.Linear` gives with the same weights, up to the order of summation. Their
outputs lie transposed in memory, which costs a next sparse layer nothing.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


class SparseLinear(nn.Module):
    """What the sparse layers share: shapes, the bias, and inputs with any leading dimensions.

    Attributes:
        in_features, out_features: as of `torch.nn.Linear`.
        bias: (out_features,) or None.
    """

    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        bias = None if layer.bias is None else layer.bias.detach().clone()
        self.register_buffer("bias", bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features).

        Under autocast, too, it computes in the type of its weights, and returns that.
        """
        device = inputs.device.type
        if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                return self._forward(inputs.to(self.get_buffer("values").dtype))
        return self._forward(inputs)

    def _forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.reshape(-1, self.in_features)
        outputs = self._multiply(flat) if len(flat) else flat.new_zeros(0, self.out_features)
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs.view(*inputs.shape[:-1], self.out_features)

    @property
    def weight(self) -> Tensor:
        """A dense copy, for modules that read the weights of a layer instead of calling it."""
        return self._dense()

    def extra_repr(self) -> str:
        """Shapes and the number of weights."""
        shapes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{shapes}, active={self.get_buffer('values').numel()}"

    def _dense(self) -> Tensor:
        raise NotImplementedError

    def _multiply(self, inputs: Tensor) -> Tensor:
        """(batch, in_features) to (batch, out_features), without bias."""
        raise NotImplementedError


CSR_TYPES = (torch.float32, torch.float64)
"""Types of weights that torch multiplies as compressed sparse rows on every processor."""


class CSRLinear(SparseLinear):
    """Compressed sparse rows, multiplied by torch (on x86 by MKL). Any mask; float32 or float64.

    Args:
        layer: whose weights and bias are taken.
        mask: of its weight; true where a weight is active.

    Attributes:
        rows: (out_features + 1,), where each output's weights begin; int32.
        columns: (active,), input of each weight; int32.
        values: (active,), the weights.

    Raises:
        ValueError: weights of another type.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor

    def __init__(self, layer: nn.Linear, mask: Tensor) -> None:
        if layer.weight.dtype not in CSR_TYPES:
            raise ValueError(
                f"{layer.weight.dtype}; CSR is multiplied in float32 and float64 only; export "
                "model.float(), or to='condensed', which has constant fan-in and any type"
            )
        super().__init__(layer)
        outputs, columns = mask.nonzero().unbind(1)
        ends = outputs.bincount(minlength=self.out_features).cumsum(0)
        self.register_buffer("rows", nn.functional.pad(ends, (1, 0)).int())
        self.register_buffer("columns", columns.int())
        self.register_buffer("values", layer.weight.detach()[mask])
        with warnings.catch_warnings():  # that the format is in beta, said once in a process
            warnings.simplefilter("ignore")
            self.matrix()

    def matrix(self) -> Tensor:
        """The weight as a sparse tensor that shares the buffers."""
        return torch.sparse_csr_tensor(
            self.rows,
            self.columns,
            self.values,
            (self.out_features, self.in_features),
            check_invariants=False,
        )

    def _dense(self) -> Tensor:
        return self.matrix().to_dense()

    def _multiply(self, inputs: Tensor) -> Tensor:
        if len(inputs) == 1:
            return torch.mv(self.matrix(), inputs[0]).unsqueeze(0)
        return (self.matrix() @ inputs.t()).t()


class CondensedLinear(SparseLinear):
    """The same number of weights for each output, as a dense matrix with the inputs they are of.

    Constant fan-in (SRigL; Lasby et al. 2024, section 4.4 and appendix). Outputs without weights
    are left out. A batch is multiplied by torch's fused weighted sum of embedding rows.

    Args:
        layer: whose weights and bias are taken.
        mask: of its weight; true where a weight is active.

    Attributes:
        columns: (outputs that have weights, fan-in), input of each weight; int32.
        values: (outputs that have weights, fan-in), the weights.
        outputs: (outputs that have weights,), which they are; None if these are all.

    Raises:
        ValueError: not every output has the same number of active weights or none.
    """

    columns: Tensor
    values: Tensor
    outputs: Tensor | None

    def __init__(self, layer: nn.Linear, mask: Tensor) -> None:
        super().__init__(layer)
        counts = mask.sum(1)
        alive = counts.nonzero().squeeze(1)
        low, high = (int(count) for count in counts[alive].aminmax()) if len(alive) else (0, 0)
        if low != high:
            raise ValueError(f"{low} to {high} active weights for an output, not a constant number")
        columns = mask.nonzero()[:, 1].view(len(alive), high)
        self.register_buffer("columns", columns.int())
        self.register_buffer("values", layer.weight.detach()[mask].view(len(alive), high))
        every = len(alive) == self.out_features
        self.register_buffer("outputs", None if every else alive)

    def _dense(self) -> Tensor:
        found = self.values.new_zeros(len(self.values), self.in_features)
        found.scatter_(1, self.columns.long(), self.values)
        return self._every(found)

    def _every(self, found: Tensor) -> Tensor:
        """One row for every output."""
        if self.outputs is None:
            return found
        return found.new_zeros(self.out_features, found.shape[1]).index_copy(0, self.outputs, found)

    def _multiply(self, inputs: Tensor) -> Tensor:
        if not self.values.numel():
            return inputs.new_zeros(len(inputs), self.out_features)
        if len(inputs) == 1:
            taken = inputs[0].index_select(0, self.columns.flatten()).view_as(self.values)
            found = (taken * self.values).sum(1, keepdim=True)
        else:
            found = nn.functional.embedding_bag(
                self.columns, inputs.t().contiguous(), per_sample_weights=self.values, mode="sum"
            )
        return self._every(found).t()
