"""Environments that a test makes: of the packages installed here, they have those named."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def ended(*command: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command, ended in a folder, which saw no settings of whoever runs the tests."""
    names = ("PATH", "HOME", "TMPDIR", "OMP_NUM_THREADS")
    plain = {name: os.environ[name] for name in names if name in os.environ}
    return subprocess.run(
        [*map(str, command)], cwd=folder, env=plain, capture_output=True, text=True, check=False
    )


def ran(*command: object, folder: Path) -> str:
    """What a command printed that must not fail."""
    done = ended(*command, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed_into(folder: Path, wheel: Path) -> Path:
    """Python of a new environment that has a wheel and nothing else."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    ran(*pip, "--no-deps", "--no-index", wheel, folder=folder)
    return python


def packages_of(python: Path) -> Path:
    """The folder of an environment's packages."""
    [packages] = python.parents[1].glob("lib/python*/site-packages")
    return packages


def with_all_they_need(names: Iterable[str]) -> dict[str, Distribution]:
    """Installed packages by name: these and what they need in turn, with the extras asked for."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        asked = waiting.pop()
        name = canonicalize_name(asked.name)
        for extra in ("", *asked.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found[name] = distribution(name)
            waiting += [
                needed
                for needed in map(Requirement, found[name].requires or ())
                if needed.marker is None or needed.marker.evaluate({"extra": extra})
            ]
    return found


def link(packages: Iterable[Distribution], folder: Path) -> None:
    """Make packages importable from a folder, without a copy and without their neighbours."""
    for package in packages:
        tops = {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}
        for top in tops:
            if not (folder / top).is_symlink():  # several packages may share one, as nvidia
                (folder / top).symlink_to(Path(str(package.locate_file(top))))
