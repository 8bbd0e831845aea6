"""Continual learning: isolation of finished tasks, the learner, and what a run leaves behind."""

from dstcl.continual.learner import Learner, Outcome, learner_of
from dstcl.continual.subnets import InvariantError, Subnet, SubnetStore

__all__ = ["InvariantError", "Learner", "Outcome", "Subnet", "SubnetStore", "learner_of"]
