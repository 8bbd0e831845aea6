"""What comes with the code: rules, templates of pages, the paper's claims and numbers, records.

In a checkout these are its folders `workflow` and `reference`, params.yaml and CITATION.cff; a
wheel has a copy of all in `dstcl/bundled` (setup.py). So a study can be run in any folder: code and
reference come from here, and what it makes stays there.

Standard library only, and no part of the code behind a run: see `dstcl.study.code`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

CITATION = "CITATION.cff"
CLAIMS = "reference/claims.yaml"
PAPER = "reference/paper"
REPORT_PAGE = "workflow/report/report.html.j2"
RESULTS_PAGE = "workflow/report/results.html.j2"
SNAKEFILE = "workflow/Snakefile"


def root() -> Path:
    """The folder with `workflow` and `reference` that belong to this package."""
    bundled = Path(__file__).parent / "bundled"
    return bundled if bundled.is_dir() else Path(__file__).parents[2]


def unknown_profile(arguments: Sequence[str], folders: Iterable[Path]) -> str | None:
    """One line if --workflow-profile names a profile that Snakemake would not find, else None.

    Snakemake itself ignores such a name and runs here, without any profile.

    Args:
        arguments: of Snakemake's command line.
        folders: those in which it looks for a folder ``profiles``.
    """
    shelves = [folder / "profiles" for folder in folders]
    option = "--workflow-profile"
    names = [after for before, after in pairwise(arguments) if before == option]
    names += [one.partition("=")[2] for one in arguments if one.startswith(f"{option}=")]
    for name in names:
        places = [Path(name), *(shelf / name for shelf in shelves)]
        if name != "none" and not any(place.exists() for place in places):
            found = {path.parent.name for s in shelves for path in s.glob("*/config.yaml")}
            return f"{option} {name}: no such profile; there are {', '.join(sorted(found))}"
    return None


def nearest(name: str, beside: Path | None = None) -> Path:
    """A file that comes with the code, or the working folder's own one, which comes first.

    Args:
        name: as `CLAIMS`: its path in a checkout.
        beside: where it is looked for then, instead of `root`.

    Returns:
        From the working folder, so that in a checkout it is the same path in every clone; `name`
        if there is none.
    """
    found = Path(name)
    if not found.exists() and (other := (beside or root()) / name).exists():
        found = Path(os.path.relpath(other))
    return found
