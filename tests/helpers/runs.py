"""Runs for tests: those of preset quick, changed where a test asks for it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dstcl.continual.learner import Learner, Outcome, learner_of
from dstcl.data.stored import Prepared, content_digest, split_digest
from dstcl.storage import write_tensors
from dstcl.study.load import load_file, runs
from dstcl.study.run import Run

REPOSITORY = Path(__file__).parents[2]
CPU = torch.device("cpu")


def quick_run(**values: Any) -> Run:
    """The first run of preset quick, changed."""
    return changed(runs(load_file(REPOSITORY / "params.yaml", "quick"))[0], **values)


def changed(run: Run, **values: Any) -> Run:
    """A run with other axes or settings, each by its own name: ``epochs=2, head="shared"``."""
    of_methods = ("strength", "scores", "phases", "accuracy_drop", "grown")
    own = {name: f"method.{name}" for name in of_methods}
    return run.changed({own.get(name, name): value for name, value in values.items()})


def task_split(data: Prepared | str, tasks: list[list[int]], **more: Any) -> dict[str, Any]:
    """The content of a task file.

    Args:
        data: what it is for, or the digest of that.
    """
    digest = data if isinstance(data, str) else data.digest
    content = {"data_digest": digest, "order": "seed0", "tasks": tasks, **more}
    return content | {"digest": split_digest(content)}


def write_prepared(path: Path, data: Prepared) -> Prepared:
    """Write a prepared file with the digest of its content; gives back what is in it."""
    data = replace(data, digest=content_digest(data))
    fields = asdict(data)
    tensors = {key: fields.pop(key) for key in ("images", "labels", "is_test")}
    write_tensors(path, tensors, fields)
    return data


def learner(run: Run, data: Prepared, tasks: list[list[int]], **more: Any) -> Learner:
    """The learner of a run on the processor."""
    return learner_of(run, data, tasks, more.pop("device", CPU), **more)


def fit(run: Run, data: Prepared, tasks: list[list[int]], **more: Any) -> Outcome:
    """What a run measures, trained on the processor."""
    return learner(run, data, tasks, **more).fit()
