"""The workflow used from other folders: directly, as a module, and as snakedeploy sets it up.

Code, templates and reference come from a checkout that nobody may write to; what is made is in the
folder of the study. Names of folders have a space.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import warm
import yaml
from dry_runs import jobs
from workspace import BIN, PATIENCE, REPOSITORY, copy_repository, search_path

from dstcl.study.code import training_code
from dstcl.study.load import load_file, runs

pytestmark = pytest.mark.pipeline

OWN_GROWTH = """
from dstcl import criterion

@criterion(gradient=True)
def largest(layer):
    return layer.gradient.abs()
"""
MODULE = """
{configfile}

module dstcl:
    snakefile:
        {snakefile}
    {config}


use rule * from dstcl


onsuccess:
    dstcl.onsuccess()
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of which nothing may be changed; root may, so tests compare what is there."""
    folder = tmp_path_factory.mktemp("shared software") / "dstcl"
    copy_repository(folder)
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with params.yaml alone: the two short runs of .test/."""
    folder = tmp_path / "my study"
    folder.mkdir()
    shutil.copy(REPOSITORY / ".test" / "params.yaml", folder)
    return folder


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """All files but byte code, with what a change would change."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def snakemake(folder: Path, checkout: Path, *arguments: object, fails: bool = False, **more: str):
    """What Snakemake says, called in a folder with the package of a checkout."""
    variables = {"PYTHONPATH": str(checkout / "src"), "PATH": search_path()}
    done = subprocess.run(
        [str(warm.commands() / "snakemake"), "--cores", "2", *map(str, arguments)],
        cwd=folder,
        env=os.environ | variables | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode != 0) is fails, done.stdout[-3000:]
    return done.stdout


def change(path: Path, **axes: Any) -> None:
    """Change axes of preset tiny."""
    params = yaml.safe_load(path.read_text())
    params["presets"]["tiny"].update(axes)
    path.write_text(yaml.safe_dump(params))


def with_module(folder: Path, snakefile: str, config: str = "", configfile: str = "") -> None:
    text = MODULE.format(snakefile=snakefile, config=config, configfile=configfile)
    (folder / "Snakefile").write_text(text)


def test_a_study_in_another_folder_leaves_everything_there(
    study: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study / "own_growth.py").write_text(OWN_GROWTH)
    change(study / "params.yaml", growths=["random", "own_growth:largest"])
    before = written(checkout)
    snakefile = os.path.relpath(checkout / "workflow" / "Snakefile", study.parent)
    snakemake(study.parent, checkout, "--snakefile", snakefile, "--directory", "my study")
    assert written(checkout) == before
    assert [path.name for path in study.parent.iterdir()] == ["my study"]
    results = study / "results" / "tiny"
    for name in ("report.html", "results.html", "claims.csv", "figures/capacity.svg"):
        assert (results / name).stat().st_size > 0, name
    # As in a checkout: the same folders, digests of settings among their names, and the same code.
    monkeypatch.chdir(study)
    wanted = {run.folder: training_code(run) for run in runs(load_file("params.yaml"))}
    provenances = {
        str(path.parent.relative_to(results / "runs")): json.loads(path.read_text())
        for path in results.rglob("provenance.json")
    }
    assert {folder: told["code"] for folder, told in provenances.items()} == wanted
    # The same study, however the folder is named, and as a module.
    for arguments in (
        ("--snakefile", checkout / "workflow" / "Snakefile", "--directory", study),
        ("--snakefile", snakefile, "--directory", "./my study/../my study/"),
    ):
        assert "Nothing to be done" in snakemake(study.parent, checkout, *arguments, "--dry-run")
    with_module(study, repr(str(checkout / "workflow" / "Snakefile")))
    said = snakemake(
        study, checkout, "--dry-run", "--workflow-profile", checkout / "profiles/default"
    )
    assert "Nothing to be done" in said


def test_a_deployed_module_makes_a_study_from_its_config_folder(
    tmp_path: Path, checkout: Path
) -> None:
    """As snakedeploy leaves it: a configuration, profiles, and a Snakefile that names a module."""
    folder = tmp_path / "deployed study"
    (folder / "config").mkdir(parents=True)
    (folder / "workflow").mkdir()
    shutil.copytree(checkout / "profiles", folder / "profiles")
    config = folder / "config" / "config.yaml"
    shutil.copy(REPOSITORY / ".test" / "params.yaml", config)
    change(config, growths=["random"])
    snakefile = repr(str(checkout / "workflow" / "Snakefile"))
    with_module(folder, snakefile, "config: config", 'configfile: "config/config.yaml"')
    (folder / "Snakefile").rename(folder / "workflow" / "Snakefile")
    before = written(checkout)
    said = snakemake(folder, checkout)
    assert written(checkout) == before
    results = folder / "results" / "tiny"
    assert (results / "report.html").exists()
    assert len(list(results.rglob("metrics.json"))) == 1
    assert "Nothing to be done" in snakemake(folder, checkout, "--dry-run")
    with config.open("a") as file:
        file.write("preset: quick\n")
    said = snakemake(folder, checkout, "--dry-run", fails=True)
    assert "config/config.yaml: line" in said
    assert "key 'preset' twice" in said
    change(config, seeds=["zero"])
    said = snakemake(folder, checkout, "--dry-run", fails=True)
    assert "config/config.yaml: presets.tiny.seeds[0]: 'zero'" in said


def test_a_module_of_a_hosted_repository_takes_the_rest_from_the_package(
    study: Path, checkout: Path, tmp_path: Path
) -> None:
    """Snakemake then has the rules alone, file by file; the repository is a local one here."""
    hosted = tmp_path / "hosted" / "someone" / "dstcl"
    shutil.copytree(checkout, hosted, symlinks=True)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "-qm", "x"], ["tag", "v1"]):
        subprocess.run([*git, *command], cwd=hosted, check=True)
    with_module(study, 'github("someone/dstcl", path="workflow/Snakefile", tag="v1")')
    said = snakemake(
        study,
        checkout,
        "--dry-run",
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0=f"url.{hosted.parents[1].as_uri()}/.insteadOf",
        GIT_CONFIG_VALUE_0="https://github.com/",
    )
    assert jobs(said)["train_run"] == 2
    assert os.path.relpath(checkout / "reference" / "claims.yaml", study) in said


def test_the_command_line_reaches_a_module(study: Path, checkout: Path) -> None:
    def trained(*arguments: str) -> int:
        return jobs(snakemake(study, checkout, "--dry-run", *arguments, "--", "train"))["train_run"]

    snakefile = repr(str(checkout / "workflow" / "Snakefile"))
    more = study.parent / "more seeds.yaml"
    more.write_text("presets: {tiny: {seeds: [0, 1, 2]}}\n")
    for config in ("", "config: config"):
        with_module(study, snakefile, config)
        assert trained() == 2
        assert trained("--configfile", str(more)) == 6
    (study / "params.yaml").rename(study.parent / "whole.yaml")
    assert trained("--configfile", "../whole.yaml") == 2
    with_module(study, snakefile, "config: config", 'configfile: "../whole.yaml"')
    assert trained() == 2


def test_a_folder_without_a_study_gets_one_line(tmp_path: Path, checkout: Path) -> None:
    for arguments in ((), ("--config", "preset=tiny")):
        said = snakemake(
            tmp_path,
            checkout,
            "--dry-run",
            *("--snakefile", checkout / "workflow" / "Snakefile"),
            *arguments,
            fails=True,
        )
        (line,) = [line for line in said.splitlines() if "params.yaml" in line]
        assert f"params.yaml: no such file in {tmp_path}" in line
        assert "--configfile" in line
        assert os.path.relpath(checkout / "params.yaml", tmp_path) in line
        assert "Traceback" not in said


def test_own_claims_beside_a_study_are_tested(study: Path, checkout: Path) -> None:
    reference = shutil.copytree(checkout / "reference" / "paper", study / "reference" / "paper")
    shutil.copy(checkout / "reference" / "claims.yaml", reference.parent)
    claims = reference.parent / "claims.yaml"
    claims.chmod(0o644)
    arguments = ["--snakefile", checkout / "workflow" / "Snakefile", "--dry-run"]
    arguments += ["--workflow-profile", "none"]  # which would leave out names of inputs
    assert " reference/claims.yaml" in snakemake(study, checkout, *arguments)
    claims.write_text("claims:\n  - {id: a, kind: guess}\n")
    said = snakemake(study, checkout, *arguments, fails=True)
    assert "reference/claims.yaml: claim a: kind: guess; allowed:" in said


def test_the_catalogue_can_draw_the_rules_of_the_test_study(tmp_path: Path) -> None:
    """The command of the catalogue's scanner, on a copy of .test/."""
    folder = tmp_path / ".test"
    folder.mkdir()
    shutil.copy(REPOSITORY / ".test" / "params.yaml", folder)
    command = [BIN / "snakemake", "--forceall", "-s", REPOSITORY / "workflow" / "Snakefile"]
    done = subprocess.run(
        [*command, "-d", folder, "-c", "1", "--rulegraph"],
        cwd=REPOSITORY,
        env=os.environ | {"PATH": search_path(BIN)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("digraph")
    drawn = Counter(word for word in ("train_run", "collect", "report") if word in done.stdout)
    assert sum(drawn.values()) == 3
