"""The plan of a study: the list of its runs as a file that every later job reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dstcl.storage import read_json, write_json
from dstcl.study.recorded import recorded_run
from dstcl.study.run import FOLDER_NAME, Run


def write_plan(preset: str, runs: Sequence[Run], out: Path) -> None:
    """Write preset and runs, each with the folder it belongs in."""
    entries = [{"folder": run.folder, "digest": run.digest, "run": run.to_dict()} for run in runs]
    write_json(out, {"preset": preset, "runs": entries})


def with_the_same_axes(runs: Sequence[Run]) -> list[Run]:
    """These runs as of one study: each varies all settings that any of them varies.

    A run has a value of a setting whether or not its own study varied it. Its digest stays, its
    folder does not.
    """
    several = sorted(dict.fromkeys(run.vary for run in runs), key=len, reverse=True)
    vary = tuple(dict.fromkeys(key for keys in several for key in keys))
    return [run if run.vary == vary else replace(run, vary=vary) for run in runs]


def is_plan_of(path: Path, preset: str, folders: Iterable[str]) -> bool:
    """Whether a file is the plan of these runs in this order, by folders, which end in digests."""
    try:
        content = read_json(path)
        planned = [entry["folder"] for entry in content["runs"]]
        return content["preset"] == preset and planned == list(folders)
    except (KeyError, TypeError, ValueError, OSError):
        return False


def only_recorded(study: Path) -> bool:
    """Whether a folder has the tables of a study and none of its runs."""
    return (study / "summary.csv").exists() and not (study / "runs").exists()


def read_plan(study: Path) -> tuple[str, list[Run]]:
    """Preset and runs of the plan in a study's folder.

    Raises:
        ValueError: naming the file, if it is no plan.
    """
    path = study / "plan.json"
    if not path.exists() and only_recorded(study):
        raise ValueError(
            f"{path}: no such file; the study was recorded before plans were kept, so that it can "
            "be read and drawn, but not added to, merged, judged or reported again"
        )
    content: dict[str, Any] = read_json(path)
    try:
        preset = content["preset"]
        # It names folders too: of logs, for one.
        if not isinstance(preset, str) or not FOLDER_NAME.fullmatch(preset):
            raise ValueError(f"preset {preset!r} is no name of a preset")
        return preset, [recorded_run(entry["run"]) for entry in content["runs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a plan ({error}); delete it and run again") from None
