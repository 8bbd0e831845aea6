"""Plug-ins that cannot be used: one line that names key and file, before any training."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dstcl.continual import learner_of
from dstcl.data.stored import Prepared
from dstcl.storage import read_yaml
from dstcl.study.load import load, runs
from helpers.runs import REPOSITORY

OWN = """
from dataclasses import dataclass
import torch
from torch import nn
from dstcl.continual.methods import Method
from dstcl.continual.methods.static import Static
from dstcl.study.fields import Settings

@dataclass(frozen=True, kw_only=True)
class Own(Settings):
    share: float = 0.5

class Fine(Static):
    settings = Own

class Computed(Static):
    keeps_tasks = not False

class Texts(Static):
    reads = "topology"

class NoMethod:
    pass

class NoSettings(Static):
    settings = NoMethod

class Unfinished(Method):
    pass

def no_module(channels, classes):
    return {}

def nothing_to_mask(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 28 * 28, classes))

def wrong_image(channels, classes):
    return nn.Sequential(nn.Conv2d(7, 4, 3), nn.Flatten(), nn.Linear(4, classes))

def wrong_shape(layer):
    return layer.weight.flatten()

def uneven(shapes, density):
    return dict.fromkeys(shapes, 1.5)

def no_rate(moment, training):
    return "fast"

def fails_late(moment, training):
    return training.learning_rate if moment.step < 3 else float("nan")

def backwards(moment, training):
    return -1.0

seven = 7
"""
SYNTAX, RAISING = "def by_age(layer:\n    pass\n", "raise RuntimeError('no\\nluck')\n"
METHOD = {"growths": ["random"]}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Files of a user's own beside params.yaml, under names that no other test has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = f"own{abs(hash(tmp_path))}"
    for name, text in (("", OWN), ("_syntax", SYNTAX), ("_raises", RAISING + "def it(): ...\n")):
        Path(f"{own}{name}.py").write_text(text)
    importlib.invalidate_caches()
    return own


def begin(changes: dict[str, Any], digits: Prepared) -> None:
    """Read params.yaml and train; fails where a first epoch is done."""
    values = read_yaml(REPOSITORY / "params.yaml")
    quick = values["presets"]["quick"]
    quick |= {"densities": [0.2], "inits": ["erk"], "growths": ["random"], "seeds": [0]}
    quick |= {"extra": []}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if name:
            quick[section][name] = value
        else:
            quick[section] = value
    (run,) = runs(load(values))

    def trained(*_: Any) -> None:
        pytest.fail("an epoch was trained")

    device = torch.device("cpu")
    learner_of(run, digits, [[0, 1], [2, 3]], device, progress=trained).fit()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("growths", ["nowhere:it"], ["growths", "nowhere.py"]),
        ("growths", ["OWN:it"], ["growths", "OWN.py has no 'it'", "wrong_shape"]),
        ("growths", ["OWN_syntax:by_age"], ["growths", "OWN_syntax.py", "line 1"]),
        ("growths", ["OWN_raises:it"], ["grow", "OWN_raises.py", "RuntimeError: no luck"]),
        ("growths", ["OWN:wrong_shape"], ["grow", "OWN:wrong_shape", "returned shape (30,)"]),
        ("growths", ["OWN:seven"], ["grow", "OWN:seven", "is a int"]),
        ("growths", ["random-then-OWN:seven"], ["grow", "OWN:seven"]),
        ("topology.prune", "OWN:wrong_shape", ["prune", "OWN:wrong_shape", "returned shape"]),
        ("topology.prune", "OWN:it", ["topology.prune", "OWN.py has no 'it'"]),
        ("inits", ["OWN:uneven"], ["init", "OWN:uneven", "1.5 for layer"]),
        ("inits", ["OWN:seven"], ["init", "OWN:seven", "is a int"]),
        ("networks", ["OWN:no_module"], ["networks", "OWN.py", "made a dict"]),
        ("networks", ["OWN:nothing_to_mask"], ["networks", "OWN.py", "nothing to mask"]),
        ("networks", ["OWN:wrong_image"], ["networks", "OWN.py", "1 channel and 28x28"]),
        ("networks", ["OWN_raises:it"], ["networks", "OWN_raises.py", "no luck"]),
        ("networks", ["OWN_syntax:it"], ["networks", "OWN_syntax.py"]),
        ("methods", ["nowhere:It"], ["methods", "nowhere.py"]),
        ("methods", ["OWN:It"], ["methods", "OWN.py has no 'It'"]),
        ("methods", ["OWN_syntax:It"], ["methods", "OWN_syntax.py"]),
        ("methods", ["OWN:seven"], ["methods", "OWN.py has no class 'seven'"]),
        ("methods", ["OWN:NoMethod"], ["methods", "OWN:NoMethod", "no subclass"]),
        ("methods", ["OWN:Computed"], ["methods", "OWN.py", "keeps_tasks must be a literal"]),
        ("methods", ["OWN:Texts"], ["methods", "OWN.py", "reads is 'topology', not a tuple"]),
        ("methods", ["OWN:NoSettings"], ["methods", "OWN:NoMethod", "no subclass of"]),
        ("methods", ["OWN:Unfinished"], ["methods", "OWN:Unfinished", "training"]),
        (
            "methods",
            [{"name": "fine", "from": "OWN:Fine", "shape": 1}],
            ["methods", "OWN:Fine", "shape", "allowed: share"],
        ),
        (
            "methods",
            [{"name": "fine", "from": "OWN:Fine", "share": "half"}],
            ["methods", "OWN:Fine", "share: 'half'"],
        ),
        ("training.optimizer", "OWN:NoMethod", ["training.optimizer", "OWN:NoMethod"]),
        ("training.optimizer", "OWN:seven", ["training.optimizer", "OWN:seven"]),
        ("training.optimizer", "torch.optim:Nothing", ["training.optimizer", "Nothing"]),
        (
            "training.optimizer_settings",
            {"momentums": 1},
            ["training.optimizer", "adam", "momentums"],
        ),
        ("training.schedule", "OWN:no_rate", ["training.schedule", "OWN:no_rate", "'fast'"]),
        ("training.schedule", "OWN:backwards", ["training.schedule", "OWN:backwards", "-1.0"]),
        ("training.schedule", "OWN:seven", ["training.schedule", "OWN:seven"]),
        ("training.schedule", "OWN:fails_late", ["training.schedule", "OWN:fails_late", "nan"]),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    key: str, value: Any, words: list[str], files: str, digits: Prepared
) -> None:
    with pytest.raises(ValueError) as refusal:
        begin({key: renamed(value, files)}, digits)
    message = str(refusal.value)
    assert "\n" not in message
    assert [word for word in words if word.replace("OWN", files) not in message] == [], message


def renamed(value: Any, own: str) -> Any:
    if isinstance(value, str):
        return value.replace("OWN", own)
    if isinstance(value, list):
        return [renamed(one, own) for one in value]
    if isinstance(value, dict):
        return {name: renamed(one, own) for name, one in value.items()}
    return value
