"""A real Slurm with pretended cards, in a folder, for as long as a test needs it.

Several nodes are as many slurmd on this machine, each in a process namespace of its own: a node
that is killed takes all processes of its jobs with it, at once and without a word.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ports import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CARDS = 2

# No accounting, no cgroups, no prolog: what a container allows. More cores and memory than there
# are, so that jobs of a real site's size start. A requeued job starts after its credential expires.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=15
BatchStartTimeout=60
MinJobAge=600
GresTypes=gpu
{nodes}
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=128000 "
    "Gres=gpu:{cards}"
)
ALONE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
"""Before a slurmd: its processes are the only ones it sees, and none of them outlives it."""


class SlurmCluster:
    """A running cluster; commands find it through ``environment``."""

    def __init__(self, folder: Path, nodes: Sequence[str]) -> None:
        self.folder = folder
        self.nodes: dict[str, subprocess.Popen[bytes] | None] = dict.fromkeys(nodes)
        configuration = folder / "slurm.conf"
        # Snakemake's step of a job drops SLURM_CONF before it calls srun, so srun brings its own.
        (folder / "bin").mkdir()
        step = folder / "bin" / "srun"
        step.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {shutil.which("srun")} "$@"\n')
        step.chmod(0o755)
        path = f"{step.parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": path}

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands says."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=300
        ).stdout

    def jobs(self, state: str = "all") -> list[int]:
        """Numbers of jobs in a state."""
        return sorted(map(int, self.ask("squeue", "-h", "-t", state, "-o", "%A").split()))

    def details(self, job: int) -> dict[str, str]:
        """What ``scontrol show job`` knows: JobState, TresPerJob, Restarts, TimeLimit ..."""
        said = self.ask("scontrol", "show", "job", str(job), "--oneliner")
        return dict(part.split("=", 1) for part in said.split() if "=" in part)

    def kill_node(self, name: str) -> None:
        """A node loses its power; the controller is told that it is down, as a site's monitoring
        does, for it would itself wait five minutes."""
        daemon = self.nodes[name]
        assert daemon is not None
        daemon.kill()
        daemon.wait()
        self.ask("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=dead")

    def logs(self) -> str:
        """The last lines of every daemon."""
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text().splitlines()[-15:])
            for path in sorted(self.folder.glob("*.log"))
        )


def missing(nodes: int = 1) -> str | None:
    """Why no cluster can be started here, or None."""
    if os.geteuid() != 0:
        return "starting Slurm needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: slurm-wlm and munge)"
    if nodes > 1 and subprocess.run([*ALONE, "true"], capture_output=True).returncode != 0:
        return "process namespaces, which nodes are made of, cannot be made here"
    return None


@contextmanager
def running_cluster(folder: Path, nodes: int = 1, cards: int = CARDS) -> Iterator[SlurmCluster]:
    """Start munged, slurmctld and a slurmd a node, wait until all are idle; stop all in the end.

    Args:
        folder: an empty one.
        nodes: how many, named node1, node2, ...
        cards: of each node.
    """
    names = [f"node{number}" for number in range(1, nodes + 1)]
    (folder / "state").mkdir()
    for name in names:
        (folder / f"spool-{name}").mkdir()
    for card in range(cards):
        (folder / f"card{card}").symlink_to("/dev/null")  # Slurm wants a device
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    controller, *ports = free_ports(1 + nodes)
    host = socket.gethostname().split(".")[0]
    described = [
        NODE.format(name=name, host=host, port=port, cards=cards)
        for name, port in zip(names, ports)
    ]
    values = {"folder": folder, "host": host, "controller": controller}
    (folder / "slurm.conf").write_text(CONFIG.format(nodes="\n".join(described), **values))
    (folder / "gres.conf").write_text(
        f"AutoDetect=off\nName=gpu File={folder}/card[0-{cards - 1}]\n"
    )
    cluster = SlurmCluster(folder, names)
    munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munged += [f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid"]
    munged += [f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed"]
    with ExitStack() as daemons:
        daemons.enter_context(running("munged", munged, cluster))
        wait_for((folder / "munge.socket").exists, cluster)
        daemons.enter_context(running("slurmctld", ["slurmctld", "-D", "-c"], cluster))
        for name in names:
            command = [*(ALONE if nodes > 1 else []), "slurmd", "-D", "-N", name]
            cluster.nodes[name] = daemons.enter_context(running(name, command, cluster))
        wait_for(
            lambda: cluster.ask("sinfo", "-hN", "-o", "%t").split() == ["idle"] * nodes, cluster
        )
        yield cluster
        cluster.ask("scancel", "--full", "--signal=KILL", "--user=root")


@contextmanager
def running(
    name: str, command: list[str], cluster: SlurmCluster
) -> Iterator[subprocess.Popen[bytes]]:
    """One daemon in the foreground of its own process group, stopped with all its children."""
    with (cluster.folder / f"{name}.out.log").open("w") as output:
        process = subprocess.Popen(
            command, env=cluster.environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        if command[0] == ALONE[0]:  # it passes no signal on
            process.kill()
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], object], cluster: SlurmCluster, seconds: float = 300) -> None:
    """Ask until the answer is true; commands that fail meanwhile count as no."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except subprocess.CalledProcessError:
            pass
        assert time.monotonic() < deadline, f"waited in vain\n{cluster.logs()}"
        time.sleep(0.1)
