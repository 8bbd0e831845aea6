"""Profiles of machines that are not here: what they would ask for, told by stand-in commands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
import warm
import yaml
from stubs.kubernetes_api import kubernetes_api
from workspace import PATIENCE, REPOSITORY, Workspace, search_path

pytestmark = pytest.mark.pipeline

PROFILES = REPOSITORY / "workflow" / "profiles"
STUBS = Path(__file__).parent / "stubs"

Stub = Callable[..., None]

# Snakemake asks for jobs' states every 10 seconds, and ends so long after its last job as it counts
# submissions, a minute in the profiles.
IMPATIENT = ["--seconds-between-status-checks", "1", "--max-jobs-per-timespan", "9/1s"]
IMPATIENT += ["--latency-wait", "10"]


def needs(plugin: str) -> pytest.MarkDecorator:
    name = f"snakemake_executor_plugin_{plugin}"
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")


@pytest.fixture
def stub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Put a script on the PATH under some names; it finds a folder for notes in $STUB_FOLDER."""
    folder = tmp_path_factory.mktemp("stubs")
    monkeypatch.setenv("STUB_FOLDER", str(folder))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{search_path()}")
    # LSF's plugin reads this file of the site.
    (folder / "lsbatch/test/configdir").mkdir(parents=True)
    (folder / "lsbatch/test/configdir/lsb.params").write_text("DEFAULT_QUEUE = normal\n")

    def put(script: str, *names: str) -> None:
        for name in names:
            path = folder / name
            path.write_text(f"#!{sys.executable}\n{(STUBS / script).read_text()}")
            path.chmod(0o755)

    return put


def snakemake(workspace: Workspace, profile: str, *arguments: str, **environ: str):
    """Snakemake with one of the profiles; output and errors together."""
    command = [
        str(warm.commands() / "snakemake"),
        "--snakefile",
        str(REPOSITORY / "workflow" / "Snakefile"),
    ]
    command += ["--workflow-profile", str(PROFILES / profile), *arguments]
    return subprocess.run(
        command,
        cwd=workspace.folder,
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )


def with_data(workspace: Workspace) -> Workspace:
    done = workspace.run("tasks")
    assert done.returncode == 0, done.stdout
    return workspace


def submitted() -> list[list[str]]:
    """The arguments of every submission, the job's script left out."""
    notes = Path(os.environ["STUB_FOLDER"]) / "submitted"
    return [shlex.split(line) for line in notes.read_text().splitlines()]


def after(arguments: list[str], option: str) -> list[str]:
    """What follows each use of an option."""
    return [value for name, value in pairwise(arguments) if name == option]


# One machine with GPUs


def test_a_run_takes_a_slot_of_the_gpu_profile(workspace: Workspace, tmp_path: Path) -> None:
    locks = tmp_path / "locks"
    environ = {"DSTCL_DEVICE": "cpu", "DSTCL_GPU_LOCKS": str(locks), "PATH": search_path()}
    done = snakemake(workspace, "gpu", "--", "train", **environ)
    assert done.returncode == 0, done.stdout
    assert len(workspace.runs()) == 1
    assert (locks / "card-0-slot-0").exists()


def test_a_run_without_the_card_it_asked_for_fails(workspace: Workspace, tmp_path: Path) -> None:
    """It must not train on the processor unnoticed."""
    environ = {"CUDA_VISIBLE_DEVICES": "99", "DSTCL_GPU_LOCKS": str(tmp_path / "locks")}
    done = snakemake(workspace, "gpu", "--", "train", **environ, PATH=search_path())
    assert done.returncode != 0
    assert "no GPU that torch can use" in " ".join(done.stdout.split())
    assert workspace.runs() == []


@pytest.mark.parametrize(
    ("resources", "run", "expected"),
    [
        (["gpu=9"], ["gpu=1", "gpu_slots=2x2"], {"0": 2, "1": 2}),
        (
            ["gpu=9", "gpu_mem_mb=12000"],
            ["gpu=1", "gpu_slots=1x9", "gpu_mem_mb=4000"],
            {"0": 3},
        ),
    ],
    ids=["slots", "memory"],
)
def test_cards_are_shared_within_limits(
    workspace: Workspace, stub: Stub, resources: list[str], run: list[str], expected: dict[str, int]
) -> None:
    workspace.change({"seeds": list(range(sum(expected.values()) + 2))})
    with_data(workspace)
    stub("dstcl.py", "dstcl")
    settings = ["--resources", *resources, "--set-resources", *(f"train_run:{r}" for r in run)]
    environ = {"STUB_TOGETHER": str(sum(expected.values()))}
    done = snakemake(workspace, "gpu", "--cores", "16", *settings, "--", "train", **environ)
    assert done.returncode == 0, done.stdout
    now: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for line in (Path(os.environ["STUB_FOLDER"]) / "log").read_text().splitlines():
        what, card = line.split()
        now[card] += 1 if what == "take" else -1
        most[card] = max(most[card], now[card])
    assert most == expected


# Clusters


@needs("lsf")
def test_lsf_is_asked_for_one_gpu(workspace: Workspace, stub: Stub) -> None:
    with_data(workspace)
    stub("scheduler.py", "bsub", "bjobs", "badmin", "lsclusters")
    done = snakemake(workspace, "lsf", *IMPATIENT, "--", "train", DSTCL_DEVICE="cpu")
    assert done.returncode == 0, done.stdout
    assert len(workspace.runs()) == 1
    (job,) = submitted()
    assert after(job, "-gpu") == ["num=1:j_exclusive=yes"]
    assert after(job, "-W") == ["240"]
    assert after(job, "-n") == ["1"]
    assert after(job, "-R") == ["rusage[mem=16000.0]", "span[hosts=1]"]
    assert after(job, "-q") == ["normal"]


@needs("cluster_generic")
def test_pbs_is_asked_for_one_gpu(workspace: Workspace, stub: Stub) -> None:
    stub("scheduler.py", "qsub", "qstat")
    done = snakemake(workspace, "pbs", *IMPATIENT, "--", "train", DSTCL_DEVICE="cpu")
    assert done.returncode == 0, done.stdout
    assert len(workspace.runs()) == 1
    prepare, train = submitted()
    assert after(prepare, "-l") == ["select=1:ncpus=2:ngpus=0:mem=4000mb", "walltime=1800"]
    assert after(train, "-l") == ["select=1:ncpus=1:ngpus=1:mem=16000mb", "walltime=14400"]
    assert after(train, "-N") == ["train_run"]
    assert "-V" in train


@needs("cluster_generic")
def test_a_job_that_pbs_killed_is_submitted_again_with_more(
    workspace: Workspace, stub: Stub
) -> None:
    """The stand-in runs a job that cannot work: no card and no rehearsal."""
    with_data(workspace)
    stub("scheduler.py", "qsub", "qstat")
    environ = {"CUDA_VISIBLE_DEVICES": ""}
    done = snakemake(workspace, "pbs", *IMPATIENT, "--retries", "1", "--", "train", **environ)
    assert done.returncode != 0
    memory = [after(job, "-l")[0].rpartition("mem=")[2] for job in submitted()]
    assert memory == ["16000mb", "32000mb"]


STATES = [
    ("job_state = F\n    Exit_status = 0", 0, "success"),
    ("job_state = F\n    Exit_status = 271", 0, "failed"),
    ("job_state = C\n    exit_status = 0", 0, "success"),
    ("job_state = X", 0, "failed"),
    ("job_state = Q", 0, "running"),
    ("job_state = R\n    comment = Exit_status = 0", 0, "running"),
    ("qstat: Unknown Job Id 17.server", 153, "failed"),
    ("qstat: cannot connect to server (errno=111)", 2, "running"),
]


@pytest.mark.parametrize(("said", "code", "state"), STATES)
def test_states_of_pbs_are_understood(tmp_path: Path, said: str, code: int, state: str) -> None:
    qstat = tmp_path / "qstat"
    qstat.write_text(f"#!/bin/sh\nprintf '%s\\n' '    {said}'\nexit {code}\n")
    qstat.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [PROFILES / "pbs" / "status.sh", "17.server"],
        env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{state}\n"


@needs("kubernetes")
@pytest.mark.skipif(
    find_spec("snakemake_storage_plugin_fs") is None or shutil.which("rsync") is None,
    reason="a folder stands in for the bucket: snakemake_storage_plugin_fs and rsync are needed",
)
def test_kubernetes_is_asked_for_one_gpu(workspace: Workspace, tmp_path: Path) -> None:
    """As given, but with a folder as the bucket; no pod runs."""
    with_data(workspace)
    bucket = tmp_path / "bucket"
    shutil.copytree(workspace.folder / "data", bucket / "data")
    profile = yaml.safe_load((PROFILES / "kubernetes" / "config.yaml").read_text())
    profile |= {"default-storage-provider": "fs", "default-storage-prefix": str(bucket)}
    folder = tmp_path / "profile"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(profile | {"retries": 0}))
    kubeconfig = tmp_path / "kubeconfig"
    with kubernetes_api(kubeconfig) as jobs:
        environ = {"KUBECONFIG": str(kubeconfig), "PATH": search_path()}
        done = snakemake(workspace, str(folder), "--", "train", **environ)
    assert done.returncode != 0, "the stand-in lets every job fail"
    assert len(jobs) == 1, done.stdout
    pod = jobs[0]["spec"]["template"]["spec"]
    assert [toleration["key"] for toleration in pod["tolerations"]] == ["nvidia.com/gpu"]
    (container,) = pod["containers"]
    assert container["image"] == profile["container-image"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["resources"]["limits"]["memory"] == "16000M"
    assert container["resources"]["requests"]["ephemeral-storage"] == "4000M"
