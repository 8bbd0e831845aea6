"""Tracking through a real MLflow server, and studies whose server is not there."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
import warm
from mlflow_server import curve, mlflow_server, recorded
from ports import free_ports
from workspace import Workspace

from dstcl.data.stored import split_digest

pytestmark = [pytest.mark.pipeline, pytest.mark.server]


def test_a_study_does_not_need_its_server(workspace: Workspace, monkeypatch) -> None:
    """Without it the study succeeds and says so; with it the next call sends, then all is done."""
    workspace.draw_few()
    (port,) = free_ports(1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    record = workspace.study / "mlflow.json"
    for failures in (1, 2):
        done = workspace.run()
        assert done.returncode == 0, done.stdout
        assert "no answer" in done.stdout
        written = json.loads(record.read_text())
        assert (written["synced"], written["failures"]) == (False, failures)
    assert len(workspace.runs()) == 1
    server = workspace.folder / "server"
    server.mkdir()
    with mlflow_server(server, port) as address:
        done = workspace.run()
        assert done.returncode == 0, done.stdout
        assert json.loads(record.read_text())["synced"] is True
        assert len(recorded(address)["seed"]) == 1
        assert "Nothing to be done" in workspace.run().stdout


def test_failed_runs_of_a_real_study_are_found(workspace: Workspace, monkeypatch) -> None:
    """One run is refused (its task split becomes another's), one is killed, one finishes."""
    workspace.change({"seeds": [0, 1, 2]}, training={"epochs": 2})
    assert workspace.run("tasks").returncode == 0
    splits = sorted(workspace.folder.glob("data/tasks/*/seed?.json"))
    content = json.loads(splits[1].read_text())
    content["data_digest"] = "other"
    wrapper = workspace.folder / "bin" / "dstcl"
    wrapper.parent.mkdir()
    other = wrapper.parent / "other.json"
    other.write_text(json.dumps(content | {"digest": split_digest(content)}))
    # At the last moment: before, Snakemake would make the split again. Seed 2 is killed as by the
    # kernel: nothing is said, nothing is cleaned up.
    wrapper.write_text(
        "#!/bin/sh\n"
        f'case "$*" in "train "*\'"seed": 1,\'*) cp {other} {splits[1]};; esac\n'
        'case "$*" in "train "*\'"seed": 2,\'*) echo working >&2; kill -KILL $$;; esac\n'
        f'exec {warm.commands()}/dstcl "$@"\n'
    )
    wrapper.chmod(0o755)
    environment = workspace.environment(warm.commands())
    environment["PATH"] = f"{wrapper.parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        workspace.command("train", "--config", "preset=quick", commands=warm.commands()),
        cwd=workspace.folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert len(workspace.runs()) == 1
    assert workspace.run("plan").returncode == 0
    track = [str(warm.commands() / "dstcl"), "track", "results/quick"]
    done = subprocess.run(track, cwd=workspace.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 new, 0 replaced, 0 unchanged runs (2 of them failed)")
    runs = recorded(f"sqlite:///{workspace.folder / 'mlflow.db'}")["seed"]
    found = {run.data.params["seed"]: run for run in runs}
    assert {seed: run.info.status for seed, run in found.items()} == {
        "0": "FINISHED",
        "1": "FAILED",
        "2": "KILLED",
    }
    assert "made for other data" in found["1"].data.tags["dstcl.error"]
    assert "its log ends: working" in found["2"].data.tags["dstcl.error"]


def test_a_study_can_be_watched(workspace: Workspace) -> None:
    """Curves grow while a run trains, and the watch ends with the study."""
    workspace.change(training={"epochs": 24})
    assert workspace.run("plan").returncode == 0
    track = [str(warm.commands() / "dstcl"), "track", "results/quick", "--watch", "0.5"]
    database = f"sqlite:///{workspace.folder / 'mlflow.db'}"
    watch = subprocess.Popen(track, cwd=workspace.folder, stdout=subprocess.PIPE, text=True)
    study = subprocess.Popen(
        workspace.command("train"),
        cwd=workspace.folder,
        env=workspace.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    seen: set[int] = set()
    try:
        deadline = time.monotonic() + 300
        while watch.poll() is None and time.monotonic() < deadline:
            time.sleep(1)
            if (workspace.folder / "mlflow.db").exists() and study.poll() is None:
                # Whoever looks sees a whole database, from the first moment.
                running = [r for r in recorded(database)["seed"] if r.info.status == "RUNNING"]
                seen |= {len(curve(database, run, "train_loss")) for run in running}
        assert study.wait(300) == 0
        said, _ = watch.communicate(timeout=300)
    finally:
        watch.kill()
        study.kill()
    assert watch.returncode == 0, said
    assert len(seen - {0}) >= 2, f"points seen while training: {seen}"
    (run,) = recorded(database)["seed"]
    assert run.info.status == "FINISHED"
    assert len(curve(database, run, "train_loss")) == 120
