"""Training in several processes (torch.distributed): all begin and go on with the same masks.

As in `torch.nn.parallel.DistributedDataParallel`, rank 0 decides and gradients are averaged before
the step, so every rank computes the same update by itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


def several_ranks() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def take_from_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors with those of rank 0."""
    for tensor in tensors:
        dist.broadcast(tensor, 0)


def draw_as_first(generator: torch.Generator, device: torch.device) -> None:
    """Bring a generator into the state of rank 0's.

    Args:
        generator: of this rank.
        device: which the backend can send from; NCCL sends from GPUs alone.
    """
    state = generator.get_state().to(device)
    dist.broadcast(state, 0)
    generator.set_state(state.cpu())
