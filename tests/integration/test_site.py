"""The documentation as a site, built as `make docs` does and opened in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from workspace import REPOSITORY, Browser

PAGES = ["index", "results", "tutorial", "api/sparse", "params", "commands", "recorded/quick"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pages, out = folder / "pages", folder / "html"
    where = REPOSITORY / "docs" / "site"
    subprocess.run([sys.executable, where / "pages.py", pages], check=True, cwd=REPOSITORY)
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", where]
    subprocess.run([sys.executable, "-m", "sphinx", *options, pages, out], check=True)
    return out


@pytest.mark.browser
def test_pages_open_without_errors_and_fit_a_phone(site: Path, chromium: Browser) -> None:
    frames = "".join(
        f'<iframe src="{(site / page).as_uri()}.html" width="375" height="800"></iframe>'
        for page in PAGES
    )
    # A window of a headless browser is never so narrow; a frame may be.
    measure = """<script>addEventListener("load", () => {
        document.title = [...document.querySelectorAll("iframe")].map((frame) => {
            const page = frame.contentDocument.documentElement;
            return page.scrollWidth <= page.clientWidth ? "fits" : frame.src;
        }).join(" ");
    });</script>"""
    (site / "phone.html").write_text(f"<!doctype html>{measure}{frames}")
    opened = chromium(
        (site / "phone.html").as_uri(), "--dump-dom", "--allow-file-access-from-files"
    )
    assert "CONSOLE" not in opened.stderr
    title = re.search(r"<title>(.*?)</title>", opened.stdout)
    assert title is not None
    assert title[1].split() == ["fits"] * len(PAGES)


def test_the_site_asks_nobody_for_anything(site: Path) -> None:
    loaded = re.compile(r"""<(?:script|link|img|iframe)[^>]*(?:src|href)=["'](https?:)?//""")
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    assert [page.name for page in pages if loaded.search(page.read_text())] == []


def test_the_reference_has_settings_commands_and_the_library(site: Path) -> None:
    text = {name: (site / f"{name}.html").read_text() for name in ("params", "commands")}
    core = (site / "api" / "sparse.html").read_text()
    assert "update_every" in text["params"]
    assert "dstcl train-study" in text["commands"]
    for name in ("DynamicSparseTraining", "register_growth", "export"):
        assert f'id="dstcl.sparse.{name}"' in core


def test_code_is_not_taken_for_links() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "docs" / "site"))
        import pages
    code = 'Of\n`GROW["x"](view)` and\n\n    GROW["x"](view)\n\n'
    found = pages.with_links(code + "[here](docs/results.md)\n", "README.md")
    assert found == code + "[here](results.md)\n"
    with pytest.raises(ValueError, match="links to docs/nothing.md"):
        pages.with_links("[there](docs/nothing.md)", "README.md")
