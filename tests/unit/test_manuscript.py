"""Figures and LaTeX tables for a manuscript."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from dstcl.cli import main
from dstcl.evaluation.collect import collect
from dstcl.evaluation.judge import write_claims
from dstcl.evaluation.made_from import stated
from dstcl.evaluation.paper.beside import TABLE_COLUMNS
from dstcl.evaluation.paper.write import write_paper
from dstcl.reports import manuscript
from dstcl.reports.latex import escaped, latex_table
from dstcl.reports.manuscript import write_manuscript
from helpers.finished import small_study, study_tables
from helpers.runs import REPOSITORY, quick_run

RUNS = [
    quick_run(tasks=2, epochs=1, seed=seed, init=init)
    for init in ("erk", "uniform")
    for seed in (0, 1, 2)
]


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50% of a_b & #1 {x}", r"50\% of a\_b \& \#1 \{x\}"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("~^$", r"\textasciitilde{}\textasciicircum{}\$"),
        ("p < 0.001", r"p \textless{} 0.001"),
        ("81.2 ± 1.0 ✓", r"81.2 $\pm$ 1.0 \checkmark{}"),
        ("-5.58", "$-$5.58"),
        ("-", "-"),
        ("random-then-gradient", "random-then-gradient"),
        ("naïve", "naïve"),
        ("雪\n\x00", "? ?"),
    ],
)
def test_nothing_in_a_text_is_a_command(text: str, latex: str) -> None:
    assert escaped(text) == latex


def body(table: str) -> list[list[str]]:
    """Cells between the rules below the header and at the end."""
    [inside] = re.findall(r"\\midrule\n(.*)\\bottomrule", table, re.DOTALL)
    lines = [line.removesuffix(r" \\") for line in inside.splitlines()]
    return [[cell.strip() for cell in line.split(" & ")] for line in lines]


def test_a_table_has_rules_and_names_over_several_columns() -> None:
    table = latex_table(
        [("", "growth"), ("ERK", "80%"), ("ERK", "95%")],
        [["random", "81.2", "-"]],
        caption="100%",
        label="tab:x",
        columns="lrr",
    )
    assert table.startswith("\\begin{table}[t]\n\\centering\n\\caption{100\\%}\n\\label{tab:x}\n")
    assert r"\multicolumn{2}{c}{ERK}" in table
    assert re.search(r"growth & 80\\% & 95\\% \\\\\n\\midrule", table)
    assert [table.count(f"\\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1] * 3
    assert body(table) == [["random", "81.2", "-"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six finished runs and their tables."""
    folder = small_study(tmp_path_factory.mktemp("made") / "tiny", RUNS)
    collect(RUNS, folder)
    write_claims(folder, REPOSITORY / "reference")
    write_paper(folder, REPOSITORY / "reference")
    return folder


@pytest.fixture
def study(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the figures, one that can be drawn and one that cannot."""
    monkeypatch.setattr(manuscript, "FIGURES", ("ranking", "decisions"))
    return Path(shutil.copytree(made, tmp_path / "tiny"))


def test_figures_have_the_width_of_the_text_and_undrawn_ones_are_left_out(study: Path) -> None:
    files = write_manuscript(study, 140)
    assert "ranking.pdf" in files
    assert "decisions.pdf" not in files
    content = (study / "manuscript" / "ranking.pdf").read_bytes()
    [box] = re.findall(rb"/MediaBox \[ *0 0 ([\d.]+) [\d.]+ *\]", content)
    assert float(box) == pytest.approx(140 / 25.4 * 72, abs=0.01)


def test_what_an_earlier_call_left_is_removed(study: Path) -> None:
    (study / "manuscript").mkdir()
    (study / "manuscript" / "claims-9.tex").write_text("of other runs")
    (study / "manuscript" / "notes.tex").write_text("somebody's own")
    files = write_manuscript(study, 140)
    there = {path.name for path in (study / "manuscript").iterdir()}
    assert there == {*files, "notes.tex"}


def test_the_document_says_from_which_tables_it_was_made(study: Path) -> None:
    write_manuscript(study, 140)
    said = stated((study / "manuscript" / "all.tex").read_text())
    assert said is not None
    for name in ("summary.csv", "accuracy.csv", "claims.csv", "paper_tables.csv"):
        assert said[name] == hashlib.sha256((study / name).read_bytes()).hexdigest()[:16]


def test_accuracies_are_those_of_the_cells(study: Path) -> None:
    cells = pd.read_csv(study / "cells.csv")
    cells["acc_mean"], cells["acc_high"] = [0.8126, 0.7], [0.8226, float("nan")]
    study_tables(study, {"cells": cells})
    write_manuscript(study, 140)
    text = (study / "manuscript" / "accuracy-1.tex").read_text()
    assert body(text) == [
        ["ERK", "random", r"81.3 $\pm$ 1.0"],
        ["uniform", "random", "70.0"],
    ]
    assert r"init & growth & sparsity 80\% \\" in text


def test_the_papers_numbers_stand_beside_ours(study: Path) -> None:
    plain = dict.fromkeys(TABLE_COLUMNS, "") | {
        "table": "1",
        "dataset": "cifar100",
        "tasks": 20,
        "protocol": "corrected",
        "network": "resnet18",
        "method": "dst",
        "density": 0.2,
        "init": "erk",
        "growth": "random",
        "metric": "acc",
        "learned": 20,
        "compared_with": "table 1",
        "paper_percent": 71.25,
        "paper_pm": 1.5,
        "ours_percent": 70.04,
        "low_percent": 69.5,
        "high_percent": 70.5,
        "unit": "seeds",
        "intervals": 1,
        "n": 3,
        "reproduced": "yes",
    }
    study_tables(study, {"paper_tables": [plain]})
    write_manuscript(study, 140)
    text = (study / "manuscript" / "paper-1.tex").read_text()
    assert body(text) == [
        ["random", "paper", r"71.2 $\pm$ 1.5"],
        ["", "corrected", r"70.0 (69.5 to 70.5) \checkmark{}"],
    ]
    assert "ERK" in text


def test_claims_that_were_tested_are_listed_with_their_verdict(study: Path) -> None:
    write_manuscript(study, 140)
    claims = pd.read_csv(study / "claims.csv").set_index("claim")
    tested = claims[claims["verdict"] != "not tested"]
    assert len(tested) >= 1
    text = (study / "manuscript" / "claims-1.tex").read_text()
    rows = body(text)
    assert [row[-1] for row in rows] == list(tested["verdict"])
    for row, (_, claim) in zip(rows, tested.iterrows()):
        assert row[1].replace("$-$", "-") == f"{100 * claim['effect']:+.2f}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_all_of_it_can_be_typeset(study: Path) -> None:
    write_manuscript(study, 140)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    done = subprocess.run(
        [*command, "all.tex"], cwd=study / "manuscript", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "Overfull" not in done.stdout


@pytest.mark.parametrize("width", ["99", "300", "wide"])
def test_a_width_that_no_text_has_is_refused(
    width: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["manuscript", str(study), "--width", width])
    assert caught.value.code == 2
    assert f"{width!r}; from 100 to 250" in capsys.readouterr().err
