"""Options that say which configuration is meant."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dstcl.study.presets import Params


def add_params(parser: argparse.ArgumentParser) -> None:
    """A file, or values instead of it, and a preset."""
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--preset", help="instead of the one in the file")
    parser.add_argument("--values", help="the configuration as JSON, instead of a file")


def params_of(options: argparse.Namespace) -> Params:
    """The configuration that these options mean.

    Raises:
        ValueError: it is missing, or not a valid one; names file, key and value.
    """
    from dstcl.study.load import load, load_file, with_preset

    if options.values:
        try:
            values = json.loads(options.values)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"--values: not JSON ({error})") from None
        return load(with_preset(values, options.preset), "--values")
    return load_file(options.params, options.preset)
