"""The study as one self-contained page: verdicts first, then figures, then every run."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dstcl import __version__
from dstcl.evaluation.claim_tests import VERDICTS
from dstcl.evaluation.paper import TOLERANCE, rank_agreement
from dstcl.evaluation.tables import read_table
from dstcl.evaluation.titles import Title, dataset_titles
from dstcl.figures import FIGURES
from dstcl.figures.words import NOT_DRAWN
from dstcl.storage import read_json, write_text
from dstcl.study.run import AXES

SETTING = ["dataset", "tasks", "network"]
MAIN_PROTOCOLS = ("corrected", "published")
PERCENT = ("acc", "learning_accuracy", "bwt", "fwt", "forgetting", "used_fraction")
MEASURES = (*PERCENT, "seconds", "images_per_second", "inference_flops", "training_flops")
CELL_COLUMNS = ("acc", "learning_accuracy", "forgetting", "used_fraction")
MADE_WITH = [
    *("device", "threads", "precision", "layout", "torch", "python", "git_commit", "git_dirty"),
]


def write_report(preset: str, study: Path, template: Path) -> None:
    """Write report.html; the template and the files beside it hold all its words.

    Raises:
        ValueError: a table or the template is missing, or the template is wrong.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = report_content(preset, study)
    try:
        page = environment.get_template(template.name).render(content)
    except TemplateError as error:
        raise ValueError(f"{template}: {type(error).__name__} {error}") from None
    write_text(study / "report.html", page)


def report_content(preset: str, study: Path) -> dict[str, Any]:
    """Everything that the template shows, by name."""
    summary, cells = read_table(study, "summary"), read_table(study, "cells")
    claims, paper = read_table(study, "claims"), read_table(study, "paper")
    made, title = read_table(study, "provenance"), dataset_titles(study)
    figures = [_figure(study / "figures", name) for name in FIGURES]
    return {
        "preset": preset,
        "version": __version__,
        "runs": len(summary),
        "seeds": sorted(summary["seed"].unique()),
        "hours": summary["seconds"].sum() / 3600,
        "data": [_setting(key, title)[0] for key, _ in summary.groupby(SETTING[:2], sort=False)],
        "blocks": claim_blocks(claims, title),
        "verdicts": VERDICTS,
        "paper": paper_tables(paper, title),
        "tolerance": TOLERANCE,
        "figures": [figure for figure in figures if "not_drawn" not in figure],
        "not_drawn": [figure for figure in figures if "not_drawn" in figure],
        "cells_json": _embedded(_cell_table(cells)),
        "runs_json": _embedded(_run_table(summary)),
        "params": _params(study, preset),
        "environments": _environments(made),
        "data_digests": _data_digests(summary, made),
        "dates": _dates(made),
    }


def claim_blocks(claims: pd.DataFrame, title: Title) -> list[dict[str, Any]]:
    """For each data set, number of tasks and network: its protocols, and a row a claim.

    A claim that none of the protocols can test has no row; ``untested`` names, by protocol, all
    claims that it cannot test.
    Protocols that flip one switch belong to the figure of the switches; they are here only where
    the study has neither ``corrected`` nor ``published``.
    """
    blocks = []
    for key, rows in claims.groupby(SETTING, sort=False):
        there = list(rows["protocol"].unique())
        protocols = [name for name in MAIN_PROTOCOLS if name in there] or there
        named: dict[str, dict[str, Any]] = {}
        for row in rows.to_dict("records"):
            claim = named.setdefault(row["claim"], {"claim": row["claim"], "by_protocol": {}})
            claim |= {name: _text(row[name]) for name in ("statement", "source", "note")}
            claim["by_protocol"][row["protocol"]] = _verdict(row)
        words, network = _setting(key, title)
        tested = [
            claim
            for claim in named.values()
            if any(claim["by_protocol"][p]["verdict"] != "not tested" for p in protocols)
        ]
        untested = {
            name: [c for c in named if named[c]["by_protocol"][name]["verdict"] == "not tested"]
            for name in protocols
        }
        counts = {
            name: rows[rows["protocol"] == name]["verdict"].value_counts().to_dict()
            for name in protocols
        }
        blocks.append(
            {
                "title": f"{words}, network {network}",
                # A column of nothing but dashes says less than the line about what is not tested.
                "protocols": [p for p in protocols if len(untested[p]) < len(named)] or protocols,
                "claims": tested,
                "untested": {name: found for name, found in untested.items() if found},
                "known": len(named),
                "counts": counts,
            }
        )
    return blocks


def _verdict(row: dict[Any, Any]) -> dict[str, Any]:
    """A verdict in words and in points."""
    found = {"verdict": row["verdict"], "detail": _text(row["detail"]), "seeds": int(row["seeds"])}
    if row["verdict"] == "not tested":
        return found | {"effect": "", "interval": "", "p": ""}
    effect = "" if pd.isna(row["effect"]) else f"{100 * row['effect']:+.2f}"
    interval = "" if pd.isna(row["low"]) else f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}"
    p = "" if pd.isna(row["p_holm"]) else _p_value(row["p_holm"])
    return found | {"effect": effect, "interval": interval, "p": p}


def _p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def paper_tables(paper: pd.DataFrame, title: Title) -> list[dict[str, Any]]:
    """For each network: final accuracy of each configuration in the paper and in each protocol."""
    tables = []
    for key, rows in paper.groupby([*SETTING, "method"], sort=False):
        finals = rows[rows["task"] == rows["task"].max()]
        there = list(finals["protocol"].unique())
        protocols = [name for name in reversed(MAIN_PROTOCOLS) if name in there] or there
        lines = []
        for cell, group in finals.groupby(["init", "density", "growth"], sort=False):
            by = group.set_index("protocol").to_dict("index")
            one = group.iloc[0]
            ours = {name: _ours(by[name]) for name in protocols if name in by}
            lines.append(
                {
                    "cell": f"{cell[0]}, sparsity {100 * (1 - cell[1]):.4g} %, {cell[2]}",
                    "paper": f"{one['paper_percent']:.1f} ± {one['reading_error']:.2g}",
                    "ours": ours,
                }
            )
        agreement = {name: rank_agreement(finals[finals["protocol"] == name]) for name in protocols}
        words, network = _setting(key[:3], title)
        tables.append(
            {
                "title": f"{words}, our network {network}",
                "protocols": protocols,
                "rows": lines,
                "agreement": agreement,
                "reproduced": {
                    name: int((finals[finals["protocol"] == name]["reproduced"] == "yes").sum())
                    for name in protocols
                },
            }
        )
    return tables


def _ours(row: dict[Any, Any]) -> dict[str, str]:
    half = (row["high_percent"] - row["low_percent"]) / 2
    number = f"{row['ours_percent']:.1f}" + ("" if pd.isna(half) else f" ± {half:.1f}")
    return {"number": number, "reproduced": row["reproduced"]}


def _figure(folder: Path, name: str) -> dict[str, str]:
    """A figure as data for the page; with ``not_drawn`` where it has only a reason."""
    found = {"name": name, "title": name.replace("_", " "), "caption": FIGURES[name]}
    try:
        numbers = pd.read_csv(folder / f"{name}.csv", nrows=1)
        picture = (folder / f"{name}.svg").read_bytes()
    except (OSError, ValueError):
        return found | {"not_drawn": "the file is not there"}
    if list(numbers) == [NOT_DRAWN]:
        return found | {"not_drawn": str(numbers[NOT_DRAWN].iloc[0])}
    return found | {"svg": base64.b64encode(picture).decode()}


def _cell_table(cells: pd.DataFrame) -> dict[str, Any]:
    axes = [axis for axis in AXES if axis != "seed"]
    columns = [*axes, "seeds"]
    rows = cells[columns].copy()
    for measure in CELL_COLUMNS:
        rows[f"{measure} %"] = 100 * cells[f"{measure}_mean"]
        rows[f"± {measure}"] = 50 * (cells[f"{measure}_high"] - cells[f"{measure}_low"])
    rows["seconds"] = cells["seconds_mean"]
    return _rows(rows)


def _run_table(summary: pd.DataFrame) -> dict[str, Any]:
    there = [name for name in MEASURES if name in summary]
    rows = summary[[*AXES, *there, "digest"]].copy()
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


def _embedded(value: Any) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _params(study: Path, preset: str) -> str:
    """The study's part of the configuration in force, as YAML; of every study it was merged from.

    Raises:
        ValueError: params.json is missing or has no such preset.
    """
    params = read_json(study / "params.json")
    try:
        parts = [_of_preset(part, preset) for part in params.get("merged_from", [params])]
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


def _setting(key: Sequence[Any], title: Title) -> tuple[str, str]:
    """``CIFAR-100, 10 tasks`` and the network, if there is one."""
    dataset, tasks, *network = key
    return f"{title(str(dataset))}, {tasks} tasks", str(network[0]) if network else ""


def _text(value: Any) -> str:
    return "" if pd.isna(value) else str(value)
