"""A workspace of its own for each study, run with the real Snakemake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

# One run of real digits, a few seconds of training.
TINY: dict[str, Any] = {
    "densities": [0.2],
    "inits": ["erk"],
    "growths": ["random"],
    "seeds": [0],
    "extra": [],
}


class Workspace:
    """A folder with its own params.yaml, results and memory; the rules are the repository's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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

    def command(self, *arguments: str) -> list[str]:
        """A Snakemake call in this workspace."""
        snakefile = str(REPOSITORY / "Snakefile")
        return [str(BIN / "snakemake"), "--snakefile", snakefile, "--cores", "2", *arguments]

    def environment(self) -> dict[str, str]:
        """What a person has after activating the environment."""
        return os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; output and errors together."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )

    @property
    def study(self) -> Path:
        """The study's folder."""
        return self.folder / "results" / "quick"

    def runs(self) -> list[Path]:
        """Folders of finished runs."""
        return sorted(path.parent for path in self.study.rglob("metrics.json"))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tiny study, run once to the end; tests must not change it."""
    workspace = Workspace(tmp_path_factory.mktemp("study"))
    workspace.change({"inits": ["uniform", "erk"], "seeds": [0, 1]})
    done = workspace.run()
    assert done.returncode == 0, done.stdout
    return workspace


@pytest.fixture(autouse=True)
def environment_of_its_own() -> Iterator[None]:
    """What a test leaves in the environment, as MLflow's set_tracking_uri does, ends with it: the
    study of another test would look for that server in vain and plan its sync again each time."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A `project.Project` with a tiny study, run once to the end; tests must not change it.

    One a module, so that stories of one kind cannot disturb those of another."""
    from project import make_project  # which needs names of this file

    return make_project(tmp_path_factory.mktemp("made") / "project")


Browser = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def chromium(tmp_path: Path) -> Browser:
    """A function that opens a page in headless Chromium until its scripts have run for some time.

    Actions are ``--dump-dom`` (the page on stdout) or ``--screenshot=FILE``.
    """
    browser = which("chromium") or which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on this machine")
    off = ("gpu", "quic", "background-networking", "component-update", "sync", "extensions")
    command = [browser, "--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"]
    command += [f"--disable-{what}" for what in off]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1760,800"]
    command += ["--virtual-time-budget=20000", "--enable-logging=stderr"]

    def open_page(url: str, *actions: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *actions, url], capture_output=True, text=True, timeout=180, check=True
        )

    return open_page
