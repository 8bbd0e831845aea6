"""Seeds for a power of 90 %: by hand, by simulation, and from recorded runs of several machines."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from dstcl.cli import main
from dstcl.evaluation.claim_tests import Finding, Part
from dstcl.evaluation.claims import load_claims
from dstcl.evaluation.power import planned_parts, power_table
from dstcl.evaluation.same_study import Incomparable
from dstcl.evaluation.statistics import above, power_for_mean, units_for_mean
from helpers.finished import study_tables
from helpers.runs import REPOSITORY

CLAIM = {
    "statement": "ERK is more accurate.",
    "source": "made up",
    "kind": "difference",
    "where": {"density": 0.2, "growth": "random"},
    "this": {"init": "erk"},
    "that": {"init": "uniform"},
}


def recorded(folder: Path, leads: list[float]) -> Path:
    """summary.csv of a study in which ERK is ahead by so much, by seed."""
    axes = {"dataset": "mnist5k", "tasks": 5, "protocol": "corrected", "network": "convnet"}
    axes |= {"method": "dst", "density": 0.2, "growth": "random"}
    rows = [
        axes | {"init": init, "seed": seed, "acc": 0.8 + lead * (init == "erk")}
        for seed, lead in enumerate(leads)
        for init in ("uniform", "erk")
    ]
    rows = [row | {"digest": f"{number:010x}"} for number, row in enumerate(rows)]
    study_tables(folder, {"summary": rows})
    return folder


def claims_file(folder: Path, *claims: dict) -> Path:
    folder.mkdir()
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": list(claims)}))
    return path


@pytest.mark.parametrize(("distance", "sd", "level"), [(0.02, 0.02, 0.05), (-0.03, 0.025, 0.01)])
def test_the_power_is_that_of_simulated_studies(distance: float, sd: float, level: float) -> None:
    units = units_for_mean(distance, sd, level, 0.9)
    assert units is not None
    rng = np.random.default_rng(5)
    for n in (units - 1, units):
        values = rng.normal(distance, sd, (20_000, n))
        t = values.mean(1) / (values.std(1, ddof=1) / np.sqrt(n))
        found = (np.sign(distance) * t > stats.t.isf(level / 2, n - 1)).mean()
        assert found == pytest.approx(power_for_mean(distance, sd, n, level), abs=0.01)
        assert (power_for_mean(distance, sd, n, level) >= 0.9) == (n == units)


@pytest.mark.parametrize("ratio", np.geomspace(0.1, 50, 40))
def test_more_units_have_more_power_however_large_the_effect(ratio: float) -> None:
    powers = [power_for_mean(ratio, 1.0, n, 0.05) for n in range(2, 200)]
    assert all(0 <= power <= 1 for power in powers)
    assert all(later >= power - 1e-9 for power, later in pairwise(powers))


def test_machines_are_pooled_and_add_no_degrees_of_freedom() -> None:
    """Means 2 and 4 points, variances 1 and 4; three seeds each."""
    findings = []
    for values in ([0.01, 0.02, 0.03], [0.02, 0.04, 0.06]):
        part = Part(pd.Series(values), -0.01)
        findings.append(Finding(above(values, -0.01), True, parts=(part,)))
    (part,) = planned_parts(findings)
    assert part.distance == pytest.approx(0.04)
    assert part.sd == pytest.approx(np.sqrt(2.5) / 100)
    assert part.freedom == 2
    # A fifth of chi-square with two degrees of freedom is below -2 ln 0.8.
    assert part.cautious_sd == pytest.approx(part.sd * np.sqrt(2 / (-2 * np.log(0.8))))


def test_the_table_counts_planned_tests_and_calculates_those_left_out(tmp_path: Path) -> None:
    """Leads 1, 2, 3 points: mean 2, standard deviation 1; two tests, so level 2.5 %."""
    study = recorded(tmp_path / "study", [0.01, 0.02, 0.03])
    path = claims_file(
        tmp_path / "claims",
        {"id": "planned", **CLAIM},
        {"id": "left-out", **CLAIM, "not_for": {"dataset": "mnist5k"}, "more_than": 0.018},
        {"id": "used", **CLAIM, "measure": "narrow_used_after", "after_task": 3},
        {"id": "elsewhere", **CLAIM, "only": {"tasks": 10}},
        {"id": "kept", "statement": "Kept.", "source": "made up", "kind": "unchanged"},
    )
    table, tests = power_table(load_claims(path), [study], 7)
    assert tests == 2
    assert list(table["claim"]) == ["planned", "left-out", "used"]
    assert list(table["left_out"]) == [False, True, False]
    planned, left_out, used = table.to_dict("records")
    assert (planned["effect"], planned["sd"]) == pytest.approx((0.02, 0.01))
    assert planned["seeds_needed"] == units_for_mean(0.02, 0.01, 0.025, 0.9)
    assert planned["power"] == pytest.approx(power_for_mean(0.02, 0.01, 7, 0.025))
    assert left_out["effect"] == pytest.approx(0.02)
    assert left_out["seeds_needed"] == units_for_mean(0.002, 0.01, 0.025, 0.9)
    assert pd.isna(used["sd"]), "a table that was not recorded"


def test_every_part_of_a_claim_must_have_the_power(tmp_path: Path) -> None:
    """Alike within 2 points, ahead by 1: the near boundary decides, 1 point away."""
    study = recorded(tmp_path / "study", [0.005, 0.01, 0.015])
    alike = CLAIM | {"id": "alike", "kind": "alike", "within": 0.02}
    table, _ = power_table(load_claims(claims_file(tmp_path / "c", alike)), [study], 5)
    (row,) = table.to_dict("records")
    assert row["seeds_needed"] == units_for_mean(0.01, 0.005, 0.05, 0.9)
    assert row["effect"] == pytest.approx(-0.01)


def test_one_part_on_the_wrong_side_decides_at_the_level_of_its_correction(tmp_path: Path) -> None:
    """Alike within 2 points, ahead by 3: 1 point too much, and one of two comparisons."""
    study = recorded(tmp_path / "study", [0.025, 0.03, 0.035])
    alike = CLAIM | {"id": "alike", "kind": "alike", "within": 0.02}
    table, _ = power_table(load_claims(claims_file(tmp_path / "c", alike)), [study], 5)
    (row,) = table.to_dict("records")
    assert (row["effect"], row["boundary"]) == pytest.approx((-0.03, -0.02))
    assert row["seeds_needed"] == units_for_mean(0.01, 0.005, 0.05 / 2, 0.9)
    assert row["power"] == pytest.approx(power_for_mean(0.01, 0.005, 5, 0.05 / 2))


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = recorded(tmp_path / "study", [0.01, 0.02, 0.03])
    claims_file(tmp_path / "c", {"id": "planned", **CLAIM})
    command = ["claims", "--reference", str(tmp_path / "c"), "--power", str(study)]
    main([*command, "--seeds", "6"])
    lines = capsys.readouterr().out.splitlines()
    assert "level 0.05 / 1" in lines[0]
    needed = units_for_mean(0.02, 0.01, 0.05, 0.9)
    power = 100 * power_for_mean(0.02, 0.01, 6, 0.05)
    assert lines[-1].startswith(f"| planned | +2.00 | 0 | 1.00 | {power:.0f}% | {needed} | ")
    for mistake, words in (
        (["--seeds", "1"], "--seeds: 1; 2 to 1000000"),
        (["--seeds", "9" * 30], "9; 2 to 1000000"),
        (["--paper"], "claims: either the folder of a study or --paper or --power is needed"),
    ):
        with pytest.raises(SystemExit, match=words):
            main([*command, *mistake])
    one = recorded(tmp_path / "one", [0.01])
    with pytest.raises(SystemExit, match="no claim can be tested"):
        main([*command[:-1], str(one)])


def test_only_the_same_study_is_pooled(tmp_path: Path) -> None:
    """Of other settings, as its digests say, effects must not be averaged."""
    one, same = (recorded(tmp_path / name, [0.01, 0.02, 0.03]) for name in ("one", "same"))
    other = recorded(tmp_path / "other", [0.05, 0.06, 0.07])
    table = other / "summary.csv"
    rows = pd.read_csv(table, dtype=str)
    rows.assign(digest="f" + rows["digest"].str[1:]).to_csv(table, index=False)
    claims = load_claims(claims_file(tmp_path / "c", {"id": "planned", **CLAIM}))
    power_table(claims, [one, same], 5)
    with pytest.raises(Incomparable, match="has other settings than"):
        power_table(claims, [one, other], 5)
    pooled, _ = power_table(claims, [one, other], 5, digests=False)
    assert pooled["effect"].tolist() == pytest.approx([0.04])


def test_the_command_of_the_document_prints_its_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    lines = (REPOSITORY / "docs" / "power.md").read_text().splitlines()
    (command,) = [line.strip() for line in lines if line.startswith("    dstcl claims --power")]
    main(command.split()[1:])
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 14
    assert table == [line for line in lines if line.startswith("|")]


def test_ignored_digests_are_for_the_power_alone(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--ignore-digests is for --power alone"):
        main(["claims", str(tmp_path), "--ignore-digests"])
