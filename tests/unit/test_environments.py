"""Recipes of environments and profiles of machines: that they agree with the repository."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CONTAINER = (REPOSITORY / "envs" / "Containerfile").read_text()
APPTAINER = (REPOSITORY / "envs" / "dstcl.def").read_text()
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


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_profiles_name_rules_that_exist(path: Path) -> None:
    """Snakemake says nothing about resources of a rule that there is not."""
    text = "".join(file.read_text() for file in (REPOSITORY / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^rule (\w+):", text, re.MULTILINE))
    profile = yaml.safe_load(path.read_text())
    assert {*profile.get("set-resources", {}), *profile.get("groups", {})} <= rules
