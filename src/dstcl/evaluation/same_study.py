"""Whether two folders hold the same study: preset, settings and data; and which runs both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import all_axes, varied_axes
from dstcl.evaluation.rounding import GROUP
from dstcl.storage import read_json

AXES_OF_PRESET = ("benchmarks", "protocols", "networks", "methods", "densities", "inits", "growths")
"""Keys of a preset that say which runs there are; a study may have more or fewer of them."""
NO_SETTING = (*AXES_OF_PRESET, "seeds", "vary", "extra", "part")


class Incomparable(ValueError):
    """Two studies that are not the same study; the message is one line that says what differs."""


def same_runs(
    study: Path,
    reference: Path,
    here: pd.DataFrame,
    recorded: pd.DataFrame,
    *,
    digests: bool = True,
) -> pd.DataFrame:
    """Runs that both studies have: `GROUP`, digest, and accuracies ``here`` and ``recorded``.

    Args:
        study, reference: folders, for params.json and the message.
        here, recorded: summary of either study.
        digests: whether runs must have equal digests, which say that their settings are the same.

    Raises:
        Incomparable: another preset, other settings, or no run in common.
        ValueError: params.json is damaged; names it.
    """
    params = [_params(folder) for folder in (study, reference)]
    names = [one.get("preset") for one in params]
    if None not in names and len(set(names)) > 1:
        raise Incomparable(f"{study} is of preset {names[0]}, {reference} of {names[1]}")
    varied = [", ".join(varied_axes(table)) or "nothing" for table in (here, recorded)]
    if varied[0] != varied[1]:
        raise Incomparable(f"{study} varies {varied[0]}, {reference} {varied[1]}")
    axes = all_axes(here)
    both = here.merge(recorded, on=axes, suffixes=("", "_recorded"))
    if both.empty:
        raise Incomparable(f"{study} and {reference} have no run in common")
    other = both[both["digest"] != both["digest_recorded"]]
    if digests and len(other):
        setting = _differing_setting(*params) or f"runs as {_words(other.iloc[0], axes)}"
        raise Incomparable(
            f"{study} has other settings than {reference} in {len(other)} of {len(both)} runs: "
            f"{setting}"
        )
    columns = {"acc": "here", "acc_recorded": "recorded"}
    return both[[*GROUP, "dataset", "digest", *columns]].rename(columns=columns)


def check_data(
    study: Path, reference: Path, runs: pd.DataFrame, here: pd.DataFrame, recorded: pd.DataFrame
) -> None:
    """Refuse to compare runs that were trained on other images.

    Args:
        study, reference: folders, for the message.
        runs: that both have (`same_runs`).
        here, recorded: provenance of either study; without rows nothing is known.

    Raises:
        Incomparable: naming the data set and both digests.
    """
    both = here[["digest", "data_digest"]].merge(recorded[["digest", "data_digest"]], on="digest")
    both = both.merge(runs[["digest", "dataset"]], on="digest").dropna()
    other = both[both["data_digest_x"] != both["data_digest_y"]]
    if len(other):
        first = other.iloc[0]
        raise Incomparable(
            f"{study} has other images of {first['dataset']} (data digest "
            f"{first['data_digest_x']}) than {reference} ({first['data_digest_y']})"
        )


def _params(folder: Path) -> dict[str, Any]:
    """params.json; {} where there is none, as beside studies that were recorded by older code."""
    path = folder / "params.json"
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: no configuration of a study")
    return content


def _differing_setting(here: Mapping[str, Any], recorded: Mapping[str, Any]) -> str:
    """The first setting that is another; "" if none is, or it is not known."""
    ours, theirs = (dict(_settings(params)) for params in (here, recorded))
    for key in ours:
        if key in theirs and ours[key] != theirs[key]:
            return f"{key} is {ours[key]!r}, recorded {theirs[key]!r}"
    return ""


def _settings(params: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values of the preset's sections and of the protocols."""
    name = str(params.get("preset"))
    preset = _mapping(_mapping(params.get("presets")).get(name))
    sections = {f"presets.{name}.{key}": preset[key] for key in preset if key not in NO_SETTING}
    protocols = _mapping(params.get("protocols"))
    for section, values in (
        sections | {f"protocols.{key}": value for key, value in protocols.items()}
    ).items():
        for key, value in _mapping(values).items():
            yield f"{section}.{key}", value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _words(row: pd.Series[Any], axes: list[str]) -> str:
    return " ".join(f"{axis} {row[axis]}" for axis in axes)
