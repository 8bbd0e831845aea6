"""The warm parent: a process that imports torch once and forks one for each training.

Importing torch takes longer than a short run trains. Whoever starts many trainings (Snakemake's
main process, Snakemake within a job of a cluster, `dstcl train-study`) starts a warm parent before.
`dstcl train` hands its command over (`handover`), and each run still has a process of its own.

- It belongs to its starter: the socket lies in a folder of its own that nobody else may enter, is
  named in the starter's environment alone, and goes when the starter ends, however it ends. So
  there is none to share between users, checkouts, jobs of a cluster or machines, and none to stop.
- It imports nothing before the first training, and never starts threads or CUDA: both do not
  survive a fork. A card is chosen by the forked process.
- It refuses where a forked process could differ from a started one: files of imported code have
  changed, or the environment, niceness or limits are others. Whoever is refused trains by itself.
- A training ends with the process that handed it over, and with the warm parent.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import dstcl
from dstcl.cli import main as command
from dstcl.cli.parser import build_parser
from dstcl.codedigest import code_digest, code_files
from dstcl.jobs.handover import HEADER, REFUSED, STARTED, WARM, circumstances
from dstcl.jobs.interruption import SIGNALS, blocked_signals
from dstcl.study.code import LOOP

PACKAGES = ("cli", "networks", "continual.methods")
"""Packages of which every module is imported before a fork."""
OF_A_TRAINING = ("jobs.devices", "jobs.progress", "jobs.train")
"""Modules that `dstcl train` imports when it runs."""
IMPORTED_LATE = (
    "numpy.ctypeslib",
    "torch.nested._internal.nested_tensor",
    "torch.utils.flop_counter",
)
"""What torch, numpy and this package import only once a training is under way."""
PATIENCE = 10.0
"""Seconds within which a request must be whole."""
NOT_READ = ("_", "PWD", "OLDPWD", "SHLVL", "COLUMNS", "LINES", WARM)
"""Variables that may differ: what is imported does not look at them."""
OF_A_STEP = ("SLURM_", "SRUN_")
"""How variables begin that say where in a job of Slurm a process is, and not how it computes."""
OF_A_JOB = ("SLURM_JOB_ID", "SLURM_JOBID")
"""The exceptions: with another job's, a process would escape its own job's limits."""
READ_ON_IMPORT = ("_THREADS", "TMPDIR", "TMP", "TEMP", "TEMPDIR")
"""How variables end that Snakemake sets for each job. The first training decides them, as they are
read when torch is imported."""
SERVE = (sys.executable, "-c", f"from {__name__} import main; main()")
PR_SET_PDEATHSIG = 1
"""Of prctl(2): have a signal sent to this process when its parent ends."""

Circumstances = dict[str, Any]


class WarmParent:
    """The starter's end. Linux only; elsewhere, and where a socket cannot be made, there is none.

    As a context, or until this process ends.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        if sys.platform == "linux":
            with suppress(OSError):
                self._start()

    def _start(self) -> None:
        folder = self._folder = tempfile.mkdtemp(prefix="dstcl-warm-")  # only this user may enter
        address = os.path.join(folder, "socket")
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(address)
                listener.listen(128)
                with blocked_signals():  # until it ignores them
                    self.process = subprocess.Popen(
                        [*SERVE, address, str(listener.fileno())],
                        # Closed when this process ends, however it ends.
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL,
                        pass_fds=[listener.fileno()],
                    )
        except OSError:
            shutil.rmtree(folder)
            raise
        os.environ[WARM] = address
        atexit.register(self.close)

    def close(self) -> None:
        """Start nothing more, and wait for trainings that are under way."""
        if self.process and self.process.stdin:
            os.environ.pop(WARM, None)
            self.process.stdin.close()
            self.process.wait()
            self.process = None
            shutil.rmtree(self._folder, ignore_errors=True)  # it removes it, unless it was killed

    def __enter__(self) -> WarmParent:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def main() -> None:
    """Serve until the starter has ended; in a forked process, run the command it was forked for."""
    for number in SIGNALS:  # whoever waits for a training is told, and passes it on
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    address, listener = sys.argv[1:]
    arguments = _Server(address, socket.socket(fileno=int(listener))).serve()
    if arguments is not None:
        _run(arguments)
    _end(0)


def _run(arguments: list[str]) -> NoReturn:
    """Run a command and end this process with its exit code, as Python would."""
    code: object = 1
    try:
        command(arguments)
        code = 0
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    _end(code if isinstance(code, int) else int(code is not None))


def _end(code: int) -> NoReturn:
    """End this process as Python would, but for taking everything apart.

    That would copy all that was imported, for half a second, and some libraries complain of objects
    that are left over, as what is frozen always is.
    """
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


class _Server:
    """Requests, signals to pass on, and ends of trainings, one after the other in one thread."""

    def __init__(self, address: str, listener: socket.socket) -> None:
        self.address, self.listener = address, listener
        self.here = circumstances()
        self.imported: dict[str, object] = {}
        self.trainings: dict[int, socket.socket] = {}
        self.arguments: list[str] | None = None
        self.woken, self.waking = socket.socketpair()
        self.woken.setblocking(False)
        self.waking.setblocking(False)
        self.events = selectors.DefaultSelector()

    def serve(self) -> list[str] | None:
        """None at the end; in a forked process, the arguments of the command that it is to run."""
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self.waking.fileno())
        for source, act in (
            (self.listener, self.accept),
            (self.woken, self.reap),
            (sys.stdin.fileno(), self.close),
        ):
            self.events.register(source, selectors.EVENT_READ, act)
        while self.listener.fileno() >= 0 or self.trainings:
            for key, _ in self.events.select():
                key.data(key.fileobj)
                if self.arguments is not None:
                    return self.arguments
        return None

    def close(self, source: object = None) -> None:
        """Accept no more; trainings that are under way go on."""
        if self.listener.fileno() >= 0:
            for watched in (self.listener, sys.stdin.fileno()):
                self.events.unregister(watched)
            self.listener.close()
            shutil.rmtree(os.path.dirname(self.address), ignore_errors=True)

    def accept(self, listener: socket.socket) -> None:
        """Fork a process for a request, or refuse it."""
        try:
            line = listener.accept()[0]
        except OSError:  # it is closed, or whoever asked has gone
            return
        try:
            line.settimeout(PATIENCE)
            request, files = _read(line)
            try:
                fits = self.fits(request)
                if fits:
                    self.fork(line, request, files)
            finally:
                for file in files:
                    os.close(file)
            if not fits:
                line.sendall(REFUSED)
                line.close()
        except (OSError, ValueError):
            line.close()

    def fits(self, request: Mapping[str, Any]) -> bool:
        """Whether a forked process would be what a started one is; imports what it needs first."""
        if not self.imported:
            if differ(self.here, request, READ_ON_IMPORT):
                return False
            os.environ.clear()
            os.environ.update(request["environment"])
            self.here = circumstances()
            self.imported = _states(import_all())
            gc.collect()
            gc.freeze()  # never looked at again, which would copy all of it into every process
        elif self.imported != _states(self.imported):
            self.close()
            return False
        return not differ(self.here, request) and threading.active_count() == 1

    def fork(self, line: socket.socket, request: Mapping[str, Any], files: list[int]) -> None:
        """Fork a process for the command; in there, leave things as if it had been started."""
        parent = os.getpid()
        with blocked_signals():
            if pid := os.fork():
                self.trainings[pid] = line
                self.events.register(line, selectors.EVENT_READ, self.pass_on)
                with suppress(OSError):  # nobody is there any more, as `pass_on` finds out
                    line.sendall(STARTED)
                return
            try:
                _end_with(parent)
                self.events.close()
                lines = (line, *self.trainings.values())
                for mine in (self.listener, self.woken, self.waking, *lines):
                    mine.close()
                _become(request, files)
            except BaseException:  # never go on as a second warm parent
                traceback.print_exc()
                os._exit(1)
        self.arguments = request["arguments"]

    def pass_on(self, line: socket.socket) -> None:
        """Send a training the signals that its command got; with the command gone, end it."""
        pid = next((pid for pid, other in self.trainings.items() if other is line), None)
        if pid is None:  # it has ended, as was noticed a moment ago
            return
        with suppress(ConnectionError):
            if numbers := line.recv(64):
                for number in set(numbers).intersection(SIGNALS):
                    os.kill(pid, number)
                return
        self.events.unregister(line)
        os.kill(pid, signal.SIGKILL)

    def reap(self, woken: socket.socket) -> None:
        """Tell the commands of trainings that have ended how they did."""
        woken.recv(4096)
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if line := self.trainings.pop(ended[0], None):
                    with suppress(KeyError):
                        self.events.unregister(line)
                    with suppress(OSError):
                        line.sendall(b"%d\n" % ended[1])
                    line.close()


def _read(line: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """A request, with the command's three standard files and its folder.

    Raises:
        ValueError: it is none.
        OSError: nobody sends it any more.
    """
    header, files, _, _ = socket.recv_fds(line, HEADER, 4)
    try:
        if len(files) != 4:
            raise ValueError("standard input, output and error, and a folder")
        with line.makefile("rb") as rest:
            return json.loads(rest.read(int.from_bytes(header))), files
    except BaseException:
        for file in files:
            os.close(file)
        raise


def differ(here: Circumstances, there: Mapping[str, Any], besides: tuple[str, ...] = ()) -> bool:
    """Whether a process that is forked here could compute otherwise than one started there.

    Args:
        besides: how variables end that may differ too.
    """
    if any(here[key] != there[key] for key in ("python", "niceness", "limits")):
        return True
    ours, theirs = here["environment"], there["environment"]
    names = {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
    return any(
        name not in NOT_READ
        and not name.endswith(besides or "\n")
        and not (name.startswith(OF_A_STEP) and name not in OF_A_JOB)
        for name in names
    )


def import_all() -> set[str]:
    """Import whatever a training may need, and digest its code; files that this depends on."""
    entries = [LOOP]
    for package in PACKAGES:
        folder = Path(dstcl.__file__).parent.joinpath(*package.split("."))
        entries += [f"{package}.{path.stem}" for path in folder.glob("[a-z]*.py")]
    for entry in entries:
        import_module(f"dstcl.{entry}")
    for name in OF_A_TRAINING:
        import_module(f"dstcl.{name}")
    for name in IMPORTED_LATE:
        with suppress(ImportError):  # another torch has other modules
            import_module(name)
    build_parser()
    code_digest(*entries)  # the digests of single runs then find all files parsed
    loaded = [module for name, module in sys.modules.items() if name.startswith("dstcl")]
    found = (getattr(module, "__file__", None) for module in (*loaded, sys.modules["torch"]))
    return {*filter(None, found), *map(str, code_files(*entries))}


def _states(files: Iterable[str]) -> dict[str, object]:
    """What changes when somebody writes a file: its number, size and time stamp."""
    states: dict[str, object] = {}
    for file in files:
        try:
            state = os.stat(file)
            states[file] = (state.st_ino, state.st_size, state.st_mtime_ns)
        except OSError:
            states[file] = None
    return states


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when the warm parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os.kill(os.getpid(), signal.SIGKILL)


def _become(request: Mapping[str, Any], files: list[int]) -> None:
    """Take over what the command has from whoever started it."""
    signal.set_wakeup_fd(-1)
    for number in (*SIGNALS, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["outlives_terminal"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    *standard, folder = files
    for place, file in enumerate(standard):
        os.dup2(file, place)
    os.fchdir(folder)
    os.umask(request["umask"])
    os.sched_setaffinity(0, request["cores"])
    os.environ.clear()
    os.environ.update(request["environment"])
    del os.environ[WARM]  # it trains by itself
    sys.path[:] = request["path"]
    sys.argv[1:] = request["arguments"]
