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

    from dstcl.study.fields import plain

    params = params_of(options)
    values = plain(params.model_dump())
    shown = {
        "preset": params.preset,
        "study": values["presets"][params.preset],
        "protocols": {name: values["protocols"][name] for name in params.study.protocol_names()},
        "figures": values["figures"],
    }
    print(yaml.safe_dump(shown, sort_keys=False), end="")
