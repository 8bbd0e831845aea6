"""A run's model in MLflow's registry: the sub-network of every task, without this repository.

See `dstcl.tracking.model_files` for what a model is made of.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstcl.study.run import Run
from dstcl.tracking.database import EXPERIMENTS, MODEL, Experiment, tracking_errors, tracking_uri
from dstcl.tracking.entry import KEY, titles
from dstcl.tracking.lock import single_writer
from dstcl.tracking.model_files import (
    model_digest,
    model_settings,
    save_model,
)
from dstcl.tracking.sync import sync

if TYPE_CHECKING:
    from dstcl.jobs.loaded import LoadedRun

DESCRIPTION = "One network for each task of a sequence, by continual learning with dstcl."


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        name, version: in the registry.
        new: whether it was registered by this call.
        verified: whether the run's files were compared with digests that it wrote of them.
    """

    name: str
    version: str
    new: bool
    verified: bool = True

    def __str__(self) -> str:
        """As a person reads it."""
        said = "" if self.new else " (was there already)"
        said += "" if self.verified else " (unverified: the run wrote no digests of its files)"
        return f"models:/{self.name}/{self.version}{said}"


def register(
    folder: Path,
    *,
    name: str | None = None,
    uri: str | None = None,
) -> Registered:
    """Put the model of a finished run into the registry, with its run; twice changes nothing.

    Args:
        folder: of the run, below ``results/<preset>/runs``.
        name: of the registered model; default: ``dstcl-<preset>-<configuration>``, so that the
            seeds of a configuration are versions of one model.
        uri: MLflow tracking URI; see `dstcl.tracking.sync`.

    Raises:
        ValueError: the run has not finished, its protocol cannot be served, or a file is missing,
            damaged, of another run or changed since the run wrote it, or weights are not finite.
        TrackingError: MLflow cannot be reached or refuses.
    """
    from dstcl.jobs.loaded import load_run  # which needs torch

    loaded = load_run(folder)
    preset, key = _place(folder)
    batch_norm = loaded.run.switches.batch_norm
    if batch_norm != "task":
        raise ValueError(
            f"{folder}: batch_norm is {batch_norm!r}; only runs whose tasks have "
            "their own batch norm ('task') can be registered: else a prediction depends on "
            "other images"
        )
    settings = model_settings(loaded)
    name = name or _model_name(preset, loaded.run)
    uri = tracking_uri(uri)
    sync(preset, [folder.resolve()], uri=uri)
    with tracking_errors(uri), single_writer(uri):
        return _register(Experiment(uri, f"{EXPERIMENTS}{preset}"), loaded, key, settings, name)


def _place(folder: Path) -> tuple[str, str]:
    """Preset and key of a run folder."""
    study, below, key = folder.resolve().as_posix().rpartition("/runs/")
    if not below:
        raise ValueError(f"{folder}: not below results/<preset>/runs")
    return Path(study).name, key


def _model_name(preset: str, run: Run) -> str:
    """The configuration's name, as far as a registry takes it."""
    title = titles(run)[0].rpartition(" ")[0]
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"dstcl {preset} {title}")


def _register(
    experiment: Experiment,
    loaded: LoadedRun,
    key: str,
    settings: dict[str, Any],
    name: str,
) -> Registered:
    from mlflow.exceptions import MlflowException

    client = experiment.client
    digest = model_digest(loaded, settings)
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.tags.get("dstcl.model") == digest:
            return Registered(name, str(known.version), False, loaded.sealed)
    (recorded, *_) = client.search_runs([experiment.id], f"tags.`{KEY}` = '{key}'")
    with tempfile.TemporaryDirectory() as place:
        model = Path(place, digest[:12])
        save_model(model, loaded, settings)
        experiment.keep(recorded, [model], MODEL)
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name, description=DESCRIPTION)
    version = client.create_model_version(
        name,
        source=f"{recorded.info.artifact_uri}/{MODEL}/{digest[:12]}",
        run_id=recorded.info.run_id,
        tags={"dstcl.model": digest, "dstcl.digest": loaded.run.digest, KEY: key},
        description=_description(loaded),
    )
    return Registered(name, str(version.version), True, loaded.sealed)


def _description(loaded: LoadedRun) -> str:
    run, class_names = loaded.run, loaded.class_names
    tasks = "\n".join(f"| {k} | {', '.join(n)} |" for k, n in enumerate(class_names, start=1))
    size = run.data.image_size
    unverified = "" if loaded.sealed else " Unverified: the run wrote no digests of its files."
    return (
        f"Run `{run.digest}`, seed {run.seed}.{unverified} "
        f"`model.predict(images, params={{'task': k}})`: "
        f"uint8 images (N, C, {size}, {size}) to logits (N, classes).\n\n"
        f"| task | classes |\n|---|---|\n{tasks}\n"
    )
