"""Whatever is written into a run description, a params.yaml or the tables of a finished study: a
command ends with a result or with one line, never with another exception.

Inputs are drawn by Hypothesis around valid ones: one place is replaced, removed or added to. The
examples are the same in every run; FUZZ_EXAMPLES asks for more of them than CI has time for.
"""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dstcl.cli import main
from dstcl.evaluation.tables import TABLES, read_table
from dstcl.study.load import load, load_file, runs
from dstcl.study.run import Run
from helpers.runs import REPOSITORY, quick_run

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
LONGEST = 2_000
"""Characters of a message: it quotes what was wrong, which may be long."""


def fuzz(share: float = 1.0) -> settings:
    return settings(
        max_examples=max(1, int(EXAMPLES * share)),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([10**9, 2**31, 2**63, 10**30, -(10**19), 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
)
WORDS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", ".", "..", "../../x", "/abs", "a" * 300, "$(x) $x", "none", "dst", "erk", "random",
         "random-then-gradient", "-then-", "no_such:thing", "os:system", ":", "a:b:c", "é:ü",
         "torch.optim:RMSprop", "1e-3", "null", "=1+1", "\x00", "\ud800", "\n"]
    ),
)  # fmt: skip
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(WORDS, st.integers(0, 2)), inner, max_size=3),
    ),
    max_leaves=6,
)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every part of a nested value."""
    if here:
        yield here
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*here, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*here, index))


def changed_at(value: Any, place: tuple[Any, ...], how: str, new: Any) -> Any:
    """The value with one part replaced, removed, or with something new beside it."""
    found = copy.deepcopy(value)
    around = found
    for key in place[:-1]:
        around = around[key]
    last = place[-1]
    if how == "replace":
        around[last] = new
    elif how == "remove":
        del around[last]
    elif isinstance(around, list):
        around.append(new)
    else:
        around[new if isinstance(new, str | int | bool | None) else "new"] = new
    return found


HOW = st.sampled_from(["replace", "replace", "replace", "remove", "add"])


def ends_well(work: Callable[[], Any], longest: int = LONGEST) -> None:
    """A result, or one line; not far longer than what it quotes."""
    try:
        work()
    except ValueError as error:
        said = str(error)
    except SystemExit as end:
        if end.code in (None, 0):
            return
        said = str(end.code)
    else:
        return
    assert said
    assert "\n" not in said, said
    assert len(said) <= longest, said[:200]


DESCRIPTION = json.loads(json.dumps(quick_run(growth="random-then-gradient").to_dict()))


@fuzz()
@given(st.sampled_from(list(places(DESCRIPTION))), HOW, VALUES)
def test_run_descriptions(place: tuple[Any, ...], how: str, new: Any) -> None:
    values = changed_at(DESCRIPTION, place, how, new)

    def read() -> None:
        run = Run.from_dict(values)
        assert Run.from_dict(json.loads(json.dumps(run.to_dict()))).digest == run.digest
        assert run.folder
        assert run.plugins() is not None

    ends_well(read)


ODD = [None, True, -1, 0, 10**19, 10**400, -(10**400), float("nan"), float("inf"), "", "x", [], {}]


@pytest.mark.parametrize("place", places(DESCRIPTION), ids=lambda place: ".".join(map(str, place)))
def test_every_place_of_a_description_with_odd_values(place: tuple[Any, ...]) -> None:
    for odd in ODD:
        values = changed_at(DESCRIPTION, place, "replace", odd)
        ends_well(lambda values=values: Run.from_dict(values).folder)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["figure", "capacity", "study", "--dpi", "1000000000"], "'1000000000'; from 50 to 600"),
        (["figure", "capacity", "study", "--dpi", "-1"], "'-1'; from 50 to 600"),
        (["train-study", "study", "--threads", "100000"], "'100000'; from 1 to 1024"),
        (["train-study", "study", "--threads", "-3"], "'-3'; from 1 to 1024"),
    ],
)
def test_numbers_that_no_machine_can_have(
    command: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 2
    assert problem in capsys.readouterr().err


@fuzz(0.5)
@given(VALUES)
def test_anything_as_a_run_description(values: Any) -> None:
    ends_well(lambda: Run.from_dict(values))


def _small() -> dict[str, Any]:
    """params.yaml with one preset, few runs, and every kind of entry."""
    found = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    quick = found["presets"]["quick"]
    quick.update(densities=[0.2], seeds=[0], growths=["random-then-gradient"])
    quick["vary"] = {"topology.update_every": [8, 16]}
    quick["methods"] = ["dst", {"name": "strong", "from": "ewc", "strength": 300.0}]
    quick["networks"] = ["convnet", {"name": "wide", "from": "convnet", "arguments": {"width": 8}}]
    own = {"path": "images", "classes": 4, "title": "Mine", "mean": [0.5] * 3, "std": [0.5] * 3}
    kept = {"corrected", "published"}
    return {
        "preset": "quick",
        "presets": {"quick": quick},
        "protocols": {name: value for name, value in found["protocols"].items() if name in kept},
        "datasets": {"mine": own},
        "figures": {"dpi": 150},
    }


PARAMS = _small()


@fuzz()
@given(st.sampled_from(list(places(PARAMS))), HOW, VALUES)
def test_params(place: tuple[Any, ...], how: str, new: Any) -> None:
    values = changed_at(PARAMS, place, how, new)

    def read() -> None:
        planned = runs(load(values))
        assert len({run.digest for run in planned}) == len(planned)
        for run in planned[:3]:
            assert Run.from_dict(json.loads(json.dumps(run.to_dict()))).digest == run.digest

    ends_well(read)


PIECES = [
    *(b"[" * 3_000, b"&a [*a, *a]", b"? ", b"!!python/name:os.system ", b"\t", b"1:30"),
    *(b"2001-13-99", b"<<: *x", b"\xff\xfe", b"---\n", b"\x00"),
]


@pytest.mark.parametrize(
    "piece", ["[" * 3_000, "[" * 3_000 + "]" * 3_000, "!!timestamp x", "!!int x"]
)
def test_odd_yaml(piece: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(f"preset: {piece}\n")
    ends_well(lambda: load_file(tmp_path / "params.yaml"))


def test_a_varied_number_beyond_all_floats() -> None:
    values = changed_at(PARAMS, ("presets", "quick", "vary"), "replace", {})
    values["presets"]["quick"]["vary"] = {"training.learning_rate": [10**400]}
    with pytest.raises(ValueError, match="should be a finite number"):
        load(values)


@fuzz(0.5)
@given(data=st.data())
def test_text_of_params(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bytes are cut out of the file, or put into it."""
    content = yaml.safe_dump(PARAMS).encode()
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, min(len(content), start + 40)))
    pieces = st.sampled_from(PIECES)
    middle = data.draw(st.one_of(st.binary(max_size=6), pieces))
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(content[:start] + middle + content[stop:])
    ends_well(lambda: runs(load_file(path)))


RUN_TEXT = json.dumps(DESCRIPTION)


@fuzz(0.25)
@given(st.integers(0, len(RUN_TEXT)), st.sampled_from(["[" * 100_000, "NaN", "1e999", "\\ud800"]))
def test_text_of_run_descriptions(tmp_path_factory: Any, place: int, piece: str) -> None:
    text = RUN_TEXT[:place] + piece + RUN_TEXT[place:]
    out = str(tmp_path_factory.getbasetemp() / "out")
    command = ["train", "--run", text, "--data", "no", "--tasks", "no", "--out", out]
    ends_well(lambda: main(command), LONGEST + len(text))


CELLS = st.one_of(
    st.sampled_from(["", "nan", "NaN", "inf", "-1", "7.5", "1e999", "True", "=1+1", '"', "a,b",
                     "a" * 200_000, "0x10", "\x00", "\r", "null", "1_000", "\u0661"]),
    st.text(max_size=5),
)  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of a recorded study."""
    study = tmp_path_factory.mktemp("tables")
    for path in (REPOSITORY / "reference" / "quick-3-seeds").glob("*.csv"):
        (study / path.name).write_bytes(path.read_bytes())
    return study


@fuzz()
@given(data=st.data())
def test_tables_of_a_finished_study(tables: Path, data: st.DataObject) -> None:
    """A cell is replaced, a column or a row removed, or rows are doubled."""
    source = data.draw(st.sampled_from(sorted(tables.glob("*.csv"))), label="table")
    lines = source.read_text().splitlines()
    row = data.draw(st.integers(0, len(lines) - 1))
    cells = lines[row].split(",")
    column = data.draw(st.integers(0, len(cells) - 1))
    match data.draw(st.sampled_from(["cell", "cell", "column", "row", "double", "cut"])):
        case "cell":
            cells[column] = data.draw(CELLS)
            lines[row] = ",".join(cells)
        case "column":
            lines = [",".join(line.split(",")[:column]) for line in lines]
        case "row":
            del lines[row]
        case "double":
            lines += lines[row:]
        case "cut":
            lines = lines[: row + 1]
            lines[-1] = lines[-1][: data.draw(st.integers(0, len(lines[-1])))]
    study = tables / "fuzzed"
    study.mkdir(exist_ok=True)
    path = study / source.name
    path.write_bytes("\n".join(lines).encode(errors="replace"))
    if source.stem in TABLES:
        ends_well(lambda: read_table(study, source.stem))
