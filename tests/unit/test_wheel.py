"""The wheel of `make dist`, installed alone, runs the example of the README."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from textwrap import dedent

import pytest

from helpers.runs import REPOSITORY

PRELUDE = """
import torch

model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 5))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loss = torch.nn.functional.cross_entropy
x, y = torch.randn(8, 20), torch.randint(5, (8,))
"""
AFTERWARDS = """
import sys, dstcl
dst.check_counts()
dst.save("state.safetensors")
dst.load("state.safetensors")
print(dst.steps, f"{dst.density():.2f}", dstcl.__file__)
print(*({"pandas", "pydantic", "snakemake", "mlflow", "lightning"} & sys.modules.keys()))
"""


def example() -> str:
    [block] = re.findall(
        r"\n\n((?:    .*\n|\n)*    from dstcl\.sparse import(?:.*\n)(?:    .*\n|\n)*)",
        (REPOSITORY / "README.md").read_text(),
    )
    lines = dedent(block).splitlines()
    return "\n".join(line for line in lines if not line.startswith("pip install"))


def ran(*command: object, folder: Path) -> str:
    names = ("PATH", "HOME", "TMPDIR", "OMP_NUM_THREADS")
    plain = {name: os.environ[name] for name in names if name in os.environ}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=plain, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make dist` leaves in a copy of the repository, whose environment is this one."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(REPOSITORY / "src" / "dstcl", copy / "src" / "dstcl")
    files = ("LICENSE", "MANIFEST.in", "Makefile", "README.md", "pyproject.toml", "setup.py")
    for name in (*files, "CITATION.cff", "envs", "params.yaml", "reference", "workflow"):
        source = REPOSITORY / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    tools = copy / "tools" / "bin"
    tools.mkdir(parents=True)
    (tools / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tools / "python").chmod(0o755)
    (copy / "tools" / ".ready").touch()
    ran("make", "dist", "VENV=tools", folder=copy)
    assert not (copy / "build").exists()
    return copy / "dist"


@pytest.fixture(scope="module")
def python(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment into which the wheel is installed, with the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    [wheel] = dist.glob("*.whl")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    ran(*pip, "--no-deps", "--no-index", wheel, folder=folder)
    # Read as a folder of packages: files within that add this checkout are not followed.
    (packages_of(python) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def packages_of(python: Path) -> Path:
    [packages] = python.parents[1].glob("lib/python*/site-packages")
    return packages


@pytest.mark.slow
def test_the_wheel_alone_plans_a_study_and_knows_the_claims(python: Path, tmp_path: Path) -> None:
    """In a folder with nothing but params.yaml; rules, templates and reference are the wheel's."""
    bundled = packages_of(python) / "dstcl" / "bundled"
    dstcl = (python.parent / "dstcl",)
    snakefile = Path(ran(*dstcl, "snakefile", folder=tmp_path).strip())
    assert snakefile == bundled / "workflow" / "Snakefile"
    assert "low-sparsity-erk" in ran(*dstcl, "claims", "--paper", folder=tmp_path)
    shutil.copy(REPOSITORY / ".test" / "params.yaml", tmp_path)
    snakemake = (python, "-I", "-m", "snakemake", "--snakefile", snakefile)
    plan = ran(*snakemake, "--cores", "1", "--filegraph", "results_page", folder=tmp_path)
    for name in ("reference/claims.yaml", "workflow/report/results.html.j2"):
        assert os.path.relpath(bundled / name, tmp_path) in plan, name


@pytest.mark.slow
def test_the_wheel_alone_runs_the_example_of_the_readme(python: Path, tmp_path: Path) -> None:
    packages = packages_of(python)
    (tmp_path / "example.py").write_text(PRELUDE + example() + AFTERWARDS)
    numbers, loaded = ran(python, "-I", "example.py", folder=tmp_path).splitlines()
    assert numbers == f"1 0.10 {packages / 'dstcl' / '__init__.py'}"
    assert loaded == ""


@pytest.mark.slow
def test_both_files_have_all_modules_and_their_data(dist: Path) -> None:
    [sdist] = dist.glob("*.tar.gz")
    [wheel] = dist.glob("*.whl")
    listed = ran(sys.executable, "-m", "zipfile", "--list", wheel, folder=dist)
    inside = set(re.findall(r"^dstcl/\S+", listed, re.MULTILINE))
    with tarfile.open(sdist) as archive:
        packed = {re.sub(r"^[^/]+/(src/)?", "", name) for name in archive.getnames()}
    package = REPOSITORY / "src"
    ours = {
        str(path.relative_to(package))
        for path in (package / "dstcl").rglob("*")
        if path.suffix in (".py", ".typed", ".json", ".csv") and "__pycache__" not in path.parts
    }
    assert ours <= packed
    assert ours <= inside
    shipped = {
        str(path.relative_to(REPOSITORY))
        for name in ("reference", "workflow")
        for path in (REPOSITORY / name).rglob("*")
        if path.is_file()
    } - {"workflow/demo-remote.sh"} | {"params.yaml", "CITATION.cff", "LICENSE"}
    assert shipped <= packed
    assert {f"dstcl/bundled/{name}" for name in shipped} <= inside
