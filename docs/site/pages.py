"""Write the pages of the documentation as one tree that Sphinx reads: `make docs`.

    python docs/site/pages.py FOLDER

README, docs/*.md, the READMEs of recorded runs, the files that these link to, and the reference.
Links in the repository lead from file to file and are rewritten to lead from page to page, so that
both read well.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from importlib import import_module
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from types import FunctionType
from typing import Any

from dstcl.cli.parser import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(?=\))")
ANCHOR = re.compile(r'^<a id="([\w-]+)"></a>$', re.MULTILINE)
"""Which MyST knows as ``(name)=``."""
AT_THE_TOP = {"README.md": "index.md"} | {
    name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
}
CODE = re.compile(
    r"(^```.*?^```$|`(?:(?!\n\n)[^`])+`|(?<=\n\n)(?: {4}[^\n]*\n|\n)+)", re.MULTILINE | re.DOTALL
)
"""In which nothing is a link."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".cff": "yaml", ".md": "markdown"}
"""Of files that become a page; others are copied."""
API: dict[str, tuple[str, str, dict[str, list[str]]]] = {
    "sparse": (
        "The sparse-training core",
        "dstcl.sparse",
        {
            "Training": [
                *("DynamicSparseTraining", "SparseTraining", "GradualMagnitudePruning"),
                "UpdateSchedule",
            ],
            "Which weights": ["Selection", "select_weights", "maskable_weights"],
            "Criteria": [
                *("register_growth", "register_prune", "criterion", "Criterion", "LayerView"),
                *("GrowthPlan", "growth_plan", "prune_criterion", "check_criterion"),
                *("select_top", "CriterionError"),
            ],
            "Densities": [
                *("layer_densities", "uniform_densities", "erk_densities", "er_densities"),
                *("proportional_densities", "active_counts", "register_init"),
            ],
            "Masks": ["draw_masks", "pack_masks", "unpack_masks", "PackedMasks"],
            "Export": [
                *("export", "CSRLinear", "CondensedLinear", "save_sparse", "load_sparse"),
                "export_onnx",
            ],
            "Arithmetic": ["forward_flops", "forward_work", "ForwardWork", "uses_per_image"],
        },
    ),
    "continual": (
        "Continual learning in one call",
        "dstcl.continual.library",
        {"": ["learn", "Learned"]},
    ),
    "controllers": (
        "Controllers",
        "dstcl.continual.controllers",
        {"": ["Controller", "Seen", "Decision", "ControlledTraining", "ControllerError"]},
    ),
    "runs": ("Finished runs", "dstcl.jobs.loaded", {"": ["load_run", "LoadedRun"]}),
}
"""Page: title, module, and what of it is shown under which headings."""
NAVIGATION = {
    "Start here": ["tutorial", "running"],
    "What was found": [
        *("results", "paper-forensics", "published-code", "adaptive", "claims", "power", "confirm"),
    ],
    "Recorded runs": ["recorded/index", "recorded/*"],
    "The library": ["library", "migration", "structured", "fine-tuning", "methods", "extending"],
    "How to": ["data", "cluster", "reruns", "tracking", "releases"],
    "Reference": [*(f"api/{name}" for name in API), "params", "commands"],
    "Design": [
        *("architecture", "engine", "reliability", "benchmarks"),
        *("CONTRIBUTING", "CHANGELOG", "SECURITY"),
    ],
}
"""Pages of each part of the menu; a page of docs/ that is in none is refused by Sphinx."""


def write_pages(out: Path) -> None:
    """Write the tree; what the folder held before is deleted.

    Args:
        out: a folder of its own.
    """
    shutil.rmtree(out, ignore_errors=True)
    pages = {
        page: with_links((ROOT / source).read_text(), source) for source, page in written().items()
    }
    pages |= {f"api/{name}.md": api_page(*about) for name, about in API.items()}
    pages |= {"params.md": settings(), "commands.md": commands()}
    pages["index.md"] += menu()
    for source, place in linked().items():
        if place.endswith(".md"):
            pages[place] = listing(source)
        else:
            copy(ROOT / source, out / place)
    for place, text in pages.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).write_text(text)


def copy(source: Path, place: Path) -> None:
    """A file that pages link to or show."""
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, place)


def menu() -> str:
    """What Sphinx makes the menu of."""
    parts = []
    for title, pages in NAVIGATION.items():
        options = [":hidden:", ":glob:", f":caption: {title}"]
        parts += ["", "```{toctree}", *options, "", *pages, "```"]
    return "\n".join(parts) + "\n"


def api_page(title: str, module: str, shown: dict[str, list[str]]) -> str:
    """What a module offers, from its docstrings."""
    parts = [f"# {title}", "", "```{eval-rst}", f".. automodule:: {module}", "```"]
    for heading, names in shown.items():
        parts += ["", f"## {heading}"] if heading else []
        for name in names:
            kind = type(getattr(import_module(module), name))
            directive = "function" if kind is FunctionType else "class"
            parts += ["", "```{eval-rst}", f".. auto{directive}:: {module}.{name}"]
            parts += ["   :members:"] if directive == "class" else []
            parts += ["```"]
    return "\n".join(parts) + "\n"


def with_links(markdown: str, source: str) -> str:
    """Markdown of a file of the repository, with links from its page to others."""
    pages = written() | linked()
    place = pages[source]

    def to_page(match: re.Match[str]) -> str:
        target = normpath(join(dirname(source), match[1]))
        if target not in pages:
            raise ValueError(f"{source}: links to {match[1]}, which is not there")
        return relpath(pages[target], dirname(place) or ".") + (match[2] or "")

    parts = CODE.split(markdown)  # prose and code take turns
    parts[::2] = [LINK.sub(to_page, prose) for prose in parts[::2]]
    return ANCHOR.sub(r"(\1)=", "".join(parts))


def written() -> dict[str, str]:
    """Page of each Markdown file of the repository that has one."""
    pages = dict(AT_THE_TOP) | {"reference/README.md": "recorded/index.md"}
    for readme in sorted(ROOT.glob("reference/*/README.md")):
        pages[f"reference/{readme.parent.name}/README.md"] = f"recorded/{readme.parent.name}.md"
    return pages | {f"docs/{page.name}": page.name for page in sorted(ROOT.glob("docs/*.md"))}


def linked() -> dict[str, str]:
    """Place in the site of each other file that a page links to."""
    places = {}
    for source in written():
        prose = " ".join(CODE.split((ROOT / source).read_text())[::2])
        for match in LINK.finditer(prose):
            target = normpath(join(dirname(source), match[1]))
            if target in written() or not (ROOT / target).exists():
                continue
            if target.startswith("docs/"):
                places[target] = target.removeprefix("docs/")
            elif (ROOT / target).is_dir() or Path(target).suffix in LANGUAGES:
                places[target] = f"files/{target}.md"
            else:
                places[target] = f"files/{target}"
    return places


def listing(source: str) -> str:
    """A file of code as a page; a folder as the names in it."""
    path = ROOT / source
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir())
        title, text = f"{source}/", "\n".join(f"- `{name}`" for name in names)
    else:
        title, text = source, f"````{LANGUAGES[path.suffix]}\n{path.read_text()}````"
    return f"---\norphan: true\n---\n\n# {title}\n\n{text}\n"


def settings() -> str:
    """Every key of params.yaml, from its schema."""
    schema = json.loads((ROOT / "workflow/schemas/params.schema.json").read_text())
    parts = [
        "# Settings of params.yaml",
        "",
        "All settings of params.yaml. Editors and `dstcl config` use the same schema to check it.",
    ]
    for name, kind in [("Top level", schema), *schema["$defs"].items()]:
        parts += ["", f"## {name}", "", kind.get("description", ""), ""]
        parts += ["| key | values | default | meaning |", "|---|---|---|---|"]
        needed = kind.get("required", ())
        for key, field in kind.get("properties", {}).items():
            default = "needed" if key in needed else code(field.get("default"))
            meaning = cell(field.get("description", ""))
            parts.append(f"| `{key}` | {cell(values(field))} | {default} | {meaning} |")
    return "\n".join(parts) + "\n"


def values(field: dict[str, Any]) -> str:
    """What a key of the schema may be, in a few words."""
    if "enum" in field:
        return ", ".join(code(value) for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(values(each) for each in field["anyOf"]))
    if "$ref" in field:
        return field["$ref"].rpartition("/")[2]
    if field.get("type") == "array":
        return f"list of {values(field.get('items', {}))}"
    if "pattern" in field and ":" in field["pattern"]:
        return "`module:attribute`"
    bounds = {
        "minimum": "from {}",
        "exclusiveMinimum": "above {}",
        "maximum": "to {}",
        "exclusiveMaximum": "below {}",
    }
    said = [words.format(field[name]) for name, words in bounds.items() if name in field]
    return " ".join([str(field.get("type", "any")), *said])


def commands() -> str:
    """The help of every command."""
    parts = ["# Commands", "", "All commands with their options, as `--help` prints them."]
    for command in COMMANDS:
        parser = build_parser()
        for word in command.split():
            parser = subparsers(parser)[word]
        text = parser.format_help().rstrip()
        parts += ["", f"## dstcl {command}", "", "```text", text, "```"]
    return "\n".join(parts) + "\n"


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """By name."""
    actions = parser._actions
    (found,) = [each for each in actions if isinstance(each, argparse._SubParsersAction)]
    return dict(found.choices)


def code(value: object) -> str:
    """As YAML has it."""
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def cell(text: str) -> str:
    """In a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
