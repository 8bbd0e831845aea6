"""A study in which every part is a user's own, through the real pipeline."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import warm
from dry_runs import jobs
from workspace import Workspace

from dstcl.study.load import load_file, runs

pytestmark = pytest.mark.pipeline

GROWTH = """
from dstcl import criterion

@criterion(gradient=True)
def by_age(layer):
    size = layer.gradient.abs()
    return size + (~layer.explored) * (1 + size.max())
"""
PRUNE = """
def smallest(layer):
    return layer.weight.square()
"""
INIT = """
def flat(shapes, density):
    return dict.fromkeys(shapes, density)
"""
METHOD = """
from dataclasses import dataclass
from typing import Annotated

from dstcl.continual.methods.dst import DynamicSparse
from dstcl.study.fields import Between, Settings

@dataclass(frozen=True, kw_only=True)
class ThinSettings(Settings):
    share: Annotated[float, Between(gt=0, le=1)] = 1.0

class Thin(DynamicSparse):
    settings = ThinSettings

    def common(self, task):
        common = super().common(task)
        return common | {"density": self.settings.share * common["density"]}
"""
NETWORK = """
from torch import nn

class Small(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 5, stride=4)
        self.head = nn.Linear(8, classes)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3)))

def grey_shufflenet(channels, classes):
    from torchvision.models import shufflenet_v2_x0_5

    network = shufflenet_v2_x0_5(num_classes=classes)
    network.conv1[0] = nn.Conv2d(channels, 24, 3, stride=4, bias=False)
    return network
"""
FILES = {
    "own_growth": GROWTH,
    "own_prune": PRUNE,
    "own_init": INIT,
    "own_method": METHOD,
    "own_network": NETWORK,
}


@pytest.fixture
def study(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Six runs; the own method and torchvision's network, which is slow, in one each."""
    monkeypatch.chdir(workspace.folder)  # where files of a user's own are looked for
    for name, text in FILES.items():
        (workspace.folder / f"{name}.py").write_text(text)
    workspace.draw_few()
    workspace.change(
        {
            "benchmarks": [{"dataset": "mnist5k", "tasks": 2}],
            "networks": ["own_network:Small"],
            "methods": ["dst"],
            "inits": ["own_init:flat"],
            "growths": ["random", "own_growth:by_age"],
            "vary": {"topology.update_every": [4, 40]},
            "extra": [
                {
                    "methods": [{"name": "thin", "from": "own_method:Thin", "share": 0.5}],
                    "growths": ["own_growth:by_age"],
                    "vary": {"topology.update_every": [4]},
                },
                {
                    "networks": [{"name": "shuffle", "from": "own_network:grey_shufflenet"}],
                    "methods": ["dst"],
                    "growths": ["random"],
                    "vary": {"topology.update_every": [4]},
                },
            ],
        },
        training={
            "epochs": 1,
            "batch_size": 250,
            "learning_rate": 0.01,
            "optimizer": "torch.optim:RMSprop",
            "optimizer_settings": {"alpha": 0.9},
            "schedule": "one-cycle",
        },
        topology={"prune": "own_prune:smallest"},
    )
    return workspace


def planned(study: Workspace) -> dict[str, int]:
    done = study.run("--dry-run")
    assert done.returncode == 0, done.stdout
    return dict(jobs(done.stdout))


def test_every_part_may_be_of_ones_own(study: Workspace) -> None:
    done = study.run()
    assert done.returncode == 0, done.stdout[-3000:]
    assert len(study.runs()) == 6
    seen_everywhere(study)
    assert planned(study) == {}

    growth = study.folder / "own_growth.py"
    growth.write_text(f"# Another comment.\n{GROWTH}")
    assert planned(study) == {}
    growth.write_text(GROWTH.replace("1 + size.max()", "2 + size.max()"))
    assert planned(study)["train_run"] == 3, "only the runs that grow by it"
    growth.write_text(GROWTH)
    method = study.folder / "own_method.py"
    method.write_text(METHOD.replace("self.settings.share *", "0.5 * self.settings.share *"))
    assert planned(study)["train_run"] == 1, "only the runs of the method"
    method.write_text(METHOD)
    assert planned(study) == {}


def seen_everywhere(study: Workspace) -> None:
    """In tables, pages and the estimate of costs."""
    expected = {
        "network": {"own_network:Small", "shuffle"},
        "method": {"dst", "thin"},
        "init": {"own_init:flat"},
        "growth": {"random", "own_growth:by_age"},
        "topology.update_every": {4, 40},
    }
    for name in ("summary.csv", "cells.csv"):
        table = pd.read_csv(study.study / name)
        assert len(table) == 6
        for axis, values in expected.items():
            assert set(table[axis]) == values, (name, axis)
    labels = ["own_network:Small", "shuffle", "thin", "own_init:flat", "own_growth:by_age"]
    for name in ("summary.md", "report.html"):
        text = (study.study / name).read_text().replace("\\_", "_")
        assert [label for label in labels if label not in text] == [], name
        assert "update_every" in text or "update every" in text
    cost = dstcl(study, "config", "cost", "--images-per-second", "1000")
    assert re.search(r"^mnist5k +2 +own_network:Small +5 ", cost, re.MULTILINE), cost
    assert re.search(r"^mnist5k +2 +shuffle +1 ", cost, re.MULTILINE), cost
    thin = [run for run in runs(load_file("params.yaml")) if run.method == "thin"]
    for run in thin:
        capacity = pd.read_csv(study.study / "runs" / run.folder / "capacity.csv")
        first = capacity[capacity["task"] == 1]
        assert first["active"].sum() == pytest.approx(0.1 * first["size"].sum(), rel=0.02)
    assert len(thin) == 1


def dstcl(study: Workspace, *arguments: str) -> str:
    done = subprocess.run(
        [str(warm.commands() / "dstcl"), *arguments],
        cwd=study.folder,
        env=os.environ | study.environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_cannot_be_used_ends_before_any_job(study: Workspace) -> None:
    Path(study.folder, "own_growth.py").write_text("def by_age(layer:\n")
    done = study.run()
    assert done.returncode != 0
    (said,) = [line for line in done.stdout.splitlines() if "params.yaml:" in line]
    assert "growths" in said
    assert "own_growth.py" in said
    assert "Traceback" not in done.stdout
    assert not (study.folder / "results").exists()
