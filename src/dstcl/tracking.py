"""Results -> MLflow: one idempotent upsert by a single writer.

Training only writes files; `sync` makes the experiment ``dstcl/<preset>`` say what they say. The
database is derived: delete it, sync again, and all is back. Tag ``dstcl.kind`` tells runs apart:
``seed`` is a finished run folder, ``configuration`` the parent of those that differ only in their
seed, ``figures`` refers to the figures. Files are referred to (``md5  path``), never copied.
"""

from __future__ import annotations

import csv
import gc
import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dstcl.runs import AXES, RESULT_FILES

DEFAULT_URI = "sqlite:///mlflow.db"
AGGREGATED = ("acc", "forgetting", "used_fraction", "seconds")
# Part of every content hash: raise it when other things are recorded, and the next sync rewrites
# what older versions recorded.
RECORD_VERSION = "1"
# Masks and weights are large; metrics.json is rewritten whenever they are, so it stands for them.
SMALL_FILES = ("config", "metrics", "accuracy", "history", "capacity", "provenance")
KIND, KEY, CONTENT = "dstcl.kind", "dstcl.key", "dstcl.content"
CONFIGURATION, PARENT = "dstcl.configuration", "mlflow.parentRunId"
Rows = list[dict[str, float]]


@dataclass(frozen=True)
class SyncReport:
    """Numbers of run folders: recorded for the first time, replaced because their files changed,
    left as they were, and skipped because the run has not finished."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    unfinished: int = 0


@dataclass
class _Record:
    """One MLflow run, to be written or read back; times are milliseconds since 1970 (UTC)."""

    name: str
    content: str
    tags: dict[str, str]
    start: int
    end: int
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)  # key, value, step
    run_id: str | None = None  # None: not in the database yet


def sync(
    preset: str, run_folders: Sequence[Path], figures: Sequence[Path] = (), uri: str | None = None
) -> SyncReport:
    """Record finished runs and figures in the experiment ``dstcl/<preset>``.

    What is there already with the same content is not touched: a second call writes nothing. A run
    whose files changed is deleted and recorded anew, since MLflow can neither change a parameter
    nor drop a metric's history. Folders without ``metrics.json`` are skipped. Runs of folders that
    are not named stay, so calls with parts of a study add up. For SQLite a file lock makes
    concurrent calls wait for each other; a tracking server must have one writer per experiment.

    Args:
        preset: name of the preset.
        run_folders: folders below ``results/<preset>/runs``, named as in `dstcl.runs.Run.folder`.
        figures: figure files of the preset; without any, recorded ones are left alone.
        uri: MLflow tracking URI; default ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``.

    Raises:
        ValueError: naming the file, if a result file of a finished run is missing or malformed;
            nothing has been written then.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    done = [folder for folder in set(run_folders) if (folder / RESULT_FILES["metrics"]).is_file()]
    # A run's identity within its preset is its path below runs/, which ends in its digest.
    finished = {folder.as_posix().rpartition("/runs/")[2]: folder for folder in sorted(done)}
    contents = {key: _content(folder) for key, folder in finished.items()}

    with _single_writer(uri):
        client = _client(uri)
        experiment = _experiment(client, f"dstcl/{preset}", uri)
        known = _stored(client, experiment)
        whole = {(run.tags[KEY], run.content): run for run in known if run.content}

        # 1. Decide. Everything that bad input can break happens before the first write.
        current = {
            key: whole.get((key, content)) or _read(finished[key], key, content)
            for key, content in contents.items()
        }
        # A parent describes all its children in the database, not only those of this call.
        groups: dict[str, list[_Record]] = defaultdict(list)
        for run in [r for r in whole.values() if r.tags[KEY] not in current] + [*current.values()]:
            if run.tags[KIND] == "seed":
                groups[run.tags[CONFIGURATION]].append(run)
        others = [_parent(key, members) for key, members in groups.items()]
        others += [_figures(figures)] if figures else []
        others = [whole.get((run.tags[KEY], run.content), run) for run in others]
        before = {run.tags[KEY] for run in known}
        new = [key for key, run in current.items() if run.run_id is None]
        updated = sum(key in before for key in new)

        # 2. Delete what is superseded: old content, parents without children, the remains of an
        # interrupted sync. Killed here, the next call finds too little and restores it.
        keep = {run.run_id for run in [*current.values(), *others]}
        replaceable = {"configuration", "figures"} if figures else {"configuration"}
        for run in known:
            mine = run.tags[KEY] in current or run.tags[KIND] in replaceable
            if mine and run.run_id not in keep:
                client.delete_run(run.run_id)

        # 3. Write, parents first: children name them.
        for record in others:
            parent = record.run_id or _create(client, experiment, record)
            for run in groups.get(record.tags[KEY], ()):
                if run.run_id is None:
                    run.tags[PARENT] = parent
                    _create(client, experiment, run)
                elif run.tags.get(PARENT) != parent:
                    client.set_tag(run.run_id, PARENT, parent)
    unchanged, unfinished = len(current) - len(new), len(set(run_folders)) - len(done)
    return SyncReport(len(new) - updated, updated, unchanged, unfinished)


def _read(folder: Path, key: str, content: str) -> _Record:
    """The record of one finished run folder; raises ValueError naming the bad file."""
    files = {kind: folder / name for kind, name in RESULT_FILES.items()}
    with _naming(files["config"]):
        config = json.loads(files["config"].read_text())
        axes = {axis: config[axis] for axis in AXES}
        fixed = json.dumps({k: v for k, v in config.items() if k != "seed"}, sort_keys=True)
    with _naming(files["metrics"]):
        summary = json.loads(files["metrics"].read_text())
        tags = {"dstcl.digest": _text(summary["digest"]), "dstcl.protocol": axes["protocol"]}
    with _naming(files["provenance"]):
        origin = json.loads(files["provenance"].read_text())
        times = [datetime.fromisoformat(origin[name]) for name in ("started", "finished")]
        names = {f"dstcl.{n}": n for n in ("git_dirty", "data_digest", "tasks_digest", "device")}
        names["mlflow.source.git.commit"] = "git_commit"  # None outside a repository
        tags |= {tag: _text(origin[n]) for tag, n in names.items() if origin.get(n) is not None}
    tags |= {f"dstcl.file.{f.name}": _reference(f) for f in files.values() if f.is_file()}

    metrics: list[tuple[str, float, int]] = []
    names = {"loss": "train_loss", "accuracy": "train_accuracy"}
    curves = ("learning_rate", "prune_rate", "density", "explored")
    for step, row in enumerate(_table(files["history"], names, curves), start=1):
        metrics += [(names.get(column, column), value, step) for column, value in row.items()]

    matrix = _table(files["accuracy"], ("after_task", "task", "accuracy"))
    first = min((row["task"] for row in matrix), default=0)  # tasks may count from 0 or from 1
    seen: dict[float, list[float]] = defaultdict(list)
    for row in matrix:
        after, task, accuracy = row["after_task"], row["task"], row["accuracy"]
        metrics.append((f"accuracy_task_{task:g}", accuracy, int(after)))
        if task - first < after:
            seen[after].append(accuracy)
    metrics += [("accuracy_mean_seen", mean(values), int(after)) for after, values in seen.items()]

    room: dict[float, list[tuple[float, float]]] = defaultdict(list)  # task -> layers
    for row in _table(files["capacity"], ("task", "size", "free")):
        room[row["task"]].append((row["size"], row["free"]))
    for step, (_, layers) in enumerate(sorted(room.items()), start=1):
        size, free = map(sum, zip(*layers, strict=True))
        metrics.append(("used_fraction", 1 - free / size, step))
    for name, value in summary.items():
        # The summary's used_fraction is the last point of the curve above.
        if isinstance(value, int | float) and not (name == "used_fraction" and room):
            metrics.append((name, float(value), 0))

    # For people; what varies most comes first: the interface cuts names after 22 characters.
    name = "{method} {growth} d{density} {init} {dataset}-{tasks}tasks {network} {protocol}"
    name = name.format_map(axes)
    configuration = f"{name} {_sha256(fixed)[:10]}"
    return _Record(
        f"{name} seed{axes['seed']}",
        content,
        {KIND: "seed", KEY: key, CONFIGURATION: configuration, **tags},
        start=int(times[0].timestamp() * 1000),
        end=int(times[1].timestamp() * 1000),
        params={name: _text(value) for name, value in config.items()},
        metrics=metrics,
    )


def _parent(key: str, members: Sequence[_Record]) -> _Record:
    """The record of a configuration from those of its seeds (at least one)."""
    metrics = [("seeds", float(len(members)), 0)]
    latest = [{name: value for name, value, _ in run.metrics} for run in members]
    for name in AGGREGATED:
        values = [run[name] for run in latest if name in run]
        metrics += [(f"{name}_mean", mean(values), 0)] if values else []
        metrics += [(f"{name}_std", stdev(values), 0)] if len(values) > 1 else []
    content = _sha256(*sorted(f"{run.tags[KEY]} {run.content}" for run in members))
    shared = ("dstcl.protocol", "dstcl.data_digest")
    tags = {name: value for name, value in members[0].tags.items() if name in shared}
    tags |= {KIND: "configuration", KEY: key}
    start, end = min(run.start for run in members), max(run.end for run in members)
    params = {name: value for name, value in members[0].params.items() if name != "seed"}
    return _Record(members[0].name.rpartition(" ")[0], content, tags, start, end, params, metrics)


def _figures(paths: Sequence[Path]) -> _Record:
    """The record that refers to every figure of a preset."""
    tags = {f"dstcl.figure.{path.name}": _reference(path) for path in sorted(paths)}
    times = [int(path.stat().st_mtime * 1000) for path in paths]
    tags |= {KIND: "figures", KEY: "figures"}
    return _Record("figures", _sha256(*tags.values()), tags, min(times), max(times))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with a file into a ValueError that names it."""
    try:
        yield
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error


def _table(path: Path, required: Iterable[str], optional: Sequence[str] = ()) -> Rows:
    """Numeric columns of a CSV file without the empty optional cells; ValueError names the file."""
    with _naming(path), path.open(newline="") as file:
        return [
            {name: float(row[name]) for name in [*required, *filter(row.get, optional)]}
            for row in csv.DictReader(file)
        ]


def _content(folder: Path) -> str:
    """SHA-256 over the small result files of a run; raises ValueError naming a missing one."""
    digests = []
    for path in (folder / RESULT_FILES[kind] for kind in SMALL_FILES):
        with _naming(path):
            digests.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return _sha256(*digests)


def _sha256(*lines: str) -> str:
    return hashlib.sha256("\n".join((RECORD_VERSION, *lines)).encode()).hexdigest()


def _text(value: Any) -> str:
    """A parameter or tag: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _reference(path: Path) -> str:
    """``md5  path`` as md5sum prints it; the path counts from the folder that holds results/."""
    _, results, below = path.as_posix().rpartition("results/")
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'md5').hexdigest()}  {results}{below}"


@contextmanager
def _single_writer(uri: str) -> Iterator[None]:
    """Hold the lock file beside an SQLite database; do nothing for any other URI.

    Without it, processes that start at once on an absent database break each other's table
    creation, and each records the same runs. The lock file stays: if it were removed, two
    processes could lock two files of the same name. A dead process's lock is free.
    """
    database = uri.partition(":///")[2].partition("?")[0] if uri.startswith("sqlite") else ""
    if not database:
        yield
        return
    import fcntl  # not on Windows

    from sqlalchemy import Engine, event

    def hasten(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    path = Path(database).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # MLflow commits nine times per run; waiting for the disk each time takes 3/4 of a sync.
        # Not waiting is safe if this process dies; a power cut may cost a derived file.
        event.listen(Engine, "connect", hasten)
        try:
            yield
        finally:
            event.remove(Engine, "connect", hasten)


def _client(uri: str) -> Any:
    """An `MlflowClient` that neither calls home (compute nodes are offline) nor prints."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient  # takes two seconds

    for name in ("mlflow.store.db.utils", "alembic"):  # a line per migration of a new database
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _experiment(client: Any, name: str, uri: str) -> str:
    """Id of the experiment of this name, created or restored if need be."""
    found = client.get_experiment_by_name(name)
    if found is None:
        # The default is an absolute folder, wrong after a move. This one is valid in any server.
        location = f"mlflow-artifacts:/{name}" if uri.startswith("sqlite") else None
        return str(client.create_experiment(name, artifact_location=location))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _stored(client: Any, experiment: str) -> list[_Record]:
    """What `sync` recorded in the experiment; of each metric only the last value."""
    records: list[_Record] = []
    token: str | None = ""
    collecting = gc.isenabled()
    gc.disable()  # else half of the time goes into looking at ever more live objects
    try:
        while token is not None:
            page = client.search_runs([experiment], max_results=1000, page_token=token or None)
            token = page.token or None
            for info, data in ((run.info, run.data) for run in page if KEY in run.data.tags):
                metrics = [(name, value, 0) for name, value in data.metrics.items()]
                values = (info.start_time, info.end_time or info.start_time, data.params, metrics)
                content = data.tags.get(CONTENT, "")
                records.append(_Record(info.run_name, content, data.tags, *values, info.run_id))
    finally:
        if collecting:
            gc.enable()
    return records


def _create(client: Any, experiment: str, record: _Record) -> str:
    """Write a record as a new run; returns its id."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    run_id = str(client.create_run(experiment, record.start, record.tags, record.name).info.run_id)
    if digest := record.tags.get("dstcl.data_digest"):
        name = record.params["dataset"]
        # MLflow allows 36 characters of digest; the tag has all of them.
        data = Dataset(name, digest[:36], "local", json.dumps({"name": name}))
        context = InputTag("mlflow.data.context", "training")
        client.log_inputs(run_id, datasets=[DatasetInput(data, [context])])
    # The client splits by MLflow's limits: 1,000 metrics and 100 parameters in a request.
    metrics = [Metric(name, value, record.end, step) for name, value, step in record.metrics]
    params = [Param(name, value) for name, value in record.params.items()]
    client.log_batch(run_id, metrics=metrics, params=params, synchronous=True)
    client.set_terminated(run_id, end_time=record.end)
    # Last: a run without it was interrupted, and the next sync replaces it.
    client.set_tag(run_id, CONTENT, record.content)
    return run_id
