"""Other values of a run's axes and settings, by their keys; standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dstcl.study.fields import read_settings
from dstcl.study.methods import method_settings
from dstcl.study.parts import AXES, SECTIONED, MethodSource, NetworkSource
from dstcl.study.settings import SECTIONS


def changed_fields(fields: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a run that other values of axes or settings change, as `Run.changed` has them.

    Args:
        fields: of the run as it is, or of one that is not built yet.
        values: by axis or setting.

    Raises:
        ValueError: as of `Run.changed`.
    """
    sections: dict[str, dict[str, Any]] = {}
    made: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = (SECTIONED.get(key) or key).partition(".")
        if key in AXES:
            made[key] = value
        elif name and section in (*SECTIONS, "method"):
            sections.setdefault(section, {})[name] = value
        else:
            raise ValueError(f"{key}: no axis and no setting")
    if "network" in made:
        made["network_source"] = NetworkSource(made["network"])
    method = fields["method_source"]
    if "method" in made:
        method = MethodSource(made["method"], method_settings(made["method"], {}))
    own = sections.pop("method", {})
    settings = method_settings(method.source, method.settings | own)
    made["method_source"] = MethodSource(method.source, settings)
    for section, given in sections.items():
        present = vars(fields[section])
        made[section] = read_settings(SECTIONS[section], present | given, section)
    return made
