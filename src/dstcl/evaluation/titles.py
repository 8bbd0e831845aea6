"""How figures and reports call the data sets of a study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dstcl.data.catalog import dataset_title
from dstcl.storage import read_json

Title = Callable[[str], str]
"""From the name of a data set to what a reader sees."""


def dataset_titles(study: Path) -> Title:
    """Titles of the catalogue, and of the user's own sets as the study's params.json has them.

    A set without a title has its name; so have all of the user's own where there is no params.json.
    """
    try:
        params = read_json(study / "params.json")
        parts = [params, *params.get("merged_from", [])]
        entries = [entry for part in parts for entry in part.get("datasets", {}).items()]
        own = {name: entry["title"] for name, entry in entries if entry["title"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        own = {}
    return lambda name: str(own.get(name) or dataset_title(name))
