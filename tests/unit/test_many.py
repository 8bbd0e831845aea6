"""`dstcl train-study`: many runs in few processes end as they would one by one."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from dstcl.cli import main
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.jobs import many
from dstcl.jobs.interruption import EXIT_CODE
from dstcl.jobs.many import Place
from dstcl.jobs.train import train_run
from dstcl.storage import read_json, write_json, write_tensors
from dstcl.study.plan import write_plan
from dstcl.study.run import Run
from helpers.finished import finished_run, same_results
from helpers.runs import changed, task_split

TASKS = split_classes(10, 5, "natural")[:2]
COMMAND = [sys.executable, "-c", "from dstcl.cli import main; main()", "train-study", "study"]


@pytest.fixture
def planned(
    tmp_path: Path, short_run: Run, digits: Prepared, monkeypatch: pytest.MonkeyPatch
) -> list[Run]:
    """Four runs, in a folder with their data."""
    monkeypatch.chdir(tmp_path)
    runs = [changed(short_run, tasks=2, seed=seed, growth="gradient") for seed in range(4)]
    fields = asdict(digits)
    tensors = {key: fields.pop(key) for key in ("images", "labels", "is_test")}
    for run in runs:
        data, tasks = Path("data", run.data_file), Path("data", run.tasks_file)
        for path in (data, tasks):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(data, tensors, fields)
        write_json(tasks, task_split(digits, TASKS, order=run.order_name))
    write_plan("study", runs, Path("study", "plan.json"))
    return runs


def folder(run: Run) -> Path:
    return Path("study", "runs", run.folder)


def alone(run: Run) -> Path:
    """The folder of the same run, trained by itself."""
    out = Path("alone", run.folder)
    train_run(run, Path("data", run.data_file), Path("data", run.tasks_file), out, device="cpu")
    return out


def train(*options: str) -> None:
    main(["train-study", "study", "--device", "cpu", *options])


@pytest.mark.parametrize("at_once", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_runs_end_as_they_would_alone(
    at_once: str, planned: list[Run], capfd: pytest.CaptureFixture[str]
) -> None:
    train("--at-once", at_once, "--threads", "1")
    said = capfd.readouterr().err
    assert said.startswith("4 runs, 0 of them finished\n1/4  ")
    for run in planned:
        assert f"  {run.folder}  accuracy 0." in said
    assert same_results(folder(planned[3]), alone(planned[3]))
    log = Path("logs", "study", "train", f"{planned[0].folder}.log").read_text()
    assert log.startswith(f"run {planned[0].folder} started ")
    assert "task 2/2  epoch 2/2  loss" in log


def test_finished_runs_are_left_alone(
    planned: list[Run], capfd: pytest.CaptureFixture[str]
) -> None:
    train("--only", "*/seed1-*")
    assert [folder(run).exists() for run in planned] == [False, True, False, False]
    before = (folder(planned[1]) / "metrics.json").stat().st_mtime_ns
    capfd.readouterr()
    train("--only", "*/seed[01]-*")
    assert capfd.readouterr().err.startswith("2 runs, 1 of them finished\n1/1  ")
    assert (folder(planned[1]) / "metrics.json").stat().st_mtime_ns == before


def test_a_study_that_is_stopped_has_whole_seeds(
    planned: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every configuration of a seed is trained before the next seed."""
    trained: list[Run] = []
    monkeypatch.setattr(many, "train_many", lambda runs, *_: trained.extend(runs))
    others = [changed(run, growth="random") for run in planned]
    write_plan("study", [*planned, *others], Path("study", "plan.json"))
    train()
    assert [(run.seed, run.growth) for run in trained] == [
        (seed, growth) for seed in range(4) for growth in ("gradient", "random")
    ]


@pytest.mark.parametrize("content", ["[]", "3", "{}"])
def test_metrics_that_are_none_are_no_result(
    content: str, planned: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "why_again", lambda *_: None)
    path = folder(planned[0]) / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    place = Place(Path("data"), Path("study", "runs"), Path("logs"))
    assert place.finished(planned[0]) is None
    path.write_text(f'{{"digest": "{planned[0].digest}"}}')
    assert place.finished(planned[0]) == {"digest": planned[0].digest}


@pytest.mark.parametrize("at_once", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_failed_run_is_named_and_stops_no_other(
    at_once: str, planned: list[Run], capfd: pytest.CaptureFixture[str]
) -> None:
    bad = changed(planned[0], precision="tf32")
    write_plan("study", [bad, *planned[1:3]], Path("study", "plan.json"))
    with pytest.raises(SystemExit) as end:
        train("--at-once", at_once)
    reason = "precision: 'tf32' needs an NVIDIA GPU; this run is on cpu"
    assert end.value.code == f"dstcl: 1 of 3 runs failed; {bad.folder}: {reason}"
    assert f"{bad.folder}  FAILED: {reason}" in capfd.readouterr().err
    log = Path("logs", "study", "train", f"{bad.folder}.log").read_text()
    assert log.endswith(f"dstcl: {reason}\n")
    assert all((folder(run) / "metrics.json").exists() for run in planned[1:3])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--at-once", "0"), "--at-once: 0; at least 1"),
        (("--gpu-slots", "4"), "--gpu-slots or DSTCL_GPU_SLOTS: '4'; cards x runs"),
        (("--only", "nothing"), "--only: 'nothing' matches none of 4 runs"),
        (("--device", "gpu"), "--device or DSTCL_DEVICE: 'gpu'; auto, cpu or cuda"),
        (("--data", "elsewhere"), "elsewhere/prepared/mnist5k-28px.safetensors: no such file"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    options: tuple[str, ...], problem: str, planned: list[Run]
) -> None:
    with pytest.raises(SystemExit) as end:
        train(*options)
    assert str(end.value.code).startswith(f"dstcl: {problem}")
    assert not Path("study", "runs").exists()


def children(process: int) -> list[int]:
    """Processes of `dstcl train`; the warm parent is none of them."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [
        pid for pid in map(int, found) if b"--run=" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def start(runs: list[Run], training: int) -> "subprocess.Popen[str]":
    """A real command in a group of its own with two processes, when so many runs are under way."""
    process = subprocess.Popen(
        [*COMMAND, "--at-once", "2", "--threads", "1", "--checkpoint-every", "9999"],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    logs = [Path("logs", "study", "train", f"{run.folder}.log") for run in runs]
    while sum(log.exists() and "epoch 4/" in log.read_text() for log in logs) < training:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def checkpoints() -> list[Path]:
    return list(Path("study", "runs").rglob("checkpoints/*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whom", "runs"),
    [("command", 1), ("command", 3), ("group", 3)],
    ids=["command-a process is idle", "command-all train", "group-all train"],
)
def test_asked_to_stop_every_run_writes_a_checkpoint(
    whom: str, runs: int, planned: list[Run]
) -> None:
    """Schedulers tell the whole group, and the command tells its processes once more."""
    longer = [changed(run, epochs=20) for run in planned[:runs]]
    write_plan("study", longer, Path("study", "plan.json"))
    process = start(longer, min(runs, 2))
    if whom == "group":
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == EXIT_CODE, said
    assert "dstcl: stopped by SIGTERM; call the same command to resume" in said
    assert "FAILED" not in said
    assert len(checkpoints()) == min(runs, 2)
    train("--at-once", "2", "--threads", "1")
    assert all(same_results(folder(run), alone(run)) for run in longer[:1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of processes here")
def test_a_killed_process_costs_its_own_run_alone(planned: list[Run]) -> None:
    longer = [changed(run, epochs=10) for run in planned]
    write_plan("study", longer, Path("study", "plan.json"))
    process = start(longer, 2)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "1 of 4 runs failed; " in said
    assert "its process ended with -9; call the same command to resume" in said
    assert sum((folder(run) / "metrics.json").exists() for run in longer) == 3


@pytest.fixture
def place() -> Place:
    return Place(Path("data"), Path("study", "runs"), Path("logs"), "cpu")


def finish(run: Run, digits: Prepared) -> None:
    """Have the run finished by somebody else."""
    split = read_json(Path("data", run.tasks_file))
    origin = {"data_digest": digits.digest, "tasks_digest": split["digest"]}
    finished_run(Path("study"), run, provenance=origin)


def train_by(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have runs trained by a few lines of Python."""
    monkeypatch.setattr(many, "TRAIN", (sys.executable, "-c", code))


def test_a_run_that_another_process_trains_is_waited_for_and_not_made_again(
    planned: list[Run], place: Place, digits: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_by(monkeypatch, "raise AssertionError")
    log = Path("logs", f"{planned[0].folder}.log")
    log.parent.mkdir(parents=True)
    with log.open("w") as other:
        print("at work", file=other, flush=True)
        fcntl.flock(other, fcntl.LOCK_EX)
        training = many.Training(planned[0], place, threads=1)
        assert not training.ended(stopping=False)
        assert training.process is None
        assert log.read_text() == "at work\n"
        finish(planned[0], digits)
    assert training.ended(stopping=False)
    assert training.outcome(stopping=False) == read_json(folder(planned[0]) / "metrics.json")


def test_a_log_stays_locked_by_a_training_that_outlives_its_command(
    planned: list[Run], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_by(monkeypatch, "import time; time.sleep(60)")
    training = many.Training(planned[0], place, threads=1)
    assert not training.ended(stopping=False)
    training.log.close()  # as the end of the command does
    assert training.process
    try:
        another = many.Training(planned[0], place, threads=1)
        assert not another.ended(stopping=False)
        assert another.process is None
    finally:
        training.process.kill()
        training.process.wait()
    assert not another.ended(stopping=False)
    assert another.process
    another.process.kill()
    another.process.wait()
    another.log.close()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_a_disk_without_locks_is_put_up_with(
    planned: list[Run], place: Place, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Without any other lock, which a killed process would leave behind."""

    def refuse(file: object, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    train_by(monkeypatch, "print('trained')")
    training = many.Training(planned[0], place, threads=1)
    assert not training.ended(stopping=False)
    assert training.process
    assert training.process.wait() == 0
    training.log.close()


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("raise KeyError('weights')", "KeyError: 'weights'"),
        ("import sys; sys.exit('dstcl: it is wrong')", "it is wrong"),
        ("import os; os.kill(os.getpid(), 9)", "its process ended with -9; call the same command"),
        (
            "import sys; sys.exit(75)",
            "a signal stopped its process; call the same command to resume",
        ),
        ("import sys; sys.exit(3)", "its process ended with 3"),
        ("pass", "it left no results"),
    ],
)
def test_how_a_process_ended_is_told_and_its_log_has_the_rest(
    code: str,
    outcome: str,
    planned: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    train_by(monkeypatch, code)
    with pytest.raises(SystemExit):
        train("--only", "*/seed0-*")
    assert f"  {planned[0].folder}  FAILED: {outcome}" in capfd.readouterr().err
    log = Path("logs", "study", "train", f"{planned[0].folder}.log").read_text()
    assert ("Traceback" in log) == ("KeyError" in code)
