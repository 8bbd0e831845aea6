"""The study as typed data: params.yaml in, a checked list of runs out.

Parsing a Snakefile imports this module, so it imports pydantic but neither torch nor mlflow.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import ValidationError

from dstcl.storage import read_yaml
from dstcl.study.benchmarks import Benchmark
from dstcl.study.changes import changed_fields
from dstcl.study.fields import Settings, setting_names
from dstcl.study.methods import method_facts
from dstcl.study.models import Model
from dstcl.study.params import Params
from dstcl.study.parts import NOT_READ
from dstcl.study.presets import Axes
from dstcl.study.run import Run
from dstcl.study.settings import Data
from dstcl.study.twins import twin_problem

S = TypeVar("S", bound=Settings)


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
        params = Params.model_validate(dict(values))
        for name, preset in params.presets.items():
            if preset.names_again():
                runs(params.model_copy(update={"preset": name, "parts": []}))
    except ValidationError as error:
        raise ConfigError(f"{source}: {_one_line(error)}") from None
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return params


def load_file(
    path: str | Path = "params.yaml", preset: str | None = None, parts: Sequence[str] = ()
) -> Params:
    """Read and check a YAML file; ``preset`` and ``parts`` replace the file's.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not pass `load`.
    """
    try:
        values = read_yaml(Path(path))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return load(with_preset(values, preset, parts), str(path))


def layered(files: Sequence[Path], values: Mapping[str, Any]) -> dict[str, Any]:
    """YAML files and values, each laid over what is before it, mapping by mapping.

    What Snakemake makes of its configuration, but read as every other command reads it.

    Raises:
        ConfigError: a file is missing, is not YAML, has a key twice, or holds no mapping.
    """
    whole: dict[str, Any] = {}
    for path in files:
        try:
            layer = read_yaml(path)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if not isinstance(layer, dict):
            raise ConfigError(f"{path}: a mapping with keys at the top is needed")
        _lay_over(whole, layer)
    _lay_over(whole, values)
    return whole


def _lay_over(below: dict[Any, Any], above: Mapping[Any, Any]) -> None:
    """Mappings are copied: two that an alias made one must not change together."""
    for key, value in above.items():
        if isinstance(value, Mapping):
            if not isinstance(below.get(key), dict):
                below[key] = {}
            _lay_over(below[key], value)
        else:
            below[key] = value


def with_preset(values: Any, preset: str | None, parts: Sequence[str] = ()) -> Any:
    """The configuration with another preset or parts, if such are given."""
    given = {"preset": preset, "parts": list(parts)}
    chosen = {key: value for key, value in given.items() if value}
    return values | chosen if isinstance(values, dict) else values


def runs(params: Params) -> list[Run]:
    """The runs that the chosen preset or its chosen parts mean, in the order of the lists.

    Raises:
        ConfigError: settings that exclude each other, or two runs of the same axes; one line.
    """
    found: dict[str, Run] = {}
    for _, members in _blocks(params):
        for run in members:
            found.setdefault(run.digest, run)
    if problem := twin_problem(found.values()):
        key, _, words = problem.partition(": ")
        varied = [place.key(key) for place, _ in params.study.placed_blocks() if place.has(key)]
        raise ConfigError(f"presets.{params.preset}.{[key, *varied][-1]}: {words}")
    return list(found.values())


def runs_by_part(params: Params) -> dict[str, list[Run]]:
    """The runs of each part that is run; a run may be in several. "" is what is in none.

    Raises:
        ConfigError: settings that exclude each other; one line.
    """
    found: dict[str, dict[str, Run]] = {}
    for part, members in _blocks(params):
        found.setdefault(part, {}).update((run.digest, run) for run in members)
    return {part: list(members.values()) for part, members in found.items()}


def _blocks(params: Params) -> Iterator[tuple[str, list[Run]]]:
    """Part and runs of each block that is run."""
    for place, block in params.study.placed_blocks():
        if not params.parts or block.part in params.parts:
            try:
                yield block.part or "", list(_block_runs(params, block))
            except ValueError as error:
                problem = place.refusal(str(error))
                raise ConfigError(f"presets.{params.preset}: {problem}") from None


def _block_runs(params: Params, block: Axes) -> Iterator[Run]:
    """Every combination of the lists; where a method has no use for a list it counts once."""
    for benchmark, protocol, network, method in product(
        block.benchmarks, block.protocols, block.networks, block.methods
    ):
        facts = method_facts(method.source)
        common: dict[str, Any] = {
            "dataset": benchmark.dataset,
            "tasks": benchmark.tasks,
            "protocol": protocol,
            "network": network.label,
            "method": method.label,
            **_sections(params, benchmark),
            "switches": params.protocols[protocol],
            "network_source": network.network_source(),
            "method_source": method.method_source(),
            "vary": params.study.varied(),
        }
        densities = [1.0] if facts.dense else block.densities
        inits = [NOT_READ] if facts.dense else block.inits
        growths = block.growths if facts.grows else [NOT_READ]
        common |= {"density": float(densities[0]), "init": inits[0], "growth": growths[0]}
        common |= {"seed": block.seeds[0]}
        # Settings are checked once here, not once per run.
        varied = product(*block.vary.values())
        settings = [_with_settings(common, block.vary, values) for values in varied]
        for density, init, growth, seed in product(densities, inits, growths, block.seeds):
            for run in settings:
                yield replace(run, density=float(density), init=init, growth=growth, seed=seed)


def _with_settings(fields: dict[str, Any], keys: Iterable[str], values: Sequence[Any]) -> Run:
    """A run with these values of varied settings, as far as its method has them.

    Built with them: what the preset's own values are may not go together.
    """
    own = fields["method_source"].settings
    given = {
        key: value
        for key, value in zip(keys, values)
        if not key.startswith("method.") or own.get(key.removeprefix("method.")) is not None
    }
    return Run(**(fields | changed_fields(fields, given)))


def _sections(params: Params, benchmark: Benchmark) -> dict[str, Any]:
    """The preset's sections with what the benchmark says differs there."""
    study = params.study
    given = {name: getattr(benchmark, name) for name in ("epochs", "batch_size", "update_every")}
    data = Data(
        image_size=benchmark.image_size or params.dataset_info(benchmark.dataset).image_size,
        task_sizes=tuple(benchmark.task_sizes or ()),
        learn=None if benchmark.learn == benchmark.tasks else benchmark.learn,
    )
    return {
        "data": data,
        "training": _replaced(study.training, given),
        "topology": _replaced(study.topology, given),
        "engine": study.engine,
    }


def _replaced(settings: S, values: Mapping[str, Any]) -> S:
    own = setting_names(type(settings))
    given = {name: value for name, value in values.items() if name in own and value is not None}
    return replace(settings, **given)  # type: ignore[type-var]


def json_schema() -> dict[str, Any]:
    """JSON Schema of params.yaml, for editors; kept in workflow/schemas and tested in step.

    Descriptions are the docstrings below the fields. Not by pydantic's own means, which would look
    for them in every process that reads params.yaml.
    """
    schema = Params.model_json_schema()
    kinds = {kind.__name__: kind for kind in _below(Model) | _below(Settings)}
    for name, part in [*schema["$defs"].items(), (Params.__name__, schema)]:
        documented = _documented(kinds[name]) if name in kinds else {}
        for field, entry in part.get("properties", {}).items():
            if field in documented:
                entry["description"] = documented[field]
    return schema | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of dstcl",
    }


def _below(kind: type) -> set[type]:
    """All classes that inherit from one."""
    return {kind}.union(*map(_below, kind.__subclasses__()))


def _documented(kind: type) -> dict[str, str]:
    """The docstrings below the fields of a class and of those that it inherits from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, (Model, Settings)):
            body = cast(ast.ClassDef, ast.parse(inspect.getsource(base)).body[0]).body
            for field, below in pairwise(body):
                match field, below:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        found[name] = inspect.cleandoc(text)
    return found


UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
"""Pydantic's types of that problem."""


def _one_line(error: ValidationError) -> str:
    """The first problem as ``key: value; what is allowed``, and how many more there are.

    An unknown key comes first: where it is a misspelt one, that one is missing too. Keys that are
    missing side by side are named together.
    """
    problems = error.errors(include_url=False)
    first = next((one for one in problems if one["type"] in UNKNOWN_KEY), problems[0])
    named = [first]
    key = ""
    for part in first["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    if first["type"] in UNKNOWN_KEY:
        text = f"{key}: unknown key; allowed: {', '.join(_siblings(first['loc']))}"
    elif first["type"] == "missing":
        place, named = first["loc"][:-1], [p for p in problems if p["type"] == "missing"]
        named = [one for one in named if one["loc"][:-1] == place]
        others = ", ".join(str(one["loc"][-1]) for one in named[1:])
        text = f"{key}: missing" + (f", and so are {others} beside it" if others else "")
    elif first["type"] == "value_error" and isinstance(first["input"], (dict, Model, Settings)):
        message = str(first["ctx"]["error"])
        text = f"{key}.{message}" if key else message
    else:
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        text = f"{key}: {first['input']!r}; {allowed}"
        if first["type"] == "float_type" and isinstance(first["input"], str):
            text += " (YAML takes 1e-3 for text: write 1.0e-3)"
    left = len(problems) - len(named)
    more = f" (and {left} more)" if left else ""
    return " ".join(text.split()) + more


def _siblings(location: tuple[Any, ...]) -> list[str]:
    """Names allowed beside an unknown key, found by walking the types along its location."""
    kind: Any = Params
    for part in location[:-1]:
        kind = _bare(kind)
        known = _fields(kind)
        kind = known[part] if known and part in known else get_args(kind)[-1]
    return list(_fields(_bare(kind)))


def _fields(kind: Any) -> dict[str, Any]:
    """Names and types of what a class of params.yaml holds; none for a list or a mapping."""
    if not isinstance(kind, type):
        return {}
    if issubclass(kind, Model):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return get_type_hints(kind) if issubclass(kind, Settings) else {}


def _bare(kind: Any) -> Any:
    """A type without ``| None`` and without annotations around it."""
    while get_origin(kind) in (Union, UnionType, Annotated):
        kind = get_args(kind)[0]
    return kind
