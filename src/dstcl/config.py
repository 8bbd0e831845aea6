"""The study as typed data: params.yaml in, a checked list of runs out.

Parsing a Snakefile imports this module, so it imports pydantic but neither torch nor mlflow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import ValidationError

from dstcl.runs import Run
from dstcl.study import DENSE_METHODS, Axes, Benchmark, Model, Params


class ConfigError(ValueError):
    """A params.yaml that cannot be run; the message is one line that names the key."""


class UniqueKeys(yaml.SafeLoader):
    """YAML's safe subset without a key twice in one mapping, of which YAML would take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """The mapping; raises ConfigError with line and key."""
        keys = [key.value for key, _ in node.value]
        repeated = [key for index, key in enumerate(keys) if key in keys[:index]]
        if repeated:
            raise ConfigError(f"line {node.start_mark.line + 1}: key {repeated[0]!r} twice")
        return super().construct_mapping(node, deep)


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
        values = yaml.load(Path(path).read_text(), UniqueKeys)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}:{where} is not YAML") from None
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
    axes = product(
        block.benchmarks,
        block.protocols,
        block.networks,
        block.methods,
        block.densities,
        block.inits,
        block.growths,
        block.seeds,
    )
    return (_run(params, *point) for point in axes)


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
        **params.protocols[protocol].model_dump(),
        **overrides,
    }
    dense = method in DENSE_METHODS
    return Run.from_dict(
        settings
        | {
            "protocol": protocol,
            "network": network,
            "method": method,
            "density": 1.0 if dense else float(density),
            "init": "none" if dense else init,
            "growth": growth if method == "dst" else "none",
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
