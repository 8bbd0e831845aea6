"""The study as typed data: params.yaml in, a checked list of runs out.

Parsing a Snakefile imports this module, so it imports pydantic but neither torch nor mlflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from dstcl.storage import read_yaml
from dstcl.study.presets import DENSE_METHODS, Axes, Benchmark, Params
from dstcl.study.run import Run
from dstcl.study.settings import Model


class ConfigError(ValueError):
    """A params.yaml that cannot be run; the message is one line that names the key."""


def load(values: Mapping[str, Any], source: str = "params.yaml") -> Params:
    """Check a configuration.

    Raises:
        ConfigError: one line that names the key, the value and what is allowed.
    """
    if not isinstance(values, Mapping):
        needed = [name for name, field in Params.model_fields.items() if field.is_required()]
        raise ConfigError(f"{source}: a mapping with keys {', '.join(needed)} is needed")
    try:
        return Params.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{source}: {_one_line(error)}") from None


def load_file(path: str | Path = "params.yaml", preset: str | None = None) -> Params:
    """Read and check a YAML file; ``preset`` replaces the file's.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not pass `load`.
    """
    try:
        values = read_yaml(Path(path))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return load(with_preset(values, preset), str(path))


def with_preset(values: Any, preset: str | None) -> Any:
    """The configuration with another preset, if one is given."""
    return values | {"preset": preset} if preset and isinstance(values, dict) else values


def runs(params: Params) -> list[Run]:
    """The runs that the chosen preset means, in the order of its lists, each once."""
    found: dict[str, Run] = {}
    for block in params.study.blocks():
        for run in _block_runs(params, block):
            found.setdefault(run.digest, run)
    return list(found.values())


def _block_runs(params: Params, block: Axes) -> Iterator[Run]:
    """Every combination of the lists; where a method has no use for a list it counts once."""
    for benchmark, protocol, network, method in product(
        block.benchmarks, block.protocols, block.networks, block.methods
    ):
        dense = method in DENSE_METHODS
        for density, init, growth, seed in product(
            [1.0] if dense else block.densities,
            ["none"] if dense else block.inits,
            block.growths if method == "dst" else ["none"],
            block.seeds,
        ):
            yield _run(params, benchmark, protocol, network, method, density, init, growth, seed)


def _run(
    params: Params,
    benchmark: Benchmark,
    protocol: str,
    network: str,
    method: str,
    density: float,
    init: str,
    growth: str,
    seed: int,
) -> Run:
    overrides = benchmark.model_dump(exclude_none=True)
    settings = {
        "image_size": params.dataset_info(benchmark.dataset).image_size,
        "task_sizes": [],
        **params.study.training.model_dump(),
        **params.study.topology.model_dump(),
        **params.study.engine.model_dump(),
        **params.protocols[protocol].model_dump(),
        **overrides,
    }
    return Run.from_dict(
        settings
        | {
            "protocol": protocol,
            "network": network,
            "method": method,
            "density": float(density),
            "init": init,
            "growth": growth,
            "seed": seed,
            "ewc_strength": params.study.baselines.ewc_strength if method == "ewc" else 0.0,
        }
    )


def json_schema() -> dict[str, Any]:
    """JSON Schema of params.yaml, for editors; kept in workflow/schemas and tested in step."""
    return Params.model_json_schema() | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of dstcl",
    }


def _one_line(error: ValidationError) -> str:
    """The first problem as ``key: value; what is allowed``, and how many more there are."""
    problems = error.errors(include_url=False)
    first = problems[0]
    key = ""
    for part in first["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    if first["type"] == "extra_forbidden":
        text = f"{key}: unknown key; allowed: {', '.join(_siblings(first['loc']))}"
    elif first["type"] == "missing":
        text = f"{key}: missing"
    elif first["type"] == "value_error" and isinstance(first["input"], (dict, Model)):
        message = str(first["ctx"]["error"])
        text = f"{key}.{message}" if key else message
    else:
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        text = f"{key}: {first['input']!r}; {allowed}"
        if first["type"] == "float_type" and isinstance(first["input"], str):
            text += " (YAML takes 1e-3 for text: write 1.0e-3)"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(text.split()) + more


def _siblings(location: tuple[Any, ...]) -> list[str]:
    """Names allowed beside an unknown key, found by walking the types along its location."""
    kind: Any = Params
    for part in location[:-1]:
        kind = _bare(kind)
        model = isinstance(kind, type) and issubclass(kind, Model)
        kind = kind.model_fields[part].annotation if model else get_args(kind)[-1]
    return list(_bare(kind).model_fields)


def _bare(kind: Any) -> Any:
    """A type without ``| None`` and without annotations around it."""
    while get_origin(kind) in (Union, UnionType, Annotated):
        kind = get_args(kind)[0]
    return kind
