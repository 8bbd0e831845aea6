"""Recorded studies: runs added over time are the tables of a study that was run at once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from dstcl.cli import main
from dstcl.evaluation import record as record_module
from dstcl.evaluation.collect import collect
from dstcl.evaluation.confirm import confirm
from dstcl.evaluation.merge import MergeError, merge
from dstcl.evaluation.record import RecordError, record
from dstcl.evaluation.tables import read_table
from dstcl.figures import draw_figure
from dstcl.reports import manuscript
from dstcl.storage import read_json, write_json, write_text
from dstcl.study.load import load_file, runs
from dstcl.study.missing import read_missing
from dstcl.study.plan import read_plan, write_plan
from dstcl.study.run import Run
from helpers.finished import finished_run, small_study
from helpers.runs import changed

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = changed(runs(load_file(REPOSITORY / "params.yaml", "quick"))[0], tasks=2)
RUNS = [
    changed(RUN, growth=growth, seed=seed) for growth in ("random", "gradient") for seed in range(3)
]


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """What the paper says, with its first two claims alone."""
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "paper").symlink_to(REPOSITORY / "reference" / "paper")
    claims = yaml.safe_load((REPOSITORY / "reference" / "claims.yaml").read_text())["claims"]
    (folder / "claims.yaml").write_text(yaml.safe_dump({"claims": claims[:2]}))
    return folder


def matrix(acc: float) -> dict[str, str | bytes | None]:
    return {"accuracy": f"after_task,task,accuracy\n1,1,{acc}\n2,1,{acc}\n2,2,{acc}\n"}


def study(folder: Path, *which: int, acc: float | None = None, **how: Any) -> Path:
    """A study that plans six runs and has finished some, each with an accuracy of its own."""
    small_study(folder, RUNS, finished=())
    for k in which:
        found = matrix(0.1 + 0.7 / (k + 3) if acc is None else acc)
        finished_run(folder, RUNS[k], files=found, **how)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_parts_recorded_in_any_order_are_the_whole(tmp_path: Path, reference: Path) -> None:
    whole = study(tmp_path / "whole", *range(6))
    record(whole, tmp_path / "at-once", reference)
    for name, which in {"a": (4, 1), "b": (0, 5), "c": (2, 3)}.items():
        found = record(study(tmp_path / name, *which), tmp_path / "in-parts", reference)
        assert len(found.added) == 2
    assert (found.runs, found.planned) == (6, 6)
    assert read_plan(tmp_path / "in-parts")[1] == RUNS
    assert read_missing(tmp_path / "in-parts") is None
    assert content(tmp_path / "in-parts") == content(tmp_path / "at-once")
    collect(RUNS, whole)
    for name in ("summary", "accuracy", "capacity", "provenance", "cells", "comparisons"):
        assert (tmp_path / "in-parts" / f"{name}.csv").read_bytes() == (
            whole / f"{name}.csv"
        ).read_bytes(), name


def test_what_is_recorded_can_be_drawn_and_says_what_is_missing(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    found = record(study(tmp_path / "a", 0, 1, 3, 4), out, reference)
    assert (found.runs, found.planned) == (4, 6)
    missing = read_missing(out)
    assert missing is not None
    assert missing["planned"] == 6
    assert [RUNS[k].folder in line for k, line in zip((2, 5), missing["missing"])] == [True, True]
    few = ("accuracy_over_tasks", "explored", "decisions")
    for name in few:
        draw_figure(name, out, 50)
    assert (out / "figures" / "accuracy_over_tasks.png").stat().st_size > 0
    for name, table in (("explored", "history"), ("decisions", "decisions")):
        reason = pd.read_csv(out / "figures" / f"{name}.csv")["not_drawn"].tolist()
        assert reason == [f"this recorded study has no {table}.csv"]
    monkeypatch.setattr(manuscript, "FIGURES", few)
    assert {"all.tex", "accuracy_over_tasks.pdf"} <= set(manuscript.write_manuscript(out, 140))
    assert {"claims.csv", "paper.csv", "paper_tables.csv"} <= content(out).keys()


def test_overlap_is_recorded_and_added_to_what_was_recorded_without(
    tmp_path: Path, reference: Path
) -> None:
    part, out = study(tmp_path / "a", 0, 1), tmp_path / "out"
    record(part, out, reference)
    whole = content(out)
    overlap = pd.read_csv(out / "overlap.csv", dtype={"digest": str})
    assert list(overlap) == ["digest", "task", "other", "shared", "jaccard"]
    assert overlap["digest"].tolist() == [RUNS[0].digest, RUNS[1].digest]
    (out / "overlap.csv").unlink()
    assert not record(part, out, reference).added
    assert content(out) == whole


def test_what_an_earlier_part_planned_stays_planned(tmp_path: Path, reference: Path) -> None:
    out = tmp_path / "out"
    record(study(tmp_path / "a", 1, 0), out, reference)
    more = [changed(RUN, growth="unfired", seed=seed) for seed in range(2)]
    found = record(small_study(tmp_path / "b", more), out, reference)
    assert (found.runs, found.planned) == (4, 8)
    assert pd.read_csv(out / "summary.csv")["growth"].tolist() == ["random"] * 2 + ["unfired"] * 2
    missing = read_missing(out)
    assert missing is not None
    assert (missing["planned"], len(missing["missing"])) == (8, 4)


def test_protocols_of_all_parts_are_kept(tmp_path: Path, reference: Path) -> None:
    out = tmp_path / "out"
    for name, which, switches in (("a", 0, "one"), ("b", 1, "two")):
        part = study(tmp_path / name, which)
        write_json(part / "params.json", {"protocols": {name: {"head": switches}}})
        record(part, out, reference)
    assert read_json(out / "params.json")["protocols"].keys() == {"a", "b"}
    other = study(tmp_path / "c", 2)
    write_json(other / "params.json", {"protocols": {"a": {"head": "three"}}})
    before = content(out)
    with pytest.raises(MergeError, match="protocol a: not the same switches"):
        record(other, out, reference)
    assert content(out) == before


def test_every_part_is_named_once_however_often_it_is_recorded(
    tmp_path: Path, reference: Path
) -> None:
    out = tmp_path / "out"
    own = [{"preset": "tiny", "protocols": {}, "figures": {"dpi": dpi}} for dpi in (50, 60, 70)]
    parts = [study(tmp_path / name, k) for k, name in enumerate("abc")]
    for part, params in zip(parts, own):
        write_json(part / "params.json", params)
    for part in [*parts, *parts]:
        record(part, out, reference)
    assert read_json(out / "params.json") == own[0] | {"merged_from": own}


def test_parts_that_an_earlier_version_nested_are_told_apart(
    tmp_path: Path, reference: Path
) -> None:
    """What it wrote after three parts: those before the last one in an entry of their own."""
    out = tmp_path / "out"
    own = [{"preset": "tiny", "protocols": {}, "figures": {"dpi": dpi}} for dpi in (50, 60, 70)]
    two = own[0] | {"merged_from": own[:2]}
    write_json(out / "params.json", two | {"merged_from": [two, own[2]]})
    part = study(tmp_path / "c", 2)
    write_json(part / "params.json", own[2])
    record(part, out, reference)
    assert read_json(out / "params.json") == own[0] | {"merged_from": own}


KEY = "topology.update_every"


def vary(runs: list[Run], every: int) -> list[Run]:
    """These runs as of a study that varies how often masks are updated."""
    return [replace(changed(run, update_every=every), vary=(KEY,)) for run in runs]


@pytest.mark.parametrize("first", ["plain", "varied"])
def test_a_part_that_does_not_vary_a_setting_has_its_own_value_of_it(
    tmp_path: Path, reference: Path, first: str
) -> None:
    plain = [changed(run, update_every=8) for run in RUNS[:3]]
    parts = {
        "plain": small_study(tmp_path / "plain", plain[:2]),
        "varied": small_study(tmp_path / "varied", [*vary(plain, 8)[2:], *vary(plain, 20)]),
    }
    second = "varied" if first == "plain" else "plain"
    for name in (first, second, first):
        found = record(parts[name], tmp_path / "out", reference)
    assert (found.runs, found.planned, found.added) == (6, 6, set())
    table = read_table(tmp_path / "out", "summary")
    assert list(table).index(KEY) + 1 == list(table).index("seed")
    rows = {(row[KEY], row["seed"], row["digest"]) for row in table.to_dict("records")}
    assert rows == {("8", run.seed, run.digest) for run in plain} | {
        ("20", run.seed, run.digest) for run in vary(plain, 20)
    }
    cells = read_table(tmp_path / "out", "cells")
    assert sorted(zip(cells[KEY], cells["seeds"])) == [("20", 3), ("8", 3)]


def test_a_folder_with_gaps_in_a_varied_column_is_mended(tmp_path: Path, reference: Path) -> None:
    """An earlier version left them where one part alone varied the setting."""
    out, plain = tmp_path / "out", [changed(run, update_every=8) for run in RUNS[:2]]
    part = small_study(tmp_path / "b", vary(plain, 20))
    record(small_study(tmp_path / "a", plain), out, reference)
    record(part, out, reference)
    whole = content(out)
    summary = pd.read_csv(out / "summary.csv", dtype=str, keep_default_na=False)
    summary[KEY] = summary[KEY].where(summary[KEY] != "8", "")
    summary[[*(c for c in summary if c != KEY), KEY]].to_csv(out / "summary.csv", index=False)
    write_plan("tiny", [*plain, *vary(plain, 20)], out / "plan.json")
    record(part, out, reference)
    assert content(out) == whole


def test_parts_with_another_setting_that_no_table_shows_are_refused(
    tmp_path: Path, reference: Path
) -> None:
    """Three seeds with 10 epochs and the same three with 3 epochs are not six seeds."""
    out = tmp_path / "recorded"
    record(study(tmp_path / "first", 0, 1, 2), out, reference)
    other = [replace(run, training=replace(run.training, epochs=3)) for run in RUNS[:3]]
    short = small_study(tmp_path / "short", other, finished=())
    for run in other:
        finished_run(short, run, files=matrix(0.5))
    before = content(out)
    with pytest.raises(ValueError, match=r"training\.epochs 10 and 3: .* more seeds of one"):
        record(short, out, reference)
    assert content(out) == before
    with pytest.raises(ValueError, match=r"training\.epochs 10 and 3"):
        merge([tmp_path / "first", short], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_what_a_merged_study_lacks_is_missing_from_its_record(
    tmp_path: Path, reference: Path
) -> None:
    merge([study(tmp_path / "a", 0, 1), study(tmp_path / "b", 3, 4)], tmp_path / "merged")
    out = tmp_path / "out"
    found = record(tmp_path / "merged", out, reference)
    assert (found.runs, found.planned) == (4, 6)
    assert read_missing(out) == {
        "planned": 6,
        "missing": [f"{RUNS[k].folder}: not run yet" for k in (2, 5)],
    }
    found = record(small_study(tmp_path / "c", RUNS[2:3]), out, reference)
    assert (found.runs, found.planned) == (5, 6)
    record(small_study(tmp_path / "d", RUNS[5:]), out, reference)
    assert read_missing(out) is None


def test_a_run_that_found_something_else_is_refused_unless_it_shall_replace(
    tmp_path: Path, reference: Path
) -> None:
    out = tmp_path / "out"
    record(study(tmp_path / "a", 0, 1), out, reference)
    (out / "README.md").write_text("where it was run")
    before = content(out)
    other = study(tmp_path / "b", 1, 2, acc=0.25)
    with pytest.raises(RecordError, match=f"run {RUNS[1].digest} .* other accuracies"):
        record(other, out, reference)
    assert content(out) == before
    assert record(other, out, reference, replace=True).added == {RUNS[2].digest}
    acc = pd.read_csv(out / "summary.csv")["acc"].tolist()
    assert acc == pytest.approx([0.1 + 0.7 / 3, 0.25, 0.25])
    assert content(out)["README.md"] == before["README.md"]


def test_the_same_result_again_keeps_the_first_record(tmp_path: Path, reference: Path) -> None:
    out = tmp_path / "out"
    record(study(tmp_path / "a", 0, 1), out, reference)
    before = content(out)
    again = study(tmp_path / "b", 0, 1, provenance={"device": "another"})
    said = list[str]()
    assert record(again, out, reference, say=said.append).added == set()
    assert said == []
    assert content(out) == before


def test_machines_and_codes_that_differ_are_told(tmp_path: Path, reference: Path) -> None:
    out, said = tmp_path / "out", list[str]()
    record(study(tmp_path / "a", 0), out, reference, say=said.append)
    assert not [line for line in said if "ways" in line]
    other = study(tmp_path / "b", 1, provenance={"device": "another", "threads": 7})
    record(other, out, reference, say=said.append)
    assert len([line for line in said if "computed in 2 ways" in line]) == 1


def test_a_folder_of_another_preset_is_refused(tmp_path: Path, reference: Path) -> None:
    out = tmp_path / "out"
    record(study(tmp_path / "a", 0), out, reference)
    other = small_study(tmp_path / "b", RUNS[:1], "other")
    with pytest.raises(RecordError, match="holds preset tiny, the study is of preset other"):
        record(other, out, reference)


def test_the_command_says_how_much_is_recorded(
    tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, out = study(tmp_path / "a", 0, 2), tmp_path / "out"
    options = ["--reference", str(reference), "--data", str(tmp_path / "none")]
    main(["record", str(part), str(out), *options])
    assert f"{out}: 2 of 6 runs, 2 of them new" in capsys.readouterr().err
    assert pd.read_csv(out / "summary.csv")["digest"].tolist() == [RUNS[0].digest, RUNS[2].digest]
    with pytest.raises(SystemExit, match="no finished run"):
        main(["record", str(study(tmp_path / "empty")), str(out), *options])


# What recorded tables may have gone through


@pytest.mark.parametrize("written", [1, 2, 3])
def test_recording_goes_on_after_an_interruption_between_two_tables(
    tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Whatever was written by then, the same command makes what it would have made."""
    record(study(tmp_path / "one", 0, 1), tmp_path / "recorded", reference)
    both = study(tmp_path / "both", 0, 1, 2, 3)
    left = [written]

    def cut(path: Path, text: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write_text(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(record_module, "write_text", cut)
        with pytest.raises(KeyboardInterrupt):
            record(both, tmp_path / "recorded", reference)
    record(both, tmp_path / "recorded", reference)
    record(both, tmp_path / "at-once", reference)
    assert content(tmp_path / "recorded") == content(tmp_path / "at-once")


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("table", "damage", "problem"),
    [
        ("accuracy", lambda lines: lines[:-1], "are damaged"),
        ("accuracy", lambda lines: lines[:4], "accuracy.csv: no rows of run"),
        ("accuracy", lambda lines: [*lines, lines[-1]], "are damaged"),
        ("accuracy", lambda lines: [lines[0].replace("after_task", "after"), *lines[1:]], "column"),
        ("accuracy", lambda lines: [], "accuracy.csv: not a table"),
        ("capacity", lambda lines: lines[:1], "capacity.csv: no rows of run"),
        ("provenance", lambda lines: [*lines, lines[-1]], "provenance.csv: run .* twice"),
        ("summary", lambda lines: [*lines, lines[-1]], "summary.csv: run .* twice"),
        ("summary", lambda lines: lines[:-1], "is not in summary.csv"),
        ("summary", lambda lines: [line.replace("digest", "d") for line in lines], "column digest"),
    ],
)
def test_damaged_tables_are_named_and_nothing_is_written(
    tmp_path: Path, reference: Path, table: str, damage: Any, problem: str
) -> None:
    out = tmp_path / "recorded"
    record(study(tmp_path / "one", 0, 1), out, reference)
    path = out / f"{table}.csv"
    path.write_text("".join(damage(lines_of(path))))
    before = content(out)
    with pytest.raises(RecordError, match=problem) as refused:
        record(study(tmp_path / "two", 2), out, reference)
    assert "\n" not in str(refused.value)
    assert content(out) == before


def test_an_edited_accuracy_is_noticed(tmp_path: Path, reference: Path) -> None:
    out = tmp_path / "recorded"
    record(study(tmp_path / "one", 0, 1), out, reference)
    lines = lines_of(out / "accuracy.csv")
    lines[-1] = lines[-1].rpartition(",")[0] + ",0.99\n"
    (out / "accuracy.csv").write_text("".join(lines))
    with pytest.raises(RecordError, match=r"in summary\.csv and of .* in accuracy\.csv"):
        record(study(tmp_path / "two", 2), out, reference)


def test_recorded_runs_without_their_plan_are_refused(tmp_path: Path, reference: Path) -> None:
    out = tmp_path / "recorded"
    record(study(tmp_path / "one", 0, 1), out, reference)
    (out / "plan.json").unlink()
    other = tmp_path / "other"
    small_study(other, RUNS[4:], finished=RUNS[4:])
    with pytest.raises(RecordError, match=r"is recorded and not in plan\.json"):
        record(other, out, reference)


@pytest.mark.parametrize("name", ["accuracy", "capacity"])
def test_a_folder_that_was_recorded_without_a_table_says_so(
    tmp_path: Path, reference: Path, name: str
) -> None:
    """As those of the first versions; there are no runs of which a command could make it."""
    out = tmp_path / "recorded"
    record(study(tmp_path / "one", 0, 1), out, reference)
    (out / f"{name}.csv").unlink()
    before = content(out)
    missing = rf"{name}\.csv: no such file; "
    with pytest.raises(RecordError, match=missing + "the folder was recorded without it, so that"):
        record(study(tmp_path / "two", 2), out, reference)
    assert content(out) == before
    nothing = missing + "it was not recorded, and there are no runs of which it could be made$"
    with pytest.raises(SystemExit, match=nothing):
        main(["claims", str(out), "--reference", str(reference)])
    with pytest.raises(ValueError, match=nothing):
        draw_figure("accuracy_over_capacity", out, 50)
    with pytest.raises(MergeError, match="no finished run; recorded folders have tables alone$"):
        merge([out], tmp_path / "merged")


def test_a_folder_that_was_recorded_without_its_plan_says_what_can_be_done(
    tmp_path: Path, reference: Path
) -> None:
    out = tmp_path / "recorded"
    record(study(tmp_path / "one", 0, 1), out, reference)
    (out / "plan.json").unlink()
    words = (
        r"plan\.json: no such file; the study was recorded before plans were kept, so that it can"
    )
    for command in (["summary", str(out)], ["merge", str(out), "--out", str(tmp_path / "merged")]):
        with pytest.raises(SystemExit, match=words):
            main(command)
    draw_figure("accuracy_over_tasks", out, 50)


def test_a_run_twice_in_a_summary_is_no_second_seed(tmp_path: Path, reference: Path) -> None:
    folder = study(tmp_path / "study", 0, 1)
    record(folder, tmp_path / "recorded", reference)
    path = tmp_path / "recorded" / "summary.csv"
    path.write_text("".join([*lines_of(path), lines_of(path)[-1]]))
    with pytest.raises(ValueError, match=r"summary\.csv: run \w+ twice"):
        confirm(tmp_path / "recorded", tmp_path / "recorded")
