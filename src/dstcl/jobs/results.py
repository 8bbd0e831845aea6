"""What a run leaves: the files of the result contract, each whole or not at all.

The way back is `dstcl.load_run` (`dstcl.jobs.loaded`), in a file of its own: training does not read
results, and a change of how they are read must not train a study again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dstcl.continual.capacity import overlap_rows
from dstcl.continual.learner import Outcome
from dstcl.continual.metrics import accuracy_matrix, all_metrics
from dstcl.data.stored import Prepared
from dstcl.networks.head import find_head
from dstcl.storage import write_json, write_table, write_tensors
from dstcl.study.columns import ACCURACY, CAPACITY, DECISIONS, HISTORY, OVERLAP
from dstcl.study.run import ALL_FILES, Run
from dstcl.study.seal import sealed


def summarise(run: Run, outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The content of metrics.json but for costs; images/s count training steps alone.

    Args:
        seconds: wall time of the run.
    """
    capacity = outcome.store.capacity()
    sizes = sum(int(row["size"]) for row in capacity if row["task"] == 1)
    return {
        "digest": run.digest,
        **all_metrics(accuracy_matrix(outcome.accuracy)),
        "fwt_by_position": outcome.fwt_by_position,
        "used_fraction": outcome.store.used_fraction(),
        "seconds": round(seconds, 3),
        "images_per_second": round(outcome.effort.images / outcome.effort.seconds, 1),
        "density_per_task": [
            sum(int(row["active"]) for row in capacity if row["task"] == task) / sizes
            for task in range(1, len(outcome.store.subnets) + 1)
        ],
    }


def data_facts(data: Prepared, tasks: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What a trained network must know of its data: shape (C, S, S) and normalisation of images,
    mean and std on the scale 0 to 1, and each task's class names in the order of its outputs."""
    return {
        "image": list(data.images.shape[1:]),
        "mean": data.mean,
        "std": data.std,
        "class_names": [[str(data.class_names[label]) for label in task] for task in tasks],
    }


def write_results(
    out: Path,
    run: Run,
    outcome: Outcome,
    metrics: dict[str, Any],
    provenance: dict[str, Any],
    data: dict[str, Any],
) -> dict[str, Any]:
    """Write every file of the contract, each whole or not at all, metrics.json last and with a
    digest of every other file. Results of an earlier training are no results from the start on.

    With the weights go all that is needed to use them without the data: see `data_facts`.

    Returns:
        The metrics, with the bytes on disk of a task's mask (0 for dense methods, which need none)
        and the digests of `dstcl.study.seal`.
    """
    store = outcome.store
    path = {key: out / name for key, name in ALL_FILES.items()}
    shapes = {name: list(value.shape) for name, value in store.dense.items()}
    masks = {
        f"task{task}/{name}": packed
        for task, subnet in enumerate(store.subnets, start=1)
        for name, packed in subnet.masks.packed.items()
    }
    weights = {f"dense/{name}": value for name, value in store.dense.items()} | {
        f"task{task}/{name}": value
        for task, subnet in enumerate(store.subnets, start=1)
        for name, value in subnet.local.items()
    }
    weights |= {f"common/{name}": value for name, value in store.common().items()}
    outputs = find_head(store.network)[1].out_features
    path["metrics"].unlink(missing_ok=True)
    write_json(path["config"], run.to_dict())
    write_table(path["accuracy"], ACCURACY, outcome.accuracy)
    write_table(path["history"], HISTORY, outcome.history)
    write_table(path["capacity"], CAPACITY, outcome.capacity())
    overlaps = overlap_rows([subnet.masks for subnet in store.subnets])
    write_table(path["overlap"], OVERLAP, overlaps)
    if run.controller is not None:
        write_table(path["decisions"], DECISIONS, outcome.decisions)
    write_tensors(path["masks"], masks, {"shapes": shapes})
    write_tensors(
        path["weights"], weights, {"digest": run.digest, "outputs": outputs, "data": data}
    )
    write_json(path["provenance"], provenance)
    mask_bytes = 0 if run.init == "none" else path["masks"].stat().st_size / len(store.subnets)
    metrics = sealed(metrics | {"mask_bytes": mask_bytes}, out, run.result_files)
    write_json(path["metrics"], metrics)
    return metrics
