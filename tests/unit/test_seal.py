"""What a run wrote can be told from what was changed since; accuracies agree with metrics."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstcl.evaluation.collect import CollectError, collect
from dstcl.evaluation.verify import verify_runs
from dstcl.study.run import ALL_FILES, RESULT_FILES, Run
from dstcl.study.seal import LARGE, SMALL, check_seal, sealed
from helpers.finished import csv_text, finished_run
from helpers.runs import quick_run

RUN = quick_run(tasks=2)
ALL = tuple(RESULT_FILES)
ACCURACY = ("after_task", "task", "accuracy")


def flip(path: Path, place: int = -1) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def metrics_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def verify(study: Path, run: Run = RUN, thorough: bool = False) -> list[str]:
    return verify_runs([run], study / "runs", thorough=thorough).lines()


def test_a_run_as_it_was_written_is_verified(tmp_path: Path) -> None:
    folder = finished_run(tmp_path, RUN)
    assert check_seal(folder, metrics_of(folder), ALL)
    assert verify(tmp_path) == verify(tmp_path, thorough=True) == []


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "metrics"])
def test_one_bit_of_any_file_is_noticed_and_named(tmp_path: Path, kind: str) -> None:
    folder = finished_run(tmp_path, RUN)
    flip(folder / RESULT_FILES[kind])
    with pytest.raises(ValueError, match=rf"{RESULT_FILES[kind]}: changed since the run wrote it"):
        check_seal(folder, metrics_of(folder), ALL)


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind != "metrics"])
def test_a_missing_file_is_named(tmp_path: Path, kind: str) -> None:
    folder = finished_run(tmp_path, RUN)
    (folder / RESULT_FILES[kind]).unlink()
    with pytest.raises(ValueError, match=rf"{RESULT_FILES[kind]}: no such file"):
        check_seal(folder, metrics_of(folder), ALL)


@pytest.mark.parametrize("key", ["used_fraction", "mask_bytes", "seconds", "bwt", "new"])
def test_any_edit_of_metrics_is_noticed(tmp_path: Path, key: str) -> None:
    folder = finished_run(tmp_path, RUN)
    path = folder / "metrics.json"
    path.write_text(json.dumps(metrics_of(folder) | {key: 7.5}))
    with pytest.raises(CollectError, match=r"metrics\.json: changed since"):
        verify(tmp_path)


@pytest.mark.parametrize("kind", LARGE)
def test_large_files_are_verified_when_asked_for(tmp_path: Path, kind: str) -> None:
    folder = finished_run(tmp_path, RUN)
    flip(folder / RESULT_FILES[kind])
    verify(tmp_path)
    with pytest.raises(CollectError, match=rf"{RESULT_FILES[kind]}: changed since"):
        verify(tmp_path, thorough=True)


def test_small_and_large_files_are_all_files() -> None:
    assert {*SMALL, *LARGE} == set(ALL_FILES)


def test_older_runs_are_read_and_said_to_be_unverified(tmp_path: Path) -> None:
    finished_run(tmp_path, RUN, seal=False)
    (line,) = verify(tmp_path, thorough=True)
    assert line.startswith("1 of 1 runs are unverified")


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    )
)
def test_a_seal_survives_the_way_through_a_file(values: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dstcl.study.seal.file_digest", lambda path: path.name)
        written = json.dumps(sealed(values, Path()))
        assert check_seal(Path(), json.loads(written), ALL)


# Accuracies, also where there is no seal


TABLE = [(0, 1, 0.2), (0, 2, 0.2), (1, 1, 0.9), (1, 2, 0.2), (2, 1, 0.75), (2, 2, 0.25)]


def with_table(study: Path, rows: list[tuple[Any, ...]], **metrics: Any) -> Path:
    table = csv_text(ACCURACY, rows)
    return finished_run(study, RUN, metrics=metrics, files={"accuracy": table}, seal=False)


def test_accuracies_that_agree_pass(tmp_path: Path) -> None:
    with_table(tmp_path, TABLE, acc=0.5)
    verify(tmp_path)


@pytest.mark.parametrize("acc", [7.5, 0.99, 0.50001, -0.5, float("inf")])
def test_another_acc_than_that_of_the_table_is_refused(tmp_path: Path, acc: float) -> None:
    folder = with_table(tmp_path, TABLE, acc=0.5)
    path = folder / "metrics.json"
    path.write_text(json.dumps(metrics_of(folder) | {"acc": acc}))
    with pytest.raises(CollectError, match=r"metrics\.json: acc is .*accuracy\.csv says 0\.5"):
        collect([RUN], tmp_path)


@pytest.mark.parametrize("gone", [2, 4, 5])
def test_a_row_that_is_missing_is_named(tmp_path: Path, gone: int) -> None:
    after, task, _ = TABLE[gone]
    with_table(tmp_path, TABLE[:gone] + TABLE[gone + 1 :], acc=0.5)
    with pytest.raises(CollectError, match=f"no accuracy of task {task} after task {after}"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ((2, 2, 5.0), "line 8: task 2 twice"),
        ((3, 1, 0.5), "more than the 2 tasks"),
        ((3, 1, -0.5), "line 8: accuracy -0.5 is not between 0 and 1"),
        ((3, 1, 5.0), "line 8: accuracy 5.0 is not between 0 and 1"),
        ((3, 1, "nan"), "line 8: accuracy nan is not between 0 and 1"),
        ((3, 1, "=1+1"), "line 8 is not of numbers"),
        (("", 1, 0.5), "line 8 is not of numbers"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, row: tuple[Any, ...], words: str) -> None:
    with_table(tmp_path, [*TABLE, row], acc=0.5)
    with pytest.raises(CollectError) as caught:
        verify(tmp_path)
    assert words in str(caught.value)
    assert "accuracy.csv" in str(caught.value)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    with_table(tmp_path, [], acc=0.5)
    with pytest.raises(CollectError, match="no accuracy of task 1 after task 1"):
        verify(tmp_path)


def test_tasks_learned_together_have_a_last_row_alone(tmp_path: Path) -> None:
    joint = quick_run(tasks=2, method="joint", density=1.0, init="none", growth="none")
    table = csv_text(ACCURACY, [(2, 1, 0.5), (2, 2, 0.75)])
    finished_run(tmp_path, joint, files={"accuracy": table})
    assert verify(tmp_path, joint) == []
