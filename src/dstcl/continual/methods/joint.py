"""Joint training: the bound without a sequence."""

from __future__ import annotations

from dstcl.continual.methods.base import Dense


class Joint(Dense):
    """One dense network learns all tasks at once."""

    joint = True
