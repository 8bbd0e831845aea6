"""What a change re-runs, by dry runs on a finished study: every key of params.yaml, and code."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from dry_runs import planned
from project import Project
from workspace import DRAWN

from dstcl.data.catalog import DATASETS
from dstcl.study.controllers import BUILT_IN as CONTROLLERS
from dstcl.study.fields import plain
from dstcl.study.growths import GROWTH_CRITERIA
from dstcl.study.load import ConfigError, load, load_file, runs
from dstcl.study.params import Params
from dstcl.study.run import RESULT_FILES

pytestmark = pytest.mark.pipeline

Place = tuple[str | int, ...]

# Rules that follow when a rule's output changes.
PAGES = Counter(track=1, report=1)
REDRAWN = PAGES + Counter(figure=len(DRAWN))
CLAIMED = REDRAWN + Counter(claims=1, summary=1, results_page=1)
COLLECTED = CLAIMED + Counter(collect=1, overview=1)
TRAINED = COLLECTED + Counter(train_run=2)

# What each section of params.yaml changes beside the runs themselves.
SECTIONS = {
    "preset": COLLECTED + Counter(plan=1, params=1),
    "presets": COLLECTED + Counter(plan=1, params=1),
    "protocols": COLLECTED + Counter(plan=1, params=1),
    "figures": REDRAWN + Counter(params=1, summary=1, results_page=1),
}
REMOVED = object()
# Leaves that count only, or may change only, where another one has a certain value.
COMPANY: dict[Place, tuple[Place, Any]] = {
    ("protocols", "corrected", "logits"): (("protocols", "corrected", "head"), "shared"),
    ("presets", "quick", "benchmarks", 0, "task_sizes"): (
        ("presets", "quick", "benchmarks", 0, "tasks"),
        2,
    ),
}
# Leaves that allow no other value, or none with other runs: MNIST-5k has one size of images; there
# is no other data set; preset quick has no parts, and the name of one decides no run; controllers,
# which other presets have, need exact counts.
FIXED: set[Place] = {
    ("presets", "quick", "benchmarks", 0, "image_size"),
    ("presets", "quick", "part"),
    ("protocols", "corrected", "mask_counts"),
    ("datasets",),
    ("parts",),
}


@pytest.fixture
def study(made: Project, tmp_path: Path) -> Path:
    """A copy of a repository with a finished study; tests change params.yaml or code in it."""
    return made.copy(tmp_path / "project").folder


def test_a_finished_study_has_nothing_to_do(study: Path) -> None:
    assert planned(study) == Counter()


def test_every_leaf_of_params_re_runs_exactly_the_rules_that_use_it(study: Path) -> None:
    """The leaves come from the parsed file, keys left to their defaults included."""
    before = load_file(study / "params.yaml")
    values = plain(before.model_dump())
    wrong, tried = {}, 0
    for place in leaves_in_force(before):
        after = next(mutations(values, place), None)
        if after is None:
            assert place in FIXED, f"no other value found for {place}"
            continue
        tried += 1
        (study / "params.yaml").write_text(yaml.safe_dump(after))
        found, wanted = planned(study), expected(study, load(after), str(place[0]))
        if found != wanted:
            wrong[place] = {"planned": dict(found), "expected": dict(wanted)}
    assert not wrong
    assert tried > 40, "so many leaves has the smallest study"


def test_comments_docstrings_and_formatting_re_run_nothing(study: Path) -> None:
    for file in (study / "src").rglob("*.py"):
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = "A docstring that says something else."
        file.write_text(f"# A comment.\n{ast.unparse(tree)}\n")
    for file in [study / "workflow" / "Snakefile", *study.rglob("*.smk")]:
        changed = re.sub(r'^    """(?=\S)', '    """Also: ', file.read_text(), flags=re.MULTILINE)
        file.write_text(f"# A comment.\n{changed}\n# Another.\n")
    assert planned(study) == Counter()


@pytest.mark.parametrize(
    ("file", "again"),
    [
        ("data/readers/mnist5k.py", TRAINED + Counter(prepare=1, split=1)),
        ("data/tasks.py", TRAINED + Counter(split=1)),
        ("data/batches.py", TRAINED),
        ("sparse/criteria.py", TRAINED),
        ("networks/convnet.py", TRAINED),
        ("networks/vgg.py", Counter()),
        ("continual/methods/dst.py", TRAINED),
        ("continual/methods/ewc.py", Counter()),
        ("continual/metrics.py", TRAINED),
        ("study/presets.py", COLLECTED + Counter(plan=1)),
        ("evaluation/compare.py", COLLECTED),
        ("reports/overview.py", Counter(overview=1)),
        ("reports/summary.py", Counter(summary=1, report=1)),
        ("figures/capacity.py", PAGES + Counter(figure=1)),
        ("figures/tables.py", REDRAWN + Counter(summary=1)),
        ("tracking/study.py", Counter(track=1)),
        ("evaluation/claims.py", CLAIMED),
        ("../../workflow/report/report.css", Counter(report=1, results_page=1)),
        ("../../workflow/report/charts.js", Counter(results_page=1)),
        ("study/load.py", COLLECTED + Counter(plan=1)),
    ],
)
def test_a_change_of_code_re_runs_the_rules_that_use_it(
    study: Path, file: str, again: Counter[str]
) -> None:
    with (study / "src" / "dstcl" / file).open("a") as text:
        text.write("\nADDED = 1\n")
    assert planned(study) == again


UNKNOWN = COLLECTED + Counter(plan=1, params=1)


@pytest.mark.parametrize(
    ("file", "again"),
    [
        (None, UNKNOWN),
        ("data/batches.py", UNKNOWN + Counter(train_run=2)),
        ("continual/methods/ewc.py", UNKNOWN),
        ("data/readers/mnist5k.py", UNKNOWN + Counter(train_run=2, prepare=1, split=1)),
        ("data/readers/cifar.py", UNKNOWN),
        ("data/tasks.py", UNKNOWN + Counter(train_run=2, split=1)),
    ],
)
def test_without_memory_runs_vouch_for_themselves_and_the_rest_is_made_again(
    study: Path, file: str | None, again: Counter[str]
) -> None:
    shutil.rmtree(study / ".snakemake")
    if file:
        with (study / "src" / "dstcl" / file).open("a") as text:
            text.write("\nADDED = 1\n")
    assert planned(study) == again


def test_data_that_do_not_say_what_made_them_are_used(study: Path) -> None:
    """As those prepared before there were records."""
    for record in (study / "data").rglob("*.made_by.json"):
        record.unlink()
    assert planned(study) == Counter()


def test_only_targets_that_need_runs_train_them_again(study: Path) -> None:
    with (study / "src" / "dstcl" / "data" / "batches.py").open("a") as text:
        text.write("\nADDED = 1\n")
    assert planned(study, "data", "tasks", "plan") == Counter()
    one = next((study / "results").rglob("metrics.json")).relative_to(study)
    assert planned(study, str(one)) == Counter(train_run=1)
    assert planned(study, "train") == Counter(train_run=2)


@pytest.mark.parametrize("key", ["data_digest", "tasks_digest", "code"])
def test_runs_of_other_data_or_splits_are_trained_again(study: Path, key: str) -> None:
    path = next((study / "results").rglob("provenance.json"))
    before, times = path.read_text(), path.stat()
    path.write_text(json.dumps(json.loads(before) | {key: "another"}))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert planned(study) == COLLECTED + Counter(train_run=1)


def test_whatever_is_deleted_is_made_again(study: Path) -> None:
    """Where a message says to delete something, the next call makes it."""
    results = study / "results" / "quick"
    run = next(results.rglob("metrics.json")).parent
    files = {
        "plan": "plan.json",
        "params": "params.json",
        "collect": "summary.csv capacity.csv provenance.csv",
        "claims": "claims.csv paper.csv paper_tables.csv",
        "overview": "overview.json",
        "summary": "summary.md",
        "figure": "figures/capacity.svg figures/capacity.csv figures/capacity.pdf",
        "report": "report.html",
        "results_page": "results.html",
        "track": "mlflow.json",
        "train_run": " ".join(str(path.relative_to(results)) for path in run.iterdir()),
    }
    forgotten = []
    for rule, names in files.items():
        for name in names.split():
            path = results / name
            kept = path.rename(study / "kept")
            if rule not in planned(study):
                forgotten.append(name)
            kept.rename(path)
    run.rename(study / "kept")
    assert planned(study) == COLLECTED + Counter(train_run=1)
    assert forgotten == []


def test_a_new_command_trains_nothing(study: Path) -> None:
    """Of the command line only the module of a rule's command counts, and what it imports."""
    cli = study / "src" / "dstcl" / "cli"
    (cli / "another.py").write_text((cli / "overview.py").read_text())
    parser = (cli / "parser.py").read_text()
    (cli / "parser.py").write_text(parser.replace('"train",', '"train",\n    "another",'))
    assert (cli / "parser.py").read_text() != parser
    assert planned(study) == Counter()
    train = (cli / "train.py").read_text()
    (cli / "train.py").write_text(train.replace("}accuracy ", "}mean accuracy "))
    assert (cli / "train.py").read_text() != train
    assert planned(study) == TRAINED


def expected(folder: Path, params: Params, section: str) -> Counter[str]:
    """Jobs that a configuration needs, from the files that are there and the section changed."""
    wanted = runs(params)
    results = folder / "results" / params.preset / "runs"
    files = {
        "train_run": {results / run.folder / RESULT_FILES["metrics"] for run in wanted},
        "prepare": {folder / "data" / run.data_file for run in wanted},
        "split": {folder / "data" / run.tasks_file for run in wanted},
    }
    missing = {rule: sum(not path.exists() for path in paths) for rule, paths in files.items()}
    return SECTIONS[section] + Counter(missing)


def leaves_in_force(params: Params) -> Iterator[Place]:
    """Places of all values that the study uses."""
    for place in leaves(plain(params.model_dump())):
        section, *names = place
        used = {"presets": [params.preset], "protocols": params.study.protocol_names()}
        if section not in used or names[0] in used[section]:
            yield place


def leaves(value: Any, place: Place = ()) -> Iterator[Place]:
    """Places of all values in nested mappings and lists; an empty list is a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        if isinstance(item, dict | list) and item:
            yield from leaves(item, (*place, key))
        else:
            yield (*place, key)


def mutations(values: dict[str, Any], place: Place) -> Iterator[dict[str, Any]]:
    """Valid configurations that differ in one leaf, and in their runs if it is not for figures.

    Where no other value is left for an entry of a list, it is taken out.
    """
    if place in COMPANY:
        values = replaced(values, *COMPANY[place])
    before = runs(load(values))
    for other in [*others(values, place), REMOVED]:
        changed = replaced(values, place, other)
        try:
            after = runs(load(changed))
        except ConfigError:
            continue
        if after != before or place[0] == "figures":
            yield changed


def replaced(values: dict[str, Any], place: Place, other: Any) -> dict[str, Any]:
    """A copy with another value at one place, or without that entry of a list."""
    *parents, last = place
    changed = deepcopy(values)
    target: Any = changed
    for key in parents:
        target = target[key]
    if other is not REMOVED:
        target[last] = other
    elif isinstance(target, list):
        del target[last]
    return changed


def others(values: Any, place: Place) -> Iterator[Any]:
    """Values that might take the place of a leaf; many are not allowed there."""
    value = values
    for key in place:
        value = value[key]
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, 2 * value + 3, 2)
    elif isinstance(value, float):
        yield from (0.75 * value, value + 0.125)
    elif value is None:
        yield from (3, 0.5, [4, 6])
    elif isinstance(value, str):
        known = {*DATASETS, *values["presets"], *values["protocols"], *GROWTH_CRITERIA}
        known |= CONTROLLERS.keys()
        yield from sorted((known | words(Params.model_json_schema())) - {value})
    elif place[-1] == "extra":
        yield [{"seeds": [7]}]
    elif place[-1] == "vary":
        yield {"topology.update_every": [3, 5]}
    elif place[-1] == "optimizer_settings":
        yield {"eps": 1e-7}


def words(schema: Any) -> set[str]:
    """Every text that a JSON Schema allows somewhere."""
    if isinstance(schema, dict):
        own = {word for word in schema.get("enum", ()) if isinstance(word, str)}
        return own.union(*map(words, schema.values()))
    return set().union(*map(words, schema)) if isinstance(schema, list) else set()
