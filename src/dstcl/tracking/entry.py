"""One MLflow run as plain data, to be written or read back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dstcl.study.run import Run

KIND, KEY, CONTENT = "dstcl.kind", "dstcl.key", "dstcl.content"
CONFIGURATION, PARENT, NOTE = "dstcl.configuration", "mlflow.parentRunId", "mlflow.note.content"
# Part of every content hash: raise it when other things are recorded, and the next sync rewrites
# what older versions recorded.
RECORD_VERSION = "3"

FINISHED, FAILED, KILLED, RUNNING = "FINISHED", "FAILED", "KILLED", "RUNNING"
Metric = tuple[str, float, int]  # key, value, step


@dataclass
class Entry:
    """One MLflow run.

    Tag ``dstcl.kind`` tells entries apart: ``seed`` is a run of the study, ``configuration`` the
    parent of those that differ only in their seed, ``figures`` holds the figures.

    Attributes:
        content: digest of all that the entry says; the same entry is never written twice.
        start, end: milliseconds since 1970 (UTC).
        status: one of MLflow's words for it.
        artifacts: files to keep with the run; small ones.
        run_id: MLflow's name for it; None: not in the database yet.
    """

    name: str
    content: str
    tags: dict[str, str]
    start: int
    end: int
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    status: str = FINISHED
    artifacts: list[Path] = field(default_factory=list)
    run_id: str | None = None

    @property
    def key(self) -> str:
        """What it is about; unique in an experiment."""
        return self.tags[KEY]

    @property
    def failed(self) -> bool:
        """Whether it ended without a result."""
        return self.status in (FAILED, KILLED)


def titles(run: Run) -> tuple[str, str]:
    """Names of a run and of its configuration, which all its seeds share."""
    # For people; what varies most comes first: the interface cuts names after 22 characters.
    name = (
        f"{run.method} {run.growth} d{run.density:g} {run.init} {run.dataset}-{run.tasks}tasks "
        f"{run.network} {run.protocol}"
    )
    name += "".join(f" {key}={value}" for key, value in run.varied.items())
    fixed = run.to_dict()
    del fixed["axes"]["seed"]
    return f"{name} seed{run.seed}", f"{name} {digest(json.dumps(fixed, sort_keys=True))[:10]}"


def parameters(run: Run) -> dict[str, str]:
    """Parameters of a run: its axes, varied settings among them, and all that it reads of each
    section as ``section.name``."""
    sections = {
        f"{section}.{name}": value
        for section, values in run.to_dict().items()
        if section not in ("axes", "vary")
        for name, value in values.items()
    }
    return {name: text(value) for name, value in (sections | run.axes()).items()}


def digest(*lines: str) -> str:
    """SHA-256 over lines and the version of what is recorded."""
    return hashlib.sha256("\n".join((RECORD_VERSION, *lines)).encode()).hexdigest()


def text(value: Any) -> str:
    """A parameter or tag: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
