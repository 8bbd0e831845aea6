"""A run's model in MLflow's registry: the sub-network of every task, without this repository.

What is registered are the run's own files, `weights.safetensors` and `masks.safetensors`, byte for
byte; the source of the networks (`dstcl.models`) under a name of its own; and one file of code
(`dstcl.tracking.served_model`). Nothing is pickled, and loading unpickles nothing, which
`torch.export.load` does not promise.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

from dstcl.data.catalog import DATASETS
from dstcl.runs import RESULT_FILES, Run
from dstcl.storage import read_json
from dstcl.tracking.database import MODEL, Experiment, tracking_errors, tracking_uri
from dstcl.tracking.entry import titles
from dstcl.tracking.sync import sync

PACKAGE = Path(__file__).parents[1]
SERVED = Path(__file__).with_name("served_model.py")
LOCAL_FILES = ("weights", "masks")
DESCRIPTION = "One network for each task of a sequence, by continual learning with dstcl."


@dataclass(frozen=True)
class Registered:
    """A version of a registered model.

    Attributes:
        name, version: in the registry.
        new: whether it was registered by this call.
        location: what `mlflow.pyfunc.load_model` takes besides ``models:/<name>/<version>``.
    """

    name: str
    version: str
    new: bool
    location: str

    def __str__(self) -> str:
        """As a person reads it."""
        word = "registered" if self.new else "registered before"
        return f"models:/{self.name}/{self.version} ({word}; files: {self.location})"


def register(
    folder: Path, tasks: Path | None = None, name: str | None = None, uri: str | None = None
) -> Registered:
    """Put the model of a finished run into the registry, with its run; twice changes nothing.

    Args:
        folder: of the run, below ``results/<preset>/runs``.
        tasks: its task split; default: where the pipeline keeps it, from the current folder.
        name: of the registered model; default: ``dstcl-<preset>-<configuration>``, so that the
            seeds of a configuration are versions of one model.
        uri: MLflow tracking URI; see `dstcl.tracking.sync`.

    Raises:
        ValueError: the run has not finished, its protocol cannot be served, or a file is missing or
            of another run.
        TrackingError: MLflow cannot be reached or refuses.
    """
    preset, key = _place(folder)
    run = Run.from_dict(read_json(folder / RESULT_FILES["config"]))
    if run.batch_norm != "task":
        raise ValueError(
            f"{folder}: batch_norm is {run.batch_norm!r}; only runs whose tasks have their own "
            "batch norm ('task') can be registered: else a prediction depends on other images"
        )
    class_names = _class_names(run, folder, tasks)
    settings = _settings(run, folder, class_names)
    name = name or _model_name(preset, run)
    uri = tracking_uri(uri)
    sync(preset, [folder.resolve()], uri=uri)
    with tracking_errors(uri):
        experiment = Experiment(uri, f"dstcl/{preset}")
        return _register(experiment, folder, key, run, settings, class_names, name)


def _place(folder: Path) -> tuple[str, str]:
    """Preset and key of a run folder."""
    for kind in ("config", "metrics", *LOCAL_FILES):
        if not (folder / RESULT_FILES[kind]).is_file():
            raise ValueError(f"{folder / RESULT_FILES[kind]}: no such file; a finished run has one")
    study, below, key = folder.resolve().as_posix().rpartition("/runs/")
    if not below:
        raise ValueError(f"{folder}: not below results/<preset>/runs")
    return Path(study).name, key


def _class_names(run: Run, folder: Path, tasks: Path | None) -> list[list[str]]:
    """Names of the classes of each task, in the order of the outputs."""
    if tasks is None:
        root = folder.resolve().as_posix().rpartition("/results/")[0]
        split = f"{run.data_name}-{run.tasks}tasks"
        tasks = Path(root, "data", "tasks", split, f"{run.order_name}.json")
    content = read_json(tasks)
    expected = read_json(folder / RESULT_FILES["provenance"]).get("tasks_digest")
    if content.get("digest") != expected:
        raise ValueError(f"{tasks}: not the split that {folder} was trained on ({expected})")
    return [list(map(str, names)) for names in content["class_names"]]


def _settings(run: Run, folder: Path, class_names: Sequence[Sequence[str]]) -> dict[str, Any]:
    """All that the served code must know, as JSON."""
    joint = run.method == "joint"
    own_heads = run.head == "task" and not joint
    sizes = [len(names) for names in class_names]
    total = max(sizes) if own_heads else sum(sizes)
    starts = [0] * len(sizes) if own_heads else [0, *accumulate(sizes)][:-1]
    # Where all classes compete, a prediction is among all outputs.
    ranges = [(0, total) if run.logits == "all" else (s, s + n) for s, n in zip(starts, sizes)]
    info = DATASETS[run.dataset]
    return {
        "network": run.network,
        "outputs": total,
        "head_bias": True if run.head == "task" else None,
        "mean": list(info.mean),
        "std": list(info.std),
        "shapes": _shapes(folder / RESULT_FILES["masks"]),
        "subnets": 1 if joint else len(sizes),
        "tasks": [
            {"subnet": 0 if joint else task, "start": start, "stop": stop}
            for task, (start, stop) in enumerate(ranges)
        ],
    }


def _shapes(masks: Path) -> dict[str, list[int]]:
    """Shapes of the masked weights, from the header of their file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(masks, framework="numpy") as file:
            return json.loads(file.metadata()["dstcl"])["shapes"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{masks}: not the masks of a run ({error})") from None


def _model_name(preset: str, run: Run) -> str:
    """The configuration's name, as far as a registry takes it."""
    title = titles(run.to_dict())[0].rpartition(" ")[0]
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"dstcl {preset} {title}")


def _register(
    experiment: Experiment,
    folder: Path,
    key: str,
    run: Run,
    settings: dict[str, Any],
    class_names: Sequence[Sequence[str]],
    name: str,
) -> Registered:
    from mlflow.exceptions import MlflowException

    client = experiment.client
    files = [SERVED, *_network_code(), *(folder / RESULT_FILES[kind] for kind in LOCAL_FILES)]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    digest = hashlib.sha256(json.dumps([settings, class_names, parts]).encode()).hexdigest()
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description=DESCRIPTION)
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.tags.get("dstcl.model") == digest:
            return Registered(name, str(known.version), False, known.source)
    (recorded, *_) = client.search_runs([experiment.id], f"tags.`dstcl.key` = '{key}'")
    with tempfile.TemporaryDirectory() as place:
        model = Path(place, digest[:12])
        _save(model, folder, run, settings, class_names)
        experiment.keep(recorded, [model], MODEL)
    version = client.create_model_version(
        name,
        source=experiment.location(recorded, f"{MODEL}/{digest[:12]}"),
        run_id=recorded.info.run_id,
        tags={"dstcl.model": digest, "dstcl.digest": run.digest, "dstcl.key": key},
        description=_description(run, class_names),
    )
    return Registered(name, str(version.version), True, version.source)


def _network_code() -> list[Path]:
    return sorted((PACKAGE / "models").glob("*.py"))


def _save(
    target: Path,
    folder: Path,
    run: Run,
    settings: Mapping[str, Any],
    class_names: Sequence[Sequence[str]],
) -> None:
    """Write the model and predict once with every task.

    Raises:
        ValueError: the run's files do not make up the networks that its settings describe.
    """
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    shape = (len(settings["mean"]), run.image_size, run.image_size)
    widths = {task["stop"] - task["start"] for task in settings["tasks"]}
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, *(widths if len(widths) == 1 else [-1])))]),
        ParamSchema([ParamSpec("task", "long", 1)]),
    )
    ramp = np.linspace(0, 255, num=int(np.prod(shape)), dtype=np.uint8)
    example = ramp.reshape(1, *shape)
    text = "".join(path.read_text() for path in _network_code())
    package = f"dstcl_networks_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    code = target.with_name(package)
    code.mkdir()
    for path in _network_code():
        (code / path.name).write_text(path.read_text().replace("dstcl.models", package))
    needed = ("mlflow", "numpy", "safetensors", "torch")
    mlflow.pyfunc.save_model(
        target,
        python_model=str(SERVED),
        artifacts={kind: str(folder / RESULT_FILES[kind]) for kind in LOCAL_FILES},
        code_paths=[str(code)],
        model_config=dict(settings) | {"code": package},
        signature=signature,
        input_example=(example, {"task": 1}),
        pip_requirements=[f"{p}=={version(p).partition('+')[0]}" for p in needed],
        metadata={"class_names": [list(names) for names in class_names], "run": run.to_dict()},
    )
    try:
        model = mlflow.pyfunc.load_model(str(target))
        for task in range(1, len(class_names) + 1):
            model.predict(example, params={"task": task})
    except (KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{folder}: not the weights of {run.network} ({reason})") from None


def _description(run: Run, class_names: Sequence[Sequence[str]]) -> str:
    tasks = "\n".join(f"| {k} | {', '.join(n)} |" for k, n in enumerate(class_names, start=1))
    return (
        f"Run `{run.digest}`, seed {run.seed}. `model.predict(images, params={{'task': k}})`: uint8 "
        f"images (N, C, {run.image_size}, {run.image_size}) to logits (N, classes).\n\n"
        f"| task | classes |\n|---|---|\n{tasks}\n"
    )
