"""Accelerate: sparse training of what an `Accelerator` has prepared.

from dstcl.sparse.integrations.accelerate import sparse_training

model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
dst = sparse_training(accelerator, model, optimizer, density=0.1, total_steps=5000)
...
accelerator.log(dst.log(), step=dst.steps)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import torch
from torch import nn

from dstcl.sparse.dynamic import DynamicSparseTraining
from dstcl.sparse.integrations.common import Training, begin_attached, plain
from dstcl.sparse.optimizers import all_gradients
from dstcl.sparse.training import SparseTraining

try:
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer
    from accelerate.utils import DistributedType
except ImportError as error:
    raise ImportError(f"accelerate needed: pip install 'dstcl[accelerate]' ({error})") from None

WHOLE = ("NO", "MULTI_GPU", "MULTI_CPU", "MULTI_XPU", "MULTI_NPU", "MULTI_MLU", "MULTI_HPU")
"""Kinds of distribution under which every process has every parameter whole."""


def sparse_training(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
    *,
    training: Training = DynamicSparseTraining,
    **settings: Any,
) -> SparseTraining:
    """Train a prepared model sparsely: ``optimizer.step()`` does the rest.

    Steps are those that ``accelerator.accumulate`` lets through. ``accelerator.clip_grad_norm_``
    and ``clip_grad_value_`` see the gradients of active weights alone. The state is registered for
    ``accelerator.save_state`` and ``load_state``, and a step that the scaler or the loop skips is
    no step.

    Args:
        accelerator: which prepared them.
        model: as prepared.
        optimizer: as prepared; or several.
        training: the method.
        settings: of the method.

    Raises:
        ValueError: as the method does; an optimiser that was not prepared, sharded parameters, or
            several optimisers under a gradient scaler.
    """
    given = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
    if not all(isinstance(one, AcceleratedOptimizer) for one in given):
        raise ValueError(
            "optimizer: not prepared; call accelerator.prepare(model, optimizer) first and give "
            "what it returns"
        )
    refuse(accelerator, len(given))
    bare = accelerator.unwrap_model(model, keep_torch_compile=False)
    dst = begin_attached(training, bare, [plain(one) for one in given], settings)
    mask_before_clipping(accelerator, dst)
    accelerator.register_for_checkpointing(dst)
    return dst


def refuse(accelerator: Accelerator, optimizers: int) -> None:
    """What cannot be handled, in one line.

    Raises:
        ValueError: sharded parameters, or several optimisers under a gradient scaler.
    """
    kind = DistributedType(accelerator.distributed_type).value
    if kind not in WHOLE:
        raise ValueError(
            f"accelerator: {kind} may shard parameters, and the largest entries of a weight cannot "
            "be chosen from a part of it; use one device or DistributedDataParallel"
        )
    if optimizers > 1 and accelerator.scaler is not None:
        raise ValueError(
            "mixed_precision: a gradient scaler unscales one optimizer at a time, while growth "
            "looks at the gradients of all; use one optimizer, or mixed_precision='bf16'"
        )


def mask_before_clipping(accelerator: Accelerator, dst: SparseTraining) -> Callable[[], None]:
    """Mask gradients where the accelerator unscales them, which it does before it clips.

    If gradients are zeroed, or new ones come, before the step is made, then it is not made: a loop
    skips a step whose norm is not finite.

    Returns:
        what undoes it.
    """

    def masking(unscale: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(unscale)
        def unscale_and_mask(optimizer: Any = None) -> None:
            unscale(optimizer)
            # Another model may be clipped before this one has any gradient.
            if accelerator.sync_gradients and dst.attached and all_gradients(dst.optimizers):
                dst.ensure_masked(accelerator.scaler)

        return unscale_and_mask

    def forgetting(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def forget_and_call(*given: Any, **named: Any) -> Any:
            dst.forget_masking()
            return call(*given, **named)

        return forget_and_call

    def forgetting_if_new(backward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(backward)
        def call_and_forget(*given: Any, **named: Any) -> Any:
            before = _stamps(dst)
            result = backward(*given, **named)
            # The loss of another model leaves these gradients as they are.
            if _stamps(dst) != before:
                dst.forget_masking()
            return result

        return call_and_forget

    undo = [
        _replaced(accelerator, "unscale_gradients", masking),
        _replaced(accelerator, "backward", forgetting_if_new),
        *(_replaced(one, "zero_grad", forgetting) for one in dst.optimizers),
    ]

    def undo_all() -> None:
        for one in undo:
            one()

    return undo_all


def _stamps(dst: SparseTraining) -> list[tuple[int, int] | None]:
    """What changes with every new gradient of a weight."""
    gradients = [weight.grad for weight in dst.weights.values()]
    return [None if g is None else (id(g), g._version) for g in gradients]


def _replaced(
    owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Callable[[], None]:
    """Put something made of a method in its place; returns what undoes it."""
    method = getattr(owner, name)
    setattr(owner, name, make(method))
    return partial(setattr, owner, name, method)
