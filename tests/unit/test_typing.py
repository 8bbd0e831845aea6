"""What a type checker says of scripts that use the library, as its users' editors do."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from helpers.runs import REPOSITORY

BEGIN = """
import torch
from dstcl.sparse import DynamicSparseTraining

model = torch.nn.Linear(3, 2)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
"""
SCRIPTS = {
    "right": BEGIN
    + """
dst = DynamicSparseTraining(model, optimizer, density=0.1, grow="gradient", total_steps=9)
dst.step()
count: int = dst.counts["weight"]
""",
    "density": BEGIN + 'DynamicSparseTraining(model, optimizer, density="x", total_steps=9)\n',
    "keyword": BEGIN + "DynamicSparseTraining(model, optimizer, nonsense=1, total_steps=9)\n",
    "method": BEGIN + "DynamicSparseTraining(model, optimizer, total_steps=9).stepp()\n",
    "top_level": "from dstcl import DynamicSparseTraining, criterion, export, load_run, sparse\n",
    "top_level_name": "from dstcl import DynamicSparseTrainin\n",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Errors by script. The sources are checked too, so that `make lint` left most in its cache."""
    folder = tmp_path_factory.mktemp("scripts")
    for name, text in SCRIPTS.items():
        (folder / f"script_{name}.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "src", str(folder)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    said: dict[str, list[str]] = {name: [] for name in SCRIPTS}
    for line in done.stdout.splitlines():
        if of := re.match(r".*\bscript_(\w+)\.py:\d+: error: (.*)", line):
            said[of[1]].append(of[2])
    return said


@pytest.mark.slow
def test_right_uses_are_taken(found: dict[str, list[str]]) -> None:
    assert found["right"] == []
    assert found["top_level"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("density", r'"density" .* has incompatible type "str"; .*\[arg-type\]'),
        ("keyword", r'Unexpected keyword argument "nonsense" .*\[call-arg\]'),
        ("method", r'has no attribute "stepp".*\[attr-defined\]'),
    ],
)
def test_wrong_uses_are_refused(found: dict[str, list[str]], script: str, error: str) -> None:
    [said] = found[script]
    assert re.search(error, said)


@pytest.mark.slow
def test_a_misspelt_name_of_the_package_is_refused(found: dict[str, list[str]]) -> None:
    """It is loaded on first use, which must not make every name right."""
    [said] = found["top_level_name"]
    assert re.search(r'"dstcl" has no attribute "DynamicSparseTrainin".*\[attr-defined\]', said)
