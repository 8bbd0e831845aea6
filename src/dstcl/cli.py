"""The command line: what the rules call, and what a person can call too.

Imports happen inside the commands: reading a configuration must not load torch, and training must
not load pandas, pydantic or mlflow.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dstcl import __version__
from dstcl.interruption import EXIT_CODE, Interrupted


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; a mistake of the user ends with one line on stderr and exit code 1."""
    options = build_parser().parse_args(arguments)
    try:
        options.command(options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a list has seen enough, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError) as error:
        sys.exit(f"dstcl: {error}")
    except Interrupted as stop:
        print(f"dstcl: {stop}", file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        sys.exit("dstcl: interrupted; nothing half-written is left")


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(prog="dstcl", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_config(commands)
    _add_data(commands)
    _add_train(commands)
    _add_results(commands)
    return parser


def _add(commands: Any, name: str, command: Callable[..., None], text: str) -> Any:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    return parser


def _add_config(commands: Any) -> None:
    config = commands.add_parser("config", help="look at the study that params.yaml describes")
    parts = config.add_subparsers(required=True, metavar="WHAT")
    show = _add(parts, "show", config_show, "print the resolved study as YAML")
    runs = _add(parts, "runs", config_runs, "list the runs with their digests")
    runs.add_argument("--json", action="store_true", help="full run descriptions for dstcl train")
    plan = _add(parts, "plan", config_plan, "write the list of runs to a file")
    plan.add_argument("--out", type=Path, required=True)
    check = _add(parts, "check", config_check, "compare a study's files with params.yaml")
    check.add_argument("study", type=Path, help="folder of the study: results/<preset>")
    _add(parts, "schema", config_schema, "print the JSON Schema of params.yaml")
    cost = _add(parts, "cost", config_cost, "estimate what a preset costs before it is started")
    cost.add_argument("--device", default="cpu", help="cpu, or a part of a GPU's name")
    cost.add_argument("--images-per-second", type=float, help="instead of a measured speed")
    cost.add_argument("--at-once", type=int, default=1, help="runs at once, each on its device")
    for part in (show, runs, plan, cost, check):
        part.add_argument("--params", type=Path, default=Path("params.yaml"))
        part.add_argument("--preset", help="instead of the one in the file")
        part.add_argument("--values", help="the configuration as JSON, instead of a file")


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", help="get data sets, prepare, check and split them")
    parts = data.add_subparsers(required=True, metavar="WHAT")
    every = _add(parts, "list", data_list, "list data sets and what of them is there")
    bring = _add(parts, "add", data_add, "bring a data set to where archives are looked for")
    bring.add_argument("dataset")
    bring.add_argument("path", type=Path, nargs="?", help="folder or archive; none to download")
    bring.add_argument("--link", action="store_true", help="link to it instead of copying")
    prepare = _add(parts, "prepare", data_prepare, "write the prepared file of a data set")
    prepare.add_argument("dataset")
    prepare.add_argument("--image-size", type=int, required=True)
    prepare.add_argument("--out", type=Path, required=True)
    prepare.add_argument("--own", help="entry of a set of one's own as JSON, instead of --params")
    prepare.add_argument(
        "--workers", type=int, default=_cores(), help="processes that decode; default: all cores"
    )
    for part in (every, prepare):
        part.add_argument("--params", type=Path, default=Path("params.yaml"))
    look = _add(parts, "check", data_check, "say what a prepared file holds and if it is whole")
    sheet = _add(parts, "sheet", data_sheet, "draw some images of every class")
    for part in (look, sheet):
        part.add_argument("dataset")
        part.add_argument("--data", type=Path, help="prepared file; default: in data/prepared")
    sheet.add_argument("--out", type=Path, required=True, help="PNG file")
    sheet.add_argument("--samples", type=int, default=10, help="images a class")
    split = _add(parts, "split", data_split, "write which classes form which task")
    split.add_argument("dataset")
    split.add_argument("--data", type=Path, required=True, help="prepared file")
    split.add_argument("--tasks", type=int, required=True)
    split.add_argument(
        "--order",
        required=True,
        help="natural, superclass or seed<k>; then -sizes50+5x10 for unequal tasks, then -val0.1",
    )
    split.add_argument("--out", type=Path, required=True)


def _cores() -> int:
    """Cores that this process may use, which a scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _add_train(commands: Any) -> None:
    train = _add(commands, "train", train_one, "train one run from its description")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", help="run description as JSON (dstcl config runs --json)")
    source.add_argument("--run-file", type=Path, help="file with that JSON")
    train.add_argument("--data", type=Path, required=True, help="prepared file")
    train.add_argument("--tasks", type=Path, required=True, help="task split of that data")
    train.add_argument("--out", type=Path, required=True, help="folder of the run")
    train.add_argument("--device", default="auto", help="auto, cpu or cuda")
    train.add_argument("--gpus", type=int, help="GPUs given to this job: 0 or 1, not --device")
    train.add_argument("--gpu-slots", default="", help="cards x runs a card of this machine: 4x2")
    train.add_argument("--threads", type=int, help="CPU threads")
    train.add_argument(
        "--checkpoint-every",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="seconds between checkpoints, from which an interrupted run goes on (default 300)",
    )


def _add_results(commands: Any) -> None:
    for name, command, text in (
        ("collect", results_collect, "check finished runs and gather them into tables"),
        ("claims", results_claims, "test the paper's claims and compare with its numbers"),
        ("figure", results_figure, "draw one figure as SVG, PDF and PNG, with its CSV"),
        ("overview", results_overview, "write the few numbers that dvc metrics compares"),
        ("summary", results_summary, "write the study's summary in Markdown"),
        ("report", results_report, "write the study as one self-contained page"),
        ("track", results_track, "send finished and failed runs to MLflow"),
    ):
        part = _add(commands, name, command, text)
        if name == "figure":
            part.add_argument("name")
            part.add_argument("--dpi", type=int, default=150, help="of the PNG")
        if name == "report":
            template = Path("workflow/report/report.html.j2")
            part.add_argument("--template", type=Path, default=template, help="of the page")
        if name == "claims":
            reference = "folder with claims.yaml and paper.csv"
            part.add_argument("--reference", type=Path, default=Path("reference"), help=reference)
        if name == "track":
            _add_track_options(part)
        part.add_argument("study", type=Path, help="folder of the study: results/<preset>")
    merge = _add(commands, "merge", results_merge, "put runs of several machines into one study")
    merge.add_argument("studies", type=Path, nargs="+", metavar="DIR", help="results/<preset>")
    merge.add_argument("--out", type=Path, required=True, help="folder of the new study")
    register = _add(commands, "register", register_run, "put a run's model into MLflow's registry")
    register.add_argument("run", type=Path, help="folder of the run: results/<preset>/runs/...")
    register.add_argument("--tasks", type=Path, help="task split; default: the pipeline's")
    register.add_argument("--data", type=Path, help="prepared file; default: the pipeline's")
    register.add_argument("--name", help="of the model; default: from preset and configuration")


def _add_track_options(track: argparse.ArgumentParser) -> None:
    mode = track.add_mutually_exclusive_group()
    mode.add_argument(
        "--watch",
        type=float,
        nargs="?",
        const=30.0,
        metavar="SECONDS",
        help="go on while runs train, with their curves so far (default: every 30 s)",
    )
    mode.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="as the pipeline does: write what was sent; without MLflow, that and no error",
    )
    track.add_argument("--failures", type=int, default=0, help="with --record: earlier ones")


def config_show(options: argparse.Namespace) -> None:
    """Print the resolved study as YAML."""
    import yaml

    params = _params(options)
    study = params.study.model_dump()
    shown = {
        "preset": params.preset,
        "study": study,
        "protocols": {
            name: params.protocols[name].model_dump() for name in params.study.protocol_names()
        },
        "figures": params.figures.model_dump(),
    }
    print(yaml.safe_dump(shown, sort_keys=False), end="")


def config_runs(options: argparse.Namespace) -> None:
    """List runs: digest and folder a line, or full descriptions as JSON."""
    from dstcl.config import runs

    planned = runs(_params(options))
    if options.json:
        print(json.dumps([run.to_dict() for run in planned], indent=2))
        return
    for run in planned:
        print(run.digest, run.folder)
    print(f"{len(planned)} runs", file=sys.stderr)


def config_plan(options: argparse.Namespace) -> None:
    """Write the list of runs to a file."""
    from dstcl.config import runs
    from dstcl.plan import write_plan

    params = _params(options)
    write_plan(params.preset, runs(params), options.out)


def config_cost(options: argparse.Namespace) -> None:
    """Print steps, images, time and disk of the preset."""
    from dstcl.config import runs
    from dstcl.estimate import cost_report

    params = _params(options)
    print(f"preset {params.preset}: ", end="")
    print(cost_report(runs(params), options.device, options.images_per_second, options.at_once))


def config_check(options: argparse.Namespace) -> None:
    """Compare plan, runs and tables of a study with params.yaml."""
    from dstcl.config import runs
    from dstcl.evaluation.check import check_study

    check_study(runs(_params(options)), options.study)


def config_schema(options: argparse.Namespace) -> None:
    """Print the JSON Schema of params.yaml."""
    from dstcl.config import json_schema

    print(json.dumps(json_schema(), indent=2))


def data_list(options: argparse.Namespace) -> None:
    """List data sets and what of them is there."""
    from dstcl.data.check import overview

    print(*overview(_own_datasets(options.params)), sep="\n")


def data_add(options: argparse.Namespace) -> None:
    """Bring a data set to where archives are looked for."""
    from dstcl.data.add import add

    print(f"{add(options.dataset, options.path, link=options.link)}: there", file=sys.stderr)


def data_prepare(options: argparse.Namespace) -> None:
    """Write the prepared file of a data set."""
    from dstcl.data.catalog import DATASETS
    from dstcl.data.prepare import prepare

    if options.workers < 1:
        raise ValueError(f"--workers: {options.workers}; at least 1")
    own = None
    if options.dataset not in DATASETS:
        entries = {options.dataset: options.own} if options.own else options.params
        own = _own_datasets(entries).get(options.dataset)
    digest = prepare(options.dataset, options.image_size, options.out, own, options.workers)
    print(f"{options.out}: digest {digest}", file=sys.stderr)


def data_check(options: argparse.Namespace) -> None:
    """Say what a prepared file holds; ends with an error if it is not whole."""
    from dstcl.data.check import check, find_prepared

    path = options.data or find_prepared(options.dataset)
    report = check(path)
    print(*report.lines, sep="\n")
    if report.problems:
        raise ValueError(f"{path}: {'; '.join(report.problems)}")


def data_sheet(options: argparse.Namespace) -> None:
    """Draw some images of every class."""
    from dstcl.data.check import find_prepared
    from dstcl.data.prepare import load_prepared
    from dstcl.data.sheet import write_sheet

    if options.samples < 1:
        raise ValueError(f"--samples: {options.samples}; at least 1")
    data = load_prepared(options.data or find_prepared(options.dataset))
    write_sheet(data, options.out, options.samples)


def data_split(options: argparse.Namespace) -> None:
    """Write which classes form which task."""
    from dstcl.data.tasks import write_tasks

    write_tasks(options.data, options.dataset, options.tasks, options.order, options.out)


def train_one(options: argparse.Namespace) -> None:
    """Train one run from its description, on the card that this job was given."""
    from dstcl.devices import granted_device

    with granted_device(options.device, options.gpus, options.gpu_slots) as device:
        _train_on(device, options)


def _train_on(device: str, options: argparse.Namespace) -> None:
    from dstcl.continual.record import train_run
    from dstcl.progress import EpochProgress
    from dstcl.runs import Run
    from dstcl.storage import read_json

    try:
        values = json.loads(options.run) if options.run else read_json(options.run_file)
    except json.JSONDecodeError as error:
        raise ValueError(f"--run: not JSON ({error})") from None
    run = Run.from_dict(values)
    with EpochProgress(run) as progress:
        metrics = train_run(
            run,
            options.data,
            options.tasks,
            options.out,
            device=device,
            threads=options.threads,
            progress=progress,
            checkpoint_every=options.checkpoint_every,
        )
    print(f"done: accuracy {metrics['acc']:.4f} in {metrics['seconds']:.1f} s", file=sys.stderr)


def results_collect(options: argparse.Namespace) -> None:
    """Check finished runs and gather them into tables."""
    from dstcl.evaluation.collect import collect
    from dstcl.plan import read_plan

    _, runs = read_plan(options.study)
    collect(runs, options.study)


def results_claims(options: argparse.Namespace) -> None:
    """Write claims.csv and paper.csv of a study."""
    from dstcl.evaluation.reference import write_claims

    write_claims(options.study, options.reference)


def results_figure(options: argparse.Namespace) -> None:
    """Draw one figure in every format, with the CSV behind it."""
    from dstcl.figures import draw_figure

    draw_figure(options.name, options.study, options.dpi)


def results_overview(options: argparse.Namespace) -> None:
    """Write the few numbers that `dvc metrics diff` compares between revisions."""
    from dstcl.evaluation.overview import write_overview

    write_overview(options.study)


def results_summary(options: argparse.Namespace) -> None:
    """Write the study's summary in Markdown."""
    from dstcl.evaluation.summary import write_summary
    from dstcl.plan import read_plan

    preset, _ = read_plan(options.study)
    write_summary(preset, options.study)


def results_merge(options: argparse.Namespace) -> None:
    """Put runs of several machines into one study."""
    from dstcl.evaluation.merge import merge

    merged = merge(options.studies, options.out)
    again = f", {merged.twice} of them found twice" if merged.twice else ""
    print(f"{options.out}: {len(merged.runs)} runs{again}", file=sys.stderr)
    if merged.missing:
        first = merged.missing[0]
        print(f"{len(merged.missing)} planned runs are in no folder: {first} ...", file=sys.stderr)


def results_report(options: argparse.Namespace) -> None:
    """Write the study as one self-contained page."""
    from dstcl.evaluation.report import write_report
    from dstcl.plan import read_plan

    preset, _ = read_plan(options.study)
    write_report(preset, options.study, options.template)


def results_track(options: argparse.Namespace) -> None:
    """Send finished and failed runs to MLflow."""
    from dstcl.tracking import study

    if options.watch is not None:
        if options.watch <= 0:
            raise ValueError(f"--watch: {options.watch:g}; more than 0 seconds are needed")
        study.watch(options.study, options.watch, lambda line: print(line, flush=True))
    elif options.record:
        study.track_and_record(options.study, options.record, options.failures, print)
    else:
        print(study.track(options.study))


def register_run(options: argparse.Namespace) -> None:
    """Put a run's model into MLflow's registry."""
    from dstcl.tracking.register import register

    files = {"tasks": options.tasks, "data": options.data}
    print(register(options.run, **files, name=options.name))


def _own_datasets(entries: Path | dict[str, str]) -> dict[str, Any]:
    """Facts of the user's own data sets, from params.yaml (if there is one) or from JSON."""
    from dstcl.data.catalog import own_dataset

    if isinstance(entries, Path):
        if not entries.exists():
            return {}
        from dstcl.config import load_file

        sets = load_file(entries).datasets
        return {name: own_dataset(name, own.model_dump()) for name, own in sets.items()}
    try:
        return {name: own_dataset(name, json.loads(text)) for name, text in entries.items()}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"--own: not the JSON of an entry under datasets ({error})") from None


def _params(options: argparse.Namespace) -> Any:
    from dstcl.config import load, load_file, with_preset

    if options.values:
        try:
            values = json.loads(options.values)
        except json.JSONDecodeError as error:
            raise ValueError(f"--values: not JSON ({error})") from None
        return load(with_preset(values, options.preset), "--values")
    return load_file(options.params, options.preset)
