"""The study in Markdown: what was run, what came out, and how sure one can be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import (
    METHOD_BLOCK,
    mean_over,
    values_read,
    varied_axes,
)
from dstcl.evaluation.made_from import made_from
from dstcl.evaluation.paper.beside import FEWEST, TOLERANCE
from dstcl.evaluation.replication import INTERVALS
from dstcl.evaluation.spelling import spelled
from dstcl.evaluation.statistics import mean_interval
from dstcl.evaluation.tables import Title, dataset_titles, read_table
from dstcl.figures import FIGURES, caption
from dstcl.reports.beside import SIGNS, front_rows, paper_parts, shown_protocols
from dstcl.reports.effects import HEADER, shown_effects
from dstcl.reports.tables import claim_blocks
from dstcl.storage import write_text
from dstcl.study.missing import read_missing

MADE_FROM = ("summary.csv", "comparisons.csv", "claims.csv", "paper.csv", "paper_tables.csv")
FRONT = ("reproduced", "ours - paper", "rank")
FRONT_WORDS = (
    "For tables, the accuracy after the last task is compared, by cell; for figures, the mean "
    "accuracy over the tasks seen so far, by point of every curve. Reproduced: our whole 95% "
    f"interval is within {TOLERANCE:g} points of the paper's number; open: only a part of it, or "
    f"fewer than {FEWEST} repetitions. The other columns are the mean difference in points and "
    "the rank correlation over configurations."
)
NUMBERS_WORDS = (
    "ACC in %. The paper's ± is the standard deviation over runs at several update intervals, one "
    "run each; it is not a spread over seeds (docs/paper-forensics.md). Our ± is the same, if a "
    "study has several intervals; the 95% interval over seeds is in parentheses. Reproduced ✓, "
    "not reproduced ✗, open ?. BWT and FWT are in paper_tables.csv and in report.html; the paper's "
    "FWT is at chance level and says nothing about transfer."
)


def write_summary(preset: str, study: Path) -> None:
    """Write summary.md from the study's tables.

    Raises:
        ValueError: a table is missing.
    """
    summary, comparisons = (read_table(study, name) for name in ("summary", "comparisons"))
    title = dataset_titles(study)
    parts = [f"# Preset {preset}", _what_ran(summary)]
    if missing := read_missing(study):
        said = f"**Not the whole study: {len(summary)} of {missing['planned']} planned runs.**"
        parts.append("\n".join([said, *(f"- {line}" for line in missing["missing"])]))
    parts += _claims_tables(read_table(study, "claims"), title, mean_over(summary))
    curves, tables = (read_table(study, name) for name in ("paper", "paper_tables"))
    parts += _beside_the_paper(curves, tables, title)
    for _, block in summary.groupby(list(METHOD_BLOCK), sort=False):
        parts += [_block_title(block, title), _accuracy_table(block)]
    parts += ["## Differences, paired by seed", _effects_table(comparisons, mean_over(summary))]
    parts += ["## Figures", *(f"- `figures/{name}.svg`: {caption(name)}" for name in FIGURES)]
    text = "\n\n".join(parts).replace("\n\n- ", "\n- ")
    write_text(study / "summary.md", f"{text}\n\n<!-- {made_from(study, MADE_FROM)} -->\n")


def _claims_tables(claims: pd.DataFrame, title: Title, mean: str) -> list[str]:
    """What became of the paper's claims, a table for each data set and network."""
    parts = [
        "## The paper's claims",
        "Effects are in points, with 95% intervals over seeds (or over update intervals, if these "
        "are the repetitions); a positive effect supports the claim. A verdict needs 3 repetitions "
        "and p < 0.05 after Holm's correction (docs/claims.md). Reasons are in claims.csv.",
    ]
    if mean:
        repeated = INTERVALS.many in set(claims["unit"])
        but = (
            "; if update intervals are the repetitions, each is one observation" if repeated else ""
        )
        parts.append(f"A claim that names no varied setting is tested on the {mean}{but}.")
    for block in claim_blocks(claims, title):
        rows = []
        for claim in block["claims"]:
            found = (claim["by_protocol"][protocol] for protocol in block["protocols"])
            rows.append([claim["statement"], *map(_verdict, found)])
        parts.append(f"### {block['title']}")
        parts += [_table(["claim", *block["protocols"]], rows)] if rows else []
        parts += [_untested(block, protocol) for protocol in block["untested"]]
    return parts


def _untested(block: dict[str, Any], protocol: str) -> str:
    claims = block["untested"][protocol]
    return (
        f"Not tested under {protocol}: {len(claims)} of {block['known']} claims "
        f"({', '.join(claims)})."
    )


def _verdict(found: dict[str, Any]) -> str:
    if found["verdict"] == "not tested":
        return "-"
    numbers = f" {found['effect']}" if found["effect"] else ""
    interval = f" ({found['interval']})" if found["interval"] else ""
    return f"**{found['verdict']}**{numbers}{interval}"


def _beside_the_paper(curves: pd.DataFrame, tables: pd.DataFrame, title: Title) -> list[str]:
    """A line a table and a figure of the paper; then their numbers beside ours, in their layout."""
    heading = "## Comparison with the paper"
    front = front_rows(curves, tables, title)
    if not front:
        return [heading, "The paper has no table or figure for this study's configurations."]
    protocols = shown_protocols(curves, tables)
    header = ["in the paper", *(f"{name}: {word}" for name in protocols for word in FRONT)]
    lines = [
        [f"{row['name']}: {row['words']}", *(v for score in row["scores"] for v in score.values())]
        for row in front
    ]
    parts = [heading, FRONT_WORDS, _table(header, lines), NUMBERS_WORDS]
    for part in paper_parts(curves, tables, title):
        parts += [f"### {part['title']}", *part["notes"]]
        parts += [_table(*_flat(metric)) for metric in part["metrics"] if metric["name"] == "ACC"]
    return parts


def _flat(metric: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one measure: growth, source, and a column an init and sparsity."""
    inits = [init for init, count in metric["inits"] for _ in range(count)]
    columns = [f"{init} {sparsity}" for init, sparsity in zip(inits, metric["sparsities"])]
    rows = []
    for line in metric["lines"]:
        for place, source in enumerate(line["sources"]):
            name = line["name"] if place == 0 else ""
            rows.append([name, source["name"], *map(_cell, source["cells"])])
    return [metric["rows_are"], "", *columns], rows


def _cell(cell: dict[str, str]) -> str:
    interval = f"({cell['interval']})" if cell["interval"] else ""
    return " ".join(filter(None, (cell["number"], interval, SIGNS.get(cell["mark"], ""))))


def _what_ran(summary: pd.DataFrame) -> str:
    seeds = ", ".join(map(str, sorted(summary["seed"].unique())))
    hours = summary["seconds"].sum() / 3600
    return (
        f"{len(summary)} runs, seeds {seeds}; {hours:.2f} hours of training in total. Accuracy "
        "(ACC) is the mean over all tasks after the last one, in %, task given; the number after ± "
        f"is half the 95% interval over seeds (Student's t). {_forgetting(summary)}"
    )


def _forgetting(summary: pd.DataFrame) -> str:
    """The most that a run forgot or gained, told apart by protocol and method."""
    known = summary.dropna(subset="forgetting")
    if known.empty:
        return "Forgetting was not measured."
    found = []
    for (protocol, method), runs in known.groupby(["protocol", "method"], sort=False):
        low, high = 100 * runs["forgetting"].min(), 100 * runs["forgetting"].max()
        where = f"{spelled(str(method))} under {protocol}"
        found.append(f"{where} {low:.1f} to {high:.1f}" if low != high else f"{where} {low:.1f}")
    return (
        "Forgetting of single runs, least to most, in points (below zero: later tasks helped "
        f"earlier ones): {'; '.join(found)}."
    )


def _block_title(block: pd.DataFrame, title: Title) -> str:
    first = block.iloc[0]
    return (
        f"## {title.setting(first['dataset'], first['tasks'])}: {first['network']}, "
        f"{spelled(first['method'])}, protocol {first['protocol']}"
    )


def _accuracy_table(block: pd.DataFrame) -> str:
    densities = sorted(block["density"].unique(), reverse=True)
    names = ["init", "growth", *(axis for axis in varied_axes(block) if values_read(block, axis))]
    header = [*names, *(f"density {d:g}" for d in densities), "weights used"]
    rows = []
    for key, group in block.groupby(names, sort=False):
        cells = [group[group["density"] == d] for d in densities]
        accuracies = [_percent(cell["acc"].tolist()) for cell in cells]
        used = " / ".join(
            "-" if cell.empty else f"{100 * cell['used_fraction'].mean():.0f}%" for cell in cells
        )
        rows.append([*(spelled(str(name)) for name in key), *accuracies, used])
    return _table(header, rows)


def _effects_table(effects: pd.DataFrame, mean: str) -> str:
    """What `shown_effects` chooses, and its note."""
    found = shown_effects(effects, mean)
    return f"{_table(HEADER, found.rows)}\n\n{found.note}" if found.rows else found.note


def _percent(values: list[float]) -> str:
    estimate = mean_interval(values)
    if len(values) < 2:
        return f"{100 * estimate.mean:.1f}" if values else "-"
    return f"{100 * estimate.mean:.1f} ± {100 * (estimate.high - estimate.mean):.1f}"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(header), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
