"""The dynamic-sparse-training core, usable in any training loop.

Knows nothing of tasks, files or configurations: tensors and names in, masks out.
"""

from dstcl.sparse.criteria import GROW, PRUNE, Criterion, LayerView, growth_plan
from dstcl.sparse.densities import (
    INITS,
    active_counts,
    er_densities,
    erk_densities,
    layer_densities,
    uniform_densities,
)
from dstcl.sparse.dynamic import DynamicSparseTraining
from dstcl.sparse.flops import forward_flops, uses_per_image
from dstcl.sparse.gradual import GradualMagnitudePruning
from dstcl.sparse.masks import PackedMasks, draw_masks, pack_masks, unpack_masks
from dstcl.sparse.schedule import UpdateSchedule
from dstcl.sparse.selection import select_top
from dstcl.sparse.training import SparseTraining, maskable_weights

__all__ = [
    "GROW",
    "INITS",
    "PRUNE",
    "Criterion",
    "DynamicSparseTraining",
    "GradualMagnitudePruning",
    "LayerView",
    "PackedMasks",
    "SparseTraining",
    "UpdateSchedule",
    "active_counts",
    "draw_masks",
    "er_densities",
    "erk_densities",
    "forward_flops",
    "growth_plan",
    "layer_densities",
    "maskable_weights",
    "pack_masks",
    "select_top",
    "uniform_densities",
    "unpack_masks",
    "uses_per_image",
]
