"""Estimate the cost of a preset before you start it."""

from __future__ import annotations

import argparse

from dstcl.cli.config.options import add_params, params_of, say_remarks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The configuration, and the machine."""
    parser.add_argument("--device", default="cpu", help="cpu, or part of a GPU's name")
    parser.add_argument(
        "--images-per-second", type=float, help="use this instead of a measured speed"
    )
    parser.add_argument(
        "--at-once", type=int, default=1, help="number of runs at once, each on its own device"
    )
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Print steps, images, time and disk of the preset, and its parts where it has some."""
    from dstcl.study.estimate import cost_report
    from dstcl.study.load import runs, runs_by_part

    params = params_of(options)
    planned, machine = runs(params), (options.device, options.images_per_second, options.at_once)
    say_remarks(planned)
    print(f"preset {params.preset}: {cost_report(planned, *machine, parts=runs_by_part(params))}")
