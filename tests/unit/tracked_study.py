"""Finished run folders with known numbers, and the database that they were synced to."""

from pathlib import Path

from dstcl.study.run import Run
from dstcl.tracking import SyncReport, sync
from dstcl.tracking.entry import PARENT
from helpers.finished import finished_run
from helpers.runs import quick_run

TASKS, EPOCHS = 2, 3


def tracked_run(seed: int, method: str = "dst", epochs: int = EPOCHS) -> Run:
    """The description of a run, with a network that only its name is needed of."""
    return quick_run(
        tasks=TASKS,
        network="cnn",
        method=method,
        density=0.1,
        init="erk",
        growth="gradient",
        seed=seed,
        epochs=epochs,
        learning_rate=0.05,
        lr_milestones=[0.5, 0.75],
    )


def write_run(results: Path, seed: int, method: str = "dst", epochs: int = EPOCHS) -> Path:
    """A finished run folder below ``results/tiny`` with numbers that follow from the seed."""
    rows = ["task,epoch,loss,accuracy,learning_rate,prune_rate,density,explored"]
    for task in range(1, TASKS + 1):
        for epoch in range(1, epochs + 1):
            rate = "" if epoch == 1 else "0.3"
            rows.append(f"{task},{epoch},{task + 1 / epoch},0.6,0.05,{rate},0.1,0.2")
    return finished_run(
        results / "tiny",
        tracked_run(seed, method, epochs),
        metrics={
            "acc": 0.8 + seed / 100,
            "bwt": -0.125,
            "fwt": None,
            "forgetting": 0.05 * seed,
            "used_fraction": 0.25,
            "seconds": 10.0 + seed,
        },
        provenance={
            "git_dirty": True,
            "data_digest": "d" * 64,
            "finished": f"2026-01-02T03:04:{15 + seed}+00:00",
        },
        files={
            "accuracy": "after_task,task,accuracy\n"
            "0,1,0.5\n0,2,0.4\n1,1,0.9\n1,2,0.3\n2,1,0.8\n2,2,0.7\n",
            "history": "\n".join(rows) + "\n",
            "capacity": "task,layer,size,active,new,shared,free\n"
            "1,conv,100,10,10,0,90\n1,head,300,30,30,0,270\n"
            "2,conv,100,10,8,2,80\n2,head,300,30,20,10,220\n",
            "overlap": None,
        },
    )


class Study:
    """Some run folders and figures, and the database that they were synced to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root / "mlflow.db"
        self.uri = f"sqlite:///{self.database}"

    @property
    def folders(self) -> list[Path]:
        return sorted(path.parent for path in (self.root / "results").rglob("config.json"))

    @property
    def figures(self) -> list[Path]:
        return sorted((self.root / "results").rglob("*.svg"))

    def sync(self) -> SyncReport:
        return sync("tiny", self.folders, self.figures, uri=self.uri)

    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def runs(self) -> dict:
        """Runs by name; fails if two have the same name."""
        client = self.client()
        experiment = client.get_experiment_by_name("dstcl/tiny")
        runs = client.search_runs([experiment.experiment_id])
        names = sorted(run.info.run_name for run in runs)
        assert len(set(names)) == len(names), names
        return {run.info.run_name: run for run in runs}

    def curve(self, run, key: str) -> list[tuple[int, float]]:
        history = self.client().get_metric_history(run.info.run_id, key)
        return sorted((metric.step, metric.value) for metric in history)

    def content(self) -> dict:
        """All that the experiment says, without what MLflow chooses (ids)."""
        runs = self.runs()
        names = {run.info.run_id: name for name, run in runs.items()}
        return {
            name: (
                run.data.params,
                run.data.tags | {PARENT: names.get(run.data.tags.get(PARENT, ""), "")},
                {key: self.curve(run, key) for key in run.data.metrics},
                (run.info.start_time, run.info.end_time, run.info.status),
            )
            for name, run in runs.items()
        }
