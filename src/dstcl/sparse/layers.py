"""The layers of a model that can be sparse, and masks that fit them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from dstcl.sparse.masks import Masks

LAYER_TYPES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def maskable_weights(model: nn.Module, exclude: Iterable[str] = ()) -> dict[str, Tensor]:
    """Weights of all linear and convolutional layers by parameter name, in module order.

    ``exclude`` holds module names; a module is left out together with everything below it.
    """
    excluded = tuple(exclude)
    return {
        (f"{name}.weight" if name else "weight"): module.weight
        for name, module in model.named_modules()
        if isinstance(module, LAYER_TYPES)
        and not any(name == e or name.startswith(f"{e}.") for e in excluded)
    }


def fitting_masks(key: str, given: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Masks:
    """A copy of the mask of every weight, where the weight is.

    Raises:
        ValueError: there is none, or it is not boolean and of the weight's shape.
    """
    found = {}
    for name, weight in weights.items():
        try:
            mask = given[name]
        except KeyError:
            raise ValueError(
                f"{key}: nothing for layer {name!r}; it has {', '.join(given)}"
            ) from None
        if mask.dtype != torch.bool or mask.shape != weight.shape:
            raise ValueError(
                f"{key}: {mask.dtype} of shape {tuple(mask.shape)} for layer {name!r}; "
                f"it must be boolean of shape {tuple(weight.shape)}"
            )
        found[name] = mask.to(weight.device).clone()
    return found
