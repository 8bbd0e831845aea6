"""What a release says of itself: one version everywhere, forms for those who report."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import dstcl

REPOSITORY = Path(__file__).parents[2]
FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
NUMBER = r"\d+\.\d+\.\d+\S*"


def test_the_build_takes_the_version_from_the_package() -> None:
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert "version" not in content["project"]
    assert content["project"]["dynamic"] == ["version"]
    assert content["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "dstcl.__version__"}
    source = (REPOSITORY / "src" / "dstcl" / "__init__.py").read_text()
    assert f'\n__version__ = "{dstcl.__version__}"\n' in source, "read without an import"


def test_whatever_names_the_version_names_this_one() -> None:
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"]
    assert cited == dstcl.__version__
    released = re.findall(rf"^## ({NUMBER})", (REPOSITORY / "CHANGELOG.md").read_text(), re.M)
    assert released[0] == dstcl.__version__
    for name in ("envs/Containerfile", "docs/cluster.md", "workflow/profiles/kubernetes"):
        path = REPOSITORY / name
        text = (path / "config.yaml" if path.is_dir() else path).read_text()
        images = re.findall(rf"\bdstcl:({NUMBER})", text)
        assert set(images) == {dstcl.__version__}, name


def form(name: str) -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / ".github" / "ISSUE_TEMPLATE" / name).read_text())


@pytest.mark.parametrize("path", [p for p in FORMS if p.stem != "config"], ids=lambda p: p.stem)
def test_forms_are_such_as_github_takes(path: Path) -> None:
    content = form(path.name)
    assert {"name", "description", "body"} <= content.keys()
    assert content.keys() <= {"name", "description", "title", "labels", "body"}
    fields = [part for part in content["body"] if part["type"] != "markdown"]
    names = [part["id"] for part in fields]
    assert len(set(names)) == len(names)
    assert len({part["attributes"]["label"] for part in fields}) == len(fields)
    for part in content["body"]:
        assert part["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert part["type"] != "dropdown" or part["attributes"]["options"]


def test_who_reports_other_numbers_is_asked_for_what_confirm_says() -> None:
    (field,) = [part for part in form("not-reproduced.yml")["body"] if part.get("id") == "confirm"]
    assert field["validations"] == {"required": True}
    assert "dstcl confirm results/<preset> reference/<preset>" in field["attributes"]["description"]
