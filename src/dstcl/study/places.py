"""Where params.yaml has the setting that a message is about; standard library only."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Where a block of a preset has its settings.

    Attributes:
        vary: the key in the preset of what the block varies: ``vary``, or ``extra[0].vary``.
        varied: the settings there, by section and name.
    """

    vary: str
    varied: tuple[str, ...]

    def has(self, key: str) -> bool:
        """Whether a setting, or an entry of one that is a mapping, is varied here."""
        return any(key == one or key.startswith(f"{one}.") for one in self.varied)

    def key(self, key: str) -> str:
        """The key in the preset: ``vary.topology.prune`` where the setting is varied."""
        return f"{self.vary}.{key}" if self.has(key) else key

    def refusal(self, problem: str, protocol: str = "") -> str:
        """A problem with keys as the preset has them, and where the other value comes from.

        Args:
            problem: begins with the key of one setting and calls the other one by its name.
            protocol: whose switches the block has; "" to leave it out.
        """
        key, colon, rest = problem.partition(": ")
        others = [
            self.key(one)
            for one in self.varied
            if one != key and re.search(rf"\b{one.rpartition('.')[2]}\b", rest)
        ]
        if not others and protocol:
            others = [f"protocol {protocol}"]
        source = f" ({', '.join(others)})" if others else ""
        return f"{self.key(key)}{colon}{rest}{source}"
