"""Results -> MLflow, against real SQLite databases."""

import fcntl
import hashlib
import json
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tracked_study import Study, tracked_run, write_run

from dstcl.cli import main
from dstcl.data.tasks import write_tasks
from dstcl.storage import write_json, write_tensors
from dstcl.study.parts import AXES
from dstcl.study.run import RESULT_FILES
from dstcl.study.seal import SMALL
from dstcl.tracking import SyncReport, sync
from dstcl.tracking.finished import read_finished
from dstcl.tracking.lock import single_writer
from helpers.finished import finished_run

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
    described = tracked_run(seed=1)
    assert run.data.params["training.learning_rate"] == "0.05"
    assert run.data.params["training.lr_milestones"] == "[0.5, 0.75]"
    assert run.data.params["topology.update_every"] == str(described.topology.update_every)
    assert run.data.params["method"] == "dst"
    assert {axis: run.data.params[axis] for axis in AXES} == {
        axis: str(value) for axis, value in described.axes().items()
    }
    read = [values for key, values in described.to_dict().items() if key != "axes"]
    assert len(run.data.params) == len(AXES) + sum(map(len, read))
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
    size = described.data.image_size
    assert json.loads(data.dataset.source) == {"uri": f"data/prepared/mnist5k-{size}px.safetensors"}


def test_varied_settings_are_parameters_and_part_of_names(tmp_path):
    """Also of runs whose method does not read them: a column of theirs says so."""
    study = Study(tmp_path)
    for method, method_reads in (("dst", "5"), ("finetune", "none")):
        folder = write_run(tmp_path / "results", seed=0, method=method)
        described = replace(tracked_run(0, method), vary=("topology.update_every",))
        described = described.changed({"topology.update_every": 5})
        write_json(folder / "config.json", described.to_dict())
        assert sync("tiny", [folder], uri=study.uri).created == 1
        runs = [run for run in study.runs().values() if run.data.params["method"] == method]
        assert len(runs) == 2
        for run in runs:
            assert run.data.params["topology.update_every"] == method_reads
            assert f" topology.update_every={method_reads}" in run.info.run_name


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


def artifacts(study: Study, name: str) -> dict[str, bytes]:
    """What a server beside the database shows as files of a run."""
    location = study.runs()[name].info.artifact_uri.removeprefix("mlflow-artifacts:/")
    folder = study.root / "mlartifacts" / location
    return {path.name: path.read_bytes() for path in folder.glob("*")}


def test_small_files_and_figures_are_artifacts(synced):
    folder = next(path for path in synced.folders if path.name.startswith("seed1"))
    shown = artifacts(synced, f"{DST} seed1")
    small = ("config", "metrics", "provenance"), ("accuracy", "history", "capacity")
    names = {f"{n}.json" for n in small[0]} | {f"{n}.csv" for n in small[1]}
    assert shown == {name: (folder / name).read_bytes() for name in names}
    assert artifacts(synced, "figures") == {"accuracy.svg": b"<svg/>"}
    assert artifacts(synced, DST) == {}


def test_files_of_a_replaced_run_go_with_it(study):
    (folder,) = (path for path in study.folders if "ewc" in path.parts)
    (folder / "overlap.csv").write_text("task,other,shared,jaccard\n2,1,3,0.1\n")
    before = {path.name for path in (study.root / "mlartifacts/dstcl/tiny").iterdir()}
    assert study.sync() == SyncReport(updated=1, unchanged=2, unfinished=1)
    assert "overlap.csv" in artifacts(study, f"{EWC} seed0")
    after = {path.name for path in (study.root / "mlartifacts/dstcl/tiny").iterdir()}
    assert len(after) == len(before)
    assert after != before


def test_every_number_of_metrics_is_a_metric(tmp_path):
    folder = write_run(tmp_path / "results", seed=0)
    metrics = json.loads((folder / "metrics.json").read_text())
    new = {"training_flops": 12, "mask_bytes": 0.5, "none": None, "flag": True, "word": "x"}
    curve = {"density_per_task": [0.1, None, 0.3]}
    (folder / "metrics.json").write_text(json.dumps(metrics | new | curve))
    found = read_finished(folder, "key", "content").metrics
    assert {("training_flops", 12.0, 0), ("mask_bytes", 0.5, 0)} <= set(found)
    assert not {"none", "flag", "word", "fwt"} & {name for name, _, _ in found}
    assert [(v, s) for n, v, s in found if n == "density_per_task"] == [(0.1, 1), (0.3, 2)]


def test_the_last_used_fraction_is_that_of_metrics(tmp_path):
    """With a network for each task, capacity.csv speaks of each, metrics.json of all."""
    folder = write_run(tmp_path / "results", seed=0)
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"used_fraction": 2.0}))
    found = read_finished(folder, "key", "content").metrics
    assert [(v, s) for n, v, s in found if n == "used_fraction"] == [(2.0, 0)]


def test_a_loss_that_is_no_number_does_not_stop_a_sync(study):
    folder = write_run(study.root / "results", seed=5)
    text = (folder / "history.csv").read_text()
    (folder / "history.csv").write_text(text.replace(",3.0,", ",nan,").replace(",2.0,", ",inf,"))
    assert study.sync().created == 1
    values = [value for _, value in study.curve(study.runs()[f"{DST} seed5"], "train_loss")]
    assert len(values) == 6
    assert sum(value != value for value in values) == 1


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


def changed_rate(config: dict) -> dict:
    return config | {"training": config["training"] | {"learning_rate": 0.5}}


def test_a_changed_configuration_leaves_no_parent_behind(study):
    (folder,) = (path for path in study.folders if "ewc" in path.parts)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(changed_rate(config)))
    old = study.runs()
    assert study.sync() == SyncReport(updated=1, unchanged=2, unfinished=1)
    new = study.runs()
    assert new.keys() == old.keys()
    assert new[EWC].data.params["training.learning_rate"] == "0.5"


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
    folder = write_run(
        study.root / "results", 0, method="packnet", epochs=150
    )  # 2 x 150 x 6 points
    assert sync("tiny", [folder], uri=study.uri).created == 1
    run = study.runs()[f"{DST} seed0".replace("dst", "packnet")]
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


@pytest.mark.parametrize("kind", [kind for kind in SMALL if kind in RESULT_FILES])
def test_a_run_that_was_changed_since_is_named_and_nothing_is_written(tmp_path, kind):
    """A file that still says something, but not what its run wrote."""
    folder = finished_run(tmp_path / "results" / "tiny", tracked_run(seed=0))
    study = Study(tmp_path)
    path = folder / RESULT_FILES[kind]
    if kind == "config":
        described = json.loads(path.read_text())
        described["training"]["learning_rate"] *= 2
        path.write_text(json.dumps(described))
    elif path.suffix == ".json":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"more": 1}))
    else:
        path.write_text(path.read_text() + "\n")
    with pytest.raises(ValueError) as error:
        study.sync()
    assert str(error.value) == (
        f"{path}: changed since the run wrote it; delete the folder and run again"
    )
    assert not study.database.exists()


def test_a_database_is_whole_or_absent(synced, study, monkeypatch):
    """Whoever opened one that MLflow is still making would break it."""
    study.database.unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        study.sync()
    assert {path.name for path in study.root.iterdir()} == {
        *("results", "mlartifacts", "mlflow.db.lock")
    }
    study.sync()
    assert study.content() == synced.content()


@pytest.mark.slow
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
        for part in (finished[:2], finished[1:], finished)
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, errors
    content = study.content()  # which fails on a doubled run
    assert content == synced.content()
    assert "INFO" not in "".join(errors)  # not a line per migration of the new database


def test_the_lock_lies_beside_an_sqlite_file_else_among_temporary_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with single_writer("sqlite:///below/mlflow.db"):
        assert [path.name for path in tmp_path.rglob("*.lock")] == ["mlflow.db.lock"]
        assert (tmp_path / "below" / "mlflow.db.lock").exists()
    with single_writer("http://127.0.0.1:5000"):
        (lock,) = tmp_path.glob("*.lock")
    with single_writer("http://127.0.0.1:5001"):
        assert len(list(tmp_path.glob("*.lock"))) == 2  # another server, another lock
    assert lock.exists()


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "http://127.0.0.1:5000"])
def test_a_second_writer_waits(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with single_writer(uri):
        (lock,) = tmp_path.glob("*.lock")
        with lock.open("w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_importing_the_module_does_not_import_mlflow():
    check = (
        "import sys, dstcl.tracking, dstcl.tracking.study, dstcl.tracking.register\n"
        "sys.exit(' '.join({'mlflow', 'torch', 'safetensors'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.slow
def test_training_imports_no_mlflow(tmp_path, digits, short_run):
    """What tracking costs training: nothing, in a process that cannot even import MLflow."""
    write_tensors(
        tmp_path / "data",
        {"images": digits.images, "labels": digits.labels, "is_test": digits.is_test},
        {n: getattr(digits, n) for n in ("class_names", "mean", "std", "digest", "dataset")},
    )
    write_tasks(tmp_path / "data", "mnist5k", short_run.tasks, "seed0", tmp_path / "tasks")
    (tmp_path / "run").write_text(json.dumps(short_run.to_dict()))
    program = (
        "import sys\n"
        "sys.modules['mlflow'] = None  # as if it were not installed\n"
        "from dstcl.cli import main\n"
        "main(sys.argv[1:])\n"
        "sys.exit(any(name.startswith('dstcl.tracking') for name in sys.modules))"
    )
    options = ["--run-file", "run", "--data", "data", "--tasks", "tasks", "--out", "out"]
    done = subprocess.run(
        [sys.executable, "-c", program, "train", *options, "--device", "cpu"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "metrics.json").is_file()


def test_the_page_of_each_tracked_study_is_told(synced, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", synced.uri)
    number = synced.client().get_experiment_by_name("dstcl/tiny").experiment_id
    main(["track", "--links", "http://127.0.0.1:5000/"])
    page = f"http://127.0.0.1:5000/#/experiments/{number}/runs?workflowType=machine_learning"
    assert capsys.readouterr().out == f"tiny: {page}\n"


def test_links_of_a_new_database_say_what_to_do(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    main(["track", "--links", "http://127.0.0.1:5000"])
    assert "dstcl track results/" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["results/tiny", "--links", "http://127.0.0.1:5000"]])
def test_tracking_needs_a_study_or_an_address(arguments):
    with pytest.raises(SystemExit, match="track: either the folder of a study or --links"):
        main(["track", *arguments])
