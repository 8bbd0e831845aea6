"""Which code stands behind a run: the loop, its own network and method, and its plug-ins.

Another network, method or figure changes no digest but its own. Standard library only: rules carry
the digest as a parameter, and planning must load neither torch nor a user's files.
"""

from __future__ import annotations

from functools import cache

from dstcl import plugins
from dstcl.codedigest import code_digest
from dstcl.networks import network_modules
from dstcl.study.controllers import controller_facts
from dstcl.study.run import Run

LOOP = "cli.train"


def training_code(run: Run) -> str:
    """Sixteen hexadecimal digits over all code that can change what the run computes.

    Raises:
        PluginError: a plug-in's file is not there.
    """
    network = run.network_source.source
    entries = [LOOP, *(() if plugins.is_plugin(network) else network_modules(network))]
    method = run.facts.module
    if not plugins.is_plugin(run.method_source.source):
        entries.append(method.removeprefix("dstcl."))
    if run.controller and not plugins.is_plugin(run.controller.source):
        module = controller_facts(run.controller.source).module
        entries.append(module.removeprefix("dstcl."))
    return _digest(tuple(entries), tuple(sorted(set(run.plugins().values()))))


@cache
def _digest(entries: tuple[str, ...], names: tuple[str, ...]) -> str:
    extra = [f"{name} {plugins.code_of(name)}" for name in names]
    return code_digest(*entries, extra=extra)
