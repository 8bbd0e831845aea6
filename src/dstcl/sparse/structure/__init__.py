"""Masks that hardware or kernels can use: N:M, blocks, constant fan-in, ablated outputs.

A structure constrains the selection that dynamic sparse training makes anyway: counts stay exact,
ties go to the lower index, frozen weights stay frozen and training resumes bit for bit.
"""

from dstcl.sparse.structure.ablation import AblatingFanIn
from dstcl.sparse.structure.base import Structure, Topology
from dstcl.sparse.structure.blocks import Blocks
from dstcl.sparse.structure.groups import FanIn, NofM
from dstcl.sparse.structure.parse import Given, layer_structures, structure_named

__all__ = [
    "AblatingFanIn",
    "Blocks",
    "FanIn",
    "Given",
    "NofM",
    "Structure",
    "Topology",
    "layer_structures",
    "structure_named",
]
