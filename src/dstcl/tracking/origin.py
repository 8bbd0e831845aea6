"""What a model must know of the data that its run was trained on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dstcl.storage import METADATA, read_json
from dstcl.study.run import RESULT_FILES, Run


@dataclass(frozen=True)
class Origin:
    """Facts of a prepared data set and its task split.

    Attributes:
        class_names: of each task, in the order of the outputs.
        mean, std: a value a channel, on the scale 0 to 1.
        example: an image, uint8, (1, C, S, S), as a NumPy array.
    """

    class_names: list[list[str]]
    mean: list[float]
    std: list[float]
    example: Any


def read_origin(run: Run, folder: Path, tasks: Path | None, data: Path | None) -> Origin:
    """Read the split and the head of the prepared file.

    Args:
        run: of the folder.
        folder: of the run.
        tasks, data: split and prepared file; default: where the pipeline keeps them, in ``data/``
            beside ``results/``.

    Raises:
        ValueError: naming the file that is missing, or is not the one that the run was trained on.
    """
    place = Path(folder.resolve().as_posix().rpartition("/results/")[0], "data")
    tasks, data = tasks or place / run.tasks_file, data or place / run.data_file
    split, (facts, example) = read_json(tasks), _head(data)
    expected = read_json(folder / RESULT_FILES["provenance"])
    for file, found, wanted in (
        (tasks, split.get("digest"), expected.get("tasks_digest")),
        (data, facts.get("digest"), expected.get("data_digest")),
    ):
        if found != wanted:
            raise ValueError(
                f"{file}: digest {found}, but {folder} was trained on {wanted}; name the right file"
            )
    names = [list(map(str, names)) for names in split["class_names"]]
    return Origin(names, facts["mean"], facts["std"], example)


def _head(data: Path) -> tuple[dict[str, Any], Any]:
    """Metadata and first image of a prepared file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(data, framework="numpy") as file:
            return json.loads(file.metadata()[METADATA]), file.get_slice("images")[:1]
    except FileNotFoundError:
        raise ValueError(f"{data}: no such file") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{data}: not a prepared data set ({error})") from None
