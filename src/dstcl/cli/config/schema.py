"""Print the JSON Schema of params.yaml."""

from __future__ import annotations

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(options: argparse.Namespace) -> None:
    """Print the schema."""
    from dstcl.study.load import json_schema

    print(json.dumps(json_schema(), indent=2))
