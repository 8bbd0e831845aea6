"""What a run is trained on must be what it asks for: a file of another run is refused by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dstcl.data.stored import Prepared, split_digest
from dstcl.data.tasks import write_tasks
from dstcl.jobs.train import train_run
from dstcl.storage import read_json, write_json
from dstcl.study.run import Run
from helpers.runs import changed, write_prepared

Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, digits: Prepared) -> Files:
    """Digits as they are prepared, and their split for seed 0."""
    folder = tmp_path_factory.mktemp("made")
    data, tasks = folder / "digits.safetensors", folder / "seed0.json"
    write_prepared(data, replace(digits, dataset="mnist5k"))
    write_tasks(data, "mnist5k", 5, "seed0", tasks)
    return data, tasks


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"seed": 1}, "the split 'seed0', the run needs 'seed1'"),
        ({"class_order": "natural"}, "the split 'seed0', the run needs 'natural'"),
        ({"task_sizes": [4, 2, 2, 2]}, "5 tasks, the run has 4"),
        ({"task_sizes": [2, 2, 2, 2, 2]}, "the run needs 'seed0-sizes5x2'"),
        ({"validation": 0.1}, "the run needs 'seed0-val0.1'"),
        ({"image_size": 64}, "images of 28 x 28 pixels, the run has data.image_size 64"),
        ({"dataset": "cifar100"}, "images of mnist5k, the run is on cifar100"),
    ],
)
def test_files_of_another_run_are_refused(
    change: dict[str, Any], problem: str, short_run: Run, made: Files, tmp_path: Path
) -> None:
    run = changed(short_run, **{"tasks": len(change.get("task_sizes", range(5))), **change})
    with pytest.raises(ValueError, match=problem) as refused:
        train_run(run, *made, tmp_path / "out", device="cpu")
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(tuple(map(str, made))), "names the file"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"order": None}, "the split None, the run needs 'seed0'"),
        ({"data_digest": "another"}, "made for other data than"),
    ],
)
def test_a_split_of_other_data_or_of_an_unknown_order_is_refused(
    change: dict[str, Any], problem: str, short_run: Run, made: Files, tmp_path: Path
) -> None:
    data, tasks = made
    split = read_json(tasks) | change
    write_json(tmp_path / "split.json", split | {"digest": split_digest(split)})
    with pytest.raises(ValueError, match=problem):
        train_run(short_run, data, tmp_path / "split.json", tmp_path / "out", device="cpu")


def test_the_files_of_the_run_are_taken(short_run: Run, made: Files, tmp_path: Path) -> None:
    run = changed(short_run, epochs=1)
    assert 0 < train_run(run, *made, tmp_path / "out", device="cpu")["acc"] <= 1
