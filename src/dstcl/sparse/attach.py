"""Masks that hold wherever a trainer calls ``optimizer.step()``: hooks of the optimiser itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import torch

from dstcl.sparse.layers import first_few
from dstcl.sparse.optimizers import all_gradients

if TYPE_CHECKING:
    from dstcl.sparse.training import SparseTraining


class Attachment:
    """Makes steps of a training's optimisers what `SparseTraining.step` does around them.

    A round of several optimisers is one step: it ends when ``step()`` of all has been called, or of
    one again. It is none if no optimiser did anything. The masks see the gradients of all of them
    at the first step of a round; those of the others are masked again at their own, as another
    ``backward()`` may lie between.

    Args:
        sparse: the training.

    Attributes:
        sparse: the training.
        begun: whether an optimiser has made its part of a step that is not finished.
    """

    def __init__(self, sparse: SparseTraining) -> None:
        _refuse_another(sparse)
        self.sparse = sparse
        self._called: set[int] = set()
        self._skipped = False
        self.begun = False
        self._handles: list[Any] = []
        for optimizer in sparse.optimizers:
            self._handles.append(optimizer.register_step_pre_hook(self._before))
            self._handles.append(optimizer.register_step_post_hook(self._after))
        _LIVING.add(self)

    def remove(self) -> None:
        """Make the optimisers what they were; a step that some of them have made is finished."""
        _LIVING.discard(self)
        for handle in self._handles:
            handle.remove()
        self.finish()

    def finish(self) -> None:
        """End the round if an optimiser has begun it."""
        if self.begun:
            self._end_round()

    def forget(self) -> None:
        """Begin a new round, whoever has stepped in this one."""
        self._called.clear()
        self.begun = False

    def _before(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._mask(optimizer)
            return None

        def masked() -> Any:
            loss = closure()
            self._mask(optimizer)
            return loss

        others = {key: value for key, value in kwargs.items() if key != "closure"}
        return (args[0], masked, *args[2:]), others

    def _mask(self, optimizer: torch.optim.Optimizer) -> None:
        if id(optimizer) in self._called:
            self._end_round()  # of the step before: what is masked now is of this one
        if len(self.sparse.optimizers) > 1 and getattr(optimizer, "grad_scale", None) is not None:
            raise RuntimeError(
                "attach: a gradient scaler unscales one optimizer at a time, while growth looks at "
                "the gradients of all; with several call dst.step(scaler) instead"
            )
        # Without any gradient torch's optimisers do nothing: a trainer has left out a batch.
        self._skipped = not all_gradients([optimizer]) or _unscale_fused(optimizer)
        if self._skipped:
            return
        self.sparse.mask_for_step()
        if self.begun:
            self.sparse.keep_gradients()

    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._called.add(id(optimizer))
        self.begun |= not self._skipped
        if len(self._called) == len(self.sparse.optimizers):
            if not self.begun:
                self.sparse.forget_masking()
            self._end_round()
        elif not self._skipped:
            self.sparse.restore()
        self._skipped = False

    def _end_round(self) -> None:
        begun = self.begun
        self.forget()
        if begun:
            self.sparse.finish_step()


_LIVING: WeakSet[Attachment] = WeakSet()
"""All that may still be in use."""


def _refuse_another(sparse: SparseTraining) -> None:
    """Refuse a second training of the same weights by the same optimiser: with two masks on a
    weight fewer entries are active than either counts.

    Raises:
        ValueError: there is one.
    """
    optimizers, weights = set(map(id, sparse.optimizers)), set(map(id, sparse.weights.values()))
    for other in (attachment.sparse for attachment in _LIVING):
        shared = [name for name, w in other.weights.items() if id(w) in weights]
        if shared and not optimizers.isdisjoint(map(id, other.optimizers)):
            raise ValueError(
                f"attach: another training of {first_few(shared)} is attached to this optimizer; "
                "detach() the other first, or make a new optimizer"
            )


@torch.no_grad()
def _unscale_fused(optimizer: torch.optim.Optimizer) -> bool:
    """Do what `GradScaler` leaves to a fused optimiser; true if it will skip this step.

    The scaler hands such a one gradients that are still scaled, with the scale and whether any has
    overflowed (waits for the device).
    """
    overflowed = getattr(optimizer, "found_inf", None)
    if overflowed is not None and bool(overflowed):
        return True
    scale = getattr(optimizer, "grad_scale", None)
    if scale is not None:
        for gradient in all_gradients([optimizer]):
            gradient.div_(scale)
        optimizer.grad_scale = None  # type: ignore[attr-defined]
    return False
