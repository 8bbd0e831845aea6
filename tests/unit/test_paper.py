"""The paper's numbers beside a study's."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dstcl.evaluation.paper.beside import (
    CURVE_COLUMNS,
    TABLE_COLUMNS,
    Study,
    averaged_over,
    curves_beside,
    reproduced,
    tables_beside,
)
from dstcl.evaluation.paper.catalog import FIGURES, PARTS, TABLES, unlike, unlike_intervals
from dstcl.evaluation.paper.reference import PaperError, read_curves, read_tables
from dstcl.evaluation.paper.scores import part_scores, rank_agreement
from dstcl.evaluation.paper.write import write_paper
from dstcl.evaluation.tables import TABLES as NEEDS
from dstcl.evaluation.tables import read_table
from dstcl.study.load import load_file, runs

REPOSITORY = Path(__file__).resolve().parents[2]
REFERENCE = REPOSITORY / "reference"
CURVES = REFERENCE / "paper" / "curves.csv"
CELLS = REFERENCE / "paper" / "tables.csv"
STEPS = "topology.update_every"


def test_the_catalog_counts_what_the_reference_data_have() -> None:
    curves, tables = read_curves(CURVES), read_tables(CELLS)
    for part in PARTS:
        rows = (curves if part.kind == "figure" else tables)[
            lambda t, p=part: t[p.kind] == p.number
        ]
        assert len(rows) == part.numbers, part.name
        assert set(rows["dataset"]) == {part.dataset}
        assert set(rows["tasks"]) == {part.tasks}
        if part.kind == "figure":
            assert set(rows["network"]) == {part.network}
        else:
            assert FIGURES[part.curves].tasks == part.tasks
    assert len(curves) == sum(part.numbers for part in FIGURES.values())
    assert len(tables) == sum(part.numbers for part in TABLES.values())


def test_adaptive_growth_has_the_name_that_studies_give_it() -> None:
    sixth = read_curves(CURVES).query("figure == '6' and task == 10").set_index("growth")
    assert sixth["accuracy_percent"].to_dict() == {
        "random": 75.7125,
        "gradient": 74.715,
        "5xrandom+5xgradient": 77.52,
    }


@pytest.mark.parametrize(
    ("low", "high", "repetitions", "answer"),
    [
        (69.0, 71.0, 3, "yes"),
        (69.0, 71.0, 2, "open"),  # two repetitions answer nothing
        (66.0, 74.0, 3, "open"),  # nor does a wide interval
        (60.0, 66.0, 3, "no"),
        (74.0, 80.0, 3, "no"),
        (67.03, 72.97, 3, "yes"),
        (67.01, 70.0, 3, "open"),  # the reading error widens both sides
        (70.0, 72.99, 3, "open"),
        (60.0, 66.99, 3, "open"),
        (float("nan"), float("nan"), 3, "open"),
    ],
)
def test_the_rule_for_reproduced(low, high, repetitions, answer) -> None:
    """The paper says 70; three points off counts as the same."""
    assert reproduced(70.0, low, high, repetitions) == answer


AXES = {"dataset": "cifar100", "tasks": 10, "protocol": "published", "network": "resnet18"}
CELL = {"method": "dst", "density": 0.2, "init": "uniform", "growth": "random"}


def study(
    values: dict[tuple[int, int], float], vary: bool = True, learned: int = 10, **axes
) -> Study:
    """Runs by (seed, update interval); each with one accuracy on all tasks and times."""
    summary, accuracy, settings = [], [], []
    for (seed, steps), value in values.items():
        run = {**AXES, **CELL, **axes} | ({STEPS: str(steps)} if vary else {})
        digest = f"r{seed}-{steps}"
        summary.append(run | {"seed": seed, "acc": value, "bwt": -0.01, "digest": digest})
        settings.append((digest, steps, ""))
        accuracy += [
            {"digest": digest, "after_task": after, "task": task, "accuracy": value}
            | ({"accuracy": 0.0} if task > after else {})  # no task that is not learned counts
            for after in range(learned + 1)
            for task in range(1, learned + 1)
        ]
    table = pd.DataFrame(settings, columns=["digest", "update_every", "unlike"])
    frame = pd.DataFrame(summary)
    if learned < frame["tasks"].iloc[0]:
        frame["tasks_learned"] = learned
    return Study(frame, pd.DataFrame(accuracy), table.set_index("digest"))


def beside(ours: Study, figure: str = "4", task: int = 10) -> pd.Series:
    table = curves_beside(ours, read_curves(CURVES))
    (_, row), *more = table[(table["figure"] == figure) & (table["task"] == task)].iterrows()
    assert not more
    return row


def test_one_seed_at_several_intervals_repeats_intervals_as_the_paper_does() -> None:
    row = beside(study({(0, 50): 0.52, (0, 100): 0.58, (0, 200): 0.54, (0, 400): 0.60}))
    assert row["ours_percent"] == pytest.approx(56)
    # Deviations -4, 2, -2, 4: sum of squares 40 over 3.
    sd = (40 / 3) ** 0.5
    assert row["sd_intervals"] == pytest.approx(sd)
    assert (row["unit"], row["n"], row["intervals"]) == ("update intervals", 4, 4)
    # t(0.975, 3) = 3.18245
    assert row["high_percent"] == pytest.approx(56 + 3.18245 * sd / 2, abs=1e-4)
    assert row["unlike"] == ""
    assert row[STEPS] == "50, 100, 200, 400"


def test_several_seeds_have_a_spread_over_intervals_and_an_interval_over_seeds() -> None:
    """Seed 0 differs by 4 points between intervals, seed 1 by 8, and the means by 10."""
    row = beside(study({(0, 50): 0.50, (0, 400): 0.54, (1, 50): 0.58, (1, 400): 0.66}))
    assert row["ours_percent"] == pytest.approx((52 + 62) / 2)
    assert row["sd_intervals"] == pytest.approx((4 / 2**0.5 + 8 / 2**0.5) / 2)
    assert (row["unit"], row["n"], row["intervals"]) == ("seeds", 2, 2)
    # The standard error of 52 and 62 is 5; t(0.975, 1) = 12.7062.
    assert row["low_percent"] == pytest.approx(57 - 12.7062 * 5, abs=1e-3)
    assert row["reproduced"] == "open"
    assert row["unlike"] == "update interval 50, 400 (paper: 50, 100, 200, 400)"


def test_a_seed_that_lacks_an_interval_counts_in_nothing() -> None:
    whole = {(0, 50): 0.50, (0, 400): 0.54, (1, 50): 0.58, (1, 400): 0.66}
    row = beside(study({**whole, (2, 50): 0.99}))
    assert (row["n"], row["ours_percent"]) == (2, pytest.approx(57))
    assert row["sd_intervals"] == pytest.approx(6 / 2**0.5)


def test_seeds_at_one_interval_have_no_spread_over_intervals() -> None:
    row = beside(study({(0, 400): 0.56, (1, 400): 0.57, (2, 400): 0.58}, vary=False))
    assert (row["unit"], row["n"], row["intervals"]) == ("seeds", 3, 1)
    assert np.isnan(row["sd_intervals"])
    assert row["low_percent"] == pytest.approx(57 - 4.30265 / 3**0.5, abs=1e-4)
    assert row["reproduced"] == "open"  # 54.5 to 59.5 against 55.0 to 61.0
    assert row["unlike"] == "update interval 400 (paper: 50, 100, 200, 400)"


def test_figure_a_is_compared_interval_by_interval() -> None:
    ours = study({(0, 50): 0.52, (0, 100): 0.58, (1, 50): 0.54, (1, 100): 0.60})
    table = curves_beside(ours, read_curves(CURVES)).query("figure == 'A' and task == 10")
    by_interval = table.set_index(STEPS)
    assert by_interval["ours_percent"].to_dict() == pytest.approx({"50": 53, "100": 59})
    reference = read_curves(CURVES).query("figure == 'A' and task == 10")
    reference = reference.query("init == 'uniform' and density == 0.2").set_index("update_every")
    for steps in (50, 100):
        theirs = reference.loc[steps, "accuracy_percent"]
        assert by_interval.loc[str(steps), "paper_percent"] == theirs
    assert set(table["unit"]) == {"seeds"}
    assert table["sd_intervals"].isna().all()
    assert set(table["unlike"]) == {""}


def test_the_measure_is_the_mean_over_tasks_seen_so_far() -> None:
    ours = study({(0, 400): 0.5})
    rows = [("r0-400", after, task, 0.1 * task) for after in range(1, 4) for task in range(1, 11)]
    accuracy = pd.DataFrame(rows, columns=["digest", "after_task", "task", "accuracy"])
    summary = ours.runs[[*AXES, *CELL, STEPS, "seed", "acc", "digest"]].assign(tasks_learned=3)
    settings = pd.DataFrame({"update_every": [400], "unlike": [""]}, index=["r0-400"])
    table = curves_beside(Study(summary, accuracy, settings), read_curves(CURVES))
    fourth = table[table["figure"] == "4"].set_index("task")["ours_percent"]
    assert fourth.to_dict() == pytest.approx({1: 10, 2: 15, 3: 20})


def test_a_mean_over_another_varied_setting_is_taken_within_each_repetition() -> None:
    ours = study({(0, 50): 0.50, (0, 400): 0.54})
    other = ours.runs.assign(acc=ours.runs["acc"] + 0.02, digest=ours.runs["digest"] + "b")
    both = pd.concat([ours.runs.assign(**{"training.x": "1"}), other.assign(**{"training.x": "2"})])
    columns = [*AXES, *CELL, STEPS, "training.x", "seed", "acc", "digest"]
    settings = both.set_index("digest")[["update_every", "unlike"]]
    empty = pd.DataFrame(columns=["digest", "after_task", "task", "accuracy"])
    table = tables_beside(
        Study(both[columns], empty.astype({"accuracy": float}), settings),
        read_tables(CELLS),
        read_curves(CURVES),
    )
    (row,) = table.to_dict("records")
    assert row["ours_percent"] == pytest.approx(53)
    assert row["sd_intervals"] == pytest.approx(4 / 2**0.5)
    assert (row["unit"], row["n"], row["training.x"]) == ("update intervals", 2, "1, 2")
    assert averaged_over(table) == f"mean over {STEPS} 50, 400 and training.x 1, 2"


def test_tables_have_a_row_a_measure_and_fwt_only_as_the_paper_defines_it() -> None:
    ours = study({(0, 50): 0.52, (0, 100): 0.58, (0, 200): 0.54, (0, 400): 0.60})
    curves, cells = read_curves(CURVES), read_tables(CELLS)
    table = tables_beside(ours, cells, curves)
    assert table["metric"].tolist() == ["acc", "bwt"]
    assert set(table["table"]) == {"3"}
    acc = table.iloc[0]
    assert (acc["paper_percent"], acc["paper_pm"]) == (58.04, 1.96)
    assert (acc["ours_percent"], acc["compared_with"]) == (pytest.approx(56), "table 3")
    assert table.iloc[1]["ours_percent"] == pytest.approx(-1)
    ours = study({(0, steps): 0.5 for steps in (50, 100, 200, 400)}, fwt_by_position=0.1)
    fwt = tables_beside(ours, cells, curves).set_index("metric").loc["fwt"]
    assert fwt["ours_percent"] == pytest.approx(10)
    assert fwt["reproduced"] == "yes"


def test_a_prefix_is_compared_with_the_curve_where_it_ends() -> None:
    ours = study({(s, 400): 0.7 for s in range(3)}, tasks=20, learned=8)
    curves = read_curves(CURVES)
    (row,) = tables_beside(ours, read_tables(CELLS), curves).to_dict("records")
    assert (row["table"], row["metric"], row["learned"]) == ("1", "acc", 8)
    assert row["compared_with"] == "figure 2 after task 8"
    point = curves.query("figure == '2' and init == 'uniform' and density == 0.2 and task == 8")
    assert row["paper_percent"] == point.set_index("growth").loc["random", "accuracy_percent"]
    assert np.isnan(row["paper_pm"])
    assert row["ours_percent"] == pytest.approx(70)
    points = curves_beside(ours, curves)
    assert points["task"].tolist() == list(range(1, 9))


def test_networks_stand_beside_the_papers_own() -> None:
    values = {(0, 400): 0.5}
    for network, figures in {
        "resnet18": {"4", "A"},
        "resnet18-slim": {"4", "A"},
        "vgg16": {"D"},
        "mobilenetv2": {"C"},
        "convnet": set(),
    }.items():
        table = curves_beside(study(values, network=network), read_curves(CURVES))
        assert set(table["figure"]) == figures, network
        assert set(table["network"]) <= {network}


def test_each_figure_takes_its_own_sparsities_and_growths() -> None:
    one = {"init": "erk", "density": 0.1, "growth": "5xrandom+5xgradient"}
    assert beside(study({(0, 400): 0.5}, **one), "6")["paper_percent"] == 77.52
    assert beside(study({(0, 400): 0.5}, density=0.01), "B")["unit"] == "seeds"


def test_other_data_and_other_methods_have_nothing_to_compare_with() -> None:
    for axes in ({"dataset": "mnist5k"}, {"method": "static"}, {"tasks": 4}):
        ours = study({(0, 400): 0.5}, **axes)
        assert curves_beside(ours, read_curves(CURVES)).empty
        tables = tables_beside(ours, read_tables(CELLS), read_curves(CURVES))
        assert tables.empty
        assert [c for c in tables if c != STEPS] == list(TABLE_COLUMNS)


def test_a_configuration_without_a_finished_repetition_has_no_row() -> None:
    """Each seed has another value of a varied setting, so no mean is over both."""
    ours = study({(0, 50): 0.5, (1, 50): 0.5})
    columns = [*AXES, *CELL, STEPS, "training.x", "seed", "acc", "digest"]
    summary = ours.runs.assign(**{"training.x": ["1", "2"]})[columns]
    rows = [(digest, 1, 1, 0.5) for digest in summary["digest"]]
    accuracy = pd.DataFrame(rows, columns=["digest", "after_task", "task", "accuracy"])
    settings = ours.runs.set_index("digest")[["update_every", "unlike"]]
    assert curves_beside(Study(summary, accuracy, settings), read_curves(CURVES)).empty


def test_what_is_unlike_the_paper_is_told() -> None:
    params = REPOSITORY / "params.yaml"
    slim = next(run for run in runs(load_file(params, "cifar100-cpu")))
    assert unlike(slim) == (
        "network resnet18-slim (paper: resnet18), epochs 5 (paper: 100), batch_size 64 (paper: 128)"
    )
    assert unlike_intervals({50, 100, 200, 400}, "cifar100") == ""
    assert unlike_intervals({100, 400}, "miniimagenet") == ""
    assert unlike_intervals({8}, "miniimagenet") == "update interval 8 (paper: two, not told which)"


def test_scores_count_what_came_out_of_each_part() -> None:
    cells = {"table": "3", "network": "resnet18", "metric": "acc", "learned": 10}
    cells |= {"protocol": "published"}
    rows = [("yes", 70.0, 71.0), ("no", 60.0, 66.0), ("open", 50.0, 52.0)]
    tables = pd.DataFrame(
        [
            cells
            | {"protocol": "published", "reproduced": r, "paper_percent": p, "ours_percent": o}
            for r, p, o in rows
        ]
    )
    tables = pd.concat([tables, tables.assign(metric="bwt", reproduced="yes")])
    points = [(9, 75.0, 70.0), (10, 70.0, 71.0)]
    curves = pd.DataFrame(
        [
            {"figure": "4", "network": "resnet18", "protocol": "corrected", "task": task}
            | {"reproduced": "no", "paper_percent": p, "ours_percent": o}
            for task, p, o in points
        ]
    )
    table, figure = part_scores(curves, tables)
    assert (table.part.name, figure.part.name) == ("Table 3", "Figure 4")
    score = table.by_protocol["published"]
    assert (score.reproduced, score.missed, score.open, score.compared) == (1, 1, 1, 3)
    assert score.difference == pytest.approx(3)
    assert score.rank == pytest.approx(1)
    score = figure.by_protocol["corrected"]
    assert (score.compared, figure.learned, score.difference) == (2, 10, pytest.approx(-2))
    assert np.isnan(score.rank)


def test_rank_agreement() -> None:
    ours = pd.DataFrame({"paper_percent": [1.0, 2.0, 3.0], "ours_percent": [50.0, 60.0, 70.0]})
    assert rank_agreement(ours) == pytest.approx(1)
    assert rank_agreement(ours.assign(ours_percent=[3.0, 2.0, 1.0])) == pytest.approx(-1)
    assert pd.isna(rank_agreement(ours[:2]))


def written(folder: Path, **columns) -> Path:
    """A study of one planned run of CIFAR-100, with its tables and plan."""
    run = next(run for run in runs(load_file(REPOSITORY / "params.yaml", "cifar100-cpu")))
    entry = {"folder": run.folder, "digest": run.digest, "run": run.to_dict()}
    (folder / "plan.json").write_text(json.dumps({"preset": "cifar100-cpu", "runs": [entry]}))
    row = run.axes() | {"acc": 0.5, "digest": run.digest} | columns
    pd.DataFrame([row]).to_csv(folder / "summary.csv", index=False)
    seen = [(run.digest, a, t, 0.5) for a in range(1, 11) for t in range(1, a + 1)]
    names = ["digest", "after_task", "task", "accuracy"]
    pd.DataFrame(seen, columns=names).to_csv(folder / "accuracy.csv", index=False)
    return folder


def test_both_tables_are_written_as_their_readers_want_them(tmp_path: Path) -> None:
    write_paper(written(tmp_path), REFERENCE)
    curves, tables = (read_table(tmp_path, name) for name in ("paper", "paper_tables"))
    assert list(curves) == list(CURVE_COLUMNS)
    assert list(tables) == list(TABLE_COLUMNS)
    assert curves["task"].tolist() == list(range(1, 11))
    assert "epochs 5 (paper: 100)" in curves["unlike"][0]
    assert (tables["metric"].tolist(), tables["table"].tolist()) == (["acc"], ["3"])
    assert set(NEEDS["paper"].columns) <= set(CURVE_COLUMNS)
    assert set(NEEDS["paper_tables"].columns) <= set(TABLE_COLUMNS)


@pytest.mark.parametrize("value", [0, 11, 2.5, "x"])
def test_a_nonsense_number_of_tasks_learned_is_one_line(tmp_path: Path, value: object) -> None:
    message = r"summary\.csv: line 2: tasks_learned .* not a number"
    with pytest.raises(ValueError, match=message) as caught:
        write_paper(written(tmp_path, tasks_learned=value), REFERENCE)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "paper.csv").exists()


def test_a_run_that_is_not_planned_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"summary\.csv: run zzz is not in plan\.json"):
        write_paper(written(tmp_path, digest="zzz"), REFERENCE)


READERS = pytest.mark.parametrize(
    ("read", "source"), [(read_curves, CURVES), (read_tables, CELLS)], ids=["curves", "tables"]
)


@READERS
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("a,b\n1,2\n", "no column (figure|table)"),
        ("", "not a table"),
        ('"\n', "not a table"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, read, source, text, message) -> None:
    path = tmp_path / source.name
    if text is not None:
        path.write_text(text)
    with pytest.raises(PaperError, match=f"{source.name}: {message}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def changed(folder: Path, source: Path, column: str, value: str) -> Path:
    """The file with another value in its line 3."""
    header, first, second, *rest = source.read_text().splitlines()
    cells = second.split(",")
    cells[header.split(",").index(column)] = value
    path = folder / source.name
    path.write_text("\n".join([header, first, ",".join(cells), *rest]) + "\n")
    return path


@pytest.mark.parametrize("value", ["abc", "", "inf", "True"])
@pytest.mark.parametrize(
    ("read", "source", "column"),
    [
        (read_curves, CURVES, "accuracy_percent"),
        (read_curves, CURVES, "task"),
        (read_tables, CELLS, "acc"),
        (read_tables, CELLS, "fwt_pm"),
    ],
)
def test_a_value_that_is_no_number_is_named(tmp_path, read, source, column, value) -> None:
    path = changed(tmp_path, source, column, value)
    with pytest.raises(PaperError, match=rf"{source.name}: line 3: {column}.* is ") as caught:
        read(path)
    assert f"{value!r} is not a number" in str(caught.value) or not value


@READERS
def test_a_part_that_the_paper_lacks_is_named(tmp_path: Path, read, source) -> None:
    kind = "figure" if source == CURVES else "table"
    path = changed(tmp_path, source, kind, "Z")
    with pytest.raises(PaperError, match=rf"line 3: {kind} 'Z' is none of "):
        read(path)


@READERS
def test_a_number_that_is_there_twice_is_refused(tmp_path: Path, read, source) -> None:
    lines = source.read_text().splitlines()
    path = tmp_path / source.name
    path.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(PaperError, match=r"cifar100 20 .*twice"):
        read(path)


def test_an_interval_belongs_to_figure_a_alone(tmp_path: Path) -> None:
    path = changed(tmp_path, CURVES, "update_every", "50")
    with pytest.raises(PaperError, match="line 3: update_every: figure 2 has means over intervals"):
        read_curves(path)
    path = changed(tmp_path, CURVES, "figure", "A")
    with pytest.raises(PaperError, match="line 3: update_every: figure A has one interval a curve"):
        read_curves(path)
