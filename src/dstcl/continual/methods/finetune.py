"""Fine-tuning: the lower bound."""

from __future__ import annotations

from dstcl.continual.methods.base import Dense
from dstcl.continual.subnets import SequentialStore


class FineTuning(Dense):
    """One dense network goes from task to task and forgets."""

    store = SequentialStore
    keeps_tasks = False
