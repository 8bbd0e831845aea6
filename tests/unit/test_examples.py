"""Every example runs from any folder, and says what it did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dstcl.sparse import check_criterion, growth_plan

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def output(example: Path, folder: Path) -> str:
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    # Small tensors gain nothing from threads, and lose much where cores are shared.
    threads = {"OMP_NUM_THREADS": "1"}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | threads
    done = subprocess.run(
        [sys.executable, str(example)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    said = output(example, tmp_path)
    assert said.strip()
    if example.stem == "own_loop":
        updates = [line for line in said.splitlines() if line.startswith("update ")]
        assert len(updates) == 6
        assert all("density 0.100" in line for line in updates)
    if example.stem == "adaptive":
        assert said.count("density 0.200") == 12
        assert "growth gradient (free 0.7998 in 0.weight; threshold 0.9)" in said
        assert "update_every 40" in said
        assert "share of gradient 0." in said


def test_the_own_growth_can_be_named_in_params_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "examples")
    monkeypatch.setattr(sys, "path", list(sys.path))
    check_criterion("random-then-own_growth:by_age", "grow")
    assert growth_plan("own_growth:by_age").needs_gradient


def test_the_own_tasks_are_learned_and_kept(tmp_path: Path) -> None:
    said = output(ROOT / "examples" / "own_tasks.py", tmp_path)
    assert "forgetting 0.00" in said
    assert "ACC 1.00" in said


def test_tasks_of_the_own_method_share_nothing(tmp_path: Path) -> None:
    said = output(ROOT / "examples" / "own_method.py", tmp_path)
    # Half of 3200 weights; then, of 1600 and of 320 free ones, all but a fifth.
    assert [f"{n} new, 0 shared" in said for n in (1600, 1280, 256)] == [True] * 3


def test_the_structured_example_exports_what_it_trained(tmp_path: Path) -> None:
    said = output(ROOT / "examples" / "structured.py", tmp_path)
    assert "0.weight: [12] of 64 inputs" in said
    assert said.count("CondensedLinear(") == 2
    assert "dense model the same: True" in said
