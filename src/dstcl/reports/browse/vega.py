"""The drawing library that the page carries: Vega, as Snakemake ships it for its own reports.

No copy of it is in this repository, and none is downloaded: Snakemake's wheel, pinned by hash in
envs/requirements.lock, has the file with its licence and those of the libraries inside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

INSIDE = ("vega", "d3-*", "topojson-client", "delaunator", "hashlru", "semver", "fast-json-*")
"""Folders, by pattern, of Vega's own licence and of those of the libraries inside its file."""
VERSION = re.compile(r'\bvar version(?:\$\d+)? = "(\d+\.\d+\.\d+)"')


@dataclass(frozen=True)
class Library:
    """Source, version and licences, as the page holds them."""

    source: str
    version: str
    licences: str


def vega(assets: Path | None = None) -> Library:
    """Vega's source, fit to stand inside a script element.

    Args:
        assets: folder with ``vega/vega.js`` and licences; Snakemake's own by default.

    Raises:
        ValueError: the file or its licence is not there.
    """
    assets = assets or _snakemake_assets()
    path = assets / "vega" / "vega.js"
    try:
        source, licence = path.read_text("utf-8"), path.with_name("LICENSE").read_text("utf-8")
    except OSError as error:
        raise ValueError(
            f"{error.filename}: no such file; this Snakemake has no Vega: install the pinned one "
            "of envs/requirements.lock"
        ) from None
    texts = {"vega": licence} | _licences(assets)
    words = "\n\n".join(f"{name}\n\n{text.strip()}" for name, text in texts.items())
    versions = VERSION.findall(source)
    # A script element ends at its first end tag, wherever that stands.
    source = source.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    return Library(source, versions[0] if versions else "of this Snakemake", words)


def _licences(assets: Path) -> dict[str, str]:
    """By library; a text that several share is said once, for all of them."""
    named: dict[str, list[str]] = {}
    for pattern in INSIDE:
        for path in sorted(assets.glob(f"{pattern}/LICENSE")):
            named.setdefault(path.read_text("utf-8"), []).append(path.parent.name)
    return {", ".join(names): text for text, names in named.items()}


def _snakemake_assets() -> Path:
    """Found without importing Snakemake, which takes a second."""
    found = find_spec("snakemake")
    if found is None or not found.submodule_search_locations:
        raise ValueError("snakemake is not installed; its wheel has the page's drawing library")
    return Path(found.submodule_search_locations[0]) / "assets" / "data"
