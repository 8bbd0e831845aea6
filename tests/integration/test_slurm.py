"""Tiny studies on a real Slurm of one or two nodes with pretended cards, through the profiles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from same_studies import differences
from slurm_cluster import SlurmCluster, missing, running_cluster, wait_for
from workspace import BIN, PATIENCE, REPOSITORY, Workspace

pytestmark = [pytest.mark.pipeline, pytest.mark.cluster]
PROFILES = REPOSITORY / "workflow" / "profiles"

# What this little cluster needs and the profile rightly does not say: no accounting database, no
# accounts, and jobs of seconds, so their states are asked for sooner. Snakemake ends so long after
# its last job as it counts submissions, which is a minute in the profile.
HERE = ["--slurm-status-command", "squeue", "--slurm-no-account", "--latency-wait", "20"]
HERE += ["--slurm-init-seconds-before-status-checks", "1", "--max-jobs-per-timespan", "9/1s"]
IMPATIENT = [sys.executable, "-P", str(Path(__file__).with_name("impatient.py"))]

LONG = 40
"""Epochs of runs that are to be at work, some ten seconds, while something happens to them."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with running_cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """Of one card each."""
    reason = missing(nodes=2)
    if reason is not None:
        pytest.skip(reason)
    with running_cluster(tmp_path_factory.mktemp("nodes"), nodes=2, cards=1) as started:
        yield started


def start(
    workspace: Workspace, cluster: SlurmCluster, *arguments: str, commands: Path = BIN
) -> subprocess.Popen[str]:
    """Snakemake as on a login node; trainings rehearse on the processor what a card would do.

    Its commands start as they do for a person, unless others are named."""
    path = os.pathsep.join(map(str, (commands, BIN, cluster.environment["PATH"])))
    return subprocess.Popen(
        [
            *IMPATIENT,
            "--snakefile",
            str(REPOSITORY / "workflow" / "Snakefile"),
            *arguments,
        ],
        cwd=workspace.folder,
        env=cluster.environment | {"PATH": path, "DSTCL_DEVICE": "cpu"} | workspace.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(study: subprocess.Popen[str], cluster: SlurmCluster) -> str:
    said, _ = study.communicate(timeout=PATIENCE)
    assert study.returncode == 0, f"{said}\n{cluster.logs()}"
    return said


def new_jobs(cluster: SlurmCluster, before: list[int]) -> list[dict[str, str]]:
    return [cluster.details(job) for job in cluster.jobs() if job not in before]


def with_data(workspace: Workspace) -> Workspace:
    """Data and splits made here, so that only trainings go to the cluster."""
    done = workspace.run("tasks")
    assert done.returncode == 0, done.stdout
    return workspace


def test_a_study_goes_from_data_to_report(workspace: Workspace, cluster: SlurmCluster) -> None:
    before = cluster.jobs()
    workspace.draw_few()
    workspace.change({"seeds": [0, 1]}, training={"epochs": 1})
    profile = ["--workflow-profile", str(PROFILES / "slurm"), *HERE]
    finish(start(workspace, cluster, *profile, commands=warm.commands()), cluster)
    assert (workspace.study / "report.html").exists()
    assert (workspace.study / "mlflow.json").exists()
    assert len(workspace.runs()) == 2
    prepare, *trainings = new_jobs(cluster, before)
    assert len(trainings) == 2, "jobs of seconds stay where Snakemake was called"
    assert {job["JobState"] for job in (prepare, *trainings)} == {"COMPLETED"}
    assert "TresPerJob" not in prepare
    for job in trainings:
        assert job["TresPerJob"] == "gres:gpu:1"
        assert job["TimeLimit"] == "04:00:00"
        assert job["MinMemoryNode"] == "16000M"
        assert job["Requeue"] == "1"
    again = finish(start(workspace, cluster, *profile), cluster)
    assert "Nothing to be done" in again


def test_short_runs_share_one_job_and_one_card(workspace: Workspace, cluster: SlurmCluster) -> None:
    workspace.change({"seeds": [0, 1, 2]}, training={"epochs": 1})
    with_data(workspace)
    before = cluster.jobs()
    profiles = [
        "--profile",
        str(PROFILES / "slurm"),
        "--workflow-profile",
        str(PROFILES / "packed"),
    ]
    finish(start(workspace, cluster, *profiles, *HERE, "--", "train"), cluster)
    assert len(workspace.runs()) == 3
    (job,) = new_jobs(cluster, before)
    assert job["TresPerJob"] == "gres:gpu:1"
    assert job["TimeLimit"] == "12:00:00", "one after the other: the sum of three"


def test_interrupted_jobs_are_made_again(workspace: Workspace, cluster: SlurmCluster) -> None:
    """One job is cancelled: retried by the profile. One is requeued, as preemption does it."""
    workspace.change({"seeds": [0, 1]}, training={"epochs": LONG})
    with_data(workspace)
    before = cluster.jobs()
    profile = ["--workflow-profile", str(PROFILES / "slurm"), *HERE]
    study = start(workspace, cluster, *profile, "--", "train")
    try:
        wait_for(lambda: len(training_logs(workspace)) == 2, cluster)
        cancelled, requeued = (job for job in cluster.jobs() if job not in before)
        cluster.ask("scancel", str(cancelled))
        cluster.ask("scontrol", "requeue", str(requeued))
        finish(study, cluster)
    finally:
        study.kill()
    assert len(workspace.runs()) == 2
    assert cluster.details(cancelled)["JobState"] == "CANCELLED"
    assert cluster.details(requeued)["JobState"] == "COMPLETED"
    assert cluster.details(requeued)["Restarts"] == "1"
    (again,) = (job for job in cluster.jobs() if job not in (*before, cancelled, requeued))
    assert cluster.details(again)["JobState"] == "COMPLETED"
    assert cluster.details(again)["MinMemoryNode"] == "32000M", "a second attempt gets more"
    attempts = [json.loads((run / "provenance.json").read_text()) for run in workspace.runs()]
    assert [run["resumed"] for run in attempts] == [1, 1], "both go on from their checkpoints"


def test_a_node_dies_and_the_study_is_as_without(
    workspace: Workspace, two_nodes: SlurmCluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two groups of runs, one a node; the job of the dead node is requeued on the other."""
    seeds, training = {"seeds": [0, 1, 2, 3]}, {"epochs": LONG // 2}
    workspace.change(seeds, training=training)
    with_data(workspace)
    profiles = ["--profile", str(PROFILES / "slurm"), "--workflow-profile"]
    profiles += [str(PROFILES / "packed"), "--group-components", "runs=2"]
    study = start(workspace, two_nodes, *profiles, *HERE, "--", "evaluate")
    try:
        wait_for(lambda: len(training_logs(workspace)) == 2, two_nodes)
        at_work = {two_nodes.details(job)["NodeList"]: job for job in two_nodes.jobs("running")}
        assert at_work.keys() == {"node1", "node2"}
        two_nodes.kill_node("node1")
        finish(study, two_nodes)
    finally:
        study.kill()
    moved = two_nodes.details(at_work["node1"])
    assert (moved["NodeList"], moved["Restarts"]) == ("node2", "1")
    assert sorted(two_nodes.jobs()) == sorted(at_work.values()), "requeued, not submitted again"
    assert {two_nodes.details(job)["JobState"] for job in two_nodes.jobs()} == {"COMPLETED"}
    alone = Workspace(tmp_path_factory.mktemp("alone"))
    alone.change(seeds, training=training)
    done = alone.run("evaluate")
    assert done.returncode == 0, done.stdout
    assert differences(workspace.study, alone.study) == []


def training_logs(workspace: Workspace) -> list[Path]:
    """Logs of trainings that have finished an epoch or more."""
    return [
        path
        for path in (workspace.folder / "logs" / "quick" / "train").rglob("*.log")
        if "task 1/5" in path.read_text()
    ]
