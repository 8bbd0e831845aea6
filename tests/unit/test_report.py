"""The report page: what it says, and that a browser shows all of it without a network."""

import base64
import hashlib
import json
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from dstcl.evaluation.claim_measures import Tables
from dstcl.evaluation.claims import load_claims
from dstcl.evaluation.collect import cell_means
from dstcl.evaluation.compare import compare
from dstcl.evaluation.judge import judge_claims
from dstcl.evaluation.made_from import stated
from dstcl.evaluation.paper.beside import CURVE_COLUMNS, TABLE_COLUMNS
from dstcl.evaluation.tables import Title, dataset_titles
from dstcl.figures import FIGURES, NOT_DRAWN, caption
from dstcl.reports.page import in_two, write_report
from dstcl.reports.summary import write_summary
from dstcl.reports.tables import claim_blocks
from helpers.browser import opened
from helpers.finished import study_tables

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = REPOSITORY / "workflow" / "report" / "report.html.j2"
PICTURE = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="40">'
    '<rect width="300" height="40" fill="#0072B2"/></svg>'
)
PLAIN = Title({"mnist5k": "Digits"}, {})
FOUND = {
    "note": None,
    "paper_effect": None,
    "paper_says_otherwise": None,
    "detail": "d",
    "units": 3,
    "unit": "seeds",
    "effect": 0.1,
    "low": 0.05,
    "high": 0.15,
}
"""What a row of claims.csv says of a claim that was tested."""
HOSTILE = "</script><img src=x onerror=alert(1)>"


def write_study(folder: Path, seeds: int = 3) -> Path:
    """Both inits and four growths, ERK three points better; one figure of two is drawn."""
    rows = [
        {"dataset": "mnist5k", "tasks": 5, "protocol": "corrected", "network": "convnet"}
        | {"method": "dst", "density": 0.2, "init": init, "growth": growth, "seed": seed}
        | {"acc": 0.7 + 0.05 * seed + 0.03 * (init == "erk") + 0.001 * seed * (init == "erk")}
        | {"bwt": 0.0, "fwt": 0.0, "forgetting": 0.0, "learning_accuracy": 0.7, "seconds": 9.0}
        | {
            "used_fraction": 0.5,
            "images_per_second": 1e4,
            "digest": f"{init}{growth}{seed}{HOSTILE}",
        }
        for init in ("uniform", "erk")
        for growth in ("random", "unfired", "gradient", "momentum")
        for seed in range(seeds)
    ]
    summary = pd.DataFrame(rows)
    accuracy = pd.DataFrame(columns=["digest", "after_task", "task", "accuracy"])
    capacity = pd.DataFrame(columns=["digest", "task", "size", "free"])
    claims = load_claims(REPOSITORY / "reference" / "claims.yaml")
    made = summary[["digest"]].assign(
        git_commit="0123456789abcdef", git_dirty=False, device=HOSTILE, threads=1, python="3.11"
    )
    made = made.assign(torch="2.15.0", precision="float32", layout="nhwc", data_digest="5e5e")
    made = made.assign(started="2026-01-02", finished="2026-01-03")
    tables = {
        "summary": summary,
        "cells": cell_means(summary),
        "comparisons": compare(summary),
        "claims": judge_claims(claims, Tables(summary, accuracy, capacity)),
        "paper": pd.DataFrame(columns=CURVE_COLUMNS),
        "paper_tables": pd.DataFrame(columns=TABLE_COLUMNS),
        "provenance": made,
    }
    study_tables(folder, tables)
    (folder / "figures").mkdir()
    for name in FIGURES:
        drawn = name == "accuracy_over_tasks"
        numbers = pd.DataFrame({"x": [1]} if drawn else {NOT_DRAWN: [f"no {name} here"]})
        numbers.to_csv(folder / "figures" / f"{name}.csv", index=False)
        (folder / "figures" / f"{name}.svg").write_text(PICTURE)
    params = {
        "preset": "quick",
        "presets": {"quick": {"protocols": ["corrected"], "extra": [], "note": HOSTILE}},
        "protocols": {"corrected": {"logits": "task"}, "unused": {"logits": "all"}},
        "figures": {"dpi": 150},
    }
    (folder / "params.json").write_text(json.dumps(params))
    return folder


@pytest.fixture
def page(tmp_path: Path) -> Path:
    study = write_study(tmp_path / "study")
    write_report("quick", study, TEMPLATE)
    return study / "report.html"


def test_a_recorded_study_is_compared_claim_by_claim(tmp_path: Path) -> None:
    study, recorded = write_study(tmp_path / "study"), write_study(tmp_path / "recorded")
    claims = pd.read_csv(recorded / "claims.csv")
    erk = claims["claim"] == "low-sparsity-erk"
    assert set(claims.loc[erk, "verdict"]) == {"supported"}
    claims.loc[erk, "verdict"] = "contradicted"
    claims.to_csv(recorded / "claims.csv", index=False)
    write_report("quick", study, TEMPLATE, recorded)
    text = (study / "report.html").read_text()
    part = text[text.index('id="confirmed"') : text.index('id="paper"')]
    assert "verdicts: NOT reproduced" in part
    assert "contradict (low-sparsity-erk)" in part
    rows = re.findall(r"<tr>(.*?)</tr>", part, re.DOTALL)
    (row,) = [row for row in rows if "<small>low-sparsity-erk</small>" in row]
    assert "<td>contradicts</td><td>supported +3.10</td><td>contradicted +3.10</td>" in row
    write_report("quick", study, TEMPLATE)
    assert 'id="confirmed"' not in (study / "report.html").read_text()


def test_verdicts_come_before_figures_and_figures_before_runs(page: Path) -> None:
    text = page.read_text()
    places = [
        text.index(f'id="{name}"')
        for name in ("verdicts", "paper", "differences", "figures", "runs", "how")
    ]
    assert places == sorted(places)
    assert text.index("supported badge") < text.index("<img")


def test_a_verdict_has_its_effect_interval_p_and_seeds(page: Path) -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", page.read_text(), re.DOTALL)
    (row,) = [row for row in rows if "ERK is more accurate than uniform" in row]
    # Differences 3.0, 3.1 and 3.2 points.
    words = " ".join(unescape(re.sub(r"<[^>]+>", " ", row)).split())
    assert "supported +3.10 (+2.85 to +3.35) p = 0.001, 3 seeds" in words


def test_differences_are_those_of_the_summary_with_intervals(page: Path) -> None:
    """ERK was made three points better than uniform, and a tenth of a point more a seed."""
    text = page.read_text()
    part = text[text.index('id="differences"') : text.index('id="figures"')]
    rows = [
        [unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", part, re.DOTALL)
    ]
    assert ["all cells", "ERK - uniform", "3", "+3.1", "+2.9 to +3.3"] in rows
    write_summary("quick", page.parent)
    summary = (page.parent / "summary.md").read_text()
    for row in rows[1:]:
        assert f"| {' | '.join(row)} |" in summary


def test_figures_that_do_not_apply_are_a_line_at_the_end(page: Path) -> None:
    text = page.read_text()
    assert text.count("<img src=") == 1
    assert base64.b64encode(PICTURE.encode()).decode() in text
    assert text.count("here</li>") == len(FIGURES) - 1
    assert "mask overlap: no mask_overlap here" in text


def test_the_page_loads_nothing_from_anywhere(page: Path) -> None:
    text = page.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "@import" not in text
    assert "url(" not in text


def test_text_from_files_cannot_break_out_of_the_page(page: Path) -> None:
    text = page.read_text()
    assert HOSTILE not in text
    assert "&lt;/script&gt;&lt;img src=x" in text


def test_params_are_those_of_the_preset(page: Path) -> None:
    text = page.read_text()
    assert "logits: task" in text
    assert "logits: all" not in text
    assert "0123456789ab" in text
    assert "5e5e" in text


def test_a_missing_table_and_a_broken_template_are_named(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    bad = tmp_path / "bad.j2"
    bad.write_text("{{ nonsense }}")
    with pytest.raises(ValueError, match=r"bad.j2: UndefinedError 'nonsense' is undefined"):
        write_report("quick", study, bad)
    with pytest.raises(ValueError, match=r"no.j2: TemplateNotFound"):
        write_report("quick", study, tmp_path / "no.j2")
    with pytest.raises(ValueError, match=r"params.json: no configuration of preset other"):
        write_report("other", study, TEMPLATE)
    (study / "claims.csv").unlink()
    with pytest.raises(ValueError, match=r"claims.csv: no such file; `dstcl claims` writes it"):
        write_report("quick", study, TEMPLATE)
    assert not (study / "report.html").exists()


def test_protocols_of_one_switch_have_no_column_beside_the_main_ones() -> None:
    row = {"dataset": "mnist5k", "tasks": 5, "network": "n", "claim": "c", "statement": "s"}
    row |= {
        "source": "x",
        "note": None,
        "paper_effect": None,
        "paper_says_otherwise": None,
        "verdict": "not tested",
        "detail": "d",
        "units": 0,
        "unit": "seeds",
    }
    names = ("odd", "published", "corrected")
    table = pd.DataFrame([row | {"protocol": name} for name in names])
    (block,) = claim_blocks(table, PLAIN)
    assert block["title"] == "Digits, 5 tasks, network n"
    assert block["protocols"] == ["corrected", "published"]
    (block,) = claim_blocks(pd.DataFrame([row | {"protocol": "odd"}]), PLAIN)
    assert block["protocols"] == ["odd"]


def test_a_protocol_that_tests_no_claim_has_a_line_and_no_column() -> None:
    row = {"dataset": "mnist5k", "tasks": 5, "network": "n", "claim": "c", "statement": "s"}
    row |= {"source": "x", "p_holm": 0.01} | FOUND
    verdicts = {"corrected": "supported", "published": "not tested"}
    rows = [row | {"protocol": name, "verdict": verdict} for name, verdict in verdicts.items()]
    (block,) = claim_blocks(pd.DataFrame(rows), PLAIN)
    assert block["protocols"] == ["corrected"]
    assert block["untested"] == {"published": ["c"]}


def test_words_of_a_verdict_are_apart(page: Path) -> None:
    assert "</span> <small" in " ".join(page.read_text().split())
    assert "</span><small" not in page.read_text()


def test_claims_that_no_protocol_tests_are_a_line_and_no_rows(page: Path) -> None:
    claims = [claim.id for claim in load_claims(REPOSITORY / "reference" / "claims.yaml")]
    text = " ".join(re.sub(r"<[^>]+>", " ", page.read_text()).split())
    told = rf"Not tested under corrected: (\d+) of {len(claims)} claims; "
    pattern = told + r"claims.csv gives the reasons. ([\w-]+(?:, [\w-]+)*)"
    ((count, names),) = re.findall(pattern, text)
    untested = names.split(", ")
    assert len(untested) == int(count)
    assert "switch-beats-both" in untested
    rows = re.findall(r"<small>([a-z-]+) · ", page.read_text())
    assert sorted(rows + untested) == sorted(claims)


def test_a_claim_that_one_protocol_tests_has_a_row_with_a_dash_for_the_other() -> None:
    row = {"dataset": "mnist5k", "tasks": 5, "network": "n", "statement": "s", "source": "x"}
    row |= FOUND
    verdicts = [
        ("corrected", "one", "supported"),
        ("corrected", "two", "not tested"),
        ("published", "one", "not tested"),
        ("published", "two", "not tested"),
    ]
    table = [
        row | {"protocol": p, "claim": c, "verdict": verdict, "p_holm": 0.01}
        for p, c, verdict in verdicts
    ]
    (block,) = claim_blocks(pd.DataFrame(table), PLAIN)
    assert [claim["claim"] for claim in block["claims"]] == ["one"]
    assert block["untested"] == {"corrected": ["two"], "published": ["one", "two"]}
    assert block["known"] == 2


def test_machines_have_a_column_for_all_that_tells_them_apart(page: Path) -> None:
    """Environments that differ in precision or layout alone are rows that differ."""
    text = page.read_text()
    (table,) = re.findall(r"<h3>Machines and versions</h3>(.*?)</table>", text, re.DOTALL)
    heads, cells = (re.findall(rf"<{tag}[ >].*?</{tag}>", table) for tag in ("th", "td"))
    heads, cells = ([re.sub(r"<.*?>", "", word) for word in row] for row in (heads, cells))
    found = dict(zip(heads, cells, strict=True))
    assert (found["precision"], found["layout"], found["torch"]) == ("float32", "nhwc", "2.15.0")


def test_the_page_says_from_which_tables_and_figures_it_was_made(page: Path) -> None:
    said = stated(page.read_text())
    assert said is not None
    assert {"summary.csv", "cells.csv", "claims.csv", "provenance.csv"} < said.keys()
    for name in ("summary.csv", "figures/costs.svg"):
        content = (page.parent / name).read_bytes()
        assert said[name] == hashlib.sha256(content).hexdigest()[:16]


def test_the_report_shows_the_configuration_of_every_part_once(tmp_path: Path) -> None:
    """Also where an earlier version nested those that were recorded before the last one."""
    study = write_study(tmp_path / "study")
    params = json.loads((study / "params.json").read_text())
    one, two, three = (params | {"figures": {"dpi": dpi}} for dpi in (71, 72, 73))
    nested = one | {"merged_from": [one, two]}
    (study / "params.json").write_text(json.dumps(one | {"merged_from": [nested, three, two]}))
    write_report("quick", study, TEMPLATE)
    text = (study / "report.html").read_text()
    assert re.findall(r"dpi: (\d+)", text) == ["71", "72", "73"]


def test_data_sets_of_ones_own_have_the_title_of_params_json(tmp_path: Path) -> None:
    title = dataset_titles(tmp_path)
    assert (title("cifar100"), title("flowers")) == ("CIFAR-100", "flowers")
    own = {"flowers": {"title": "Flowers-12"}, "plain": {"title": None}}
    other = {"datasets": {"birds": {"title": "Birds"}}}
    nested = {"datasets": own, "merged_from": [{"datasets": own}, other]}
    params = {"datasets": own, "merged_from": [nested, {"datasets": {}}]}
    (tmp_path / "params.json").write_text(json.dumps(params))
    title = dataset_titles(tmp_path)
    names = ("flowers", "plain", "birds", "cifar100", "other")
    assert [title(n) for n in names] == ["Flowers-12", "plain", "Birds", "CIFAR-100", "other"]
    (tmp_path / "params.json").write_text("[1]")
    assert dataset_titles(tmp_path)("flowers") == "flowers"


def test_the_report_calls_ones_own_data_by_its_title(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    for name in ("summary", "cells", "claims"):
        table = pd.read_csv(study / f"{name}.csv").assign(dataset="flowers")
        table.to_csv(study / f"{name}.csv", index=False)
    params = json.loads((study / "params.json").read_text())
    params["datasets"] = {"flowers": {"title": "Flowers & bees"}}
    (study / "params.json").write_text(json.dumps(params))
    write_report("quick", study, TEMPLATE)
    text = (study / "report.html").read_text()
    assert "<h3>Flowers &amp; bees, 5 tasks, network convnet</h3>" in text
    assert "24 runs on Flowers &amp; bees, 5 tasks;" in text


def test_the_tables_of_the_page_have_a_column_for_a_varied_setting(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    for name in ("summary", "cells"):
        table = pd.read_csv(study / f"{name}.csv")
        table.insert(8, "training.lr_milestones", "[0.5,0.75]")
        table.to_csv(study / f"{name}.csv", index=False)
    write_report("quick", study, TEMPLATE)
    text = (study / "report.html").read_text()
    for name in ("cells", "runs"):
        (found,) = re.findall(rf'id="data-{name}">(.*?)</script>', text)
        columns, rows = (json.loads(found)[key] for key in ("columns", "rows"))
        assert columns[8] == "training.lr_milestones"
        assert {row[8] for row in rows} == {"[0.5,0.75]"}


def beside_rows(**changed: object) -> dict[str, object]:
    """A row of paper_tables.csv."""
    row = {"table": "1", "dataset": "cifar100", "tasks": 20, "protocol": "published"}
    row |= {"network": "resnet18", "method": "dst", "density": 0.2, "init": "erk"}
    row |= {"growth": "random", "metric": "acc", "learned": 20, "compared_with": "table 1"}
    row |= {"paper_percent": 63.42, "paper_pm": 10.21, "ours_percent": 61.04}
    row |= {"sd_intervals": 2.5, "intervals": 4, "low_percent": 60.1, "high_percent": 62.2}
    row |= {"unit": "update intervals", "n": 4, "reproduced": "yes", "unlike": None}
    return row | changed


def words_of(text: str, start: str, end: str = "<h3") -> str:
    """A part of the page as a reader sees it."""
    part = text[text.index(start) :]
    part = part[: part.index(end, 1)]
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", part)).split())


def test_a_table_of_the_paper_stands_beside_ours_in_its_layout(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    corrected = {"protocol": "corrected", "ours_percent": 72.0, "low_percent": 71.0}
    corrected |= {"high_percent": 73.5, "unit": "seeds", "n": 3, "reproduced": "no"}
    rows = [
        beside_rows(),
        beside_rows(**corrected),
        beside_rows(growth="gradient", density=0.05, reproduced="open"),
        beside_rows(metric="fwt", paper_percent=14.9, paper_pm=1.9),
    ]
    pd.DataFrame(rows).to_csv(study / "paper_tables.csv", index=False)
    write_report("quick", study, TEMPLATE)
    text = (study / "report.html").read_text()
    table = words_of(text, "Table 1: CIFAR-100, 20 tasks, ResNet-18</h3>")
    assert "growth ACC (%) ERK, sparsity 80% 95%" in table
    assert "random paper 63.4 ± 10.2 published 61.0 ± 2.5 ✓ - corrected" in table
    # The interval of update intervals is not shown as if it were one over seeds.
    assert "corrected 72.0 ± 2.5 ✗ (71.0 to 73.5) -" in table
    assert "60.1" not in table
    assert "FWT: at chance level, so it says nothing about transfer" in table
    front = words_of(text, '<table class="front sortable">', "</table>")
    assert "Table 1 : CIFAR-100, 20 tasks, ResNet-18, 2 of its 24 cells" in front
    assert "1 of 2 (1 open) -2.4 0 of 1 +8.6" in front
    assert 'href="#paper-table-1-resnet18"' in text
    assert 'id="paper-table-1-resnet18"' in text


def test_a_prefix_and_another_setting_are_told_beside_the_paper(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    prefix = {"learned": 8, "compared_with": "figure 2 after task 8", "paper_pm": None}
    row = beside_rows(**prefix, unlike="epochs 5 (paper: 25)", network="resnet18-slim")
    pd.DataFrame([row]).to_csv(study / "paper_tables.csv", index=False)
    write_report("quick", study, TEMPLATE)
    write_summary("quick", study)
    for text in ((study / "report.html").read_text(), (study / "summary.md").read_text()):
        assert "first 8 of 20 tasks, ours resnet18-slim for its ResNet-18" in text
        assert "the paper&#39;s numbers are those of figure 2 after task 8." in text.replace(
            "paper's", "paper&#39;s"
        )
        assert "Unlike the paper: epochs 5 (paper: 25)." in text


def test_a_figure_without_a_table_shows_where_its_curves_end(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    rows = [
        {name: value for name, value in beside_rows(tasks=10).items() if name in CURVE_COLUMNS}
        | {"figure": "A", "task": task, "paper_low": None, "paper_high": None}
        | {"topology.update_every": steps, "ours_percent": ours, "sd_intervals": None}
        for steps, ours in (("50", 61.0), ("400", 62.0))
        for task in (9, 10)
    ]
    table = pd.DataFrame(rows)
    table.loc[table["task"] == 9, "ours_percent"] = 11.0
    table.to_csv(study / "paper.csv", index=False)
    write_report("quick", study, TEMPLATE)
    text = (study / "report.html").read_text()
    part = words_of(
        text, "Figure A: CIFAR-100, 10 tasks, ResNet-18, random growth</h3>", "</table>"
    )
    assert "Where the curves end, after task 10." in part
    assert "update ACC (%) ERK, sparsity 80%" in part
    assert "every 50 paper 63.4 published 61.0 ✓ every 400 paper 63.4 published 62.0 ✓" in part


def test_the_page_says_so_where_the_paper_has_nothing(page: Path) -> None:
    assert (
        "The paper has no table or figure for the configurations of this study" in page.read_text()
    )


PROBE = """<script>
window.onload = () => {
  const report = { images: [...document.images].filter((i) => !i.naturalWidth).length };
  const search = document.querySelector('[data-table="runs"]');
  const rows = () => search.querySelectorAll("tbody tr").length;
  report.all = rows();
  const input = search.querySelector("input");
  input.value = "ERK gradient";
  input.dispatchEvent(new Event("input"));
  report.found = rows();
  const titles = [...search.querySelectorAll("th")];
  const acc = titles.find((cell) => cell.textContent === "acc %");
  acc.querySelector("button").click(); acc.querySelector("button").click();
  const column = titles.indexOf(acc);
  report.sorted = [...search.querySelectorAll("tbody tr")].map((r) => r.cells[column].textContent);
  report.count = search.querySelector("p").textContent;
  const claims = document.querySelector("table.claims");
  const [, verdict] = claims.tHead.querySelectorAll("th");
  const effects = () => [...claims.tBodies[0].rows].map((row) => row.cells[1].dataset.sort);
  report.before = effects();
  verdict.querySelector("button").click();
  report.rising = [effects(), verdict.getAttribute("aria-sort")];
  verdict.querySelector("button").click();
  report.falling = [effects(), verdict.getAttribute("aria-sort")];
  document.title = JSON.stringify(report);
};
</script></body>"""


def test_a_browser_shows_images_and_searches_tables_without_errors(
    page: Path, tmp_path: Path
) -> None:
    found, said = opened(page, tmp_path / "profile", PROBE)
    assert found["images"] == 0, "images that cannot be shown"
    assert found["all"] == 24
    assert found["found"] == 3
    assert found["sorted"] == ["83.2", "78.1", "73"]
    assert found["count"].startswith("3 of 24 rows.")
    assert "CONSOLE" not in said, said
    rising = sorted(map(float, found["before"]))
    assert len(set(rising)) > 1
    assert [float(v) for v in found["rising"][0]] == rising
    assert [float(v) for v in found["falling"][0]] == rising[::-1]
    assert (found["rising"][1], found["falling"][1]) == ("ascending", "descending")


def test_captions_have_two_sentences_before_the_fold() -> None:
    words = "One, as in comparisons.csv. Two (e.g. 95% of x)! Three? Four."
    assert in_two(words) == ("One, as in comparisons.csv. Two (e.g. 95% of x)!", "Three? Four.")
    assert in_two("One alone.") == ("One alone.", "")
    for name in FIGURES:
        short, more = in_two(caption(name))
        assert f"{short} {more}".strip() == caption(name)


def test_figures_that_answer_the_claims_come_first_and_the_others_are_folded(
    tmp_path: Path,
) -> None:
    study = write_study(tmp_path / "study")
    for name in FIGURES:
        pd.DataFrame({"x": [1]}).to_csv(study / "figures" / f"{name}.csv", index=False)
    write_report("quick", study, TEMPLATE)
    text = (study / "report.html").read_text()
    first, others = text.split('<details class="fold">')
    shown = [re.findall(r'id="figure-([a-z_]+)"', part) for part in (first, others)]
    assert set(shown[0]) == {"claims", "paper_panels", "protocols", "accuracy_over_tasks"}
    assert shown[1] == [name for name in FIGURES if name not in shown[0]]


def test_a_beginning_is_called_one_wherever_its_tasks_are_named(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text(
        "dataset,tasks,seed,tasks_learned\ncifar100,20,0,8\ncifar100,20,1,8\ncifar100,10,0,10\n"
    )
    title = dataset_titles(tmp_path)
    assert title.setting("cifar100", 20) == "CIFAR-100, first 8 of 20 tasks"
    assert title.setting("cifar100", 10) == "CIFAR-100, 10 tasks"
    assert title.setting("mnist5k", 5).endswith(", 5 tasks")
