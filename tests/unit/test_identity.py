"""What identifies a run: axes and the settings that its method reads, against birth defaults."""

import json
from pathlib import Path
from typing import Any

import pytest

from dstcl.codedigest import code_files
from dstcl.data.stored import Prepared
from dstcl.study import identity
from dstcl.study.code import training_code
from dstcl.study.fields import defaults, setting_names
from dstcl.study.load import load, load_file, runs
from dstcl.study.methods import BUILT_IN, method_facts
from dstcl.study.parts import SECTIONED
from dstcl.study.run import Run
from dstcl.study.settings import SECTIONS
from helpers.runs import changed, quick_run

OTHER: dict[str, Any] = {
    "data.image_size": 32,
    "data.task_sizes": (2, 2, 2, 4),
    "data.learn": 2,
    "switches.logits": "all",
    "switches.head": "shared",
    "switches.batch_norm": "shared",
    "switches.test_augment": True,
    "switches.mask_counts": "bernoulli",
    "switches.free_weights": "zero",
    "switches.regrown_frozen": "zero",
    "switches.candidates": "free",
    "switches.checkpoint": "best_training_accuracy",
    "switches.stop_at": 0.5,
    "switches.class_order": "natural",
    "training.augment": "crop-flip",
    "training.epochs": 3,
    "training.batch_size": 48,
    "training.test_batch_size": 77,
    "training.optimizer": "sgd",
    "training.optimizer_settings": {"momentum": 0.5},
    "training.learning_rate": 0.02,
    "training.weight_decay": 0.1,
    "training.schedule": "cosine",
    "training.lr_milestones": (0.9,),
    "training.lr_factor": 0.3,
    "training.validation": 0.1,
    "topology.prune": "set",
    "topology.prune_rate": 0.4,
    "topology.prune_rate_floor": 0.1,
    "topology.prune_schedule": "linear",
    "topology.update_every": 3,
    "topology.redistribute": "momentum",
    "topology.switch_at": 0.25,
    "topology.controller": "saturation",
    "engine.precision": "bfloat16",
    "engine.layout": "channels_last",
    "engine.compile": "on",
}
"""Another value for every setting."""


def as_method(name: str, **values: Any) -> Run:
    dense = {"density": 1.0, "init": "none"} if method_facts(name).dense else {}
    growth = "random" if method_facts(name).grows else "none"
    return quick_run(**{"method": name, "growth": growth} | dense | values)


def test_another_value_is_known_for_every_setting() -> None:
    assert set(OTHER) == set(SECTIONED.values())


@pytest.mark.parametrize("method", BUILT_IN)
def test_the_digest_covers_what_the_method_reads_and_nothing_else(method: str) -> None:
    run = as_method(method)
    unread = {"training.test_batch_size", "topology.switch_at"}
    if method not in ("dst", "unisolated"):
        unread |= {key for key in OTHER if key.startswith("topology.")}
        unread |= {"switches.mask_counts", "switches.candidates"}
        unread -= {"topology.update_every"} if method == "gradual" else set()
        unread |= {"switches.stop_at"} if method != "gradual" else set()
    if method_facts(method).dense:
        unread |= {"switches.free_weights", "switches.regrown_frozen"}
    unread |= {"switches.regrown_frozen"} if method in ("wsn", "supsup", "nispa") else set()
    unread |= {"switches.free_weights"} if method in ("supsup", "nispa") else set()
    unread -= {"switches.free_weights"} if method == "hat" else set()
    values = {"switches.logits": {"switches.head": "shared"}}
    for key, value in OTHER.items():
        base = run.changed(values.get(key, {}))
        assert (base.changed({key: value}).digest == base.digest) == (key in unread), key


def test_settings_count_where_they_are_read() -> None:
    switching = quick_run(growth="random-then-gradient")
    assert changed(switching, switch_at=0.25).digest != switching.digest
    noisy = quick_run(batch_norm="batch")
    assert changed(noisy, test_batch_size=77).digest != noisy.digest
    flat = quick_run(schedule="constant")
    assert changed(flat, lr_factor=0.3).digest == flat.digest
    ewc = as_method("ewc")
    assert changed(ewc, strength=7.0).digest != ewc.digest


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        ("dataset", "cifar100"), ("tasks", 2), ("protocol", "mine"), ("network", "lenet5"),
        ("density", 0.3), ("init", "erk"), ("growth", "gradient"), ("seed", 9),
    ],
)  # fmt: skip
def test_every_axis_decides_the_digest(axis: str, value: Any) -> None:
    assert quick_run(**{axis: value}).digest != quick_run().digest


def test_every_setting_with_a_default_has_a_birth_default() -> None:
    """Of a new setting: the value that changes nothing. It stays what it was, or runs that were
    recorded before get another name."""
    born = identity.birth_defaults()
    for section, kind in SECTIONS.items():
        assert defaults(kind).keys() <= born[section].keys(), section
        assert born[section].keys() <= set(setting_names(kind)), section
    for name in BUILT_IN:
        kind = method_facts(name).settings
        assert (defaults(kind) if kind else {}).keys() == born["methods"].get(name, {}).keys()


def test_birth_defaults_are_those_of_the_first_day() -> None:
    """Change no line of this; add one for each new setting."""
    recorded = Path(__file__).with_name("birth_defaults.json")
    born = identity.birth_defaults()
    for section, values in json.loads(recorded.read_text()).items():
        assert {name: born[section][name] for name in values} == values


def test_a_new_setting_at_its_neutral_value_renames_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if weight_decay had been added today: only its birth default keeps it out of digests."""
    run = quick_run(weight_decay=0.0)
    assert "weight_decay" not in run.identity["training"]
    assert quick_run(weight_decay=0.1).identity["training"]["weight_decay"] == 0.1
    born = json.loads(json.dumps(identity.birth_defaults()))
    del born["training"]["weight_decay"]
    monkeypatch.setattr(identity, "birth_defaults", lambda: born)
    assert identity.identity(run)["training"]["weight_decay"] == 0.0


def test_what_a_description_leaves_out_has_its_birth_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not the default of the day, which may have changed since the run was recorded."""
    born = json.loads(json.dumps(identity.birth_defaults()))
    born["topology"]["prune_rate"] = 0.125
    described = quick_run().to_dict()
    del described["topology"]["prune_rate"]
    monkeypatch.setattr(identity, "birth_defaults", lambda: born)
    assert Run.from_dict(described).topology.prune_rate == 0.125


@pytest.mark.parametrize("method", BUILT_IN)
def test_a_run_survives_json_whole_or_as_its_identity(method: str) -> None:
    run = as_method(method, density=0.1 + 0.2, lr_milestones=(1 / 3, 0.9), update_every=100)
    for described in (run.to_dict(), run.identity):
        again = Run.from_dict(json.loads(json.dumps(described)))
        assert again.digest == run.digest
        assert again.folder == run.folder
        assert again.to_dict() == run.to_dict()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("axes", None, "axes: a mapping is needed, not None"),
        ("axes.sede", 1, "axes.sede: unknown key; allowed: dataset, tasks, protocol"),
        ("axes.seed", "0", "axes.seed: '0'; should be of type int"),
        ("axes.seed", -1, "axes.seed: -1; should be greater than or equal to 0"),
        ("axes.seed", 2**31, "axes.seed: 2147483648; should be less than"),
        ("axes.tasks", 0, "axes.tasks: 0; should be greater than or equal to 1"),
        ("axes.density", True, "axes.density: True; should be of type float"),
        ("axes.density", 1.5, "axes.density: 1.5; should be less than or equal to 1"),
        ("axes.density", float("nan"), "axes.density: nan; should be a finite number"),
        ("sections", {}, "unknown 'sections'; allowed: axes, vary, data"),
        ("training.epoch", 3, "training.epoch: unknown key; allowed: augment, epochs"),
        ("training.epochs", 0, "training.epochs: 0; should be greater than or equal to 1"),
        ("training.epochs", 1.5, "training.epochs: 1.5; should be of type int"),
        ("training.learning_rate", float("nan"), "should be a finite number"),
        ("training.lr_milestones", [2.0], "should be less than or equal to 1"),
        ("training.optimizer", "Adam", "allowed: adam, adamw, sgd, or module:attribute"),
        ("training.validation", 0.7, "0, or from 0.01 to 0.5"),
        ("training", [], "training: a mapping is needed"),
        ("switches.head", "own", "allowed: 'task', 'shared'"),
        ("switches.test_augment", 1, "should be of type bool"),
        ("switches.logits", "all", "logits: 'all' compares logits"),
        ("method.strength", 1.0, "methods.dst.strength: dst has no settings"),
        ("method.from", "nothing", "'nothing'; allowed: dst, static"),
        ("method", 3, "method: a mapping is needed, not 3"),
        ("method.from", 7, "method.from: 7; should be of type str"),
        ("network.size", 3, "allowed: from, head, arguments"),
        ("network.from", 7, "network.from: 7; should be of type str"),
        ("network.head", 7, "network.head: 7; should be of type str"),
        ("network.arguments", "width", "network.arguments: a mapping is needed"),
        ("switches.checkpoint", "best_validation_accuracy", "training.validation: 0; .* above 0"),
        ("vary", "topology", "vary is 'topology', not a list"),
    ],
)
def test_a_wrong_description_is_refused_in_one_line(path: str, value: Any, words: str) -> None:
    described = json.loads(json.dumps(quick_run().to_dict()))
    *places, last = path.split(".")
    place = described
    for name in places:
        place = place[name]
    place[last] = value
    with pytest.raises(ValueError, match=rf"^run description: .*{words}") as caught:
        Run.from_dict(described)
    assert len(str(caught.value).splitlines()) == 1


def test_a_description_whose_weight_decay_would_move_frozen_weights_is_refused() -> None:
    described = quick_run(mask_counts="bernoulli").to_dict()
    described["training"]["weight_decay"] = 0.1
    with pytest.raises(ValueError) as caught:
        Run.from_dict(described)
    assert str(caught.value) == (
        "run description: training.weight_decay: 0.1; it would move frozen weights under "
        "mask_counts: bernoulli; allowed: 0, or mask_counts: exact"
    )


@pytest.mark.parametrize("key", ["training.epochs", "switches.head", "topology.update_every"])
def test_what_has_no_default_and_is_read_must_be_said(key: str) -> None:
    described = quick_run().to_dict()
    section, _, name = key.partition(".")
    del described[section][name]
    with pytest.raises(ValueError, match=rf"{key}: missing"):
        Run.from_dict(described)


class Watched:
    """Settings that remember which of them were read."""

    def __init__(self, settings: Any, section: str, seen: set[str]) -> None:
        self.__dict__.update(_settings=settings, _section=section, _seen=seen)

    def __getattr__(self, name: str) -> Any:
        self._seen.add(f"{self._section}.{name}")
        return getattr(self._settings, name)


@pytest.mark.parametrize("method", BUILT_IN)
def test_a_method_reads_no_setting_that_its_digest_leaves_out(
    method: str, digits: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: what its code really asks for, while it is trained and its costs are counted."""
    from dstcl.continual.methods import method_of
    from helpers.runs import learner

    run = as_method(method, tasks=2, epochs=1, batch_size=32, update_every=2)
    trained = learner(run, digits, [[0, 1], [2, 3]])
    seen: set[str] = set()
    watched = method_of(run)
    sections = {name: Watched(getattr(run, name), name, seen) for name in ("topology", "switches")}
    watched.run = type("Seen", (), {**vars(run), **sections})()
    trained.method = watched
    trained.fit()
    watched.dense_gradient_share(100, 0)
    unread = {key for key in seen if not identity.decides(run, key)}
    # Handed on for a switch of growth, which this run has not.
    assert unread <= {"topology.switch_at"}


# Varied settings


def varying(**vary: Any) -> list[Run]:
    values = json.loads(json.dumps(load_file("params.yaml", "quick").model_dump()))
    quick = values["presets"]["quick"]
    quick |= {"vary": {key.replace("__", "."): value for key, value in vary.items()}}
    quick |= {"extra": [], "seeds": [0], "densities": [0.2], "growths": ["random"]}
    quick |= {"inits": ["erk"], "methods": ["dst", "static"]}
    return runs(load(values))


def test_runs_are_the_product_and_the_value_is_in_folder_and_axes() -> None:
    found = varying(topology__update_every=[4, 8], training__learning_rate=[0.01, 0.1])
    dst = [run for run in found if run.method == "dst"]
    assert [(r.topology.update_every, r.training.learning_rate) for r in dst] == [
        (4, 0.01), (4, 0.1), (8, 0.01), (8, 0.1),
    ]  # fmt: skip
    assert len({run.digest for run in found}) == len(found) == 6
    names = list(dst[0].axes())
    assert names[-4:] == ["growth", "topology.update_every", "training.learning_rate", "seed"]
    assert dst[0].axes()["topology.update_every"] == "4"
    assert "/random/topology.update_every=4/training.learning_rate=0.01/seed0-" in dst[0].folder
    again = Run.from_dict(json.loads(json.dumps(dst[1].to_dict())))
    assert (again.folder, again.axes()) == (dst[1].folder, dst[1].axes())


def test_a_method_that_does_not_read_a_varied_setting_is_run_once() -> None:
    found = [run for run in varying(topology__update_every=[4, 8, 16]) if run.method == "static"]
    assert [run.axes()["topology.update_every"] for run in found] == ["none"]


# The code behind a run


def test_the_code_of_a_run_is_the_loop_its_network_its_method_and_its_plugins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("def by_age(layer):\n    return layer.random()\n")
    plain, own = quick_run(), quick_run(growth="own:by_age")
    codes = {training_code(run) for run in (plain, own, quick_run(method="packnet"))}
    assert len(codes) == 3
    assert training_code(plain) == training_code(changed(plain, seed=7, epochs=3))
    before = training_code(own)
    Path("own.py").write_text("# a comment\ndef by_age(layer):\n    return layer.random()\n")
    assert training_code(own) == before
    Path("own.py").write_text("def by_age(layer):\n    return -layer.random()\n")
    from dstcl.study import code

    code._digest.cache_clear()
    assert training_code(own) != before


def test_what_decides_a_run_does_not_need_the_run() -> None:
    """Else the two modules would import each other."""
    files = {path.name for path in code_files("study.identity")}
    assert "parts.py" in files
    assert "run.py" not in files
