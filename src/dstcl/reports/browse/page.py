"""The page of all results: a template, its style and scripts, and the data, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dstcl import __version__
from dstcl.evaluation.judge import VERDICTS
from dstcl.evaluation.paper.reference import read_curves
from dstcl.reports.browse.gather import gathered, other_studies, recorded_studies
from dstcl.reports.browse.vega import vega
from dstcl.reports.rendering import embedded, rendered
from dstcl.storage import write_text


def write_results_page(
    studies: Sequence[Path], reference: Path, template: Path, page: Path
) -> dict[str, int]:
    """Write the page, of the studies named and of all that are recorded.

    Args:
        studies: folders among the results, shown first.
        reference: folder with recorded studies and ``paper/curves.csv``.
        template: of the page; style and scripts are beside it.
        page: where to write it.

    Returns:
        How many studies, runs and verdicts it has.

    Raises:
        ValueError: a table, the template or the drawing library is missing or wrong, or there is
            nothing to show.
    """
    sources = [*other_studies(studies), *recorded_studies(reference)]
    if not sources:
        raise ValueError(f"{reference}: no study is recorded here, and no other was named")
    data = gathered(sources, read_curves(reference / "paper" / "curves.csv"), page)
    library = vega()
    content: dict[str, Any] = {
        "version": __version__,
        "studies": data["studies"],
        "runs": len(data["runs"]),
        "verdicts": VERDICTS,
        "data_json": embedded(data),
        "vega": library,
    }
    write_text(page, rendered(template, content))
    tested = sum(claim["verdict"] != VERDICTS[-1] for claim in data["claims"])
    return {"studies": len(sources), "runs": len(data["runs"]), "verdicts": tested}
