"""What a file was made from: names and digests of other files of its study, which it carries.

The commands that make claims, figures and pages can be called one by one. So a page may show other
runs than the tables beside it, and nothing but such digests tells.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

WORDS = "made from "
STATED = re.compile(rf"{WORDS}([\w./-]+ [0-9a-f]{{16}}(?:, [\w./-]+ [0-9a-f]{{16}})*)")
RESULTS = "results"
"""In place of a file: what runs found, that is summary.csv without `TIMES`."""
TIMES = frozenset({"seconds", "images_per_second"})


def made_from(study: Path, names: Iterable[str]) -> str:
    """``made from summary.csv 0123456789abcdef, ...``, of those of these files that are there."""
    digests = {name: digest_of(study, name) for name in dict.fromkeys(names)}
    return WORDS + ", ".join(f"{name} {digest}" for name, digest in digests.items() if digest)


def stated(text: str) -> dict[str, str] | None:
    """Names and digests by the last `made_from` in a text; None without one."""
    found = STATED.findall(text)
    return dict(one.split(" ") for one in found[-1].split(", ")) if found else None


def digest_of(study: Path, name: str) -> str:
    """Of a file of a study, or of its `RESULTS`; "" if it is not there."""
    path = study / ("summary.csv" if name == RESULTS else name)
    if not path.is_file():
        return ""
    content = _without_times(path) if name == RESULTS else path.read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def _without_times(summary: Path) -> bytes:
    with summary.open(newline="") as file:
        rows = [[row[name] for name in row if name not in TIMES] for row in csv.DictReader(file)]
    return repr(rows).encode()
