"""Files that are either whole or absent: written under a temporary name, flushed, renamed."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from yaml import SafeLoader


METADATA = "dstcl"
MOST_NESTED = 100
"""Levels within a YAML file, of which params.yaml has five."""
MOST_BY_ALIASES = 1_000_000
"""Characters that aliases may add to a YAML file: a hundred times what params.yaml has."""
TEMPORARY = ".tmp"
"""How the names of files end that are being written; they begin with a point."""


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step; a crash leaves the old file or none."""
    with replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with naming(path):
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the system in here name the file: one of a full disk does not by itself."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what `replacing` left in a folder, or one below it, when its process was killed.

    Nobody may be writing there.
    """
    for path in [*folder.glob(f".*{TEMPORARY}"), *folder.glob(f"*/.*{TEMPORARY}")]:
        with suppress(OSError):
            path.unlink()


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a final newline."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: naming the file, if it is missing or not JSON.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    return parse_json(content, str(path))


def parse_json(content: str | bytes, source: str) -> Any:
    """What a JSON text means.

    Args:
        source: names the text in messages.

    Raises:
        ValueError: naming the source, if it is not JSON or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError(f"{source}: nested too deeply") from None
    except ValueError as error:  # of the syntax, of UTF-8, or of a number of 5,000 digits
        raise ValueError(f"{source}: not JSON ({error})") from None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file that people write, as far as it is plain data.

    Raises:
        ValueError: one line that names the file and, where there is one, the line: it is missing,
            cannot be read, is not YAML, is nested too deeply, has a key twice, of which YAML would
            take the last, or aliases that make far more of it than is written.
    """
    import yaml  # not needed for training

    try:
        text = path.read_text()
        # The same in C, where PyYAML was built with it, is several times as fast.
        in_c = getattr(yaml, "CSafeLoader", None)
        if in_c:
            _check_depth(yaml.parse(text, Loader=in_c))
        loader = (in_c or yaml.SafeLoader)(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check_nodes(root, loader)
        return loader.construct_document(root)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    except (yaml.YAMLError, AttributeError) as error:  # the latter of a wrong !!timestamp
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}:{where} is not YAML") from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _check_depth(events: Iterable[Any]) -> None:
    """Refuse what is nested so deeply that reading it in C would end the process."""
    depth = -1  # the mapping that the file is
    for event in events:
        kind = type(event).__name__.removesuffix("Event")
        depth += kind in ("MappingStart", "SequenceStart")
        depth -= kind in ("MappingEnd", "SequenceEnd")
        if depth > MOST_NESTED:
            raise RecursionError


def _check_nodes(root: Any, loader: SafeLoader) -> None:
    """Refuse keys that are there twice and aliases that grow, before any value is made.

    Each node is visited once and without recursion; an alias is the node that it names.
    """
    sizes: dict[int, int] = {}
    above: set[int] = set()
    written = 0
    waiting = [(root, False)]
    while waiting:
        node, visited = waiting.pop()
        line, parts = f"line {node.start_mark.line + 1}", _parts(node)
        if visited:
            own = 1 if parts else 1 + len(node.value)
            written += own
            sizes[id(node)] = own + sum(sizes[id(part)] for part in parts)
            if sizes[id(node)] - written > MOST_BY_ALIASES:
                raise ValueError(f"{line}: aliases make more than {MOST_BY_ALIASES} characters")
            above.discard(id(node))
        elif id(node) in above:
            raise ValueError(f"{line}: an alias stands within what it stands for")
        elif id(node) not in sizes:
            _refuse_twice(node, loader)
            above.add(id(node))
            waiting += [(node, True), *((part, False) for part in reversed(parts))]


def _parts(node: Any) -> list[Any]:
    """What a list holds, or keys and values of a mapping."""
    if node.id == "mapping":
        return [part for pair in node.value for part in pair]
    return list(node.value) if node.id == "sequence" else []


def _refuse_twice(node: Any, loader: SafeLoader) -> None:
    """Keys that are written differently can be the same: ``yes`` and ``true``."""
    if node.id != "mapping":
        return
    seen: set[Any] = set()
    for key, _ in node.value:
        if key.id != "scalar":
            continue
        special = key.tag.endswith((":merge", ":value"))
        value = (key.value,) if special else loader.construct_object(key)
        if value in seen:
            raise ValueError(f"line {key.start_mark.line + 1}: key {key.value!r} twice")
        seen.add(value)


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """CSV with exactly these columns in this order; floats keep all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        if missing := [column for column in columns if column not in row]:
            raise ValueError(f"{path}: a row without {', '.join(missing)}")
        writer.writerow(row)
    write_text(path, text.getvalue())


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """A safetensors file; ``metadata`` values are stored as JSON text."""
    from safetensors.torch import save

    # safetensors writes several keys in random order; with one, equal content gives equal bytes.
    header = {METADATA: json.dumps(dict(metadata))}
    write_bytes(path, save(_each_its_own(tensors), metadata=header))


def _each_its_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """On the processor and contiguous; safetensors refuses two that share memory, as do the masks
    of tasks that all have one."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        where = value.untyped_storage().data_ptr()
        found[name] = value.clone() if where in seen else value
        seen.add(where)
    return found


def read_tensors(
    path: Path, wanted: Callable[[str], bool] = lambda name: True
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (memory-mapped where possible) and metadata of `write_tensors`.

    Args:
        wanted: whether to read the tensor of a name.

    Raises:
        ValueError: naming the file, if it is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            if not isinstance(header, dict):
                raise ValueError("its metadata are no mapping")
            return {name: file.get_tensor(name) for name in file.keys() if wanted(name)}, header  # noqa: SIM118
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (SafetensorError, ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path}: damaged ({error})") from None
