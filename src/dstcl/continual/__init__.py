"""Continual learning: isolation of finished tasks, the learner, and what a run leaves behind."""

from dstcl.continual.growth_plan import GrowthPlan
from dstcl.continual.learner import Learner, Outcome, learner_of
from dstcl.continual.library import Learned, learn
from dstcl.continual.subnets import DivergedError, InvariantError, Subnet, SubnetStore

__all__ = [
    "DivergedError",
    "GrowthPlan",
    "InvariantError",
    "Learned",
    "Learner",
    "Outcome",
    "Subnet",
    "SubnetStore",
    "learn",
    "learner_of",
]
