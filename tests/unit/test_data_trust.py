"""What was trained on is what was meant: digests of prepared files and splits, and their memory."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dstcl.data import contents, stored
from dstcl.data.catalog import DATASETS
from dstcl.data.contents import remembered
from dstcl.data.prepare import prepare
from dstcl.data.readers.mnist5k import read_mnist5k
from dstcl.data.readers.source import Images
from dstcl.data.stored import Prepared, content_digest, load_prepared, read_prepared, read_tasks
from dstcl.data.tasks import write_tasks
from dstcl.evaluation.merge import MergeError, merge
from dstcl.jobs.train import train_run
from dstcl.storage import write_json
from dstcl.study.plan import write_plan
from dstcl.study.run import RESULT_FILES, Run
from helpers.runs import changed, task_split, write_prepared

INFO = DATASETS["mnist5k"]
UNTIMED = sorted(set(RESULT_FILES.values()) - {"metrics.json", "provenance.json"})


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST-5k with every tenth image."""
    whole = read_mnist5k()
    parts = (getattr(whole, name)[::10].copy() for name in ("pixels", "labels", "is_test"))
    images = Images(*parts, whole.class_names)
    monkeypatch.setattr("dstcl.data.readers.mnist5k.read_mnist5k", lambda: images)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests that were computed, one after the other."""
    found: list[str] = []

    def noted(data: Prepared) -> str:
        found.append(content_digest(data))
        return found[-1]

    monkeypatch.setattr(stored, "content_digest", noted)
    return found


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all files had been there for a while."""
    monkeypatch.setattr(contents, "SETTLED", -1.0)


def inputs(folder: Path, tasks: int = 2, seed: int = 0, **facts: Any) -> tuple[Path, Path]:
    """A prepared file and the split of it for a seed, as the rules make them."""
    data, split = folder / "digits.safetensors", folder / "tasks.json"
    prepare("mnist5k", 28, data, replace(INFO, **facts))
    write_tasks(data, "mnist5k", tasks, f"seed{seed}", split)
    return data, split


OTHER = {"mean": (0.2,), "std": (0.5,)}


# What a digest covers


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [0.2]},
        {"std": [0.31]},
        {"class_names": ["one", *"123456789"]},
        {"dataset": "other"},
        {"labels": torch.zeros(1000, dtype=torch.int64)},
        {"is_test": torch.zeros(1000, dtype=torch.bool)},
        {"images": torch.zeros(1000, 1, 28, 28, dtype=torch.uint8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_all_that_training_sees_decides_the_digest(
    digits: Prepared, change: dict[str, Any]
) -> None:
    assert content_digest(replace(digits, **change)) != content_digest(digits) == digits.digest


def test_pixels_in_another_shape_are_other_images() -> None:
    labels, part = torch.zeros(2, dtype=torch.int64), torch.tensor([False, True])
    one, other = (torch.zeros(2, 1, *size, dtype=torch.uint8) for size in ((2, 8), (4, 4)))
    rest = (labels, part, ["a"], [0.5], [0.5], "")
    assert content_digest(Prepared(one, *rest)) != content_digest(Prepared(other, *rest))


@pytest.mark.parametrize("facts", [{}, {"mean": (), "std": ()}, OTHER])
def test_a_file_says_the_digest_of_its_content(
    few: None, tmp_path: Path, facts: dict[str, Any]
) -> None:
    digest = prepare("mnist5k", 28, tmp_path / "data", replace(INFO, **facts))
    assert content_digest(read_prepared(tmp_path / "data")) == digest


# Normalisation


def test_a_checkpoint_ends_with_its_normalisation(
    few: None, short_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Own data, Ctrl-C, another mean in params.yaml, and on: not with what was begun."""

    def stop(task: int, epoch: int, row: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    run, out = changed(short_run, tasks=2), tmp_path / "cut"
    files = inputs(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_run(run, *files, out, device="cpu", progress=stop, checkpoint_every=0)
    assert list(out.glob("checkpoints/*"))
    assert inputs(tmp_path, **OTHER) == files
    train_run(run, *files, out, device="cpu")
    said = capsys.readouterr().err
    assert "data_digest was" in said
    assert "starting anew" in said
    train_run(run, *files, tmp_path / "fresh", device="cpu")
    for name in UNTIMED:
        assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes(), name


def test_halves_with_another_normalisation_are_not_merged(
    few: None, short_run: Run, tmp_path: Path
) -> None:
    planned = [changed(short_run, tasks=2, epochs=1, seed=seed) for seed in range(2)]
    halves = []
    for run, facts in zip(planned, ({}, OTHER), strict=True):
        half = tmp_path / f"half{run.seed}"
        write_plan("quick", planned, half / "plan.json")
        files = inputs(tmp_path, seed=run.seed, **facts)
        train_run(run, *files, half / "runs" / run.folder, device="cpu")
        halves.append(half)
    with pytest.raises(MergeError, match="trained on other images of mnist5k-28px"):
        merge(halves, tmp_path / "both")
    assert not (tmp_path / "both").exists()


# Files that are no longer what they were


def tampered(path: Path, data: Prepared, **change: Any) -> None:
    """Other content under the old digest."""
    said = data.digest
    write_prepared(path, replace(data, **change))
    content = path.read_bytes()
    written = read_json_header(content)["digest"]
    path.write_bytes(content.replace(written.encode(), said.encode(), 1))
    assert read_json_header(path.read_bytes())["digest"] == said


def read_json_header(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return dict(json.loads(header["__metadata__"]["dstcl"]))


def every_second_label(data: Prepared) -> torch.Tensor:
    labels = data.labels.clone()
    labels[::2] = (labels[::2] + 1) % 10
    return labels


@pytest.mark.parametrize("what", ["labels", "is_test", "mean", "class_names"])
def test_a_changed_prepared_file_is_not_trained_on(
    digits: Prepared, short_run: Run, tmp_path: Path, what: str
) -> None:
    data, split = tmp_path / "digits", tmp_path / "tasks.json"
    write_json(split, task_split(digits, [[0, 1], [2, 3]]))
    change: Any = {
        "labels": every_second_label(digits),
        "is_test": ~digits.is_test,
        "mean": [0.9],
        "class_names": [*"abcdefghij"],
    }[what]
    tampered(data, digits, **{what: change})
    with pytest.raises(ValueError) as caught:
        train_run(changed(short_run, tasks=2), data, split, tmp_path / "out", device="cpu")
    said = str(caught.value)
    assert said.startswith(f"{data}: its content has the digest ")
    assert f"not {digits.digest}" in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="its content has the digest"):
        write_tasks(data, "", 2, "natural", tmp_path / "other.json")


@pytest.mark.parametrize("label", [-1, 10, 99])
def test_labels_of_no_class_are_refused_whatever_the_digest_says(
    digits: Prepared, tmp_path: Path, label: int
) -> None:
    labels = digits.labels.clone()
    labels[7] = label
    write_prepared(tmp_path / "digits", replace(digits, labels=labels))
    with pytest.raises(ValueError, match=f"labels from .*{label}.*; there are 10 classes"):
        load_prepared(tmp_path / "digits")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": [0.5, 0.5]}, r"mean: \[0.5, 0.5\]; 1 values are needed"),
        ({"std": 0.5}, "std: 0.5; 1 values"),
        ({"class_names": []}, "no names of classes"),
        ({"is_test": torch.zeros(3, dtype=torch.bool)}, "not those of 1000 images"),
        ({"labels": torch.zeros(1000)}, "other numbers than those of images"),
    ],
)
def test_parts_that_do_not_fit_together_are_named(
    digits: Prepared, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    whole = write_prepared(tmp_path / "digits", digits)
    tampered_parts = replace(whole, **change)
    fields = vars(tampered_parts).copy()
    tensors = {key: fields.pop(key) for key in ("images", "labels", "is_test")}
    from dstcl.storage import write_tensors

    write_tensors(tmp_path / "digits", tensors, fields)
    with pytest.raises(ValueError, match=words):
        load_prepared(tmp_path / "digits")


@pytest.mark.parametrize("key", ["tasks", "data_digest", "validation", "more"])
def test_a_changed_task_file_is_refused(tmp_path: Path, key: str) -> None:
    content = task_split("d", [[0, 1], [2, 3]], validation=[1, 2])
    write_json(tmp_path / "tasks.json", content)
    assert read_tasks(tmp_path / "tasks.json") == content
    values = {"tasks": [[0, 2], [1, 3]], "data_digest": "e", "validation": [1], "more": 1}
    write_json(tmp_path / "tasks.json", content | {key: values[key]})
    with pytest.raises(ValueError, match=r"tasks.json: its content has the digest .*make it again"):
        read_tasks(tmp_path / "tasks.json")


# What is remembered


def test_a_file_is_verified_once_and_again_when_it_changes(
    digits: Prepared, tmp_path: Path, counted: list[str], settled: None
) -> None:
    path = tmp_path / "digits"
    write_prepared(path, digits)
    for _ in range(3):
        load_prepared(path)
    assert len(counted) == 1
    before = path.stat()
    time.sleep(0.05)
    tampered(path, digits, labels=every_second_label(digits))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    with pytest.raises(ValueError, match="its content has the digest"):
        load_prepared(path)
    time.sleep(0.05)
    write_prepared(path, digits)
    load_prepared(path)
    assert len(counted) == 3


def test_a_file_that_has_just_changed_is_not_remembered(
    digits: Prepared, tmp_path: Path, counted: list[str]
) -> None:
    """Within a step of a file system's clock it could change once more and look the same."""
    write_prepared(tmp_path / "digits", digits)
    for _ in range(2):
        load_prepared(tmp_path / "digits")
    assert len(counted) == 2


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settled: None) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def values() -> Iterator[str]:
    for number in range(100):
        yield f"value {number}"


@pytest.mark.parametrize(
    "harm", ["", "[" * 100_000, "[]", '{"state": 1}', '{"value": 7}', "\udc80", "folder", "gone"]
)
def test_a_damaged_or_deleted_memory_is_computed_anew(
    memory: Path, tmp_path: Path, harm: str
) -> None:
    (tmp_path / "file").write_text("content")
    given, files = values(), [("file", (tmp_path / "file").stat())]
    assert remembered("what", files, lambda: next(given)) == "value 0"
    assert remembered("what", files, lambda: next(given)) == "value 0"
    assert remembered("other", files, lambda: next(given)) == "value 1"
    for entry in memory.rglob("*.json"):
        entry.unlink()
        if harm == "folder":
            entry.mkdir()
        elif harm != "gone":
            entry.write_bytes(harm.encode("utf-8", "surrogateescape"))
    assert remembered("what", files, lambda: next(given)) == "value 2"


def test_no_memory_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settled: None
) -> None:
    (tmp_path / "file").write_text("a file where a folder should be")
    files = [("file", (tmp_path / "file").stat())]
    given = values()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for number in range(2):
        assert remembered("what", files, lambda: next(given)) == f"value {number}"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert remembered("what", files, lambda: next(given)) == "value 2"
