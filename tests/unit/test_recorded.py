"""Runs that older code recorded: every reader says so, which keys are missing and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dstcl.evaluation.collect import collect
from dstcl.evaluation.consistency import check_study
from dstcl.evaluation.merge import merge
from dstcl.jobs.loaded import load_run
from dstcl.storage import write_json, write_tensors
from dstcl.study.recorded import read_config
from dstcl.tracking import sync
from dstcl.tracking.register import register
from helpers.finished import small_study
from helpers.runs import quick_run

RUN = quick_run(tasks=2, epochs=2)
FLAT = {"dataset": "mnist5k", "tasks": 2, "protocol": "corrected", "seed": 0, "epochs": 2}
"""How a run was described before its settings had sections."""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return small_study(tmp_path / "results" / "tiny", [RUN])


READERS: dict[str, Callable[[Path, Path], Any]] = {
    "load_run": lambda study, folder: load_run(folder),
    "collect": lambda study, folder: collect([RUN], study),
    "merge": lambda study, folder: merge([study], study.parent / "merged"),
    "config check": lambda study, folder: check_study([RUN], study),
    "track": lambda study, folder: sync("tiny", [folder], uri=f"sqlite:///{study / 'm.db'}"),
    "register": lambda study, folder: register(folder, uri=f"sqlite:///{study / 'm.db'}"),
}


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("lost", [None, "data", "method"])
def test_a_run_of_older_code_is_told_by_its_missing_keys(
    study: Path, reader: str, lost: str | None
) -> None:
    path = study / "runs" / RUN.folder / "config.json"
    described = RUN.to_dict()
    missing = lost or "axes, data, switches, training, topology, engine, network, method"
    write_json(path, {k: v for k, v in described.items() if k != lost} if lost else FLAT)
    assert refusal(lambda: READERS[reader](study, path.parent)) == (
        f"{path}: written by older code, without {missing} "
        "(provenance.json says by which version); delete the folder and run again"
    )
    write_json(path, described)
    assert read_config(path.parent) == RUN


def test_a_plan_of_older_code_is_told_by_its_missing_keys(study: Path) -> None:
    plan = json.loads((study / "plan.json").read_text())
    plan["runs"][0]["run"] = FLAT
    write_json(study / "plan.json", plan)
    for reader in ("merge", "config check"):
        message = refusal(lambda reader=reader: READERS[reader](study, study))
        assert message.startswith(f"{study / 'plan.json'}: not a plan (written by older code, ")
        assert message.endswith("; delete it and run again")


@pytest.mark.parametrize(
    ("metadata", "missing"),
    [
        ({}, "data, outputs"),
        ({"outputs": 2}, "data"),
        ({"outputs": 2, "data": {"image": [1, 28, 28], "mean": [0], "std": [1]}}, "class_names"),
    ],
)
def test_weights_of_older_code_are_told_by_what_they_do_not_say(
    study: Path, metadata: dict[str, Any], missing: str
) -> None:
    path = study / "runs" / RUN.folder / "weights.safetensors"
    write_tensors(path, {}, {"digest": RUN.digest, **metadata})
    message = refusal(lambda: load_run(path.parent))
    assert message.startswith(f"{path}: written by older code, without {missing} (")
