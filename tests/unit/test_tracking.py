"""Results -> MLflow, against real SQLite databases."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dstcl.tracking.entry import PARENT
from dstcl.tracking.finished import read_finished
from dstcl.tracking.lock import single_writer
from dstcl.tracking import SyncReport, sync

TASKS, EPOCHS = 2, 3


def write_run(results: Path, seed: int, method: str = "dst", epochs: int = EPOCHS) -> Path:
    """A finished run folder below ``results/tiny`` with numbers that follow from the seed."""
    digest = hashlib.sha256(f"{method} {seed}".encode()).hexdigest()[:10]
    axes = f"mnist5k-{TASKS}tasks/corrected/cnn/{method}/density0.1/erk/gradient"
    folder = results / "tiny" / "runs" / axes / f"seed{seed}-{digest}"
    folder.mkdir(parents=True)
    config = {
        "dataset": "mnist5k",
        "tasks": TASKS,
        "protocol": "corrected",
        "network": "cnn",
        "method": method,
        "density": 0.1,
        "init": "erk",
        "growth": "gradient",
        "seed": seed,
        "epochs": epochs,
        "learning_rate": 0.05,
        "lr_milestones": [0.5, 0.75],
        "prune": None,
    }
    metrics = {
        "digest": digest,
        "acc": 0.8 + seed / 100,
        "bwt": -0.125,
        "fwt": None,
        "forgetting": 0.05 * seed,
        "used_fraction": 0.25,
        "seconds": 10.0 + seed,
        "images_per_second": 1000,
        "density_per_task": [0.1] * TASKS,
    }
    provenance = {
        "git_commit": "c0ffee",
        "git_dirty": True,
        "versions": {"torch": "2.11"},
        "device": "cpu",
        "data_digest": "d" * 64,
        "tasks_digest": "7a5c",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": f"2026-01-02T03:04:{15 + seed}+00:00",
    }
    for name, content in (("config", config), ("metrics", metrics), ("provenance", provenance)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "accuracy.csv").write_text(
        "after_task,task,accuracy\n0,1,0.5\n0,2,0.4\n1,1,0.9\n1,2,0.3\n2,1,0.8\n2,2,0.7\n"
    )
    rows = ["task,epoch,loss,accuracy,learning_rate,prune_rate,density,explored"]
    for task in range(1, TASKS + 1):
        for epoch in range(1, epochs + 1):
            rate = "" if epoch == 1 else "0.3"
            rows.append(f"{task},{epoch},{task + 1 / epoch},0.6,0.05,{rate},0.1,0.2")
    (folder / "history.csv").write_text("\n".join(rows) + "\n")
    (folder / "capacity.csv").write_text(
        "task,layer,size,active,new,shared,free\n"
        "1,conv,100,10,10,0,90\n1,head,300,30,30,0,270\n2,conv,100,10,8,2,80\n2,head,300,30,20,10,220\n"
    )
    (folder / "masks.safetensors").write_bytes(b"masks")
    (folder / "weights.safetensors").write_bytes(b"weights")
    return folder


class Study:
    """Some run folders and figures, and the database that they were synced to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root / "mlflow.db"
        self.uri = f"sqlite:///{self.database}"

    @property
    def folders(self) -> list[Path]:
        return sorted(path.parent for path in (self.root / "results").rglob("config.json"))

    @property
    def figures(self) -> list[Path]:
        return sorted((self.root / "results").rglob("*.svg"))

    def sync(self) -> SyncReport:
        return sync("tiny", self.folders, self.figures, uri=self.uri)

    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def runs(self) -> dict:
        """Runs by name; fails if two have the same name."""
        client = self.client()
        experiment = client.get_experiment_by_name("dstcl/tiny")
        runs = client.search_runs([experiment.experiment_id])
        names = sorted(run.info.run_name for run in runs)
        assert len(set(names)) == len(names), names
        return {run.info.run_name: run for run in runs}

    def curve(self, run, key: str) -> list[tuple[int, float]]:
        history = self.client().get_metric_history(run.info.run_id, key)
        return sorted((metric.step, metric.value) for metric in history)

    def content(self) -> dict:
        """All that the experiment says, without what MLflow chooses (ids)."""
        runs = self.runs()
        names = {run.info.run_id: name for name, run in runs.items()}
        return {
            name: (
                run.data.params,
                run.data.tags
                | {PARENT: names.get(run.data.tags.get(PARENT, ""), "")},
                {key: self.curve(run, key) for key in run.data.metrics},
                (run.info.start_time, run.info.end_time, run.info.status),
            )
            for name, run in runs.items()
        }


DST = "dst gradient d0.1 erk mnist5k-2tasks cnn corrected"
EWC = "ewc gradient d0.1 erk mnist5k-2tasks cnn corrected"


@pytest.fixture(scope="module")
def synced(tmp_path_factory) -> Study:
    """Three finished runs of two configurations, an unfinished one, a figure; do not change it."""
    study = Study(tmp_path_factory.mktemp("study"))
    write_run(study.root / "results", seed=0)
    write_run(study.root / "results", seed=1)
    write_run(study.root / "results", seed=0, method="ewc")
    (write_run(study.root / "results", seed=2) / "metrics.json").unlink()
    figures = study.root / "results" / "tiny" / "figures"
    figures.mkdir()
    (figures / "accuracy.svg").write_text("<svg/>")
    assert study.sync() == SyncReport(created=3, unfinished=1)
    return study


@pytest.fixture
def study(synced: Study, tmp_path: Path) -> Study:
    """A copy of the synced study, to be changed."""
    shutil.copytree(synced.root, tmp_path / "copy")
    return Study(tmp_path / "copy")


def test_runs_are_finished_run_folders_their_parents_and_the_figures(synced):
    runs = synced.runs()
    kinds = {name: run.data.tags["dstcl.kind"] for name, run in runs.items()}
    assert kinds == {
        f"{DST} seed0": "seed",
        f"{DST} seed1": "seed",
        f"{EWC} seed0": "seed",
        DST: "configuration",
        EWC: "configuration",
        "figures": "figures",
    }
    parents = {name: run.data.tags.get("mlflow.parentRunId") for name, run in runs.items()}
    assert parents[f"{DST} seed0"] == parents[f"{DST} seed1"] == runs[DST].info.run_id
    assert parents[f"{EWC} seed0"] == runs[EWC].info.run_id


def test_a_seed_run_says_what_its_files_say(synced):
    run = synced.runs()[f"{DST} seed1"]
    assert run.data.params["learning_rate"] == "0.05"
    assert run.data.params["lr_milestones"] == "[0.5, 0.75]"
    assert run.data.params["prune"] == "null"
    assert run.data.params["method"] == "dst"
    assert len(run.data.params) == 13
    assert run.data.metrics["acc"] == 0.81
    assert run.data.metrics["bwt"] == -0.125
    assert run.data.metrics["images_per_second"] == 1000
    assert "fwt" not in run.data.metrics  # null: this run has none
    tags = run.data.tags
    assert tags["mlflow.source.git.commit"] == "c0ffee"
    assert tags["dstcl.git_dirty"] == "true"
    assert tags["dstcl.protocol"] == "corrected"
    assert tags["dstcl.device"] == "cpu"
    assert tags["dstcl.data_digest"] == "d" * 64
    assert tags["dstcl.key"].endswith(f"/erk/gradient/seed1-{tags['dstcl.digest']}")
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("mnist5k", "d" * 36)


def test_times_are_those_of_the_training(synced):
    runs = synced.runs()
    started = 1767323045000  # 2026-01-02T03:04:05Z
    times = {name: (run.info.start_time, run.info.end_time) for name, run in runs.items()}
    assert times[f"{DST} seed0"] == (started, started + 10_000)
    assert times[f"{DST} seed1"] == (started, started + 11_000)
    assert times[DST] == (started, started + 11_000)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_curves_over_epochs_count_on_through_the_tasks(synced):
    run = synced.runs()[f"{DST} seed0"]
    expected = [(1, 2.0), (2, 1.5), (3, 1 + 1 / 3), (4, 3.0), (5, 2.5), (6, 2 + 1 / 3)]
    assert synced.curve(run, "train_loss") == expected
    assert [step for step, _ in synced.curve(run, "train_accuracy")] == [1, 2, 3, 4, 5, 6]
    # No pruning in the first epoch of a task: an empty cell is no point.
    assert synced.curve(run, "prune_rate") == [(2, 0.3), (3, 0.3), (5, 0.3), (6, 0.3)]
    for name in ("learning_rate", "density", "explored"):
        assert len(synced.curve(run, name)) == 6


def test_curves_over_tasks(synced):
    run = synced.runs()[f"{DST} seed0"]
    assert synced.curve(run, "accuracy_task_1") == [(0, 0.5), (1, 0.9), (2, 0.8)]
    assert synced.curve(run, "accuracy_task_2") == [(0, 0.4), (1, 0.3), (2, 0.7)]
    # After task 1 only task 1 has been seen, although task 2 was measured too.
    assert synced.curve(run, "accuracy_mean_seen") == [(1, 0.9), (2, 0.75)]
    # 360, then 300 of 400 weights are free.
    assert synced.curve(run, "used_fraction") == [(1, pytest.approx(0.1)), (2, 0.25)]


def test_tasks_may_count_from_zero(tmp_path):
    folder = write_run(tmp_path / "results", seed=0)
    (folder / "accuracy.csv").write_text(
        "after_task,task,accuracy\n0,0,0.5\n1,0,0.9\n1,1,0.3\n2,0,0.8\n2,1,0.6\n"
    )
    record = read_finished(folder, "key", "content")
    seen = [(s, v) for name, v, s in record.metrics if name == "accuracy_mean_seen"]
    assert seen == [(1, 0.9), (2, pytest.approx(0.7))]


def test_unknown_provenance_is_left_out(tmp_path):
    folder = write_run(tmp_path / "results", seed=0)
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance |= {"git_commit": None, "git_dirty": None}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    tags = read_finished(folder, "key", "content").tags
    assert not [name for name in tags if "git" in name]


def test_a_parent_has_mean_and_deviation_over_its_seeds(synced):
    runs = synced.runs()
    metrics = runs[DST].data.metrics
    assert metrics["seeds"] == 2
    assert metrics["acc_mean"] == pytest.approx(0.805)
    assert metrics["acc_std"] == pytest.approx(0.01 / 2**0.5)
    assert metrics["forgetting_mean"] == pytest.approx(0.025)
    assert metrics["used_fraction_mean"] == 0.25
    assert metrics["used_fraction_std"] == 0
    assert metrics["seconds_mean"] == 10.5
    assert runs[DST].data.params["method"] == "dst"
    assert "seed" not in runs[DST].data.params
    assert runs[EWC].data.metrics["seeds"] == 1
    assert "acc_std" not in runs[EWC].data.metrics  # one seed says nothing about spread


def test_files_are_references_that_survive_a_move(synced):
    runs = synced.runs()
    md5 = hashlib.md5(b"masks").hexdigest()
    tag = runs[f"{DST} seed0"].data.tags["dstcl.file.masks.safetensors"]
    assert tag.startswith(f"{md5}  results/tiny/runs/mnist5k-2tasks/corrected/cnn/dst/")
    md5 = hashlib.md5(b"<svg/>").hexdigest()
    figure = runs["figures"].data.tags["dstcl.figure.accuracy.svg"]
    assert figure == f"{md5}  results/tiny/figures/accuracy.svg"
    for run in runs.values():
        assert str(synced.root) not in str(run.to_dictionary())
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/dstcl/tiny/")


def test_a_second_sync_writes_nothing(study):
    before = study.database.read_bytes()
    assert study.sync() == SyncReport(unchanged=3, unfinished=1)
    assert study.database.read_bytes() == before


def test_the_environment_names_the_default_database(study, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", study.uri)
    assert sync("tiny", study.folders).unchanged == 3


def test_a_changed_run_is_replaced_and_its_parent_follows(study):
    (folder,) = (path for path in study.folders if "dst" in path.parts and "seed1" in path.name)
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"acc": 0.6}))
    old = study.runs()

    assert study.sync() == SyncReport(updated=1, unchanged=2, unfinished=1)

    new = study.runs()  # which fails on a doubled run
    assert new.keys() == old.keys()
    assert new[f"{DST} seed1"].data.metrics["acc"] == 0.6
    assert len(study.curve(new[f"{DST} seed1"], "train_loss")) == 6
    assert study.curve(new[DST], "acc_mean") == [(0, pytest.approx(0.7))]
    for name in (f"{DST} seed0", f"{DST} seed1"):
        assert new[name].data.tags["mlflow.parentRunId"] == new[DST].info.run_id
    for name in (f"{DST} seed0", f"{EWC} seed0", EWC, "figures"):  # the others stay
        assert new[name].info.run_id == old[name].info.run_id
    assert study.sync() == SyncReport(unchanged=3, unfinished=1)


def test_a_changed_configuration_leaves_no_parent_behind(study):
    (folder,) = (path for path in study.folders if "ewc" in path.parts)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"learning_rate": 0.5}))
    old = study.runs()
    assert study.sync() == SyncReport(updated=1, unchanged=2, unfinished=1)
    new = study.runs()
    assert new.keys() == old.keys()
    assert new[EWC].data.params["learning_rate"] == "0.5"


def test_calls_with_parts_of_a_study_add_up(study):
    write_run(study.root / "results", seed=3)
    (new,) = (path for path in study.folders if "seed3" in path.name)
    assert sync("tiny", [new], uri=study.uri) == SyncReport(created=1)
    runs = study.runs()
    assert runs[DST].data.metrics["seeds"] == 3
    assert runs[DST].data.metrics["acc_mean"] == pytest.approx((0.80 + 0.81 + 0.83) / 3)
    assert "figures" in runs  # none were given: left alone


def test_what_a_person_deleted_comes_back(synced, study):
    client, runs = study.client(), study.runs()
    for name in (f"{DST} seed0", EWC, "figures"):
        client.delete_run(runs[name].info.run_id)
    assert study.sync() == SyncReport(created=1, unchanged=2, unfinished=1)
    assert study.content() == synced.content()


@pytest.mark.parametrize("survived", [0, 1, 2, 3])
def test_an_interrupted_sync_is_completed_by_the_next(synced, study, monkeypatch, survived):
    from mlflow import MlflowClient

    for run in study.runs().values():
        study.client().delete_run(run.info.run_id)
    log_batch, calls = MlflowClient.log_batch, []

    def interrupted(client, *args, **kwargs):
        if len(calls) == survived:
            raise KeyboardInterrupt
        calls.append(args)
        return log_batch(client, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MlflowClient, "log_batch", interrupted)
        study.sync()
    study.sync()
    assert study.content() == synced.content()


def test_changed_figures_are_replaced(study):
    (study.root / "results" / "tiny" / "figures" / "accuracy.svg").write_text("<svg></svg>")
    assert study.sync().unchanged == 3
    tag = study.runs()["figures"].data.tags["dstcl.figure.accuracy.svg"]
    assert tag.startswith(hashlib.md5(b"<svg></svg>").hexdigest())


def test_more_than_a_thousand_points_are_all_there(study):
    folder = write_run(study.root / "results", 0, method="long", epochs=150)  # 2 x 150 x 6 points
    assert sync("tiny", [folder], uri=study.uri).created == 1
    run = study.runs()[f"{DST} seed0".replace("dst", "long")]
    assert [step for step, _ in study.curve(run, "explored")] == list(range(1, 301))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"dataset": "mnist5k"}'),
        ("metrics.json", "[]"),
        ("provenance.json", None),
        ("provenance.json", '{"started": "yesterday", "finished": "today"}'),
        ("accuracy.csv", "after_task,task,accuracy\n1,1,high\n"),
        ("history.csv", "task,epoch\n1,1\n"),
        ("capacity.csv", "task,size,free\n1,100\n"),
    ],
)
def test_a_bad_file_is_named_and_nothing_is_written(study, name, content):
    random.Random(name).shuffle(folders := study.folders)
    bad = next(path for path in folders if (path / "metrics.json").exists()) / name
    bad.unlink() if content is None else bad.write_text(content)
    before = study.database.read_bytes()
    with pytest.raises(ValueError) as error:
        study.sync()
    assert str(error.value).startswith(f"{bad}: ")
    assert study.database.read_bytes() == before


def test_processes_that_start_at_once_restore_a_deleted_database(synced, study):
    study.database.unlink()
    program = (
        "import sys; from pathlib import Path; from dstcl.tracking import sync\n"
        "uri, figure, *folders = sys.argv[1:]\n"
        "sync('tiny', [Path(f) for f in folders], [Path(figure)], uri)"
    )
    finished = [folder for folder in study.folders if (folder / "metrics.json").exists()]
    processes = [
        subprocess.Popen(  # each leaves out another run; together they have all
            [sys.executable, "-c", program, study.uri, study.figures[0], *part],
            stderr=subprocess.PIPE,
            text=True,
        )
        for part in (finished[:2], finished[1:], finished, finished[::2])
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    content = study.content()  # which fails on a doubled run
    assert content == synced.content()
    assert "INFO" not in "".join(errors)  # not a line per migration of the new database


def test_only_sqlite_is_locked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with single_writer("http://127.0.0.1:5000"):
        assert not list(tmp_path.iterdir())
    with single_writer("sqlite:///below/mlflow.db"):
        assert (tmp_path / "below" / "mlflow.db.lock").exists()


def test_importing_the_module_does_not_import_mlflow():
    check = "import sys, dstcl.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
