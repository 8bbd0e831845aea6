"""What CITATION.cff says, and the metadata of a deposit on Zenodo."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from dstcl.storage import read_yaml

NEEDED = ("title", "version", "license", "authors")


def read_citation(path: Path) -> dict[str, Any]:
    """The content of a CITATION.cff with a title, a version, a licence and authors.

    Raises:
        ValueError: naming the file and the key that is missing or wrong.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: not a mapping")
    for key in NEEDED:
        if not content.get(key):
            raise ValueError(f"{path}: no {key}")
    authors = content["authors"]
    if not isinstance(authors, list) or not all(isinstance(one, dict) for one in authors):
        raise ValueError(f"{path}: authors is not a list of persons or entities")
    if unnamed := [one for one in authors if not author_name(one)]:
        raise ValueError(f"{path}: an author without name or family-names: {unnamed[0]}")
    return content


def author_name(author: dict[str, Any]) -> str:
    """``Family, Given`` of a person; the name of an entity."""
    names = [author.get(key) for key in ("family-names", "given-names")]
    return str(author.get("name") or ", ".join(str(name) for name in names if name))


def zenodo_metadata(cited: dict[str, Any], preset: str, about: str) -> dict[str, Any]:
    """The metadata of a deposit, as Zenodo's API and ``.zenodo.json`` have them.

    Args:
        cited: of `read_citation`.
        preset: of the study.
        about: what the deposit is, in a sentence or two.
    """
    creators = []
    for author in cited["authors"]:
        creator = {"name": author_name(author)}
        creator |= {k: str(author[k]) for k in ("affiliation",) if author.get(k)}
        if author.get("orcid"):
            creator["orcid"] = str(author["orcid"]).rpartition("/")[2]
        creators.append(creator)
    found = {
        "title": f"Results of preset {preset} of {cited['title']}",
        "upload_type": "dataset",
        "description": f"<p>{escape(about, quote=False)}</p>",
        "creators": creators,
        "access_right": "open",
        "license": str(cited["license"]),
        "version": str(cited["version"]),
        "keywords": [str(word) for word in cited.get("keywords", [])],
        "related_identifiers": _related(cited),
    }
    return {key: value for key, value in found.items() if value}


def _related(cited: dict[str, Any]) -> list[dict[str, str]]:
    """The paper that the study reproduces, and the software."""
    paper = cited.get("preferred-citation") or {}
    names = [str(one["value"]) for one in paper.get("identifiers", []) if one.get("value")]
    names += [str(paper["doi"])] if paper.get("doi") else []
    related = [{"identifier": name, "relation": "references"} for name in names]
    if code := cited.get("repository-code"):
        related.append({"identifier": str(code), "relation": "isCompiledBy"})
    return related
