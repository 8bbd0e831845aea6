"""Runs of several machines as one study."""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dstcl.evaluation.collect import provenance
from dstcl.evaluation.merged_params import MERGED_FROM, parts_of
from dstcl.evaluation.verify import CollectError, Unverified, read_mapping, verify_run
from dstcl.storage import read_json, write_json
from dstcl.study.missing import still_missing, write_missing
from dstcl.study.plan import only_recorded, read_plan, with_the_same_axes, write_plan
from dstcl.study.run import ALL_FILES, RESULT_FILES, Run
from dstcl.study.twins import refuse_twins

# What a run found out; config.json is compared by its digest, metrics.json without times, and of
# the provenance what decides numbers: machines that did the same work differ in the rest.
FINDINGS = ("accuracy", "capacity", "history", "overlap", "masks", "weights")
TIMES = ("seconds", "images_per_second", "files", "checksum")
ORIGINS = ("code", "data_digest", "tasks_digest")


class MergeError(ValueError):
    """Results that do not belong together; the message names the folders and what differs."""


@dataclass
class Merged:
    """What was merged.

    Attributes:
        runs: those that are finished, each with all settings as axes that any study varies.
        source: the folder that each was taken from, by its digest.
        twice: how many were found twice.
        planned: how many the studies plan together.
        missing: lines about planned runs that are nowhere, each with the run's folder.
        unverified: what the runs do not say of themselves.
    """

    preset: str
    runs: list[Run] = field(default_factory=list)
    source: dict[str, Path] = field(default_factory=dict)
    twice: int = 0
    planned: int = 0
    missing: list[str] = field(default_factory=list)
    unverified: Unverified = field(default_factory=Unverified)


def merge(studies: Sequence[Path], out: Path, *, data: Path | None = None) -> Merged:
    """Copy the finished runs of these studies into a new one; ``dstcl collect`` does the rest.

    Every run keeps all its files, so its provenance.json says where it was made. All of them are
    verified. A run that two machines made is kept once if both found the same.

    Args:
        studies: folders with plan.json and runs/, as ``results/<preset>``.
        out: folder of the new study; must be new or empty.
        data: folder with prepared/ and tasks/, to compare runs with; None does not.

    Raises:
        ValueError: two runs differ in a setting that no table shows.
        MergeError: nothing to merge, other presets, a run made with other parameters than its
            plan says, by other code or on other data than those of now, with files that are not
            those it wrote, or twice with different results. ``out`` is not made then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MergeError(f"{out}: already has something in it; merge into a new folder")
    merged = _chosen(studies, data)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        new = Path(folder) / "study"
        for run in merged.runs:
            _copy(merged.source[run.digest], new / "runs" / run.folder)
        _same_data(merged.runs, new)
        write_plan(merged.preset, merged.runs, new / "plan.json")
        merged.planned = write_missing(new, len(merged.runs), merged.missing)
        params = joined_params(studies)
        if params is not None:
            write_json(new / "params.json", params)
        if out.exists():
            out.rmdir()
        new.rename(out)
    return merged


def _chosen(studies: Sequence[Path], data: Path | None) -> Merged:
    """Which runs there are and where each is taken from."""
    plans = [(study, *read_plan(study)) for study in studies]
    presets = {preset for _, preset, _ in plans}
    if len(presets) > 1:
        raise MergeError(f"{', '.join(sorted(presets))}: other presets; a study has one")
    merged = Merged(presets.pop())
    planned: dict[str, Run] = {}
    for study, _, runs in plans:
        for run in runs:
            planned.setdefault(run.digest, run)
            folder = study / "runs" / run.folder
            if not (folder / RESULT_FILES["metrics"]).exists():
                continue
            _check(run, folder, merged.unverified, data)
            if run.digest in merged.source:
                _same_findings(run, merged.source[run.digest], folder)
                merged.twice += 1
            else:
                merged.source[run.digest] = folder
    for run in with_the_same_axes(list(planned.values())):
        if run.digest in merged.source:
            merged.runs.append(run)
        else:
            merged.missing.append(f"{run.folder}: not run yet")
    merged.missing += still_missing(studies, planned)
    refuse_twins(merged.runs, studies[-1])
    if not merged.runs:
        why = "; recorded folders have tables alone" if any(map(only_recorded, studies)) else ""
        raise MergeError(f"{', '.join(map(str, studies))}: no finished run{why}")
    return merged


def _check(run: Run, folder: Path, found: Unverified, data: Path | None) -> None:
    found.runs += 1
    try:
        verify_run(run, folder, found, data, tuple(ALL_FILES))
    except CollectError as error:
        raise MergeError(str(error)) from None


def _same_findings(run: Run, *folders: Path) -> None:
    """Everything but where and how fast: else the order of the folders would decide."""
    kinds = FINDINGS if run.controller is None else (*FINDINGS, "decisions")
    different = [kind for kind in kinds if not _same_file(*(f / ALL_FILES[kind] for f in folders))]
    for kind, compared in (
        ("metrics", lambda values: {k: v for k, v in values.items() if k not in TIMES}),
        ("provenance", lambda values: [values.get(key) for key in ORIGINS]),
    ):
        one, other = (compared(read_mapping(f / RESULT_FILES[kind])) for f in folders)
        if one != other:
            different.append(kind)
    if different:
        raise MergeError(
            f"{' and '.join(map(str, folders))}: the same run with different "
            f"{ALL_FILES[different[0]]}; delete one of the two"
        )


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and filecmp.cmp(one, other, shallow=False)


def _same_data(runs: Sequence[Run], study: Path) -> None:
    """One data set, one set of images: `provenance` compares their digests."""
    try:
        provenance(runs, study / "runs")
    except CollectError as error:
        raise MergeError(str(error).replace(f"{study}/", "")) from None


def _copy(source: Path, target: Path) -> None:
    """The plain files of a run; what else lies there (links, folders) is not a result."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.is_symlink() and not path.name.startswith("."):
            shutil.copy2(path, target / path.name)


def joined_params(studies: Sequence[Path]) -> dict[str, Any] | None:
    """The studies' params.json: the same, or the first with all protocols, and that of each.

    It only describes; what a run is, its plan and its config.json say. A study that is itself of
    several counts as these, so that recording one again adds nothing.

    Raises:
        MergeError: a protocol has other switches in one of them.
    """
    found = [read_json(path) for s in studies if (path := s / "params.json").exists()]
    parts = parts_of({MERGED_FROM: found})
    if len(parts) < 2:
        return parts[0] if parts else None
    protocols: dict[str, Any] = {}
    for params in parts:
        for name, switches in params.get("protocols", {}).items():
            if protocols.setdefault(name, switches) != switches:
                raise MergeError(f"protocol {name}: not the same switches in all params.json")
    return parts[0] | {"protocols": protocols, MERGED_FROM: parts}
