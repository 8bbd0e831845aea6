"""What a run costs in theory: FLOPs of its sub-networks and of its training, and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from torch import Tensor

from dstcl.continual.memory import memory_bits
from dstcl.continual.methods import Method
from dstcl.continual.subnets import SubnetStore
from dstcl.sparse import forward_flops, uses_per_image


def inference_flops(store: SubnetStore, images: Tensor) -> list[float]:
    """FLOPs of one image through the sub-network of each task, head included.

    Args:
        images: a few images of the data set, (N, C, H, W).
    """
    sizes = {n: p.numel() for n, p in store.network.named_parameters()}
    uses = uses_per_image(store.network, images)
    head_and_alike = {name: sizes[name] for name in uses}
    return [
        forward_flops(
            head_and_alike | {n: int(m.count_nonzero()) for n, m in subnet.masks.items()}, uses
        )
        for subnet in store.subnets
    ]


def training_flops(
    method: Method,
    history: Sequence[dict[str, Any]],
    inference: Sequence[float],
    dense: float,
    images: int,
    during: Mapping[int, float] | None = None,
) -> float:
    """FLOPs of a whole training, forward and backward.

    An image costs three forward passes of the sub-network: one forward, two backward (Evci et al.
    2020, appendix H). Where growth looks at gradients of inactive weights, one of the two backward
    passes is dense: at topology updates for gradient growth (RigL), at every step for momentum
    growth (SNFS). While a method prunes, its FLOPs are scaled by the density after each epoch.

    Args:
        method: knows the share of steps with a dense gradient.
        history: rows with stage and density, an epoch each.
        inference: FLOPs of an image through each finished sub-network.
        dense: FLOPs of an image through the whole network.
        images: trained on in all, repetitions included.
        during: of tasks (from 0) whose density rises and falls: FLOPs of an image, mean over the
            steps of the training.
    """
    share = images / len(history)
    training = method.run.training
    steps = ceil(share / training.batch_size) * training.epochs
    final = {row["task"]: row["density"] for row in history}
    total = 0.0
    for row in history:
        finished = inference[row["task"] - 1]
        whole, left = 1 - final[row["task"]], 1 - row["density"]
        # From the finished sub-network up to the dense one, in step with the density.
        now = dense + (finished - dense) * (left / whole) if whole else finished
        now = (during or {}).get(row["task"] - 1, now)
        looking = method.dense_gradient_share(steps, row["task"] - 1)
        total += share * (3 * now + looking * (dense - now))
    return total


def run_costs(
    method: Method,
    store: SubnetStore,
    history: Sequence[dict[str, Any]],
    images: int,
    sample: Tensor,
) -> dict[str, Any]:
    """``inference_flops`` (an image, mean over sub-networks), ``training_flops`` (all),
    ``memory_bytes`` (of all tasks) and what these are for, ``memory_bits``."""
    inference = inference_flops(store, sample)
    sizes = {name: w.numel() for name, w in store.network.named_parameters()}
    uses = uses_per_image(store.network, sample)
    dense = forward_flops({name: sizes[name] for name in uses}, uses)
    means = {task: method.mean_counts(task) for task in range(len(inference))}
    during = {
        task: forward_flops({name: sizes[name] for name in uses} | dict(counts), uses)
        for task, counts in means.items()
        if counts is not None
    }
    bits = memory_bits(store, method.keeps)
    return {
        "memory_bytes": sum(bits.values()) / 8,
        "memory_bits": bits,
        "inference_flops": sum(inference) / len(inference),
        "training_flops": training_flops(method, history, inference, dense, images, during),
    }
