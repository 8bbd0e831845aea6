"""An MLflow experiment behind the few things that tracking does with it."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dstcl.tracking.entry import CONTENT, KEY, NOTE, PARENT, RUNNING, Entry
from dstcl.tracking.lock import database_file

DEFAULT_URI = "sqlite:///mlflow.db"
PROXIED = "mlflow-artifacts:/"
# Of `mlflow ui` as `make mlflow` starts it beside the database.
ARTIFACTS = "mlartifacts"
MODEL = "model"
EXPERIMENTS = "dstcl/"
"""How the names of our experiments begin; the preset follows."""
PATIENCE = 5.0
"""Seconds that a tracking server has for its first answer."""
# MLflow's own limits let a dead server hold a job up for half an hour.
LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
ATTEMPTS = 4
"""To open a database, in about a second; MLflow's ten take 100 s, and no setting changes that."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


class TrackingError(OSError):
    """MLflow cannot be reached, or refuses; results are files and are not concerned."""


def tracking_uri(uri: str | None = None) -> str:
    """The given URI, else ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI


@contextmanager
def tracking_errors(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises into a TrackingError of one line."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    # A module that is missing is the driver of a database.
    except (
        CommandError, MlflowException, ModuleNotFoundError, RequestException, SQLAlchemyError
    ) as error:  # fmt: skip
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        # A server's own address is in many messages, with its password if it has one.
        raise TrackingError(f"MLflow at {_shown(uri)}: {first.replace(uri, _shown(uri))}") from None


def check_server(uri: str) -> None:
    """Ask a tracking server for any answer at all.

    Raises:
        TrackingError: there is none within `PATIENCE`.
    """
    if not uri.startswith(("http://", "https://")):
        return
    request = urllib.request.Request(_shown(uri), headers={"User-Agent": "dstcl"})
    try:
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError as answer:  # a refusal is an answer: MLflow knows the password
        answer.close()
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise TrackingError(f"MLflow at {_shown(uri)}: no answer ({reason})") from None


def connect(uri: str) -> Any:
    """MLflow's client of a tracking URI; a database that is missing or empty is made."""
    for variable, value in (QUIET | LIMITS).items():
        os.environ.setdefault(variable, value)
    from mlflow import MlflowClient  # takes two seconds
    from mlflow.store.db import utils

    utils.MAX_RETRY_COUNT = ATTEMPTS
    # One line per migration of a new database; many per failed attempt to open one.
    for logger, level in (("alembic", logging.WARNING), (utils.__name__, logging.ERROR)):
        logging.getLogger(logger).setLevel(level)
    database = database_file(uri)
    if database and not (database.exists() and database.stat().st_size):
        _make_database(database)
    return MlflowClient(tracking_uri=uri)


class Experiment:
    """An experiment, created or restored if need be.

    Args:
        uri: MLflow tracking URI.
        name: of the experiment.

    Attributes:
        client: MLflow's own, for what is not here.
    """

    def __init__(self, uri: str, name: str) -> None:
        self._database = database_file(uri)
        self.client = connect(uri)
        found = self.client.get_experiment_by_name(name)
        if found is None:
            # The default is an absolute folder, wrong after a move; this is valid in any server.
            location = f"{PROXIED}{name}" if self._database else None
            self.id = str(self.client.create_experiment(name, artifact_location=location))
            return
        self.id = str(found.experiment_id)
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(self.id)

    def stored(self) -> list[Entry]:
        """What was recorded before; of each metric only the last value."""
        records: list[Entry] = []
        token: str | None = ""
        while token is not None:
            page = self.client.search_runs([self.id], max_results=1000, page_token=token or None)
            token = page.token or None
            records += [_entry(run) for run in page if KEY in run.data.tags]
        return records

    def create(self, entry: Entry) -> str:
        """Write an entry as a new run; returns its id."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        run = self.client.create_run(self.id, entry.start, entry.tags, entry.name)
        run_id = str(run.info.run_id)
        if digest := entry.tags.get("dstcl.data_digest"):
            name = entry.params["dataset"]
            size = entry.params.get("data.image_size")
            file = {"uri": f"data/prepared/{name}-{size}px.safetensors"} if size else {"name": name}
            # MLflow allows 36 characters of digest; the tag has all of them.
            data = Dataset(name, digest[:36], "local", json.dumps(file))
            context = InputTag("mlflow.data.context", "training")
            self.client.log_inputs(run_id, datasets=[DatasetInput(data, [context])])
        # The client splits by MLflow's limits: 1,000 metrics and 100 parameters in a request.
        params = [Param(name, value) for name, value in entry.params.items()]
        self.client.log_batch(run_id, metrics=_points(entry), params=params, synchronous=True)
        self.keep(run, entry.artifacts)
        if entry.status != RUNNING:
            self.client.set_terminated(run_id, status=entry.status, end_time=entry.end)
        # Last: a run without it was interrupted, and the next sync replaces it.
        self.client.set_tag(run_id, CONTENT, entry.content)
        return run_id

    def add_points(self, run_id: str, entry: Entry) -> None:
        """Add to a run in the database what an entry says of steps that the run does not have."""
        names = {name for name, _, _ in entry.metrics}
        histories = [self.client.get_metric_history(run_id, name) for name in sorted(names)]
        last = max((point.step for history in histories for point in history), default=0)
        points = [point for point in _points(entry) if point.step > last]
        if points:
            self.client.log_batch(run_id, metrics=points, synchronous=True)

    def delete(self, entry: Entry) -> None:
        """Remove a run, and its files where no server keeps them (but for a registered model)."""
        run = self.client.get_run(entry.run_id)
        self.client.delete_run(entry.run_id)
        folder = self.folder(run)
        if folder and not (folder / MODEL).exists():
            shutil.rmtree(folder.parent, ignore_errors=True)

    def set_parent(self, entry: Entry, parent: str) -> None:
        """Move a run below another parent."""
        self.client.set_tag(entry.run_id, PARENT, parent)

    def keep(self, run: Any, paths: list[Path], below: str | None = None) -> None:
        """Copy files to where MLflow's pages show them; nothing refers to where they are now.

        Args:
            run: MLflow's description of the run.
            paths: files or folders.
            below: folder among the run's artifacts.
        """
        if not paths:
            return
        if folder := self.folder(run):
            target = folder / (below or "")
            target.mkdir(parents=True, exist_ok=True)
            for path in paths:
                if path.is_dir():
                    shutil.copytree(path, target / path.name, dirs_exist_ok=True)
                else:
                    shutil.copy(path, target / path.name)
        # A path would be one of the server's machine, which need not be this one.
        elif urlsplit(run.info.artifact_uri).scheme not in ("", "file"):
            for path in paths:
                self.client.log_artifact(run.info.run_id, str(path), below)

    def folder(self, run: Any) -> Path | None:
        """Where the files of a run lie if this machine keeps them: beside an SQLite database."""
        location = run.info.artifact_uri
        if self._database is None or not location.startswith(PROXIED):
            return None
        return self._database.parent / ARTIFACTS / location.removeprefix(PROXIED).lstrip("/")


@contextmanager
def hurried(uri: str) -> Iterator[None]:
    """Write many runs fast.

    SQLite does not wait for the disk after each of the nine commits that MLflow makes a run, which
    takes 3/4 of a sync: safe if this process dies, a power cut may cost a derived file. Python does
    not look for garbage among ever more live objects: 100 MB of memory for 1,600 runs.
    """
    from sqlalchemy import Engine, event

    def hasten(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    on_file, collecting = database_file(uri) is not None, gc.isenabled()
    if on_file:
        event.listen(Engine, "connect", hasten)
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
        if on_file:
            event.remove(Engine, "connect", hasten)


def _make_database(path: Path) -> None:
    """Make an SQLite database that appears at once: who opens it while MLflow makes its tables, as
    `mlflow ui` does, breaks it."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        made = Path(folder, path.name)
        _make_tables(made)
        os.replace(made, path)


def _make_tables(path: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(tracking_uri=f"sqlite:///{path}")


def _entry(run: Any) -> Entry:
    info, data = run.info, run.data
    # Of notes and artifacts nothing is asked; of metrics only the last value.
    return Entry(
        info.run_name,
        data.tags.get(CONTENT, ""),
        {name: value for name, value in data.tags.items() if name != NOTE},
        info.start_time,
        info.end_time or info.start_time,
        data.params,
        [(name, value, 0) for name, value in data.metrics.items()],
        status=info.status,
        run_id=info.run_id,
    )


def _points(entry: Entry) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(name, value, entry.end, step) for name, value, step in entry.metrics]


def _shown(uri: str) -> str:
    """A URI without user and password."""
    parts = urlsplit(uri)
    return uri.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else uri
