"""One idempotent upsert by a single writer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dstcl.study.run import RESULT_FILES
from dstcl.tracking import finished, summaries
from dstcl.tracking.database import (
    EXPERIMENTS,
    Experiment,
    check_server,
    hurried,
    tracking_errors,
    tracking_uri,
)
from dstcl.tracking.entry import CONFIGURATION, KIND, PARENT, RUNNING, Entry
from dstcl.tracking.lock import single_writer
from dstcl.tracking.report import SyncReport
from dstcl.tracking.unfinished import Unfinished, unfinished_entry


def sync(
    preset: str,
    run_folders: Sequence[Path],
    figures: Sequence[Path] = (),
    uri: str | None = None,
    *,
    unfinished: Sequence[Unfinished] = (),
    live: bool = False,
) -> SyncReport:
    """Record runs and figures in the experiment ``dstcl/<preset>``.

    What is there already with the same content is not touched: a second call writes nothing. A run
    whose files changed is deleted and recorded anew, since MLflow can neither change a parameter
    nor drop a metric's history. Runs of folders that are not named stay, so calls with parts of a
    study add up. Concurrent calls on one machine wait for each other; a tracking server must have
    one writing machine a preset.

    Args:
        preset: name of the preset.
        run_folders: folders below ``results/<preset>/runs``, named as
            `dstcl.study.run.Run.folder` says; those without ``metrics.json`` have not finished.
        figures: figure files of the preset; without any, recorded ones are left alone.
        uri: MLflow tracking URI; default ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``.
        unfinished: those among the folders: failed ones are recorded.
        live: record those still running too, with what there is of their curves.

    Raises:
        ValueError: naming the file, if a result file of a finished run is missing or malformed;
            nothing has been written then.
        TrackingError: MLflow cannot be reached or refuses.
    """
    uri = tracking_uri(uri)
    check_server(uri)
    folders = {_key(folder): folder for folder in sorted(set(run_folders))}
    done = {key: f for key, f in folders.items() if (f / RESULT_FILES["metrics"]).is_file()}
    contents = {key: finished.content(folder) for key, folder in done.items()}
    running = {u.run.folder for u in unfinished if u.status == RUNNING}
    told = [unfinished_entry(u, u.run.folder) for u in unfinished if live or u.status != RUNNING]

    with tracking_errors(uri), single_writer(uri), hurried(uri):
        experiment = Experiment(uri, f"{EXPERIMENTS}{preset}")
        known = experiment.stored()
        # Neither the remains of an interrupted sync nor runs that nobody is training any more.
        abandoned = [r for r in known if r.status == RUNNING and r.key in folders.keys() - running]
        abandoned = [run for run in abandoned if run.tags[KIND] == "seed"]
        lost = {run.run_id for run in abandoned}
        whole = {(r.key, r.content): r for r in known if r.content and r.run_id not in lost}

        # 1. Decide. Everything that bad input can break happens before the first write.
        current = {run.key: whole.get((run.key, run.content), run) for run in told} | {
            key: whole.get((key, content)) or finished.read_finished(done[key], key, content)
            for key, content in contents.items()
        }
        groups = _by_configuration(whole.values(), current)
        others = [summaries.parent(key, members) for key, members in groups.items()]
        others += [summaries.figures(figures)] if figures else []
        others = [whole.get((run.key, run.content), run) for run in others]
        report = _report(current, {run.key for run in known if run.status != RUNNING}, folders)

        # 2. Delete what is superseded. Killed here, the next call finds too little and restores it.
        keep = {run.run_id for run in [*current.values(), *others]}
        replaceable = {"configuration", "figures"} if figures else {"configuration"}
        for run in known:
            mine = run.key in current or run.tags[KIND] in replaceable or run.run_id in lost
            if mine and run.run_id not in keep:
                experiment.delete(run)

        # 3. Write, parents first: children name them.
        for record in others:
            parent = record.run_id or experiment.create(record)
            for run in groups.get(record.key, ()):
                if run.run_id is None:
                    run.tags[PARENT] = parent
                    experiment.create(run)
                elif run.tags.get(PARENT) != parent:
                    experiment.set_parent(run, parent)
        for run in told:
            if run.status == RUNNING and (run_id := current[run.key].run_id):
                experiment.add_points(run_id, run)
    return report


def _key(folder: Path) -> str:
    """A run's identity within its preset: its path below runs/, which ends in its digest."""
    return folder.as_posix().rpartition("/runs/")[2]


def _by_configuration(
    stored: Iterable[Entry], current: Mapping[str, Entry]
) -> dict[str, list[Entry]]:
    """Runs by configuration: a parent describes all its children in the database, not only those
    of one call."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for run in [*(r for r in stored if r.key not in current), *current.values()]:
        if run.tags[KIND] == "seed":
            groups[run.tags[CONFIGURATION]].append(run)
    return groups


def _report(current: Mapping[str, Entry], before: set[str], asked: Iterable[str]) -> SyncReport:
    settled = {key: run for key, run in current.items() if run.status != RUNNING}
    new = [key for key, run in settled.items() if run.run_id is None]
    updated = sum(key in before for key in new)
    return SyncReport(
        created=len(new) - updated,
        updated=updated,
        unchanged=len(settled) - len(new),
        failed=sum(run.failed for run in settled.values()),
        unfinished=len(set(asked) - settled.keys()),
    )
