"""Benchmarks must run where there is nothing but Python and torch."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dstcl.config import load_file, runs
from dstcl.storage import read_json

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_the_run_of_the_benchmarks_is_one_of_preset_paper() -> None:
    paper = runs(load_file(FOLDER.parent / "params.yaml", "paper"))
    assert read_json(FOLDER / "run.json") == paper[0].to_dict(), "write benchmarks/run.json anew"


@pytest.mark.parametrize("script", ["engine", "ensemble", "speed", "dst_step"])
def test_what_measures_a_gpu_needs_only_what_training_needs(script: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import {script}; "
        "missing = {'pydantic', 'snakemake', 'mlflow', 'dvc', 'torchvision'} & sys.modules.keys(); "
        "assert not missing, missing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("record", sorted(FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_records_name_no_place_on_the_machine_that_made_them(record: Path) -> None:
    assert not re.search(r"[ \"](/|[A-Z]:)\w", record.read_text())
