"""`dstcl config`: look at the study that params.yaml describes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dstcl.cli.command import add_command


def add_config(commands: Any) -> None:
    """Add the commands of this module."""
    config = commands.add_parser("config", help="look at the study that params.yaml describes")
    parts = config.add_subparsers(required=True, metavar="WHAT")
    show = add_command(parts, "show", config_show, "print the resolved study as YAML")
    runs = add_command(parts, "runs", config_runs, "list the runs with their digests")
    runs.add_argument("--json", action="store_true", help="full run descriptions for dstcl train")
    plan = add_command(parts, "plan", config_plan, "write the list of runs to a file")
    plan.add_argument("--out", type=Path, required=True)
    check = add_command(parts, "check", config_check, "compare a study's files with params.yaml")
    check.add_argument("study", type=Path, help="folder of the study: results/<preset>")
    add_command(parts, "schema", config_schema, "print the JSON Schema of params.yaml")
    cost = add_command(
        parts, "cost", config_cost, "estimate what a preset costs before it is started"
    )
    cost.add_argument("--device", default="cpu", help="cpu, or a part of a GPU's name")
    cost.add_argument("--images-per-second", type=float, help="instead of a measured speed")
    cost.add_argument("--at-once", type=int, default=1, help="runs at once, each on its device")
    for part in (show, runs, plan, cost, check):
        part.add_argument("--params", type=Path, default=Path("params.yaml"))
        part.add_argument("--preset", help="instead of the one in the file")
        part.add_argument("--values", help="the configuration as JSON, instead of a file")


def config_show(options: argparse.Namespace) -> None:
    """Print the resolved study as YAML."""
    import yaml

    from dstcl.study.fields import plain

    params = _params(options)
    values = plain(params.model_dump())
    shown = {
        "preset": params.preset,
        "study": values["presets"][params.preset],
        "protocols": {name: values["protocols"][name] for name in params.study.protocol_names()},
        "figures": values["figures"],
    }
    print(yaml.safe_dump(shown, sort_keys=False), end="")


def config_runs(options: argparse.Namespace) -> None:
    """List runs: digest and folder a line, or full descriptions as JSON."""
    from dstcl.study.load import runs

    planned = runs(_params(options))
    if options.json:
        print(json.dumps([run.to_dict() for run in planned], indent=2))
        return
    for run in planned:
        print(run.digest, run.folder)
    print(f"{len(planned)} runs", file=sys.stderr)


def config_plan(options: argparse.Namespace) -> None:
    """Write the list of runs to a file."""
    from dstcl.study.load import runs
    from dstcl.study.plan import write_plan

    params = _params(options)
    write_plan(params.preset, runs(params), options.out)


def config_cost(options: argparse.Namespace) -> None:
    """Print steps, images, time and disk of the preset."""
    from dstcl.study.estimate import cost_report
    from dstcl.study.load import runs

    params = _params(options)
    print(f"preset {params.preset}: ", end="")
    print(cost_report(runs(params), options.device, options.images_per_second, options.at_once))


def config_check(options: argparse.Namespace) -> None:
    """Compare plan, runs and tables of a study with params.yaml."""
    from dstcl.evaluation.consistency import check_study
    from dstcl.study.load import runs

    check_study(runs(_params(options)), options.study)


def config_schema(options: argparse.Namespace) -> None:
    """Print the JSON Schema of params.yaml."""
    from dstcl.study.load import json_schema

    print(json.dumps(json_schema(), indent=2))


def _params(options: argparse.Namespace) -> Any:
    from dstcl.study.load import load, load_file, with_preset

    if options.values:
        try:
            values = json.loads(options.values)
        except json.JSONDecodeError as error:
            raise ValueError(f"--values: not JSON ({error})") from None
        return load(with_preset(values, options.preset), "--values")
    return load_file(options.params, options.preset)
