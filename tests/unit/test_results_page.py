"""The page of all results: what it gathers, and that a browser shows, filters and sorts it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dstcl.cli import main
from dstcl.evaluation.paper.reference import read_curves
from dstcl.evaluation.spelling import percent_signs
from dstcl.reports.browse.gather import AXES, Source, gathered, other_studies, recorded_studies
from dstcl.reports.browse.page import write_results_page
from dstcl.reports.browse.vega import vega
from helpers.browser import opened
from helpers.recorded import (
    CELL,
    PAPER,
    REPOSITORY,
    TEMPLATE,
    accuracy_of,
    empty_reference,
    summary_of,
)

HOSTILE = "</script><img src=x onerror=alert(1)>"


def claim_row(name: str, verdict: str, effect: float) -> dict[str, Any]:
    row = {"claim": name, "statement": f"At 80 % {name}.", "verdict": verdict, "units": 3}
    row |= {name: CELL[name] for name in ("dataset", "tasks", "protocol", "network")}
    row |= {"effect": effect, "low": effect - 0.01, "high": effect + 0.01, "p_holm": 0.01}
    return row | {"unit": "seeds", "source": "section 5"}


def write_reference(folder: Path) -> Path:
    """Two recorded studies beside the paper's curves, one of them with matrices and verdicts."""
    empty_reference(folder)
    full, short = folder / "full", folder / "parts" / "short"
    full.mkdir()
    short.mkdir(parents=True)
    summary = summary_of()
    summary.to_csv(full / "summary.csv", index=False)
    accuracy_of(summary).to_csv(full / "accuracy.csv", index=False)
    claims = [claim_row("small", "supported", 0.02), claim_row("none", "not tested", 0.0)]
    claims += [claim_row("large", "contradicted", -0.3), claim_row("middle", "supported", 0.2)]
    pd.DataFrame(claims).to_csv(full / "claims.csv", index=False)
    other = summary_of(("unfired",)).assign(protocol="published", method="other")
    other.to_csv(short / "summary.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reference(tmp_path_factory.mktemp("page") / "reference")


@pytest.fixture(scope="module")
def data(reference: Path) -> dict[str, Any]:
    page = reference.parent / "results" / "results.html"
    return gathered(recorded_studies(reference), read_curves(PAPER), page)


def cell_of(data: dict[str, Any], growth: str) -> dict[str, Any]:
    (found,) = [cell for cell in data["cells"] if cell["at"][AXES.index("growth")] == growth]
    return found


def test_every_recorded_study_is_found_with_links_relative_to_the_page(
    data: dict[str, Any],
) -> None:
    found = {study["name"]: study for study in data["studies"]}
    assert list(found) == ["full", "parts/short"]
    assert found["full"]["folder"] == "../reference/full"
    assert found["full"]["files"] == ["accuracy.csv", "claims.csv", "summary.csv"]
    assert (found["full"]["runs"], found["full"]["seeds"]) == (6, 3)


def test_curves_are_means_over_seen_tasks_and_of_the_newest_with_intervals(
    data: dict[str, Any],
) -> None:
    """By hand: seeds 50, 52, 54% have mean 52, deviation 2, and t of 4.3027 with 2 freedoms."""
    cell = cell_of(data, "random")
    half = 4.30265 * 2 / 3**0.5
    for name, second in (("seen", 47.0), ("new", 42.0)):
        one, two = cell[name]
        assert one == pytest.approx([1, 52.0, 52 - half, 52 + half, 3], abs=0.001)
        assert two == pytest.approx([2, second, second - half, second + half, 3], abs=0.001)
    assert cell["end"] == pytest.approx([52.0, 52 - half, 52 + half], abs=0.001)


def test_the_papers_curve_stands_beside_the_same_configuration_alone(data: dict[str, Any]) -> None:
    paper = pd.read_csv(PAPER, dtype={"figure": str})
    theirs = paper[(paper["figure"] == "4") & (paper["init"] == "erk") & (paper["density"] == 0.2)]
    for growth in ("random", "gradient"):
        shown = data["paper"][cell_of(data, growth)["paper"]]
        own = theirs[theirs["growth"] == growth]
        assert shown["figure"] == "4"
        assert [p[1] for p in shown["points"]] == pytest.approx(list(own["accuracy_percent"]), 1e-4)
    assert cell_of(data, "unfired")["paper"] is None, "the paper is about dst alone"


def test_a_curve_of_one_update_interval_stands_beside_runs_of_that_interval(
    tmp_path: Path,
) -> None:
    paper = pd.read_csv(PAPER, dtype={"figure": str})
    (row,) = paper[(paper["figure"] == "A") & (paper["task"] == 10)].head(1).to_dict("records")
    summary = summary_of((row["growth"],)).assign(init=row["init"], density=row["density"])
    every = f"{row['update_every']:g}"
    summary.insert(8, "topology.update_every", every)
    summary.to_csv(tmp_path / "summary.csv", index=False)
    found = gathered(other_studies([tmp_path]), read_curves(PAPER), tmp_path / "page.html")
    (cell,) = found["cells"]
    assert cell["at"][AXES.index("settings")] == f"update_every {every}"
    shown = found["paper"][cell["paper"]]
    assert shown["figure"] == "A"
    assert shown["points"][-1][1] == pytest.approx(row["accuracy_percent"], 1e-4)


def test_verdicts_are_in_points_also_of_older_tables(tmp_path: Path) -> None:
    summary_of().to_csv(tmp_path / "summary.csv", index=False)
    old = {name: v for name, v in claim_row("old", "supported", 0.12).items() if name != "unit"}
    old["seeds"] = old.pop("units")
    pd.DataFrame([old]).to_csv(tmp_path / "claims.csv", index=False)
    found = gathered(other_studies([tmp_path]), read_curves(PAPER), tmp_path / "page.html")
    (claim,) = found["claims"]
    assert (claim["effect"], claim["low"], claim["units"], claim["unit"]) == (12, 11, 3, "seeds")
    assert claim["statement"] == "At 80% old."


def test_a_sign_of_per_cent_stands_at_its_number() -> None:
    assert percent_signs("80 % and 95\u00a0%, 5% of x % y") == "80% and 95%, 5% of x % y"


def test_a_beginning_stands_beside_the_papers_number_after_as_many_tasks(tmp_path: Path) -> None:
    """Also where no curve was recorded."""
    folder = REPOSITORY / "reference" / "paper-first-task" / "float32"
    paper = read_curves(REPOSITORY / "reference" / "paper" / "curves.csv")
    found = gathered([Source("float32", folder, True)], paper, tmp_path / "page.html")
    assert [cell["tasks"] for cell in found["cells"]] == [1, 1, 1, 1]


def test_two_studies_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two studies are called quick"):
        other_studies([tmp_path / "a" / "quick", tmp_path / "b" / "quick"])


def test_every_study_of_this_repository_can_be_shown() -> None:
    sources = recorded_studies(REPOSITORY / "reference")
    found = gathered(sources, read_curves(PAPER), REPOSITORY / "page.html")
    assert {study["name"] for study in found["studies"]} >= {"quick", "cifar100-cpu", "peers"}
    runs = [len(pd.read_csv(source.folder / "summary.csv")) for source in sources]
    assert len(found["runs"]) == sum(runs)
    assert sorted(run for cell in found["cells"] for run in cell["runs"]) == list(range(sum(runs)))


def test_the_drawing_library_is_there_with_its_licence() -> None:
    library = vega()
    assert re.fullmatch(r"\d+\.\d+\.\d+", library.version)
    assert "</script" not in library.source
    for word in ("University of Washington", "Redistributions of source code", "Bostock"):
        assert word in library.licences


def test_without_the_library_or_any_study_the_line_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vega.js: no such file.* envs/requirements.lock"):
        vega(tmp_path)
    with pytest.raises(ValueError, match="no study is recorded here"):
        write_results_page([], tmp_path, TEMPLATE, tmp_path / "page.html")
    with pytest.raises(ValueError, match=r"nothing/summary.csv: no such file; `dstcl collect`"):
        reference = REPOSITORY / "reference"
        write_results_page([tmp_path / "nothing"], reference, TEMPLATE, tmp_path / "page.html")


def test_the_command_says_what_is_on_the_page(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    options = ["--reference", str(reference), "--template", str(TEMPLATE), "--out", str(page)]
    main(["results-page", str(reference / "full"), *options])
    assert capsys.readouterr().err == f"{page}: 3 studies, 15 runs, 6 verdicts\n"
    text = page.read_text()
    assert not re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=[\"']?https?:", text)
    assert "default-src 'none'" in text


# ---- in a browser -------------------------------------------------------------------------------


PROBE = """<script>
addEventListener("load", () => {
  const text = (cell) => cell.textContent.trim(), report = {};
  const rows = (id) => [...document.querySelectorAll(`#${id} tbody tr`)];
  const column = (id, name) => {
    const heads = [...document.querySelectorAll(`#${id} thead th`)];
    const place = heads.findIndex((head) => text(head) === name);
    return [heads[place], rows(id).map((row) => text(row.cells[place]))];
  };
  const choose = (axis, name) => {
    const labels = [...document.querySelectorAll(`[data-axis="${axis}"] label`)];
    labels.find((label) => text(label).startsWith(name)).querySelector("input").click();
  };
  const count = () => document.getElementById("found").textContent;
  report.first = count();
  document.getElementById("reset").click();
  report.all = [count(), document.querySelectorAll(".panel").length, rows("list").length];
  report.curves = document.querySelectorAll("#panels svg").length;
  choose("growth", "gradient");
  report.gradient = [count(), document.querySelectorAll(".panel").length, rows("cells").length];
  report.address = location.hash;
  document.getElementById("reset").click();
  choose("study", "parts/short");
  report.short = [count(), text(document.querySelector("#panels")), rows("claims").length];
  document.getElementById("reset").click();
  const [effect, before] = column("claims", "effect");
  effect.querySelector("button").click();
  report.effects = [before, column("claims", "effect")[1], effect.getAttribute("aria-sort")];
  effect.querySelector("button").click();
  report.falling = [column("claims", "effect")[1], effect.getAttribute("aria-sort")];
  document.querySelector('#kinds input[value="not tested"]').click();
  report.untested = rows("claims").length;
  const words = document.getElementById("words");
  words.value = "middle";
  words.oninput();
  report.searched = rows("claims").length;
  const chart = document.querySelector(".chart"), tip = document.getElementById("tip");
  for (let k = 0; k < 2; k++)
    chart.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  report.tip = [tip.hidden, text(tip)];
  report.named = [...document.querySelectorAll("button, input, select, .chart, [role=region]")]
    .filter((one) => !one.textContent.trim() && !one.getAttribute("aria-label"))
    .filter((one) => !one.labels?.length).length;
  report.images = document.images.length;
  document.title = JSON.stringify(report);
});
</script></body>"""


@pytest.mark.browser
def test_a_browser_filters_sorts_and_shows_curves(reference: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_results_page([], reference, TEMPLATE, page)
    found, said = opened(page, tmp_path / "profile", PROBE)
    assert "CONSOLE" not in said, said
    assert found["first"] == "2 of 3 configurations, 6 of 9 runs."
    assert found["all"] == ["3 of 3 configurations, 9 of 9 runs.", 2, 9]
    assert found["curves"] == 2
    assert found["gradient"] == ["1 of 3 configurations, 3 of 9 runs.", 1, 1]
    assert "growth=gradient" in found["address"]
    assert found["short"][0] == "1 of 3 configurations, 3 of 9 runs."
    assert "Only the final accuracy was recorded." in found["short"][1]
    assert found["short"][2] == 0
    assert found["effects"] == [
        ["+2.0", "-30.0", "+20.0"],
        ["-30.0", "+2.0", "+20.0"],
        "ascending",
    ]
    assert found["falling"] == [["+20.0", "+2.0", "-30.0"], "descending"]
    assert (found["untested"], found["searched"]) == (4, 1)
    hidden, words = found["tip"]
    assert not hidden
    for word in ("random, 2 tasks", "47.0%", "3 seeds: 45.0 47.0 49.0", "paper: ", "(Figure 4)"):
        assert word in words
    assert found["named"] == 0, "controls without a name"
    assert found["images"] == 0


FITS = """<script>
addEventListener("load", () => setTimeout(() => {
  const wide = document.documentElement.clientWidth;
  const inside = (one) => one.closest(".wide, .choices, pre, dialog, .skip");
  const over = [...document.querySelectorAll("body *")]
    .filter((one) => !inside(one) && one.getBoundingClientRect().right > wide + 1)
    .map((one) => one.tagName + "." + one.className);
  document.title = JSON.stringify({ wide, page: document.documentElement.scrollWidth, over });
}, 100));
</script></body>"""


@pytest.mark.browser
def test_a_phone_shows_the_page_without_scrolling_sideways(reference: Path, tmp_path: Path) -> None:
    """In a frame of 375 pixels, because a window of headless Chromium has at least 500."""
    page, frame = tmp_path / "page.html", tmp_path / "frame.html"
    write_results_page([], REPOSITORY / "reference", TEMPLATE, page)
    script = FITS.replace("document.title =", "parent.document.title =")
    page.write_text(page.read_text().replace("</body>", script))
    frame.write_text(
        "<!doctype html><title></title><iframe src='page.html' width='375' height='800' "
        "style='border:0'></iframe></body>"
    )
    found, said = opened(
        frame,
        tmp_path / "profile",
        "</body>",
        "--allow-file-access-from-files",
        "--hide-scrollbars",
    )
    assert "CONSOLE" not in said, said
    assert found == {"wide": 375, "page": 375, "over": []}


HARM = """<script>
addEventListener("load", () => {
  document.getElementById("reset").click();
  const run = document.querySelector("#list button.small");
  run.click();
  document.title = JSON.stringify({
    images: document.images.length,
    scripts: document.scripts.length,
    text: document.body.textContent.includes("<img src=x onerror=alert(1)>"),
    links: [...document.querySelectorAll("#studies a, #run a")].map((a) => a.protocol),
    layer: document.querySelector('#run [data-part="capacity.csv"] tbody th').textContent,
  });
});
</script></body>"""


@pytest.mark.browser
def test_names_from_files_stay_text(tmp_path: Path) -> None:
    """In every column that is text, in claims, in the study's name, and in its links."""
    reference = empty_reference(tmp_path / "reference")
    study = reference / "javascript:alert(1)<img src=x onerror=alert(1)>"
    study.mkdir()
    summary = summary_of((HOSTILE, f"{HOSTILE}2"))
    for name in ("dataset", "protocol", "network", "method", "init"):
        summary[name] = f"{name}{HOSTILE}"
    summary["digest"] += HOSTILE
    summary.insert(8, "topology.<b>x", HOSTILE)
    summary.to_csv(study / "summary.csv", index=False)
    accuracy_of(summary).to_csv(study / "accuracy.csv", index=False)
    weights = {"task": 1, "layer": HOSTILE, "size": 4, "active": 1, "shared": 0, "free": 3}
    summary[["digest"]].assign(**weights).to_csv(study / "capacity.csv", index=False)
    claim = claim_row(HOSTILE, "supported", 0.1)
    claim |= {"source": HOSTILE, "protocol": HOSTILE, "unit": HOSTILE, "detail": HOSTILE}
    pd.DataFrame([claim, {**claim, "verdict": HOSTILE}]).to_csv(study / "claims.csv", index=False)
    page = tmp_path / "page.html"
    write_results_page([], reference, TEMPLATE, page)
    assert HOSTILE not in page.read_text()
    scripts = len(re.findall(r"<script[ >]", page.read_text()))
    found, said = opened(page, tmp_path / "profile", HARM)
    assert "CONSOLE" not in said, said
    assert (found["images"], found["text"]) == (0, True)
    assert found["scripts"] == scripts + 1
    assert set(found["links"]) == {"file:"}
    assert found["layer"] == HOSTILE
