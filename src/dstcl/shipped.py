"""What comes with the code: rules, templates of pages, the paper's claims and numbers, records.

In a checkout these are its folders `workflow` and `reference`, params.yaml and CITATION.cff; a wheel
has a copy of all in `dstcl/bundled` (setup.py). So a study can be run in any folder: code and reference come
from here, and what it makes stays there.

Standard library only, and no part of the code behind a run: see `dstcl.study.code`.
"""

from __future__ import annotations

import os
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
