"""Bits of what methods keep, as a run counts them and as they are estimated before it."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

PER_NUMBER = 32
"""Of a weight, or of a parameter or statistic that belongs to one task."""
PER_SEED = 64
"""Of what draws the weights again, where training moves none."""


def huffman_bits(counts: Iterable[int]) -> int:
    """Length of a text whose symbols occur so often, in its Huffman code: each merge of the two
    rarest adds one bit to all that they stand for."""
    heap = [count for count in counts if count]
    heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heappop(heap) + heappop(heap)
        total += merged
        heappush(heap, merged)
    return total
