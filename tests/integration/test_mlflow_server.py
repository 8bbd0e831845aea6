"""Tracking through a real MLflow server, and studies whose server is not there."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from mlflow_server import mlflow_server
from ports import free_ports
from workspace import BIN, Workspace

from dstcl.tracking import SyncReport, TrackingError, sync
from dstcl.tracking.register import register


def recorded(address: str) -> dict[str, list]:
    """Runs of experiment dstcl/quick by kind."""
    from mlflow import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("dstcl/quick")
    runs: dict[str, list] = {"seed": [], "configuration": [], "figures": []}
    for run in client.search_runs([experiment.experiment_id]) if experiment else ():
        runs[run.data.tags["dstcl.kind"]].append(run)
    return runs


def curve(address: str, run, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    history = MlflowClient(address).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in history)


def test_a_server_gets_what_a_file_gets(finished: Workspace, tmp_path: Path) -> None:
    """Runs, curves, files and a model; twice changes nothing."""
    import mlflow

    figures = sorted((finished.study / "figures").glob("*.png"))
    with mlflow_server(tmp_path) as address:
        assert sync("quick", finished.runs(), figures, uri=address) == SyncReport(created=4)
        assert sync("quick", finished.runs(), figures, uri=address) == SyncReport(unchanged=4)
        there = recorded(address)
        here = recorded(f"sqlite:///{finished.folder / 'mlflow.db'}")
        assert {kind: len(runs) for kind, runs in there.items()} == {
            "seed": 4,
            "configuration": 2,
            "figures": 1,
        }
        for kind, runs in here.items():
            by_name = {run.info.run_name: run for run in there[kind]}
            for run in runs:
                other = by_name[run.info.run_name]
                assert other.data.params == run.data.params
                assert other.data.metrics == run.data.metrics
                own = "mlflow.parentRunId"
                assert other.data.tags.keys() == run.data.tags.keys()
                assert all(other.data.tags[k] == v for k, v in run.data.tags.items() if k != own)
                times = "start_time", "end_time", "status"
                assert [getattr(other.info, t) for t in times] == [
                    getattr(run.info, t) for t in times
                ]
        seed = there["seed"][0]
        twin = next(r for r in here["seed"] if r.info.run_name == seed.info.run_name)
        own = f"sqlite:///{finished.folder / 'mlflow.db'}"
        assert curve(address, seed, "train_loss") == curve(own, twin, "train_loss")
        place = f"{address}/get-artifact?path={figures[0].name}"
        with urllib.request.urlopen(f"{place}&run_uuid={there['figures'][0].info.run_id}") as file:
            assert file.read() == figures[0].read_bytes()

        model = register(finished.runs()[0], uri=address)
        assert (model.version, model.new) == ("1", True)
        assert register(finished.runs()[0], uri=address).new is False
        mlflow.set_tracking_uri(address)
        try:
            loaded = mlflow.pyfunc.load_model(f"models:/{model.name}/1")
        finally:
            mlflow.set_tracking_uri(None)
        images = np.zeros((3, 1, 28, 28), np.uint8)
        assert loaded.predict(images, params={"task": 5}).shape == (3, 2)


def test_a_server_that_dies_in_the_middle_ends_the_sync_in_one_line(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a later sync completes it."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    log_batch, (port,) = MlflowClient.log_batch, free_ports(1)
    with mlflow_server(tmp_path, port) as address:

        def dying(client, *arguments, **options):
            if address.process.poll() is None:
                address.kill()
            return log_batch(client, *arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(TrackingError) as caught:
            patch.setattr(MlflowClient, "log_batch", dying)
            sync("quick", finished.runs(), uri=address)
        assert len(str(caught.value).splitlines()) == 1
    with mlflow_server(tmp_path, port) as address:
        assert sync("quick", finished.runs(), uri=address).created == 4
        assert len(recorded(address)["seed"]) == 4
        assert len(recorded(address)["configuration"]) == 2


def test_a_study_does_not_need_its_server(workspace: Workspace, monkeypatch) -> None:
    """Without it the study succeeds and says so; with it the next call sends, then all is done."""
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
    """One run is refused (its task split is another's), one is killed, one finishes."""
    workspace.change({"seeds": [0, 1, 2]}, training={"epochs": 2})
    assert workspace.run("tasks").returncode == 0
    splits = sorted(workspace.folder.glob("data/tasks/*/seed*.json"))
    content = json.loads(splits[1].read_text())
    splits[1].write_text(json.dumps(content | {"data_digest": "other"}))
    wrapper = workspace.folder / "bin" / "dstcl"
    wrapper.parent.mkdir()
    # Seed 2 is killed as the kernel would: nothing is said, nothing is cleaned up.
    wrapper.write_text(
        "#!/bin/sh\n"
        'case "$*" in "train "*\'"seed": 2,\'*) echo working >&2; kill -KILL $$;; esac\n'
        f'exec {BIN}/dstcl "$@"\n'
    )
    wrapper.chmod(0o755)
    environment = workspace.environment()
    environment["PATH"] = f"{wrapper.parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        workspace.command("train", "--config", "preset=quick"),
        cwd=workspace.folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert len(workspace.runs()) == 1
    assert workspace.run("plan_study").returncode == 0
    track = [str(BIN / "dstcl"), "track", "results/quick"]
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
    workspace.change(training={"epochs": 40})
    assert workspace.run("plan_study").returncode == 0
    track = [str(BIN / "dstcl"), "track", "results/quick", "--watch", "0.5"]
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
    assert len(curve(database, run, "train_loss")) == 200
