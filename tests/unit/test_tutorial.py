"""docs/tutorial.md: its blocks run in order, and end with what the page says."""

from __future__ import annotations

import re
from textwrap import dedent
from typing import Any

import pytest

from dstcl.sparse.criteria import GROW
from helpers.runs import REPOSITORY

BLOCK = re.compile(r"(?<=\n\n)(?:    .*\n|\n)+")
NOT_RUN = ("snakemake ", "import dstcl\n")


def test_the_tutorial_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(GROW, "unseen_first", raising=False)
    text = (REPOSITORY / "docs" / "tutorial.md").read_text()
    blocks = [dedent(block).strip("\n") + "\n" for block in BLOCK.findall(text)]
    run = [block for block in blocks if not block.startswith(NOT_RUN)]
    assert len(blocks) - len(run) == len(NOT_RUN)
    names: dict[str, Any] = {}
    for block in run:
        exec(block, names)
    printed = capsys.readouterr().out
    assert "1000 of them for testing" in printed
    accuracy = float(re.search(r"([\d.]+)% with 10% of the weights", printed).group(1))
    assert accuracy > 85
    assert all(result.metrics()["acc"] > 0.9 for result in names["learned"].values())
    GROW.pop("unseen_first", None)
