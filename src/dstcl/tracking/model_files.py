"""The files of a registered model.

They are the run's own `weights.safetensors` and `masks.safetensors`, byte for byte; the source of
the network, which is part of `dstcl.networks` under a name of its own and, of a user's own network,
their files; and one file of code (`dstcl.tracking.served_model`). Nothing is pickled, and loading
unpickles nothing: that is why the model is not a program of `torch.export`, whose `load` may.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dstcl.codedigest import code_files
from dstcl.networks import network_modules
from dstcl.plugins import code_of, find, is_plugin, local_files
from dstcl.tracking.files import reference

if TYPE_CHECKING:
    from dstcl.jobs.loaded import LoadedRun

SERVED = Path(__file__).with_name("served_model.py")
NETWORKS = Path(__file__).parents[1] / "networks"
TENSOR_FILES = ("weights", "masks")
NEEDED = ("mlflow", "numpy", "safetensors", "torch")


def model_digest(loaded: LoadedRun, settings: Mapping[str, Any]) -> str:
    """Digest over everything that a model is made of."""
    network = settings["network"]
    files = [SERVED, *_network_code(network), *_own_code(network)]
    files += [loaded.path(kind) for kind in TENSOR_FILES]
    parts = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return hashlib.sha256(json.dumps([settings, loaded.class_names, parts]).encode()).hexdigest()


def model_settings(loaded: LoadedRun) -> dict[str, Any]:
    """All that the served code must know, as JSON: see `dstcl.tracking.served_model`.

    Raises:
        ValueError: the masks, the weights or the network's code are not those of the run.
    """
    run = loaded.run
    for task in range(1, loaded.tasks + 1):
        loaded.network(task)
    joint = run.facts.joint
    sizes, total = [len(names) for names in loaded.class_names], loaded.outputs
    starts = [0] * len(sizes) if run.own_heads else [0, *accumulate(sizes)][:-1]
    # Where all classes compete, a prediction is among all outputs.
    ranges = [
        (0, total) if run.switches.logits == "all" else (s, s + n) for s, n in zip(starts, sizes)
    ]
    return {
        "network": run.network_source.source,
        "head": run.network_source.head,
        "arguments": run.network_source.arguments,
        "outputs": total,
        "head_bias": True if run.switches.head == "task" else None,
        "mean": loaded.mean,
        "std": loaded.std,
        "shapes": {name: list(mask.shape) for name, mask in loaded.masks(1).items()},
        "subnets": 1 if joint else loaded.tasks,
        "tasks": [
            {"subnet": 0 if joint else task, "start": start, "stop": stop}
            for task, (start, stop) in enumerate(ranges[: loaded.tasks])
        ],
    }


def _network_code(network: str) -> list[Path]:
    """The files of dstcl that build a network."""
    own = () if is_plugin(network) else network_modules(network)
    return [path for path in code_files("networks.build", *own) if path.parent == NETWORKS]


def _own_code(network: str) -> list[Path]:
    """The user's own files that make a network, in the working folder."""
    return local_files(network) if is_plugin(network) else []


def _requirements(network: str) -> list[str]:
    """Packages at their versions here, with the one that a network is from."""
    versions = [f"{package}=={version(package)}" for package in NEEDED]
    if is_plugin(network) and not find(network).local:
        versions += [found for found in code_of(network).split(", ") if "==" in found]
    return [found.partition("+")[0] for found in dict.fromkeys(versions)]


def save_model(target: Path, loaded: LoadedRun, settings: Mapping[str, Any]) -> None:
    """Write the model, with a black image as its example, and predict once with every task."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    run, source = loaded.run, loaded.run.network_source.source
    example = np.zeros((1, *loaded.image), np.uint8)
    widths = {task["stop"] - task["start"] for task in settings["tasks"]}
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, *loaded.image))]),
        Schema([TensorSpec(np.dtype(np.float32), (-1, *(widths if len(widths) == 1 else [-1])))]),
        ParamSchema([ParamSpec("task", "long", 1)]),
    )
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    files = _network_code(source)
    text = "".join(path.read_text() for path in files)
    package = f"dstcl_networks_{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    code = target.with_name("code")
    copies = {path: code / package / path.name for path in files}
    copies |= {path: code / path.relative_to(Path.cwd()) for path in _own_code(source)}
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    mlflow.pyfunc.save_model(
        target,
        python_model=str(SERVED),
        artifacts={kind: str(loaded.path(kind)) for kind in TENSOR_FILES},
        code_paths=[str(path) for path in sorted(code.iterdir())],
        model_config=dict(settings) | {"code": package},
        signature=signature,
        input_example=(example, {"task": 1}),
        pip_requirements=_requirements(source),
        metadata={"class_names": loaded.class_names, "run": run.to_dict()},
    )
    _forget_places(target, loaded)
    model = mlflow.pyfunc.load_model(str(target))
    for task in range(1, loaded.tasks + 1):
        model.predict(example, params={"task": task})


def _forget_places(model: Path, loaded: LoadedRun) -> None:
    """Replace paths of this machine in a model's description, which nothing needs."""
    from mlflow.models import Model

    description = Model.load(str(model))
    flavor = description.flavors["python_function"]
    flavor["model_code_path"] = SERVED.name
    for kind, artifact in flavor["artifacts"].items():
        artifact["uri"] = reference(loaded.path(kind)).partition("  ")[2]
    description.save(str(model / "MLmodel"))
