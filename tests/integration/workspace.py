"""A folder of its own for a study, run with the real Snakemake.

Not in conftest.py: tests/unit has one too, and a process that a test starts finds either.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import warm
import yaml

Browser = Callable[..., subprocess.CompletedProcess[str]]
"""The fixture `chromium`."""

REPOSITORY = Path(__file__).parents[2]
BIN = warm.BIN

# One run of real digits, a few seconds of training.
TINY: dict[str, Any] = {
    "densities": [0.2],
    "inits": ["erk"],
    "growths": ["random"],
    "seeds": [0],
    "extra": [],
}
PATIENCE = 1800
"""Seconds that one command may take: a busy machine needs minutes, only what hangs needs more."""

DRAWN = ("accuracy_over_tasks", "capacity")
"""The figures of a copy of the package: drawing all would take most of the time."""


def search_path(commands: Path | None = None) -> str:
    """PATH of a person who has activated the environment; its commands start at once, unless others
    are named."""
    return os.pathsep.join(map(str, (commands or warm.commands(), BIN, os.environ["PATH"])))


def draw_few(package: Path) -> None:
    """Leave a copy of the package the figures `DRAWN`."""
    with (package / "figures" / "__init__.py").open("a") as figures:
        figures.write(f"\nFIGURES = {DRAWN}\n")


def copy_repository(folder: Path) -> None:
    """All that git tracks or would, but tests and documentation; with few figures."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if not name.startswith(("tests/", "docs/")) and name != "dvc.lock":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name, follow_symlinks=False)
    draw_few(folder / "src" / "dstcl")


class Workspace:
    """A folder with its own params.yaml, results and memory; the rules are the repository's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables: dict[str, str] = {}
        self.params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        self.change(TINY, training={"epochs": 2})

    def change(self, axes: dict[str, Any] | None = None, **sections: dict[str, Any]) -> None:
        """Change axes or sections of preset quick and write params.yaml."""
        quick = self.params["presets"]["quick"]
        quick.update(axes or {})
        for name, values in sections.items():
            quick[name].update(values)
        self.write()

    def write(self) -> None:
        """Write params.yaml."""
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params, sort_keys=False))

    def draw_few(self) -> None:
        """Go on with a copy of the package that has few figures."""
        source = self.folder / "src"
        shutil.copytree(REPOSITORY / "src", source)
        draw_few(source / "dstcl")
        self.variables["PYTHONPATH"] = str(source)

    def command(self, *arguments: str, commands: Path = BIN) -> list[str]:
        """A Snakemake call in this workspace, which starts as it does for a person."""
        snakefile = str(REPOSITORY / "workflow" / "Snakefile")
        return [str(commands / "snakemake"), "--snakefile", snakefile, "--cores", "2", *arguments]

    def environment(self, commands: Path = BIN) -> dict[str, str]:
        """What a person has after activating the environment."""
        return os.environ | {"PATH": search_path(commands)} | self.variables

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end, commands starting at once; output and errors together."""
        commands = warm.commands()
        return subprocess.run(
            self.command(*arguments, commands=commands),
            cwd=self.folder,
            env=self.environment(commands),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )

    @property
    def study(self) -> Path:
        """The study's folder."""
        return self.folder / "results" / "quick"

    def runs(self) -> list[Path]:
        """Folders of finished runs."""
        return sorted(path.parent for path in self.study.rglob("metrics.json"))
