"""A network per task."""

from __future__ import annotations

from dstcl.continual.methods.base import Dense
from dstcl.continual.subnets import SeparateStore


class Separate(Dense):
    """A dense network for each task: no sharing and no forgetting, at T times the memory."""

    own_networks = True
    store = SeparateStore
