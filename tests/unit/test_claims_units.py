"""What a claim repeats: seeds, or update intervals where each configuration has one seed."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from dstcl.evaluation.claim_grid import Grid
from dstcl.evaluation.claim_measures import Tables
from dstcl.evaluation.claims import load_claims
from dstcl.evaluation.judge import judge_claims
from dstcl.evaluation.replication import SEEDS

INTERVAL = "topology.update_every"
RATE = "training.learning_rate"
CLAIM = {
    "kind": "difference",
    "where": {"density": 0.2, "growth": "random"},
    "this": {"init": "erk"},
    "that": {"init": "uniform"},
}
GAINS = {"50": 0.01, "100": 0.03, "200": 0.02, "400": 0.06}
"""What ERK gains at each interval."""


def study(seeds: int = 1, gains: dict[str, float] | None = None, noise: float = 0.0) -> Tables:
    """ERK and uniform at four intervals; in accuracy.csv two tasks, of which none is forgotten."""
    rng = np.random.default_rng(0)
    rows, accuracy = [], []
    for seed, init, (every, gain) in product(
        range(seeds), ("uniform", "erk"), (gains or GAINS).items()
    ):
        acc = 0.7 + gain * (init == "erk") + 0.1 * (every == "400") + noise * rng.normal()
        row = {"dataset": "mnist5k", "tasks": 2, "protocol": "published", "network": "convnet"}
        row |= {"method": "dst", "density": 0.2, "init": init, "growth": "random"}
        row |= {INTERVAL: every, "seed": seed, "acc": acc, "digest": f"{seed}{init}{every}"}
        rows.append(row)
        accuracy += [(row["digest"], a, t, acc) for a, t in ((1, 1), (2, 1), (2, 2))]
    long = pd.DataFrame(accuracy, columns=["digest", "after_task", "task", "accuracy"])
    return Tables(pd.DataFrame(rows), long, pd.DataFrame(columns=["digest", "task"]))


def judged(tmp_path: Path, tables: Tables, **claim: Any) -> dict[Any, Any]:
    basis = {"id": "it", "statement": "It is.", "source": "here"}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": [basis | claim]}))
    claims = load_claims(tmp_path / "claims.yaml")
    (row,) = judge_claims(claims, tables).to_dict("records")
    return row


def test_with_one_seed_an_interval_is_one_observation(tmp_path: Path) -> None:
    """Paired by interval: what an interval does to both inits is no noise."""
    row = judged(tmp_path, study(), **CLAIM)
    expected = stats.ttest_1samp(list(GAINS.values()), 0)
    assert (row["units"], row["unit"]) == (4, "update intervals")
    assert row["effect"] == pytest.approx(0.03)
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["verdict"] == "inconclusive"
    assert "update intervals settle it" in row["detail"]
    assert "seed" not in row["detail"]
    clear = study(gains={"50": 0.03, "100": 0.031, "200": 0.029, "400": 0.03})
    assert judged(tmp_path, clear, **CLAIM)["verdict"] == "supported"


def test_two_intervals_are_too_few_and_called_by_their_name(tmp_path: Path) -> None:
    row = judged(tmp_path, study(gains={"50": 0.02, "100": 0.02}), **CLAIM)
    assert (row["verdict"], row["units"], row["units_needed"]) == ("inconclusive", 2, 3)
    assert row["detail"] == "2 update intervals; a verdict needs at least 3"


def test_with_seeds_intervals_are_averaged_within_each(tmp_path: Path) -> None:
    row = judged(tmp_path, study(seeds=3, noise=0.001), **CLAIM)
    assert (row["units"], row["unit"]) == (3, "seeds")
    assert row["effect"] == pytest.approx(0.03, abs=0.002)
    assert row["detail"] == "mean over topology.update_every 50, 100, 200, 400"


def test_an_interval_that_lacks_a_cell_is_left_out_by_name(tmp_path: Path) -> None:
    tables = study()
    some = tables.summary[tables.summary["digest"] != "0erk400"]
    row = judged(tmp_path, Tables(some, tables.accuracy, tables.capacity), **CLAIM)
    assert row["units"] == 3
    assert row["effect"] == pytest.approx(0.02)
    assert "update intervals without all cells left out: 400" in row["detail"]


def test_a_claim_that_names_intervals_does_not_repeat_them(tmp_path: Path) -> None:
    sides = {"this": {INTERVAL: 400}, "that": [{INTERVAL: 50}, {INTERVAL: 100}]}
    where = {"density": 0.2, "growth": "random", "init": "uniform"}
    row = judged(tmp_path, study(), kind="difference", where=where, **sides)
    assert (row["units"], row["unit"], row["verdict"]) == (1, "seeds", "inconclusive")
    assert row["effect"] == pytest.approx(0.1)
    assert row["detail"] == "1 seed; a verdict needs at least 3"
    three = study(seeds=3, noise=0.001)
    row = judged(tmp_path, three, kind="difference", where=where, **sides)
    assert (row["units"], row["verdict"]) == (3, "supported")


def test_a_spread_over_intervals_is_no_repetition_either(tmp_path: Path) -> None:
    where = {"density": 0.2, "growth": "random", INTERVAL: [50, 100, 200, 400]}
    sides = {"this": {"init": "uniform"}, "that": {"init": "erk"}}
    row = judged(tmp_path, study(), kind="spread", over=INTERVAL, where=where, **sides)
    assert (row["units"], row["unit"]) == (1, "seeds")


def test_a_method_without_intervals_is_no_observation_at_each_of_them(tmp_path: Path) -> None:
    tables = study()
    static = tables.summary.iloc[[0]].assign(method="static", growth="none", digest="s")
    static = static.assign(**{INTERVAL: "none"}, acc=0.5)
    both = Tables(pd.concat([tables.summary, static]), tables.accuracy, tables.capacity)
    where = {"density": 0.2, "init": "uniform"}
    sides = {"this": {"growth": "random"}, "that": {"method": "static", "growth": "none"}}
    row = judged(tmp_path, both, kind="difference", where=where, **sides)
    assert (row["units"], row["unit"], row["verdict"]) == (1, "seeds", "inconclusive")
    assert row["effect"] == pytest.approx(0.225)  # the mean of 0.7 thrice and 0.8, less 0.5
    alone = judged(tmp_path, both, **CLAIM)
    assert (alone["units"], alone["unit"]) == (4, "update intervals")


def test_other_settings_are_averaged_within_an_interval(tmp_path: Path) -> None:
    tables = study()
    parts = [
        tables.summary.assign(
            **{RATE: rate},
            digest=tables.summary["digest"] + rate,
            acc=tables.summary["acc"] + gain * (tables.summary["init"] == "erk"),
        )
        for rate, gain in (("0.1", 0.02), ("0.01", -0.02))
    ]
    both = Tables(pd.concat(parts), tables.accuracy, tables.capacity)
    row = judged(tmp_path, both, **CLAIM)
    assert (row["units"], row["unit"]) == (4, "update intervals")
    assert row["effect"] == pytest.approx(0.03)
    assert row["detail"].startswith("mean over training.learning_rate 0.1, 0.01")


def test_accuracies_that_never_change_are_counted_by_interval(tmp_path: Path) -> None:
    row = judged(tmp_path, study(), kind="unchanged", where={})
    assert (row["units"], row["unit"], row["verdict"]) == (4, "update intervals", "supported")
    two = study(gains={"50": 0.0, "100": 0.0})
    row = judged(tmp_path, two, kind="unchanged", where={})
    assert "2 update intervals; a verdict needs" in row["detail"]


def test_a_claim_that_is_not_tested_has_a_unit_all_the_same(tmp_path: Path) -> None:
    row = judged(tmp_path, study(), **CLAIM, only={"tasks": 9})
    assert (row["units"], row["unit"]) == (0, "update intervals")


def test_settings_that_some_have_under_a_rule_alone_are_not_common() -> None:
    """Of dst, learning rate 0.2 was run under a controller only; so ewc is taken at 0.1 as well."""
    axes = {"dataset": "d", "tasks": 5, "protocol": "p", "network": "n"}
    sparse = {"method": "dst", "density": 0.2, "init": "u", "growth": "random"}
    dense = {"method": "ewc", "density": 1.0, "init": "none", "growth": "none"}
    cells = [(sparse, "fixed", "0.1"), (sparse, "saturation", "0.1"), (sparse, "saturation", "0.2"),
             (dense, "none", "0.1"), (dense, "none", "0.2")]  # fmt: skip
    runs = pd.DataFrame(
        axes
        | kind
        | {"topology.controller": controller, "training.learning_rate": rate}
        | {"seed": seed, "acc": 0.5, "digest": f"{kind['method']}{controller}{rate}{seed}"}
        for kind, controller, rate in cells
        for seed in range(3)
    )
    grid = Grid(runs, SEEDS)
    sets, _ = grid.sets(
        {side: [{key: [value] for key, value in kind.items()}]
         for side, kind in (("better", sparse), ("worse", dense))}
    )  # fmt: skip
    place = grid.axes.index("training.learning_rate")
    assert {cell[place] for side in sets.values() for found in side for cell in found} == {"0.1"}
