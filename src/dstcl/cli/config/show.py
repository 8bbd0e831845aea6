"""Print the resolved study as YAML."""

from __future__ import annotations

import argparse

from dstcl.cli.config.options import add_params, params_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The configuration."""
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Print the preset in force, the protocols that it uses, and the settings of figures."""
    import yaml

    params = params_of(options)
    protocols = {name: params.protocols[name] for name in params.study.protocol_names()}
    shown = {
        "preset": params.preset,
        "study": params.study.model_dump(),
        "protocols": {name: protocol.model_dump() for name, protocol in protocols.items()},
        "figures": params.figures.model_dump(),
    }
    print(yaml.safe_dump(shown, sort_keys=False), end="")
