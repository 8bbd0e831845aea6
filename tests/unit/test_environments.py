"""Recipes of environments and profiles of machines: that they agree with the repository."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CONTAINER = (REPOSITORY / "envs" / "Containerfile").read_text()
APPTAINER = (REPOSITORY / "envs" / "dstcl.def").read_text()
LOCKS = {
    name: (REPOSITORY / "envs" / f"{name}.lock").read_text()
    for name in ("requirements", "integrations")
}
PROFILES = sorted((REPOSITORY / "workflow" / "profiles").glob("*/config.yaml"))


def test_what_the_images_copy_is_in_the_repository_and_in_both() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (.*)$", CONTAINER, re.MULTILINE)
        for source in line.split()[:-1]
    }
    files = APPTAINER.partition("%files\n")[2].partition("\n\n")[0]
    assert copied == {line.split()[0] for line in files.splitlines()}
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for path in copied:
        assert (REPOSITORY / path).exists(), path
        assert f"!{path}" in allowed, path


def test_both_images_start_from_the_same_base() -> None:
    (base,) = re.findall(r"^FROM (\S+)$", CONTAINER, re.MULTILINE)
    assert re.findall(r"^From: (\S+)$", APPTAINER, re.MULTILINE) == [base]


def test_the_conda_environment_has_the_oldest_python_of_the_project() -> None:
    environment = yaml.safe_load((REPOSITORY / "envs" / "environment.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert f"python={oldest}" in environment["dependencies"]


def versions(lock: str) -> dict[str, set[str]]:
    """Of each package: one, or one for each of several Pythons."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", lock, re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


def test_both_locks_fit_into_one_environment() -> None:
    study, integrations = versions(LOCKS["requirements"]), versions(LOCKS["integrations"])
    assert {"lightning", "transformers", "accelerate", "torch"} <= integrations.keys()
    assert {"onnx", "onnxscript", "optuna", "timm"} <= integrations.keys(), "else tests are skipped"
    shared = study.keys() & integrations.keys()
    assert {n: integrations[n] for n in shared} == {n: study[n] for n in shared}


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_locks_have_hashes_and_name_no_index(lock: str) -> None:
    for block in re.split(r"^(?=[a-z])", lock, flags=re.MULTILINE)[1:]:
        assert re.match(r"[a-z0-9._-]+==\S+( ; .*)? \\\n    --hash=sha256:", block), block
    assert "://" not in lock
    assert "--index" not in lock


def test_the_setup_says_each_stage_before_it_begins(tmp_path: Path) -> None:
    """With programs that install nothing and say what they were called for."""
    program = tmp_path / "program"
    program.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '-m\\ venv*) mkdir -p "$3/bin" && cp "$0" "$3/bin/pip" && cp "$0" "$3/bin/python" ;;\n'
        "esac\n"
        'case "$*" in -c*) ;; *) echo "called for $1 $2" ;; esac\n'
    )
    program.chmod(0o755)
    command = ["make", "-s", "setup", f"PYTHON={program}", f"VENV={tmp_path / 'env'}"]

    def lines() -> list[str]:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    packages = len(re.findall("^[a-z].*==", LOCKS["requirements"], re.MULTILINE))
    assert lines() == [
        f"1/4 creating the environment {tmp_path / 'env'}",
        "called for -m venv",
        f"2/4 installing the packages of envs/requirements.lock ({packages} at most, about 7 GB "
        "with torch): takes about 3 minutes",
        "called for install -qq",
        "3/4 compiling them",
        "called for -m compileall",
        "4/4 installing dstcl itself, from this folder",
        "called for install -qq",
        f"done: the environment {tmp_path / 'env'} is ready",
    ]
    assert lines() == [], "what is there is not made again"


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_profiles_name_rules_that_exist(path: Path) -> None:
    """Snakemake says nothing about resources of a rule that there is not."""
    text = "".join(file.read_text() for file in (REPOSITORY / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    profile = yaml.safe_load(path.read_text())
    assert {*profile.get("set-resources", {}), *profile.get("groups", {})} <= rules
