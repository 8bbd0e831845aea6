"""Recipes of environments: as far as they can be checked without building an image."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CONTAINER = (REPOSITORY / "envs" / "Containerfile").read_text()
APPTAINER = (REPOSITORY / "envs" / "dstcl.def").read_text()
RECIPES = pytest.mark.parametrize("recipe", [CONTAINER, APPTAINER], ids=["container", "apptainer"])


@RECIPES
def test_recipes_install_from_the_lock_alone(recipe: str) -> None:
    installs = re.findall(r"pip install (.*?)(?:\\|$)", recipe, re.MULTILINE)
    assert len(installs) == 2
    assert "--no-deps --require-hashes --requirement envs/requirements.lock" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]


@RECIPES
def test_the_base_is_one_python_by_its_full_version(recipe: str) -> None:
    (base,) = re.findall(r"^(?:FROM|From:) (\S+)$", recipe, re.MULTILINE)
    assert re.fullmatch(r"python:3\.1[1-9]\.\d+-slim-\w+", base)
    assert base in CONTAINER
    assert base in APPTAINER


@RECIPES
def test_recipes_and_environment_name_no_host(recipe: str) -> None:
    environment = (REPOSITORY / "envs" / "environment.yaml").read_text()
    for text in (recipe, environment, (REPOSITORY / ".dockerignore").read_text()):
        assert not re.search(r"https?:|\.(io|org|com)\b", text)


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


def test_the_conda_environment_has_the_python_of_the_project() -> None:
    environment = yaml.safe_load((REPOSITORY / "envs" / "environment.yaml").read_text())
    assert "python=3.11" in environment["dependencies"]


def test_the_rules_name_the_image_that_the_recipe_makes() -> None:
    assert 'container: "envs/dstcl.sif"' in (REPOSITORY / "Snakefile").read_text()
    assert "apptainer build envs/dstcl.sif envs/dstcl.def" in APPTAINER


def test_every_entry_of_every_profile_is_explained() -> None:
    """A comment right above each top-level entry, or above the first of a block without gaps."""
    profiles = sorted((REPOSITORY / "workflow" / "profiles").glob("*/config.yaml"))
    assert len(profiles) == 7
    for profile in profiles:
        for block in profile.read_text().split("\n\n"):
            entries = [line for line in block.splitlines() if re.match(r"[a-z-]+:", line)]
            if entries:
                inside = re.search(r"^  +#", block, re.MULTILINE)
                assert block.startswith("#") or inside, f"{profile}: {entries[0]}"
