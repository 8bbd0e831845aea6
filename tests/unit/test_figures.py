"""Figures: the numbers drawn, from tables written by hand; same tables, same bytes."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.text import Text

from dstcl.evaluation.axes import BLOCK
from dstcl.evaluation.made_from import stated
from dstcl.evaluation.paper.beside import CURVE_COLUMNS
from dstcl.figures import (
    FIGURES,
    accuracy_matrix,
    accuracy_over_tasks,
    capacity,
    caption,
    draw_figure,
    mask_overlap,
)
from dstcl.figures import layer_densities as layers
from dstcl.figures.independent_masks import expected_overlap, expected_use
from dstcl.figures.means import same_cells
from dstcl.figures.style import applied_style, growth_looks, init_looks
from dstcl.figures.tables import Tables
from dstcl.study.entries import GROWTH_CRITERIA
from dstcl.study.parts import AXES
from helpers.finished import study_tables

SUFFIXES = ("svg", "pdf", "png", "csv")
# Layer sizes 10 and 40; weights (active, new, shared, free) by task.
CAPACITY = {
    "conv.weight": (10, [(10, 10, 0, 0), (10, 0, 10, 0)]),
    "fc.weight": (40, [(4, 4, 0, 36), (4, 3, 1, 33)]),
}


@dataclass
class FakeRun:
    """A run with a two-task accuracy matrix ``R[1][1]``, ``R[2][1]``, ``R[2][2]``."""

    digest: str
    matrix: tuple[float, float, float] = (0.9, 0.8, 0.6)
    axes: dict = field(default_factory=dict)

    def summary(self) -> dict:
        plain = ("mnist5k", 2, "corrected", "net", "dst", 0.28, "uniform", "random", 0)
        acc = (self.matrix[1] + self.matrix[2]) / 2
        return dict(zip(AXES, plain)) | self.axes | {"acc": acc, "digest": self.digest}

    def accuracy(self) -> list[dict]:
        first, later, second = self.matrix
        cells = {(0, 1): 0.1, (0, 2): 0.2, (1, 1): first, (1, 2): 0.3, (2, 1): later}
        cells[2, 2] = second
        return [
            {"digest": self.digest, "after_task": i, "task": j, "accuracy": value}
            for (i, j), value in cells.items()
        ]

    def capacity(self) -> list[dict]:
        return [
            {"digest": self.digest, "task": task, "layer": layer, "size": size}
            | dict(zip(("active", "new", "shared", "free"), counts))
            for layer, (size, by_task) in CAPACITY.items()
            for task, counts in enumerate(by_task, start=1)
        ]


def write_study(folder: Path, *runs: FakeRun) -> Path:
    tables = {
        "summary": [run.summary() for run in runs],
        "accuracy": [row for run in runs for row in run.accuracy()],
        "capacity": [row for run in runs for row in run.capacity()],
    }
    study_tables(folder, tables)
    study_tables(folder, {name: header + "\n" for name, header in EMPTY.items()})
    return folder


DENSE = {"init": "none", "density": 1.0, "growth": "none"}
EMPTY = {
    "claims": "claim,statement,effect,low,high,p_holm,units,unit,verdict,protocol,dataset,tasks,"
    "network,more_than,kind,detail,source,note,paper_effect,paper_says_otherwise",
    "paper": ",".join(CURVE_COLUMNS),
    "overlap": "digest,task,other,shared,jaccard",
    "history": "digest,task,epoch,explored",
    "decisions": "digest,task,step,layer,what,value,evidence",
}


BLOCK_TITLE = "MNIST-5k, 2 tasks · protocol corrected · network net · method DST"


def words_of(figure) -> str:
    """All of a figure's texts, each on one line."""
    return "\n".join(text.get_text().replace("\n", " ") for text in figure.findobj(Text))


def two_seeds(folder: Path) -> Path:
    return write_study(folder, FakeRun("a" * 10), FakeRun("b" * 10, (0.7, 0.9, 0.5), {"seed": 1}))


def numbers(study: Path, name: str) -> pd.DataFrame:
    draw_figure(name, study, 60)
    return pd.read_csv(study / "figures" / f"{name}.csv", keep_default_na=False, na_values=[""])


def test_accuracy_over_tasks_is_the_mean_over_seen_tasks_with_students_interval(tmp_path):
    table = numbers(two_seeds(tmp_path), "accuracy_over_tasks")
    assert table.task.tolist() == [1, 2]
    assert table.seeds.tolist() == [2, 2]
    # After task 1: 90 and 70. After task 2: (80 + 60) / 2 and (90 + 50) / 2.
    assert table.accuracy_percent.tolist() == pytest.approx([80, 70])
    # t(0.975, 1 degree of freedom) = 12.7062; standard error of 90 and 70 is 10.
    assert table.low_percent.tolist() == pytest.approx([80 - 127.062, 70], abs=1e-3)
    assert table.high_percent.tolist() == pytest.approx([80 + 127.062, 70], abs=1e-3)


def test_the_lines_drawn_are_the_numbers_written(tmp_path):
    figure, table = accuracy_over_tasks.draw(Tables(two_seeds(tmp_path)))
    (line,) = [line for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert list(line.get_xdata()) == table.task.tolist()
    assert list(line.get_ydata()) == table.accuracy_percent.tolist()
    assert figure.subfigs[0].get_suptitle() == (
        "MNIST-5k, 2 tasks · protocol corrected · network net · method DST"
    )
    legend = figure.legends[0].get_title().get_text()
    assert legend == "growth (mean of 2 seeds, small points: single seeds)"


@pytest.mark.parametrize("seeds", [1, 4, 5])
def test_fewer_than_five_seeds_are_points_and_not_a_band(tmp_path, seeds):
    """A t interval of three seeds fills the panel and hides what it is of."""
    matrices = [(0.9 - 0.1 * seed, 0.8, 0.6) for seed in range(seeds)]
    runs = [FakeRun(f"{seed:010x}", matrix, {"seed": seed}) for seed, matrix in enumerate(matrices)]
    figure, table = accuracy_over_tasks.draw(Tables(write_study(tmp_path, *runs)))
    shown = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    bands = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    assert len(shown) == (1 if seeds == 4 else 0)
    assert sum(len(band.get_paths()) for band in bands) == (1 if seeds == 5 else 0)
    if shown:
        after_first = [y for x, y in shown[0].get_offsets() if x == 1]
        assert after_first == pytest.approx([90, 80, 70, 60])
        assert table.by_seed.iloc[0] == "90 80 70 60"


@pytest.mark.parametrize("matrix", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)])
def test_axes_of_accuracies_end_at_0_and_100(tmp_path, matrix):
    runs = [FakeRun("a" * 10, matrix), FakeRun("b" * 10, (0.5, 0.5, 0.5), {"seed": 1})]
    figure, _ = accuracy_over_tasks.draw(Tables(write_study(tmp_path, *runs)))
    low, high = figure.axes[0].get_ylim()
    assert 0 <= low < high <= 100
    assert low <= 100 * min(*matrix, 0.5)
    assert high >= 100 * max(*matrix, 0.5)


def test_figures_call_ones_own_data_by_its_title(tmp_path):
    own = [FakeRun("a" * 10, axes={"dataset": "flowers"})]
    own.append(FakeRun("b" * 10, (0.5,) * 3, {"dataset": "flowers", "protocol": "published"}))
    own.append(FakeRun("c" * 10, (0.4,) * 3, {"dataset": "flowers", "protocol": "odd"}))
    own.append(FakeRun("d" * 10, (0.4,) * 3, {"dataset": "flowers", "method": "static"}))
    own.append(FakeRun("e" * 10, axes={"dataset": "flowers", "growth": "gradient"}))
    study = write_study(tmp_path, *own)
    summary = pd.read_csv(study / "summary.csv").assign(forgetting=0.0, seconds=1.0)
    summary = summary.assign(training_flops=1e6, inference_flops=1e3, mask_bytes=10)
    summary.to_csv(study / "summary.csv", index=False)
    (study / "overlap.csv").write_text(EMPTY["overlap"] + "\n" + "a" * 10 + ",2,1,5,0.2\n")
    (study / "history.csv").write_text(EMPTY["history"] + "\n" + "a" * 10 + ",1,1,0.2\n")
    claim = (
        "good,It is.,0.02,0.01,0.03,0.004,5,seeds,supported,corrected,flowers,2,net,0,difference,"
        ",s,,,\n"
    )
    (study / "claims.csv").write_text(EMPTY["claims"] + "\n" + claim)
    protocols = {"corrected": {"a": 1}, "published": {"a": 1}, "odd": {"a": 2}}
    params = {"protocols": protocols, "datasets": {"flowers": {"title": "Flowers-12"}}}
    (study / "params.json").write_text(json.dumps(params))
    for name in set(FIGURES) - {"paper_panels", "decisions"}:  # of the paper, of controllers
        figure, _ = import_module(f"dstcl.figures.{name}").draw(Tables(study))
        titles = [part.get_suptitle() for part in figure.subfigs]
        assert any(title.startswith("Flowers-12, 2 tasks") for title in titles), name


@pytest.mark.parametrize("name", ["accuracy_over_tasks", "accuracy_matrix"])
def test_a_dollar_in_a_title_is_a_dollar(tmp_path, name):
    """Between two of them Matplotlib would read a formula, and fail where there is none."""
    study = write_study(tmp_path, FakeRun("a" * 10, axes={"dataset": "flowers"}))
    title = {"title": "Flowers from $5 \\frac{ to $9"}
    (study / "params.json").write_text(
        json.dumps({"protocols": {}, "datasets": {"flowers": title}})
    )
    figure, _ = import_module(f"dstcl.figures.{name}").draw(Tables(study))
    assert title["title"] in figure.subfigs[0].get_suptitle()
    draw_figure(name, study, 60)


def test_one_seed_has_no_interval_and_the_figure_says_so(tmp_path):
    study = write_study(tmp_path, FakeRun("a" * 10))
    for name in ("accuracy_over_tasks", "capacity"):
        table = numbers(study, name)
        assert table.low_percent.isna().all()
        assert table.high_percent.isna().all()
    figure, _ = accuracy_over_tasks.draw(Tables(study))
    assert figure.legends[0].get_title().get_text() == "growth (1 seed, so no interval)"


@pytest.mark.parametrize("axis", ["dataset", "protocol", "network", "method", "tasks"])
def test_blocks_are_not_mixed(tmp_path, axis):
    other = {axis: 3 if axis == "tasks" else "other"}
    one = {"method": "static"} if axis == "method" else {}
    study = write_study(
        tmp_path,
        FakeRun("a" * 10, axes=one),
        FakeRun("b" * 10, (0.5, 0.5, 0.5), {**other, "seed": 1}),
    )
    figure, table = accuracy_over_tasks.draw(Tables(study))
    assert len(figure.subfigs) == len(set(f.get_suptitle() for f in figure.subfigs)) == 2
    assert table.seeds.tolist() == [1] * 4
    assert table.accuracy_percent.tolist() == pytest.approx([90, 70, 50, 50])
    assert len(accuracy_matrix.draw(Tables(study))[0].subfigs) == 2
    assert len(layers.draw(Tables(study))[0].subfigs) == 2
    assert len(capacity.draw(Tables(study))[0].subfigs) == 4


STEPS = "topology.update_every"


def varied_study(folder: Path) -> Path:
    """Two seeds, each at two values of a varied setting, and one growth of the user's own."""
    runs = [
        FakeRun(f"{growth[0]}{seed}{steps:>08}", (acc,) * 3, {"growth": growth, "seed": seed})
        for growth, gain in (("random", 0.0), ("own:rule", 0.1))
        for steps, more in (("50", 0.0), ("400", 0.2))
        for seed in (0, 1)
        for acc in [0.4 + gain + more + 0.02 * seed]
    ]
    study = write_study(folder, *runs)
    summary = pd.read_csv(study / "summary.csv").assign(forgetting=0.0)
    summary.insert(8, STEPS, ["50", "50", "400", "400"] * 2)
    summary.to_csv(study / "summary.csv", index=False)
    return study


def test_a_mean_over_a_varied_setting_is_taken_within_seeds_and_said(tmp_path):
    study = varied_study(tmp_path)
    table = numbers(study, "accuracy_over_tasks")
    assert STEPS not in table
    # Random: 40 and 60 with seed 0, 42 and 62 with seed 1; the standard error of 50, 52 is 1.
    assert table.seeds.tolist() == [2] * 4
    assert table.accuracy_percent.tolist() == pytest.approx([51, 51, 61, 61])
    assert table.high_percent[0] == pytest.approx(51 + 12.7062, abs=1e-3)
    for name in ("accuracy_over_tasks", "capacity", "layer_densities", "accuracy_over_capacity"):
        figure, drawn = import_module(f"dstcl.figures.{name}").draw(Tables(study))
        words = [text.get_text() for text in figure.findobj(Text)]
        assert f"mean over {STEPS} 50, 400" in words, name
        if "seeds" in drawn:
            assert set(drawn.seeds) == {2}


def test_configurations_differ_in_a_varied_setting(tmp_path):
    study = varied_study(tmp_path)
    ranks = numbers(study, "ranking")
    assert ranks[STEPS].tolist() == [400, 400, 50, 50]
    assert ranks.growth.tolist() == ["own:rule", "random", "own:rule", "random"]
    figure, _ = import_module("dstcl.figures.ranking").draw(Tables(study))
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels[0] == f"uniform · sparsity 72% · own:rule · {STEPS} 400"
    figure, matrix = accuracy_matrix.draw(Tables(study))
    assert set(matrix.of) == {4}
    assert f"{STEPS} 400" in figure.axes[0].get_title()


Cell = tuple[str, str, int]
"""Growth, update interval, seed."""


def uneven_study(folder: Path, accuracies: dict[Cell, float], **axes: object) -> Path:
    """A run for each growth, interval ("none": not read) and seed, at one accuracy throughout."""
    runs = [
        FakeRun(f"d{k:09}", (acc,) * 3, {"growth": growth, "seed": seed} | axes)
        for k, ((growth, _, seed), acc) in enumerate(accuracies.items())
    ]
    study = write_study(folder, *runs)
    summary = pd.read_csv(study / "summary.csv", keep_default_na=False).assign(forgetting=0.0)
    summary.insert(8, STEPS, [steps for _, steps, _ in accuracies])
    summary.to_csv(study / "summary.csv", index=False)
    return study


def ends(study: Path) -> dict[str, float]:
    """Accuracy at the end of each line of accuracy_over_tasks, by growth and settings."""
    table = numbers(study, "accuracy_over_tasks")
    last = table[table.task == 2]
    names = [
        f"{g} {s}".strip() for g, s in zip(last.growth, last.get("settings", [""] * len(last)))
    ]
    return dict(zip(names, last.accuracy_percent.round(9)))


def notes(name: str, study: Path) -> str:
    figure, _ = import_module(f"dstcl.figures.{name}").draw(Tables(study))
    words = [text.get_text() for text in figure.findobj(Text)]
    return " ".join(" ".join(text.split()) for text in words)


def test_growths_are_means_over_the_intervals_that_all_of_a_panel_have(tmp_path):
    """Accuracy depends on the interval alone; paired by seed no growth is better."""
    accuracies = {("random", "100", seed): 0.5 for seed in (0, 1)}
    accuracies |= {("gradient", "100", seed): 0.5 for seed in (0, 1)}
    accuracies |= {("random", "50", 0): 0.9, ("random", "50", 1): 0.9}
    study = uneven_study(tmp_path, accuracies)
    assert ends(study) == {"random": 50, "gradient": 50}
    said = f"not in the means, as others in the panel lack it: {STEPS} 50 of random"
    for name in ("accuracy_over_tasks", "capacity", "accuracy_over_capacity"):
        assert said in notes(name, study), name
        assert "mean over" not in notes(name, study)
    assert numbers(study, "capacity").expected_percent.notna().all()


def test_a_mean_is_over_the_same_intervals_in_every_seed(tmp_path):
    accuracies = {("random", "50", seed): 0.4 for seed in (0, 1, 2)}
    accuracies |= {("random", "100", 0): 0.6, ("random", "100", 2): 0.8}
    study = uneven_study(tmp_path, accuracies)
    table = numbers(study, "accuracy_over_tasks")
    # (40 + 60) / 2 and (40 + 80) / 2; seed 1 has 50 alone.
    assert table.by_seed.tolist() == ["50 60"] * 2
    said = "not in the means, as runs are missing: seed 1 of random"
    assert f"mean over {STEPS} 50, 100; {said}" in notes("accuracy_over_tasks", study)


def test_where_no_seed_has_all_intervals_every_line_has_those_that_all_seeds_have(tmp_path):
    random = {("random", "50", 0): 0.6, ("random", "100", 0): 0.9}
    random |= {("random", "50", 1): 0.6, ("random", "200", 1): 0.9}
    gradient = {("gradient", s, seed): 0.4 for s in ("50",) for seed in (0, 1)}
    gradient |= {("gradient", s, seed): 0.8 for s in ("100", "200") for seed in (0, 1)}
    study = uneven_study(tmp_path, random | gradient)
    assert ends(study) == {"random": 60, "gradient": 40}
    said = notes("accuracy_over_tasks", study)
    assert f"as runs are missing: {STEPS} 100, 200 of random" in said
    assert f"as others in the panel lack it: {STEPS} 100, 200 of gradient" in said


def test_growths_that_share_no_interval_are_lines_for_each_of_theirs(tmp_path):
    accuracies = {("random", "50", 0): 0.4, ("random", "100", 0): 0.6, ("gradient", "200", 0): 0.7}
    study = uneven_study(tmp_path, accuracies)
    assert ends(study) == {
        "random update_every 50": 40,
        "random update_every 100": 60,
        "gradient update_every 200": 70,
    }
    said = notes("accuracy_over_tasks", study)
    assert f"each value by itself, as those compared share none: {STEPS}" in said
    for value in (50, 100, 200):
        assert f"update_every {value}" in said
    for name in ("capacity", "accuracy_over_capacity"):
        assert set(numbers(study, name).settings) == {f"update_every {n}" for n in (50, 100, 200)}
    assert "settings" not in numbers(study, "layer_densities")  # one init, nothing beside it


def test_seeds_without_any_interval_in_common_are_not_drawn(tmp_path):
    study = uneven_study(tmp_path, {("random", "50", 0): 0.4, ("random", "100", 1): 0.6})
    (reason,) = numbers(study, "accuracy_over_tasks").not_drawn
    assert reason == (
        "no mean has the same runs in every seed (not in the means, as runs are missing: all runs "
        "of random)"
    )


def test_a_method_is_a_mean_over_the_same_growths_in_every_seed(tmp_path):
    """In seeds 2 and 3 the good growth alone is there: static is better where both are."""
    runs = [FakeRun(f"g{s:09}", (0.9,) * 3, {"growth": "gradient", "seed": s}) for s in range(4)]
    runs += [FakeRun(f"r{s:09}", (0.5,) * 3, {"seed": s}) for s in range(2)]
    static = {"method": "static", "growth": "none"}
    runs += [FakeRun(f"s{s:09}", (0.8,) * 3, static | {"seed": s}) for s in range(4)]
    study = write_study(tmp_path, *runs)
    summary = pd.read_csv(study / "summary.csv", keep_default_na=False)
    costs = {"forgetting": 0.0, "training_flops": 1e6, "memory_bytes": 100.0}
    summary = summary.assign(**costs, seconds=[1.0] * 4 + [3.0] * 2 + [2.0] * 4)
    summary.to_csv(study / "summary.csv", index=False)
    table = numbers(study, "baselines")
    rows = table[table.measure == "acc"].set_index("method")
    assert rows.seeds.to_dict() == {"dst": 2, "static": 4}
    assert rows.percent.to_dict() == pytest.approx({"dst": 70, "static": 80})
    table = numbers(study, "tradeoffs").drop_duplicates("method").set_index("method")
    assert table.accuracy_percent.to_dict() == pytest.approx({"dst": 70, "static": 80})
    table = numbers(study, "costs")
    assert table[table.measure == "seconds"]["mean"].tolist() == [2, 2]
    for name in ("baselines", "costs", "tradeoffs"):
        said = "not in the means, as runs are missing: seeds 2, 3 of DST · sparsity 72% · uniform"
        assert said in notes(name, study), name


def test_a_method_that_does_not_read_a_setting_goes_with_each_of_its_values(tmp_path):
    accuracies = {("random", "50", 0): 0.4, ("random", "100", 0): 0.6, ("none", "none", 0): 0.7}
    study = uneven_study(tmp_path, accuracies)
    summary = pd.read_csv(study / "summary.csv", keep_default_na=False)
    summary["method"] = ["dst", "dst", "static"]
    summary.to_csv(study / "summary.csv", index=False)
    table = numbers(study, "baselines")
    assert table[table.measure == "acc"].percent.tolist() == pytest.approx([50, 70])
    assert f"mean over {STEPS} 50, 100" in notes("baselines", study)


def test_cells_shared_with_a_dropped_one_alone_are_dropped_too():
    """B has x1 alone, so A's y2, at x2, is left out; then C has y1 in common with A, not y2."""
    base = {"dataset": "d", "tasks": 5, "protocol": "p", "network": "n", "density": 0.2}
    base |= {"init": "u", "growth": "g", "acc": 0.5}
    marks = [("A", "1", "1"), ("A", "2", "2"), ("B", "1", "none"), ("C", "none", "1"),
             ("C", "none", "2")]  # fmt: skip
    runs = pd.DataFrame(
        base
        | {"method": method, "training.x": x, "method.y": y, "seed": seed}
        | {"digest": f"{method}{x}{y}{seed}"}
        for method, x, y in marks
        for seed in (0, 1)
    )
    kept = same_cells(runs, BLOCK, ["method", "density", "init"]).rows
    found = set(kept[["method", "training.x", "method.y"]].itertuples(index=False, name=None))
    assert found == {("A", "1", "1"), ("B", "1", "none"), ("C", "none", "1")}


def test_a_figure_without_times_is_the_same_after_runs_are_made_again(tmp_path):
    """DVC would otherwise see a changed file where nothing was found anew."""
    study = write_study(tmp_path, FakeRun("a" * 10), FakeRun("b" * 10, axes={"growth": "gradient"}))
    files = {}
    for seconds in (1.0, 2.0):
        table = pd.read_csv(study / "summary.csv").assign(seconds=seconds)
        table.to_csv(study / "summary.csv", index=False)
        for name in ("ranking", "costs"):
            draw_figure(name, study, 50)
            files[name, seconds] = (study / "figures" / f"{name}.svg").read_bytes()
    assert files["ranking", 1.0] == files["ranking", 2.0]
    assert files["costs", 1.0] != files["costs", 2.0]


def test_protocols_are_means_over_the_intervals_that_both_have_for_every_growth(tmp_path):
    """The longer the interval, the worse, under both protocols alike: no bar has a length."""
    by_interval = {"50": 0.7, "100": 0.6}
    accuracies = {("random", steps, 0): acc for steps, acc in by_interval.items()}
    accuracies |= {("gradient", steps, 0): acc for steps, acc in by_interval.items()}
    study = uneven_study(tmp_path, accuracies | {("random", "100", 1): 0.6})
    summary = pd.read_csv(study / "summary.csv", keep_default_na=False)
    published = summary[summary.seed == 0].assign(protocol="published")
    published["digest"] = published.digest.str.replace("d", "p")
    corrected = summary[(summary.growth == "random") | (summary[STEPS] == 100)]
    pd.concat([published, corrected]).to_csv(study / "summary.csv", index=False)
    table = numbers(study, "protocols")
    assert table.accuracy_percent.tolist() == pytest.approx([60] * 4)
    assert f"as others in the panel lack it: {STEPS} 50 of published · random" in notes(
        "protocols", study
    )


def test_protocols_without_an_interval_in_common_are_not_compared(tmp_path):
    accuracies = {("random", "50", 0): 0.4, ("random", "100", 0): 0.6, ("random", "200", 0): 0.7}
    study = uneven_study(tmp_path, accuracies)
    summary = pd.read_csv(study / "summary.csv", keep_default_na=False)
    summary["protocol"] = ["published", "corrected", "corrected"]
    summary.to_csv(study / "summary.csv", index=False)
    assert "not_drawn" in numbers(study, "protocols")


def test_inits_are_compared_at_the_settings_that_both_have(tmp_path):
    """Layer densities of uniform at an interval that ERK was not run at."""
    study = uneven_study(tmp_path, {("random", "50", 0): 0.4, ("random", "100", 0): 0.6})
    summary = pd.read_csv(study / "summary.csv", keep_default_na=False)
    erk = summary[summary[STEPS] == 50].assign(init="erk", digest="e" * 10)
    pd.concat([summary, erk]).to_csv(study / "summary.csv", index=False)
    table = pd.read_csv(study / "capacity.csv", dtype={"digest": str})
    same = table[table.digest == "d000000000"].assign(digest="e" * 10)
    table.loc[table.digest == "d000000001", "active"] //= 2
    pd.concat([table, same]).to_csv(study / "capacity.csv", index=False)
    densities = numbers(study, "layer_densities").set_index(["init", "layer"]).percent
    # 10 of 10 and 4 of 40 weights at interval 50, half as many at 100.
    assert densities["uniform"].tolist() == densities["erk"].tolist() == [100, 10]
    assert f"as others in the panel lack it: {STEPS} 100 of uniform" in notes(
        "layer_densities", study
    )


def test_capacity_counts_weights_over_all_layers(tmp_path):
    table = numbers(two_seeds(tmp_path), "capacity").set_index("share")
    # Free after task 1: 36 of 50; after task 2: 33. Task 2 has 14 active weights, 11 shared.
    assert table.loc["used", "percent"].tolist() == pytest.approx([28, 34])
    assert table.loc["reused", "percent"].tolist() == pytest.approx([0, 100 * 11 / 14])
    assert table.loc["used", "seeds"].tolist() == [2, 2]


def test_capacity_shows_what_independent_masks_would_give(tmp_path):
    figure, _ = capacity.draw(Tables(two_seeds(tmp_path)))
    used, reused = (subfigure.axes[0].lines[0].get_ydata() for subfigure in figure.subfigs)
    # Both tasks have all 10 weights of conv and 4 of fc's 40: used 10 + 40 (1 - 0.9^2) of 50,
    # of task 2's 14 weights 10 + 0.1 * 4 are expected in task 1 too. The density 0.28 alone would
    # say 48 and 28%.
    assert list(used) == pytest.approx([28, 100 * 17.6 / 50])
    assert list(reused) == pytest.approx([0, 100 * 10.4 / 14])


def independent_masks(sizes: list[int], active: list[list[int]], runs: int) -> pd.DataFrame:
    """Rows of capacity.csv, and what random masks of these counts made of each run in fact.

    Args:
        sizes: weights of each layer.
        active: for each task, active weights of each layer.
    """
    random, rows = np.random.default_rng(0), []
    for run in range(runs):
        masks = [[random.permutation(s) < a for s, a in zip(sizes, task)] for task in active]
        flat = [np.concatenate(mask) for mask in masks]
        for t, counts in enumerate(active):
            seen = np.any(flat[:t], axis=0) if t else np.zeros(sum(sizes), bool)
            truth = {
                "used": 100 * (seen | flat[t]).mean(),
                "reused": 100 * (seen & flat[t]).sum() / flat[t].sum(),
                "jaccard": 100 * (flat[0] & flat[t]).sum() / (flat[0] | flat[t]).sum(),
            }
            for layer, (size, count) in enumerate(zip(sizes, counts)):
                row = {"digest": str(run), "task": t + 1, "layer": str(layer), "size": size}
                rows.append(row | {"active": count} | truth)
    return pd.DataFrame(rows)


def test_independent_masks_of_unequal_layers_share_what_chance_says():
    layers = independent_masks([30, 400, 3000], [[30, 80, 60], [24, 200, 30], [30, 20, 300]], 60)
    found = layers.drop_duplicates(["digest", "task"]).groupby("task")[
        ["used", "reused", "jaccard"]
    ]
    means = found.mean()
    use = (
        expected_use(layers.sample(frac=1, random_state=1)).groupby("task").mean(numeric_only=True)
    )
    assert use.expected_used.tolist() == pytest.approx(means.used.tolist(), rel=0.02)
    assert use.expected_reused.tolist() == pytest.approx(means.reused.tolist(), rel=0.03)
    pairs = expected_overlap(layers)
    first = pairs[pairs.other == 1].groupby("task").expected_percent.mean()
    assert (means.jaccard[[2, 3]] / first).tolist() == pytest.approx([1, 1], abs=0.03)
    assert sorted(set(zip(pairs.task, pairs.other))) == [(2, 1), (3, 1), (3, 2)]


def test_last_task_of_each_block_is_its_own(tmp_path):
    study = write_study(tmp_path, FakeRun("a" * 10), FakeRun("b" * 10, axes={"tasks": 3}))
    table = pd.read_csv(study / "capacity.csv")
    third = table[(table.digest == "b" * 10) & (table.task == 2)].assign(task=3, active=2)
    pd.concat([table, third]).to_csv(study / "capacity.csv", index=False)
    last = numbers(study, "layer_densities").set_index(["tasks", "layer"]).last_percent
    assert last.to_dict() == pytest.approx(
        {
            (2, "conv.weight"): 100,
            (2, "fc.weight"): 10,
            (3, "conv.weight"): 20,
            (3, "fc.weight"): 5,
        }
    )


def test_layer_densities_are_shares_of_each_layer(tmp_path):
    table = numbers(two_seeds(tmp_path), "layer_densities")
    assert table.layer.tolist() == ["conv.weight", "fc.weight"]
    assert table["size"].tolist() == [10, 40]
    assert table.percent.tolist() == pytest.approx([100, 10])
    assert table.first_percent.tolist() == table.last_percent.tolist() == [100, 10]
    figure, _ = layers.draw(Tables(tmp_path))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["conv · 10", "fc · 40"]


def test_accuracy_matrix_shows_best_and_worst_cell_by_their_lowest_seed(tmp_path):
    study = write_study(
        tmp_path,
        FakeRun("a" * 10, (0.9, 0.9, 0.9), {"seed": 2}),
        FakeRun("b" * 10, (0.7, 0.6, 0.8), {"seed": 1}),
        *(
            FakeRun(f"{growth}{seed}", (acc,) * 3, {"growth": growth, "seed": seed})
            for growth, acc in (("gradient", 0.5), ("unfired", 0.6))
            for seed in (1, 2)
        ),
        FakeRun("e" * 10, (0.4, 0.4, 0.4), {"density": 0.1}),
    )
    table = numbers(study, "accuracy_matrix")
    best, worst, only = (rows for _, rows in table.groupby(["density", "rank"], sort=False))
    # Mean ACC: random (90 + 70) / 2, unfired 60, gradient 50; the other density has one cell.
    assert (best["rank"].iloc[0], worst["rank"].iloc[0]) == ("best", "worst")
    assert (best.growth.iloc[0], best.seed.iloc[0], best.of.iloc[0]) == ("random", 1, 3)
    assert best.acc_percent.iloc[0] == pytest.approx(70)
    assert best.mean_acc_percent.iloc[0] == pytest.approx(80)
    assert list(zip(best.after_task, best.task)) == [(1, 1), (2, 1), (2, 2)]
    assert best.accuracy_percent.tolist() == pytest.approx([70, 60, 80])
    assert worst.growth.iloc[0] == "gradient"
    assert (only.density.iloc[0], only["rank"].iloc[0], only.of.iloc[0]) == (0.1, "best", 1)
    figure, _ = accuracy_matrix.draw(Tables(study))
    assert [text.get_text() for text in figure.axes[0].texts] == ["70", "60", "80"]
    assert figure.axes[0].get_title() == (
        "sparsity 72%: best of 3\nuniform, random\nACC 70.0% (seed 1), mean 80.0%"
    )
    assert "compared" not in words_of(figure)


def test_best_and_worst_are_compared_over_the_seeds_that_all_have(tmp_path):
    """Seed 0 is easy, and only gradient has it: over all of its seeds it would be the best."""
    accuracies = {
        ("gradient", 0): 0.9,
        ("gradient", 1): 0.4,
        ("gradient", 2): 0.4,
        ("random", 1): 0.5,
        ("random", 2): 0.6,
    }
    runs = [
        FakeRun(f"{growth}{seed}", (acc,) * 3, {"growth": growth, "seed": seed})
        for (growth, seed), acc in accuracies.items()
    ]
    alone = [
        FakeRun(f"{growth}", axes={"growth": growth, "density": 0.1, "seed": seed})
        for growth, seed in (("momentum", 0), ("unfired", 1))
    ]
    figure, table = accuracy_matrix.draw(Tables(write_study(tmp_path, *runs, *alone)))
    best, worst = (rows.iloc[0] for _, rows in table.groupby("rank"))
    assert (best.growth, best.seed, worst.growth, worst.seed) == ("random", 1, "gradient", 1)
    assert [best.mean_acc_percent, worst.mean_acc_percent] == pytest.approx([55, 40])
    assert set(table.density) == {0.28}
    assert (
        "compared over the seeds that all have, not over all runs: sparsity 72% "
        f"({BLOCK_TITLE}); no best and worst, as the configurations have no seed in common: "
        f"sparsity 90% ({BLOCK_TITLE})"
    ) in words_of(figure)


@pytest.mark.slow
def test_a_partial_study_is_drawn_and_says_what_is_missing(tmp_path):
    study = write_study(
        tmp_path,
        FakeRun("a" * 10, axes={"init": "erk"}),
        FakeRun("b" * 10, axes={"density": 0.1, "seed": 1}),
        FakeRun("c" * 10, axes={"density": 0.1, "seed": 2}),
    )
    for name in FIGURES:
        assert not numbers(study, name).empty
    figure, table = accuracy_over_tasks.draw(Tables(study))
    empty = [panel.get_title() for panel in figure.axes if panel.texts]
    assert empty == ["ERK, sparsity 90%", "uniform, sparsity 72%"]
    assert sorted(table.seeds) == [1, 1, 2, 2]
    assert "mean of 1 to 2 seeds" in figure.legends[0].get_title().get_text()


@pytest.mark.slow
def test_a_study_of_one_task_is_drawn(tmp_path):
    study = two_seeds(tmp_path)
    for name, column in (("accuracy", "after_task"), ("capacity", "task")):
        table = pd.read_csv(study / f"{name}.csv")
        table[table[column] <= 1].to_csv(study / f"{name}.csv", index=False)
    for name in FIGURES:
        assert not numbers(study, name).empty


@pytest.mark.slow
def test_same_tables_same_bytes_in_another_process_with_other_settings(tmp_path):
    study = two_seeds(tmp_path / "study")
    for name in FIGURES:
        draw_figure(name, study, 60)
    paths = [study / "figures" / f"{name}.{end}" for name in FIGURES for end in SUFFIXES]
    before = {path: path.read_bytes() for path in paths}
    assert sorted(paths) == sorted((study / "figures").iterdir())
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nfigure.facecolor: red\n")
    code = (
        "import sys; from pathlib import Path; from dstcl.figures import FIGURES, draw_figure\n"
        f"for name in FIGURES: draw_figure(name, Path({str(study)!r}), 60)\n"
        "assert 'torch' not in sys.modules"
    )
    environment = {"PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **environment})
    changed = [path.name for path, content in before.items() if path.read_bytes() != content]
    assert changed == []


def test_listing_figures_imports_neither_matplotlib_nor_pandas():
    code = "import json, sys, dstcl.figures as f; [f.caption(n) for n in f.FIGURES]\n"
    code += "print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"matplotlib", "pandas", "numpy", "torch"} & set(json.loads(done.stdout))


def test_names_that_look_like_numbers_stay_names(tmp_path):
    odd = ("1234567890", "12e4567890", "00000000e1")
    axes = [{"growth": "none"}, {"growth": "none", "seed": 1}, {"growth": "NA"}]
    study = write_study(tmp_path, *(FakeRun(digest, axes=a) for digest, a in zip(odd, axes)))
    table = Tables(study).accuracy
    assert list(table.digest.unique()) == list(odd)
    assert list(table.growth.unique()) == ["none", "NA"]
    drawn = numbers(study, "accuracy_over_tasks")
    assert drawn.groupby("growth", sort=False).seeds.first().to_dict() == {"none": 2, "NA": 1}


def test_a_figure_says_from_which_tables_it_was_made(tmp_path):
    study = two_seeds(tmp_path)
    for name, tables in {
        "accuracy_over_tasks": ("accuracy.csv",),
        "explored": ("history.csv",),
    }.items():
        numbers(study, name)
        said = stated((study / "figures" / f"{name}.svg").read_text())
        said.pop("results", None)
        contents = {table: (study / table).read_bytes() for table in tables}
        assert said == {t: hashlib.sha256(c).hexdigest()[:16] for t, c in contents.items()}


def test_unknown_figure():
    with pytest.raises(ValueError, match="unknown figure 'pie'; known: claims, paper_panels, "):
        draw_figure("pie", Path("."), 60)


@pytest.mark.parametrize("name", ["summary", "accuracy"])
def test_missing_table_is_named(tmp_path, name):
    study = two_seeds(tmp_path)
    (study / f"{name}.csv").unlink()
    with pytest.raises(ValueError, match=f"{name}.csv: no such file"):
        draw_figure("accuracy_over_tasks", study, 60)
    assert not (study / "figures").exists()


@pytest.mark.parametrize(
    ("name", "table"),
    [("explored", "history"), ("decisions", "decisions"), ("mask_overlap", "overlap")],
)
def test_a_table_is_missing_only_where_it_can_be_made(tmp_path, name, table):
    """A recorded study has no runs, and not every table of what runs found."""
    study = two_seeds(tmp_path)
    (study / f"{table}.csv").unlink()
    assert numbers(study, name).not_drawn.tolist() == [f"this recorded study has no {table}.csv"]
    (study / "runs").mkdir()
    with pytest.raises(ValueError, match=f"{table}.csv: no such file; `dstcl collect` writes it"):
        draw_figure(name, study, 60)


def test_missing_column_is_named(tmp_path):
    study = two_seeds(tmp_path)
    pd.read_csv(study / "capacity.csv").drop(columns="free").to_csv(study / "capacity.csv")
    with pytest.raises(ValueError, match=r"capacity.csv: no column free"):
        draw_figure("capacity", study, 60)


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "not a table"), ("digest,after_task,task,accuracy\n", "has no rows")],
)
def test_empty_table_is_named(tmp_path, content, message):
    study = two_seeds(tmp_path)
    (study / "accuracy.csv").write_text(content)
    with pytest.raises(ValueError, match=f"accuracy.csv: {message}"):
        draw_figure("accuracy_over_tasks", study, 60)


def test_tables_of_different_studies_are_refused(tmp_path):
    study = two_seeds(tmp_path)
    write_study(tmp_path / "other", FakeRun("f" * 10))
    (tmp_path / "other" / "accuracy.csv").rename(study / "accuracy.csv")
    with pytest.raises(ValueError, match=r"accuracy.csv has no run of summary.csv"):
        draw_figure("accuracy_over_tasks", study, 60)


def test_names_from_outside_have_looks_that_tell_them_apart():
    own = [f"own_growth:rule{index}" for index in range(12)]
    for looks in (growth_looks([*GROWTH_CRITERIA, *own]), init_looks(["erk", *own, "uniform"])):
        assert len({(look["color"], look["marker"]) for look in looks.values()}) == len(looks)
        assert len({look["linestyle"] for name, look in looks.items() if name in own[:5]}) == 5
        known = {look["marker"] for name, look in looks.items() if name not in own}
        assert not known & {looks[name]["marker"] for name in own}


def test_a_look_depends_on_the_unknown_names_before_it_alone():
    alone = growth_looks(["a:b", "c:d"])
    assert growth_looks(["random", "a:b", "gradient", "c:d", "e:f"])["c:d"] == alone["c:d"]
    assert growth_looks(["c:d"])["c:d"] != alone["c:d"]
    assert growth_looks(["a:b", "random"])["random"] == growth_looks(["random"])["random"]


def test_methods_look_like_what_they_do(tmp_path):
    axes = {
        "dst": {},
        "own:steps": {"growth": "own:rule"},
        "static": {"growth": "none"},
        "own:dense": DENSE,
    }
    runs = [FakeRun(f"{k}" * 10, axes=a | {"method": m}) for k, (m, a) in enumerate(axes.items())]
    looks = Tables(write_study(tmp_path, *runs)).method_looks
    assert looks["own:steps"] == looks["dst"]
    assert len({look["color"] for look in looks.values()}) == 3
    assert set(Tables(tmp_path).accuracy.method) == {"dst", "own:steps"}


def test_captions_are_those_of_the_modules():
    for name in FIGURES:
        assert caption(name) == import_module(f"dstcl.figures.{name}").CAPTION
    with pytest.raises(ValueError, match="unknown figure 'pie'; known: claims, "):
        caption("pie")


def test_text_is_legible_and_legends_fit_the_page(tmp_path):
    runs = [
        FakeRun(f"{index:010d}", axes={"growth": growth, "density": density})
        for index, (growth, density) in enumerate(
            (growth, density) for growth in GROWTH_CRITERIA for density in (0.28, 0.1, 0.05, 0.01)
        )
    ]
    tables = Tables(write_study(tmp_path, *runs))
    for module in (accuracy_over_tasks, accuracy_matrix, capacity, layers):
        with applied_style():
            figure, _ = module.draw(tables)
            figure.canvas.draw()
        assert figure.get_figwidth() * 25.4 == pytest.approx(180)
        assert min(text.get_fontsize() for text in figure.findobj(Text)) >= 7
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1


# Figures that need more than accuracy


APPLY_TO_ANY = {"accuracy_over_tasks", "accuracy_matrix", "capacity", "layer_densities"}
APPLY_TO_ANY |= {"accuracy_over_capacity"}


def test_what_does_not_apply_is_said_in_words_and_draws_nothing(tmp_path):
    """A study of one configuration without claims, history or a second protocol."""
    study = two_seeds(tmp_path)
    said = {name: numbers(study, name) for name in FIGURES if name not in APPLY_TO_ANY}
    for name, table in said.items():
        assert list(table) == ["not_drawn"], name
        assert len(table) == 1
        svg = (study / "figures" / f"{name}.svg").read_text()
        assert "<svg" in svg
    assert "no curve for MNIST-5k with 2 tasks" in said["paper_panels"].not_drawn[0]
    assert "both published and corrected" in said["protocols"].not_drawn[0]


def test_protocols_pairs_cells_of_both_protocols_only(tmp_path):
    study = write_study(
        tmp_path,
        FakeRun("a" * 10),
        FakeRun("b" * 10, (0.5, 0.4, 0.4), {"protocol": "published"}),
        FakeRun("c" * 10, axes={"growth": "gradient"}),
    )
    table = numbers(study, "protocols")
    assert table.growth.unique().tolist() == ["random"]
    assert dict(zip(table.protocol, table.accuracy_percent)) == pytest.approx(
        {"corrected": 70, "published": 40}
    )


def test_protocols_tell_how_many_seeds_each_mean_has(tmp_path):
    study = write_study(
        tmp_path,
        *(FakeRun(f"a{k}" * 5, axes={"seed": k}) for k in range(4)),
        *(FakeRun(f"b{k}" * 5, axes={"protocol": "published", "seed": k}) for k in range(2)),
    )
    figure, _ = import_module("dstcl.figures.protocols").draw(Tables(study))
    legend = figure.legends[0].get_title().get_text()
    assert legend == "protocol (mean of 2 to 4 seeds, line: 95% interval)"


def ablated(folder: Path) -> Path:
    """``corrected`` and a protocol with one switch flipped, three seeds, 10 to 12 points worse."""
    runs = [
        FakeRun(
            f"{kind}{seed}" * 5, (0.8, 0.8 - lost, 0.8 - lost), {"protocol": name, "seed": seed}
        )
        for seed in range(3)
        for kind, name, lost in (
            ("a", "corrected", 0.0),
            ("b", "odd-test", 0.10 + 0.01 * seed),
            ("c", "two-flips", 0.3),
        )
    ]
    study = write_study(folder, *runs)
    base = {"logits": "task", "test_augment": False, "stop_at": 0.75}
    protocols = {
        "corrected": base,
        "odd-test": base | {"test_augment": True},
        "two-flips": base | {"test_augment": True, "stop_at": 1.0},
        "never-run": base | {"stop_at": 1.0},
    }
    (study / "params.json").write_text(json.dumps({"protocols": protocols}))
    return study


def test_ablation_finds_protocols_of_one_switch_and_pairs_by_seed(tmp_path):
    study = ablated(tmp_path)
    assert Tables(study).single_switches == {
        "odd-test": "test_augment = true",
        "never-run": "stop_at = 1.0",
    }
    row, *contrasts = numbers(study, "ablation").to_dict("records")
    assert (row["protocol"], row["effect"]) == ("odd-test", "accuracy")
    assert (row["seeds"], row["cells"]) == (3, 1)
    assert (row["corrected"], row["flipped"]) == pytest.approx((80, 69))
    assert row["mean"] == pytest.approx(-11)
    # Differences -10, -11, -12: standard error 1 / sqrt(3), t(0.975, 2) = 4.30265.
    assert row["high"] == pytest.approx(-11 + 4.30265 / 3**0.5, abs=1e-4)
    assert [row["effect"] for row in contrasts] == ["gradient - random", "erk - uniform"]
    assert [row["seeds"] for row in contrasts] == [0, 0]


def test_ablation_shows_how_a_switch_changes_what_growth_and_init_do(tmp_path):
    """Seed 2 lacks a cell under the flip, and erk with gradient was never flipped."""
    acc = {  # by protocol, init and growth: one value per seed
        ("corrected", "uniform", "random"): (0.50, 0.60, 0.10),
        ("corrected", "uniform", "gradient"): (0.55, 0.67, 0.90),
        ("corrected", "erk", "random"): (0.52, 0.63, 0.20),
        ("corrected", "erk", "gradient"): (0.99, 0.99, 0.99),
        ("odd", "uniform", "random"): (0.40, 0.50, 0.90),
        ("odd", "uniform", "gradient"): (0.60, 0.74, None),
        ("odd", "erk", "random"): (0.30, 0.38, 0.30),
    }
    runs = [
        FakeRun(
            f"{k}{seed}" * 5,
            (value,) * 3,
            {"protocol": protocol, "init": init, "growth": growth, "seed": seed},
        )
        for k, ((protocol, init, growth), values) in enumerate(acc.items())
        for seed, value in enumerate(values)
        if value is not None
    ]
    runs.append(FakeRun("f" * 10, (0.1,) * 3, DENSE | {"method": "finetune", "protocol": "odd"}))
    study = write_study(tmp_path, *runs)
    protocols = {"corrected": {"candidates": "all"}, "odd": {"candidates": "free"}}
    (study / "params.json").write_text(json.dumps({"protocols": protocols}))
    table = numbers(study, "ablation").set_index("effect")
    assert table.seeds.to_dict() == {"accuracy": 2, "gradient - random": 2, "erk - uniform": 3}
    assert table.cells.to_dict() == {"accuracy": 3, "gradient - random": 1, "erk - uniform": 1}
    # Gradient - random goes from 5 to 20 points with seed 0 and from 7 to 24 with seed 1.
    change = table.loc["gradient - random"]
    assert (change.corrected, change.flipped, change["mean"]) == pytest.approx((6, 22, 16))
    assert change.high == pytest.approx(16 + 12.7062, abs=1e-3)
    # Erk - uniform with random growth: from 2, 3, 10 to -10, -12, -60.
    change = table.loc["erk - uniform"]
    assert (change.corrected, change.flipped) == pytest.approx((5, -82 / 3))
    # All three cells that both have: -10, 5, -22 with seed 0 and -10, 7, -25 with seed 1.
    assert table.loc["accuracy", "mean"] == pytest.approx((-27 - 28) / 6)


def test_logits_all_is_one_flip_with_the_head_that_it_needs(tmp_path):
    study = two_seeds(tmp_path)
    base = {"logits": "task", "head": "task", "stop_at": 0.75}
    protocols = {
        "corrected": base,
        "all": base | {"logits": "all", "head": "shared"},
        "more": base | {"logits": "all", "head": "shared", "stop_at": 1.0},
    }
    (study / "params.json").write_text(json.dumps({"protocols": protocols}))
    assert Tables(study).single_switches == {"all": "logits = all, head = shared"}


def test_protocols_of_one_switch_are_in_no_other_figure(tmp_path):
    table = numbers(ablated(tmp_path), "accuracy_over_tasks")
    assert table.protocol.unique().tolist() == ["corrected", "two-flips"]


def test_other_methods_are_in_the_figure_of_baselines_only(tmp_path):
    study = write_study(
        tmp_path,
        FakeRun("a" * 10),
        FakeRun("b" * 10, (0.9, 0.5, 0.7), {"method": "finetune", **DENSE}),
    )
    table = pd.read_csv(study / "summary.csv").assign(forgetting=[0.1, 0.4])
    table.to_csv(study / "summary.csv", index=False)
    drawn = numbers(study, "baselines").set_index(["measure", "method"]).percent
    assert drawn["acc", "finetune"] == pytest.approx(60)
    assert drawn["forgetting", "finetune"] == pytest.approx(40)
    assert set(numbers(study, "accuracy_over_tasks").method) == {"dst"}


def test_accuracy_over_capacity_pairs_a_task_with_what_was_free_before_it(tmp_path):
    table = numbers(two_seeds(tmp_path), "accuracy_over_capacity")
    assert table.task.tolist() == [1, 2]
    assert table.free_percent.tolist() == pytest.approx([100, 72])  # 36 of 50 after task 1
    assert table.accuracy_percent.tolist() == pytest.approx([80, 55])


def test_mask_overlap_is_the_mean_over_runs(tmp_path):
    study = two_seeds(tmp_path)
    rows = "a" * 10 + ",2,1,5,0.2\n" + "b" * 10 + ",2,1,6,0.4\n"
    (study / "overlap.csv").write_text(EMPTY["overlap"] + "\n" + rows)
    (row,) = numbers(study, "mask_overlap").to_dict("records")
    assert (row["task"], row["other"]) == (2, 1)
    assert row["jaccard_percent"] == pytest.approx(30)
    # 10 of conv and 4 * 4 / 40 of fc shared, of 28 less those: 10.4 / 17.6.
    assert row["expected_percent"] == pytest.approx(100 * 10.4 / 17.6)
    assert row["relative"] == pytest.approx(0.3 * 17.6 / 10.4)


def test_mask_overlap_has_one_scale_whose_middle_is_chance():
    white = mask_overlap.COLORS(mask_overlap.NORM(1.0))
    assert min(white) > 0.95
    assert mask_overlap.NORM(1.0) == pytest.approx(0.5)


def test_explored_runs_over_tasks_and_epochs(tmp_path):
    study = two_seeds(tmp_path)
    rows = [
        f"{d * 10},{t},{e},{v}\n"
        for d, v in (("a", 0.3), ("b", 0.5))
        for t in (1, 2)
        for e in (1, 2)
    ]
    (study / "history.csv").write_text(EMPTY["history"] + "\n" + "".join(rows))
    table = numbers(study, "explored")
    assert list(zip(table.task, table.epoch)) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert table.explored_percent.tolist() == pytest.approx([40] * 4)


def test_ranking_ranks_within_a_seed(tmp_path):
    """Gradient wins with seed 0 and loses with seed 1, on which everything is worse."""
    accuracies = {
        ("random", 0): 0.8,
        ("gradient", 0): 0.9,
        ("random", 1): 0.5,
        ("gradient", 1): 0.4,
    }
    runs = [
        FakeRun(f"{k}" * 10, (value,) * 3, {"growth": growth, "seed": seed})
        for k, ((growth, seed), value) in enumerate(accuracies.items())
    ]
    table = numbers(write_study(tmp_path, *runs), "ranking").set_index("growth")
    assert table.mean_rank.to_dict() == {"random": 1.5, "gradient": 1.5}
    # The interval of ranks 1 and 2 is 1.5 -+ 6.4, but there are no ranks below 1 and above 2.
    assert table.low_rank.tolist() == [1, 1]
    assert table.high_rank.tolist() == [2, 2]
    assert table.accuracy_percent.to_dict() == pytest.approx({"random": 65, "gradient": 65})


def ranked(folder: Path, seeds: dict[str, tuple[int, ...]]) -> pd.DataFrame:
    """The figure of growths with these seeds, in the order of their accuracies, best first."""
    runs = [
        FakeRun(f"d{k}{seed:08}", (0.9 - 0.1 * k,) * 3, {"growth": growth, "seed": seed})
        for k, (growth, own) in enumerate(seeds.items())
        for seed in own
    ]
    return numbers(write_study(folder, *runs), "ranking")


def test_ranks_are_taken_in_the_seeds_that_all_configurations_have(tmp_path):
    table = ranked(tmp_path, {"random": (0, 1), "gradient": (1, 2), "momentum": (1, 3)})
    assert table.growth.tolist() == ["random", "gradient", "momentum"]
    # In seeds 0, 2 and 3 one of them is alone and would be first.
    assert table.mean_rank.tolist() == [1, 2, 3]
    assert table.seeds.tolist() == [1, 1, 1]


def test_configurations_without_a_seed_in_common_are_not_ranked(tmp_path):
    table = ranked(tmp_path, {"random": (0, 1), "gradient": (0, 1), "momentum": (2, 3)})
    assert table.not_drawn.tolist() == [
        "not ranked, as the configurations have no seed in common: " + BLOCK_TITLE
    ]


def test_one_configuration_is_not_ranked(tmp_path):
    table = ranked(tmp_path, {"random": (0, 1)})
    assert table.not_drawn.tolist() == [f"not ranked, as there is one configuration: {BLOCK_TITLE}"]


def test_two_configurations_of_other_numbers_of_seeds_are_ranked_in_those_of_both(tmp_path):
    table = ranked(tmp_path, {"random": (0, 1, 2), "gradient": (1, 2)})
    assert table.growth.tolist() == ["random", "gradient"]
    assert table.seeds.tolist() == [2, 2]


def test_a_ranking_says_what_it_leaves_out(tmp_path):
    """Block by block: nothing, one with fewer seeds, seed 2, all for want of a common seed."""
    blocks = {
        "whole": {"random": (0, 1), "gradient": (0, 1)},
        "fewer": {"random": (0, 1), "gradient": (0, 1), "momentum": (0,)},
        "other": {"random": (0, 1), "gradient": (1, 2)},
        "apart": {"random": (0, 1), "gradient": (2, 3)},
    }
    runs = [
        FakeRun(
            f"{network}{growth[0]}{seed:04}",
            axes={"network": network, "growth": growth, "seed": seed},
        )
        for network, growths in blocks.items()
        for growth, seeds in growths.items()
        for seed in seeds
    ]
    study = write_study(tmp_path, *runs)
    figure, table = import_module("dstcl.figures.ranking").draw(Tables(study))
    assert table.network.unique().tolist() == ["whole", "fewer", "other"]
    words, block = words_of(figure), BLOCK_TITLE
    fewer, other, apart = (block.replace("net ", f"{n} ") for n in ("fewer", "other", "apart"))
    assert (
        "not ranked, as most have another number of seeds: uniform · sparsity 72% · momentum "
        f"({fewer}); "
        f"seeds left out, as not all configurations have them: 0, 2 ({other}); "
        f"not ranked, as the configurations have no seed in common: {apart}"
    ) in words
    assert "whole" not in words.partition("not ranked")[2]


def test_claims_are_drawn_in_points_and_untested_ones_are_not(tmp_path):
    study = two_seeds(tmp_path)
    block = "corrected,mnist5k,2,net"
    rows = [
        f"good,It is.,0.02,0.01,0.03,0.004,5,seeds,supported,{block},0,difference,,s,,,\n",
        f"absent,It is.,,,,,0,seeds,not tested,{block},0,difference,no runs,s,,,\n",
    ]
    (study / "claims.csv").write_text(EMPTY["claims"] + "\n" + "".join(rows))
    table = numbers(study, "claims").set_index("claim")
    assert table.effect_points["good"] == pytest.approx(2)
    figure, _ = import_module("dstcl.figures.claims").draw(Tables(study))
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["good"]
    assert [text.get_text() for text in figure.axes[0].texts] == ["✓ supported · 5 seeds"]


def paper_point(**changed: object) -> dict[str, object]:
    """A row of paper.csv: the paper has 80 less the task, ours ten points less."""
    row = {"figure": "6", "dataset": "cifar100", "tasks": 10, "protocol": "published"}
    row |= {"network": "resnet18", "method": "dst", "density": 0.1, "init": "erk"}
    row |= {"growth": "random", "task": 1, "sd_intervals": 4.0, "intervals": 4}
    row |= {"unit": "update intervals", "n": 4, "reproduced": "no", "unlike": None}
    row |= changed
    value = 80 - row["task"]
    row |= {"paper_percent": value, "paper_low": value - 1, "paper_high": value + 1}
    row |= {"ours_percent": value - 10, "low_percent": value - 12, "high_percent": value - 8}
    return {name: row[name] for name in CURVE_COLUMNS} | {STEPS: row.get(STEPS, "50, 400")}


def drawn_panels(folder: Path, rows: list[dict]) -> tuple:
    study = two_seeds(folder)
    pd.DataFrame(rows).to_csv(study / "paper.csv", index=False)
    numbers(study, "paper_panels")
    return import_module("dstcl.figures.paper_panels").draw(Tables(study))


def band(panel) -> tuple[float, float]:
    """Lower and upper end of a panel's shaded band at its first task."""
    (found,) = panel.collections
    points = found.get_paths()[0].vertices
    first = points[points[:, 0] == 1][:, 1]
    return float(first.min()), float(first.max())


def test_paper_panels_have_the_papers_curve_and_ours_on_one_scale(tmp_path):
    figure, table = drawn_panels(tmp_path, [paper_point(task=t) for t in range(1, 11)])
    assert len(table) == 10
    (part, _) = figure.subfigs
    assert part.get_suptitle() == (
        "Figure 6 of the paper: CIFAR-100, 10 tasks, ResNet-18, adaptive growth"
    )
    paper, ours = figure.axes
    assert [p.get_title() for p in (paper, ours)] == ["the paper", "ours, published"]
    assert paper.get_ylabel() == "ERK, sparsity 90%"
    assert list(paper.lines[0].get_ydata()) == [80 - t for t in range(1, 11)]
    assert list(ours.lines[0].get_ydata()) == [70 - t for t in range(1, 11)]
    assert paper.get_ylim() == ours.get_ylim()
    assert band(paper) == (78, 80)
    # The deviation 4 over 4 intervals has divisor 3; the paper draws with divisor 4.
    assert band(ours) == pytest.approx((69 - 4 * 0.75**0.5, 69 + 4 * 0.75**0.5))
    assert len(ours.lines) == 1  # no interval over seeds, because there is one seed


def test_an_interval_over_seeds_is_drawn_beside_the_spread_over_intervals(tmp_path):
    rows = [paper_point(task=t, unit="seeds", n=3) for t in range(1, 4)]
    figure, _ = drawn_panels(tmp_path, rows)
    assert figure.subfigs[0].get_suptitle().split(", ")[1] == "first 3 of 10 tasks"
    low, high, mean = figure.axes[1].lines
    assert list(low.get_ydata()) == [67, 66, 65]
    assert list(high.get_ydata()) == [71, 70, 69]
    assert list(mean.get_ydata()) == [69, 68, 67]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-2:] == ["standard deviation over update intervals", "95% interval over seeds"]


def test_each_figure_of_the_paper_is_a_block_and_figure_a_has_a_line_an_interval(tmp_path):
    rows = [
        paper_point(figure=figure, density=density, task=task)
        for figure in ("B", "4")
        for density in (0.3, 0.1, 0.05)
        for task in (1, 2)
    ]
    single = {"figure": "A", "sd_intervals": None, "intervals": 1}
    rows += [paper_point(**single, task=t, **{STEPS: s}) for s in ("400", "50") for t in (1, 2)]
    figure, table = drawn_panels(tmp_path, rows)
    titles = [part.get_suptitle().split(" of ")[0] for part in figure.subfigs if part.subfigs == []]
    assert titles[0] == "Figure 4"
    assert "Figure B" in titles
    assert set(table.figure) == {"4", "A", "B"}
    (block,) = [part for part in figure.subfigs if part.subfigs]
    top, below = block.subfigs
    assert top.get_suptitle().startswith("Figure A of the paper: ")
    names = [text.get_text() for text in below.legends[0].get_texts()]
    assert names == ["every 50 steps", "every 400 steps"]
    fourth = figure.subfigs[0]
    assert [axes.get_title() for axes in fourth.axes[:3]] == [
        f"ERK\nsparsity {percent}%" for percent in (70, 90, 95)
    ]
    assert [axes.get_ylabel() for axes in fourth.axes[::3]] == ["the paper", "ours, published"]


def test_costs_show_every_measure_in_its_units(tmp_path):
    study = two_seeds(tmp_path)
    table = pd.read_csv(study / "summary.csv").assign(
        seconds=[10.0, 20.0], training_flops=1e12, inference_flops=1e6, mask_bytes=0,
        memory_bytes=5e4,
    )  # fmt: skip
    table.to_csv(study / "summary.csv", index=False)
    drawn = numbers(study, "costs").set_index("measure")["mean"]
    assert drawn.to_dict() == {
        "seconds": 15.0,
        "training_flops": 1e12,
        "inference_flops": 1e6,
        "mask_bytes": 0,
        "memory_bytes": 5e4,
    }


def decided(digest: str, *decisions: tuple[int, str, str, object]) -> list[dict]:
    """Rows of decisions.csv: task, layer, what, value."""
    names = ("task", "layer", "what", "value")
    return [
        {"digest": digest, "step": 0, "evidence": "free 0.3", **dict(zip(names, one))}
        for one in decisions
    ]


def test_decisions_are_shares_of_growth_and_of_layers(tmp_path):
    """One seed switches in task 2; a mix has 0.4 of gradient growth; a layer has a count."""
    controllers = {"a": "saturation", "b": "saturation", "c": "mix", "d": "filling"}
    controllers |= {"e": "bandit", "f": "layers"}
    study = write_study(
        tmp_path,
        *(
            FakeRun(
                name * 10,
                axes={"topology.controller": controller, "growth": "random", "seed": index % 2},
            )
            for index, (name, controller) in enumerate(controllers.items())
        ),
    )
    layer, (size, _) = next(iter(CAPACITY.items()))
    rows = decided("a" * 10, (1, "", "growth", "random"), (2, "", "growth", "gradient"))
    rows += decided("b" * 10, (1, "", "growth", "random"), (2, "", "growth", "random"))
    rows += decided(
        "c" * 10,
        (1, "", "growth", "random"),
        (1, "", "first_pick", "gradient"),
        (1, "", "first_share", 0.4),
    )
    rows += decided("d" * 10, (1, layer, "active", size // 2), (1, layer, "new", 1))
    shares = ("share of gradient", "share of unfired", "share of random")
    rows += decided("e" * 10, *((1, "", w, v) for w, v in zip(shares, (0.5, 0.2, 0.3))))
    for name, values in {"x": (0.1, 0.0, 0.9), "y": (0.3, 0.0, 0.7)}.items():
        rows += decided("f" * 10, *((1, name, w, v) for w, v in zip(shares, values)))
    study_tables(study, {"decisions": rows})
    table = numbers(study, "decisions")
    found = {
        (row["topology.controller"], row["task"]): row["percent"]
        for row in table.to_dict("records")
    }
    assert found == {
        ("saturation", 1): 0,
        ("saturation", 2): 50,
        ("mix", 1): 40,
        ("bandit", 1): pytest.approx(70),
        ("layers", 1): pytest.approx(20),
        ("filling", 1): pytest.approx(100 * (size // 2) / size),
    }
    assert table.seeds.tolist() == [2, 2, 1, 1, 1, 1]


def test_channels_that_are_drawn_anew_are_shares_of_those_with_free_weights(tmp_path):
    """A guard draws 2 of 8 channels of a layer anew in task 1, and nothing in task 2."""
    study = write_study(
        tmp_path, FakeRun("a" * 10, axes={"topology.controller": "guard", "growth": "random"})
    )
    layer = next(iter(CAPACITY))
    rows = decided("a" * 10, (1, layer, "anew", 2), (2, "", "nothing", ""))
    study_tables(study, {"decisions": [row | {"step": 1} for row in rows]})
    assert "not_drawn" in numbers(study, "decisions")  # runs of older code have no channels
    table = pd.read_csv(study / "capacity.csv")
    channels = np.where(table.layer == layer, 8, 0)
    table.assign(channels=channels, dead=0).to_csv(study / "capacity.csv", index=False)
    found = numbers(study, "decisions")
    assert found[["layer", "task", "percent"]].to_numpy().tolist() == [
        [layer, 1, 25.0], [layer, 2, 0.0],
    ]  # fmt: skip
    assert set(found.what) == {"drawn anew (%)"}


def test_without_controllers_there_are_no_decisions_to_draw(tmp_path):
    table = numbers(two_seeds(tmp_path), "decisions")
    assert table.not_drawn.tolist() == ["no run has a controller that decides anything"]
