"""The study in Markdown: what was run, what came out, and how sure one can be."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from dstcl.evaluation.axes import (
    CELL,
    EVERY,
    METHOD_BLOCK,
    NOT_READ,
    is_varied,
    mean_over,
    values_read,
    varied_axes,
)
from dstcl.evaluation.paper import TOLERANCE
from dstcl.evaluation.replication import INTERVALS
from dstcl.evaluation.statistics import mean_interval
from dstcl.evaluation.tables import Title, dataset_titles, read_table
from dstcl.figures import FIGURES, caption
from dstcl.reports.missing import read_missing
from dstcl.reports.tables import claim_blocks, paper_tables
from dstcl.storage import write_text

SIGNS = {"yes": "✓", "no": "✗", "open": "?"}


def write_summary(preset: str, study: Path) -> None:
    """Write summary.md from the study's tables.

    Raises:
        ValueError: a table is missing.
    """
    summary, comparisons = (read_table(study, name) for name in ("summary", "comparisons"))
    comparisons = comparisons.astype(dict.fromkeys(CELL, str))
    title = dataset_titles(study)
    parts = [f"# Preset {preset}", _what_ran(summary)]
    if missing := read_missing(study):
        said = f"**Not the whole study: {len(summary)} of {missing['planned']} planned runs.**"
        parts.append("\n".join([said, *(f"- {line}" for line in missing["missing"])]))
    parts += _claims_tables(read_table(study, "claims"), title, mean_over(summary))
    parts += _paper_tables(read_table(study, "paper"), title)
    for _, block in summary.groupby(list(METHOD_BLOCK), sort=False):
        parts += [_block_title(block, title), _accuracy_table(block)]
    parts += ["## Differences, paired by seed", _effects_table(comparisons, mean_over(summary))]
    parts += ["## Figures", *(f"- `figures/{name}.svg`: {caption(name)}" for name in FIGURES)]
    write_text(study / "summary.md", "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n")


def _claims_tables(claims: pd.DataFrame, title: Title, mean: str) -> list[str]:
    """What became of the paper's claims, a table for each data set and network."""
    parts = [
        "## The paper's claims",
        "Effects in points, positive in the claim's favour, with the 95 % interval over seeds, or "
        "over update intervals where these are what is repeated; a verdict needs 3 of them and p < "
        "0.05 after Holm's correction (docs/claims.md). Reasons are in claims.csv.",
    ]
    if mean:
        repeated = INTERVALS.many in set(claims["unit"])
        but = "; where update intervals are repeated, each is one observation" if repeated else ""
        parts.append(f"A claim that says nothing of a varied setting is tested on the {mean}{but}.")
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


def _paper_tables(paper: pd.DataFrame, title: Title) -> list[str]:
    """The paper's final accuracies beside ours, a table for each network."""
    heading = "## Beside the paper's numbers"
    tables = paper_tables(paper, title)
    if not tables:
        reason = "The paper's figure, all that could be read of its numbers, has other data."
        return [heading, reason]
    rule = (
        "Accuracy over all tasks after the last one, in %. Paper: read off its figure, ± the error "
        "of reading; ours: mean over seeds ± half the 95 % interval. Reproduced (✓): all of our "
        f"interval, widened by the reading error, is within {TOLERANCE:g} points of the paper; not "
        "reproduced (✗): none of it; open (?): some of it, or fewer than 3 seeds."
    )
    parts = [heading, rule]
    for table in tables:
        protocols = table["protocols"]
        header = ["configuration", "paper"]
        header += [word for name in protocols for word in (f"ours, {name}", "reproduced?")]
        rows = []
        for row in table["rows"]:
            ours = [row["ours"].get(name) for name in protocols]
            cells = [(o["number"], SIGNS[o["reproduced"]]) if o else ("-", "") for o in ours]
            rows.append([row["cell"], row["paper"], *(word for cell in cells for word in cell)])
        parts += [f"### {table['title']}", _table(header, rows)]
        parts += [f"Ours: {table['mean_over']}."] if table["mean_over"] else []
    return parts


def _what_ran(summary: pd.DataFrame) -> str:
    seeds = ", ".join(map(str, sorted(summary["seed"].unique())))
    hours = summary["seconds"].sum() / 3600
    return (
        f"{len(summary)} runs, seeds {seeds}; {hours:.2f} hours of training in all. Accuracy (ACC) "
        "is the mean over all tasks after the last one, in %, task given; the number after ± is "
        f"half the 95 % interval over seeds (Student's t). {_forgetting(summary)}"
    )


def _forgetting(summary: pd.DataFrame) -> str:
    """The most that a run forgot or gained, told apart by protocol and method."""
    known = summary.dropna(subset="forgetting")
    if known.empty:
        return "Forgetting was not measured."
    found = []
    for (protocol, method), runs in known.groupby(["protocol", "method"], sort=False):
        low, high = 100 * runs["forgetting"].min(), 100 * runs["forgetting"].max()
        where = f"{method} under {protocol}"
        found.append(f"{where} {low:.1f} to {high:.1f}" if low != high else f"{where} {low:.1f}")
    return (
        "Forgetting of single runs, least to most, in points (below zero: later tasks helped "
        f"earlier ones): {'; '.join(found)}."
    )


def _block_title(block: pd.DataFrame, title: Title) -> str:
    first = block.iloc[0]
    return (
        f"## {title(first['dataset'])}, {first['tasks']} tasks: {first['network']}, "
        f"{first['method']}, protocol {first['protocol']}"
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
            "-" if cell.empty else f"{100 * cell['used_fraction'].mean():.0f} %" for cell in cells
        )
        rows.append([*map(str, key), *accuracies, used])
    return _table(header, rows)


def _effects_table(effects: pd.DataFrame, mean: str) -> str:
    """Averages over all cells first; then single cells whose interval excludes zero.

    Args:
        effects: comparisons.csv, axes as text.
        mean: what a mean over all cells is a mean over beside them.
    """
    if effects.empty:
        return "Nothing to compare: every axis has one value."
    overall = effects["density"] == EVERY
    clear = (effects["low"] > 0) | (effects["high"] < 0)
    header = ["where", "comparison", "seeds", "difference in points", "95 % interval"]
    shown = [a for a in METHOD_BLOCK if len(set(effects[a]) - {EVERY}) > 1]
    rows = [_effect_row(row, shown) for _, row in effects[overall | clear].iterrows()]
    note = (
        f"{int(clear[~overall].sum())} of {int((~overall).sum())} single cells have an interval "
        "without zero; with so many comparisons some are expected by chance (1 in 20)."
    )
    if mean:
        note += f" All cells: also {mean}, where methods read it and it is not compared itself."
    return f"{_table(header, rows)}\n\n{note}"


def _effect_row(row: pd.Series, shown: list[str]) -> list[str]:
    axes = {"density": "density ", "init": "", "growth": ""}
    parts = [f"{word}{row[a]}" for a, word in axes.items() if row[a] != EVERY]
    varied = [str(axis) for axis in row.index if is_varied(axis)]
    parts += [f"{axis} {row[axis]}" for axis in varied if row[axis] not in (EVERY, NOT_READ)]
    cell = ", ".join(parts)
    block = [row[a] for a in METHOD_BLOCK if row[a] != EVERY and a in shown]
    place = ": ".join([" ".join(block), cell or "all cells"] if block else [cell or "all cells"])
    interval = f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}"
    compared = row["axis"]
    return [
        place,
        f"{f'{compared} ' if compared in varied else ''}{row['value']} - {row['reference']}",
        str(row["seeds"]),
        f"{100 * row['difference']:+.1f}",
        interval if pd.notna(row["low"]) else "needs 2 seeds",
    ]


def _percent(values: list[float]) -> str:
    estimate = mean_interval(values)
    if len(values) < 2:
        return f"{100 * estimate.mean:.1f}" if values else "-"
    return f"{100 * estimate.mean:.1f} ± {100 * (estimate.high - estimate.mean):.1f}"


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(header), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
