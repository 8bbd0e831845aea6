"""Single runs on the page of all results: matrix, layer densities, overlap of masks."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest

from dstcl.evaluation.paper.reference import read_curves
from dstcl.figures.independent_masks import expected_overlap
from dstcl.reports.browse.details import packed
from dstcl.reports.browse.gather import gathered, other_studies
from dstcl.reports.browse.page import write_results_page
from helpers.browser import opened
from helpers.recorded import PAPER, REPOSITORY, TEMPLATE, accuracy_of, empty_reference, summary_of

LIMIT = 5_000_000
"""Bytes of a page with a thousand runs."""
FULL, ONE_MASK, DENSE, ROWLESS = (f"00000{seed:05x}" for seed in range(4))
"""Runs of a study with all tables; of the last one they have nothing."""
SIZES = {"first.weight": 100, "second.weight": 300}
# Each task's active weights by layer, how many of them an earlier task uses, and the layer's free.
TASKS = [
    ((20, 60), (0, 0), (80, 240)),
    ((20, 30), (4, 8), (64, 218)),
    ((10, 90), (3, 14), (57, 141)),
]
OVERLAPS = [(2, 1, 12, 12 / 118), (3, 1, 15, 15 / 165), (3, 2, 5, 5 / 145)]


def capacity_of(digest: str, tasks: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (digest, task, layer, size, active, active - shared, shared, free)
        for task, counts in enumerate(tasks, start=1)
        for (layer, size), active, shared, free in zip(SIZES.items(), *counts)
    ]


def write_study(folder: Path) -> Path:
    folder.mkdir(parents=True)
    summary = summary_of(("random",), seeds=4)
    summary.to_csv(folder / "summary.csv", index=False)
    accuracy_of(summary[:3], tasks=3).to_csv(folder / "accuracy.csv", index=False)
    dense = ((100, 300), (0, 0), (0, 0))
    rows = capacity_of(FULL, TASKS) + capacity_of(ONE_MASK, TASKS[:1])
    rows += capacity_of(DENSE, [dense] * 3)
    columns = ["digest", "task", "layer", "size", "active", "new", "shared", "free"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "capacity.csv", index=False)
    pairs = [(FULL, *pair) for pair in OVERLAPS]
    pairs += [(DENSE, task, other, 400, 1.0) for task, other, *_ in OVERLAPS]
    columns = ["digest", "task", "other", "shared", "jaccard"]
    pd.DataFrame(pairs, columns=columns).to_csv(folder / "overlap.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One study with all tables, one with a row for each run and no more."""
    folder = empty_reference(tmp_path_factory.mktemp("runs") / "reference")
    write_study(folder / "full")
    (folder / "short").mkdir()
    summary_of(("unfired",)).to_csv(folder / "short" / "summary.csv", index=False)
    return folder


def details_of(study: Path) -> dict[str, Any]:
    found = gathered(other_studies([study]), read_curves(PAPER), study / "page.html")
    return dict(json.loads(json.dumps(found))["details"])


def unpacked(text: str) -> list[float | None]:
    numbers = np.frombuffer(base64.b64decode(text), "<u2")
    return [None if number == 0xFFFF else number / 100 for number in numbers.tolist()]


def test_packed_shares_are_hundredths_of_a_per_cent() -> None:
    assert unpacked(packed(np.array([0, 1, 1 / 3, np.nan, 0.5]))) == [0, 100, 33.33, None, 50]
    for wrong in (1.01, -0.01, np.inf):
        with pytest.raises(ValueError, match="is not a share between 0 and 1"):
            packed(np.array([0.5, wrong]))


def test_matrix_layers_and_overlap_of_a_run_by_hand(reference: Path) -> None:
    details = details_of(reference / "full")
    columns, matrix = details["accuracy"]["0"]
    assert columns == 3
    assert unpacked(details["grids"][matrix]) == [50, 40, 30] * 4
    stack, densities, whole = details["layers"]["0"]
    assert details["stacks"][stack] == [["first.weight", 100], ["second.weight", 300]]
    assert unpacked(details["grids"][densities]) == [20, 20, 20, 10, 10, 30]
    # 80 of 400 weights; 12 of 50 used before, 118 of 400 used; 17 of 100, 202 of 400.
    assert unpacked(details["grids"][whole]) == [20, 0, 20, 12.5, 24, 29.5, 25, 17, 50.5]
    assert unpacked(details["grids"][details["overlap"]["0"]]) == [10.17, 9.09, 3.45]


def test_what_a_study_has_not_is_left_out(reference: Path) -> None:
    details = details_of(reference / "short")
    assert not any(details[name] for name in ("accuracy", "layers", "overlap", "grids", "stacks"))
    full = details_of(reference / "full")
    assert list(full["accuracy"]) == list(full["layers"]) == ["0", "1", "2"]
    assert list(full["overlap"]) == ["0", "2"]


def test_what_runs_have_in_common_is_held_once(reference: Path) -> None:
    details = details_of(reference / "full")
    assert len(details["stacks"]) == 1
    assert len(details["grids"]) == len(set(details["grids"]))


@pytest.mark.parametrize(
    ("name", "column", "value", "line"),
    [
        ("accuracy", "task", 10**9, f"accuracy.csv: run {FULL} has no such task: 1e"),
        ("accuracy", "after_task", 0.5, f"accuracy.csv: run {FULL} has no such after_task: 0.5"),
        ("accuracy", "accuracy", 1.2, "accuracy.csv: 1.2 is not a share between 0 and 1"),
        ("capacity", "task", 0, f"capacity.csv: run {FULL} has no such task: 0"),
        ("capacity", "active", -4, "capacity.csv: -0.04 is not a share between 0 and 1"),
        ("capacity", "active", 101, "capacity.csv: 1.01 is not a share between 0 and 1"),
        ("overlap", "jaccard", -1, "overlap.csv: -1 is not a share between 0 and 1"),
        ("overlap", "other", 2, "overlap.csv: other must be a task before task"),
        ("overlap", "task", 10**9, f"overlap.csv: run {FULL} has no such task: 1e"),
    ],
)
def test_a_row_that_cannot_be_is_named(
    tmp_path: Path, name: str, column: str, value: float, line: str
) -> None:
    study = write_study(tmp_path / "study")
    table = pd.read_csv(study / f"{name}.csv", dtype={"digest": str})
    table[column] = table[column].astype(float)
    table.loc[0, column] = value
    table.to_csv(study / f"{name}.csv", index=False)
    with pytest.raises(ValueError) as raised:
        details_of(study)
    assert line in str(raised.value)


def test_a_page_of_a_thousand_runs_is_small(tmp_path: Path) -> None:
    """Twenty tasks and the 21 layers of a ResNet-18, no two grids alike, every digit of a file."""
    reference = empty_reference(tmp_path / "reference")
    study, tasks, layers = reference / "large", 20, 21
    study.mkdir()
    summary = summary_of(tuple(f"growth{k}" for k in range(100)), seeds=10).assign(tasks=tasks)
    summary["acc"] = 0.3 + 0.6 * summary.index.to_numpy() / 1000 + 1e-4 / 3
    summary.to_csv(study / "summary.csv", index=False)
    accuracy = accuracy_of(summary, tasks)
    accuracy["accuracy"] = (accuracy["accuracy"] * 1.0371) % 1
    accuracy.to_csv(study / "accuracy.csv", index=False)
    random = np.random.default_rng(0)
    task, layer = (grid.ravel() + 1 for grid in np.indices((tasks, layers)))
    capacity = pd.DataFrame({"task": task, "layer": layer, "size": 10**6})
    pairs = pd.DataFrame(np.transpose(np.tril_indices(tasks, -1)) + 1, columns=["task", "other"])
    for name, rows in (("capacity", capacity), ("overlap", pairs)):
        table = rows.merge(summary[["digest"]], how="cross")
        for column in ("active", "shared", "free"):
            table[column] = random.integers(0, 10**6, len(table))
        table["shared"] = table[["active", "shared"]].min(axis=1)
        table["jaccard"] = table["shared"] / 10**6
        table.to_csv(study / f"{name}.csv", index=False)
    page = tmp_path / "page.html"
    assert write_results_page([], reference, TEMPLATE, page)["runs"] == 1000
    assert page.stat().st_size < LIMIT


# ---- in a browser -------------------------------------------------------------------------------

PROBE = """<script>
addEventListener("load", () => {
  const text = (cell) => cell.textContent.trim(), dialog = document.getElementById("run");
  const rows = (part) => [...dialog.querySelectorAll(`[data-part="${part}"] tr`)].map((row) =>
    [...row.cells].map(text));
  const words = (part) => text(dialog.querySelector(`[data-part="${part}"]`));
  const shown = () => Object.fromEntries(["accuracy.csv", "capacity.csv", "overlap.csv"]
    .map((part) => [part, { rows: rows(part), words: words(part) }]));
  const report = { first: [dialog.open, shown()], at: location.hash, runs: {} };
  dialog.close();
  dialog.dispatchEvent(new Event("close"));
  report.closed = location.hash;
  for (const button of [...document.querySelectorAll("#list button.small")].slice(0, 4)) {
    button.click();
    report.runs[button.getAttribute("aria-label")] = shown();
    dialog.close();
  }
  document.querySelector("#list button.small").click();
  report.focus = text(document.activeElement);
  report.links = [...dialog.querySelectorAll("a")].map((a) => a.getAttribute("href"));
  report.regions = [...dialog.querySelectorAll("[role=region]")]
    .map((one) => [one.tabIndex, one.getAttribute("aria-label")]);
  report.unnamed = [...dialog.querySelectorAll("th")]
    .filter((one) => !one.scope || (!text(one) && one.cellIndex)).length;
  document.title = JSON.stringify(report);
});
</script></body>"""


def shown_page(reference: Path, folder: Path, study: str, digest: str) -> dict[str, Any]:
    """What the page shows of a study's runs, opened at one of them by its address."""
    page = folder / "page.html"
    write_results_page([], reference, TEMPLATE, page)
    at = f"#?study={study}&run={quote(f'{study}/{digest}', safe='')}"
    found, said = opened(page, folder / "profile", PROBE, at=at)
    assert "CONSOLE" not in said, said
    return found


@pytest.mark.browser
def test_a_browser_shows_what_was_recorded_of_a_run(reference: Path, tmp_path: Path) -> None:
    found = shown_page(reference, tmp_path, "full", FULL)
    is_open, run = found["first"]
    assert is_open
    assert run["accuracy.csv"]["rows"] == [
        ["", "task 1", "task 2", "task 3"],
        *([after, "50.0", "40.0", "30.0"] for after in ("untrained", "after task 1")),
        *([f"after task {task}", "50.0", "40.0", "30.0"] for task in (2, 3)),
    ]
    assert run["capacity.csv"]["rows"] == [
        ["layer", "weights", "task 1", "task 2", "task 3"],
        ["first", "100", "20.0", "20.0", "10.0"],
        ["second", "300", "20.0", "10.0", "30.0"],
        ["all layers", "400", "20.0", "12.5", "25.0"],
        ["of these, used before", "", "0.0", "24.0", "17.0"],
        ["used by any task so far", "400", "20.0", "29.5", "50.5"],
    ]
    assert run["overlap.csv"]["rows"] == [
        ["with", "task 1", "task 2"],
        ["task 2", "10.2", ""],
        ["task 3", "9.1", "3.5"],
    ]
    # By hand for tasks 1 and 2: 100 * 0.2 * 0.2 + 300 * 0.2 * 0.1 = 10 of 120 weights.
    layers = pd.DataFrame(
        capacity_of(FULL, TASKS),
        columns=["digest", "task", "layer", "size", "active", "new", "shared", "free"],
    )
    expected = expected_overlap(layers)["expected_percent"]
    assert expected.tolist() == pytest.approx([100 * 10 / 120, 12.5, 100 * 11 / 139])
    assert (
        f"would share {expected.min():.1f}% to {expected.max():.1f}%."
        in run["overlap.csv"]["words"]
    )
    assert (f"run=full%2F{FULL}" in found["at"], "run=" in found["closed"]) == (True, False)
    assert found["focus"] == "close"
    assert found["links"] == [
        f"../{reference.parent.name}/reference/full/{name}.csv"
        for name in ("accuracy", "capacity", "overlap")
    ]
    labels = ["accuracy matrix", "layer densities", "overlap of masks"]
    assert found["regions"] == [[0, label] for label in labels]
    assert found["unnamed"] == 0


@pytest.mark.browser
def test_what_is_not_there_is_said_in_words(reference: Path, tmp_path: Path) -> None:
    runs = shown_page(reference, tmp_path, "full", FULL)["runs"]
    words = {
        label.rpartition(" ")[2]: {part: one["words"] for part, one in run.items()}
        for label, run in runs.items()
    }
    assert "One mask alone" in words[ONE_MASK]["overlap.csv"]
    assert "Dense: every task uses all weights" in words[DENSE]["capacity.csv"]
    assert "there are no masks to compare" in words[DENSE]["overlap.csv"]
    for part, said in words[ROWLESS].items():
        assert f"Not recorded: {part} has no row of this run." in said
    short = shown_page(reference, tmp_path, "short", FULL)
    assert not any(one["rows"] for one in short["first"][1].values())
    for part, one in short["first"][1].items():
        assert one["words"].endswith(f"Not recorded: this study has no {part}.")
    assert short["links"] == []


@pytest.mark.browser
def test_the_numbers_of_a_recorded_run_are_those_of_its_tables(tmp_path: Path) -> None:
    folder, digest = REPOSITORY / "reference" / "quick", "19b3b04a5c"
    reference = empty_reference(tmp_path / "reference")
    shutil.copytree(folder, reference / "quick", ignore=shutil.ignore_patterns("intel-xeon"))
    found = shown_page(reference, tmp_path, "quick", digest)["first"][1]

    def own(name: str) -> pd.DataFrame:
        table = pd.read_csv(folder / f"{name}.csv", dtype={"digest": str})
        return table[table["digest"] == digest]

    accuracy, capacity, overlap = own("accuracy"), own("capacity"), own("overlap")
    assert len(overlap) == 10
    matrix = [row[1:] for row in found["accuracy.csv"]["rows"][1:]]
    for row in accuracy.itertuples():
        assert float(matrix[row.after_task][row.task - 1]) == pytest.approx(
            100 * row.accuracy, abs=0.051
        )
    densities = {row[0]: row[2:] for row in found["capacity.csv"]["rows"]}
    for row in capacity.itertuples():
        shown = densities[row.layer.removesuffix(".weight")][row.task - 1]
        assert float(shown) == pytest.approx(100 * row.active / row.size, abs=0.051)
    pairs = [row[1:] for row in found["overlap.csv"]["rows"][1:]]
    for row in overlap.itertuples():
        shown = pairs[row.task - 2][row.other - 1]
        assert float(shown) == pytest.approx(100 * row.jaccard, abs=0.051)


FITS = """<script>
addEventListener("load", () => setTimeout(() => {
  const dialog = document.getElementById("run"), wide = document.documentElement.clientWidth;
  const over = [dialog, ...dialog.querySelectorAll("*")]
    .filter((one) => !one.parentElement.closest(".wide"))
    .filter((one) => one.getBoundingClientRect().right > wide + 1).map((one) => one.tagName);
  const own = dialog.scrollWidth > dialog.clientWidth;
  parent.document.title = JSON.stringify({ open: dialog.open, over, own });
}, 100));
</script></body>"""


@pytest.mark.browser
def test_a_run_fits_a_phone(tmp_path: Path) -> None:
    """In a frame of 375 pixels, because a window of headless Chromium has at least 500."""
    page, frame = tmp_path / "page.html", tmp_path / "frame.html"
    write_results_page([], REPOSITORY / "reference", TEMPLATE, page)
    page.write_text(page.read_text().replace("</body>", FITS))
    at = "#?study=paper-prefix&run=paper-prefix%2F2dfdf59666"
    frame.write_text(
        f"<!doctype html><title></title><iframe src='page.html{at}' width='375' height='800' "
        "style='border:0'></iframe></body>"
    )
    options = ("--allow-file-access-from-files", "--hide-scrollbars")
    found, said = opened(frame, tmp_path / "profile", "</body>", *options)
    assert "CONSOLE" not in said, said
    assert found == {"open": True, "over": [], "own": False}
