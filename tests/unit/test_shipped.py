"""What comes with the code is found from any folder; the folder's own comes first."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dstcl import shipped
from dstcl.cli import main
from dstcl.cli.parser import build_parser
from dstcl.study.load import load_file, runs
from helpers.runs import REPOSITORY


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a study"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_a_file_of_the_package_is_found_from_any_folder() -> None:
    found = shipped.nearest(shipped.CLAIMS)
    assert not found.is_absolute()
    assert found.resolve() == REPOSITORY / "reference" / "claims.yaml"


def test_in_a_checkout_it_is_the_path_of_every_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert shipped.nearest(shipped.CLAIMS) == Path("reference/claims.yaml")
    assert shipped.nearest(shipped.REPORT_PAGE, REPOSITORY) == Path(shipped.REPORT_PAGE)


def test_what_is_beside_the_rules_comes_before_the_package(elsewhere: Path) -> None:
    theirs = made(elsewhere.parent / "their checkout" / "reference" / "claims.yaml")
    checkout = theirs.parents[1]
    assert shipped.nearest(shipped.CLAIMS, checkout) == Path(
        "../their checkout/reference/claims.yaml"
    )
    theirs.unlink()
    assert shipped.nearest(shipped.CLAIMS, checkout) == Path(shipped.CLAIMS), "not the package's"


def test_the_own_file_of_a_study_comes_first(elsewhere: Path) -> None:
    made(elsewhere / "reference" / "claims.yaml")
    assert shipped.nearest(shipped.CLAIMS, REPOSITORY) == Path("reference/claims.yaml")
    assert shipped.nearest(shipped.REPORT_PAGE, REPOSITORY) != Path(shipped.REPORT_PAGE)


def test_the_copies_of_a_wheel_come_before_what_is_around_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = elsewhere / "packages" / "dstcl"
    monkeypatch.setattr(shipped, "__file__", str(made(package / "shipped.py")))
    assert shipped.root() == elsewhere
    made(package / "bundled" / "reference" / "claims.yaml")
    assert shipped.root() == package / "bundled"
    assert shipped.nearest(shipped.CLAIMS) == Path("packages/dstcl/bundled/reference/claims.yaml")


def test_commands_read_claims_and_templates_from_any_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["claims", "--paper"])
    assert "low-sparsity-erk" in capsys.readouterr().out
    for command, page in (("report", "report"), ("partial", "report"), ("results-page", "results")):
        template = build_parser().parse_args([command, "results/tiny"]).template
        assert template.resolve() == REPOSITORY / "workflow" / "report" / f"{page}.html.j2"
    main(["snakefile"])
    assert capsys.readouterr().out.strip() == str(REPOSITORY / "workflow" / "Snakefile")


def test_a_package_without_its_workflow_says_so(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "__file__", str(elsewhere / "packages" / "dstcl" / "shipped.py"))
    with pytest.raises(SystemExit) as end:
        main(["snakefile"])
    assert "installed without its workflow" in str(end.value)


def test_the_repository_has_what_the_catalogue_of_workflows_looks_for() -> None:
    told = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())
    assert set(told["usage"]) == {"mandatory-flags", "software-stack-deployment"}
    assert (REPOSITORY / "config" / "README.md").is_file()
    assert (REPOSITORY / "workflow" / "Snakefile").is_file()
    # Which Snakemake takes first in a checkout.
    assert 'include: "workflow/Snakefile"' in (REPOSITORY / "Snakefile").read_text()
    # What snakedeploy copies into a folder, links followed.
    config, params = (REPOSITORY / name for name in ("config/config.yaml", "params.yaml"))
    assert config.read_text() == params.read_text()
    assert (REPOSITORY / "profiles" / "default" / "config.yaml").is_file()
    assert len(runs(load_file(REPOSITORY / ".test" / "params.yaml"))) == 2


def test_every_profile_is_in_the_table_of_profiles() -> None:
    folder = REPOSITORY / "workflow" / "profiles"
    rows = [line for line in (folder / "README.md").read_text().splitlines() if "| `" in line]
    named = [row.split("`")[1] for row in rows]
    assert sorted(named) == sorted(path.parent.name for path in folder.glob("*/config.yaml"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["snakemake", "--workflow-profile", "slrum", "-n"], "slrum"),
        (["snakemake", "--workflow-profile=slrum"], "slrum"),
        (["snakemake", "--workflow-profile", "slurm"], None),
        (["snakemake", "--workflow-profile", "mine"], None),
        (["snakemake", "--workflow-profile", "sites/ours"], None),
        (["snakemake", "--workflow-profile", "none"], None),
        (["snakemake", "--cores", "1"], None),
    ],
)
def test_a_profile_that_snakemake_would_ignore_is_named(
    arguments: list[str], named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "profiles" / "mine" / "config.yaml")
    made(tmp_path / "sites" / "ours" / "config.yaml")
    said = shipped.unknown_profile(arguments, [Path(), REPOSITORY / "workflow"])
    if named is None:
        assert said is None
    else:
        assert said is not None
        assert said.startswith(f"--workflow-profile {named}: no such profile; there are default, ")
        assert "mine" in said
