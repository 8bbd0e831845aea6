"""Wheel and sdist of `make dist`, outside the checkout: alone, and with the study's packages."""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from textwrap import dedent

import pytest

from dstcl import __version__
from dstcl.cli.parser import COMMANDS
from helpers.environments import (
    ended,
    installed_into,
    link,
    packages_of,
    ran,
    with_all_they_need,
)
from helpers.runs import REPOSITORY

NEEDED = ("filelock", "numpy", "safetensors", "torch", "tqdm")
"""What the README says is needed."""
ABSENT = ("lightning", "mlflow", "pandas", "pydantic", "scipy", "snakemake", "torchvision", "yaml")
"""Modules of the extras, most of them installed where tests run."""

LOOK = f"""
from importlib.metadata import distributions
from importlib.util import find_spec
print(*sorted({{found.name.lower().replace("_", "-") for found in distributions()}}))
print(*(name for name in {ABSENT} if find_spec(name)))
"""
PRELUDE = """
import torch

model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 5))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loss = torch.nn.functional.cross_entropy
x, y = torch.randn(8, 20), torch.randint(5, (8,))
"""
AFTERWARDS = """
import dstcl
print(dst.steps, f"{dst.density():.2f}", dstcl.__file__)

def made():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.ReLU(), torch.nn.Linear(30, 5))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return DynamicSparseTraining(model, optimizer, density=0.1, update_every=2, total_steps=20)

def train(dst, steps):
    for _ in range(steps):
        dst.optimizer.zero_grad()
        loss(dst.model(x), y).backward()
        dst.step()
    dst.check_counts()

first, second = made(), made()
begin = {name: mask.clone() for name, mask in first.masks.items()}
train(first, 5)
first.save("state.safetensors")
second.model.load_state_dict(first.model.state_dict())
second.load("state.safetensors")
for dst in (first, second):
    train(dst, 5)
assert not all(torch.equal(first.masks[name], mask) for name, mask in begin.items())
assert all(torch.equal(second.masks[name], mask) for name, mask in first.masks.items())
assert all(map(torch.equal, first.model.parameters(), second.model.parameters()))
print(first.steps, second.steps, f"{second.density():.2f}")
"""


def example() -> str:
    [block] = re.findall(
        r"\n\n((?:    .*\n|\n)*    from dstcl\.sparse import(?:.*\n)(?:    .*\n|\n)*)",
        (REPOSITORY / "README.md").read_text(),
    )
    lines = dedent(block).splitlines()
    return "\n".join(line for line in lines if not line.startswith("pip install"))


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
    [wheel] = dist.glob("*.whl")
    python = installed_into(tmp_path_factory.mktemp("environment"), wheel)
    # Read as a folder of packages: files within that add this checkout are not followed.
    (packages_of(python) / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def bare(
    request: pytest.FixtureRequest, dist: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Python of an environment with one of the two, what the README says it needs, and no more."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sdist":
        [sdist] = dist.glob("*.tar.gz")
        build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation")
        ran(*build, "--no-deps", "--no-index", "--wheel-dir", folder, sdist, folder=folder)
    [wheel] = (folder if request.param == "sdist" else dist).glob("*.whl")
    python = installed_into(folder / "environment", wheel)
    link(with_all_they_need(NEEDED).values(), packages_of(python))
    return python


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
def test_alone_both_have_all_that_they_ask_for(bare: Path, tmp_path: Path) -> None:
    """As their metadata say; nothing of the study is importable."""
    packages, importable = ran(bare, "-I", "-c", LOOK, folder=tmp_path).split("\n")[:2]
    assert set(packages.split()) == {"dstcl", *with_all_they_need(NEEDED)}
    assert importable == ""
    ran(sys.executable, "-m", "pip", "--python", bare, "check", folder=tmp_path)


@pytest.mark.slow
def test_alone_both_run_the_example_of_the_readme_and_resume(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(PRELUDE + example() + AFTERWARDS)
    example_ran, resumed = ran(bare, "-I", "example.py", folder=tmp_path).splitlines()
    assert example_ran == f"1 0.10 {packages_of(bare) / 'dstcl' / '__init__.py'}"
    assert resumed == "10 10 0.10"


@pytest.mark.slow
def test_alone_the_command_line_has_help_and_names_the_extra(bare: Path, tmp_path: Path) -> None:
    dstcl = bare.parent / "dstcl"
    listed = ran(dstcl, "--help", folder=tmp_path)
    assert {command.split()[0] for command in COMMANDS} <= set(listed.split())
    assert ran(dstcl, "--version", folder=tmp_path) == f"{__version__}\n"
    rules = packages_of(bare) / "dstcl" / "bundled" / "workflow" / "Snakefile"
    assert ran(dstcl, "snakefile", folder=tmp_path) == f"{rules}\n"
    assert rules.exists()
    refused = ended(dstcl, "claims", "--paper", folder=tmp_path)
    assert refused.returncode == 1
    assert re.fullmatch(r"dstcl: \w+ is not installed: .*'\.\[study\]'.*\n", refused.stderr)


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


@pytest.mark.slow
def test_the_metadata_name_the_library_and_the_study(dist: Path) -> None:
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        told = Parser().parsestr(archive.read(name).decode())
    for word in ("ynamic sparse training", "PyTorch", "RigL", "SET", "pruning", "continual"):
        assert word in told["Summary"], word
        assert word in told["Keywords"], word
