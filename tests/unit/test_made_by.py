"""Prepared files and splits say which code made them: what other code made is made again, reported
and not trained on; what does not say is used with a word."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from image_trees import encoded, picture, unpacked

from dstcl.cli import main
from dstcl.codedigest import Package
from dstcl.data import made_by
from dstcl.data.catalog import DatasetInfo
from dstcl.data.check import check
from dstcl.data.made_by import check_made_by, record_file
from dstcl.data.prepare import prepare
from dstcl.data.stored import Prepared, load_prepared, read_tasks
from dstcl.data.tasks import write_tasks
from dstcl.evaluation.collect import CollectError, collect
from dstcl.jobs.many import Place, train_many
from dstcl.jobs.train import train_run
from dstcl.storage import read_json, write_json
from dstcl.study.data_standing import (
    doubt_of_data,
    why_not_prepared,
    why_prepare_again,
    why_split_again,
)
from dstcl.study.run import Run
from helpers.finished import finished_run
from helpers.runs import REPOSITORY, changed, write_prepared

OTHER = "0123456789abcdef"


@pytest.fixture
def run(short_run: Run) -> Run:
    return changed(short_run, tasks=2, epochs=1)


@pytest.fixture
def data(tmp_path: Path, mnist_files: Path, run: Run) -> Path:
    """A folder with prepared/ and tasks/ as the rules make them, with their records."""
    return shutil.copytree(mnist_files, tmp_path / "data")


@pytest.fixture(scope="module")
def mnist_files(tmp_path_factory: pytest.TempPathFactory, short_run: Run) -> Path:
    folder, wanted = tmp_path_factory.mktemp("made") / "data", changed(short_run, tasks=2)
    prepare("mnist5k", 28, folder / wanted.data_file)
    write_tasks(
        folder / wanted.data_file, "mnist5k", 2, wanted.order_name, folder / wanted.tasks_file
    )
    return folder


def made_by_other_code(path: Path) -> None:
    record = record_file(path)
    write_json(record, read_json(record) | {"code": OTHER})


def files_of(run: Run, data: Path) -> tuple[Path, Path]:
    return data / run.data_file, data / run.tasks_file


# What a record says


def test_what_was_just_made_is_of_todays_code(run: Run, data: Path) -> None:
    prepared, split = files_of(run, data)
    assert check_made_by(prepared, load_prepared(prepared).digest)
    assert check_made_by(split, read_tasks(split)["digest"])
    assert doubt_of_data(prepared) is doubt_of_data(split) is None
    assert read_json(record_file(prepared))["modules"] == ["data.prepare", "data.readers.mnist5k"]


@pytest.mark.parametrize(
    ("file", "makes_anew"),
    [
        ("data/readers/mnist5k.py", {"mnist5k"}),
        ("data/readers/cifar.py", {"layouts"}),
        ("data/readers/parquet.py", {"layouts"}),
        ("data/readers/source.py", {"mnist5k", "layouts", "split"}),
        ("data/prepare.py", {"mnist5k", "layouts"}),
        ("data/tasks.py", {"split"}),
        ("data/batches.py", set()),
        ("continual/learner.py", set()),
    ],
)
def test_a_file_is_made_by_its_own_reader(tmp_path: Path, file: str, makes_anew: set[str]) -> None:
    """Oracle: digests of a copy of the package in which one module has one more constant."""
    copy = shutil.copytree(REPOSITORY / "src" / "dstcl", tmp_path / "dstcl")
    with (copy / file).open("a") as text:
        text.write("\nADDED = 1\n")
    modules = {
        "mnist5k": ("data.prepare", "data.readers.mnist5k"),
        "layouts": ("data.prepare", "data.readers.layouts"),
        "split": made_by.SPLIT_MODULES,
    }
    now, then = (Package(folder) for folder in (REPOSITORY / "src" / "dstcl", copy))
    assert {n for n, m in modules.items() if now.digest(m) != then.digest(m)} == makes_anew


def test_a_set_of_image_files_names_the_reader_of_layouts(
    tmp_path: Path,
) -> None:
    own = DatasetInfo(2, 3, 8, (), (), 0, 0, "Toy", path=str(tmp_path / "toy"))
    images = {f"{name}/{k}.png": encoded(picture(k, 8, 8, 3)) for name in "ab" for k in range(6)}
    unpacked(tmp_path / "toy", images)
    prepare("toy", 8, tmp_path / "toy-8px.safetensors", own)
    made = read_json(tmp_path / "toy-8px.made_by.json")
    assert made["modules"] == ["data.prepare", "data.readers.layouts"]
    assert why_prepare_again(tmp_path / "toy-8px.safetensors", "toy", own) is None
    # Without Snakemake's memory, other facts of the entry are seen too.
    other = replace(own, mean=(0.1, 0.1, 0.1))
    said = why_prepare_again(tmp_path / "toy-8px.safetensors", "toy", other)
    assert "made with other facts of the data set" in str(said)
    next((tmp_path / "toy").rglob("*.png")).unlink()
    said = why_prepare_again(tmp_path / "toy-8px.safetensors", "toy", own)
    assert "made from another source" in str(said)


def test_a_record_of_other_content_says_nothing(run: Run, data: Path, digits: Prepared) -> None:
    """As after a file was put there by hand: it may be of any code."""
    prepared, _ = files_of(run, data)
    write_prepared(prepared, replace(digits, dataset="mnist5k"))
    assert not check_made_by(prepared, load_prepared(prepared).digest)
    doubt = doubt_of_data(prepared)
    assert doubt
    assert not doubt.certain


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"digest": 3}', '{"digest": "a", "code": "b"}']
)
def test_a_damaged_record_is_named(run: Run, data: Path, content: str) -> None:
    prepared, _ = files_of(run, data)
    record_file(prepared).write_text(content)
    doubt = doubt_of_data(prepared)
    assert doubt
    assert doubt.certain
    assert doubt.text.startswith(f"{record_file(prepared)}: ")
    assert why_prepare_again(prepared, "mnist5k") == doubt.text


def test_a_module_that_is_gone_is_other_code(run: Run, data: Path) -> None:
    prepared, _ = files_of(run, data)
    record = record_file(prepared)
    write_json(record, read_json(record) | {"modules": ["data.readers.gone"]})
    with pytest.raises(ValueError, match="without one of its modules"):
        check_made_by(prepared, load_prepared(prepared).digest)


# Who notices


@pytest.mark.parametrize("which", [0, 1])
def test_files_of_other_code_are_noticed_by_all(
    run: Run, data: Path, which: int, tmp_path: Path
) -> None:
    files = files_of(run, data)
    made_by_other_code(files[which])
    told = f"{files[which]}: made by other code ({OTHER}) than today's"
    with pytest.raises(ValueError) as refused:
        train_run(run, *files, tmp_path / "out", device="cpu")
    assert str(refused.value).startswith(told)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError) as refused:
        train_many([run], Place(data, tmp_path / "runs", tmp_path / "logs"), 1, print)
    assert str(refused.value).startswith(told)
    assert not (tmp_path / "runs").exists()
    again = [why_prepare_again(files[0], "mnist5k"), why_split_again(files[1], files[0])]
    assert [bool(reason) for reason in again] == [which == 0, which == 1]


@pytest.mark.parametrize("which", [0, 1])
def test_results_beside_data_of_other_code_are_not_collected(
    run: Run, data: Path, which: int, tmp_path: Path
) -> None:
    files = files_of(run, data)
    digests = {
        "data_digest": load_prepared(files[0]).digest,
        "tasks_digest": read_tasks(files[1])["digest"],
    }
    finished_run(tmp_path / "study", run, provenance=digests)
    collect([run], tmp_path / "study", data=data)
    made_by_other_code(files[which])
    with pytest.raises(CollectError, match="made by other code"):
        collect([run], tmp_path / "study", data=data)
    collect([run], tmp_path / "study")
    record_file(files[which]).unlink()
    said: list[str] = []
    collect([run], tmp_path / "study", data=data, say=said.append)
    assert f"{files[which]}: does not say which code made it" in "".join(said)


def test_files_that_do_not_say_are_trained_on_with_a_word(
    run: Run, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(run, data)
    expected = train_run(run, *files, tmp_path / "said", device="cpu")["acc"]
    assert "not known" not in capsys.readouterr().err
    for file in files:
        record_file(file).unlink()
    assert train_run(run, *files, tmp_path / "out", device="cpu")["acc"] == expected
    assert f"{files[0]}, {files[1]}: which code made it is not known" in capsys.readouterr().err


def test_data_check_reports_it(run: Run, data: Path) -> None:
    prepared, _ = files_of(run, data)
    assert "made by the code of now" in check(prepared).lines
    record_file(prepared).rename(tmp := prepared.with_name("kept"))
    report = check(prepared)
    assert "made by code that is not known" in report.lines
    assert report.problems == []
    tmp.rename(record_file(prepared))
    made_by_other_code(prepared)
    assert "made by other code" in "".join(check(prepared).problems)


def test_preparing_says_whether_the_content_is_what_it_was(
    run: Run, data: Path, capsys: pytest.CaptureFixture[str], digits: Prepared
) -> None:
    prepared, _ = files_of(run, data)
    command = ["data", "prepare", "mnist5k", "--image-size", "28", "--out", str(prepared)]
    made_by_other_code(prepared)
    main(command)
    assert capsys.readouterr().err.endswith("digest 8c63fe16b22f0093, as before\n")
    assert doubt_of_data(prepared) is None
    other = write_prepared(prepared, replace(digits, dataset="mnist5k"))
    main(command)
    assert capsys.readouterr().err.endswith(f"digest 8c63fe16b22f0093, was {other.digest}\n")
    prepared.unlink()
    main(command)
    assert capsys.readouterr().err.endswith("digest 8c63fe16b22f0093\n")


def test_a_split_of_data_that_were_made_anew_is_made_again(
    run: Run, data: Path, digits: Prepared
) -> None:
    prepared, split = files_of(run, data)
    assert why_split_again(split, prepared) is None
    write_prepared(prepared, replace(digits, dataset="mnist5k"))
    assert f"{split}: made for other data than" in str(why_split_again(split, prepared))
    prepared.unlink()
    assert why_split_again(split, prepared) is None
    for content in ("", "[]", "null"):
        split.write_text(content)
        assert why_split_again(split, prepared) == f"{split}: not a task split"


def test_what_is_no_prepared_file_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "mnist5k-28px.safetensors"
    path.write_bytes(b"\0" * 100)
    assert why_prepare_again(path, "mnist5k") == f"{path}: not a prepared data set"


def test_why_a_set_cannot_be_prepared_names_the_command_that_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSTCL_DATA", str(tmp_path))
    assert why_not_prepared("mnist5k") is None, "part of an installed package"
    said = str(why_not_prepared("cifar100"))
    assert said.startswith(f"cifar100: one of {tmp_path / 'cifar100'}/ or ")
    assert said.endswith(
        "found nothing; set DSTCL_DATA to look elsewhere, or get it with: dstcl data add cifar100"
    )
    (tmp_path / "cifar100.zip").touch()
    assert why_not_prepared("cifar100") is None
    own = DatasetInfo(2, 3, 8, (), (), 0, 0, "Toy", path=str(tmp_path / "toy.zip"))
    assert why_not_prepared("toy", own) == (
        f"toy: {tmp_path / 'toy.zip'} is not there; datasets.toy.path names it"
    )
