"""The benchmark of methods side by side: what a record holds, and when it goes on."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from dstcl.sparse import maskable_weights

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patching:
        patching.syspath_prepend(str(FOLDER))
        yield importlib.import_module("sparse_methods")


@pytest.fixture(scope="module")
def images(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    subjects = importlib.import_module("subjects")
    folder = tmp_path_factory.mktemp("data")
    data = subjects.random_data(400, 8, 3, tasks=1)
    return Path(subjects.write_data(folder, data, subjects.task_classes(1))[0])


def command(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["sparse_methods.py", *map(str, arguments)])
    bench.main()


@pytest.mark.parametrize("method", ["dense", "static", "set", "snfs", "rigl", "gradual"])
def test_a_run_ends_with_as_many_weights_as_its_density_says(
    bench: ModuleType, images: Path, method: str
) -> None:
    cell = bench.Cell(0, method, 1.0 if method == "dense" else 0.1)
    row = bench.train(cell, images, epochs=2)
    total = sum(weight.numel() for weight in maskable_weights(bench.network(3, 10)).values())
    # Layers are rounded one by one.
    assert abs(row["active"] - cell.density * total) <= 4
    assert 0 <= row["accuracy"] <= 1


def test_runs_of_one_seed_begin_with_the_same_weights_and_batches(
    bench: ModuleType, images: Path
) -> None:
    """Density 1 leaves nothing to choose, so a method cannot differ from the dense network."""
    dense = bench.train(bench.Cell(3, "dense", 1.0), images, epochs=1)
    static = bench.train(bench.Cell(3, "static", 1.0), images, epochs=1)
    assert dense["accuracy"] == static["accuracy"]


def test_a_record_is_gone_on_with(
    bench: ModuleType,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = tmp_path / "record.csv"
    given = ("--data", images, "--out", record, "--jobs", 1, "--epochs", 1, "--densities", 0.5)
    command(bench, monkeypatch, *given, "--seeds", 1)
    first = bench.read_record(record)
    assert [row["method"] for row in first] == ["dense", *bench.METHODS]
    capsys.readouterr()
    command(bench, monkeypatch, *given, "--seeds", 1)
    assert bench.read_record(record) == first
    assert "6 of 6 runs are in record.csv" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        command(bench, monkeypatch, *given[:-4], "--epochs", 2, "--densities", 0.5)
    assert ended.value.code == 2
    assert "--epochs: record.csv has runs of other lengths" in capsys.readouterr().err


def test_runs_of_other_images_are_not_mixed(
    bench: ModuleType, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "record.csv"
    row = bench.train(bench.Cell(0, "dense", 1.0), images, epochs=1)
    bench.add(record, row | {"data_digest": "another"})
    with pytest.raises(SystemExit):
        command(bench, monkeypatch, "--data", images, "--out", record, "--epochs", 1)


def test_differences_are_paired_by_seed(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seed 2 has no static mask, so SET's difference is that of seeds 0 and 1: 1 and 3 points."""
    accuracies = {("static", 0): 0.50, ("static", 1): 0.60, ("set", 0): 0.51, ("set", 1): 0.63,
                  ("set", 2): 0.90, ("rigl", 0): 0.52}  # fmt: skip
    rows = [
        {"method": method, "density": "0.1", "seed": str(seed), "accuracy": str(accuracy)}
        for (method, seed), accuracy in accuracies.items()
    ]
    bench.show(rows, (0.1,))
    absolute, paired = capsys.readouterr().out.split("minus static, paired by seed:")
    assert "| static | 55.0 (-8.5 to 118.5; 2) |" in absolute
    assert "| rigl | 52.0 (1) |" in absolute
    # Student's t for one degree of freedom: 12.706.
    assert "| set | 2.0 (-10.7 to 14.7; 2) |" in paired
    assert "| rigl | 2.0 (1) |" in paired
    assert "| snfs |  |" in paired
