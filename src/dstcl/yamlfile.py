"""Reading YAML files that people write: one line for everything that can be wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe subset without a key twice in one mapping, of which YAML would take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        repeated = [key for index, key in enumerate(keys) if key in keys[:index]]
        if repeated:
            raise ValueError(f"line {node.start_mark.line + 1}: key {repeated[0]!r} twice")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        ValueError: one line that names the file and, where there is one, the line: it is missing,
            cannot be read, is not YAML, or has a key twice.
    """
    try:
        return yaml.load(path.read_text(), _UniqueKeys)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}:{where} is not YAML") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
