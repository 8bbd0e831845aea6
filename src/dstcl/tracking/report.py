"""What a sync did, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SyncReport:
    """Numbers of runs.

    Attributes:
        created: recorded for the first time.
        updated: replaced because their files changed.
        unchanged: left as they were.
        failed: of the above, those that ended without a result.
        unfinished: not recorded, or recorded as running.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    unfinished: int = 0

    def __str__(self) -> str:
        """As a person reads it."""
        known = f"{self.created} new, {self.updated} replaced, {self.unchanged} unchanged runs"
        return f"{known} ({self.failed} of them failed); {self.unfinished} unfinished"
