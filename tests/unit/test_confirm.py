"""A study beside a recorded one: every outcome by hand, and what is refused as another study."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from itertools import product
from math import isnan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from dstcl.cli import main
from dstcl.evaluation.confirm import OUTCOMES, confirm, outcome_of
from dstcl.evaluation.rounding import COLUMNS, distance
from dstcl.evaluation.same_study import Incomparable
from dstcl.reports.confirmation import page_part, rows, three_lines
from dstcl.study.plan import write_plan
from dstcl.study.run import Run
from helpers.finished import csv_text, finished_run
from helpers.runs import REPOSITORY, quick_run

CLAIMS = [
    {
        "id": "erk-leads",
        "statement": "ERK is more accurate.",
        "source": "made up",
        "kind": "difference",
        "where": {"density": 0.2, "growth": "random"},
        "this": {"init": "erk"},
        "that": {"init": "uniform"},
    },
    {"id": "kept", "statement": "Nothing changes.", "source": "made up", "kind": "unchanged"},
]
LEADS = {0: 0.03, 1: 0.031, 2: 0.032, 3: 0.033}
"""By seed, how far ERK is ahead of uniform."""

Make = Callable[..., Path]


def accuracies(acc: float) -> str:
    """The table of a run of two tasks with this accuracy throughout."""
    return csv_text(
        ("after_task", "task", "accuracy"),
        [(after, task, acc if task <= after else 0.2) for after in range(3) for task in (1, 2)],
    )


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a study with all of its tables, trained in no time.

    ``more`` has the leads of ERK with other growths.
    """
    reference = tmp_path / "claims"
    reference.mkdir()
    (reference / "paper").symlink_to(REPOSITORY / "reference" / "paper")

    def make(
        name: str,
        leads: Mapping[int, float] = LEADS,
        *,
        preset: str = "tiny",
        uniform: Mapping[int, float] | None = None,
        more: Mapping[str, Mapping[int, float]] | None = None,
        device: str = "cpu (x86_64, AVX2)",
        images: str = "5e5e",
        claims: list[dict] = CLAIMS,
        epochs: int = 2,
        **settings: object,
    ) -> Path:
        (reference / "claims.yaml").write_text(yaml.safe_dump({"claims": claims}))
        study, runs = tmp_path / name, []
        growths = [({}, leads), *(({"growth": name}, own) for name, own in (more or {}).items())]
        for (growth, own), seed in product(growths, leads):
            base = (uniform or {}).get(seed, 0.8 + seed / 100)
            for init, acc in (("uniform", base), ("erk", base + own[seed])):
                axes = {"tasks": 2, "density": 0.2, "init": init, "seed": seed} | growth
                run: Run = quick_run(**axes, epochs=epochs, **settings)
                made = {"device": device, "data_digest": images}
                finished_run(study, run, provenance=made, files={"accuracy": accuracies(acc)})
                runs.append(run)
        write_plan(preset, runs, study / "plan.json")
        training = {"training": {"epochs": epochs}, "seeds": list(leads)}
        params = {"preset": preset, "presets": {preset: training}, "protocols": {}}
        (study / "params.json").write_text(json.dumps(params))
        (study / "summary.md").write_text("A summary.\n")
        main(["collect", str(study), "--data", "nowhere"])
        main(["claims", str(study), "--reference", str(reference)])
        return study

    return make


def outcomes(study: Path, reference: Path) -> dict[str, str]:
    return {one.key["claim"]: one.outcome for one in confirm(study, reference).claims}


def test_the_same_study_agrees_with_itself_to_the_last_bit(make: Make) -> None:
    study = make("study")
    found = confirm(study, study)
    assert outcomes(study, study) == {"erk-leads": "agrees", "kept": "agrees"}
    assert (found.distance.runs, found.distance.equal) == (8, 8)
    assert found.distance.further is False
    lead = next(one for one in found.claims if one.key["claim"] == "erk-leads")
    assert (lead.difference.low, lead.difference.high, lead.paired) == (0, 0, 4)
    first, second, third = three_lines(found)
    assert first == "verdicts: reproduced; 2 of 2 agree"
    assert second == "accuracies: 8 of 8 runs equal to the last bit"
    assert third.count("cpu (x86_64, AVX2)") == 2


@pytest.mark.parametrize(
    ("here", "recorded", "outcome"),
    [
        ("supported", "supported", "agrees"),
        ("inconclusive", "inconclusive", "agrees"),
        ("supported", "contradicted", "contradicts"),
        ("contradicted", "supported", "contradicts"),
        ("inconclusive", "supported", "weaker"),
        ("inconclusive", "contradicted", "weaker"),
        ("supported", "inconclusive", "stronger"),
        ("supported", "", "new"),
        ("", "contradicted", "not here"),
    ],
)
def test_every_pair_of_verdicts_has_its_outcome(here: str, recorded: str, outcome: str) -> None:
    assert outcome_of(here, recorded) == outcome
    assert outcome in OUTCOMES


def test_opposite_verdicts_are_not_reproduced_and_end_with_3(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = make("recorded")
    study = make("study", {seed: -lead for seed, lead in LEADS.items()})
    with pytest.raises(SystemExit) as ended:
        main(["confirm", str(study), str(recorded)])
    assert ended.value.code == 3
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "erk-leads" in line and "recorded" in line]
    assert line.startswith("contradicts erk-leads (corrected): contradicted -3.15, recorded")
    assert lines[-3] == "verdicts: NOT reproduced; 1 of 2 agree, 1 contradict (erk-leads)"
    assert len(lines) == 5


def test_an_open_verdict_is_weaker_and_no_failure(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = make("recorded")
    study = make("study", {0: 0.05, 1: -0.02, 2: 0.07, 3: -0.01})
    main(["confirm", str(study), str(recorded), "--brief"])
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "verdicts: reproduced; 1 of 2 agree, 1 weaker (erk-leads)"
    assert len(others) == 2


def test_where_no_verdict_agrees_nothing_is_called_reproduced(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded, study = make("recorded"), make("study", {0: 0.03, 1: 0.031})
    main(["confirm", str(study), str(recorded), "--brief"])  # and ends with 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == "verdicts: not contradicted; 0 of 2 agree, 2 weaker (erk-leads, kept)"


def test_effects_are_paired_by_seed(make: Make) -> None:
    """Differences of the leads by hand: -1, 0, 1 and 2 points."""
    recorded = make("recorded", {0: 0.05, 1: 0.01, 2: 0.06, 3: 0.02})
    study = make("study", {0: 0.04, 1: 0.01, 2: 0.07, 3: 0.04})
    one = next(c for c in confirm(study, recorded).claims if c.key["claim"] == "erk-leads")
    off = np.array([-0.01, 0.0, 0.01, 0.02])
    half = stats.t.ppf(0.975, 3) * off.std(ddof=1) / 2
    assert one.paired == 4
    assert one.difference.mean == pytest.approx(0.005)
    assert one.difference.low == pytest.approx(0.005 - half)
    assert one.difference.high == pytest.approx(0.005 + half)


@pytest.mark.parametrize("without", ["seeds", "units"])
def test_effects_of_other_seeds_are_compared_without_pairs(make: Make, without: str) -> None:
    """By Welch's interval, as scipy has it; also where the effects by seed were not recorded."""
    leads = {0: 0.05, 1: 0.01, 2: 0.06, 3: 0.02}
    ours = {0: 0.03, 1: 0.035, 2: 0.05}
    recorded = make("recorded", leads)
    if without == "seeds":  # one seed in common is no pair
        ours = {3: 0.03, 4: 0.035, 5: 0.05}
    else:
        (recorded / "claim_units.csv").unlink()
    one = next(
        c for c in confirm(make("study", ours), recorded).claims if c.key["claim"] == "erk-leads"
    )
    welch = stats.ttest_ind(list(ours.values()), list(leads.values()), equal_var=False)
    interval = welch.confidence_interval()
    assert one.paired == 0
    assert (one.difference.low, one.difference.high) == pytest.approx((interval.low, interval.high))


def test_an_interaction_has_a_difference_without_an_interval(make: Make) -> None:
    """Gains 1, 2 and 3 points here, 3, 4 and 5 recorded: in each of four cells a quarter of them.

    The root mean square is without what noise adds: 0.5 and 1 points squared, less 1 / 16 / 3.
    """
    interaction = {
        "id": "depends",
        "statement": "It depends.",
        "source": "made up",
        "kind": "interaction",
        "of": "growth",
        "depends_on": ["init"],
        "where": {"density": 0.2, "init": ["uniform", "erk"], "growth": ["random", "gradient"]},
    }
    level, leads = {"gradient": dict.fromkeys(range(3), 0.0)}, {0: 0.01, 1: 0.02, 2: 0.03}
    study = make("study", leads, more=level, claims=[interaction])
    leads = {seed: lead + 0.02 for seed, lead in leads.items()}
    recorded = make("recorded", leads, more=level, claims=[interaction])
    (one,) = confirm(study, recorded).claims
    effects = [sqrt(mean**2 - 1 / 48) / 100 for mean in (0.5, 1.0)]
    assert (one.effect, one.recorded_effect) == pytest.approx(effects)
    assert one.difference.mean == pytest.approx(effects[0] - effects[1])
    assert isnan(one.difference.low)
    assert isnan(one.difference.high)
    (row,) = rows(confirm(study, recorded))
    assert row["difference"] == "-0.51 (-)"


def test_a_partial_study_is_confirmed_for_what_it_has(make: Make) -> None:
    recorded = make("recorded")
    study = make("study", {seed: LEADS[seed] for seed in (0, 1)})
    found = confirm(study, recorded)
    assert outcomes(study, recorded) == {"erk-leads": "weaker", "kept": "weaker"}
    assert (found.distance.runs, found.runs, found.recorded_runs) == (4, 4, 8)
    assert "4 of 4 runs equal to the last bit (4 only recorded)" in three_lines(found)[1]


def test_a_claim_that_was_changed_since_is_new(make: Make) -> None:
    recorded = make("recorded")
    changed = [CLAIMS[0] | {"more_than": 0.01}, CLAIMS[1] | {"id": "other"}]
    study = make("study", claims=changed)
    assert outcomes(study, recorded) == {"erk-leads": "new", "other": "new", "kept": "not here"}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"preset": "large"}, "is of preset tiny, {recorded} of large"),
        ({"epochs": 3}, "in 8 of 8 runs: presets.tiny.training.epochs is 2, recorded 3"),
        ({"images": "0ld"}, "has other images of mnist5k (data digest 5e5e) than {recorded} (0ld)"),
        ({"update_every": 3}, "in 8 of 8 runs: runs as dataset mnist5k tasks 2"),
        ({"growth": "gradient"}, "have no run in common"),
    ],
)
def test_another_study_is_refused_in_one_line_with_4(
    make: Make, capsys: pytest.CaptureFixture[str], other: dict, words: str
) -> None:
    recorded, study = make("recorded", **other), make("study")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["confirm", str(study), str(recorded)])
    assert ended.value.code == 4
    out, err = capsys.readouterr()
    assert not out
    (line,) = err.splitlines()
    assert words.format(recorded=recorded) in line
    part = page_part(study, recorded)
    assert part is not None
    assert part["rows"] == []
    assert part["lines"][0].startswith("not compared: ")


def test_a_recorded_study_has_all_that_is_needed_to_confirm_it(make: Make, tmp_path: Path) -> None:
    study, kept = make("study"), tmp_path / "kept"
    kept.mkdir()
    (kept / "README.md").write_text("How it was made.\n")
    main(["record", str(study), str(kept), "--data", str(tmp_path / "none")])
    assert (kept / "README.md").read_text() == "How it was made.\n"
    assert {"summary.md", "claim_units.csv", "params.json"} <= {
        path.name for path in kept.iterdir()
    }
    shutil.rmtree(study / "runs")
    assert not confirm(study, kept).contradicts
    with pytest.raises(SystemExit, match=r"summary\.csv: no such file"):
        main(["confirm", str(study), str(tmp_path / "other")])


# Accuracies


def noise(**values: float) -> pd.DataFrame:
    row = dict.fromkeys(COLUMNS, 0.0) | {"protocol": "corrected", "density": 0.2} | values
    return pd.DataFrame([row])


def pairs(off: list[float], density: float = 0.2) -> pd.DataFrame:
    table = pd.DataFrame({"recorded": 0.5, "here": 0.5 + np.array(off)})
    return table.assign(protocol="corrected", density=density)


def test_rounding_explains_differences_as_large_as_it_makes_them() -> None:
    off = [0.0, 0.01, -0.01, 0.02, -0.02, 0.0, 0.01, -0.01]
    found = distance(pairs(off), noise(quantile_95=0.02))
    assert (found.equal, found.beyond, found.measured) == (2, 0, 8)
    assert found.mean_size == pytest.approx(0.08 / 6)
    assert found.largest == pytest.approx(0.02)
    assert found.further is False


def test_too_many_large_differences_are_further_than_rounding_explains() -> None:
    """Three of eight beyond what one in twenty is: 0.6 % by the binomial distribution."""
    off = [0.03, -0.03, 0.03, -0.02, 0.0, 0.0, 0.0, -0.01]
    found = distance(pairs(off), noise(quantile_95=0.02))
    assert found.beyond == 3
    assert found.p_beyond == pytest.approx(1 - stats.binom.cdf(2, 8, 0.05))
    assert found.p_shift > 0.5
    assert found.further is True


def test_a_shift_is_further_than_rounding_explains_however_small() -> None:
    """Rounding has no direction."""
    off = [0.004, 0.006, 0.005, 0.004, 0.006, 0.005, 0.003, 0.007]
    assert distance(pairs(off), noise(quantile_95=0.02)).further is True


def test_without_measured_rounding_a_distance_is_not_judged() -> None:
    off = [0.01, -0.01, 0.02, -0.02]
    for found in (distance(pairs(off), None), distance(pairs(off, 0.05), noise(quantile_95=1))):
        assert found.measured == 0
        assert found.further is None
    assert distance(pairs([0.0, 0.0]), None).further is False


def test_a_damaged_table_of_rounding_is_named(make: Make) -> None:
    study = make("study")
    (study / "rounding.csv").write_text("protocol,density\ncorrected,0.2\n")
    with pytest.raises(ValueError, match=r"rounding\.csv: no column runs"):
        confirm(study, study)
    with pytest.raises(Incomparable):
        confirm(make("other", preset="other"), study)


def test_nothing_in_common_is_not_called_reproduced(make: Make) -> None:
    study, recorded = make("study"), make("recorded")
    for folder in (study, recorded):
        claims = pd.read_csv(folder / "claims.csv")
        claims.assign(verdict="not tested").to_csv(folder / "claims.csv", index=False)
    found = confirm(study, recorded)
    assert three_lines(found)[0].startswith("verdicts: nothing to compare; 0 of 0")


@pytest.mark.parametrize(
    ("table", "damage", "problem"),
    [
        ("claims", lambda rows: [*rows, rows[-1]], r"claims\.csv: claim .* twice"),
        ("claim_units", lambda rows: [*rows, rows[-1]], r"claim_units\.csv: claim erk-leads twice"),
        ("provenance", lambda rows: rows[:-1], r"provenance\.csv: not of the runs of summary"),
        ("provenance", lambda rows: [*rows, rows[-1]], r"provenance\.csv: not of the runs"),
        ("summary", lambda rows: [*rows, rows[-1]], r"summary\.csv: run .* twice"),
    ],
)
def test_rows_that_were_lost_or_are_there_twice_are_noticed(
    make: Make, table: str, damage: Any, problem: str
) -> None:
    """A seed that counts twice would narrow intervals; a run without provenance hides its data."""
    study, recorded = make("study"), make("recorded")
    path = study / f"{table}.csv"
    path.write_text("".join(damage(path.read_text().splitlines(keepends=True))))
    for folders in ((study, recorded), (recorded, study)):
        with pytest.raises(ValueError, match=problem):
            confirm(*folders)
