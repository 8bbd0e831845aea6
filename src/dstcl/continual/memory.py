"""Bits that must be kept so that every finished task can be computed, whatever the method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from dstcl.continual.capacity import TaskMasks
from dstcl.continual.subnets import SubnetStore
from dstcl.study.bits import PER_NUMBER, PER_SEED, huffman_bits

WORD = 32
"""Tasks whose masks form one number, in which a weight's users are looked up."""


def memory_bits(store: SubnetStore, keeps: Sequence[str]) -> dict[str, int]:
    """Bits of a finished sequence by what they are for.

    - ``weights``: those that at least one task uses; a seed where none was trained;
    - ``masks``: the code of `coded_mask_bits`, as WSN stores them;
    - ``units``: one bit per output of a maskable layer and task;
    - ``local``: heads, norms and biases of all tasks.

    Args:
        store: of the finished run.
        keeps: see `dstcl.continual.methods.Method`; what is not in it takes nothing.
    """
    tasks = [subnet.masks for subnet in store.subnets]
    used = store.used_fraction() * sum(value.numel() for value in store.dense.values())
    units = sum(value.shape[0] for value in store.dense.values())
    return {
        "weights": PER_NUMBER * round(used) if "weights" in keeps else PER_SEED,
        "masks": coded_mask_bits(tasks) if "masks" in keeps else 0,
        "units": units * len(tasks) if "units" in keeps else 0,
        "local": PER_NUMBER * sum(_local_numbers(store)),
    }


def coded_mask_bits(tasks: TaskMasks) -> int:
    """Bits of all masks in a Huffman code over weights, the table left out.

    Each weight is one symbol: the set of tasks that use it (Kang et al. 2022, section 3.3). A
    symbol alone takes no bits.
    """
    counts: Counter[tuple[int, ...]] = Counter()
    for name in tasks[0] if tasks else ():
        words = []
        for first in range(0, len(tasks), WORD):
            part = tasks[first : first + WORD]
            bits = [masks[name].flatten().long() << bit for bit, masks in enumerate(part)]
            words.append(torch.stack(bits).sum(0))
        rows, times = torch.unique(torch.stack(words, 1), dim=0, return_counts=True)
        for row, count in zip(rows.tolist(), times.tolist()):
            counts[tuple(row)] += count
    return huffman_bits(counts.values())


def _local_numbers(store: SubnetStore) -> list[int]:
    """Numbers of each task that are no masked weights, without the batches a norm has counted.

    Where each task has a network of its own, this is what is not counted as its weights.
    """
    return [
        sum(
            tensor.numel()
            for name, tensor in subnet.local.items()
            if tensor.is_floating_point() and name not in store.dense
        )
        for subnet in store.subnets
    ]
