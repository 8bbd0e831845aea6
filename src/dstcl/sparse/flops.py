"""Theoretical work of a sparse network: multiply-adds of active weights, counted as two each.

Biases, normalisation and activations are left out, as in RigL (Evci et al. 2020, appendix): they
are a fraction of a per cent. Training multiplies the zeros all the same, so these numbers say what
sparsity could save. What layers that skip them do save is in docs/structured.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from dstcl.sparse.layers import Names, maskable_weights

PER_MULTIPLY_ADD = 2
COPIES = (torch.ops.aten._to_copy, torch.ops.aten.clone)
"""Operations whose result is the same weight, perhaps in another type."""


@dataclass(frozen=True)
class ForwardWork:
    """What one image takes, forward.

    Attributes:
        uses: how often each weight is multiplied with something.
        other: FLOPs of all products without one of the weights: attention scores, other layers.
    """

    uses: dict[str, float]
    other: float


def uses_per_image(
    model: nn.Module, images: Any, exclude: Names = (), include: Names = ()
) -> dict[str, float]:
    """How often each weight is used for one image: output positions of a convolution, tokens of a
    linear layer, 1 for a layer on vectors; 0 for a weight without a part in the output.

    Uses of a module that is called more than once add up; where not all of a weight is used
    equally, as in attention from one sequence to another, this is the mean over its entries.

    Args:
        model: run once on ``images`` in evaluation mode.
        images: (N, ...) as the model takes them; a tuple for several arguments, or a mapping for
            named ones.
        exclude, include: see `maskable_weights`.
    """
    return forward_work(model, images, maskable_weights(model, exclude, include)).uses


def forward_flops(active: Mapping[str, float], uses: Mapping[str, float]) -> float:
    """FLOPs of one image through layers with so many active weights each."""
    return PER_MULTIPLY_ADD * sum(active[name] * uses[name] for name in active)


@torch.no_grad()
def forward_work(model: nn.Module, images: Any, weights: Mapping[str, Tensor]) -> ForwardWork:
    """Like `uses_per_image` for some of the model's weights, with all other work."""
    arguments, named = _as_call(images)
    number = len(next(v for v in [*arguments, *named.values()] if isinstance(v, Tensor)))
    counter = _Counter(weights)
    with _plain_evaluation(model), _without_known_casts(), counter:
        model(*arguments, **named)
    uses = {
        name: _ratio(counter.of_weights[name], PER_MULTIPLY_ADD * number * weight.numel())
        for name, weight in weights.items()
    }
    return ForwardWork(uses, _ratio(counter.other, number))


class _Counter(TorchDispatchMode):
    """Takes the FLOPs of every operation, by torch's own formulas, as those of the weight whose
    memory, or that of a copy in another type as autocast makes them, it reads."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        from torch.utils.flop_counter import flop_registry  # slow to import

        super().__init__()
        self._formulas: Mapping[Any, Any] = flop_registry
        self._owner = {_memory(weight): name for name, weight in weights.items()}
        self._copies: dict[int, tuple[StorageWeakRef, str]] = {}
        self.of_weights = dict.fromkeys(weights, 0)
        self.other = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled in here, and torch's compiler takes seconds to import."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in COPIES and (name := self._weight_of(args[0])):
            self._copies[_memory(out)] = StorageWeakRef(out.untyped_storage()), name
        formula = self._formulas.get(func.overloadpacket)
        if formula is not None:
            work = int(formula(*args, **(kwargs or {}), out_val=out))
            owners = (self._weight_of(a) for a in args if isinstance(a, Tensor))
            owner = next(filter(None, owners), None)
            if owner is None:
                self.other += work
            else:
                self.of_weights[owner] += work
        return out

    def _weight_of(self, tensor: Tensor) -> str | None:
        memory = _memory(tensor)
        copy, name = self._copies.get(memory, (None, None))
        # The memory of a copy that is gone belongs to something else now.
        return name if copy and not copy.expired() else self._owner.get(memory)


def _memory(tensor: Tensor) -> int:
    """The same for all views of a tensor."""
    return tensor.untyped_storage().data_ptr()


def _ratio(work: int, parts: int) -> float:
    return work / parts if work % parts else work // parts


def _as_call(images: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(images, Mapping):
        return (), dict(images)
    return (images if isinstance(images, tuple) else (images,)), {}


@contextmanager
def _without_known_casts() -> Iterator[None]:
    """Let autocast cast every weight again, where it is seen; and keep none of these casts, as they
    have no gradient."""
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch.clear_autocast_cache()


@contextmanager
def _plain_evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, without the fused operations of which torch has no count."""
    modes = {module: module.training for module in model.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ExitStack() as stack:
            if any(isinstance(module, nn.RNNBase) for module in modes):
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")  # about TF32 on Intel's GPUs, which nobody set
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes.items():
            module.training = training
