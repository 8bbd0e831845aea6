"""Whole studies in MLflow: failed, killed and running runs, a server that is not there."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dstcl.cli import main
from dstcl.jobs.epochs import FILE, EpochLog, Told, read_epochs
from dstcl.study.plan import write_plan
from dstcl.study.run import Run
from dstcl.tracking import SyncReport, TrackingError
from dstcl.tracking import study as tracked
from dstcl.tracking.database import check_server, tracking_errors
from dstcl.tracking.unfinished import find_unfinished, judge
from helpers.finished import finished_run
from helpers.runs import changed

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nRuntimeError: no memory\n'


class Workspace:
    """A folder with the plan of four runs, their logs and results, and an SQLite database."""

    def __init__(self, root: Path, run: Run) -> None:
        self.study = root / "results" / "tiny"
        self.runs = [changed(run, tasks=2, epochs=4, seed=seed) for seed in range(4)]
        self.locks = root / ".snakemake" / "locks"
        self.uri = f"sqlite:///{root / 'mlflow.db'}"
        write_plan("tiny", self.runs, self.study / "plan.json")

    def log(self, seed: int, *parts: str) -> Path:
        path = self.study.parents[1] / "logs/tiny/train" / f"{self.runs[seed].folder}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(parts))
        return path

    def progress(
        self,
        seed: int,
        rows: list[dict] | tuple = (),
        *,
        started: float = STARTED,
        ended: BaseException | None = None,
    ) -> Path:
        """What training writes as it goes, up to its end if that is an error."""
        folder = self.study / "runs" / self.runs[seed].folder
        with suppress(BaseException), EpochLog(folder) as log:
            log.begin(started, [])
            for row in rows:
                log.add(row)
            if ended:
                raise ended
        return folder / FILE

    def at_work(self, yes: bool) -> None:
        self.locks.mkdir(parents=True, exist_ok=True)
        lock = self.locks / "0.output.lock"
        lock.write_text("") if yes else lock.unlink()

    def finish(self, seed: int) -> None:
        folder = finished_run(
            self.study,
            self.runs[seed],
            metrics={"acc": 0.9},
            files={"history": "task,epoch,loss,accuracy\n1,1,0.25,0.9\n"},
        )
        (folder / FILE).unlink(missing_ok=True)

    def recorded(self) -> dict:
        """MLflow runs by seed; the parent is "parent"."""
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name("dstcl/tiny")
        found = client.search_runs([experiment.experiment_id])
        named = {int(r.data.params.get("seed", "-1")): r for r in found}
        assert len(named) == len(found), "two runs of the same seed"
        return named | {"parent": named.pop(-1)}

    def curve(self, run, name: str) -> list[tuple[int, float]]:
        from mlflow import MlflowClient

        history = MlflowClient(self.uri).get_metric_history(run.info.run_id, name)
        return sorted((point.step, point.value) for point in history)


@pytest.fixture
def workspace(tmp_path: Path, short_run: Run, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = Workspace(tmp_path, short_run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", workspace.uri)
    return workspace


def epochs(*numbers: int, task: int = 1) -> list[dict]:
    row = {"loss": 0.5, "accuracy": 0.75, "density": 0.2, "explored": 0.3, "prune_rate": None}
    return [{"task": task, "epoch": n, **row} for n in numbers]


BEGUN = Told(STARTED)
STOPPED = Told(STARTED, ended=("stopped", "stopped by SIGTERM; goes on"))
FAILED = Told(STARTED, ended=("failed", "RuntimeError: no memory"))


@pytest.mark.parametrize(
    ("said", "told", "at_work", "status", "reason"),
    [
        # Training says itself how it ended, whatever the log says.
        ("run a started\n" + TRACEBACK, FAILED, True, "FAILED", "RuntimeError: no memory"),
        ("any", STOPPED, True, "KILLED", "stopped by SIGTERM; goes on"),
        ("", FAILED, False, "FAILED", "RuntimeError: no memory"),
        # A new attempt has emptied the log and not yet begun.
        ("", FAILED, True, "RUNNING", ""),
        # It never began.
        ("dstcl: data: no such file\n", None, True, "FAILED", "data: no such file"),
        ("usage: dstcl\ndstcl train: error: bad\n", None, True, "FAILED", "train: error: bad"),
        (TRACEBACK, None, True, "FAILED", "RuntimeError: no memory"),
        ("dstcl: data: no such file\n", BEGUN, True, "FAILED", "data: no such file"),
        # Nobody says that the kernel killed it, but nobody is at work any more.
        ("a warning\n", BEGUN, False, "KILLED", "its log ends: a warning"),
        ("", BEGUN, False, "KILLED", "ended without a word"),
        ("", None, False, "KILLED", "ended without a word"),
        ("", None, True, "RUNNING", ""),
        ("a warning\n", BEGUN, True, "RUNNING", ""),
        # An error that the run got over.
        (TRACEBACK + "a warning\n", BEGUN, True, "RUNNING", ""),
        ("x: damaged, using the one before it\n", BEGUN, True, "RUNNING", ""),
        # It finished; somebody removed its results.
        ("done: accuracy 0.9 in 2.0 s\n", None, False, "", ""),
    ],
)
def test_how_a_run_ended(
    said: str, told: Told | None, at_work: bool, status: str, reason: str
) -> None:
    found, why = judge(said, told, at_work)
    assert found == status
    assert why.replace("dstcl ", "").startswith(reason) or reason in why
    assert bool(why) == bool(reason)


def test_lines_that_were_cut_short_are_left_out(workspace: Workspace) -> None:
    """Killed in the middle of a line, a run goes on with a whole one."""
    path = workspace.progress(0, epochs(1, 2))
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut] + b'\n{"task": 1, "epoch": 3}')
        told = read_epochs(path.parent)
        assert told is not None
        numbers = [row["epoch"] for row in told.epochs]
        assert numbers in ([3], [1, 3], [1, 2, 3])
        assert told.started in (None, STARTED)
    path.write_bytes(b"\xff\xfe[]\nnull\n1\n" + whole)
    told = read_epochs(path.parent)
    assert told is not None
    assert len(told.epochs) == 2


def test_epochs_are_tracked_as_training_writes_them(workspace: Workspace) -> None:
    rows = [row | {"loss": n / 8, "explored": float("nan")} for n, row in enumerate(epochs(1, 2))]
    workspace.progress(0, rows, ended=MemoryError())
    tracked.track(workspace.study)
    run = workspace.recorded()[0]
    assert workspace.curve(run, "train_loss") == [(1, 0.0), (2, 0.125)]
    assert run.data.metrics["train_accuracy"] == 0.75
    assert "prune_rate" not in run.data.metrics
    assert run.data.tags["dstcl.error"] == "MemoryError"


def test_a_failed_run_is_shown_as_failed_with_its_log(workspace: Workspace) -> None:
    workspace.finish(0)
    log = workspace.log(1, "run a started\n", TRACEBACK)
    rows = epochs(1, 2, 3, 4) + epochs(1, task=2)
    progress = workspace.progress(1, rows, ended=RuntimeError("no memory"))
    os.utime(progress, (STARTED + 60, STARTED + 60))
    workspace.log(2, "dstcl: interrupted; nothing half-written is left\n")
    workspace.progress(2, ended=KeyboardInterrupt())
    report = tracked.track(workspace.study)
    assert report == SyncReport(created=3, failed=2, unfinished=1)
    runs = workspace.recorded()
    assert {seed: run.info.status for seed, run in runs.items()} == {
        0: "FINISHED",
        1: "FAILED",
        2: "KILLED",
        "parent": "FAILED",
    }
    failed = runs[1]
    assert failed.data.tags["dstcl.error"] == "RuntimeError: no memory"
    assert "RuntimeError: no memory" in failed.data.tags["mlflow.note.content"]
    assert failed.data.tags["mlflow.parentRunId"] == runs["parent"].info.run_id
    assert failed.data.params | {"seed": "0"} == runs[0].data.params
    assert [step for step, _ in workspace.curve(failed, "train_loss")] == [1, 2, 3, 4, 5]
    assert failed.info.start_time == 1767323045000
    assert failed.info.end_time == int(log.stat().st_mtime * 1000)
    location = failed.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    copy = workspace.study.parents[1] / "mlartifacts" / location / log.name
    assert copy.read_text() == log.read_text()
    # Means are of what finished; what did not is counted.
    parent = runs["parent"].data.metrics
    assert (parent["seeds"], parent["failed_seeds"], parent["acc_mean"]) == (1, 2, 0.9)


def test_a_second_call_writes_nothing(workspace: Workspace) -> None:
    workspace.finish(0)
    workspace.log(1, TRACEBACK)
    tracked.track(workspace.study)
    database = workspace.study.parents[1] / "mlflow.db"
    before = database.read_bytes()
    report = SyncReport(unchanged=2, failed=1, unfinished=2)
    assert tracked.track(workspace.study) == report
    assert database.read_bytes() == before


def test_a_failed_run_that_is_made_again_takes_its_place(workspace: Workspace) -> None:
    workspace.log(0, TRACEBACK)
    tracked.track(workspace.study)
    workspace.finish(0)
    workspace.log(0, "done: accuracy 0.9 in 2.0 s\n")
    assert tracked.track(workspace.study) == SyncReport(updated=1, unfinished=3)
    runs = workspace.recorded()
    assert runs[0].info.status == runs["parent"].info.status == "FINISHED"
    assert "failed_seeds" not in runs["parent"].data.metrics


def test_a_finished_run_whose_new_training_failed_is_failed(workspace: Workspace) -> None:
    """Snakemake removes the old result before it makes a new one."""
    workspace.finish(0)
    tracked.track(workspace.study)
    (workspace.study / "runs" / workspace.runs[0].folder / "metrics.json").unlink()
    workspace.log(0, TRACEBACK)
    assert tracked.track(workspace.study) == SyncReport(updated=1, failed=1, unfinished=3)
    assert workspace.recorded()[0].info.status == "FAILED"


def test_a_run_still_training_is_not_failed_and_not_recorded(workspace: Workspace) -> None:
    workspace.finish(0)
    workspace.progress(1, epochs(1))
    workspace.at_work(True)
    assert tracked.track(workspace.study) == SyncReport(created=1, unfinished=3)
    assert workspace.recorded().keys() == {0, "parent"}


def test_logs_of_other_runs_are_not_looked_at(workspace: Workspace) -> None:
    workspace.finish(0)
    workspace.log(0, TRACEBACK)  # of an attempt before the one that finished
    other = workspace.study.parents[1] / "logs/tiny/train/other/seed0-0123456789.log"
    other.parent.mkdir(parents=True)
    other.write_text(TRACEBACK)
    assert find_unfinished(workspace.study, workspace.runs) == []


def test_bytes_that_are_no_text_do_not_matter(workspace: Workspace) -> None:
    workspace.log(0).write_bytes(b"\xff\xfe\x00 loss\n" + TRACEBACK.encode() + b"\xff")
    assert tracked.track(workspace.study).failed == 1


# Live curves


def test_watching_adds_points_to_the_same_run_until_it_is_finished(workspace: Workspace) -> None:
    workspace.at_work(True)
    workspace.progress(0, epochs(1, 2))
    assert tracked.track(workspace.study, live=True) == SyncReport(unfinished=4)
    first = workspace.recorded()
    assert first[0].info.status == first["parent"].info.status == "RUNNING"
    assert first[0].info.end_time is None

    workspace.progress(0, epochs(1, 2, 3, 4) + epochs(1, task=2))
    tracked.track(workspace.study, live=True)
    second = workspace.recorded()
    assert second[0].info.run_id == first[0].info.run_id
    expected = [(step, 0.5) for step in (1, 2, 3, 4, 5)]
    assert workspace.curve(second[0], "train_loss") == expected

    tracked.track(workspace.study)  # a call that does not watch leaves it
    assert workspace.curve(workspace.recorded()[0], "train_loss") == expected

    workspace.finish(0)
    assert tracked.track(workspace.study, live=True) == SyncReport(created=1, unfinished=3)
    last = workspace.recorded()
    assert last[0].info.status == last["parent"].info.status == "FINISHED"
    assert workspace.curve(last[0], "train_loss") == [(1, 0.25)]


def test_a_run_that_was_started_again_begins_anew(workspace: Workspace) -> None:
    workspace.at_work(True)
    workspace.progress(0, epochs(1, 2, 3))
    tracked.track(workspace.study, live=True)
    workspace.progress(0, epochs(1), started=STARTED + 3600)
    tracked.track(workspace.study, live=True)
    assert workspace.curve(workspace.recorded()[0], "train_loss") == [(1, 0.5)]


def test_a_running_run_that_nobody_trains_any_more_does_not_stay(workspace: Workspace) -> None:
    workspace.at_work(True)
    workspace.finish(1)
    progress = workspace.progress(0, epochs(1))
    tracked.track(workspace.study, live=True)
    progress.unlink()
    tracked.track(workspace.study)
    assert workspace.recorded().keys() == {1, "parent"}
    assert workspace.recorded()["parent"].info.status == "FINISHED"


def test_a_watched_run_that_is_killed_is_shown_as_killed(workspace: Workspace) -> None:
    workspace.at_work(True)
    workspace.progress(0, epochs(1))
    tracked.track(workspace.study, live=True)
    workspace.at_work(False)
    tracked.track(workspace.study)
    assert workspace.recorded()[0].info.status == "KILLED"


def test_watch_ends_when_nothing_is_unfinished(workspace: Workspace) -> None:
    said: list[str] = []
    steps = [lambda: workspace.finish(0), *[lambda: None] * 2]
    steps += [lambda: [workspace.finish(seed) for seed in (1, 2, 3)]]

    def sleep(seconds: float) -> None:
        assert seconds == 7
        steps.pop(0)()

    tracked.watch(workspace.study, 7, said.append, sleep)
    assert steps == []
    assert [line.split(";")[1] for line in said] == [f" {n} unfinished" for n in (4, 3, 3, 0)]


def test_watch_goes_on_after_a_mistake_and_says_it_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, dead_port: int
) -> None:
    said: list[str] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{dead_port}")
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", workspace.uri)
            for seed in range(4):
                workspace.finish(seed)

    tracked.watch(workspace.study, 1, said.append, sleep)
    assert looks == 3
    assert len(said) == 2
    assert "trying again every 1 s" in said[0]
    assert said[1].startswith("4 new")


# A server that is not there


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port that nobody answers on, and that is given to nobody else."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_dead_server_ends_in_one_line(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, dead_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{dead_port}")
    workspace.finish(0)
    with pytest.raises(SystemExit) as caught:
        main(["track", str(workspace.study)])
    message = str(caught.value.code)
    assert message.startswith(f"dstcl: MLflow at http://127.0.0.1:{dead_port}: no answer (")
    assert "secret" not in message
    assert len(message.splitlines()) == 1


def test_a_password_is_in_no_message() -> None:
    """MLflow's own messages name the address that they were sent to."""
    from mlflow.exceptions import MlflowException

    uri = "https://me:secret@127.0.0.1:5000"
    with pytest.raises(TrackingError) as caught, tracking_errors(uri):
        raise MlflowException(f"API request to {uri}/api failed\nand more")
    said = "MLflow at https://127.0.0.1:5000: API request to https://127.0.0.1:5000/api failed"
    assert str(caught.value) == said


def test_a_server_that_accepts_and_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dstcl.tracking.database.PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TrackingError, match="no answer"):
            check_server(f"http://127.0.0.1:{port}")


def test_what_is_no_server_or_no_database_ends_in_one_line(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.db").write_text("not a database, not even nearly" * 100)
    workspace.finish(0)
    pauses: list[float] = []
    monkeypatch.setattr("mlflow.store.db.utils.time.sleep", pauses.append)
    uris = [f"sqlite:///{tmp_path / 'text.db'}", "nonsense://x", str(tmp_path / "mlruns")]
    for uri in [*uris, "postgresql://me:secret@127.0.0.1:1/runs"]:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(SystemExit) as caught:
            main(["track", str(workspace.study)])
        message = str(caught.value.code)
        assert message.startswith("dstcl: MLflow at "), message
        assert "secret" not in message
        assert len(message.splitlines()) == 1
    assert sum(pauses) < 5, "a mistake in the address is told soon"
    assert not capfd.readouterr().err, "and once"


def test_the_pipeline_records_that_it_could_not_send_and_tries_again(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dead_port: int,
) -> None:
    record = workspace.study / "mlflow.json"
    workspace.finish(0)

    def call() -> dict:
        """As the rule does: the number is a parameter of its job; another number, another job."""
        failures = tracked.failures_so_far(record)
        record.unlink(missing_ok=True)  # Snakemake removes the output before the job
        main(["track", str(workspace.study), "--record", str(record), "--failures", str(failures)])
        return json.loads(record.read_text())

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{dead_port}")
    numbers = []
    for _ in range(2):
        numbers.append(tracked.failures_so_far(record))
        written = call()
        assert written["synced"] is False
        assert "no answer" in written["reason"]
        assert "the next call of the pipeline tries again" in capsys.readouterr().out
    monkeypatch.setenv("MLFLOW_TRACKING_URI", workspace.uri)
    numbers.append(tracked.failures_so_far(record))
    assert call()["synced"] is True
    assert json.loads(record.read_text())["created"] == 1
    assert numbers == [0, 1, 2]
    assert tracked.failures_so_far(record) == numbers[-1]  # the same job: nothing to be done


def test_a_bad_result_does_stop_the_pipeline(workspace: Workspace) -> None:
    workspace.finish(0)
    (workspace.study / "runs" / workspace.runs[0].folder / "metrics.json").write_text("{")
    record = workspace.study / "mlflow.json"
    with pytest.raises(SystemExit) as caught:
        main(["track", str(workspace.study), "--record", str(record)])
    assert "metrics.json: not JSON" in str(caught.value.code)
    assert not record.exists()


def test_track_says_what_it_did(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.finish(0)
    workspace.log(1, TRACEBACK)
    main(["track", str(workspace.study)])
    said = "2 new, 0 replaced, 0 unchanged runs (1 of them failed); 2 unfinished\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"failures": "many"}', '{"failures": null}'])
def test_a_damaged_record_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "mlflow.json").write_text(content)
    assert tracked.failures_so_far(tmp_path / "mlflow.json") == 0


@pytest.mark.parametrize("seconds", ["0", "-1"])
def test_a_watch_without_pauses_is_refused(workspace: Workspace, seconds: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["track", str(workspace.study), f"--watch={seconds}"])
    assert "--watch" in str(caught.value.code)
