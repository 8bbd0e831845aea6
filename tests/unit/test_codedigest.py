"""Digests of code: what they see, what they do not, and that rules and stages agree with them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import dstcl
from dstcl.codedigest import Package, code_digest, code_files
from dstcl.figures import FIGURES

REPOSITORY = Path(__file__).parents[2]
SOURCE = Path(dstcl.__file__).parent

TOY = {
    "__init__.py": '"""Toy."""\n__version__ = "1"\n\ndef __getattr__(name):\n    import toy.lazy\n',
    "lazy.py": "LAZY = 1\n",
    "cli/__init__.py": "def main():\n    from toy.cli.parser import build\n    build()\n",
    "cli/parser.py": "from toy.cli import one, two\ndef build():\n    return [one, two]\n",
    "cli/one.py": (
        "import argparse\nimport toy.work\nLIMIT = 3\n"
        "def run(options):\n    return helper(options) + LIMIT\n"
        "def helper(options):\n    from toy.work.inner import run\n    return run(options)\n"
    ),
    "cli/two.py": "def run(options):\n    from toy.other import run\n    return run(options)\n",
    "other.py": "def run(options):\n    return 2\n",
    "work/__init__.py": "",
    "work/inner.py": (
        "from ..shared import value\nfrom . import sibling\ndef run(x):\n    return value\n"
    ),
    "work/sibling.py": "import json\nSIBLING = 1\n",
    "work/unused.py": "UNUSED = 1\n",
    "shared.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from toy.other import run\n"
        "value = 1\n"
    ),
}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A small package with every kind of import."""
    for name, text in TOY.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "toy"


def digest(folder: Path, *entries: str) -> str:
    """The digest as another process would compute it."""
    return Package(folder).digest(entries or ["cli.one"])


def names(folder: Path, *entries: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Package(folder).files(entries)}


def test_a_module_reaches_what_it_imports_and_no_more(toy: Path) -> None:
    assert names(toy, "cli.one") == {
        "__init__.py",
        "cli/__init__.py",
        "cli/one.py",
        "shared.py",
        "work/__init__.py",
        "work/inner.py",
        "work/sibling.py",
    }
    assert names(toy, "cli.two") == {"__init__.py", "cli/__init__.py", "cli/two.py", "other.py"}
    assert names(toy, "cli.one", "other") == names(toy, "cli.one") | {"other.py"}


def test_functions_of_a_package_count_only_where_it_is_imported_itself(toy: Path) -> None:
    assert "lazy.py" not in names(toy, "cli.two")
    (toy / "other.py").write_text("import toy\ndef run(options):\n    return 2\n")
    assert "lazy.py" in names(toy, "cli.two")


def test_a_package_met_on_the_way_first_and_imported_later_counts_in_full(toy: Path) -> None:
    """In both orders: as a package around an entry, and by an import of its own."""
    (toy / "shared.py").write_text("import toy.cli\n")
    for entries in (["cli.one"], ["cli.two", "shared"], ["shared", "cli.two"]):
        assert {"cli/parser.py", "cli/one.py", "cli/two.py"} <= names(toy, *entries), entries


@pytest.mark.parametrize("file", ["shared.py", "work/inner.py", "work/sibling.py", "__init__.py"])
@pytest.mark.parametrize("added", ["NEW = 1", "import sys", "print('here')", "table['key'] = 1"])
def test_any_change_of_a_reached_module_changes_the_digest(
    toy: Path, file: str, added: str
) -> None:
    before = digest(toy)
    with (toy / file).open("a") as text:
        text.write(f"\n{added}\n")
    assert digest(toy) != before


@pytest.mark.parametrize(
    "file", ["lazy.py", "other.py", "work/unused.py", "cli/two.py", "cli/parser.py"]
)
def test_changes_elsewhere_do_not(toy: Path, file: str) -> None:
    before = digest(toy)
    (toy / file).write_text("changed = True\n")
    assert digest(toy) == before


def test_texts_from_elsewhere_count_one_by_one_and_in_their_order(toy: Path) -> None:
    extras = [[], [""], ["a"], ["b"], ["a", "b"], ["b", "a"], ["ab"], ["a\nextra 'b'"]]
    digests = {Package(toy).digest(["cli.one"], extra) for extra in extras}
    assert len(digests) == len(extras)
    assert Package(toy).digest(["cli.one"], []) == digest(toy)
    assert code_digest("cli.train", extra=["a"]) != code_digest("cli.train", extra=["b"])
    assert code_digest("cli.train", extra=["a"]) == code_digest("cli.train", extra=("a",))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x = 1", "x = 1  # one"),
        ("x = [1,2]", "x = [\n    1,\n    2,\n]"),
        ("x = 'a'", 'x = u"a"'),
        ("x = 1_000", "x = 1000"),
        ("def f():\n  return 1", 'def f():\n    """One."""\n    return 1'),
        ("class A:\n    x = 1", 'class A:\n    """A."""\n\n    x = 1\n    """X."""'),
        ("async def f():\n    pass", "async def f():\n    'Doc.'\n    pass"),
        ("x = 1\n__version__ = '1'", "x = 1\n__version__ = '2'"),
        ("x = 1", "__all__ = ['x']\nx = 1"),
        ("if a:\n    b()", "if a:\n    'why'\n    b()"),
        ("x = 1", "if TYPE_CHECKING:\n    import torch\nx = 1"),
        ("x = 'é'", "x = '\\xe9'"),
    ],
)
def test_the_same_program_has_the_same_digest(toy: Path, one: str, two: str) -> None:
    (toy / "shared.py").write_text(one)
    before = digest(toy)
    (toy / "shared.py").write_text(two)
    assert digest(toy) == before


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("x = 1", "x = 1.0"),
        ("x = 1", "x = True"),
        ("x = None", "x = 'None'"),
        ("x = 'a'", "x = b'a'"),
        ("x = -0.0", "x = 0.0"),
        ("f(a, b)", "f(b, a)"),
        ("f(a, b)", "f(a, b=b)"),
        ("f(a, None)", "f(a)"),
        ("def f(a, /, b): pass", "def f(a, b): pass"),
        ("def f(a=None): pass", "def f(a): pass"),
        ("x = {1: a, **b}", "x = {1: a, None: b}"),
        ("x = a < b", "x = a <= b"),
        ("x = 1", "x: int = 1"),
        ("x = 1\ny = 2", "y = 2\nx = 1"),
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
        ("x.__version__ = 1", "x.__version__ = 2"),
        ("try:\n    a()\nexcept E:\n    b()", "try:\n    a()\nexcept E:\n    c()"),
        ("match a:\n    case 1:\n        b()", "match a:\n    case 2:\n        b()"),
        ("x = f'{a!r:>{b}}'", "x = f'{a!s:>{b}}'"),
    ],
)
def test_another_program_has_another_digest(toy: Path, one: str, two: str) -> None:
    (toy / "shared.py").write_text(one)
    before = digest(toy)
    (toy / "shared.py").write_text(two)
    assert digest(toy) != before


def test_imports_inside_every_kind_of_block_are_found(toy: Path) -> None:
    blocks = [
        "try:\n    import toy.{0}\nexcept ImportError:\n    pass",
        "try:\n    pass\nexcept ImportError:\n    import toy.{0}",
        "try:\n    pass\nfinally:\n    from toy import {0}",
        "if a:\n    pass\nelse:\n    from toy.{0} import LAZY",
        "with a:\n    import toy.{0} as z",
        "for a in b:\n    from . import {0}",
        "match a:\n    case 1:\n        from .{0} import LAZY",
        "class A:\n    def f(self):\n        def g():\n            import toy.{0}",
    ]
    for block in blocks:
        (toy / "shared.py").write_text(block.format("lazy"))
        assert "lazy.py" in names(toy, "cli.one"), block


PINNED = "769cce1452620411"


def test_the_digest_is_the_same_on_every_python(toy: Path) -> None:
    """Pinned: another Python version must not train a study again."""
    assert digest(toy) == PINNED


def test_place_and_name_of_the_checkout_do_not_matter(toy: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "toy"
    shutil.copytree(toy, moved)
    assert digest(moved) == digest(toy)


@pytest.mark.parametrize("entry", ["nothing", "cli:one", "work.nothing", "cli.one.run"])
def test_an_unknown_entry_is_named(toy: Path, entry: str) -> None:
    with pytest.raises(ValueError, match=f"no module '{entry}'"):
        digest(toy, entry)


# Commands that rules call, and what each imports when it runs.
COMMANDS = {
    "train": "dstcl.jobs.train dstcl.jobs.progress dstcl.study.run dstcl.storage",
    "data.split": "dstcl.data.stored dstcl.data.tasks",
    "data.sheet": "dstcl.data.check dstcl.data.stored dstcl.data.sheet",
    "config.plan": "dstcl.study.load dstcl.study.plan",
    "collect": "dstcl.evaluation.collect dstcl.study.plan",
    "claims": "dstcl.evaluation.judge",
    "figure": "dstcl.figures.style dstcl.figures.tables dstcl.figures.panels dstcl.storage",
    "overview": "dstcl.reports.overview",
    "summary": "dstcl.reports.summary dstcl.study.plan",
    "report": "dstcl.reports.page dstcl.study.plan",
    "results_page": "dstcl.reports.browse.page",
    "track": "dstcl.study.plan dstcl.storage dstcl.tracking dstcl.tracking.study",
}
TABLES = ["collect", "claims", "overview", "summary", "report", "results_page", "track"]
"""Commands that need no torch, beside those that draw figures."""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[Path]]:
    """Files of this package that Python loads for each command: one process forked per command,
    after what they import from elsewhere, which takes most of the time."""
    program = f"""
import json, os
import pandas, pydantic, scipy.stats, torch, yaml
from importlib import import_module
for command, modules in {COMMANDS!r}.items():
    if pid := os.fork():
        os.waitpid(pid, 0)
        continue
    import sys
    for module in [f"dstcl.cli.{{command}}", *modules.split()]:
        import_module(module)
    found = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "dstcl"]
    print(json.dumps([command, found]), flush=True)
    os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    lines = map(json.loads, done.stdout.splitlines())
    found = {command: {Path(name) for name in names} for command, names in lines}
    assert found.keys() == COMMANDS.keys(), done.stderr
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_no_module_that_a_command_really_imports_is_missed(
    loaded: dict[str, set[Path]], command: str
) -> None:
    """Oracle: what Python has loaded after importing what the command imports."""
    assert Path(SOURCE, "cli", *command.split(".")).with_suffix(".py") in loaded[command]
    assert loaded[command] <= set(code_files(f"cli.{command}"))


def test_every_figure_has_its_own_digest() -> None:
    digests = {code_digest("cli.figure", f"figures.{name}") for name in FIGURES}
    assert len(digests) == len(FIGURES)


def test_tables_and_figures_do_not_depend_on_training() -> None:
    heavy = set(Path(SOURCE, "sparse").iterdir()) | set(Path(SOURCE, "continual").iterdir())
    for command in TABLES:
        assert not heavy & set(code_files(f"cli.{command}")), command
    for name in FIGURES:
        assert not heavy & set(code_files("cli.figure", f"figures.{name}")), name


def test_modules_are_imported_by_a_computed_name_in_known_places_only() -> None:
    """Static analysis cannot see them: rules name each figure's module themselves, a run's code
    names its network, its method and its plug-ins, the record of prepared data its reader, and no
    rule's code is the parser of all commands, or the warm parent."""
    words = re.compile(r"import_module\(|__import__\(|(?<![.\w])(?:exec|eval)\(|runpy")
    found = {path for path in SOURCE.rglob("*.py") if words.search(path.read_text())}
    served = SOURCE / "tracking" / "served_model.py"  # runs in MLflow's server, not in a rule
    known = [
        "cli/parser.py",
        "data/readers/__init__.py",
        "jobs/warm.py",
        "figures/__init__.py",
        "networks/build.py",
        "plugins.py",
    ]
    known += ["study/class_facts.py"]
    assert found - {served} == {SOURCE / name for name in known}


def test_the_parser_of_all_commands_is_code_of_none() -> None:
    """Else one more command would train every study again."""
    for command in COMMANDS:
        files = {file.relative_to(SOURCE).as_posix() for file in code_files(f"cli.{command}")}
        assert "cli/__init__.py" in files
        assert "cli/parser.py" not in files, command


def test_the_training_graph_is_found_without_importing_it() -> None:
    program = (
        "import sys; from dstcl.codedigest import code_digest; code_digest('cli.train');"
        "print(*({'torch', 'numpy', 'pandas', 'pydantic'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


# dvc.yaml and the rules: every command that a rule runs is digested, and every file that it
# depends on is a dependency of its stage.
STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
RULES = {
    "data": ["data", "tasks"],
    "train": ["tasks", "train"],
    "report": ["evaluate", "figures", "track", "report"],
}


# Commands whose code no rule names, as what they make has its digest in a record of its own.
RECORDED = {"data": ["cli.data.prepare", "cli.data.split"], "train": ["cli.train"], "report": []}


def rules_text(stage: str) -> str:
    folder = REPOSITORY / "workflow" / "rules"
    return "".join((folder / f"{name}.smk").read_text() for name in RULES[stage])


def is_dependency(stage: str, file: Path) -> bool:
    listed = [REPOSITORY / name for name in STAGES[stage]["deps"]]
    return any(file == entry or entry in file.parents for entry in listed)


def test_every_rule_belongs_to_a_stage() -> None:
    files = {path.stem for path in (REPOSITORY / "workflow" / "rules").glob("*.smk")}
    # Of release, nothing is versioned.
    assert files == {"common", "targets", "release"}.union(*map(set, RULES.values()))


def test_every_rule_that_calls_dstcl_carries_the_digest_of_that_command() -> None:
    folder = REPOSITORY / "workflow" / "rules"
    text = "".join(path.read_text() for path in folder.glob("*.smk"))
    calls = re.findall(r'^ +"dstcl ([a-z]+(?: [a-z]+)?)', text, re.MULTILINE)
    # What these make has the digest of its code in a record of its own.
    for recorded in ("train", "data prepare", "data split"):
        calls.remove(recorded)
    assert len(re.findall(r"^\s+code=", text, re.MULTILINE)) == len(calls) >= 10
    assert text.count("unless_as_now(") >= 2


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_all_its_code(stage: str) -> None:
    named = re.findall(r'code_of\("([a-z_.]+)"\)', rules_text(stage))
    entries = ["study.load", "codedigest", *named, *RECORDED[stage]]
    if "figure_code" in rules_text(stage):
        entries += ["cli.figure", *(f"figures.{name}" for name in FIGURES)]
    if "dstcl config check" in str(STAGES[stage]["cmd"]):
        entries.append("cli.config.check")
    assert named
    # Without the editable install: the files of this checkout.
    source = REPOSITORY / "src" / "dstcl"
    files = [*Package(source).files(entries)]
    files += [REPOSITORY / "Snakefile", REPOSITORY / "workflow" / "Snakefile"]
    rules = REPOSITORY / "workflow" / "rules"
    files += [rules / f"{name}.smk" for name in ["common", *RULES[stage]]]
    missing = [
        str(file.relative_to(REPOSITORY)) for file in files if not is_dependency(stage, file)
    ]
    assert not missing, f"deps of stage {stage} in dvc.yaml lack these"


def test_dependencies_exist() -> None:
    for stage in STAGES.values():
        for name in stage["deps"]:
            made = name.startswith(("data/", "results/"))
            assert made or (REPOSITORY / name).exists(), name


def test_figures_and_tables_are_no_dependency_of_training() -> None:
    source = REPOSITORY / "src" / "dstcl"
    for stage in ("data", "train"):
        for name in ("figures/style.py", "evaluation/collect.py", "tracking.py"):
            assert not is_dependency(stage, source / name)


def test_every_section_of_params_is_watched_by_a_stage() -> None:
    """DVC does not notice a section that no stage lists."""
    sections = set(yaml.safe_load((REPOSITORY / "params.yaml").read_text()))
    watched = {name for stage in STAGES.values() for name in stage["params"]}
    assert watched == sections


def test_commands_of_stages_know_nothing_of_the_machine() -> None:
    allowed = r"snakemake --cores all -- [a-z_ ]+|dstcl config check results/\$\{preset\}"
    for stage in STAGES.values():
        commands = stage["cmd"] if isinstance(stage["cmd"], list) else [stage["cmd"]]
        assert all(re.fullmatch(allowed, command) for command in commands), commands


def test_outs_persist_and_the_memory_travels_with_the_last_stage() -> None:
    """DVC removes outs before a stage runs, unless told otherwise: it would train all again."""
    for stage in STAGES.values():
        for out in [*stage["outs"], *stage.get("metrics", [])]:
            assert next(iter(out.values()))["persist"] is True, out
    *earlier, last = STAGES.values()
    memory = {".snakemake/metadata": {"persist": True}}
    assert memory in last["outs"]
    assert all(memory not in stage["outs"] for stage in earlier)


def test_link_types_are_not_ones_that_let_a_job_write_into_the_cache() -> None:
    config = (REPOSITORY / ".dvc" / "config").read_text()
    assert not re.search(r"type\s*=.*(hard|sym)link", config)
