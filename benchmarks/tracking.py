"""Time syncs of generated runs to MLflow: 1,000 runs of 5 tasks x 10 epochs, about 350 points each.

    python benchmarks/tracking.py [--runs 1000] [--server]    # a few minutes; writes tracking.json

Each row is one `dstcl track` in a process of its own, as a person or the pipeline calls it. With
--server the same through `mlflow server` on 127.0.0.1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commands import timed
from machine import REPOSITORY, machine, record

from dstcl.study.load import load_file, runs
from dstcl.study.plan import write_plan
from dstcl.study.run import RESULT_FILES, Run

LAYERS = {"features.0.weight": 36, "features.3.weight": 288, "features.6.weight": 576}
TARGETS = {"first": 60, "again": 5}


def write_run(folder: Path, run: Run) -> None:
    """A finished run with every file of the contract and random numbers in it."""
    draws = random.Random(run.digest)
    tasks = range(1, run.tasks + 1)
    started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=draws.randrange(10**6))
    tables = {
        "accuracy": "after_task,task,accuracy\n"
        + "".join(f"{i},{j},{draws.random()}\n" for i in (0, *tasks) for j in tasks[: max(i, 1)]),
        "history": "task,epoch,loss,accuracy,learning_rate,prune_rate,density,explored\n"
        + "".join(
            f"{task},{epoch},{draws.random()},{draws.random()},0.01,{draws.random()},0.2,0.4\n"
            for task in tasks
            for epoch in range(1, run.training.epochs + 1)
        ),
        "capacity": "task,layer,size,active,new,shared,free\n"
        + "".join(
            f"{task},{layer},{size},{size // 5},{size // 5},0,{size - size // 5}\n"
            for task in tasks
            for layer, size in LAYERS.items()
        ),
        "overlap": "task,other,shared,jaccard\n"
        + "".join(f"{i},{j},10,0.1\n" for i in tasks for j in tasks if j < i),
    }
    documents = {
        "config": run.to_dict(),
        "metrics": {
            "digest": run.digest,
            **{name: draws.random() for name in ("acc", "bwt", "fwt", "forgetting", "seconds")},
            **{name: draws.random() for name in ("learning_accuracy", "used_fraction")},
            **{name: draws.random() for name in ("images_per_second", "mask_bytes")},
            **{name: draws.random() for name in ("inference_flops", "training_flops")},
            "density_per_task": [0.2] * run.tasks,
        },
        "provenance": {
            "git_commit": "0" * 40,
            "git_dirty": False,
            "versions": {"torch": "2.15.0"},
            "device": "cpu",
            "data_digest": "0" * 16,
            "tasks_digest": "0" * 16,
            "started": started.isoformat(),
            "finished": (started + timedelta(minutes=1)).isoformat(),
        },
    }
    folder.mkdir(parents=True)
    for kind, text in tables.items():
        (folder / RESULT_FILES[kind]).write_text(text)
    for kind, value in documents.items():
        (folder / RESULT_FILES[kind]).write_text(json.dumps(value))
    for kind in ("masks", "weights"):
        (folder / RESULT_FILES[kind]).write_bytes(hashlib.sha256(kind.encode()).digest() * 500)


def write_study(root: Path, count: int) -> Path:
    """A study of so many runs: configurations of preset quick, three seeds each."""
    quick = runs(load_file(REPOSITORY / "params.yaml", "quick"))[0]
    template = quick.changed({"tasks": 5, "epochs": 10})
    planned = [
        template.changed({"seed": number % 3, "learning_rate": 0.001 + number // 3 * 1e-6})
        for number in range(count)
    ]
    study = root / "results" / "quick"
    write_plan("quick", planned, study / "plan.json")
    for run in planned:
        write_run(study / "runs" / run.folder, run)
    return study


def track(root: Path, uri: str) -> dict[str, float | str]:
    """One call; seconds and what it said.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    command = [sys.executable, "-c", "from dstcl.cli import main; main()", "track", "results/quick"]
    call = timed(command, root, MLFLOW_TRACKING_URI=uri)
    return call.seconds() | {"said": call.said.strip()}


def measure(root: Path, uri: str, study: Path, count: int) -> dict[str, dict[str, float | str]]:
    """First sync, syncs with nothing to do, and one after a run was trained again."""
    rows = {f"{count} runs, first sync": track(root, uri)}
    rows["again (nothing to do)"] = track(root, uri)
    rows["and again"] = track(root, uri)
    changed = next(study.rglob(RESULT_FILES["metrics"]))
    metrics = json.loads(changed.read_text())
    # Another value in every call: two stores are synced from one study.
    changed.write_text(json.dumps(metrics | {"acc": metrics["acc"] / 2}))
    rows["one run changed"] = track(root, uri)
    return rows


def serve(root: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server on a new database, when it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "served"),
            *("--host", "127.0.0.1", "--port", port),
        ],
        cwd=root,
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return server, address
        except OSError:
            time.sleep(0.3)
    server.terminate()
    sys.exit("the server did not start")


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--server", action="store_true", help="through a tracking server too")
    options = parser.parse_args()
    told = machine("mlflow", "sqlalchemy")
    places = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        study = write_study(root, options.runs)
        places["SQLite"] = measure(root, "sqlite:///mlflow.db", study, options.runs)
        if options.server:
            server, address = serve(root)
            try:
                places["server"] = measure(root, address, study, options.runs)
            finally:
                server.terminate()
                server.wait()
    record("tracking", told | {"runs": options.runs, "targets_seconds": TARGETS, "places": places})
    print("| to | sync | wall, s | CPU, s |\n|---|---|---|---|")
    for place, rows in places.items():
        for name, row in rows.items():
            print(f"| {place} | {name} | {row['wall_seconds']} | {row['cpu_seconds']} |")


if __name__ == "__main__":
    main()
