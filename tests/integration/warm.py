"""Commands that start at once: each is forked from a process that has imported other packages.

A tiny study is some fifteen commands, and most of their time goes into the import of torch, pandas,
MLflow and others. `commands()` is a folder with `dstcl`, `snakemake` and `dvc` to put first into
PATH. Nothing of this package is imported beforehand: a test may work with a changed copy of it.

A command has its own process, arguments, environment, folder and streams; signals reach it, and it
is killed when its caller is gone. It has no cold start, and a session of its own. So what may be
imported, what a kill leaves and what a process group does is tested on commands started as a person
starts them.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import marshal
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

BIN = Path(sys.executable).parent
COMMANDS = {"dstcl": "dstcl.cli", "snakemake": "snakemake.cli", "dvc": "dvc.cli"}

# What they import; each brings what is below it.
HEAVY = """
snakemake.cli snakemake.profiles snakemake.storage snakemake.report.html_reporter
snakemake_logger_plugin_rich snakemake_executor_plugin_slurm jinja2.meta smart_open
torch torch._dynamo safetensors.torch safetensors.numpy filelock tqdm
pandas pyarrow.pandas_compat pydantic.dataclasses yaml scipy.stats mlxtend.evaluate
PIL.JpegImagePlugin matplotlib.pyplot matplotlib.backends.backend_agg
matplotlib.backends.backend_pdf matplotlib.backends.backend_svg
mlflow mlflow.store.tracking.sqlalchemy_workspace_store sqlalchemy.dialects.sqlite alembic.command
dvc.cli.parser dvc.repo.experiments.run dulwich.worktree
"""
# Threads do not outlive a fork.
NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
FORWARDED = [int(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)]

CLIENT = """#!{python} -IS
import marshal, os, signal, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = marshal.dumps((sys.argv, os.getcwd(), dict(os.environ)))
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
for number in {signals}:
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, lambda number, frame: server.send(bytes([number])))
code = int.from_bytes(server.recv(4), "big", signed=True)
if code < 0:
    if -code in {signals}:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@cache
def commands() -> Path:
    """A folder with commands that start at once; the usual ones where that cannot be done.

    The first call starts the server of this process; it ends when this process does.
    """
    if not hasattr(os, "pidfd_open"):
        return BIN
    folder = Path(tempfile.mkdtemp(prefix="warm"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = str(folder / "socket")
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | NO_THREADS,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    atexit.register(server.communicate)
    assert server.stdout is not None
    assert server.stdout.read(5) == b"ready", "the server of commands did not start"
    for name in COMMANDS:
        script = CLIENT.format(python=sys.executable, address=address, signals=FORWARDED)
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return folder


def serve(address: str) -> None:
    """Import, then fork for every call, until whoever started this process is gone."""
    for name in HEAVY.split():
        with contextlib.suppress(ImportError):
            import_module(name)
    assert threading.active_count() == 1
    gc.collect()
    gc.freeze()  # a collection in a command would copy all that is here
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who look after commands
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready")
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                look_after(connection)
            connection.close()
    os._exit(0)


def look_after(connection: socket.socket) -> NoReturn:
    """Start a command, pass on signals, tell how it ended; kill it when its caller is gone."""
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as file:
        request = marshal.loads(file.read(int.from_bytes(size, "big")))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    command = os.fork()
    if command == 0:
        connection.close()
        become(*request, streams)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(command)
    while ended not in select.select([connection, ended], [], [])[0]:
        for number in connection.recv(16) or [signal.SIGKILL]:
            os.kill(command, number)
    code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(code.to_bytes(4, "big", signed=True))
    os._exit(0)


def become(
    arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]
) -> NoReturn:
    """Be the command, as its script in the environment would."""
    os.setsid()
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    sys.path[:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    try:
        code = import_module(COMMANDS[Path(arguments[0]).name]).main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    # All of an interpreter's end, but to take apart what other processes share.
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    serve(sys.argv[1])
