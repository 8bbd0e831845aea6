"""The synced runs as a person sees them: `mlflow ui` in a real browser."""

import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_server import mlflow_server
from workspace import REPOSITORY, Browser

from dstcl.tracking import sync
from dstcl.tracking.links import links
from helpers.finished import csv_text, finished_run
from helpers.runs import quick_run

pytestmark = [pytest.mark.server, pytest.mark.browser]

PRESET, TASKS, EPOCHS = "quick", 3, 4
GROWTHS = ("random", "gradient", "momentum")


def write_run(results: Path, growth: str, seed: int) -> Path:
    """A finished run folder with plausible numbers."""
    run = quick_run(
        tasks=TASKS,
        network="cnn",
        density=0.1,
        init="erk",
        growth=growth,
        seed=seed,
        epochs=EPOCHS,
        learning_rate=0.1,
    )
    acc = 0.9 + 0.02 * GROWTHS.index(growth) + 0.005 * seed
    accuracy = [(i, j, acc) for i in range(1, TASKS + 1) for j in range(1, i + 1)]
    return finished_run(
        results / PRESET,
        run,
        metrics={"acc": acc, "bwt": -0.01, "fwt": None, "forgetting": 0.01},
        provenance={"finished": f"2026-01-02T03:0{5 + seed}:05+00:00"},
        files={"accuracy": csv_text(("after_task", "task", "accuracy"), accuracy)},
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui")


@pytest.fixture(scope="module")
def folders(place: Path) -> list[Path]:
    return [write_run(place / "results", growth, s) for growth in GROWTHS for s in (0, 1)]


@pytest.fixture(scope="module")
def figure(place: Path) -> Path:
    """A figure, as the pipeline leaves it: any picture will do."""
    path = place / "results" / PRESET / "figures" / "accuracy_over_tasks.png"
    path.parent.mkdir(parents=True)
    shutil.copy(REPOSITORY / "docs" / "images" / "accuracy_over_tasks.png", path)
    return path


@pytest.fixture(scope="module")
def server(place: Path, folders: list[Path], figure: Path) -> Iterator[str]:
    """Address of an MLflow server on a freshly synced database, moved after the sync."""
    first, moved = place / "first", place / "moved"
    first.mkdir()
    assert sync(PRESET, folders, [figure], uri=f"sqlite:///{first / 'mlflow.db'}").created == 6
    first.rename(moved)
    with mlflow_server(moved) as address:
        yield address


def pages(chromium: Browser, url: str, *words: str) -> str:
    """The page with all words on it; virtual time may run out before the server has answered."""
    missing = list(words)
    deadline = time.monotonic() + 300  # a busy machine takes many tries
    while missing and time.monotonic() < deadline:
        page = chromium(url, "--dump-dom").stdout
        missing = [word for word in words if word not in page]
        if not missing:
            return page
    raise AssertionError(f"{missing} not on {url}")


def found(server: str, name: str):
    """A run by its name, and the address of its page."""
    from mlflow import MlflowClient

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name(f"dstcl/{PRESET}")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    number = runs[name].info.run_id
    return runs[name], f"{server}/#/experiments/{experiment.experiment_id}/runs/{number}"


NAME = "dst momentum d0.1 erk mnist5k-3tasks cnn corrected"


def test_the_list_of_runs_shows_what_was_synced(server, chromium, tmp_path):
    # As `make mlflow` prints it.
    url = links(server, server)[PRESET]
    names = [f"dst {growth} d0.1 erk mnist5k-3tasks cnn corrected" for growth in GROWTHS]
    pages(chromium, url, *names)
    picture = tmp_path / "mlflow.png"
    chromium(url, f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000  # an empty page has less


def test_a_run_shows_its_curves_and_its_files(server, chromium):
    _, address = found(server, f"{NAME} seed0")
    page = pages(chromium, f"{address}/model-metrics", "accuracy_mean_seen", "js-plotly-plot")
    assert re.search('class="[^"]*scatterlayer', page), "no chart is drawn"
    pages(chromium, f"{address}/artifacts", "accuracy.csv", "history.csv", "provenance.json")


def test_a_figure_is_shown_after_the_folder_was_moved(server, figure):
    """What the page asks the server for when a person clicks on the figure."""
    run, _ = found(server, "figures")
    place = f"{server}/get-artifact?path={figure.name}&run_uuid={run.info.run_id}"
    with urllib.request.urlopen(place, timeout=30) as answer:
        assert answer.read() == figure.read_bytes()
