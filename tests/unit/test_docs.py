"""Documentation: citations name a part of the page they cite, links lead somewhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "published-code.md"
PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / "reference").rglob("README.md"),
    ]
)
CITING = sorted(
    [
        REPOSITORY / "params.yaml",
        *(p for p in (REPOSITORY / "src").rglob("*") if p.suffix in (".py", ".csv", ".md")),
    ]
)
PARTS = r"[cd]\d+"
# "docs/published-code.md, c7", "..., c4 to c6", "..., d17 and d18"; "c5, 4" is a point of a list.
CITATION = re.compile(rf"docs/published-code\.md, ({PARTS}(?:(?:, | and | to ){PARTS})*)")


def citations(text: str) -> list[str]:
    """Parts of the page on the public code that a text cites, also where a comment is wrapped."""
    joined = re.sub(r"\s*\n[ \t]*#?[ \t]*", " ", text)
    return [part for m in CITATION.finditer(joined) for part in re.findall(PARTS, m.group(1))]


def prose(text: str) -> str:
    """A page without its fenced code."""
    return re.sub(r"^( *)```.*?^ *```[ \t]*$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> Counter[str]:
    """What ``#...`` can lead to: explicit anchors, and headings as GitHub names them."""
    found = Counter(re.findall(r'<a id="([^"]+)"></a>', text))
    for heading in re.findall(r"^#+ +(.+?) *$", prose(text), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        found[words.replace(" ", "-")] += 1
    return found


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead to no file, or to no heading in it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        lost = not file.exists()
        if lost or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text())):
            broken.append(target)
    return broken


def test_citations_of_the_public_code_name_a_part_of_its_page() -> None:
    known = anchors(PAGE.read_text())
    unknown = {
        str(file.relative_to(REPOSITORY)): lost
        for file in CITING
        if (lost := [part for part in citations(file.read_text()) if part not in known])
    }
    assert not unknown


def test_some_module_cites_the_page() -> None:
    assert any(citations(file.read_text()) for file in CITING)


def test_parts_of_the_page_are_numbered_without_gaps_and_headed_by_their_number() -> None:
    text = PAGE.read_text()
    pairs = re.findall(rf'^<a id="({PARTS})"></a>\n#+ ({PARTS}): ', text, re.MULTILINE)
    assert pairs == [(f"c{k}", f"c{k}") for k in range(1, 12)] + [
        (f"d{k}", f"d{k}") for k in range(1, 35)
    ]


def test_every_defect_of_the_algorithm_names_its_protocols() -> None:
    """d27 to d34 concern the command line, which no switch imitates; d32 alone has one."""
    sections = re.split(
        r"^#+ (d\d+): ", PAGE.read_text().split("## Where `published`")[0], flags=re.M
    )
    without = {
        name for name, body in zip(sections[1::2], sections[2::2]) if "*Protocols*" not in body
    }
    assert without == {f"d{k}" for k in range(27, 35)} - {"d32"}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_relative_links_lead_to_files_and_headings(page: Path) -> None:
    assert broken_links(page) == []


FOLDERS = "src|docs|tests|workflow|benchmarks|reference|envs"
MADE = {"envs/dstcl.sif"}  # by a command that the page gives


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_files_that_the_documentation_names_are_there(page: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", page.read_text())
    assert [p for p in named if not (REPOSITORY / p).exists() and p not in MADE] == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text('# What it\'s for: `a_b`\n\n```\n# no heading\n```\n<a id="c7"></a>\n')
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](other.md#what-its-for-a_b) [c](other.md#c7) [d](#here) [e](https://x.y)\n"
        "[f](gone.md) [g](other.md#no-heading) [h](#there) ![i](gone.png)\n\n## Here\n"
        "```\n[j](never.md)\n```\n"
    )
    assert broken_links(page) == ["gone.md", "other.md#no-heading", "#there", "gone.png"]


def test_citations_are_found_across_lines_and_in_lists() -> None:
    text = """
    # As in the public code (docs/published-code.md,
    # c7), and docs/published-code.md, c5, 4; docs/published-code.md, d17 and d18.
    See docs/published-code.md, c4 to c6. The page docs/published-code.md is long, c99.
    """
    assert citations(text) == ["c7", "c5", "d17", "d18", "c4", "c6"]
