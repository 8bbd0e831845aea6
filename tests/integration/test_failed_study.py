"""A study in which a run fails: what is said at the end, what is there, and what comes after."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from workspace import DRAWN, REPOSITORY, Workspace

pytestmark = pytest.mark.pipeline


def test_finished_runs_of_a_failed_study_are_shown_until_all_are_there(
    workspace: Workspace,
) -> None:
    workspace.draw_few()
    workspace.change({"vary": {"training.learning_rate": [0.01, 1.0e30]}}, training={"epochs": 1})
    failed = workspace.run()
    assert failed.returncode == 1
    assert "results/quick: 2 runs: 1 finished, 1 failed, 0 left" in failed.stdout
    assert "task 1, epoch 1: the loss is not finite" in failed.stdout
    assert "log: logs/quick/train/mnist5k-5tasks/" in failed.stdout
    assert "call the same command again; finished runs are kept" in failed.stdout
    assert "Traceback" not in failed.stdout
    partial = workspace.study / "partial"
    assert "Not the whole study: 1 of 2" in (partial / "report.html").read_text()
    assert len(list((partial / "figures").glob("*.svg"))) == len(DRAWN)
    assert not (workspace.study / "report.html").exists(), "that is for the whole study"
    workspace.change({"vary": {"training.learning_rate": [0.01]}})
    again = workspace.run()
    assert again.returncode == 0, again.stdout
    assert "Not the whole study" not in (workspace.study / "report.html").read_text()
    assert not partial.exists()


def test_a_broken_claims_file_is_told_before_anything_is_planned(
    tmp_path: Path, workspace: Workspace
) -> None:
    clone = shutil.copytree(
        REPOSITORY, tmp_path / "clone", ignore=shutil.ignore_patterns(".*", "results", "data")
    )
    (clone / "reference" / "claims.yaml").write_text("claims: ]")
    command = workspace.command("--dry-run")
    command[command.index("--snakefile") + 1] = str(clone / "workflow" / "Snakefile")
    done = subprocess.run(
        command, cwd=workspace.folder, env=workspace.environment(), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "claims.yaml: line 1 is not YAML" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
