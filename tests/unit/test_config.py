"""From params.yaml to runs: what is accepted, how the rest is refused, what identifies a run."""

import copy
import csv
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from itertools import permutations, product
from math import inf, nan
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dstcl.data.catalog import DATASETS
from dstcl.study import models
from dstcl.study import settings as settings_of_runs
from dstcl.study.benchmarks import Benchmark
from dstcl.study.entries import MethodEntry, NetworkEntry
from dstcl.study.fields import plain_settings, setting_names, setting_types
from dstcl.study.growths import GROWTH_CRITERIA, THEN
from dstcl.study.load import (
    ConfigError,
    json_schema,
    layered,
    load,
    load_file,
    runs,
    runs_by_part,
)
from dstcl.study.models import Model
from dstcl.study.params import Figures, Params
from dstcl.study.parts import AXES, SECTIONED
from dstcl.study.plan import is_plan_of, read_plan, write_plan
from dstcl.study.presets import Extra, Preset
from dstcl.study.run import RESULT_FILES, Run
from dstcl.study.settings import Protocol, Topology, Training
from helpers.runs import changed

ROOT = Path(__file__).resolve().parents[2]
PARAMS = ROOT / "params.yaml"
SCHEMA = ROOT / "workflow" / "schemas" / "params.schema.json"
PRESETS = list(yaml.safe_load(PARAMS.read_text())["presets"])
# Folders that the workflow's wildcard {folder} accepts.
FOLDER = re.compile(r".+/seed[0-9]+-[0-9a-f]{10}")

Config = dict[str, Any]

TINY = "presets.tiny"

GROWTHS = [*GROWTH_CRITERIA, *(THEN.join(pair) for pair in permutations(GROWTH_CRITERIA, 2))]

CORRECTED: Config = yaml.safe_load(PARAMS.read_text())["protocols"]["corrected"]


def config() -> Config:
    """A small study that uses none of the optional keys."""
    values = {
        "preset": "tiny",
        "protocols": {
            "corrected": CORRECTED,
            "other": CORRECTED | {"class_order": "natural", "candidates": "free", "stop_at": 0.5},
        },
        "presets": {
            "tiny": {
                "benchmarks": [{"dataset": "mnist5k", "tasks": 5}],
                "protocols": ["corrected"],
                "networks": ["convnet"],
                "methods": ["dst"],
                "densities": [0.1],
                "inits": ["erk"],
                "growths": ["random"],
                "seeds": [0],
                "training": {"epochs": 2, "batch_size": 32, "learning_rate": 0.01},
                "topology": {"update_every": 5},
            }
        },
        "figures": {},
    }
    return copy.deepcopy(values)


def steps(key: str) -> list[str | int]:
    """``a.b[0].c`` as ``["a", "b", 0, "c"]``."""
    parts = re.findall(r"\[(\d+)\]|([^.\[\]]+)", key)
    return [int(index) if index else name for index, name in parts]


def put(values: Config, key: str, value: Any) -> Config:
    """The configuration with ``value`` at ``key``."""
    changed = copy.deepcopy(values)
    *path, last = steps(key)
    place: Any = changed
    for step in path:
        place = place[step]
    place[last] = value
    return changed


def fields_of(kind: Any) -> list[str]:
    return list(kind.model_fields) if issubclass(kind, Model) else list(setting_names(kind))


def drop(values: Config, key: str) -> Config:
    """The configuration without ``key``."""
    changed = copy.deepcopy(values)
    *path, last = steps(key)
    place: Any = changed
    for step in path:
        place = place[step]
    del place[last]
    return changed


def refusal(values: Any) -> str:
    """The message with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load(values)
    message = str(caught.value)
    assert message.startswith("params.yaml: ")
    assert len(message.splitlines()) == 1
    return message


def a_run(**changes: Any) -> Run:
    return changed(runs(load(config()))[0], **changes)


# The repository's own study


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "paper"])
def test_every_preset_of_the_repository_means_the_product_of_its_lists(preset: str) -> None:
    """And of the lists of each extra, where the same combination is not run again."""
    study = yaml.safe_load(PARAMS.read_text())["presets"][preset]
    axes = ["benchmarks", "protocols", "networks", "methods", "densities", "inits"]
    asked = set()
    for extra in [{}, *study.get("extra", [])]:
        lists = study | extra
        varied = lists.get("vary", {}).values()
        for point in product(
            *(lists[axis] for axis in axes), lists["growths"], lists["seeds"], product(*varied)
        ):
            benchmark, protocol, network, method, density, init, growth, seed, settings = point
            growth = growth if method in ("dst", "unisolated") else "none"
            if method in ("finetune", "ewc", "separate", "joint", "hat"):
                density, init = 1.0, "none"
            labels = json.dumps([method, settings])
            cell = (protocol, network, labels, density, init, growth, seed)
            asked.add((json.dumps(benchmark), *cell))
    planned = runs(load_file(PARAMS, preset))
    assert len(planned) == len(asked)
    assert len({run.folder for run in planned}) == len(planned)
    assert len({run.digest for run in planned}) == len(planned)
    assert all(FOLDER.fullmatch(run.folder) for run in planned)


@pytest.mark.parametrize("preset", PRESETS)
def test_no_two_runs_of_the_repository_differ_in_more_than_their_axes_say(preset: str) -> None:
    """Tables know a run by its axes: two with the same ones would pass for two seeds."""
    planned = runs(load_file(PARAMS, preset))
    assert len({tuple(run.axes().values()) for run in planned}) == len(planned)


def test_runs_without_a_preset_are_those_of_the_preset_in_the_file() -> None:
    chosen = yaml.safe_load(PARAMS.read_text())["preset"]
    assert runs(load_file(PARAMS)) == runs(load_file(PARAMS, chosen))


def test_preset_ablation_flips_one_switch_at_a_time_to_what_published_has() -> None:
    params = load_file(PARAMS, "ablation")
    base, other = (plain_settings(params.protocols[name]) for name in ("corrected", "published"))
    names = [name for name in params.protocols if name not in ("corrected", "published")]
    assert set(params.study.protocols) == set(params.protocols)
    flipped = []
    for name in names:
        values = plain_settings(params.protocols[name])
        changed = {key for key in values if values[key] != base[key]}
        assert all(values[key] == other[key] for key in changed)
        flipped.append(changed)
    # Logits of all classes need the shared head; the last two change nothing here or error bars.
    assert {"logits", "head"} in flipped
    single = {key for changed in flipped if len(changed) == 1 for key in changed}
    assert single == base.keys() - {"logits", "test_augment", "class_order"}
    assert len(flipped) == len(single) + 1


def test_the_default_preset_needs_no_data_that_must_be_downloaded() -> None:
    assert {run.dataset for run in runs(load_file(PARAMS))} == {"mnist5k"}


# What a study means


@st.composite
def studies(draw: st.DrawFn) -> Config:
    """`config` with lists of any length, each value once."""
    values = config()
    tiny = values["presets"]["tiny"]

    def some(options: list[Any]) -> list[Any]:
        return draw(st.lists(st.sampled_from(options), min_size=1, max_size=3, unique=True))

    tiny["protocols"] = some(["corrected", "other"])
    tiny["networks"] = some(["convnet", "resnet18-slim", "resnet18"])
    tiny["densities"] = some([0.01, 0.05, 0.1, 0.5, 1])
    tiny["inits"] = some(["uniform", "erk"])
    tiny["growths"] = some(list(GROWTHS))
    tiny["seeds"] = draw(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=3, unique=True))
    tasks = some([("mnist5k", 5), ("mnist5k", 2), ("cifar100", 10), ("miniimagenet", 20)])
    tiny["benchmarks"] = [{"dataset": name, "tasks": number} for name, number in tasks]
    return values


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(studies())
def test_every_combination_is_one_run_with_a_folder_and_a_digest_of_its_own(values: Config) -> None:
    planned = runs(load(values))
    tiny = values["presets"]["tiny"]
    asked = Counter(
        (bench["dataset"], bench["tasks"], protocol, network, density, init, growth, seed)
        for bench in tiny["benchmarks"]
        for protocol in tiny["protocols"]
        for network in tiny["networks"]
        for density in tiny["densities"]
        for init in tiny["inits"]
        for growth in tiny["growths"]
        for seed in tiny["seeds"]
    )
    got = Counter(
        (r.dataset, r.tasks, r.protocol, r.network, r.density, r.init, r.growth, r.seed)
        for r in planned
    )
    assert got == asked
    assert len({run.folder for run in planned}) == len(planned)
    assert len({run.digest for run in planned}) == len(planned)


def test_settings_and_their_defaults_reach_the_run() -> None:
    values = put(config(), "presets.tiny.training.optimizer", "sgd")
    values = put(values, "presets.tiny.topology.prune_rate", 0.3)
    (run,) = runs(load(values))
    assert run.axes() == {
        "dataset": "mnist5k",
        "tasks": 5,
        "protocol": "corrected",
        "network": "convnet",
        "method": "dst",
        "density": 0.1,
        "init": "erk",
        "growth": "random",
        "seed": 0,
    }
    assert plain_settings(run.data) == {"image_size": 28, "task_sizes": [], "learn": None}
    assert plain_settings(run.switches) == CORRECTED
    assert plain_settings(run.training) == {
        "augment": "none",
        "epochs": 2,
        "batch_size": 32,
        "test_batch_size": 128,
        "optimizer": "sgd",
        "optimizer_settings": {},
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "schedule": "milestones",
        "lr_milestones": [0.5, 0.75],
        "lr_factor": 0.1,
        "validation": 0.0,
    }
    assert plain_settings(run.topology) == {
        "prune": "magnitude",
        "prune_rate": 0.3,
        "prune_rate_floor": 0.005,
        "prune_schedule": "cosine",
        "update_every": 5,
        "redistribute": "none",
        "switch_at": 0.5,
        "controller": "fixed",
    }
    assert set(plain_settings(run.engine).values()) == {"auto", "off"}


@pytest.mark.parametrize("method", ["finetune", "ewc", "separate", "joint"])
def test_a_dense_method_is_one_run_whatever_density_init_and_growth(method: str) -> None:
    entry = {"name": method, "strength": 7.0} if method == "ewc" else method
    values = put(config(), "presets.tiny.methods", [entry])
    values = put(values, "presets.tiny.densities", [0.1, 0.2])
    values = put(values, "presets.tiny.inits", ["erk", "uniform"])
    values = put(values, "presets.tiny.growths", ["random", "gradient"])
    (run,) = runs(load(values))
    assert (run.density, run.init, run.growth) == (1.0, "none", "none")
    assert run.method_source.settings == ({"strength": 7.0} if method == "ewc" else {})


@pytest.mark.parametrize(
    ("key", "value"), [("epochs", 7), ("batch_size", 16), ("update_every", 3), ("image_size", 64)]
)
def test_an_override_reaches_the_runs_of_its_benchmark_only(key: str, value: int) -> None:
    plain = {"dataset": "cifar100", "tasks": 10}
    benchmarks = [plain, {"dataset": "cifar100", "tasks": 5, key: value}]
    values = put(config(), "presets.tiny.benchmarks", benchmarks)
    without, with_override = runs(load(values))
    expected = {"epochs": 2, "batch_size": 32, "update_every": 5, "image_size": 32}
    assert (without.tasks, with_override.tasks) == (10, 5)
    assert {name: without.setting(SECTIONED[name]) for name in expected} == expected
    changes = {name: with_override.setting(SECTIONED[name]) for name in expected}
    assert changes == expected | {key: value}


@pytest.mark.parametrize("key", ["epochs", "batch_size", "update_every", "image_size"])
def test_an_override_of_null_is_no_override(key: str) -> None:
    nothing = put(config(), f"presets.tiny.benchmarks[0].{key}", None)
    assert runs(load(nothing)) == runs(load(config()))


def test_a_protocol_gives_its_switches_to_its_runs_only() -> None:
    values = put(config(), "presets.tiny.protocols", ["other", "corrected"])
    found = [(r.protocol, r.switches) for r in runs(load(values))]
    assert [(p, s.class_order, s.candidates, s.stop_at) for p, s in found] == [
        ("other", "natural", "free", 0.5),
        ("corrected", "seed", "all", 0.75),
    ]


def test_an_extra_adds_the_combinations_of_its_own_lists_and_the_preset_s_others() -> None:
    values = put(config(), f"{TINY}.seeds", [0, 1])
    extra = [{"growths": ["gradient"], "inits": ["uniform"]}, {"protocols": ["other"]}]
    planned = runs(load(put(values, f"{TINY}.extra", extra)))
    assert [(r.protocol, r.init, r.growth, r.seed) for r in planned] == [
        ("corrected", "erk", "random", 0),
        ("corrected", "erk", "random", 1),
        ("corrected", "uniform", "gradient", 0),
        ("corrected", "uniform", "gradient", 1),
        ("other", "erk", "random", 0),
        ("other", "erk", "random", 1),
    ]
    switches = planned[-1].switches
    assert (switches.candidates, switches.stop_at) == ("free", 0.5)


@pytest.mark.parametrize(
    "again",
    [
        {"extra": [{}, {"growths": ["random"]}]},
        {"benchmarks": [{"dataset": "mnist5k", "tasks": 5}] * 2},
        {"benchmarks": [{"dataset": "mnist5k", "tasks": 5, "epochs": e} for e in (None, 2)]},
    ],
)
def test_a_run_that_is_named_twice_is_made_once(again: Config) -> None:
    values = put(config(), TINY, config()["presets"]["tiny"] | again)
    assert runs(load(values)) == runs(load(config()))


def test_a_mask_that_never_changes_is_run_once_whatever_the_growths() -> None:
    values = put(config(), f"{TINY}.methods", ["static", "dst"])
    planned = runs(load(put(values, f"{TINY}.growths", ["random", "gradient"])))
    assert [(run.method, run.growth) for run in planned] == [
        ("static", "none"),
        ("dst", "random"),
        ("dst", "gradient"),
    ]


def test_a_preset_that_is_not_run_changes_no_run() -> None:
    values = put(config(), "presets.big", config()["presets"]["tiny"] | {"seeds": [0, 1, 2]})
    assert runs(load(values)) == runs(load(config()))


@pytest.mark.parametrize(
    ("key", "whole", "decimal"),
    [
        ("presets.tiny.densities", [1], [1.0]),
        ("presets.tiny.training.learning_rate", 1, 1.0),
        ("presets.tiny.training.weight_decay", 0, 0.0),
        ("presets.tiny.training.lr_milestones", [0, 1], [0.0, 1.0]),
        ("protocols.corrected.stop_at", 1, 1.0),
    ],
)
def test_a_whole_number_and_the_same_decimal_are_one_run(
    key: str, whole: object, decimal: object
) -> None:
    one, other = (runs(load(put(config(), key, value)))[0] for value in (whole, decimal))
    assert one.folder == other.folder


def test_loading_leaves_the_given_configuration_alone() -> None:
    values = config()
    runs(load(values))
    assert values == config()


def test_a_fixed_class_order_is_named_natural_and_a_shuffled_one_by_its_seed() -> None:
    assert a_run(seed=3, class_order="natural").order_name == "natural"
    assert a_run(seed=3, class_order="seed").order_name == "seed3"


def test_the_data_of_a_run_are_named_by_data_set_and_size() -> None:
    assert a_run(dataset="cifar100", image_size=16).data_name == "cifar100-16px"


# What identifies a run


def test_a_run_survives_a_dictionary_and_json() -> None:
    run = a_run(density=0.1 + 0.2, lr_milestones=(1 / 3, 0.9))
    assert Run.from_dict(run.to_dict()) == run
    again = Run.from_dict(json.loads(json.dumps(run.to_dict())))
    assert again == run
    assert again.digest == run.digest
    assert again.folder == run.folder


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.floats(0.001, 1), st.floats(0.001, 1))
def test_digests_of_densities_agree_only_if_the_densities_do(one: float, other: float) -> None:
    assert (a_run(density=one).digest == a_run(density=other).digest) == (one == other)


def test_a_folder_shows_the_axes_in_the_order_of_the_contract() -> None:
    run = a_run(seed=7, density=0.05, growth="random-then-gradient")
    assert run.folder == (
        "mnist5k-5tasks/corrected/convnet/dst/density0.05/erk/random-then-gradient/"
        f"seed7-{run.digest}"
    )


def test_digests_are_the_same_in_every_process() -> None:
    code = (
        "from dstcl.study.load import load_file, runs\n"
        f"for run in runs(load_file({str(PARAMS)!r}, 'paper')): print(run.folder)"
    )
    listed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "random")
    }
    assert listed == {"".join(f"{r.folder}\n" for r in runs(load_file(PARAMS, "paper")))}


# What is refused


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        # Names that do not exist.
        (f"{TINY}.growths[0]", "gradeint", "random, unfired, gradient"),
        (f"{TINY}.growths[0]", "random-then-random", "switch between two, as random-then-gradient"),
        (f"{TINY}.growths[0]", "random\nrandom", "random, unfired, gradient"),
        (f"{TINY}.inits[0]", "erdos", "uniform"),
        (f"{TINY}.networks[0]", "resnet19", "convnet"),
        (f"{TINY}.methods[0]", "sgd", "dst"),
        (f"{TINY}.benchmarks[0].dataset", "imagenet", "mnist5k, cifar100, miniimagenet"),
        (f"{TINY}.training.augment", "flip", "'none'"),
        (f"{TINY}.training.optimizer", "Adam", "adam"),
        (f"{TINY}.topology.prune", "weight", "magnitude"),
        (f"{TINY}.topology.prune_schedule", "step", "'cosine'"),
        ("protocols.corrected.class_order", "sorted", "'seed'"),
        ("protocols.corrected.candidates", "frozen", "'all', 'free'"),
        ("preset", "huge", "tiny"),
        # Numbers out of range.
        (f"{TINY}.densities[0]", 1.2, "less than or equal to 1"),
        (f"{TINY}.densities[0]", 0, "greater than 0"),
        (f"{TINY}.densities[0]", -0.1, "greater than 0"),
        (f"{TINY}.seeds[0]", -1, "greater than or equal to 0"),
        (f"{TINY}.seeds[0]", 2**31, "less than 2147483648"),
        (f"{TINY}.benchmarks[0].tasks", 0, "greater than or equal to 1"),
        (f"{TINY}.benchmarks[0].image_size", 4, "greater than or equal to 8"),
        (f"{TINY}.training.epochs", 0, "greater than or equal to 1"),
        (f"{TINY}.training.batch_size", 1, "greater than or equal to 2"),
        (f"{TINY}.training.learning_rate", 0, "greater than 0"),
        (f"{TINY}.training.weight_decay", -0.1, "greater than or equal to 0"),
        (f"{TINY}.training.lr_milestones", [0.5, 2], "less than or equal to 1"),
        (f"{TINY}.training.lr_factor", 1.5, "less than or equal to 1"),
        (f"{TINY}.topology.update_every", 0, "greater than or equal to 1"),
        (f"{TINY}.topology.prune_rate", 1.5, "less than or equal to 1"),
        (f"{TINY}.topology.switch_at", -1, "greater than or equal to 0"),
        ("protocols.corrected.stop_at", 1.01, "less than or equal to 1"),
        ("figures.dpi", 5, "greater than or equal to 50"),
        # Values of another type.
        (f"{TINY}.seeds", "0, 1", "valid list"),
        (f"{TINY}.seeds[0]", "0", "valid integer"),
        (f"{TINY}.seeds[0]", True, "valid integer"),
        (f"{TINY}.seeds[0]", 1.0, "valid integer"),
        (f"{TINY}.seeds", 3, "valid list"),
        (f"{TINY}.densities[0]", "0.1", "valid number"),
        (f"{TINY}.densities[0]", True, "valid number"),
        (f"{TINY}.growths[0]", 3, "valid string"),
        (f"{TINY}.benchmarks[0].tasks", 5.0, "valid integer"),
        (f"{TINY}.benchmarks[0].epochs", "ten", "valid integer"),
        (f"{TINY}.training.epochs", 1.5, "valid integer"),
        ("preset", 3, "valid string"),
        # Nothing where something is needed.
        (f"{TINY}.growths", [], "at least 1 item"),
        (f"{TINY}.benchmarks", [], "at least 1 item"),
        ("presets", {}, "at least 1 item"),
        (f"{TINY}.seeds", None, "valid list"),
        (f"{TINY}.training", None, "a dictionary"),
        (f"{TINY}.training.epochs", None, "valid integer"),
        ("protocols.corrected", None, "a dictionary"),
        # A list for a mapping, a mapping for a list, text for either.
        (f"{TINY}.training", [1, 2], "a dictionary"),
        (f"{TINY}.benchmarks[0]", ["mnist5k", 5], "valid dictionary"),
        (f"{TINY}.benchmarks", {"dataset": "mnist5k", "tasks": 5}, "valid list"),
        (f"{TINY}.densities", 0.1, "valid list"),
        ("presets", ["tiny"], "valid dictionary"),
        (TINY, "quick", "valid dictionary"),
        ("figures", [150], "valid dictionary"),
    ],
)
def test_a_bad_value_is_refused_with_its_key_and_what_is_allowed(
    key: str, value: object, allowed: str
) -> None:
    message = refusal(put(config(), key, value))
    where = f"{TINY}.training.lr_milestones[1]" if value == [0.5, 2] else key
    shown = 2 if value == [0.5, 2] else value
    assert message.startswith(f"params.yaml: {where}: {shown!r}; ")
    assert allowed in message.split("; ", 1)[1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"{TINY}.densities[0]", nan),
        (f"{TINY}.densities[0]", inf),
        (f"{TINY}.training.learning_rate", nan),
        (f"{TINY}.training.learning_rate", -inf),
        ("protocols.corrected.stop_at", nan),
    ],
)
def test_what_is_no_finite_number_is_refused(key: str, value: float) -> None:
    assert refusal(put(config(), key, value)).startswith(f"params.yaml: {key}: {value!r}; ")


@pytest.mark.parametrize(
    ("dataset", "tasks", "allowed"),
    [
        ("mnist5k", 7, "1, 2, 5"),
        ("mnist5k", 10, "1, 2, 5"),  # a task of one class is no classification
        ("cifar100", 100, "1, 2, 4, 5, 10, 20, 25, 50"),
        ("miniimagenet", 3, "1, 2, 4, 5, 10, 20, 25, 50"),
    ],
)
def test_tasks_that_do_not_divide_the_classes_are_refused(
    dataset: str, tasks: int, allowed: str
) -> None:
    bench = {"dataset": dataset, "tasks": tasks}
    message = refusal(put(config(), f"{TINY}.benchmarks", [bench]))
    assert message.startswith(f"params.yaml: {TINY}.benchmarks[0].tasks: {tasks} ")
    assert dataset in message
    assert message.endswith(f"allowed: {allowed}")


@pytest.mark.parametrize(
    ("key", "values", "repeated"),
    [
        ("seeds", [0, 1, 0], "0"),
        ("densities", [1, 0.5, 1.0], "1.0"),
        ("inits", ["erk", "erk"], "erk"),
        ("growths", ["random", "gradient", "random"], "random"),
        ("protocols", ["corrected", "corrected"], "corrected"),
    ],
)
def test_a_value_twice_in_a_list_is_refused(key: str, values: list[Any], repeated: str) -> None:
    message = refusal(put(config(), f"{TINY}.{key}", values))
    assert message.startswith(f"params.yaml: {TINY}.{key}: {values!r}; ")
    assert message.endswith(f"repeated: {repeated}")


def test_an_unknown_protocol_is_refused_with_the_known_ones() -> None:
    message = refusal(put(config(), f"{TINY}.protocols", ["corrected", "fair"]))
    assert message == "params.yaml: presets.tiny.protocols: 'fair'; allowed: corrected, other"


def test_logits_of_all_classes_need_one_head_for_all() -> None:
    values = put(config(), "protocols.other.logits", "all")
    assert refusal(values).startswith("params.yaml: protocols.other.logits: 'all' ")
    assert runs(load(put(values, "protocols.other.head", "shared")))


def decaying(**changes: Any) -> Config:
    """Weight decay with mask counts as in the paper's code, and what is changed of that."""
    values = put(config(), f"{TINY}.training.weight_decay", 0.1)
    values = put(values, f"{TINY}.protocols", ["other"])
    values = put(values, "protocols.other.mask_counts", "bernoulli")
    for key, value in changes.items():
        values = put(values, key.replace("__", "."), value)
    return values


MOVED = (
    "0.1; it would move frozen weights under mask_counts: bernoulli; "
    "allowed: 0, or mask_counts: exact"
)


OWN_DECAY = "training.weight_decay"
IN_SETTINGS = "training.optimizer_settings"


@pytest.mark.parametrize(
    ("changes", "key", "other"),
    [
        ({}, OWN_DECAY, "protocol other"),
        ({"presets__tiny__methods": ["static", "dst"]}, OWN_DECAY, "protocol other"),
        (
            {
                "presets__tiny__training__weight_decay": 0.0,
                "presets__tiny__training__optimizer_settings": {"weight_decay": 0.1},
            },
            f"{IN_SETTINGS}.weight_decay",
            "protocol other",
        ),
        (
            {
                "presets__tiny__training__weight_decay": 0.0,
                "presets__tiny__vary": {OWN_DECAY: [0.0, 0.1]},
            },
            f"vary.{OWN_DECAY}",
            "protocol other",
        ),
        (
            {
                "presets__tiny__training__weight_decay": 0.0,
                "presets__tiny__vary": {IN_SETTINGS: [{}, {"weight_decay": 0.1}]},
            },
            f"vary.{IN_SETTINGS}.weight_decay",
            "protocol other",
        ),
        (
            {
                "presets__tiny__training__weight_decay": 0.0,
                "presets__tiny__extra": [{"seeds": [1]}, {"vary": {OWN_DECAY: [0.1]}}],
            },
            f"extra[1].vary.{OWN_DECAY}",
            "protocol other",
        ),
        (
            {
                "protocols__other__mask_counts": "exact",
                "presets__tiny__vary": {"switches.mask_counts": ["exact", "bernoulli"]},
            },
            OWN_DECAY,
            "vary.switches.mask_counts",
        ),
        (
            {
                "presets__tiny__protocols": ["corrected"],
                "presets__tiny__extra": [{"protocols": ["other"]}],
            },
            OWN_DECAY,
            "protocol other",
        ),
    ],
)
def test_weight_decay_that_would_move_frozen_weights_is_refused(
    changes: dict[str, Any], key: str, other: str
) -> None:
    assert refusal(decaying(**changes)) == f"params.yaml: {TINY}.{key}: {MOVED} ({other})"


@pytest.mark.parametrize(
    "changes",
    [
        {"presets__tiny__training__weight_decay": 0.0},
        {"protocols__other__mask_counts": "exact"},
        {"presets__tiny__methods": ["static", "finetune"]},  # whose masks are not drawn that way
        {"presets__tiny__benchmarks": [{"dataset": "mnist5k", "tasks": 1}]},  # nothing is frozen
        {"presets__tiny__training__optimizer_settings": {"weight_decay": 0}},
    ],
)
def test_weight_decay_that_moves_no_frozen_weight_is_allowed(changes: dict[str, Any]) -> None:
    assert runs(load(decaying(**changes)))


def test_a_mistake_in_a_preset_that_is_not_run_is_refused_too() -> None:
    other = config()["presets"]["tiny"] | {"growths": ["gradeint"]}
    assert "presets.big.growths[0]: 'gradeint'" in refusal(put(config(), "presets.big", other))


@pytest.mark.parametrize(
    ("place", "model"),
    [
        ("", Params),
        ("protocols.other.", Protocol),
        ("presets.tiny.", Preset),
        ("presets.tiny.benchmarks[0].", Benchmark),
        ("presets.tiny.extra[0].", Extra),
        ("presets.tiny.training.", Training),
        ("presets.tiny.topology.", Topology),
        ("figures.", Figures),
    ],
)
def test_an_unknown_key_is_refused_with_those_allowed_beside_it(
    place: str, model: type[Model]
) -> None:
    values = put(config(), f"{TINY}.extra", [{}])
    message = refusal(put(values, f"{place}tpyo", 1))
    allowed = ", ".join(fields_of(model))
    assert message == f"params.yaml: {place}tpyo: unknown key; allowed: {allowed}"


@pytest.mark.parametrize(
    "key",
    [
        *("preset", "presets", "protocols", "figures"),
        *(f"protocols.corrected.{name}" for name in CORRECTED),
        *(f"{TINY}.{name}" for name in ("benchmarks", "protocols", "networks", "methods", "seeds")),
        *(f"{TINY}.{name}" for name in ("densities", "inits", "growths", "training", "topology")),
        *(f"{TINY}.benchmarks[0].{name}" for name in ("dataset", "tasks")),
        *(f"{TINY}.training.{name}" for name in ("epochs", "batch_size", "learning_rate")),
        f"{TINY}.topology.update_every",
    ],
)
def test_a_missing_key_is_named(key: str) -> None:
    assert refusal(drop(config(), key)) == f"params.yaml: {key}: missing"


@pytest.mark.parametrize(
    ("outer", "inner"), [("", "seeds"), ("presets.tiny.", "epochs"), ("presets.", "training")]
)
def test_a_key_at_the_wrong_level_is_named(outer: str, inner: str) -> None:
    assert f"{outer}{inner}" in refusal(put(config(), f"{outer}{inner}", [0]))


def test_a_key_of_two_lines_is_named_in_one() -> None:
    assert "presets.tiny.two lines: unknown key" in refusal(put(config(), f"{TINY}.two\nlines", 1))


def test_further_problems_are_counted() -> None:
    values = put(put(config(), f"{TINY}.seeds", []), f"{TINY}.inits", [])
    assert refusal(values).endswith("(and 1 more)")


def test_a_misspelt_key_is_named_before_the_one_that_it_leaves_out() -> None:
    values = put(drop(config(), f"{TINY}.training.epochs"), f"{TINY}.training.epoch", 1)
    message = refusal(values)
    assert message.startswith(f"params.yaml: {TINY}.training.epoch: unknown key; allowed: ")
    assert message.endswith("(and 1 more)")


def test_keys_that_are_missing_side_by_side_are_named_together() -> None:
    values = drop(drop(drop(config(), f"{TINY}.inits"), f"{TINY}.growths"), "figures")
    assert refusal(values) == (
        f"params.yaml: {TINY}.inits: missing, and so are growths beside it (and 1 more)"
    )


def test_a_mistake_in_an_extra_is_named_with_its_place() -> None:
    message = refusal(put(config(), f"{TINY}.extra", [{}, {"growths": ["gradeint"]}]))
    assert message.startswith(f"params.yaml: {TINY}.extra[1].growths[0]: 'gradeint'; allowed: ")


def nodes(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a nested configuration stands."""
    inner = values.items() if isinstance(values, dict) else enumerate(values)
    found = []
    for key, value in inner:
        found.append((*path, key))
        if isinstance(value, (dict, list)):
            found += nodes(value, (*path, key))
    return found


FULL = put(
    config(), f"{TINY}.extra", [{"seeds": [1], "growths": ["gradient"], "protocols": ["other"]}]
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(nodes(FULL)), anything)
def test_any_value_anywhere_is_either_accepted_or_refused_in_one_line(
    path: tuple[Any, ...], value: Any
) -> None:
    values = copy.deepcopy(FULL)
    place: Any = values
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    try:
        outcome = str(len(runs(load(values)))) + " runs"
    except ConfigError as error:
        outcome = str(error)
    assert len(outcome.splitlines()) == 1
    assert re.match("params.yaml: .|[1-9][0-9]* runs", outcome)


# Files


def test_a_number_that_yaml_reads_as_text_is_refused(tmp_path: Path) -> None:
    text = yaml.safe_dump(config()).replace("learning_rate: 0.01", "learning_rate: 1e-3")
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    message = f"{path}: {TINY}.training.learning_rate: '1e-3'; should be a valid number"
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("presets: [1", "is not YAML"),
        ("a: 1\n\tb: 2", "line 2 is not YAML"),
        ("a: 1\n---\nb: 2", "is not YAML"),
        ("\0", "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
        ("", "a mapping with keys preset, presets, protocols, figures is needed"),
        ("- 1", "a mapping with keys preset, presets, protocols, figures is needed"),
        ("only text", "a mapping with keys preset, presets, protocols, figures is needed"),
        ("{}", "preset: missing, and so are presets, protocols, figures beside it"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    assert str(caught.value).startswith(f"{path}:")
    assert str(caught.value).endswith(complaint)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_file(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path / 'none.yaml'}: no such file"


def test_a_preset_asked_for_replaces_that_of_the_file(tmp_path: Path) -> None:
    values = put(config(), "presets.big", config()["presets"]["tiny"] | {"seeds": [8, 9]})
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    assert [run.seed for run in runs(load_file(path))] == [0]
    assert [run.seed for run in runs(load_file(path, "big"))] == [8, 9]
    with pytest.raises(ConfigError, match=r"preset: 'none'; allowed: tiny, big"):
        load_file(path, "none")


# One list of names in several places


def test_networks_of_the_configuration_are_those_that_can_be_built() -> None:
    from dstcl.networks.build import build_network

    for name in NetworkEntry.known:
        assert build_network(name, 3, 4, 0) is not None


def test_inits_growths_and_prunings_of_the_configuration_are_those_of_the_core() -> None:
    from dstcl.sparse import GROW, INITS, PRUNE

    assert set(models.INITS) == set(INITS)
    assert set(GROWTH_CRITERIA) == set(GROW)
    assert set(settings_of_runs.PRUNINGS) == set(PRUNE)


def test_optimisers_and_schedules_of_the_configuration_are_those_that_can_be_built() -> None:
    from dstcl.continual import optimizers, schedules

    assert set(settings_of_runs.OPTIMIZERS) == set(optimizers.BUILT_IN)
    assert set(settings_of_runs.SCHEDULES) == set(schedules.BUILT_IN)


def test_every_growth_of_the_configuration_has_a_plan() -> None:
    from dstcl.sparse import growth_plan

    for name in GROWTHS:
        assert growth_plan(name, 0.5) is not None


@pytest.mark.parametrize(
    ("allowed", "place"),
    [
        (NetworkEntry.known, f"{TINY}.networks[0]"),
        (MethodEntry.known, f"{TINY}.methods[0]"),
        (models.INITS, f"{TINY}.inits[0]"),
        (settings_of_runs.OPTIMIZERS, f"{TINY}.training.optimizer"),
        (settings_of_runs.SCHEDULES, f"{TINY}.training.schedule"),
        (settings_of_runs.PRUNINGS, f"{TINY}.topology.prune"),
        (GROWTH_CRITERIA, f"{TINY}.growths[0]"),
    ],
)
def test_every_name_that_is_allowed_is_in_the_message(allowed: tuple[str, ...], place: str) -> None:
    message = refusal(put(config(), place, "nonsense"))
    named = message.partition("allowed: ")[2].partition(", module:attribute")[0]
    assert set(named.removesuffix(", or module:attribute").split(", ")) == set(allowed)


def test_schedules_of_the_configuration_are_those_of_the_core() -> None:
    from dstcl.sparse.schedule import SHAPES

    assert set(get_args(setting_types(Topology)["prune_schedule"])) == set(SHAPES)


def test_data_sets_of_the_configuration_are_those_of_the_catalogue() -> None:
    message = refusal(put(config(), f"{TINY}.benchmarks[0].dataset", "nonsense"))
    assert message.endswith(f"'nonsense'; allowed: {', '.join(DATASETS)}")
    for dataset, info in DATASETS.items():
        benchmark = {"dataset": dataset, "tasks": info.classes // 2}
        assert runs(load(put(config(), f"{TINY}.benchmarks[0]", benchmark)))[0].dataset == dataset


def test_the_axes_are_the_first_fields_of_a_run() -> None:
    assert tuple(field.name for field in fields(Run))[: len(AXES)] == AXES


def test_no_two_results_share_a_file() -> None:
    assert len(set(RESULT_FILES.values())) == len(RESULT_FILES)


# JSON Schema


def test_the_stored_schema_is_in_step() -> None:
    """If not: ``dstcl config schema > workflow/schemas/params.schema.json``."""
    assert json.loads(SCHEMA.read_text()) == json_schema()


def test_the_schema_is_one_and_accepts_the_repository_s_study() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    study = yaml.safe_load(PARAMS.read_text())
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(study)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 1),
        (f"{TINY}.training.epoch", 1),
        (f"{TINY}.growths[0]", "gradeint"),
        (f"{TINY}.densities[0]", 1.2),
        (f"{TINY}.densities[0]", 0),
        (f"{TINY}.seeds[0]", -1),
        (f"{TINY}.seeds", []),
        (f"{TINY}.training.epochs", None),
        (f"{TINY}.benchmarks[0].dataset", "CIFAR-100"),
    ],
)
def test_the_schema_refuses_what_an_editor_can_see(key: str, value: object) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(config())
    assert not validator.is_valid(put(config(), key, value))


def test_every_key_is_described_for_editors() -> None:
    definitions = json_schema()["$defs"]
    for model in ("Benchmark", "Training", "Topology", "Protocol", "Figures"):
        for name, value in definitions[model]["properties"].items():
            assert value.get("description"), f"{model}.{name}"


# Files over files, as Snakemake lays them


def test_each_layer_replaces_what_it_says_and_keeps_the_rest(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("p: {x: &x {n: 1, m: 1}, y: *x}\nq: [1, 2]\nr: 1\n")
    (tmp_path / "b.yaml").write_text("p: {x: {n: 2}}\nq: [3]\nr: {s: 1}\n")
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    found = layered(files, {"p": {"x": {"k": 3}}, "t": {"u": 1}})
    assert found == {
        "p": {"x": {"n": 2, "m": 1, "k": 3}, "y": {"n": 1, "m": 1}},
        "q": [3],
        "r": {"s": 1},
        "t": {"u": 1},
    }
    assert layered([], {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [("a: 1\nb: 2\na: 3\n", "line 3: key 'a' twice"), ("[1]", "a mapping"), ("", "a mapping")],
)
def test_a_layer_that_is_no_configuration_is_named(
    tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'a.yaml'}: {words}")):
        layered([tmp_path / "a.yaml"], {})


# The plan of a study


def test_a_plan_gives_back_its_preset_and_runs_in_order(tmp_path: Path) -> None:
    planned = runs(load(put(config(), f"{TINY}.seeds", [3, 1, 2])))
    write_plan("tiny", planned, tmp_path / "plan.json")
    assert read_plan(tmp_path) == ("tiny", planned)
    entries = json.loads((tmp_path / "plan.json").read_text())["runs"]
    assert [(e["folder"], e["digest"]) for e in entries] == [(r.folder, r.digest) for r in planned]


def test_a_plan_is_that_of_its_runs_alone(tmp_path: Path) -> None:
    planned = runs(load(put(config(), f"{TINY}.seeds", [3, 1, 2])))
    path, folders = tmp_path / "plan.json", [run.folder for run in planned]
    write_plan("tiny", planned, path)
    assert is_plan_of(path, "tiny", folders)
    assert not is_plan_of(path, "other", folders)
    assert not is_plan_of(path, "tiny", folders[1:])
    assert not is_plan_of(path, "tiny", reversed(folders))


NO_PLANS = [
    "",
    "{",
    "[]",
    "{}",
    '"text"',
    '{"preset": "a"}',
    '{"preset": "a", "runs": [{"run": {}}]}',
]


@pytest.mark.parametrize("content", NO_PLANS)
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "plan.json"))):
        read_plan(tmp_path)
    assert not is_plan_of(tmp_path / "plan.json", "a", [])


def test_a_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "plan.json"))):
        read_plan(tmp_path)


# What is imported when


def in_a_new_process(code: str, *arguments: str) -> str:
    """What a script prints, run by a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_listing_runs_loads_neither_torch_nor_mlflow_nor_matplotlib() -> None:
    code = """
import sys
import dstcl.study.load, dstcl.figures, dstcl.study.plan, dstcl.study.run
print(len(dstcl.study.load.runs(dstcl.study.load.load_file(sys.argv[1], "paper"))))
print(*sorted({"torch", "mlflow", "matplotlib"} & sys.modules.keys()))
"""
    number, loaded = in_a_new_process(code, str(PARAMS)).splitlines()
    assert int(number) == len(runs(load_file(PARAMS, "paper")))
    assert loaded == ""


def test_training_needs_nothing_but_what_the_package_depends_on(tmp_path: Path) -> None:
    """`dstcl train` on a machine without pydantic, mlflow, pandas, snakemake, dvc and yaml."""
    import torch

    from dstcl.data.stored import Prepared
    from helpers.runs import write_prepared

    generator = torch.Generator().manual_seed(0)
    run = a_run(tasks=2, epochs=1, batch_size=8, update_every=1, image_size=8)
    data = tmp_path / run.data_file
    data.parent.mkdir()
    images = torch.randint(256, (40, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels, is_test = torch.arange(40) % 4, torch.arange(40) % 10 < 4
    write_prepared(data, Prepared(images, labels, is_test, list("abcd"), [0.5], [0.5], ""))
    write_plan("study", [run], tmp_path / "study" / "plan.json")
    (tmp_path / "run.json").write_text(json.dumps(run.to_dict()))
    code = """
import sys
for name in ("pydantic", "mlflow", "pandas", "snakemake", "dvc", "yaml", "scipy", "matplotlib"):
    sys.modules[name] = None  # as if it were not installed
import dstcl.jobs.train
from dstcl.cli import main
folder, data, tasks = sys.argv[1:]
main(["data", "split", "toy", "--data", data, "--tasks", "2", "--order", "seed0",
      "--out", tasks])
main(["train", "--run-file", f"{folder}/run.json", "--data", data, "--tasks", tasks,
      "--out", f"{folder}/out", "--device", "cpu", "--threads", "1"])
main(["train-study", f"{folder}/study", "--data", folder, "--logs", f"{folder}/logs"])
"""
    in_a_new_process(code, str(tmp_path), str(data), str(tmp_path / run.tasks_file))
    assert (tmp_path / "study" / "runs" / run.folder / "metrics.json").exists()
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(RESULT_FILES.values())
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["digest"] == run.digest


# Gaps: what should be refused, or refused in better words, and is not yet


@pytest.mark.parametrize("key", ["learning_rate", "weight_decay"])
def test_infinity_is_refused(key: str) -> None:
    assert f"{TINY}.training.{key}: inf" in refusal(put(config(), f"{TINY}.training.{key}", inf))


@pytest.mark.parametrize("where", ["benchmarks", "extra"])
def test_runs_that_differ_in_no_axis_are_refused(where: str) -> None:
    longer = {"dataset": "mnist5k", "tasks": 5, "epochs": 9}
    tiny = config()["presets"]["tiny"]
    both: Any = (
        [*tiny["benchmarks"], longer] if where == "benchmarks" else [{"benchmarks": [longer]}]
    )
    assert "benchmarks" in refusal(put(config(), f"{TINY}.{where}", both))


def with_extra(extra: Config, **changes: Any) -> Config:
    values = put(config(), f"{TINY}.extra", [extra])
    for key, value in changes.items():
        values = put(values, f"{TINY}.{key}", value)
    return values


STRONGER: Config = {"name": "ewc", "strength": 1000.0}


@pytest.mark.parametrize(
    ("changes", "extra", "words"),
    [
        (
            {"methods": ["ewc"]},
            {"methods": [STRONGER]},
            "methods: 'ewc' stands for two (strength 100.0 and 1000.0), whose runs would count as "
            "more seeds of one; give one a name of its own, as {name: ewc-2, from: ewc, "
            "strength: 1000.0}",
        ),
        (
            {"vary": {"topology.controller": ["saturation"]}},
            {"vary": {"topology.controller": [{"name": "saturation", "threshold": 0.3}]}},
            "extra[0].vary.topology.controller: 'saturation' stands for two (threshold 0.9 and "
            "0.3), whose runs would count as more seeds of one; give one a name of its own, as "
            "{name: saturation-2, from: saturation, threshold: 0.3}",
        ),
        (
            {"networks": [{"name": "net", "from": "convnet"}]},
            {"networks": [{"name": "net", "from": "lenet5"}]},
            "networks: 'net' stands for two (from convnet and lenet5), whose runs would count as "
            "more seeds of one; give one a name of its own, as {name: net-2, from: lenet5}",
        ),
    ],
)
def test_a_name_that_stands_for_two_is_refused(changes: Config, extra: Config, words: str) -> None:
    values = with_extra(extra, **changes)
    assert refusal(values) == f"params.yaml: {TINY}.{words}"
    other = values["presets"] | {"other": config()["presets"]["tiny"]}
    assert refusal(values | {"preset": "other", "presets": other}).startswith(
        f"params.yaml: {TINY}."
    )


@pytest.mark.parametrize(
    "extra",
    [
        {"methods": [STRONGER | {"name": "ewc-strong", "from": "ewc"}]},
        {"methods": [STRONGER], "seeds": [7]},
        {"methods": [STRONGER], "benchmarks": [{"dataset": "mnist5k", "tasks": 2}]},
        {"methods": [{"name": "ewc", "strength": 100.0}]},  # the default
    ],
)
def test_a_name_may_stand_for_two_where_runs_differ_in_an_axis(extra: Config) -> None:
    planned = runs(load(with_extra(extra, methods=["ewc"])))
    assert len({tuple(run.axes().items()) for run in planned}) == len(planned)


def test_a_setting_of_a_method_that_is_varied_tells_runs_apart() -> None:
    extra: Config = {"methods": [STRONGER], "vary": {}}
    values = with_extra(extra, methods=["ewc"], vary={"method.strength": [10.0, 30.0]})
    assert [run.varied["method.strength"] for run in runs(load(values))] == ["10", "30", "1000"]


def test_an_unknown_key_inside_an_extra_is_refused() -> None:
    bench = {"dataset": "mnist5k", "tasks": 5, "tpyo": 1}
    message = refusal(put(config(), f"{TINY}.extra", [{"benchmarks": [bench]}]))
    assert message.startswith(f"params.yaml: {TINY}.extra[0].benchmarks[0].tpyo: unknown key")


def test_an_unknown_protocol_in_an_extra_is_named_with_its_place() -> None:
    message = refusal(put(config(), f"{TINY}.extra", [{"protocols": ["fair"]}]))
    assert message.startswith(f"params.yaml: {TINY}.extra[0].protocols: 'fair'")


def test_an_image_size_that_the_data_set_has_not_is_refused() -> None:
    message = refusal(put(config(), f"{TINY}.benchmarks[0].image_size", 32))
    assert "28" in message


@pytest.mark.parametrize("name", ["../up", "a/b", "", " ", "a b", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    values = config()
    values["protocols"][name] = values["protocols"]["corrected"]
    values["presets"]["tiny"]["protocols"] = [name]
    refusal(values)
    values = config()
    values["presets"][name] = values["presets"]["tiny"]
    refusal(values | {"preset": name})


def test_a_floor_above_the_prune_rate_is_refused() -> None:
    values = put(config(), f"{TINY}.topology.prune_rate", 0.1)
    message = refusal(put(values, f"{TINY}.topology.prune_rate_floor", 0.2))
    assert "prune_rate_floor" in message


def test_a_file_of_other_bytes_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        load_file(path)


def test_a_key_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(config()) + "preset: tiny\n")
    with pytest.raises(ConfigError, match="preset"):
        load_file(path)


def test_a_number_that_yaml_reads_as_text_is_explained() -> None:
    assert "1.0e-3" in refusal(put(config(), f"{TINY}.training.learning_rate", "1e-3"))


def test_a_plan_of_lists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"preset": "a", "runs": [{"run": []}]}')
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "plan.json"))):
        read_plan(tmp_path)


# Data sets of one's own, unequal tasks, validation


FLOWERS = {"path": "~/flowers", "classes": 12}


def with_flowers(**entry: object) -> dict[str, Any]:
    values = put(config(), "datasets", {"flowers": FLOWERS | entry})
    return put(values, f"{TINY}.benchmarks[0]", {"dataset": "flowers", "tasks": 4})


def test_a_data_set_of_one_s_own_is_one_entry() -> None:
    (run,) = runs(load(with_flowers(image_size=64)))
    assert (run.dataset, run.tasks, run.data.image_size) == ("flowers", 4, 64)
    assert run.data_name == "flowers-64px"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("datasets.flowers.classes", 1, "datasets.flowers.classes: 1"),
        ("datasets.flowers.path", "", "datasets.flowers.path: ''"),
        ("datasets.flowers.clases", 3, "unknown key; allowed: path, classes"),
        ("datasets.flowers.mean", [0.5] * 3, "both mean and std"),
        ("datasets.flowers.mean", [0.5], "datasets.flowers.mean: [0.5]; 3 values are needed"),
        ("datasets.flowers.channels", 2, "datasets.flowers.channels: 2"),
        ("datasets.flowers.classes", 10, "4 tasks do not divide the 10 classes of flowers"),
        ("datasets.cifar100", FLOWERS, "datasets.cifar100: is the name of a known data set"),
        ("datasets.My-Set", FLOWERS, "datasets.My-Set"),
    ],
)
def test_wrong_entries_of_data_sets_are_named(key: str, value: object, words: str) -> None:
    assert words in refusal(put(with_flowers(), key, value))


def test_unequal_tasks_are_part_of_a_run_and_of_its_split() -> None:
    benchmark = {"dataset": "cifar100", "tasks": 6, "task_sizes": [50, 10, 10, 10, 10, 10]}
    (run,) = runs(load(put(config(), f"{TINY}.benchmarks[0]", benchmark)))
    assert run.data.task_sizes == (50, 10, 10, 10, 10, 10)
    assert run.order_name == "seed0-sizes50+5x10"
    assert Run.from_dict(json.loads(json.dumps(run.to_dict()))) == run


@pytest.mark.parametrize(
    ("tasks", "sizes", "words"),
    [
        (2, [50, 40], "they add up to 90, there are 100 classes"),
        (3, [50, 50], "2 sizes for 3 tasks"),
        (2, [99, 1], "greater than or equal to 2"),
    ],
)
def test_sizes_that_do_not_fit_are_named(tasks: int, sizes: list[int], words: str) -> None:
    benchmark = {"dataset": "cifar100", "tasks": tasks, "task_sizes": sizes}
    message = refusal(put(config(), f"{TINY}.benchmarks[0]", benchmark))
    assert f"{TINY}.benchmarks[0].task_sizes" in message
    assert words in message


def test_a_validation_share_is_part_of_a_run_and_of_its_split() -> None:
    (run,) = runs(load(put(config(), f"{TINY}.training.validation", 0.1)))
    assert run.training.validation == 0.1
    assert run.order_name == "seed0-val0.1"


@pytest.mark.parametrize("share", [-0.1, 0.001, 0.6, 0.12345])
def test_a_validation_share_that_makes_no_sense_is_named(share: float) -> None:
    message = refusal(put(config(), f"{TINY}.training.validation", share))
    assert f"{TINY}.training.validation: {share}; 0, or from 0.01 to 0.5" in message


BEST = "best_validation_accuracy"


@pytest.mark.parametrize(
    ("share", "checkpoint", "vary", "key", "other"),
    [
        (0.0, BEST, {}, "training.validation", "protocol corrected"),
        (
            0.1,
            BEST,
            {"training.validation": [0.0, 0.1]},
            "vary.training.validation",
            "protocol corrected",
        ),
        (
            0.0,
            "last",
            {"switches.checkpoint": ["last", BEST]},
            "training.validation",
            "vary.switches.checkpoint",
        ),
    ],
)
def test_the_best_epoch_in_validation_needs_images_for_it(
    share: float, checkpoint: str, vary: Config, key: str, other: str
) -> None:
    values = put(config(), f"{TINY}.training.validation", share)
    values = put(values, "protocols.corrected.checkpoint", checkpoint)
    assert refusal(put(values, f"{TINY}.vary", vary)) == (
        f"params.yaml: {TINY}.{key}: 0; switches.checkpoint '{BEST}' needs a share above 0, as 0.1 "
        f"({other})"
    )


def test_images_for_validation_may_be_varied_alone(tmp_path: Path) -> None:
    values = put(config(), "protocols.corrected.checkpoint", BEST)
    values = put(values, f"{TINY}.vary", {"training.validation": [0.1, 0.2]})
    planned = runs(load(values))
    assert [run.training.validation for run in planned] == [0.1, 0.2]
    write_plan("tiny", planned, tmp_path / "plan.json")
    assert read_plan(tmp_path) == ("tiny", planned)


def test_a_run_whose_settings_exclude_each_other_is_never_built() -> None:
    run = a_run()
    with pytest.raises(ValueError, match=f"^training.validation: 0; switches.checkpoint '{BEST}'"):
        run.changed({"checkpoint": BEST})
    with pytest.raises(ValueError, match="^data.learn: 9; there are 5 tasks$"):
        run.changed({"data.learn": 9})


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({"data.learn": [2, 9]}, f"{TINY}.vary.data.learn: 9; there are 5 tasks"),
        (
            {"data.task_sizes": [[2, 2, 2, 2, 2], [4, 4, 2]]},
            f"{TINY}.vary.data.task_sizes: [4, 4, 2]; 3 sizes for 5 tasks",
        ),
        ({"data.image_size": [28, 32]}, f"{TINY}.vary.data.image_size: 32; mnist5k has only 28"),
        (
            {"switches.class_order": ["seed", "superclass"]},
            f"{TINY}.vary.switches.class_order: 'superclass'; preset tiny uses it on mnist5k; "
            "allowed on: cifar100",
        ),
    ],
)
def test_varied_data_have_to_fit_the_data_set(vary: Config, words: str) -> None:
    assert refusal(put(config(), f"{TINY}.vary", vary)) == f"params.yaml: {words}"


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        (
            {"topology.prune_rate": [0.5, 0.001]},
            "topology.prune_rate_floor: 0.005; at most prune_rate, 0.001 "
            "(vary.topology.prune_rate)",
        ),
        (
            {"topology.prune_rate_floor": [0.005, 0.9]},
            "vary.topology.prune_rate_floor: 0.9; at most prune_rate, 0.5",
        ),
        (
            {"switches.logits": ["task", "all"], "topology.update_every": [8, 16]},
            "vary.switches.logits: 'all' compares logits of all classes and needs head: shared; a "
            "head of its own for each task has only the task's",
        ),
    ],
)
def test_what_only_planning_finds_out_is_one_line_with_the_preset(vary: Config, words: str) -> None:
    params = load(put(config(), f"{TINY}.vary", vary))
    for listed in (runs, runs_by_part):
        with pytest.raises(ConfigError) as refused:
            listed(params)
        assert str(refused.value) == f"presets.tiny: {words}"


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({"data.learn": [9]}, "data.learn: 9; there are 5 tasks"),
        (
            {"topology.controller": ["density_by_gain"]},
            "topology.controller: 'density_by_gain'; needs training.validation above 0, as 0.1 "
            "(protocol corrected)",
        ),
        (
            {"topology.prune": ["magnitude", "nowhere:rule"]},
            "topology.prune: 'nowhere:rule': no nowhere.py in the working folder and no installed "
            "module",
        ),
        (
            {"topology.controller": ["nowhere:Rule"]},
            "topology.controller: 'nowhere:Rule'; 'nowhere:Rule': no nowhere.py in the working "
            "folder and no installed module",
        ),
        ({"method.strength": [-1]}, "method.strength: -1; should be greater than or equal to 0"),
        ({"method.strenght": [1]}, "method.strenght: no method of the preset has a setting"),
        ({"training.weight_decay": [-1]}, "training.weight_decay: -1; should be greater than or"),
    ],
)
def test_what_an_extra_varies_is_named_with_its_place(vary: Config, words: str) -> None:
    """Its methods are the preset's, as it names none."""
    values = with_extra({"vary": vary}, methods=["dst", "ewc"])
    assert refusal(values).startswith(f"params.yaml: {TINY}.extra[0].vary.{words}")


def test_superclasses_are_asked_for_where_there_are_some() -> None:
    values = put(config(), "protocols.corrected.class_order", "superclass")
    assert "'superclass'; preset tiny uses it on mnist5k" in refusal(values)
    benchmark = {"dataset": "cifar100", "tasks": 20}
    (run,) = runs(load(put(values, f"{TINY}.benchmarks[0]", benchmark)))
    assert run.order_name == "superclass"


def test_a_beginning_is_another_run_with_the_split_and_the_head_of_the_whole() -> None:
    values = put(config(), f"{TINY}.benchmarks[0].learn", 2)
    (whole,), (part,) = runs(load(config())), runs(load(values))
    assert (whole.learned, part.learned) == (5, 2)
    assert part.tasks_file == whole.tasks_file
    assert part.outputs([2] * 5) == whole.outputs([2] * 5)
    assert part.digest != whole.digest
    assert part.folder.startswith("mnist5k-5tasks-first2/")
    assert Run.from_dict(json.loads(json.dumps(part.to_dict()))) == part


def test_a_beginning_of_all_tasks_is_the_whole() -> None:
    assert runs(load(put(config(), f"{TINY}.benchmarks[0].learn", 5))) == runs(load(config()))


def test_more_tasks_than_there_are_cannot_be_learned() -> None:
    message = refusal(put(config(), f"{TINY}.benchmarks[0].learn", 6))
    assert f"{TINY}.benchmarks[0].learn: 6; there are 5 tasks" in message


PARTS = [
    {"part": "first"},
    {"part": "second", "densities": [0.2], "growths": ["random", "gradient"]},
    {"densities": [0.3]},
]


def parted(**top: Any) -> Config:
    values = put(config(), f"{TINY}.part", "whole")
    return put(values, f"{TINY}.extra", PARTS) | top


def test_parts_are_run_by_name() -> None:
    everything = runs(load(parted()))
    assert len(everything) == 1 + 2 + 1
    assert runs(load(parted(parts=[]))) == everything
    assert [run.density for run in runs(load(parted(parts=["second"])))] == [0.2, 0.2]
    assert runs(load(parted(parts="first"))) == runs(load(parted(parts=["whole"])))
    both = runs(load(parted(parts=["second", "whole"])))
    assert {run.digest for run in both} < {run.digest for run in everything}


def test_a_run_in_two_parts_is_counted_in_both() -> None:
    parts = runs_by_part(load(parted()))
    assert {name: len(members) for name, members in parts.items()} == {
        "whole": 1,
        "first": 1,
        "second": 2,
        "": 1,
    }
    assert parts["whole"] == parts["first"]


def test_an_unknown_part_is_named_with_those_there_are() -> None:
    assert "parts: 'third'; allowed: whole, first, second" in refusal(parted(parts=["third"]))
    assert "allowed: none, as preset tiny has no parts" in refusal(config() | {"parts": ["one"]})


def test_a_plan_over_tasks_must_fit_every_benchmark() -> None:
    message = refusal(put(config(), f"{TINY}.growths[0]", "5xrandom+5xgradient"))
    assert f"{TINY}.growths: '5xrandom+5xgradient' is a plan for 10 tasks" in message
    assert "there are 5 (mnist5k with 5 tasks)" in message


# The paper's grid


def paper_part(*parts: str) -> list[Run]:
    return runs(load_file(PARAMS, "paper", list(parts)))


def test_the_tables_of_the_paper_are_cells_of_preset_paper_at_their_intervals() -> None:
    """reference/paper/tables.csv: every cell, four intervals each, two on miniImageNet."""
    with (PARAMS.parent / "reference/paper/tables.csv").open() as file:
        cells = {
            (row["dataset"], int(row["tasks"]), row["init"], float(row["density"]), row["growth"])
            for row in csv.DictReader(file)
        }
    planned = Counter(
        (run.dataset, run.tasks, run.init, run.density, run.growth)
        for run in paper_part("table-1", "table-2", "table-3", "table-4")
    )
    assert planned == {cell: 2 if cell[0] == "miniimagenet" else 4 for cell in cells}


def test_every_curve_of_the_paper_is_in_preset_paper() -> None:
    with (PARAMS.parent / "reference/paper/curves.csv").open() as file:
        curves = {
            (
                *(row["dataset"], int(row["tasks"]), row["network"], row["init"]),
                *(float(row["density"]), row["growth"], row["update_every"]),
            )
            for row in csv.DictReader(file)
        }
    names = {"5xrandom+5xgradient": "adaptive"}
    have = {
        (
            *(run.dataset, run.tasks, run.network, run.init, run.density),
            *(names.get(run.growth, run.growth), interval),
        )
        for run in paper_part()
        if run.protocol == "published"
        for interval in ("", str(run.topology.update_every))
    }
    assert curves <= have


def test_the_paper_s_training_is_that_of_its_text() -> None:
    for run in paper_part():
        training, topology = run.training, run.topology
        assert training.epochs == (25 if run.tasks == 20 else 100)
        assert (training.batch_size, training.learning_rate) == (128, 0.001)
        assert (training.optimizer, training.lr_milestones) == ("adam", (0.5, 0.75))
        if run.method == "dst":
            assert (topology.prune, topology.prune_rate) == ("magnitude", 0.5)


def test_strategies_of_the_adaptive_experiment_are_paired() -> None:
    for part, units in (("figure-6", 3), ("corrected-figure-6", 5)):
        planned = paper_part(part)
        by_growth = {
            growth: {
                (run.seed, run.topology.update_every) for run in planned if run.growth == growth
            }
            for growth in ("random", "gradient", "5xrandom+5xgradient")
        }
        assert len(set(map(frozenset, by_growth.values()))) == 1
        assert len(by_growth["random"]) == units


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (MethodEntry, {"name": "ewc", "from": "finetune"}),
        (NetworkEntry, {"name": "resnet18", "from": "convnet"}),
    ],
)
def test_nothing_goes_by_the_name_of_another_built_in_one(
    kind: type[MethodEntry] | type[NetworkEntry], value: dict[str, str]
) -> None:
    """Tables and figures would show its results as the other one's."""
    with pytest.raises(ValueError, match=f"name: '{value['name']}' is a built-in one"):
        kind.read(value)
    assert str(kind.read(value | {"name": "own"})) == "own"
