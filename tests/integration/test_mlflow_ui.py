"""The synced runs as a person sees them: `mlflow ui` in a real browser."""

import contextlib
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from dstcl.tracking import SyncReport, sync

PRESET, TASKS, EPOCHS = "quick", 3, 4
GROWTHS = ("random", "gradient", "momentum")


def write_run(results: Path, growth: str, seed: int) -> Path:
    """A finished run folder with plausible numbers."""
    axes = f"mnist5k-{TASKS}tasks/corrected/cnn/dst/density0.1/erk/{growth}"
    folder = results / PRESET / "runs" / axes / f"seed{seed}-{growth[:4]}{seed}"
    folder.mkdir(parents=True)
    config = {
        "dataset": "mnist5k",
        "tasks": TASKS,
        "protocol": "corrected",
        "network": "cnn",
        "method": "dst",
        "density": 0.1,
        "init": "erk",
        "growth": growth,
        "seed": seed,
        "epochs": EPOCHS,
        "learning_rate": 0.1,
    }
    accuracy = 0.9 + 0.02 * GROWTHS.index(growth) + 0.005 * seed
    metrics = {
        "digest": f"{growth[:4]}{seed}",
        "acc": accuracy,
        "bwt": -0.01,
        "fwt": None,
        "forgetting": 0.01,
        "used_fraction": 0.3,
        "seconds": 60.0,
    }
    provenance = {
        "git_commit": "0123456789abcdef",
        "git_dirty": False,
        "device": "cpu",
        "data_digest": "5e5e5e5e",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": f"2026-01-02T03:0{5 + seed}:05+00:00",
    }
    for name, content in (("config", config), ("metrics", metrics), ("provenance", provenance)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    tables = {
        "accuracy": [("after_task", "task", "accuracy")]
        + [(i, j, accuracy) for i in range(1, TASKS + 1) for j in range(1, i + 1)],
        "history": [("task", "epoch", "loss", "accuracy", "density")]
        + [(t, e, 1 / e, 1 - 0.3 / e, 0.1) for t in (1, 2, 3) for e in range(1, EPOCHS + 1)],
        "capacity": [("task", "layer", "size", "free")]
        + [(t, "conv", 100, 100 - 10 * t) for t in range(1, TASKS + 1)],
    }
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [write_run(tmp_path / "results", growth, s) for growth in GROWTHS for s in (0, 1)]


@pytest.fixture
def server(tmp_path: Path, folders: list[Path]) -> Iterator[str]:
    """Address of an MLflow server on a freshly synced database."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert sync(PRESET, folders, uri=uri) == SyncReport(created=6)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", port, "--workers", "1"]
    light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    log = tmp_path / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | light,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its workers can be ended with it
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                with urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):  # all gone already
            os.killpg(process.pid, signal.SIGKILL)


def test_the_list_of_runs_shows_what_was_synced(server, chromium, tmp_path):
    from mlflow import MlflowClient

    experiment = MlflowClient(server).get_experiment_by_name(f"dstcl/{PRESET}")
    assert experiment is not None
    url = f"{server}/#/experiments/{experiment.experiment_id}/runs?workflowType=machine_learning"
    for _ in range(4):  # virtual time may run out before the server has answered
        page = chromium(url, "--dump-dom").stdout
        if "dst momentum d0.1" in page:
            break
    for growth in GROWTHS:
        assert f"dst {growth} d0.1 erk mnist5k-3tasks cnn corrected" in page
    picture = tmp_path / "mlflow.png"
    chromium(url, f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000  # an empty page has less


def test_sync_works_through_a_tracking_server(server, folders, tmp_path):
    assert sync(PRESET, folders, uri=server) == SyncReport(unchanged=6)
    changed = json.loads((folders[0] / "metrics.json").read_text()) | {"acc": 0.5}
    (folders[0] / "metrics.json").write_text(json.dumps(changed))
    new = write_run(tmp_path / "results", "random", seed=2)
    expected = SyncReport(created=1, updated=1, unchanged=5)
    assert sync(PRESET, [*folders, new], uri=server) == expected
    assert sync(PRESET, [*folders, new], uri=server) == SyncReport(unchanged=7)
