"""A real MLflow server on 127.0.0.1, with the settings of `make mlflow`; what one has recorded."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ports import free_ports


class Server(str):
    """The address of a server, which can be killed."""

    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """As if the machine were switched off."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int | None = None) -> Iterator[Server]:
    """A server on ``mlflow.db`` and ``mlartifacts`` in a folder; ended on the way out."""
    (port,) = [port] if port else free_ports(1)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--backend-store-uri", "sqlite:///mlflow.db"]
    command += ["--artifacts-destination", "mlartifacts"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    light = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    log = folder / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment | light,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its workers can be ended with it
        )
    address = Server(f"http://127.0.0.1:{port}")
    address.process = process
    try:
        deadline = time.monotonic() + 300
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
        with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):  # all gone already
            os.killpg(process.pid, signal.SIGKILL)


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
    """Steps and values of a metric."""
    from mlflow import MlflowClient

    history = MlflowClient(address).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in history)
