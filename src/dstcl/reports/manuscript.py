"""What of a study goes into a manuscript: figures as PDF in the width of its text, tables in LaTeX.

The same tables that summary.md and the report show, as `\\input` takes them; all.tex is a document
of all of them, to look at and to copy from.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import METHOD_BLOCK, varied_axes
from dstcl.evaluation.made_from import made_from
from dstcl.evaluation.spelling import percent_signs, spelled
from dstcl.evaluation.tables import Title, dataset_titles, read_table
from dstcl.figures import FIGURES, caption, figure_pdf
from dstcl.figures.style import sparsity
from dstcl.reports.beside import SIGNS, paper_parts
from dstcl.reports.latex import escaped, latex_table
from dstcl.reports.tables import claim_blocks
from dstcl.storage import write_bytes

FOLDER = "manuscript"
MADE_FROM = (
    *("summary.csv", "accuracy.csv", "capacity.csv", "overlap.csv", "history.csv"),
    *("decisions.csv", "cells.csv", "claims.csv", "paper.csv", "paper_tables.csv"),
)
"""Files of tables that some figure or table is made of."""
WHOLE = "all.tex"
TABLE = re.compile(r"(accuracy|paper|claims)-\d+\.tex")
DOCUMENT = r"""\documentclass[10pt]{{article}}
\usepackage[T1]{{fontenc}}
\usepackage[utf8]{{inputenc}}
\usepackage{{amssymb,booktabs,graphicx}}
\usepackage[textwidth={width:g}mm,textheight=240mm]{{geometry}}
\begin{{document}}
{parts}
\end{{document}}
"""
FIGURE = r"""\begin{{figure}}[p]
\centering
\includegraphics{{{name}.pdf}}
\caption{{{caption}}}
\label{{fig:{name}}}
\end{{figure}}"""
ABOUT_ACCURACY = (
    "Accuracy after the last task in %, with half the 95% interval over seeds (Student's t)."
)
ABOUT_PAPER = (
    "The paper's numbers and ours, in %. Our 95% interval over seeds is in parentheses; "
    "reproduced ✓, not reproduced ✗, open ?."
)
ABOUT_CLAIMS = (
    "Claims of the paper, tested on this study: effect in points (positive if it supports the "
    "claim) with the 95% interval, and p after Holm's correction."
)


def is_part(path: Path) -> bool:
    """Whether a file of the folder ``manuscript`` is written here: what else lies there, as a
    compiled document or somebody's notes, is left alone."""
    figures = {f"{name}.pdf" for name in FIGURES}
    ours = path.name == WHOLE or path.name in figures or TABLE.fullmatch(path.name)
    return bool(ours) and path.is_file()


def write_manuscript(study: Path, width_mm: float) -> list[str]:
    """Write the figures and tables of a study into its folder ``manuscript``.

    Figures that the study has nothing for are left out, and what an earlier call left is removed.

    Args:
        study: its folder, with tables.
        width_mm: of the text of the manuscript.

    Returns:
        The names of the files.

    Raises:
        ValueError: a table is missing.
    """
    title = dataset_titles(study)
    tables = _accuracy_tables(read_table(study, "cells"), title)
    tables |= _paper_tables(study, title) | _claims_tables(study, title)
    drawn = {name: figure_pdf(name, study, width_mm) for name in FIGURES}
    figures = {name: content for name, content in drawn.items() if content is not None}
    parts = [rf"\input{{{name}}}" for name in tables]
    parts += [FIGURE.format(name=name, caption=escaped(caption(name))) for name in figures]
    whole = DOCUMENT.format(width=width_mm, parts="\n\\clearpage\n".join(parts))
    files = {f"{name}.pdf": content for name, content in figures.items()}
    files |= {f"{name}.tex": text.encode() for name, text in tables.items()}
    # Last: what it was made from holds for all of them.
    files[WHOLE] = f"{whole}% {made_from(study, MADE_FROM)}\n".encode()
    folder = study / FOLDER
    for path in set(filter(is_part, folder.glob("*.*"))) - {folder / name for name in files}:
        path.unlink()
    for name, content in files.items():
        write_bytes(folder / name, content)
    return sorted(files)


def _accuracy_tables(cells: pd.DataFrame, title: Title) -> dict[str, str]:
    """Init and growth by sparsity, a table for each block and method."""
    found: dict[str, str] = {}
    varied = varied_axes(cells)
    for number, (key, rows) in enumerate(cells.groupby(list(METHOD_BLOCK), sort=False), start=1):
        dataset, tasks, protocol, network, method = map(str, key)
        densities = sorted(rows["density"].unique(), reverse=True)
        names = ["init", "growth", *varied]
        lines = []
        for configuration, own in rows.groupby(names, sort=False):
            by_density = {row["density"]: row for row in own.to_dict("records")}
            cells_of = [_accuracy(by_density.get(density)) for density in densities]
            lines.append([*(spelled(str(value)) for value in configuration), *cells_of])
        about = f"{title.setting(dataset, int(tasks))}, {network}, {spelled(method)}"
        found[f"accuracy-{number}"] = latex_table(
            [*names, *map(sparsity, densities)],
            lines,
            caption=f"{about}, protocol {protocol}. {ABOUT_ACCURACY}",
            label=f"tab:accuracy-{number}",
            columns="l" * len(names) + "r" * len(densities),
        )
    return found


def _accuracy(row: dict[Any, Any] | None) -> str:
    if row is None:
        return "-"
    mean = f"{100 * row['acc_mean']:.1f}"
    if pd.isna(row["acc_high"]):
        return mean
    return f"{mean} ± {100 * (row['acc_high'] - row['acc_mean']):.1f}"


def _paper_tables(study: Path, title: Title) -> dict[str, str]:
    """The paper's tables in their layout, with ours below each of their numbers; ACC alone."""
    found: dict[str, str] = {}
    curves, tables = (read_table(study, name) for name in ("paper", "paper_tables"))
    for part in paper_parts(curves, tables, title):
        for metric in part["metrics"]:
            if metric["name"] != "ACC":
                continue
            inits = [init for init, count in metric["inits"] for _ in range(count)]
            number = len(found) + 1
            found[f"paper-{number}"] = latex_table(
                [("", metric["rows_are"]), ("", "source"), *zip(inits, metric["sparsities"])],
                [row for line in metric["lines"] for row in _paper_rows(line)],
                caption=" ".join([f"{part['title']}.", ABOUT_PAPER, *part["notes"]]),
                label=f"tab:paper-{number}",
                columns="ll" + "r" * len(inits),
            )
    return found


def _paper_rows(line: dict[str, Any]) -> list[list[str]]:
    rows = []
    for place, source in enumerate(line["sources"]):
        cells = [
            " ".join(
                filter(
                    None,
                    (
                        cell["number"],
                        cell["interval"] and f"({cell['interval']})",
                        SIGNS.get(cell["mark"], ""),
                    ),
                )
            )
            for cell in source["cells"]
        ]
        rows.append([line["name"] if place == 0 else "", source["name"], *cells])
    return rows


def _claims_tables(study: Path, title: Title) -> dict[str, str]:
    """Claims with a verdict, a table for each setting and protocol."""
    found: dict[str, str] = {}
    for block in claim_blocks(read_table(study, "claims"), title):
        for protocol in block["protocols"]:
            rows = [
                _claim_row(claim, claim["by_protocol"][protocol])
                for claim in block["claims"]
                if claim["by_protocol"][protocol]["verdict"] != "not tested"
            ]
            if not rows:
                continue
            number = len(found) + 1
            untested = len(block["untested"].get(protocol, ()))
            words = f" {untested} of {block['known']} claims cannot be tested on it."
            found[f"claims-{number}"] = latex_table(
                ["claim", "effect", "95% interval", "p", "over", "verdict"],
                rows,
                caption=f"{block['title']}, protocol {protocol}. {ABOUT_CLAIMS}"
                + (words if untested else ""),
                label=f"tab:claims-{number}",
                columns=r"p{0.36\linewidth}rrrll",
            )
    return found


def _claim_row(claim: dict[str, Any], verdict: dict[str, Any]) -> list[str]:
    numbers = [verdict["effect"], verdict["interval"], verdict["p"].removeprefix("p = ")]
    numbers[2] = numbers[2].removeprefix("p ")
    return [percent_signs(claim["statement"]), *numbers, verdict["units"], verdict["verdict"]]
