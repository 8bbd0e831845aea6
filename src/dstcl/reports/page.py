"""The study as one self-contained page: verdicts first, then figures, then every run."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dstcl import __version__
from dstcl.evaluation.axes import all_axes, cell_axes, mean_over
from dstcl.evaluation.judge import VERDICTS
from dstcl.evaluation.made_from import made_from
from dstcl.evaluation.merged_params import parts_of
from dstcl.evaluation.paper.beside import FEWEST, TOLERANCE
from dstcl.evaluation.tables import OF_CLAIMS as TABLES_OF_CLAIMS
from dstcl.evaluation.tables import dataset_titles, read_table
from dstcl.figures import FIGURES, NOT_DRAWN, caption
from dstcl.reports.beside import SIGNS, front_rows, paper_parts, shown_protocols
from dstcl.reports.confirmation import page_part
from dstcl.reports.effects import HEADER, shown_effects
from dstcl.reports.rendering import embedded, rendered
from dstcl.reports.tables import claim_blocks, setting_words
from dstcl.storage import read_json, write_text
from dstcl.study.missing import read_missing

PERCENT = ("acc", "learning_accuracy", "bwt", "fwt", "forgetting", "used_fraction")
MEASURES = (*PERCENT, "seconds", "images_per_second", "inference_flops", "training_flops")
CELL_COLUMNS = ("acc", "learning_accuracy", "forgetting", "used_fraction")
OF_CLAIMS = ("claims", "paper_panels", "protocols", "accuracy_over_tasks", "capacity")
"""Figures that answer the claims, which a reader sees before all others."""
FIRST = 4
MADE_FROM = (
    *("summary.csv", "cells.csv", "comparisons.csv", "provenance.csv"),
    *(f"{name}.csv" for name in TABLES_OF_CLAIMS),
)
MADE_WITH = [
    *("device", "threads", "precision", "layout", "torch", "python", "git_commit", "git_dirty"),
]


def write_report(preset: str, study: Path, template: Path, recorded: Path | None = None) -> None:
    """Write report.html; the template and the files beside it hold all its words.

    Args:
        preset: its name.
        study: folder of the study.
        template: of the page.
        recorded: folder of a recorded study to compare with.

    Raises:
        ValueError: a table or the template is missing, or the template is wrong.
    """
    content = report_content(preset, study) | {"confirmed": page_part(study, recorded)}
    origin = made_from(study, [*MADE_FROM, *(f"figures/{name}.svg" for name in FIGURES)])
    write_text(study / "report.html", f"{rendered(template, content)}\n<!-- {origin} -->\n")


def report_content(preset: str, study: Path) -> dict[str, Any]:
    """Everything that the template shows, by name."""
    summary, cells = read_table(study, "summary"), read_table(study, "cells")
    claims, comparisons = read_table(study, "claims"), read_table(study, "comparisons")
    curves, tables = (read_table(study, name) for name in ("paper", "paper_tables"))
    made, title = read_table(study, "provenance"), dataset_titles(study)
    figures = [_figure(study / "figures", name) for name in FIGURES]
    drawn = [figure for figure in figures if "not_drawn" not in figure]
    drawn.sort(key=lambda figure: figure["name"] not in OF_CLAIMS)
    return {
        "preset": preset,
        "version": __version__,
        "runs": len(summary),
        "seeds": sorted(summary["seed"].unique()),
        "hours": summary["seconds"].sum() / 3600,
        "data": [
            setting_words(key, title)[0]
            for key, _ in summary.groupby(["dataset", "tasks"], sort=False)
        ],
        "blocks": claim_blocks(claims, title),
        "verdicts": VERDICTS,
        "front": front_rows(curves, tables, title),
        "front_protocols": shown_protocols(curves, tables),
        "paper": paper_parts(curves, tables, title),
        "signs": SIGNS,
        "effects": shown_effects(comparisons, mean_over(summary)),
        "effects_header": HEADER,
        "tolerance": TOLERANCE,
        "fewest": FEWEST,
        "first_figures": drawn[:FIRST],
        "other_figures": sorted(drawn[FIRST:], key=lambda figure: FIGURES.index(figure["name"])),
        "not_drawn": [figure for figure in figures if "not_drawn" in figure],
        "cells_json": embedded(_cell_table(cells)),
        "runs_json": embedded(_run_table(summary)),
        "params": _params(study, preset),
        "environments": _environments(made),
        "data_digests": _data_digests(summary, made),
        "dates": _dates(made),
        "missing": read_missing(study),
    }


def _figure(folder: Path, name: str) -> dict[str, str]:
    """A figure as data for the page; with ``not_drawn`` where it has only a reason."""
    short, rest = in_two(caption(name))
    found = {"name": name, "title": name.replace("_", " "), "caption": short, "more": rest}
    try:
        numbers = pd.read_csv(folder / f"{name}.csv", nrows=1)
        picture = (folder / f"{name}.svg").read_bytes()
    except (OSError, ValueError):
        return found | {"not_drawn": "the file is not there"}
    if list(numbers) == [NOT_DRAWN]:
        return found | {"not_drawn": str(numbers[NOT_DRAWN].iloc[0])}
    return found | {"svg": base64.b64encode(picture).decode()}


def in_two(words: str) -> tuple[str, str]:
    """A caption's first two sentences, and what follows them."""
    sentences = re.split(r"(?<=[.!?]) (?=[A-Z])", words)
    return " ".join(sentences[:2]), " ".join(sentences[2:])


def _cell_table(cells: pd.DataFrame) -> dict[str, Any]:
    rows = cells[[*cell_axes(cells), "seeds"]].copy()
    for measure in CELL_COLUMNS:
        rows[f"{measure} %"] = 100 * cells[f"{measure}_mean"]
        rows[f"± {measure}"] = 50 * (cells[f"{measure}_high"] - cells[f"{measure}_low"])
    rows["seconds"] = cells["seconds_mean"]
    return _rows(rows)


def _run_table(summary: pd.DataFrame) -> dict[str, Any]:
    there = [name for name in MEASURES if name in summary]
    rows = summary[[*all_axes(summary), *there, "digest"]].copy()
    shares = [name for name in PERCENT if name in there]
    rows[shares] = 100 * rows[shares]
    return _rows(rows.rename(columns={name: f"{name} %" for name in shares}))


def _rows(table: pd.DataFrame) -> dict[str, Any]:
    """Columns and rows as JSON can hold them, numbers with the digits that they deserve."""
    values = [
        [None if pd.isna(value) else _short(value) for value in row]
        for row in table.itertuples(index=False, name=None)
    ]
    return {"columns": [str(name) for name in table], "rows": values}


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _params(study: Path, preset: str) -> str:
    """The study's part of the configuration in force, as YAML; of every study it was merged from.

    Raises:
        ValueError: params.json is missing or has no such preset.
    """
    params = read_json(study / "params.json")
    try:
        parts = [_of_preset(part, preset) for part in parts_of(params)]
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{study / 'params.json'}: no configuration of preset {preset}") from None
    return yaml.safe_dump_all(parts, sort_keys=False)


def _of_preset(params: dict[str, Any], preset: str) -> dict[str, Any]:
    chosen = params["presets"][preset]
    blocks = [chosen, *chosen.get("extra", [])]
    used = {name for block in blocks for name in block["protocols"] or []}
    return {
        "preset": preset,
        "protocols": {name: v for name, v in params["protocols"].items() if name in used},
        "presets": {preset: chosen},
        "figures": params["figures"],
    }


def _environments(made: pd.DataFrame) -> list[dict[str, Any]]:
    """Machines and versions, each with the number of its runs and when they ran."""
    known = made.astype({name: object for name in MADE_WITH}).fillna(
        {n: "unknown" for n in MADE_WITH}
    )
    rows = []
    for key, group in known.groupby(MADE_WITH, sort=False):
        dates = {"first": str(group["started"].min()), "last": str(group["finished"].max())}
        rows.append(dict(zip(MADE_WITH, key)) | dates | {"runs": len(group)})
    return rows


def _data_digests(summary: pd.DataFrame, made: pd.DataFrame) -> dict[str, str]:
    data = summary[["dataset", "digest"]].merge(made[["digest", "data_digest"]], on="digest")
    return {
        str(name): ", ".join(map(str, group["data_digest"].unique()))
        for name, group in data.groupby("dataset", sort=False)
    }


def _dates(made: pd.DataFrame) -> list[str]:
    """Days of the first and the last run, or the one day of both."""
    days = sorted(str(day)[:10] for day in made["started"].dropna())
    return list(dict.fromkeys([days[0], days[-1]])) if days else []
