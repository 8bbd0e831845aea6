"""Words of recorded tables as pages spell them."""

from __future__ import annotations

import re

APART = re.compile(r"(?<=\d)[ \u00a0\u202f]%")


def percent_signs(text: str) -> str:
    """``80 %`` as ``80%``: tables recorded earlier have a space there."""
    return APART.sub("%", text)
