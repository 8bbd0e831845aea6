"""Estimate what a preset costs before it is started."""

from __future__ import annotations

import argparse

from dstcl.cli.config.options import add_params, params_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The configuration, and the machine."""
    parser.add_argument("--device", default="cpu", help="cpu, or a part of a GPU's name")
    parser.add_argument("--images-per-second", type=float, help="instead of a measured speed")
    parser.add_argument("--at-once", type=int, default=1, help="runs at once, each on its device")
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Print steps, images, time and disk of the preset."""
    from dstcl.study.estimate import cost_report
    from dstcl.study.load import runs

    params = params_of(options)
    print(f"preset {params.preset}: ", end="")
    print(cost_report(runs(params), options.device, options.images_per_second, options.at_once))
