"""What a tiny study leaves when it has run to its end, and what MLflow makes of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow_server import curve, mlflow_server, recorded
from ports import free_ports
from workspace import Browser, Workspace

from dstcl.jobs.handover import BY_ITSELF
from dstcl.jobs.loaded import load_run
from dstcl.study.run import RESULT_FILES, Run
from dstcl.tracking import SyncReport, TrackingError, sync
from dstcl.tracking.register import register

pytestmark = pytest.mark.pipeline
STUDY = {"inits": ["uniform", "erk"], "seeds": [0, 1]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tiny study, run once to the end; tests must not change it."""
    workspace = Workspace(tmp_path_factory.mktemp("study"))
    workspace.change(STUDY)
    done = workspace.run()
    assert done.returncode == 0, done.stdout
    return workspace


def test_the_study_leaves_every_file_of_the_contract(finished: Workspace) -> None:
    folders = finished.runs()
    assert len(folders) == 4
    for run in folders:
        assert {file.name for file in run.iterdir()} == set(RESULT_FILES.values())
    expected = {
        "plan.json",
        "params.json",
        "overview.json",
        "report.html",
        "results.html",
        "summary.md",
        "mlflow.json",
        "runs",
        "figures",
    }
    tables = ("summary", "cells", "comparisons", "accuracy", "capacity", "overlap", "history")
    expected |= {f"{t}.csv" for t in (*tables, "decisions", "provenance", "claims", "claim_units")}
    expected |= {"paper.csv", "paper_tables.csv"}
    assert {path.name for path in finished.study.iterdir()} == expected
    assert (finished.folder / "mlflow.db").exists()


def test_every_figure_has_its_three_formats_and_its_numbers(finished: Workspace) -> None:
    from dstcl.figures import FIGURES

    files = {path.name for path in (finished.study / "figures").iterdir()}
    assert files == {f"{name}.{s}" for name in FIGURES for s in ("svg", "pdf", "png", "csv")}
    assert all(path.stat().st_size > 0 for path in (finished.study / "figures").iterdir())


def test_config_and_summary_agree_with_params(finished: Workspace) -> None:
    summary = pd.read_csv(finished.study / "summary.csv")
    assert sorted(summary["init"]) == ["erk", "erk", "uniform", "uniform"]
    for run in finished.runs():
        config = Run.from_dict(json.loads((run / "config.json").read_text()))
        assert run.name == f"seed{config.seed}-{config.digest}"
        assert config.training.epochs == 2
        accuracy = summary.loc[summary["digest"] == config.digest, "acc"].item()
        matrix = pd.read_csv(run / "accuracy.csv")
        last = matrix[matrix["after_task"] == 5]
        assert len(last) == 5
        assert accuracy == pytest.approx(last["accuracy"].mean())
        assert 0.5 < accuracy < 1


def test_torch_was_imported_once_for_all_trainings(finished: Workspace) -> None:
    logs = list((finished.folder / "logs" / "quick" / "train").rglob("*.log"))
    assert len(logs) == len(finished.runs())
    assert not [log for log in logs if BY_ITSELF in log.read_text()]


def test_density_is_what_was_asked_for(finished: Workspace) -> None:
    capacity = pd.read_csv(finished.study / "capacity.csv")
    totals = capacity.groupby(["digest", "task"])[["active", "size"]].sum()
    assert ((totals["active"] - 0.2 * totals["size"]).abs() <= 3).all(), "a weight a layer"


def test_a_second_call_has_nothing_to_do(finished: Workspace) -> None:
    again = finished.run()
    assert again.returncode == 0
    assert "Nothing to be done" in again.stdout


def test_a_finished_study_is_packed_with_its_manuscript(
    finished: Workspace, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder, tmp_path / "copy")
    copy = Workspace(tmp_path / "copy")
    copy.change(STUDY)
    done = copy.run("paper_figures", "archive")
    assert done.returncode == 0, done.stdout
    assert "train_run" not in done.stdout
    there = tmp_path / "there"
    with zipfile.ZipFile(copy.study.with_suffix(".zip")) as archive:
        archive.extractall(there)
    drawn = {path.name for path in (copy.study / "manuscript").glob("[!.]*")}
    assert {"all.tex", "accuracy-1.tex", "claims-1.tex", "capacity.pdf"} <= drawn
    assert drawn == {path.name for path in (there / "manuscript").iterdir()}
    for line in (there / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ", 1)
        assert hashlib.sha256((there / name).read_bytes()).hexdigest() == digest, name
    run = load_run(next(there.rglob("config.json")).parent)
    assert run.network(5)(torch.zeros(2, 1, 28, 28)).shape == (2, 2)
    assert "Nothing to be done" in copy.run("archive", "--dry-run").stdout


def test_touching_files_re_runs_nothing(finished: Workspace) -> None:
    """Time stamps change with every copy or checkout; contents count."""
    for path in [*(finished.folder / "data").rglob("*.*"), *finished.study.rglob("*.csv")]:
        path.touch()
    assert "Nothing to be done" in finished.run("--dry-run").stdout


def test_runs_are_in_mlflow(finished: Workspace) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dstcl/quick")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    digests = {run.data.tags.get("dstcl.digest") for run in found} - {None}
    assert digests == {run.name.split("-")[1] for run in finished.runs()}


@pytest.mark.browser
def test_the_report_is_one_page_that_works_without_a_server(
    finished: Workspace, chromium: Browser
) -> None:
    page = finished.study / "report.html"
    done = chromium(page.as_uri(), "--dump-dom")
    for word in ("figure-accuracy_over_tasks", "figure-capacity", "low-sparsity-erk", "erk"):
        assert word in done.stdout, f"{word} is not on the page"
    assert "CONSOLE" not in done.stderr


@pytest.mark.server
def test_a_server_gets_what_a_file_gets(finished: Workspace, tmp_path: Path) -> None:
    """Runs, curves, files and a model; twice changes nothing."""
    import mlflow

    figures = sorted((finished.study / "figures").glob("*.png"))
    with mlflow_server(tmp_path) as address:
        assert sync("quick", finished.runs(), figures, uri=address) == SyncReport(created=4)
        assert sync("quick", finished.runs(), figures, uri=address) == SyncReport(unchanged=4)
        there = recorded(address)
        here = recorded(f"sqlite:///{finished.folder / 'mlflow.db'}")
        assert {kind: len(runs) for kind, runs in there.items()} == {
            "seed": 4,
            "configuration": 2,
            "figures": 1,
        }
        for kind, runs in here.items():
            by_name = {run.info.run_name: run for run in there[kind]}
            for run in runs:
                other = by_name[run.info.run_name]
                assert other.data.params == run.data.params
                assert other.data.metrics == run.data.metrics
                own = "mlflow.parentRunId"
                assert other.data.tags.keys() == run.data.tags.keys()
                assert all(other.data.tags[k] == v for k, v in run.data.tags.items() if k != own)
                times = "start_time", "end_time", "status"
                assert [getattr(other.info, t) for t in times] == [
                    getattr(run.info, t) for t in times
                ]
        seed = there["seed"][0]
        twin = next(r for r in here["seed"] if r.info.run_name == seed.info.run_name)
        own = f"sqlite:///{finished.folder / 'mlflow.db'}"
        assert curve(address, seed, "train_loss") == curve(own, twin, "train_loss")
        place = f"{address}/get-artifact?path={figures[0].name}"
        with urllib.request.urlopen(f"{place}&run_uuid={there['figures'][0].info.run_id}") as file:
            assert file.read() == figures[0].read_bytes()

        model = register(finished.runs()[0], uri=address)
        assert (model.version, model.new) == ("1", True)
        assert register(finished.runs()[0], uri=address).new is False
        mlflow.set_tracking_uri(address)
        try:
            loaded = mlflow.pyfunc.load_model(f"models:/{model.name}/1")
        finally:
            mlflow.set_tracking_uri(None)
        images = np.zeros((3, 1, 28, 28), np.uint8)
        assert loaded.predict(images, params={"task": 5}).shape == (3, 2)


@pytest.mark.server
def test_a_server_that_dies_in_the_middle_ends_the_sync_in_one_line(
    finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a later sync completes it."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    log_batch, (port,) = MlflowClient.log_batch, free_ports(1)
    with mlflow_server(tmp_path, port) as address:

        def dying(client, *arguments, **options):
            if address.process.poll() is None:
                address.kill()
            return log_batch(client, *arguments, **options)

        with monkeypatch.context() as patch, pytest.raises(TrackingError) as caught:
            patch.setattr(MlflowClient, "log_batch", dying)
            sync("quick", finished.runs(), uri=address)
        assert len(str(caught.value).splitlines()) == 1
    with mlflow_server(tmp_path, port) as address:
        assert sync("quick", finished.runs(), uri=address).created == 4
        assert len(recorded(address)["seed"]) == 4
        assert len(recorded(address)["configuration"]) == 2
