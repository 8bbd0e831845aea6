"""The dynamic-sparse-training core, usable in any training loop.

It is independent of tasks, files and configurations: tensors and names in, masks out. Pass your own
criteria and inits as plain functions or as ``module:attribute`` (`dstcl.plugins`), or register them
with `register_growth`, `register_prune` and `register_init`.
"""

from dstcl.sparse import grow, prune  # noqa: F401  registers the criteria that are built in
from dstcl.sparse.checks import check_criterion
from dstcl.sparse.criteria import (
    GROW,
    PRUNE,
    Criterion,
    CriterionError,
    GrowthPlan,
    LayerView,
    criterion,
    growth_plan,
    prune_criterion,
    register_growth,
    register_prune,
)
from dstcl.sparse.densities import (
    INITS,
    active_counts,
    er_densities,
    erk_densities,
    layer_densities,
    proportional_densities,
    register_init,
    uniform_densities,
)
from dstcl.sparse.dynamic import DynamicSparseTraining
from dstcl.sparse.exporting import export, export_onnx, load_sparse, save_sparse
from dstcl.sparse.flops import ForwardWork, forward_flops, forward_work, uses_per_image
from dstcl.sparse.gradual import GradualMagnitudePruning
from dstcl.sparse.layers import Selection, maskable_weights, select_weights
from dstcl.sparse.linear import CondensedLinear, CSRLinear
from dstcl.sparse.masks import PackedMasks, draw_masks, pack_masks, unpack_masks
from dstcl.sparse.presets import PRESETS
from dstcl.sparse.schedule import UpdateSchedule
from dstcl.sparse.selection import select_top
from dstcl.sparse.training import SparseTraining

__all__ = [
    "GROW",
    "INITS",
    "PRESETS",
    "PRUNE",
    "CSRLinear",
    "CondensedLinear",
    "Criterion",
    "CriterionError",
    "DynamicSparseTraining",
    "ForwardWork",
    "GradualMagnitudePruning",
    "GrowthPlan",
    "LayerView",
    "PackedMasks",
    "Selection",
    "SparseTraining",
    "UpdateSchedule",
    "active_counts",
    "check_criterion",
    "criterion",
    "draw_masks",
    "er_densities",
    "erk_densities",
    "export",
    "export_onnx",
    "forward_flops",
    "forward_work",
    "growth_plan",
    "layer_densities",
    "load_sparse",
    "maskable_weights",
    "pack_masks",
    "proportional_densities",
    "prune_criterion",
    "register_growth",
    "register_init",
    "register_prune",
    "save_sparse",
    "select_top",
    "select_weights",
    "uniform_densities",
    "unpack_masks",
    "uses_per_image",
]
