"""A workspace of its own for each study, run with the real Snakemake."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from filelock import FileLock
from project import Project, make_project
from workspace import Browser, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace."""
    return Workspace(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def memory_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of files is not what a person's own commands remember."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def environment_of_its_own() -> Iterator[None]:
    """What a test leaves in the environment, as MLflow's set_tracking_uri does, ends with it: the
    study of another test would look for that server in vain and plan its sync again each time."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A repository with a tiny study, run once to the end; tests work on copies.

    Processes of pytest-xdist share it: the first makes it, others wait."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder = place / "made" / "project"
    with FileLock(place / "made.lock"):
        if folder.exists():
            return Project(folder)
        unfinished = make_project(place / "unfinished" / "project")
        return unfinished.copy(folder)


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
            [*command, *actions, url], capture_output=True, text=True, timeout=300, check=True
        )

    return open_page
