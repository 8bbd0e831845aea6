"""From a template and what it shows to a page; text from files can nowhere become markup."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def rendered(template: Path, content: Mapping[str, Any]) -> str:
    """The page; everything but `embedded` JSON and the page's own scripts is escaped.

    Raises:
        ValueError: one line; the template is missing, or wrong.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        return environment.get_template(template.name).render(content)
    except TemplateError as error:
        raise ValueError(f"{template}: {type(error).__name__} {error}") from None


def embedded(value: Any) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
