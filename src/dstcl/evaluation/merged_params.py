"""Which studies a params.json describes: one, or those that were merged or recorded together."""

from __future__ import annotations

from typing import Any

MERGED_FROM = "merged_from"
"""Key under which the params.json of several studies holds that of each."""


def parts_of(params: dict[str, Any]) -> list[dict[str, Any]]:
    """The params.json of each study that one describes, every one once; of a single study, itself.

    Older files hold studies that were recorded one after the other nested in each other.

    Raises:
        TypeError, AttributeError: it is not of this form.
    """
    if MERGED_FROM not in params:
        return [params]
    found: list[dict[str, Any]] = []
    for one in params[MERGED_FROM]:
        found += [part for part in parts_of(one) if part not in found]
    return found
