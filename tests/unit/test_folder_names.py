"""No description of a run and no plan leads out of the folder of a study."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dstcl.cli import main
from dstcl.evaluation.merge import merge
from dstcl.study.plan import read_plan, write_plan
from dstcl.study.run import Run
from helpers.finished import finished_run, small_study
from helpers.runs import quick_run

RUN = quick_run()
LABELS = ("dataset", "protocol", "network", "method", "init", "growth")
ELSEWHERE = ("../../../x", "..", "/abs", "a/b", "a\\b", "a\0b", "a\nb", ".hidden", "", "-x")


def described(axis: str, value: Any) -> dict[str, Any]:
    """A run with another label, whose sources are left as they are."""
    values = RUN.to_dict()
    values["axes"][axis] = value
    return values


@pytest.mark.parametrize("value", ELSEWHERE)
@pytest.mark.parametrize("axis", ["dataset", "protocol"])
def test_a_label_that_leads_elsewhere_is_refused_by_its_key(axis: str, value: str) -> None:
    values = described(axis, value)
    if axis == "dataset" and value in ("", "-x"):
        value = f"{value}-5tasks"
    with pytest.raises(ValueError, match=rf"axes\.{axis}: ") as caught:
        Run.from_dict(values)
    assert len(str(caught.value).splitlines()) == 1


@given(st.sampled_from(LABELS), st.text() | st.from_regex(r"[./\\~a:-]{0,9}", fullmatch=True))
def test_whatever_a_label_is_the_folder_stays_below(axis: str, value: str) -> None:
    root = Path("/study/runs")
    try:
        run = Run.from_dict(described(axis, value))
    except ValueError:
        return
    for path in (run.folder, run.data_file, run.tasks_file):
        inside = Path(root, path)
        assert ".." not in inside.parts
        assert inside.is_relative_to(root)
        assert inside != root
    assert len(Path(run.folder).parts) == 8


@pytest.mark.parametrize("key", ["../../x", "topology", "topology.nothing", "method./x", "a.b"])
def test_a_varied_setting_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="vary: .* is no setting"):
        Run.from_dict(RUN.to_dict() | {"vary": [key]})


@pytest.mark.parametrize("order", ["../../x", "/x"])
def test_a_class_order_that_leads_elsewhere_is_refused(order: str) -> None:
    values = RUN.to_dict()
    values["switches"]["class_order"] = order
    with pytest.raises(ValueError, match="class_order"):
        Run.from_dict(values)


@pytest.mark.parametrize("preset", ["../../x", "/x", "", 7, ["quick"], None, {"a": 1}])
def test_a_plan_of_a_preset_that_leads_elsewhere_is_refused(tmp_path: Path, preset: Any) -> None:
    write_plan("quick", [RUN], tmp_path / "plan.json")
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"preset": preset}))
    with pytest.raises(ValueError, match=r"plan\.json: not a plan \(preset .* is no name"):
        read_plan(tmp_path)


@pytest.mark.parametrize("value", ["../../../victim/x", "/tmp/victim"])
@pytest.mark.parametrize("axis", ["dataset", "protocol"])
def test_a_foreign_plan_writes_nowhere_else(
    tmp_path: Path, axis: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(tmp_path / "a" / "b" / "study", [RUN])
    plan = json.loads((study / "plan.json").read_text())
    plan["runs"][0]["run"]["axes"][axis] = value.replace("/tmp", str(tmp_path))
    (study / "plan.json").write_text(json.dumps(plan))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="not a plan"):
        merge([study], tmp_path / "out" / "deep" / "study")
    with pytest.raises(SystemExit, match="not a plan"):
        main(["train-study", str(study)])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_made_in_python_is_held_to_it_too(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"axes\.dataset"):
        finished_run(tmp_path, RUN.changed({"dataset": "../../x"}))
