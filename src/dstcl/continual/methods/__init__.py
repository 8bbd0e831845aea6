"""Methods of continual learning: what a task trains, and what the next one finds.

Every method runs in the same loop (`dstcl.continual.learner`) with the same images, epochs and
optimiser, and is one file here: one class with its facts and, where it has any, its settings. A
method from outside is named as ``module:attribute``; docs/extending.md has an example.
"""

from __future__ import annotations

from dstcl import plugins
from dstcl.continual.methods.base import Dense, Method, OpenTask
from dstcl.plugins import PluginError
from dstcl.study.methods import BUILT_IN
from dstcl.study.run import Run

__all__ = ["Dense", "Method", "OpenTask", "method_of"]


def method_of(run: Run) -> Method:
    """The run's method, with its settings, for a training that begins.

    Raises:
        PluginError: its name leads to no subclass of `Method` that can train; one line that names
            it.
    """
    name = run.method_source.source
    found = plugins.load(BUILT_IN.get(name, name))
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise PluginError(f"methods: {name!r} is no subclass of dstcl.continual.methods.Method")
    if found.training is Method.training:
        raise PluginError(f"methods: {name!r} does not say how a task is trained: no training()")
    return found(run)
