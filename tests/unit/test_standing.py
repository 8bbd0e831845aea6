"""Finished runs vouch for themselves: the code and the data that made them are compared with those
of now, by what the run itself says."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import zeros

from dstcl.cli import main
from dstcl.evaluation.collect import CollectError, collect
from dstcl.evaluation.consistency import check_study
from dstcl.evaluation.merge import MergeError, merge
from dstcl.jobs.many import Place
from dstcl.storage import METADATA, read_json, write_json
from dstcl.study import standing
from dstcl.study.code import training_code
from dstcl.study.run import RESULT_FILES, Run
from dstcl.study.standing import VOUCHED, doubt_of, vouch, vouched_for, why_again
from helpers.finished import finished_run, small_study
from helpers.runs import quick_run

RUN = quick_run(tasks=2)
DATA = {"data_digest": "images", "tasks_digest": "split"}


def prepare(data: Path, run: Run = RUN, images: str = "images", split: str = "split") -> Path:
    """What there is of prepared data and of its split, with these digests."""
    file = data / run.data_file
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({"images": zeros(1)}, file, {METADATA: json.dumps({"digest": images})})
    content = {"tasks": [], "data_digest": images, "digest": split}
    write_json(data / run.tasks_file, content)
    return data


def test_a_run_of_todays_code_and_data_is_not_doubted(tmp_path: Path) -> None:
    folder, data = finished_run(tmp_path, RUN, provenance=DATA), prepare(tmp_path / "data")
    assert doubt_of(RUN, folder, data) is None
    assert why_again(RUN, folder, data) is None


@pytest.mark.parametrize(
    ("changes", "about", "certain"),
    [
        ({"code": "0123456789abcdef"}, "code", True),
        ({"code": None}, "code", False),
        ({"data_digest": "others"}, "data", True),
        ({"data_digest": None}, "data", False),
        ({"tasks_digest": "another"}, "data", True),
        ({"tasks_digest": None}, "data", False),
    ],
)
def test_other_code_data_or_splits_are_doubted(
    tmp_path: Path, changes: dict[str, str | None], about: str, certain: bool
) -> None:
    folder = finished_run(tmp_path, RUN, provenance=DATA | changes)
    doubt = doubt_of(RUN, folder, prepare(tmp_path / "data"))
    assert doubt
    assert (doubt.about, doubt.certain) == (about, certain)
    assert str(folder) in str(why_again(RUN, folder, tmp_path / "data"))


def test_data_that_is_not_there_is_not_compared(tmp_path: Path) -> None:
    folder = finished_run(tmp_path, RUN, provenance=DATA | {"data_digest": "others"})
    assert doubt_of(RUN, folder, tmp_path / "nowhere") is None
    assert doubt_of(RUN, folder, None) is None


def test_data_prepared_anew_is_seen_by_the_same_process(tmp_path: Path) -> None:
    folder, data = finished_run(tmp_path, RUN, provenance=DATA), prepare(tmp_path / "data")
    assert doubt_of(RUN, folder, data) is None
    prepare(data, images="IMAGES")
    assert doubt_of(RUN, folder, data)
    prepare(data)
    os.utime(data / RUN.data_file, ns=(0, 0))
    assert doubt_of(RUN, folder, data) is None


@pytest.mark.parametrize("name", [n for n in RESULT_FILES.values() if n != "metrics.json"])
def test_a_finished_run_without_one_of_its_files_is_trained_again(
    tmp_path: Path, name: str
) -> None:
    folder = finished_run(tmp_path, RUN)
    (folder / name).unlink()
    assert why_again(RUN, folder, None) == f"{folder / name}: no such file"


def test_a_run_that_has_not_finished_is_none_that_is_trained_again(tmp_path: Path) -> None:
    folder = finished_run(tmp_path, RUN, provenance={"code": "other"})
    (folder / "metrics.json").unlink()
    assert why_again(RUN, folder, None) is None
    assert why_again(RUN, tmp_path / "nowhere", None) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_run_that_cannot_be_asked_is_trained_again(tmp_path: Path, content: str) -> None:
    folder = finished_run(tmp_path, RUN)
    (folder / "provenance.json").write_text(content)
    assert "provenance.json" in str(why_again(RUN, folder, None))


def test_somebody_can_vouch_for_the_code_and_only_for_that_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = finished_run(tmp_path, RUN, provenance={"code": "old"})
    assert vouch(RUN, folder, "a comment")
    assert not vouch(RUN, folder, "again")
    assert doubt_of(RUN, folder, None) is None
    assert vouched_for(RUN, folder) == "a comment"
    (entry,) = read_json(folder / VOUCHED)
    assert (entry["code"], entry["made_by"]) == (training_code(RUN), "old")
    # Code of tomorrow: what somebody said of today's does not count.
    with monkeypatch.context() as patch:
        patch.setattr(standing, "training_code", lambda run: "tomorrow's")
        assert doubt_of(RUN, folder, None)
        assert vouched_for(RUN, folder) is None
    # Trained again by other code: what was said of the earlier training does not count.
    finished_run(tmp_path, RUN, provenance={"code": "older"})
    assert doubt_of(RUN, folder, None)


def test_nobody_can_vouch_for_other_data(tmp_path: Path) -> None:
    folder = finished_run(tmp_path, RUN, provenance=DATA | {"data_digest": "others"})
    data = prepare(tmp_path / "data")
    assert not vouch(RUN, folder, "no number changes")
    assert doubt_of(RUN, folder, data)


def test_a_run_that_does_not_say_its_code_can_be_vouched_for(tmp_path: Path) -> None:
    folder = finished_run(tmp_path, RUN, provenance={"code": None})
    assert vouch(RUN, folder, "made yesterday")
    assert doubt_of(RUN, folder, None) is None


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '[{"code": "x"}]'])
def test_a_damaged_word_is_named(tmp_path: Path, content: str) -> None:
    folder = finished_run(tmp_path, RUN, provenance={"code": "old"})
    (folder / VOUCHED).write_text(content)
    with pytest.raises(ValueError, match=VOUCHED):
        doubt_of(RUN, folder, None)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study whose run is of other code."""
    study = small_study(tmp_path / "study", [RUN], provenance=DATA | {"code": "old"})
    for name in ("summary", "accuracy", "capacity"):
        (study / f"{name}.csv").write_text(f"digest\n{RUN.digest}\n")
    return study


COMMANDS: list[Callable[[Path, Path | None], object]] = [
    lambda study, data: collect([RUN], study, data=data),
    lambda study, data: check_study([RUN], study, data=data),
    lambda study, data: merge([study], study.with_name("merged"), data=data),
]


@pytest.mark.parametrize("command", COMMANDS, ids=["collect", "check", "merge"])
def test_commands_refuse_other_code_and_other_data(
    study: Path, command: Callable[[Path, Path | None], object]
) -> None:
    words = (
        r"made by other code \(old\) than today's \([0-9a-f]{16}\); train it again; `dstcl vouch"
    )
    with pytest.raises((CollectError, MergeError), match=words):
        command(study, None)
    vouch(RUN, study / "runs" / RUN.folder, "a comment")
    data = prepare(study.with_name("data"), images="IMAGES")
    with pytest.raises((CollectError, MergeError), match=r"trained on another .*safetensors"):
        command(study, data)
    prepare(data)
    command(study, data)


def test_a_table_says_which_runs_rest_on_somebodys_word(study: Path) -> None:
    vouch(RUN, study / "runs" / RUN.folder, "a comment")
    collect([RUN], study)
    header, row = (study / "provenance.csv").read_text().splitlines()
    found = dict(zip(header.split(","), row.split(",")))
    assert (found["code"], found["vouched"], found["sealed"]) == ("old", "a comment", "True")


def test_runs_that_do_not_say_are_read_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_study(tmp_path, [RUN], provenance={"code": None}, seal=False)
    main(["collect", str(tmp_path), "--data", str(tmp_path / "nowhere")])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("1 of 1 runs are unverified")
    assert said[1].endswith("does not say which code made it")


def test_train_study_counts_only_runs_of_now_as_finished(tmp_path: Path) -> None:
    place = Place(prepare(tmp_path / "data"), tmp_path / "runs", tmp_path / "logs")
    folder = finished_run(tmp_path, RUN, provenance=DATA)
    assert place.finished(RUN)
    prepare(tmp_path / "data", images="IMAGES")
    assert place.finished(RUN) is None
    prepare(tmp_path / "data", split="other classes")
    assert place.finished(RUN) is None
    prepare(tmp_path / "data")
    assert place.finished(RUN)
    (folder / "masks.safetensors").unlink()
    assert place.finished(RUN) is None


def test_the_command_vouches_for_runs_that_match_and_wants_a_reason(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = study / "runs" / RUN.folder
    for options, words in (
        (["--only", "nothing"], "no finished run matches --only 'nothing'"),
        (["--reason", " \n"], "--reason: empty"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["vouch", str(study), "--reason", "a comment", *options])
        assert words in str(end.value.code)
    assert not (folder / VOUCHED).exists()
    main(["vouch", str(study), "--reason", "two\nlines"])
    assert (
        capsys.readouterr().err
        == "1 of 1 finished runs were made by other code and are now up to date\n"
    )
    assert vouched_for(RUN, folder) == "two lines"
    main(["vouch", str(study), "--reason", "again"])
    assert capsys.readouterr().err.startswith("0 of 1 ")


def test_planning_needs_neither_torch_nor_pandas(tmp_path: Path) -> None:
    data = prepare(tmp_path / "data")
    folder = finished_run(tmp_path, RUN, provenance=DATA | {"data_digest": "others"})
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from dstcl.study.run import Run\n"
        "from dstcl.study.standing import why_again\n"
        "run = Run.from_dict(json.loads(Path(sys.argv[1], 'config.json').read_text()))\n"
        "assert 'trained on another' in why_again(run, Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "assert not {'torch', 'pandas', 'mlflow'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(data)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
