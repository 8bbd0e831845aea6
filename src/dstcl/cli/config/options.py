"""Options that say which configuration is meant."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dstcl.study.params import Params
    from dstcl.study.run import Run


def add_params(parser: argparse.ArgumentParser) -> None:
    """A file, or values instead of it, and a preset."""
    what = "file with the study (default %(default)s)"
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help=what)
    parser.add_argument("--preset", help="preset to use instead of the one in the file")
    parser.add_argument(
        "--part", action="append", default=[], help="part of the preset; may be repeated"
    )
    parser.add_argument("--values", help="the configuration as JSON, instead of a file")


def say_remarks(runs: Sequence[Run]) -> None:
    """Print what a reader should know of these runs, apart from what the command is asked for."""
    from dstcl.study.remarks import remarks

    for line in remarks(runs):
        print(f"remark: {line}", file=sys.stderr)


def params_of(options: argparse.Namespace) -> Params:
    """The configuration that these options mean.

    Raises:
        ValueError: it is missing, or not a valid one; names file, key and value.
    """
    from dstcl.study.load import load, load_file, with_preset

    chosen = {"preset": options.preset, "parts": options.part}
    if options.values:
        try:
            values = json.loads(options.values)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"--values: not JSON ({error})") from None
        return load(with_preset(values, **chosen), "--values")
    return load_file(options.params, **chosen)
