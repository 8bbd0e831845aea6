"""Files that are either whole or absent, and readers that name the file they cannot read."""

import csv
import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dstcl.storage import (
    read_json,
    read_tensors,
    read_yaml,
    write_bytes,
    write_json,
    write_table,
    write_tensors,
    write_text,
)

fuzzed = settings(max_examples=60, deadline=None, derandomize=True, database=None)

Write = Callable[[Path], None]

WRITERS: dict[str, Write] = {
    "bytes": lambda path: write_bytes(path, b"new"),
    "text": lambda path: write_text(path, "new"),
    "json": lambda path: write_json(path, {"new": 1}),
    "table": lambda path: write_table(path, ["new"], [{"new": 1}]),
    "tensors": lambda path: write_tensors(path, {"new": torch.ones(2)}, {}),
}


def broken_rows() -> Iterator[dict[str, int]]:
    yield {"a": 1}
    raise RuntimeError("the source of the rows failed")


# Atomic writes


@pytest.mark.parametrize("kind", WRITERS)
def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    WRITERS[kind](path)
    assert b"old" not in path.read_bytes()
    assert b"new" in path.read_bytes()
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "file", "new")
    assert (tmp_path / "a" / "b" / "file").read_text() == "new"


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("call", ["replace", "fsync", "chmod"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_write_that_fails_keeps_the_old_file_and_no_other(
    kind: str, call: str, failure: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise failure

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(failure)):
        WRITERS[kind](path)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_first_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no"):
        write_text(tmp_path / "file", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_json(path, {"a": object()}),
        lambda path: write_table(path, ["a"], [{"a": 1}, {"a": 2, "b": 3}]),
        lambda path: write_table(path, ["a"], broken_rows()),
        lambda path: write_tensors(path, {"a": torch.ones(2)}, {"b": object()}),
        lambda path: write_text(path, "\udc80"),
    ],
    ids=["json", "unknown-column", "rows", "metadata", "text"],
)
def test_content_that_cannot_be_written_keeps_the_old_file(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises((TypeError, ValueError, RuntimeError)):
        write(path)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_the_content_is_complete_and_flushed_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, log = tmp_path / "file", []
    replace, fsync = os.replace, os.fsync

    def watched_fsync(handle: int) -> None:
        log.append(("flushed", os.fstat(handle).st_size))
        fsync(handle)

    def watched_replace(source: str | Path, target: str | Path) -> None:
        log.append(("renamed", Path(source).stat().st_size))
        assert Path(source).parent == Path(target).parent  # a rename across disks is no rename
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write_bytes(path, b"x" * 100)  # few enough to wait in a buffer
    assert log[:2] == [("flushed", 100), ("renamed", 100)]


def test_files_can_be_read_by_others(tmp_path: Path) -> None:
    """Temporary files are private by default; results on a cluster are shared."""
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").stat().st_mode & 0o444 == 0o444


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([value]) * 50_000 for value in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_bytes(tmp_path / "file", content), contents))
    assert (tmp_path / "file").read_bytes() in contents
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


# JSON

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@fuzzed
@given(values)
def test_json_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    path = tmp_path_factory.mktemp("json") / "file.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_keeps_the_order_of_keys_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"b": 1, "a": [0.1, None, "é"]})
    text = (tmp_path / "file.json").read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == ["b", "a"]


@pytest.mark.parametrize("content", ["", "{", "{'a': 1}", "[1, 2", '{"a": 1} tail'])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: not JSON")):
        read_json(path)


@pytest.mark.parametrize("read", [read_json, read_tensors, read_yaml])
def test_a_missing_file_is_named(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / 'none'}: no such file")):
        read(tmp_path / "none")


# Tables


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@fuzzed
@given(st.lists(st.floats(allow_nan=False), max_size=5))
def test_a_table_keeps_all_digits(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.csv"
    write_table(path, ["number"], [{"number": number} for number in numbers])
    assert [float(row["number"]) for row in rows_of(path)] == numbers


def test_a_table_by_hand(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"b": 0.1, "a": 1}, {"a": None, "b": "x,y"}]
    write_table(tmp_path / "table.csv", ["a", "b"], rows)
    assert (tmp_path / "table.csv").read_bytes() == b'a,b\n1,0.1\n,"x,y"\n'


def test_a_table_without_rows_has_its_header(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", ["a", "b"], [])
    assert (tmp_path / "table.csv").read_text() == "a,b\n"


@pytest.mark.parametrize("text", ["a,b", 'say "so"', "two\nlines", "é ☃", ""])
def test_text_survives_a_table(tmp_path: Path, text: str) -> None:
    write_table(tmp_path / "table.csv", ["a", "b"], [{"a": text, "b": "end"}])
    assert rows_of(tmp_path / "table.csv") == [{"a": text, "b": "end"}]


# Tensors


TENSORS: dict[str, Tensor] = {
    "bool": torch.tensor([True, False, True]),
    "uint8": torch.arange(250, 256, dtype=torch.uint8).view(2, 3),
    "int64": torch.tensor([-(2**62), 2**62]),
    "float32": torch.tensor([0.1, -0.0, float("inf"), 1e-45]),
    "bfloat16": torch.tensor([1.5, 3e38], dtype=torch.bfloat16),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 4),
    "transposed": torch.arange(6.0).view(2, 3).T,
    "every other": torch.arange(6.0)[::2],
    "learned": torch.ones(2, requires_grad=True),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_come_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    write_tensors(tmp_path / "file", {name: TENSORS[name]}, {})
    read, _ = read_tensors(tmp_path / "file")
    assert list(read) == [name]
    assert read[name].dtype == TENSORS[name].dtype
    assert read[name].shape == TENSORS[name].shape
    assert torch.equal(read[name], TENSORS[name].detach())
    assert not read[name].requires_grad


def test_several_tensors_keep_their_names(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", TENSORS, {})
    read, _ = read_tensors(tmp_path / "file")
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], TENSORS[name].detach()) for name in TENSORS)


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    shared = {"a": whole, "b": whole, "c": whole[:2], "d": whole[3:]}
    write_tensors(tmp_path / "file", shared, {})
    read, _ = read_tensors(tmp_path / "file")
    assert all(torch.equal(read[name], shared[name]) for name in shared)


def test_metadata_come_back_as_they_were(tmp_path: Path) -> None:
    metadata = {"names": ["a", "é"], "mean": [0.1], "digest": "1e5", "shapes": {"x": [1, 2]}}
    write_tensors(tmp_path / "file", {}, metadata)
    assert read_tensors(tmp_path / "file") == ({}, metadata)


def test_tensors_that_were_read_outlive_their_file(tmp_path: Path) -> None:
    """They may be mapped from it: a write must make a new file, not change the old one."""
    path = tmp_path / "file"
    write_tensors(path, {"a": torch.zeros(10_000)}, {})
    read, _ = read_tensors(path)
    write_tensors(path, {"a": torch.ones(10_000)}, {})
    assert read["a"].sum() == 0
    path.unlink()
    assert read["a"].sum() == 0


def test_the_same_tensors_and_a_single_key_give_the_same_bytes(tmp_path: Path) -> None:
    for attempt in "12":
        write_tensors(tmp_path / attempt, TENSORS, {"digest": "d"})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("kept", [0, 4, 8, 60, -1])
def test_a_truncated_file_of_tensors_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "file"
    write_tensors(path, {"a": torch.ones(100)}, {"digest": "d"})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=re.escape(f"{path}: damaged")):
        read_tensors(path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save({"a": torch.ones(2)}, content)
    path = tmp_path / "file"
    path.write_bytes(content.getvalue())
    with pytest.raises(ValueError, match=re.escape(f"{path}: damaged")):
        read_tensors(path)


# Gaps: what should be refused, or refused in better words, and is not yet


def test_the_same_tensors_and_metadata_give_the_same_bytes(tmp_path: Path) -> None:
    for attempt in "1234":
        write_tensors(tmp_path / attempt, TENSORS, {name: name for name in "abcdefgh"})
    assert len({(tmp_path / attempt).read_bytes() for attempt in "1234"}) == 1


def test_a_json_file_of_other_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_json(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_has_not_is_refused(tmp_path: Path, number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "file.json", {"a": number})


def test_a_row_without_a_column_is_refused(tmp_path: Path) -> None:
    """Tables have exactly the columns asked for; an empty cell means None."""
    with pytest.raises(ValueError, match="b"):
        write_table(tmp_path / "table.csv", ["a", "b"], [{"a": 1}])


def test_a_folder_in_place_of_tensors_is_named(tmp_path: Path) -> None:
    with pytest.raises((ValueError, OSError), match=re.escape(str(tmp_path))):
        read_tensors(tmp_path)


# YAML


def test_yaml_gives_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: [1, 0.5, x]\nb: {c: null, d: yes}\n")
    assert read_yaml(path) == {"a": [1, 0.5, "x"], "b": {"c": None, "d": True}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [1\nb: 2\n", ": line 2 is not YAML"),
        (b"a: 1\nb: {c: 1,\n  c: 2}\n", ": line 3: key 'c' twice"),
        (b"\xff\xfe\xff", ": cannot be read"),
        (b"a: !!python/object/apply:os.getcwd []\n", ": line 1 is not YAML"),
    ],
)
def test_a_wrong_yaml_file_is_named_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}{words}")
    assert len(str(caught.value).splitlines()) == 1


def bomb(levels: int, word: str = "lol") -> str:
    lines = [f"a0: &a0 [{', '.join([word] * 9)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bomb(10), "line 6: aliases make more than 1000000 characters"),
        (bomb(4, "x" * 1000), "line 4: aliases make more than"),
        ("a: &a [1, *a]", "line 1: an alias stands within what it stands for"),
        ("a: &a {<<: *a}", "line 1: an alias stands within what it stands for"),
        (f"a: {'[' * 5_000}{']' * 5_000}", "nested too deeply"),
        (f"a: {'[' * 101}{']' * 101}", "nested too deeply"),
        (f"a: {'{a: ' * 5_000}1{'}' * 5_000}", "nested too deeply"),
        (f"a: {'9' * 5_000}", "Exceeds the limit"),
        ("yes: 1\ntrue: 2", "line 2: key 'true' twice"),
        ("1: a\n0x1: b", "line 2: key '0x1' twice"),
        ("a: {<<: {b: 1}, <<: {c: 1}}", "line 1: key '<<' twice"),
    ],
)
def test_yaml_that_is_more_than_it_seems_is_refused_in_one_line(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(content)
    with pytest.raises(ValueError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert len(str(caught.value).splitlines()) == 1


def test_anchors_and_merges_that_people_write_are_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: {m: &m {<<: &b {x: 1, y: 1}, x: 2}}\nt: {<<: *m, z: 3}\nu: [*b, *b]\n")
    base, own = {"x": 1, "y": 1}, {"x": 2, "y": 1}
    assert read_yaml(path) == {"a": {"m": own}, "t": own | {"z": 3}, "u": [base, base]}


def test_a_hundred_brackets_are_not_too_deep(tmp_path: Path) -> None:
    text, depth = "[" * 100 + "]" * 100 + "\n", 0
    (tmp_path / "file.yaml").write_text(f"a: {text}b: {text}")
    inner = read_yaml(tmp_path / "file.yaml")["b"]
    while inner:
        (inner,), depth = inner, depth + 1
    assert depth == 99


@pytest.mark.parametrize("content", ["", "# nothing\n", "null\n"])
def test_an_empty_yaml_file_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "file.yaml").write_text(content)
    assert read_yaml(tmp_path / "file.yaml") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' * 200_000, "nested too deeply"),
        (b"9" * 5_000, "not JSON (Exceeds the limit"),
        (b"\xff\xfe\xff", "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_a_wrong_json_file_is_named_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: {words}")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("metadata", ["[" * 100_000, "[]", "7", "{"])
def test_tensors_with_odd_metadata_are_named(tmp_path: Path, metadata: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "file.safetensors"
    save_file({"a": torch.ones(2)}, path, {"dstcl": metadata})
    with pytest.raises(ValueError, match=re.escape(f"{path}: damaged")):
        read_tensors(path)


def test_storing_needs_the_standard_library_alone() -> None:
    check = (
        "import sys; before = set(sys.modules); import dstcl.storage; "
        "new = {name.partition('.')[0] for name in sys.modules.keys() - before}; "
        "sys.exit(' '.join(new - set(sys.stdlib_module_names) - {'dstcl'}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
