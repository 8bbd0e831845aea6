"""The pages of the paper's PDF as words and drawn lines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dstcl.reference.panels import Panel, Stroke, Word, words

SHA256 = "8f593c0b75e86a2aee7ae724cb93706cfd2ddcfe59edab13918b57e0bf2c8c7b"
"""Of the paper as PMLR publishes it; layout and page numbers are those of this very file."""
SOURCE = "github.com/mlresearch/v234, yildirim24a/yildirim24a.pdf, commit 86d2756"


class NotThePaperError(ValueError):
    """A file that is not the paper's PDF, or no PDF reader; the message says what is needed."""


def read_pdf(path: Path) -> tuple[list[list[Word]], list[Panel]]:
    """The words of each page, and the panels of all figures in the order in which they stand.

    Raises:
        NotThePaperError: naming the file and the digest that was expected.
    """
    check(path)
    try:
        from pdfminer.high_level import extract_pages
        from pdfminer.layout import LTFigure
    except ImportError:
        raise NotThePaperError(
            "reading a PDF needs pdfminer.six: pip install 'dstcl[reference]'"
        ) from None
    pages = list(extract_pages(path))
    panels = [_panel(item) for page in pages for item in page if isinstance(item, LTFigure)]
    # The drawing of Figure 1 has no axes.
    with_axes = [panel for panel in panels if any(word.text.isdigit() for word in panel.words)]
    return [words(_glyphs(page)) for page in pages], with_axes


def check(path: Path) -> None:
    """Refuse a file that is not the paper.

    Raises:
        NotThePaperError: naming the file, and the digest that was expected.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotThePaperError(f"{path}: {error.strerror or error}") from None
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        kind = "another PDF" if content.startswith(b"%PDF-") else "not a PDF"
        raise NotThePaperError(
            f"{path}: {kind} (sha256 {found}); expected the paper, sha256 {SHA256} ({SOURCE})"
        )


def _panel(figure: Any) -> Panel:
    from pdfminer.layout import LTCurve, LTLine

    drawn = [item for item in figure if isinstance(item, LTCurve) and item.stroke]
    return Panel(
        words=words(_glyphs(figure)),
        strokes=[
            Stroke(_color(item.stroking_color), tuple(item.pts), bool(item.fill))
            for item in drawn
            if not isinstance(item, LTLine)
        ],
        grid=[tuple(item.pts) for item in drawn if isinstance(item, LTLine)],
    )


def _color(value: Any) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (float(value),)


def _glyphs(items: Iterable[Any]) -> list[Word]:
    """Every upright character with its place: left and right edge, and baseline."""
    from pdfminer.layout import LTChar, LTFigure

    found = []
    for item in items:
        if isinstance(item, LTChar):
            if item.upright:
                found.append(Word(item.get_text(), item.x0, item.x1, item.matrix[5]))
        elif isinstance(item, Iterable) and not isinstance(item, LTFigure):
            found += _glyphs(item)
    return found
