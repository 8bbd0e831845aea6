"""What the paper's numbers show: each finding on them, and on numbers that must not show it."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dstcl.cli import main
from dstcl.evaluation.paper.catalog import ADAPTIVE
from dstcl.evaluation.paper.reference import read_curves, read_tables
from dstcl.reference import forensics, statements
from dstcl.reference.curves import CURVE_COLUMNS
from dstcl.reference.page import BLOCKS, with_numbers
from dstcl.reference.tables import TABLE_COLUMNS

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "paper-forensics.md"
TABLES = read_tables(REPOSITORY / "reference" / "paper" / "tables.csv")
CURVES = read_curves(REPOSITORY / "reference" / "paper" / "curves.csv")
UNIFORM_80 = "init == 'uniform' and density == 0.2"


def curve(*accuracies: float, half: float | None = None, **changed: Any) -> pd.DataFrame:
    """One curve of Figure 4 unless told otherwise, with a band of a half width."""
    fixed = {
        "figure": "4",
        "dataset": "cifar100",
        "tasks": len(accuracies),
        "network": "resnet18",
        "init": "erk",
        "density": 0.1,
        "growth": "random",
        "update_every": float("nan"),
    }
    rows = [
        {
            **fixed,
            **changed,
            "task": task,
            "accuracy_percent": accuracy,
            "band_low": float("nan") if half is None else accuracy - half,
            "band_high": float("nan") if half is None else accuracy + half,
        }
        for task, accuracy in enumerate(accuracies, start=1)
    ]
    return pd.DataFrame(rows)[list(CURVE_COLUMNS)]


def cell(**changed: Any) -> pd.DataFrame:
    """One cell of Table 3 unless told otherwise."""
    fixed = {"table": "3", "dataset": "cifar100", "tasks": 10, "init": "erk", "density": 0.1}
    fixed |= {"growth": "random", "acc": 70.0, "acc_pm": 1.0, "bwt": 0.0, "bwt_pm": 0.1}
    return pd.DataFrame([{**fixed, "fwt": 10.0, "fwt_pm": 0.1, **changed}])[list(TABLE_COLUMNS)]


def changed(table: pd.DataFrame, rows: str, **values: float) -> pd.DataFrame:
    """A copy with values added to where a query holds; it must hold somewhere."""
    copy = table.copy()
    where = copy.query(rows).index
    assert len(where)
    for name, value in values.items():
        copy.loc[where, name] += value
    return copy


# 1: intervals


def test_the_mean_over_intervals_and_its_spread_by_hand() -> None:
    runs = [curve(value, figure="A", update_every=n) for n, value in ((50, 70.0), (100, 74.0))]
    both = forensics.interval_means(pd.concat([*runs, curve(72.5, half=2)]))
    (row,) = both.to_dict("records")
    assert (row["runs"], row["mean"], row["figure_4"]) == (2, 72, 72.5)
    assert (row["spread"], row["band"]) == (2, 2)
    assert (row["difference"], row["band_difference"]) == (0.5, 0)


def test_the_intervals_of_figure_a_are_the_random_growth_of_figure_4() -> None:
    both = forensics.interval_means(CURVES)
    assert len(both) == 60
    assert set(both.runs) == {4}
    assert both.difference.max() == pytest.approx(0.0367)
    assert both.difference.median() == pytest.approx(0.0025)
    assert both.band_difference.max() < 0.011
    # By hand: the last points of the first panel, drawn for 400, 200, 100 and 50 iterations.
    last = both[(both.task == 10) & (both.init == "uniform") & (both.density == 0.2)].iloc[0]
    assert last["mean"] == pytest.approx((60.76 + 58.1 + 57.08 + 56.23) / 4)


@pytest.mark.parametrize("growth", ["unfired", "gradient", "momentum"])
def test_other_growths_are_not_the_mean_over_intervals(growth: str) -> None:
    both = forensics.interval_means(CURVES, growth)
    assert (both.difference <= 0.05).sum() <= 5


def test_one_interval_moved_by_a_point_is_noticed() -> None:
    both = forensics.interval_means(changed(CURVES, "update_every == 50", accuracy_percent=1))
    assert (both.difference > 0.2).all()


def test_the_printed_spread_of_table_3_is_over_intervals_cut_off_at_two_decimals() -> None:
    both = forensics.interval_spreads(TABLES, CURVES)
    assert len(both) == 6
    assert (both.sd * 100).astype(int).tolist() == (both.printed * 100).round().tolist()
    moved = changed(TABLES, f"table == '3' and growth == 'random' and {UNIFORM_80}", acc_pm=0.1)
    assert forensics.interval_spreads(moved, CURVES).difference.max() > 0.09


# 2: numbers of runs


@pytest.mark.parametrize("runs", [2, 3, 4])
def test_band_and_printed_spread_tell_the_number_of_runs(runs: int) -> None:
    printed = 6 * (runs / (runs - 1)) ** 0.5
    drawn = curve(*[70.0] * 10, half=6)
    (row,) = forensics.runs_by_spread(cell(acc_pm=printed), drawn).to_dict("records")
    assert row["runs"] == str(runs)
    assert row["ratio"] == pytest.approx(((runs - 1) / runs) ** 0.5)


def test_a_spread_that_no_number_of_runs_gives_has_none() -> None:
    assert forensics.runs_by_spread(cell(acc_pm=1), curve(*[70.0] * 10, half=6)).runs[0] == ""


def test_cifar_cells_are_four_runs_miniimagenet_two_and_none_three() -> None:
    behind = forensics.runs_by_spread(TABLES, CURVES)

    def fit(table: str, runs: int) -> int:
        own = behind[behind.table == table].runs.str.split(",")
        return int(own.map(lambda some: str(runs) in some).sum())

    assert [fit(table, 4) for table in "134"] == [18, 24, 24]
    assert [fit(table, 3) for table in "134"] == [0, 0, 0]
    assert fit("2", 2) == 19


@pytest.mark.parametrize(("correct", "runs"), [(2404, 3), (3207, 4), (801, 1)])
def test_a_mean_of_correct_images_is_on_the_grid_of_its_runs(correct: int, runs: int) -> None:
    """Of 1,000 images of a task of ten."""
    accuracy = 100 * correct / runs / 1000
    grid = forensics.on_grid(curve(*[accuracy] * 10)).set_index("runs").on_grid
    assert grid[runs] == 1
    assert all(grid[n] == (n % runs == 0) for n in range(1, 7))


def test_figures_are_means_of_four_two_and_three_runs() -> None:
    grid = forensics.on_grid(CURVES).pivot(index="figure", columns="runs", values="on_grid")
    for figure, runs in (("2", 4), ("3", 2), ("4", 4), ("5", 4), ("A", 1), ("B", 3), ("C", 3)):
        assert grid.loc[figure, runs] == 24
        assert all(grid.loc[figure, fewer] < 19 for fewer in range(1, runs))
    assert grid.loc["D", 3] == 23
    assert grid.loc[["2", "4", "5"], 3].max() == 7


def test_the_baselines_of_figure_6_are_the_curves_of_figure_4() -> None:
    keys = ["growth", "task"]
    four = CURVES.query("figure == '4' and init == 'erk' and density == 0.1")
    both = CURVES[CURVES.figure == "6"].merge(four, on=keys, suffixes=("", "_4"))
    assert len(both) == 20
    assert (both.accuracy_percent - both.accuracy_percent_4).abs().max() <= forensics.READ


# 3: prediction


def test_single_tasks_come_back_from_their_means() -> None:
    """Tasks at 80, 60, 10 and 30 %."""
    shuffled = pd.concat([curve(80, 70, 50, 45), curve(5, 5, 5, 5, growth="unfired")])
    shuffled = shuffled.sample(frac=1, random_state=0)
    found = forensics.alone(shuffled)
    assert found.index.tolist() == shuffled.index.tolist()
    own = found[found.growth == "random"].sort_values("task")
    assert own.alone_percent.tolist() == pytest.approx([80, 60, 10, 30])


def test_single_runs_of_other_intervals_are_not_mixed() -> None:
    runs = pd.concat([curve(80, 70, figure="A", update_every=n) for n in (50, 100)])
    assert forensics.alone(runs).alone_percent.tolist() == pytest.approx([80, 60, 80, 60])


def test_uniform_at_99_percent_has_nothing_after_the_first_task() -> None:
    table = forensics.below_chance(CURVES)
    dead = table.query("figure == 'B' and init == 'uniform' and density == 0.01")
    assert len(dead) == 4
    assert set(dead.chance) == {10}
    assert set(dead.below) == {9}
    assert dead[["lowest", "highest"]].abs().max().max() < 0.001
    mobile = table.query("figure == 'C' and init == 'uniform' and density == 0.1")
    assert set(mobile.below) == {9}
    assert sorted(mobile.highest.round(2)) == [0, 0, 3.33, 3.33]


def test_guessing_within_the_task_is_not_below_chance() -> None:
    """A first task at 65 %, all others at 10 %: what a constant answer within the task gives."""
    guessed = [(65 + 10 * later) / (1 + later) for later in range(10)]
    (row,) = forensics.below_chance(curve(*guessed)).to_dict("records")
    assert (row["below"], row["later"]) == (0, 9)


def test_one_point_of_the_paper_cannot_be_an_accuracy() -> None:
    (row,) = forensics.impossible(CURVES).to_dict("records")
    assert (row["figure"], row["growth"], row["task"]) == ("3", "unfired", 10)
    assert row["alone_percent"] == pytest.approx(10 * 44.06 - 9 * 49.45, abs=0.01)
    assert forensics.impossible(curve(80, 70, 50)).empty
    assert len(forensics.impossible(curve(80, 91))) == 1


# 4: forward transfer


def test_forward_transfer_is_at_chance_or_below() -> None:
    table = forensics.forward_transfer(TABLES).set_index("table")
    assert table.chance.tolist() == [20, 10, 10, 5]
    assert table.above.tolist() == [0, 0, 0, 5]
    assert table.clearly_above.sum() == 1
    assert (table.loc["1", "lowest"], table.loc["1", "highest"]) == (12.80, 18.96)


def test_transfer_above_chance_would_be_seen() -> None:
    (row,) = forensics.forward_transfer(cell(fwt=10.3)).to_dict("records")
    assert (row["above"], row["clearly_above"]) == (1, 1)
    assert forensics.forward_transfer(cell(fwt=10.1)).clearly_above[0] == 0


# 5: Figure 6


def test_adaptive_growth_is_ahead_before_it_differs() -> None:
    leads = forensics.adaptive_leads(CURVES).set_index("task")
    assert leads.over_random[:5].tolist() == pytest.approx([0.025, 0.2, 0.115, 0.235, 0.44])
    assert leads.over_random[10] == pytest.approx(77.52 - 75.7125)
    assert leads.over_gradient[10] == pytest.approx(77.52 - 74.715)
    assert leads.alone_over_random[5] == pytest.approx(5 * 0.44 - 4 * 0.235)
    # What tasks 1 to 5 add to the final lead: 5 x 0.44 / 10 of 1.81 points.
    assert 5 * leads.over_random[5] / 10 == pytest.approx(0.22)


def test_paired_strategies_would_not_differ_before_the_switch() -> None:
    strategies = {"random": (80, 78, 70), "gradient": (81, 75, 72), ADAPTIVE: (80, 78, 73)}
    paired = [curve(*values, figure="6", growth=name) for name, values in strategies.items()]
    leads = forensics.adaptive_leads(pd.concat(paired))
    assert leads.over_random.tolist() == [0, 0, 3]
    assert leads.alone_over_random.tolist() == [0, 0, 9]


# 6: tables beside figures


def test_six_cells_are_not_the_end_of_their_curve() -> None:
    wrong = forensics.apart(TABLES, CURVES)
    assert wrong.table.tolist() == ["1"] * 5 + ["2"]
    assert wrong.printed.tolist() == [52.70, 69.44, 63.42, 61.97, 60.35, 64.19]
    assert wrong.drawn.round(2).tolist() == [48.36, 68.52, 64.17, 62.66, 58.64, 63.58]
    rest = forensics.apart(TABLES, CURVES, more_than=0.1)
    assert len(rest) == 6


def test_a_cell_that_is_moved_is_found() -> None:
    assert forensics.apart(cell(acc=70.2), curve(*[70.0] * 10)).empty
    assert len(forensics.apart(cell(acc=70.4), curve(*[70.0] * 10))) == 1
    everything = forensics.beside(TABLES, CURVES)
    assert len(everything) == 96
    assert everything.accuracy_percent.notna().all()


# 7: backward transfer


def test_backward_transfer_is_within_half_a_point_in_94_of_96_cells() -> None:
    table = forensics.backward_transfer(TABLES)
    assert (table.within.sum(), table.cells.sum()) == (94, 96)
    assert (table.largest.max(), table.positive.sum()) == (1.56, 42)
    assert forensics.backward_transfer(cell(bwt=-8)).within[0] == 0


# claims


def test_leads_of_erk_are_its_ends_minus_those_of_uniform() -> None:
    both = pd.concat([curve(9, 70, init="erk"), curve(9, 67.5, init="uniform")])
    (row,) = statements.erk_leads(both).to_dict("records")
    assert (row["uniform"], row["erk"], row["lead"]) == (67.5, 70, 2.5)


def test_erk_leads_with_mobilenet_everywhere() -> None:
    leads = statements.erk_leads(CURVES)
    own = leads.query("network == 'mobilenetv2' and density >= 0.2")
    assert len(own) == 8
    assert own.lead.min() == pytest.approx(34.89 - 32.66)
    assert own.lead.max() == pytest.approx(36.7967 - 16.4867)
    assert (leads.query("figure in ['2', '3', '4', '5'] and density == 0.05").lead > 0).sum() == 1


def test_ranges_and_leads_of_growths_by_hand() -> None:
    ends = {"random": 60, "unfired": 62, "gradient": 70, "momentum": 65}
    rows = pd.concat([curve(90, end, growth=name) for name, end in ends.items()])
    (row,) = statements.growth_ranges(rows).to_dict("records")
    assert (row["best"], row["range"], row["guided_lead"]) == ("gradient", 10, 6.5)


def test_growths_do_better_at_high_sparsity_if_they_are_informed() -> None:
    ranges = statements.growth_ranges(CURVES)
    assert (ranges[ranges.density == 0.05].guided_lead > 0).all()
    low = ranges.query("figure in ['2', '3', '4', '5'] and density == 0.2").set_index("init")
    assert (low.guided_lead["uniform"] > 0).all()
    assert (low.guided_lead["erk"] < 0).all()


def test_the_best_interval_of_a_panel() -> None:
    ends = {50: 60, 100: 61.5, 200: 58, 400: 61}
    runs = pd.concat([curve(90, end, figure="A", update_every=n) for n, end in ends.items()])
    (row,) = statements.best_intervals(runs).to_dict("records")
    assert (row["best"], row["second"], row["lead"], row["range"]) == (100, 400, 0.5, 3.5)
    assert statements.best_intervals(CURVES).best.tolist() == [400, 200, 200, 400, 200, 200]


def test_tasks_learned_before_the_first_that_is_not() -> None:
    """Tasks at 80, 70, 50, 80 and 30 %."""
    means = [80, 75, 200 / 3, 70, 62]
    for share, tasks in ((0.75, 2), (0.5, 4), (0.3, 5)):
        assert statements.learned(curve(*means), share).learned[0] == tasks


def test_uniform_saturates_after_seven_of_twenty_tasks() -> None:
    own = statements.learned(CURVES).query("figure == '2' and density == 0.2")
    assert own[own.init == "uniform"].learned.tolist() == [7, 7, 7, 7]
    assert own[own.init == "erk"].learned.tolist() == [13, 11, 11, 12]


# the page


def numbers_and_prose() -> tuple[str, str]:
    block = r"<!-- numbers: [\w-]+ -->.*?<!-- end -->"
    page = PAGE.read_text()
    return "\n".join(re.findall(block, page, re.DOTALL)), re.sub(block, "", page, flags=re.DOTALL)


def test_the_page_has_the_numbers_of_the_functions() -> None:
    assert with_numbers(PAGE.read_text(), TABLES, CURVES) == PAGE.read_text()


def test_numbers_in_the_text_are_in_a_table_of_the_page() -> None:
    tables, prose = numbers_and_prose()
    known = set(re.findall(r"\d+\.\d+", tables))
    named = set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", prose))
    assert len(named) > 15
    assert named - known == set()


def test_counts_in_the_text_are_those_of_the_data() -> None:
    _, prose = numbers_and_prose()
    below = int((TABLES.fwt < TABLES.tasks).sum())
    exact = len(TABLES) - len(forensics.apart(TABLES, CURVES))
    small = int(forensics.backward_transfer(TABLES).within.sum())
    counts = [tuple(map(int, pair)) for pair in re.findall(r"(\d+) of (\d+) cells", prose)]
    assert sorted(counts) == sorted([(below, 96), (exact, 96), (small, 96)])
    assert "2,070 points" in prose
    assert len(CURVES) == 2070


def test_a_page_with_old_numbers_is_made_anew() -> None:
    page = PAGE.read_text()
    assert "| 60 of 60 |" in page
    old = page.replace("| 60 of 60 |", "| 59 of 60 |")
    assert with_numbers(old, TABLES, CURVES) == page


@pytest.mark.parametrize(
    "spoilt",
    [lambda page: page.replace("numbers: ratio", "numbers: rates"), lambda page: page[:2000]],
    ids=["unknown", "missing"],
)
def test_a_page_that_lacks_a_table_is_refused(spoilt: Callable[[str], str]) -> None:
    with pytest.raises(ValueError, match="ratio"):
        with_numbers(spoilt(PAGE.read_text()), TABLES, CURVES)


def test_every_table_of_the_page_is_made_of_lines_of_equal_width() -> None:
    for name, block in BLOCKS.items():
        widths = {line.count("|") for line in block(TABLES, CURVES)}
        assert len(widths) == 1, name


def test_the_command_draws_the_figure_and_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text().replace("| 60 of 60 |", "| 59 of 60 |"))
    numbers = str(REPOSITORY / "reference" / "paper")
    arguments = ("--numbers", numbers, "--out", str(tmp_path), "--dpi", "40")
    main(["reference", "forensics", *arguments, "--page", str(page)])
    assert page.read_text() == PAGE.read_text()
    assert (tmp_path / "paper-forensics.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "paper-forensics.svg").stat().st_size > 10_000


def test_a_missing_page_is_one_line_and_draws_nothing(tmp_path: Path) -> None:
    numbers = str(REPOSITORY / "reference" / "paper")
    arguments = ["reference", "forensics", "--numbers", numbers, "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match="No such file"):
        main([*arguments, "--page", str(tmp_path / "gone.md")])
    assert list(tmp_path.iterdir()) == []


def test_cells_are_complete() -> None:
    cells = set(zip(TABLES.table, TABLES.init, TABLES.density, TABLES.growth))
    growths = ["random", "unfired", "gradient", "momentum"]
    assert cells == set(product("1234", ["uniform", "erk"], [0.2, 0.1, 0.05], growths))


def test_what_the_page_says_in_words() -> None:
    both = forensics.interval_means(CURVES).sort_values("difference", ascending=False)
    worst = both.iloc[0]
    assert (worst.init, worst.density, worst.task) == ("uniform", 0.1, 6)
    assert both.difference.iloc[1] < 0.007
    # Table 2: the +- of two cells are each other's, to a hundredth.
    pair = forensics.runs_by_spread(TABLES, CURVES).query(
        "table == '2' and init == 'erk' and density == 0.2 and growth in ['gradient', 'momentum']"
    )
    implied = (pair.band * 2**0.5).tolist()
    assert implied == pytest.approx(pair.printed.tolist()[::-1], abs=0.011)
    # Table 1 at 80 %: orders that differ between table and figure.
    ends = forensics.beside(TABLES, CURVES).query("table == '1' and density == 0.2")
    uniform = ends[ends.init == "uniform"].set_index("growth")
    assert uniform.acc.idxmax() == "random"
    ranked = uniform.accuracy_percent.sort_values(ascending=False)
    assert ranked.index.tolist()[:2] == ["momentum", "random"]
    erk = ends[ends.init == "erk"].set_index("growth")
    assert erk.acc["unfired"] - erk.acc["momentum"] < 2
    assert erk.accuracy_percent["unfired"] - erk.accuracy_percent["momentum"] > 4
