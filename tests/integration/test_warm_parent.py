"""The commands that start at once are commands: shown on a package that stands in for this one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import warm

pytestmark = pytest.mark.pipeline

STAND_IN = """
import os, signal, sys, time

def main():
    what = sys.argv[1]
    if what == "tell":
        print(sys.argv[2:], os.getcwd(), os.environ["WORD"], sys.stdin.read(), sep="|")
        print("an error", file=sys.stderr)
        sys.exit(7)
    if what == "line":
        sys.exit("one line")
    if what == "raise":
        raise LookupError("where is it")
    if what == "wait":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        print(os.getpid(), flush=True)
        time.sleep(600)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    if warm.commands() == warm.BIN:
        pytest.skip("this system has no commands that start at once")
    (tmp_path / "dstcl").mkdir()
    (tmp_path / "dstcl" / "__init__.py").touch()
    (tmp_path / "dstcl" / "cli.py").write_text(STAND_IN)
    return os.environ | {"PYTHONPATH": str(tmp_path), "WORD": "a word"}


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [warm.commands() / "dstcl", *arguments],
        cwd=environment["PYTHONPATH"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_command_has_what_its_caller_gave(environment: dict[str, str]) -> None:
    command = start(environment, "tell", "a b", "*")
    said, errors = command.communicate("what it reads", timeout=300)
    assert said == f"['a b', '*']|{environment['PYTHONPATH']}|a word|what it reads\n"
    assert (command.returncode, errors) == (7, "an error\n")


@pytest.mark.parametrize(
    ("what", "code", "error"),
    [("line", 1, "one line"), ("raise", 1, "LookupError: where is it"), ("nothing", 0, "")],
)
def test_a_command_ends_as_it_does_in_an_interpreter_of_its_own(
    environment: dict[str, str], what: str, code: int, error: str
) -> None:
    command = start(environment, what)
    said, errors = command.communicate(timeout=300)
    assert (command.returncode, said) == (code, "")
    assert errors.strip().endswith(error)


def test_signals_arrive(environment: dict[str, str]) -> None:
    command = start(environment, "wait")
    assert command.stdout is not None
    assert int(command.stdout.readline()) != command.pid
    command.terminate()
    assert command.wait(300) == 5


def test_a_command_ends_as_it_was_killed_and_with_its_caller(environment: dict[str, str]) -> None:
    one, other = (start(environment, "wait") for _ in range(2))
    assert one.stdout is not None
    assert other.stdout is not None
    os.kill(int(one.stdout.readline()), signal.SIGKILL)
    assert one.wait(300) == -signal.SIGKILL
    command = Path("/proc", other.stdout.readline().strip())
    assert command.exists()
    other.kill()
    deadline = time.monotonic() + 300
    while command.exists():
        assert time.monotonic() < deadline, "it goes on alone"
        time.sleep(0.05)
