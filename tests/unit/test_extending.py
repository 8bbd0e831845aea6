"""docs/extending.md: what it shows is extracted, loaded as a configuration, and trained."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import invalidate_caches
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
import yaml

from dstcl.data.stored import Prepared
from dstcl.study.load import load, runs
from dstcl.study.run import Run
from helpers.runs import REPOSITORY, fit

PAGE = (REPOSITORY / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"(?<=\n\n)(?:    .*\n|\n)+")
EXAMPLE = (REPOSITORY / "examples" / "own_method.py").read_text()
BEFORE = {
    "A method": EXAMPLE[: EXAMPLE.index("class RandomIsolated")],
    "A network": "from torch import nn\n\n",
}
"""What a fragment on the page leaves out."""
PARTS = (
    "A growth criterion",
    "A plan for growth over the tasks",
    "A controller",
    "A prune criterion",
    "An init",
    "A method",
    "A network",
    "An optimiser with a schedule",
)
"""Sections with code."""


def blocks(section: str) -> list[str]:
    """The indented code of a section, without its margin."""
    return [dedent(block).strip("\n") + "\n" for block in BLOCK.findall("\n" + SECTIONS[section])]


def is_code(block: str) -> bool:
    return re.search(r"^(def|class) ", block, re.MULTILINE) is not None


def said(section: str) -> list[dict[str, Any]]:
    """What a section puts into params.yaml: blocks, and lines of the text with a key in front."""
    inline = re.findall(r"`(\w+: (?:\[|\{)[^`]*)`", SECTIONS[section])
    texts = [block for block in blocks(section) if not is_code(block)] + inline
    return [yaml.safe_load(text) for text in texts]


def own_module(section: str) -> str:
    """The module that a section's text names."""
    (module,) = set(re.findall(r"\bown_\w+(?=:\w)", SECTIONS[section]))
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the code of every section in the file that the text names."""
    # Examples have modules of the same names, which another test may have imported.
    for name in [name for name in sys.modules if name.startswith("own_")]:
        monkeypatch.delitem(sys.modules, name)
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for section in PARTS:
        (code,) = [block for block in blocks(section) if is_code(block)]
        (tmp_path / f"{own_module(section)}.py").write_text(BEFORE.get(section, "") + code)
    invalidate_caches()
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("own_"):
            del sys.modules[name]


def study(*sections: str) -> dict[str, Any]:
    """Preset quick, shortened, with what these sections say merged into it."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["presets"] = {"quick": params["presets"]["quick"] | {"extra": [], "vary": {}}}
    preset = params["presets"]["quick"]
    preset |= {"densities": [0.2], "inits": ["erk"], "growths": ["random"], "seeds": [0]}
    preset["training"] |= {"epochs": 1}
    for section in sections:
        for key, value in (item for part in said(section) for item in part.items()):
            place = params if key == "datasets" else preset
            place[key] = place[key] | value if isinstance(value, dict) else value
    return params


def planned(*sections: str) -> list[Run]:
    return runs(load(study(*sections)))


@pytest.mark.parametrize("section", PARTS)
def test_the_part_of_a_section_is_planned_and_trained(
    section: str, folder: Path, digits: Prepared
) -> None:
    module = own_module(section)
    # The one with most parts of one's own: settings of an optimiser are not those of another.
    run = max(planned(section), key=lambda run: len(run.plugins()))
    assert any(name.startswith(f"{module}:") for name in run.plugins().values())
    outcome = fit(run, digits, [[0, 1], [2, 3]])
    assert len(outcome.store.subnets) == 2
    assert torch.tensor([row["loss"] for row in outcome.history]).isfinite().all()


def test_all_parts_are_one_study(folder: Path) -> None:
    found = planned(*PARTS, "A data set")
    assert {run.dataset for run in found} == {"flowers"}
    assert {run.method for run in found} == {"dst", "isolated"}
    assert {run.setting("method.reserve") for run in found if run.method == "isolated"} == {0, 0.2}
    assert {run.topology.prune for run in found} == {"magnitude", "own_prune:smallest"}
    assert {run.network for run in found} == {"convnet", "own_network:Small", "tv18"}
    assert {run.training.optimizer for run in found} == {"adam", "torch.optim:RMSprop"}
    assert {run.training.schedule for run in found} == {"own_schedule:falling"}


def test_every_section_with_code_is_tried() -> None:
    assert {section for section in SECTIONS if any(map(is_code, blocks(section)))} == set(PARTS)
    assert all(said(section) for section in (*PARTS, "A data set"))
