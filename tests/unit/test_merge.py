"""Runs of several machines as one study."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dstcl.cli import main
from dstcl.evaluation.collect import collect
from dstcl.evaluation.merge import MergeError, merge
from dstcl.evaluation.tables import read_table
from dstcl.study.load import load_file, runs
from dstcl.study.missing import read_missing, write_missing
from dstcl.study.plan import read_plan, write_plan
from dstcl.study.run import RESULT_FILES, Run
from helpers.finished import finished_run, small_study
from helpers.runs import changed

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
RUN = changed(runs(load_file(PARAMS, "quick"))[0], tasks=2)
RUNS = [changed(RUN, seed=seed) for seed in range(4)]
ACCURACY = "after_task,task,accuracy\n1,1,{acc}\n2,1,{acc}\n2,2,{acc}\n"


def finish(study: Path, run: Run, device: str = "cpu", data: str = "d1", acc: float = 0.5) -> Path:
    return finished_run(
        study,
        run,
        provenance={"device": device, "data_digest": data},
        files={"accuracy": ACCURACY.format(acc=acc)},
    )


def machine(folder: Path, *finished: Run, **how: Any) -> Path:
    """A machine that was to make all four runs and has made some."""
    folder.mkdir()
    write_plan("quick", RUNS, folder / "plan.json")
    for run in finished:
        finish(folder, run, **how)
    return folder


def test_halves_of_two_machines_are_one_study_that_can_be_collected(tmp_path: Path) -> None:
    laptop = machine(tmp_path / "laptop", *RUNS[:2])
    server = machine(tmp_path / "server", *RUNS[2:], device="NVIDIA H100")
    merged = merge([laptop, server], tmp_path / "both")
    assert merged.missing == []
    assert read_plan(tmp_path / "both") == ("quick", RUNS)
    collect(RUNS, tmp_path / "both")
    made = pd.read_csv(tmp_path / "both" / "provenance.csv")
    assert made["device"].tolist() == ["cpu", "cpu", "NVIDIA H100", "NVIDIA H100"]
    for run, source in ((RUNS[0], laptop), (RUNS[3], server)):
        for path in (source / "runs" / run.folder).iterdir():
            copy = tmp_path / "both" / "runs" / run.folder / path.name
            assert copy.read_bytes() == path.read_bytes()


def test_planned_runs_that_nobody_made_are_named(tmp_path: Path) -> None:
    merged = merge([machine(tmp_path / "a", *RUNS[:3])], tmp_path / "out")
    assert merged.missing == [f"{RUNS[3].folder}: not run yet"]
    assert read_plan(tmp_path / "out")[1] == RUNS[:3]
    assert read_missing(tmp_path / "out") == {"planned": 4, "missing": merged.missing}


def test_a_merged_study_is_whole_once_its_last_run_is_merged_too(tmp_path: Path) -> None:
    """Of the missing run, the first merged study has no plan; the second plans it alone."""
    first = tmp_path / "first"
    merge([machine(tmp_path / "a", *RUNS[:2])], first)
    third, fourth = (tmp_path / "third", tmp_path / "fourth")
    for study, run in ((third, RUNS[2]), (fourth, RUNS[3])):
        small_study(study, [run], "quick", provenance={"data_digest": "d1"})
    merged = merge([first, third], tmp_path / "second")
    assert (merged.planned, merged.missing) == (4, [f"{RUNS[3].folder}: not run yet"])
    merge([tmp_path / "second", fourth], tmp_path / "whole")
    assert read_missing(tmp_path / "whole") is None


def test_a_new_plan_in_a_merged_study_says_itself_what_is_missing(tmp_path: Path) -> None:
    merge([machine(tmp_path / "a", *RUNS[:3])], tmp_path / "out")
    plan = tmp_path / "out" / "plan.json"
    main(["config", "plan", "--params", str(PARAMS), "--preset", "quick", "--out", str(plan)])
    assert len(read_plan(tmp_path / "out")[1]) > 4
    assert read_missing(tmp_path / "out") is None


def test_runs_of_which_only_a_number_is_known_are_counted(tmp_path: Path) -> None:
    """As a study tells of those that were not trained because others failed."""
    study = small_study(tmp_path / "a", RUNS[:1], "quick")
    lines = [f"{RUNS[1].folder} failed: no memory", "5 runs that were not trained"]
    assert write_missing(study, 1, lines) == 7
    other = small_study(tmp_path / "b", RUNS[1:2], "quick")
    merged = merge([study, other], tmp_path / "out")
    assert (merged.planned, merged.missing) == (7, lines[1:])


def test_a_setting_that_one_machine_alone_varies_is_an_axis_of_all_runs(tmp_path: Path) -> None:
    """The runs of the other have the value of their own setting; the same run is one run."""
    key = "topology.update_every"
    plain = [changed(RUN, seed=seed, update_every=8) for seed in range(3)]
    varied = [replace(changed(r, update_every=k), vary=(key,)) for k in (8, 20) for r in plain]
    one = small_study(tmp_path / "a", plain, "quick", finished=plain[:2])
    other = small_study(tmp_path / "b", varied, "quick", finished=varied[1:5])
    for studies in ((one, other), (other, one)):
        out = tmp_path / studies[0].name / "merged"
        merged = merge(studies, out)
        assert (len(merged.runs), merged.twice, merged.planned) == (5, 1, 6)
        assert merged.missing == [f"{varied[5].folder}: not run yet"]
        planned = read_plan(out)[1]
        assert {run.folder for run in planned} == {run.folder for run in varied[:5]}
        table = collect(planned, out)
        found = {(row[key], row["seed"]) for row in table.to_dict("records")}
        assert found == {("8", 0), ("8", 1), ("8", 2), ("20", 0), ("20", 1)}
        assert read_table(out, "summary")[key].notna().all()


def test_a_run_made_twice_with_the_same_result_is_kept_once(tmp_path: Path) -> None:
    one, other = machine(tmp_path / "a", *RUNS), machine(tmp_path / "b", *RUNS[:1], device="x")
    merged = merge([one, other], tmp_path / "out")
    assert (len(merged.runs), merged.twice) == (4, 1)
    assert merged.source[RUNS[0].digest] == one / "runs" / RUNS[0].folder


def refused(tmp_path: Path, *studies: Path) -> str:
    with pytest.raises(MergeError) as caught:
        merge(studies, tmp_path / "out")
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {study.name for study in studies}, "something half-written is left"
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_run_made_twice_with_other_results_is_refused(tmp_path: Path) -> None:
    one, other = machine(tmp_path / "a", *RUNS), machine(tmp_path / "b", RUNS[2], acc=0.6)
    message = refused(tmp_path, one, other)
    assert RUNS[2].folder in message
    assert "different accuracy.csv" in message


@pytest.mark.parametrize(
    "kind", ["accuracy", "history", "capacity", "overlap", "masks", "weights", "metrics"]
)
def test_whichever_folder_is_named_first_a_difference_is_refused(tmp_path: Path, kind: str) -> None:
    """Each folder is whole by itself."""
    one, other = machine(tmp_path / "a", *RUNS), machine(tmp_path / "b")
    tables, origin = {"accuracy": ACCURACY.format(acc=0.5)}, {"data_digest": "d1"}
    if kind == "metrics":
        finished_run(
            other, RUNS[1], metrics={"used_fraction": 0.99}, provenance=origin, files=tables
        )
    else:
        text = (one / "runs" / RUNS[1].folder / RESULT_FILES[kind]).read_text()
        tables[kind] = ACCURACY.format(acc=0.25) if kind == "accuracy" else text + "\n"
        finished_run(other, RUNS[1], provenance=origin, files=tables)
    for studies in ((one, other), (other, one)):
        message = refused(tmp_path, *studies)
        assert f"with different {RESULT_FILES[kind]}; delete one of the two" in message


def test_times_and_machines_may_differ(tmp_path: Path) -> None:
    one, other = machine(tmp_path / "a", *RUNS), machine(tmp_path / "b")
    finished_run(
        other,
        RUNS[1],
        metrics={"seconds": 99.0, "images_per_second": 1.0},
        provenance={"device": "another", "data_digest": "d1"},
        files={"accuracy": ACCURACY.format(acc=0.5)},
    )
    assert merge([one, other], tmp_path / "out").twice == 1


def test_a_run_made_twice_on_other_images_is_refused(tmp_path: Path) -> None:
    one, other = machine(tmp_path / "a", *RUNS), machine(tmp_path / "b", RUNS[1], data="d2")
    assert "different provenance.json" in refused(tmp_path, one, other)


@pytest.mark.parametrize("kind", ["weights", "masks", "capacity"])
def test_a_damaged_copy_is_refused(tmp_path: Path, kind: str) -> None:
    study = machine(tmp_path / "a", *RUNS)
    path = study / "runs" / RUNS[1].folder / RESULT_FILES[kind]
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}: changed since the run wrote it" in refused(tmp_path, study)


def test_a_run_with_other_parameters_than_planned_is_refused(tmp_path: Path) -> None:
    study = machine(tmp_path / "a", *RUNS)
    path = study / "runs" / RUNS[1].folder / "config.json"
    path.write_text(json.dumps(changed(RUNS[1], epochs=99).to_dict()))
    assert "training.epochs is 99, the study asks for" in refused(tmp_path, study)


def test_other_images_are_refused(tmp_path: Path) -> None:
    one, other = machine(tmp_path / "a", RUNS[0]), machine(tmp_path / "b", RUNS[1], data="d2")
    assert "other images of mnist5k-28px (data digest d2)" in refused(tmp_path, one, other)


def test_other_presets_are_refused(tmp_path: Path) -> None:
    one, other = machine(tmp_path / "a", RUNS[0]), machine(tmp_path / "b", RUNS[1])
    write_plan("paper", RUNS, other / "plan.json")
    assert "paper, quick: other presets" in refused(tmp_path, one, other)


def test_nothing_to_merge_is_refused(tmp_path: Path) -> None:
    assert "no finished run" in refused(tmp_path, machine(tmp_path / "a"))


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    study = machine(tmp_path / "a", *RUNS)
    before = sorted(study.rglob("*"))
    with pytest.raises(MergeError, match="already has something"):
        merge([study], study)
    assert sorted(study.rglob("*")) == before


def test_links_are_not_followed(tmp_path: Path) -> None:
    study = machine(tmp_path / "a", RUNS[0])
    secret = tmp_path / "secret"
    secret.write_text("not a result")
    (study / "runs" / RUNS[0].folder / "link.csv").symlink_to(secret)
    merge([study], tmp_path / "out")
    assert not (tmp_path / "out" / "runs" / RUNS[0].folder / "link.csv").exists()


def test_other_parameter_files_are_all_kept(tmp_path: Path) -> None:
    studies = [machine(tmp_path / name, run) for name, run in zip("ab", RUNS)]
    for k, study in enumerate(studies):
        params = {"preset": "quick", "protocols": {f"p{k}": {}}}
        (study / "params.json").write_text(json.dumps(params))
    merge(studies, tmp_path / "out")
    params = json.loads((tmp_path / "out" / "params.json").read_text())
    assert set(params["protocols"]) == {"p0", "p1"}
    assert len(params["merged_from"]) == 2


def test_studies_that_were_merged_before_are_named_one_by_one(tmp_path: Path) -> None:
    own = [{"preset": "quick", "protocols": {}, "figures": {"dpi": dpi}} for dpi in (50, 60, 70)]
    studies = [machine(tmp_path / name, run) for name, run in zip("abc", RUNS)]
    for study, params in zip(studies, own):
        (study / "params.json").write_text(json.dumps(params))
    merge(studies[:2], tmp_path / "two")
    merge([tmp_path / "two", studies[2], studies[0]], tmp_path / "three")
    params = json.loads((tmp_path / "three" / "params.json").read_text())
    assert params == own[0] | {"merged_from": own}


def test_the_command_needs_no_torch_and_says_what_it_did(tmp_path: Path) -> None:
    study = machine(tmp_path / "a", *RUNS[:3])
    code = (
        "import sys; from dstcl.cli import main\n"
        f"main(['merge', {str(study)!r}, '--out', {str(tmp_path / 'out')!r}])\n"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    # Elsewhere the data of a real study may lie where this study's would be.
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 runs" in done.stderr
    assert "1 planned runs are in no folder" in done.stderr
