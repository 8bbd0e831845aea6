"""Claims about tasks: saturation, prefixes, ACC after k tasks, narrow layers; and equivalence."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from dstcl.evaluation.claim_measures import Phases, Tables
from dstcl.evaluation.claims import ClaimsError, load_claims
from dstcl.evaluation.judge import judge_claims

CELL = {"density": 0.2, "growth": "random", "init": "uniform"}


def read(tmp_path: Path, **claim: Any) -> list[Any]:
    basis = {"id": "it", "statement": "It is.", "source": "here"}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [basis | claim]}))
    return load_claims(tmp_path / "claims.yaml")


def learned(
    curves: dict[str, list[float]], seeds: int = 4, learn: int | None = None, noise: float = 0.002
) -> Tables:
    """A study of some inits, each with the accuracy on every task when it is learned.

    A finished task keeps its accuracy. Only the first ``learn`` tasks are learned."""
    rng = np.random.default_rng(0)
    rows, accuracy = [], []
    for seed in range(seeds):
        for init, curve in curves.items():
            known = learn or len(curve)
            values = np.array(curve[:known]) + noise * rng.normal(size=known)
            rows.append(
                {"dataset": "mnist5k", "tasks": len(curve), "protocol": "corrected"}
                | {"network": "convnet", "method": "dst", "density": 0.2, "init": init}
                | {"growth": "random", "seed": seed, "acc": values.mean()}
                | {"digest": f"{seed}-{init}"}
                | ({"tasks_learned": learn} if learn else {})
            )
            for after in range(1, known + 1):
                accuracy += [(rows[-1]["digest"], after, t + 1, values[t]) for t in range(after)]
    long = pd.DataFrame(accuracy, columns=["digest", "after_task", "task", "accuracy"])
    return Tables(pd.DataFrame(rows), long, pd.DataFrame(columns=["digest", "task", "size"]))


def judged(tmp_path: Path, tables: Tables, **claim: Any) -> dict[Any, Any]:
    (row,) = judge_claims(read(tmp_path, **claim), tables).to_dict("records")
    return row


SATURATES = {"kind": "saturation", "after_task": 4, "where": CELL, "this": {}}


def test_the_tasks_of_a_saturation() -> None:
    assert Phases.around(7, 20) == Phases((1, 3), (4, 7), (8, 20))
    assert Phases.around(4, 5) == Phases((1, 2), (3, 4), (5, 5))
    first, until, beyond = (getattr(Phases.around(1, 10), n) for n in ("first", "until", "beyond"))
    assert (first, beyond) == ((1, 1), (2, 10))
    assert until[0] > until[1]


@pytest.mark.parametrize(
    ("curve", "verdict", "lost", "before"),
    [
        # Falls right after task 4, by 30 points.
        ([0.8, 0.8, 0.78, 0.78, 0.5, 0.5], "supported", 0.30, 2.0),
        # Falls 5 points only.
        ([0.8, 0.8, 0.8, 0.8, 0.75, 0.75], "contradicted", 0.05, 0.0),
        # Has fallen 20 points before task 4 already.
        ([0.8, 0.8, 0.6, 0.6, 0.5, 0.5], "contradicted", 0.30, 20.0),
        # Rises.
        ([0.5, 0.5, 0.6, 0.6, 0.8, 0.8], "contradicted", -0.30, -10.0),
    ],
)
def test_saturation_is_a_fall_beyond_a_task_and_none_before(
    tmp_path: Path, curve: list[float], verdict: str, lost: float, before: float
) -> None:
    row = judged(tmp_path, learned({"uniform": curve}), **SATURATES)
    assert row["verdict"] == verdict
    assert row["effect"] == pytest.approx(lost, abs=0.005)
    assert row["detail"].startswith("tasks 5 to 6 against tasks 1 to 2; tasks 3 to 4 lost ")
    words = row["detail"].split(" lost ")[1].split(" points")[0]
    assert float(words) == pytest.approx(before, abs=0.5)


def test_a_saturation_that_chance_may_have_made_is_open(tmp_path: Path) -> None:
    tables = learned({"uniform": [0.8, 0.8, 0.8, 0.8, 0.69, 0.69]}, noise=0.05)
    row = judged(tmp_path, tables, **SATURATES)
    assert row["verdict"] == "inconclusive"


def test_a_saturation_that_is_clear_in_one_part_says_that_the_other_is_not(tmp_path: Path) -> None:
    """Later tasks lost 40 points, plainly more than 10; those before them about 10."""
    tables = learned({"uniform": [0.8, 0.8, 0.7, 0.7, 0.4, 0.4]}, noise=0.02)
    row = judged(tmp_path, tables, **SATURATES)
    assert row["low"] > 0.3
    assert row["verdict"] == "inconclusive"
    assert "; the comparison shown is clear, another is not; " in row["detail"]


def test_a_saturation_is_freed_of_what_makes_tasks_hard(tmp_path: Path) -> None:
    """Later tasks are 20 points harder for both; uniform loses 5 points more, ERK nothing."""
    hard = [0.8, 0.8, 0.8, 0.8, 0.6, 0.6]
    tables = learned({"erk": hard, "uniform": [*hard[:4], 0.55, 0.55]})
    where = {"density": 0.2, "growth": "random"}
    both = {"this": {"init": "uniform"}, "that": {"init": "erk"}}
    row = judged(tmp_path, tables, **SATURATES | {"where": where} | both)
    assert row["verdict"] == "contradicted"
    assert row["effect"] == pytest.approx(0.05, abs=0.005)
    alone = judged(tmp_path, tables, **SATURATES)
    assert alone["verdict"] == "supported"


def test_a_saturation_after_the_first_task_has_nothing_before_it(tmp_path: Path) -> None:
    tables = learned({"uniform": [0.65, 0.1, 0.1]})
    row = judged(tmp_path, tables, **SATURATES | {"after_task": 1, "more_than": 0.3})
    assert (row["verdict"], row["detail"]) == ("supported", "tasks 2 to 3 against task 1")
    assert row["effect"] == pytest.approx(0.55, abs=0.005)


def test_a_prefix_tests_what_its_tasks_can_say(tmp_path: Path) -> None:
    curve = [0.8, 0.8, 0.8, 0.8, 0.5, 0.5, 0.5, 0.9]
    five, four = (learned({"uniform": curve}, learn=k) for k in (5, 4))
    row = judged(tmp_path, five, **SATURATES)
    assert row["verdict"] == "supported"
    assert row["detail"].startswith("task 5 against tasks 1 to 2")
    row = judged(tmp_path, four, **SATURATES)
    assert row["verdict"] == "not tested"
    assert row["detail"] == "only the first 4 of 8 tasks were learned"
    row = judged(tmp_path, learned({"uniform": curve[:4]}), **SATURATES)
    assert row["detail"] == "the claim needs 5 tasks, here are 4"


DIFFERENCE = {
    "kind": "difference",
    "where": {"density": 0.2, "growth": "random"},
    "this": {"init": "erk"},
    "that": {"init": "uniform"},
}


def test_acc_of_a_prefix_is_tested_only_where_the_claim_says_after(tmp_path: Path) -> None:
    """ERK is 4 points behind on the first two tasks and 10 ahead on the third."""
    curves = {"uniform": [0.7, 0.7, 0.7, 0.7], "erk": [0.66, 0.66, 0.80, 0.70]}
    prefix = learned(curves, learn=3)
    row = judged(tmp_path, prefix, **DIFFERENCE)
    assert (row["verdict"], row["units"]) == ("not tested", 0)
    assert row["detail"] == "only the first 3 of 4 tasks were learned"
    for tables in (prefix, learned(curves)):
        two = judged(tmp_path, tables, **DIFFERENCE, after=2)
        assert two["effect"] == pytest.approx(-0.04, abs=0.005)
        assert two["verdict"] == "contradicted"
        three = judged(tmp_path, tables, **DIFFERENCE, after=3)
        assert three["effect"] == pytest.approx((-0.08 + 0.10) / 3, abs=0.005)
    row = judged(tmp_path, prefix, **DIFFERENCE, after=4)
    assert row["detail"] == "only the first 3 of 4 tasks were learned"
    row = judged(tmp_path, prefix, **DIFFERENCE, after=5)
    assert row["detail"] == "the claim needs 5 tasks, here are 4"


def test_tables_of_whole_studies_and_of_prefixes_go_together(tmp_path: Path) -> None:
    """A table without a number of learned tasks is of runs that learned all."""
    curve = {"uniform": [0.8, 0.7], "erk": [0.9, 0.8]}
    whole = learned(curve)
    whole.summary["tasks_learned"] = np.nan
    row = judged(tmp_path, whole, **DIFFERENCE)
    assert row["effect"] == pytest.approx(0.1, abs=0.005)


def test_what_comes_late_against_what_comes_early_has_a_sign(tmp_path: Path) -> None:
    tables = learned({"uniform": [0.8, 0.8, 0.8, 0.7]})
    late = {"kind": "difference", "measure": "late_minus_early", "after_task": 3, "where": CELL}
    row = judged(tmp_path, tables, **late, this={}, more_than=-0.15)
    assert row["effect"] == pytest.approx(-0.1, abs=0.005)
    assert row["verdict"] == "supported"
    assert judged(tmp_path, tables, **late, this={}, more_than=-0.05)["verdict"] == "contradicted"
    prefix = learned({"uniform": [0.8, 0.8, 0.8, 0.7]}, learn=3)
    assert judged(tmp_path, prefix, **late, this={})["verdict"] == "not tested"


@pytest.mark.parametrize(
    ("ahead", "verdict", "leader"),
    [
        (0.005, "supported", "this"),
        (-0.005, "supported", "that"),
        (0.04, "contradicted", "this"),
        (-0.04, "contradicted", "that"),
    ],
)
def test_alike_is_held_to_both_sides(
    tmp_path: Path, ahead: float, verdict: str, leader: str
) -> None:
    tables = learned({"uniform": [0.7, 0.7], "erk": [0.7 + ahead] * 2})
    row = judged(tmp_path, tables, **DIFFERENCE | {"kind": "alike"}, within=0.02)
    assert row["verdict"] == verdict
    assert row["effect"] == pytest.approx(-abs(ahead), abs=0.003)
    assert row["more_than"] == -0.02
    assert f"`{leader}` is ahead" in row["detail"]


def test_alike_within_less_than_the_noise_is_open(tmp_path: Path) -> None:
    tables = learned({"uniform": [0.7, 0.7], "erk": [0.7, 0.7]}, noise=0.03)
    row = judged(tmp_path, tables, **DIFFERENCE | {"kind": "alike"}, within=0.01)
    assert row["verdict"] == "inconclusive"


def test_a_spread_by_itself_is_more_than_a_boundary(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for seed in range(4):
        for growth, gain in (("random", 0.0), ("gradient", 0.04)):
            acc = 0.7 + gain + 0.001 * rng.normal()
            row = {"dataset": "mnist5k", "tasks": 2, "protocol": "corrected", "network": "n"}
            row |= {"method": "dst", "density": 0.2, "init": "erk", "growth": growth}
            rows.append(row | {"seed": seed, "acc": acc, "digest": f"{seed}{growth}"})
    empty = pd.DataFrame(columns=["digest", "after_task", "task", "accuracy"])
    tables = Tables(pd.DataFrame(rows), empty, empty)
    where = {"density": 0.2, "init": "erk", "growth": ["random", "gradient"]}
    claim = {"kind": "spread", "over": "growth", "where": where, "that": {}}
    row = judged(tmp_path, tables, **claim, more_than=0.01)
    assert row["effect"] == pytest.approx(0.04 / 2**0.5, abs=0.002)
    assert row["verdict"] == "supported"
    assert judged(tmp_path, tables, **claim, more_than=0.05)["verdict"] == "contradicted"


def test_narrow_layers_are_those_below_the_median(tmp_path: Path) -> None:
    """Layers of 10, 20, 100 and 1000 weights: 10 and 20 are narrow, half and a quarter used."""
    tables = learned({"uniform": [0.8, 0.8], "erk": [0.8, 0.8]})
    used = {"uniform": [5, 5, 90, 0], "erk": [10, 20, 50, 0]}
    rows = [
        (digest, task, f"l{k}", size, size - part * (task == 2))
        for digest in tables.summary["digest"]
        for task in (1, 2)
        for k, (size, part) in enumerate(zip((10, 20, 100, 1000), used[digest.split("-")[1]]))
    ]
    capacity = pd.DataFrame(rows, columns=["digest", "task", "layer", "size", "free"])
    tables = Tables(tables.summary, tables.accuracy, capacity)
    narrow = {"kind": "difference", "measure": "narrow_used_after", "after_task": 2}
    alone = judged(tmp_path, tables, **narrow, where=CELL, this={})
    assert alone["effect"] == pytest.approx((0.5 + 0.25) / 2)
    both = judged(tmp_path, tables, **DIFFERENCE | narrow)
    assert both["effect"] == pytest.approx(1 - 0.375)
    assert both["verdict"] == "supported"
    same = Tables(tables.summary, tables.accuracy, capacity.assign(size=10))
    row = judged(tmp_path, same, **narrow, where=CELL, this={})
    assert row["detail"].startswith("not measured: dst density 0.2 uniform random")


def test_what_no_table_can_test_says_why(tmp_path: Path) -> None:
    tables = learned({"uniform": [0.8, 0.8]})
    row = judged(tmp_path, tables, kind="untestable", why="nobody measured it", group=5)
    assert (row["verdict"], row["group"]) == ("not tested", 5)
    assert row["detail"] == "not testable here: nobody measured it"
    assert pd.isna(row["effect"])


def test_a_claim_may_leave_blocks_out(tmp_path: Path) -> None:
    tables = learned({"uniform": [0.7, 0.7], "erk": [0.8, 0.8]})
    left_out = {"network": ["convnet", "vgg16"]}
    row = judged(tmp_path, tables, **DIFFERENCE, not_for=left_out)
    assert row["detail"] == "the claim is not about network convnet"
    for other in ({"network": "vgg16"}, {"network": "convnet", "tasks": 9}, {}):
        row = judged(tmp_path, tables, **DIFFERENCE, not_for=other)
        assert row["verdict"] == "supported"


@pytest.mark.parametrize("growth", ["5xrandom+5xgradient", "0.5xrandom+0.5xgradient"])
def test_plans_of_growth_over_tasks_can_be_named(tmp_path: Path, growth: str) -> None:
    tables = learned({"erk": [0.8, 0.8]})
    plan = tables.summary.assign(growth=growth, acc=tables.summary["acc"] + 0.03)
    plan["digest"] += "p"
    tables = Tables(pd.concat([tables.summary, plan]), tables.accuracy, tables.capacity)
    sides = {"this": {"growth": growth}, "that": {"growth": "random"}}
    row = judged(
        tmp_path, tables, kind="difference", where={"init": "erk", "density": 0.2}, **sides
    )
    assert row["effect"] == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"after_task": 0}, "after_task: 0 should be greater than or equal to 1"),
        ({"after_task": 2.5}, "after_task: 2.5 should be a valid integer"),
        ({"after_task": True}, "after_task: True should be a valid integer"),
        ({"after_task": ...}, "after_task: missing"),
        ({"more_than": 0}, "more_than: 0 should be greater than 0"),
        ({"more_than": "0.1"}, "more_than: '0.1' should be a valid number"),
        ({"more_than": float("nan")}, "more_than: nan should be a finite number"),
        ({"that": [{}, {}]}, "that: [{}, {}] should be a valid dictionary"),
        ({"after": 3}, "after: unknown key; allowed: id, group, statement"),
        ({"group": 9}, "group: 9 should be less than or equal to 8"),
        ({"group": "1"}, "group: '1' should be a valid integer"),
        ({"paper_says_otherwise": 3}, "paper_says_otherwise: 3 should be a valid string"),
        ({"not_for": {"netwrk": "n"}}, "not_for: netwrk: unknown key; allowed: dataset"),
        ({"not_for": {"a.b": 1}}, "not_for: a.b: only the axes of a block can be left out"),
        ({"kind": "alike"}, "that: missing"),
        ({"kind": "alike", "that": {}}, "within: missing"),
        ({"kind": "alike", "that": {}, "within": 0}, "within: 0 should be greater than 0"),
        ({"kind": "difference"}, "measure: acc has no use for after_task"),
        ({"kind": "difference", "measure": "used_after", "after": 3}, "measure: used_after has no"),
        ({"kind": "difference", "measure": "drop"}, "measure: 'drop' should be 'acc', "),
        ({"kind": "untestable"}, "why: missing"),
        ({"kind": "untestable", "why": ""}, "why: '' String should have at least 1 character"),
        ({"where": {"growth": "5xrandom+"}}, "where.growth: '5xrandom+' is not a known growth"),
        ({"where": {"growth": "xrandom+5xgradient"}}, "where.growth: 'xrandom+5xgradient' is no"),
    ],
)
def test_a_mistake_in_a_claim_about_tasks_is_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    basis = {"id": "it", "statement": "It is.", "source": "here"} | SATURATES
    claim = {key: value for key, value in (basis | changes).items() if value is not ...}
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": [claim]}))
    with pytest.raises(ClaimsError) as caught:
        load_claims(path)
    assert str(caught.value).startswith(f"{path}: claim it: {message}")
    assert len(str(caught.value).splitlines()) == 1
