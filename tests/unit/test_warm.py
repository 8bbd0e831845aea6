"""The warm parent: a training that it forks is one that was started, whatever happens to it."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import dstcl
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.jobs import warm
from dstcl.jobs.handover import WARM, circumstances
from dstcl.jobs.interruption import EXIT_CODE
from dstcl.jobs.warm import WarmParent
from dstcl.storage import write_json, write_tensors
from dstcl.study.run import Run
from helpers.finished import same_results
from helpers.runs import changed, task_split

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is none elsewhere")

COMMAND = [sys.executable, "-c", "from dstcl.cli import main; main()"]
WHO = """
import sys
from dstcl.jobs.handover import hand_over
hand_over(sys.argv[1:])
print("by itself")
"""
HAND_OVER = [sys.executable, "-c", WHO]
"""Says so where the command is not handed over, instead of running it."""
LIST = ["data", "list"]
TRAIN_HERE = """
import os, sys
from dstcl.jobs import warm
warm.import_all()
threads, before = len(os.listdir("/proc/self/task")), set(sys.modules)
warm.command(sys.argv[1:])
print(threads, "torch._dynamo" in sys.modules, sorted(sys.modules.keys() - before))
"""
"""Says what a training imports that the parent has not; and whether that started threads."""
END = f"""
import subprocess, sys
from dstcl.jobs.warm import WarmParent
with WarmParent():
    subprocess.run({[*HAND_OVER, *LIST]}, check=True)
"""


@contextmanager
def warm_parent() -> Iterator[subprocess.Popen[bytes]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(WARM, raising=False)
        patch.delenv("PYTEST_CURRENT_TEST", raising=False)  # each test has another
        patch.setenv("OMP_NUM_THREADS", "1")
        with WarmParent() as parent:
            assert parent.process
            yield parent.process


@pytest.fixture(scope="module")
def one_parent() -> Iterator[str]:
    """The socket of a warm parent that tests share, as none of them ends it."""
    with warm_parent():
        yield os.environ[WARM]


@pytest.fixture
def shared(one_parent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WARM, one_parent)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def training(tmp_path: Path, digits: Prepared, short_run: Run) -> Callable[..., list[str]]:
    """Arguments that train into a folder, so many epochs per task."""
    split = split_classes(10, 5, "natural")[:2]
    fields = asdict(digits)
    tensors = {key: fields.pop(key) for key in ("images", "labels", "is_test")}
    write_tensors(tmp_path / "data", tensors, fields)
    write_json(tmp_path / "tasks", task_split(digits, split))

    def arguments(out: str, epochs: int = 2) -> list[str]:
        run = json.dumps(changed(short_run, tasks=2, epochs=epochs).to_dict())
        files = {"data": "data", "tasks": "tasks", "out": out}
        options = [f"--{name}={tmp_path / file}" for name, file in files.items()]
        return ["train", f"--run={run}", "--device=cpu", "--threads=1", *options]

    return arguments


def variables(**others: str) -> dict[str, str]:
    """Of the environment, without the one that is another's for each test."""
    return {name: os.environ[name] for name in os.environ if name != "PYTEST_CURRENT_TEST"} | others


def call(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
    given = {"env": variables(), "timeout": 300} | options
    return subprocess.run(command, capture_output=True, text=True, **given)


def handed_over(**options: Any) -> bool:
    done = call([*HAND_OVER, *LIST], **options)
    assert done.returncode == 0, done.stderr
    assert ("mnist5k" in done.stdout) != ("by itself" in done.stdout)
    return "mnist5k" in done.stdout


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def forked(parent: int) -> list[int]:
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def under_way(arguments: list[str], log: Path) -> "subprocess.Popen[str]":
    """A command of its own, when its training has done an epoch."""
    with log.open("w") as file:
        process = subprocess.Popen([*COMMAND, *arguments], stderr=file, text=True, env=variables())
    wait_for(lambda: "task 1/2" in log.read_text() or process.poll() is not None)
    assert process.poll() is None, log.read_text()
    return process


def test_a_forked_training_gives_what_a_started_one_does(
    shared: None, training: Callable[..., list[str]], tmp_path: Path
) -> None:
    warmly = call([*COMMAND, *training("warm")])
    assert warmly.returncode == 0, warmly.stderr
    assert handed_over()
    coldly = call([*COMMAND, *training("cold")], env=variables(**{WARM: ""}))
    assert same_results(tmp_path / "warm", tmp_path / "cold")
    assert [line[:20] for line in warmly.stderr.splitlines()] == [
        line[:20] for line in coldly.stderr.splitlines()
    ]


def test_who_hands_over_imports_little(shared: None) -> None:
    code = WHO.replace("hand_over(sys", "print(sorted(sys.modules))\nhand_over(sys")
    loaded = call([sys.executable, "-c", code, *LIST]).stdout.splitlines()[0]
    assert "dstcl.jobs.handover" in loaded
    for module in ("torch", "numpy", "pandas", "pydantic", "argparse", "pathlib", "subprocess"):
        assert f"'{module}'" not in loaded


def test_a_forked_training_has_nothing_left_to_import(
    training: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Nor is torch's compiler imported, which takes longer than a short run trains."""
    done = call(
        [sys.executable, "-c", TRAIN_HERE, *training("run", epochs=1)],
        env=variables(OMP_NUM_THREADS="1", **{WARM: ""}),
    )
    assert (done.returncode, done.stdout) == (0, "1 False []\n"), done.stderr


def test_it_ends_without_a_word() -> None:
    """Libraries complain of objects that are left over when an interpreter ends."""
    done = call([sys.executable, "-c", END])
    assert (done.returncode, done.stderr) == (0, "")
    assert "mnist5k" in done.stdout


def test_mistakes_end_in_the_same_line_and_code(shared: None) -> None:
    for arguments in (LIST, ["no", "command"], ["config", "show", "--params", "none"]):
        warmly = call([*HAND_OVER, *arguments])
        coldly = call([*COMMAND, *arguments])  # which hands over trainings alone
        assert (warmly.returncode, warmly.stderr) == (coldly.returncode, coldly.stderr)
        assert warmly.returncode == 0 or arguments != LIST


def test_folder_files_and_variables_are_those_of_the_command(shared: None, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "params.yaml", tmp_path)
    show = ["config", "runs", "--preset", "quick"]
    there = call([*HAND_OVER, *show], cwd=tmp_path)
    assert len(there.stdout.splitlines()) > 10
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert call([*HAND_OVER, *show], cwd=elsewhere).returncode == 1
    assert handed_over(env=variables(SLURM_STEP_ID="7", PWD="/"))


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "SLURM_JOB_ID", "PYTHONHASHSEED", "NEW"])
def test_with_other_variables_a_command_trains_by_itself(shared: None, variable: str) -> None:
    assert handed_over()
    assert not handed_over(env=variables(**{variable: "3"}))


def test_with_other_niceness_or_limits_a_command_trains_by_itself(shared: None) -> None:
    assert not handed_over(preexec_fn=lambda: os.nice(1))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1
    fewer = (resource.RLIMIT_NOFILE, (files, files))
    assert not handed_over(preexec_fn=lambda: resource.setrlimit(*fewer))


def test_variables_of_a_job_may_differ_before_the_first_training_alone() -> None:
    """Snakemake sets them for each job, so that its own are others."""
    here = circumstances()
    threads = ("OMP_NUM", "GOTO_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM", "NUMEXPR_NUM")
    environment = here["environment"] | {f"{name}_THREADS": "7" for name in threads}
    environment |= dict.fromkeys(("TMPDIR", "TMP", "TEMPDIR", "TEMP"), "/elsewhere")
    there = here | {"environment": environment}
    assert not warm.differ(here, there, warm.READ_ON_IMPORT)
    assert warm.differ(here, there)
    assert warm.differ(here, there | {"python": ["/another"]}, warm.READ_ON_IMPORT)


def test_changed_code_is_noticed_and_ends_the_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "src"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(dstcl.__file__).parent, source / "dstcl", ignore=ignored)
    monkeypatch.setenv("PYTHONPATH", str(source))
    with warm_parent() as parent:
        assert handed_over()
        with (source / "dstcl" / "networks" / "convnet.py").open("a") as file:
            file.write("\n")
        folder = Path(os.environ[WARM]).parent
        assert folder.exists()
        assert not handed_over()
        assert parent.wait(60) == 0
        assert not folder.exists()
        assert not handed_over()


def test_nobody_else_may_enter_its_folder_and_it_goes_with_its_starter() -> None:
    code = "from dstcl.jobs.warm import WarmParent; import os, time; WarmParent();"
    code += f"print(os.environ[{WARM!r}], flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout
        folder = Path(one.stdout.readline().strip()).parent
        assert folder.stat().st_mode & 0o777 == 0o700
        one.kill()
    wait_for(lambda: not folder.exists())


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["command", "both"])
def test_asked_to_stop_a_training_writes_a_checkpoint(
    whom: str, training: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A scheduler may tell both processes, and the command passes on what it is told."""
    with warm_parent() as parent:
        process = under_way(training("run", epochs=40), tmp_path / "log")
        if whom == "both":
            os.kill(forked(parent.pid)[0], signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == EXIT_CODE
    assert "dstcl: stopped by SIGTERM; goes on from" in (tmp_path / "log").read_text()
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.slow
def test_training_and_command_end_together_however_they_end(
    training: Callable[..., list[str]], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with warm_parent() as parent:
        process = under_way(training("one", epochs=400), log)
        process.kill()
        wait_for(lambda: not forked(parent.pid))
        assert handed_over()
        process = under_way(training("two", epochs=400), log)
        os.kill(forked(parent.pid)[0], signal.SIGSEGV)
        assert process.wait(60) == -signal.SIGSEGV
        process = under_way(training("three", epochs=400), log)
        (trained_by,) = forked(parent.pid)
        parent.kill()
        assert process.wait(60) == 1
        assert "dstcl: the process that starts trainings has ended; try again" in log.read_text()
        wait_for(lambda: not Path(f"/proc/{trained_by}").exists())
        assert not handed_over()
        folder = Path(os.environ[WARM]).parent
    assert not folder.exists()
