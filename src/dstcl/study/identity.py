"""What decides the numbers of a run, and so its digest.

A run's digest covers its axes and, of each section, the settings that its method reads, where they
differ from their *birth defaults*: the value that each setting had when it was introduced, kept in
birth_defaults.json. A new setting whose birth default changes nothing renames no run, and a setting
that a method does not read renames none of its runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstcl.plugins import is_plugin
from dstcl.study.fields import defaults, plain, read_settings, setting_names
from dstcl.study.growths import THEN, growth_by_task
from dstcl.study.methods import method_facts, method_settings
from dstcl.study.parts import AXES, SECTIONED, MethodSource, NetworkSource
from dstcl.study.settings import SECTIONS, AxisValues

if TYPE_CHECKING:
    from dstcl.study.run import Run

OF_METHODS = frozenset(
    f"switches.{name}"
    for name in ("mask_counts", "free_weights", "regrown_frozen", "candidates", "stop_at")
)
"""Switches that count only for methods that say they read them; like all of the topology."""


@cache
def birth_defaults() -> dict[str, dict[str, Any]]:
    """By section, and for each built-in method under ``methods``: setting and birth default."""
    return json.loads(Path(__file__).with_name("birth_defaults.json").read_text())


def decides(run: Run, key: str) -> bool:
    """Whether a setting can change the numbers of a run; key as in ``topology.prune_rate``."""
    section, _, name = key.partition(".")
    if section == "method":
        return name in run.method_source.settings
    if key == "training.test_batch_size":
        return run.switches.batch_norm == "batch"
    if key in ("training.lr_milestones", "training.lr_factor"):
        return run.training.schedule == "milestones"
    if key == "topology.switch_at" and THEN not in run.growth:
        return False
    if section == "topology" or key in OF_METHODS:
        reads = run.facts.reads
        return key in reads or section in reads
    return True


def identity(run: Run) -> dict[str, Any]:
    """What the digest covers: axes, and what is read and differs from its birth default."""
    found: dict[str, Any] = {"axes": {axis: getattr(run, axis) for axis in AXES}}
    born = birth_defaults()
    for section in SECTIONS:
        values = {
            name: value
            for name, value in _read(run, section)
            if name in _required(section) or born[section].get(name, ...) != value
        }
        if values:
            found[section] = values
    if (network := run.network_source.to_dict()) != {"from": run.network}:
        found["network"] = network
    born_method = born["methods"].get(run.method_source.source, {})
    method = {
        name: value
        for name, value in plain(run.method_source.settings).items()
        if born_method.get(name, ...) != value
    }
    if run.method_source.source != run.method:
        method["from"] = run.method_source.source
    if method:
        found["method"] = method
    return found


def description(run: Run) -> dict[str, Any]:
    """The run as JSON has it: all that is read, defaults spelled out, and what it varies."""
    found: dict[str, Any] = {"axes": {axis: getattr(run, axis) for axis in AXES}}
    if run.vary:
        found["vary"] = list(run.vary)
    for section in SECTIONS:
        found[section] = dict(_read(run, section))
    # Of no consequence for the numbers, but for memory and speed.
    found["training"]["test_batch_size"] = run.training.test_batch_size
    found["network"] = run.network_source.to_dict()
    found["method"] = run.method_source.to_dict()
    return found


def read_description(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a run from `description` or `identity`: what is left out has its birth default.

    Raises:
        ValueError: one line that names the key, its value and what is allowed.
    """
    where = "run description"
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: a mapping is needed, not {values!r}")
    allowed = ("axes", "vary", *SECTIONS, "network", "method")
    if unknown := [key for key in values if key not in allowed]:
        raise ValueError(f"{where}: unknown {unknown[0]!r}; allowed: {', '.join(allowed)}")
    try:
        read = read_settings(AxisValues, values.get("axes", {}), "axes")
        axes = {axis: getattr(read, axis) for axis in AXES}
        growth_by_task(axes["growth"], axes["tasks"])
        network = _network(values.get("network", {}), axes["network"])
        method = dict(_mapping("method", values.get("method", {})))
        source = _text("method.from", method.pop("from", axes["method"]))
        facts = method_facts(source)
        settings = method_settings(source, _born(source) | method)
        born = birth_defaults()
        sections: dict[str, Any] = {}
        for name, kind in SECTIONS.items():
            given = _mapping(name, values.get(name, {}))
            unread = {
                key: value
                for key, value in born[name].items()
                if key not in _required(name) or not _counts(facts.reads, f"{name}.{key}")
            }
            sections[name] = read_settings(kind, unread | dict(given), name)
    except ValueError as error:
        raise ValueError(f"{where}: {' '.join(str(error).split())}") from None
    vary = values.get("vary", [])
    if not isinstance(vary, list) or not all(isinstance(key, str) for key in vary):
        raise ValueError(f"{where}: vary is {vary!r}, not a list of keys")
    if unknown := [key for key in vary if not _is_setting(key)]:
        raise ValueError(f"{where}: vary: {unknown[0]!r} is no setting")
    return {
        **axes,
        **sections,
        "network_source": network,
        "method_source": MethodSource(source, settings),
        "vary": tuple(vary),
    }


def _is_setting(key: str) -> bool:
    section, _, name = key.partition(".")
    return key in SECTIONED.values() or (section == "method" and name.isidentifier())


def _read(run: Run, section: str) -> Iterator[tuple[str, Any]]:
    """The settings of a section that decide a run's numbers, as plain values."""
    settings = getattr(run, section)
    for name in setting_names(SECTIONS[section]):
        if decides(run, f"{section}.{name}"):
            yield name, plain(getattr(settings, name))


def _mapping(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{key}: a mapping is needed, not {value!r}")
    return value


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key}: {value!r}; should be of type str")
    return value


def _network(values: Any, label: str) -> NetworkSource:
    if not isinstance(values, Mapping) or values.keys() - {"from", "head", "arguments"}:
        raise ValueError(f"network: {values!r}; allowed: from, head, arguments")
    head = values.get("head")
    return NetworkSource(
        _text("network.from", values.get("from", label)),
        None if head is None else _text("network.head", head),
        dict(_mapping("network.arguments", values.get("arguments", {}))),
    )


def _born(source: str) -> dict[str, Any]:
    return {} if is_plugin(source) else dict(birth_defaults()["methods"].get(source, {}))


def _counts(reads: tuple[str, ...], key: str) -> bool:
    """Whether a method that reads these keys has to be told this one."""
    section = key.partition(".")[0]
    if section == "topology" or key in OF_METHODS:
        return key in reads or section in reads
    return True


@cache
def _required(section: str) -> frozenset[str]:
    kind = SECTIONS[section]
    return frozenset(setting_names(kind)) - defaults(kind).keys()
