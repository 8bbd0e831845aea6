"""Controllers: what they decide, that it is obeyed exactly, kept, resumed, and told."""

from __future__ import annotations

import json
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import one_layer, step_with_gradient
from torch import nn

from dstcl.continual.controllers import (
    NOTHING,
    ControlledTraining,
    Controller,
    ControllerError,
    Decision,
    Seen,
)
from dstcl.continual.controllers.free_capacity import FreeCapacity
from dstcl.continual.controllers.random_switch import RandomSwitch
from dstcl.continual.controllers.saturation import Saturation, SaturationMix
from dstcl.continual.library import learn
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.evaluation.collect import collect, long_table
from dstcl.evaluation.verify import CollectError
from dstcl.jobs.loaded import load_run
from dstcl.jobs.train import train_run
from dstcl.plugins import PluginError
from dstcl.sparse import DynamicSparseTraining
from dstcl.sparse.mixed_growth import MixedGrowth, mixed_growth
from dstcl.storage import write_json
from dstcl.study.controllers import BUILT_IN, CONTROLLER, controller_facts
from dstcl.study.load import ConfigError, load, load_file, runs
from dstcl.study.plan import write_plan
from dstcl.study.run import Run
from helpers.runs import REPOSITORY, changed, fit, learner, quick_run, task_split, write_prepared

TASKS = split_classes(10, 5, "natural")


def seen(task: int = 0, tasks: int = 5, growth: str = "random", **shares: float) -> Seen:
    """A task before it begins, of layers of 100 weights with these free shares; `dense` is one."""
    active = {name: 100 if name == "dense" else 20 for name in shares}
    return Seen(
        task=task,
        tasks=tasks,
        step=0,
        total_steps=100,
        updates=0,
        sizes=dict.fromkeys(shares, 100),
        free={name: round(100 * share) for name, share in shares.items()},
        active=active,
        growth=growth,
    )


# The rules


@pytest.mark.parametrize(
    ("free", "growth"), [(0.51, "random"), (0.5, "random"), (0.49, "gradient")]
)
def test_saturation_changes_growth_below_the_threshold(free: float, growth: str) -> None:
    decision = Saturation(threshold=0.5).before_task(seen(a=0.9, b=free, dense=0.0))
    assert decision.growth == growth
    assert decision.evidence == f"free {free:.4f} in b; threshold 0.5"


def test_where_every_layer_is_dense_saturation_leaves_growth_as_it_is() -> None:
    for kind in (Saturation, SaturationMix):
        decision = kind().before_task(seen(dense=0.0))
        assert (decision.growth, decision.mixed) == ("random", None)
        assert decision.evidence == "every layer is dense"


@pytest.mark.parametrize(
    ("free", "share"), [(1.0, 0.0), (0.9, 0.125), (0.6, 0.5), (0.2, 1.0), (0, 1)]
)
def test_the_mix_grows_with_what_is_used(free: float, share: float) -> None:
    """(1 - f) / (1 - 0.2), at most 1."""
    decision = SaturationMix(threshold=0.2, below="momentum").before_task(seen(a=free))
    assert decision.mixed == ("momentum", pytest.approx(share, abs=1e-4))


def test_the_random_switch_is_drawn_once_per_seed() -> None:
    tasks, found = 5, Counter[int]()
    for seed in range(200):
        control = RandomSwitch(seed=seed)
        growths = [control.before_task(seen(task, tasks, a=1.0)).growth for task in range(tasks)]
        first = growths.index("gradient")
        assert growths == ["random"] * first + ["gradient"] * (tasks - first)
        assert RandomSwitch(seed=seed).switch(tasks) == first
        found[first] += 1
    assert set(found) == {1, 2, 3, 4}
    assert min(found.values()) > 30  # of 50, four standard deviations less would be 25


def test_of_a_single_task_the_random_switch_changes_nothing() -> None:
    assert RandomSwitch(seed=3).before_task(seen(0, 1, a=1.0)).growth == "random"


def test_free_capacity_says_what_it_was_decided_on() -> None:
    full = replace(seen(task=3, tasks=5, a=0.1, b=1.0), active={"a": 98, "b": 20})
    decision = FreeCapacity().before_task(full)
    assert decision.active == {"a": 95, "b": 23}  # 90 used and half of 10; 3 spill over
    assert decision.new == {"a": 5, "b": 23}
    assert decision.evidence_of["a"] == "init asks 98; free 0.1000; tasks left 2; kappa 1"


def test_quotas_without_room_are_told() -> None:
    decision = FreeCapacity().before_task(seen(task=0, tasks=10, a=1.0, b=1.0))
    assert "kappa 1 raised to 2.0000; quotas had no room" in decision.evidence_of["a"]


def test_evidence_needs_no_quotes_in_a_table() -> None:
    (row,) = Decision(growth="random", evidence='a, "b"\nc').rows(1, 0)
    assert row["evidence"] == "a; 'b' c"


# Growth by two criteria


def test_a_mix_takes_its_first_pick_and_the_rest_of_what_is_left() -> None:
    """Four of eight: the two highest gradients, then at random."""
    found = Counter[int]()
    for seed in range(60):
        model, dst = mixed_training(0.5, seed)
        step_with_gradient(model, dst, [0.0, 0, 0, 0, 1, 2, 3, 9, 8, 4, 5, 6])
        grown = set(dst.masks["0.weight"].flatten().nonzero().flatten().tolist())
        assert dst.counts == {"0.weight": 4} == {"0.weight": len(grown)}
        assert {7, 8} <= grown
        found.update(grown - {7, 8})
    assert len(found) > 3


def mixed_training(share: float, seed: int) -> tuple[nn.Module, DynamicSparseTraining]:
    model, dst = one_layer(
        [1.0] * 4 + [0.0] * 8,
        [1] * 4 + [0] * 8,
        grow=mixed_growth("random", "gradient", share),
        prune_rate=1.0,
        floor=1.0,
        generator=torch.Generator().manual_seed(seed),
    )
    assert isinstance(dst, DynamicSparseTraining)
    return model, dst


def test_a_mix_of_all_or_nothing_is_the_criterion_itself() -> None:
    assert mixed_growth("random", "gradient", 0).name == "random"
    assert mixed_growth("random", "gradient", 1).name == "gradient"
    mixed = mixed_growth("random", "gradient", 0.25)
    assert isinstance(mixed, MixedGrowth)
    assert mixed.needs_gradient
    assert [mixed.split(count) for count in (0, 1, 2, 10)] == [[0, 0], [0, 1], [1, 1], [3, 7]]


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_mix_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share: .* should be from 0 to 1"):
        mixed_growth("random", "gradient", share)


def test_a_mix_with_a_switch_is_refused() -> None:
    with pytest.raises(ValueError, match="a mix is of single criteria"):
        mixed_growth("random-then-gradient", "gradient", 0.5)


# A training that obeys


class Scripted(Controller):
    """Decides what it is told, by task and number of the update."""

    growths = ("gradient", "momentum")

    def __init__(self, script: dict[int, Decision]) -> None:
        super().__init__()
        self.script = script
        self.asked: list[Seen] = []

    def before_task(self, seen: Seen) -> Decision:
        return self.script.get(0, NOTHING)

    def after_update(self, seen: Seen) -> Decision:
        self.asked.append(seen)
        return self.script.get(seen.updates, NOTHING)


def controlled(controller: Controller, **more: Any) -> ControlledTraining:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 10))
    given: dict[str, Any] = {
        "density": 0.2,
        "grow": "random",
        "update_every": 10,
        "total_steps": 100,
        "stop_at": 1.0,
    }
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    training = ControlledTraining(model, optimizer, controller=controller, **(given | more))
    training.model = model  # type: ignore[attr-defined]
    return training


def train(training: ControlledTraining, steps: int = 100) -> list[int]:
    """Steps after which the mask changed; counts are looked at after each."""
    changes, draws = [], torch.Generator().manual_seed(1)
    for step in range(1, steps + 1):
        inputs = torch.randn(16, 20, generator=draws)
        training.optimizer.zero_grad()
        training.model(inputs).square().mean().backward()  # type: ignore[attr-defined]
        before = training.updates
        training.step()
        training.check_counts()
        if training.updates > before:
            changes.append(step)
    return changes


def test_nothing_decided_is_dynamic_sparse_training_bit_for_bit() -> None:
    training = controlled(Scripted({}))
    changes = train(training)
    plain = controlled(Controller())
    assert train(plain) == changes == list(range(10, 101, 10))
    for name, weight in training.weights.items():
        assert torch.equal(weight, plain.weights[name])


def test_intervals_count_from_their_decision() -> None:
    script = {2: Decision(update_every=7), 4: Decision(update_every=30)}
    training = controlled(Scripted(script))
    assert train(training) == [10, 20, 27, 34, 64, 94]


def test_a_prune_rate_falls_from_where_it_is_set() -> None:
    training = controlled(Scripted({0: Decision(prune_rate=0.2), 3: Decision(prune_rate=0.0)}))
    assert training.prune_rate() == pytest.approx(0.2)
    train(training)
    changes = [one.mask_change for one in training.controller.asked]  # type: ignore[attr-defined]
    assert max(changes[0].values()) <= 0.2
    assert max(max(one.values()) for one in changes[3:]) == 0


def test_a_controller_sees_what_the_training_measures() -> None:
    controller = Scripted({1: Decision(growth="gradient"), 3: Decision(growth="random")})
    controller.growths = ("gradient",)
    training = controlled(controller, task=1, tasks=3)
    train(training)
    first, second, third, fourth, *_ = controller.asked
    assert (first.task, first.tasks, first.step, first.updates) == (1, 3, 10, 1)
    assert first.sizes == first.free == {"0.weight": 600, "2.weight": 300}
    assert first.active == training.budget
    assert (first.gradient, fourth.gradient) == ({}, {})
    assert [one.growth for one in (first, second, third, fourth)] == [
        "random", "gradient", "gradient", "random",
    ]  # fmt: skip
    assert all(norm > 0 for norm in second.gradient.values())
    assert training.dense_gradient_share() == pytest.approx(2 / 100)


def test_a_step_that_is_not_made_counts_no_dense_gradient() -> None:
    controller = Scripted({})
    controller.growths = ("gradient",)  # nothing that needs a running gradient
    training = controlled(controller, grow="gradient")
    train(training, 9)
    for made in (False, False, True):  # three tries at the step of the first update
        for weight in training.weights.values():
            weight.grad = torch.randn_like(weight)
        training.mask_gradients()
        if made:
            training.step()
    assert (training.steps, training.updates) == (10, 1)
    assert training.dense_gradient_share() == pytest.approx(1 / 10)


def test_momentum_is_kept_for_a_growth_that_may_come() -> None:
    training = controlled(Scripted({5: Decision(growth="momentum")}))
    train(training)
    assert training.grow.first.name == "momentum"
    assert training.dense_gradient_share() == 1
    assert controlled(Saturation(below="momentum")).dense_gradient_share() == 0


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (Decision(growth="unfired"), "growth: 'unfired'; it may choose gradient, momentum, random"),
        (Decision(mixed=("gradient", 1.5)), "mixed: share: 1.5; should be from 0 to 1"),
        (Decision(mixed=("nothing", 0.5)), "growth: 'nothing'; it may choose"),
        (Decision(prune_rate=1.5), "prune_rate: 1.5; should be from 0 to 1"),
        (Decision(update_every=0), "update_every: 0; should be at least 1"),
        (Decision(active={"0.weight": 1}), "active: counts must be of 2 layers and add to 180"),
        (Decision(active={"0.weight": 601, "2.weight": -421}), "active: 601 with 601 new in 0.wei"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(decision: Decision, words: str) -> None:
    with pytest.raises(ControllerError) as caught:
        controlled(Scripted({0: decision}))
    assert words in str(caught.value)
    assert str(caught.value).startswith("controller Scripted: task 1: ")
    assert len(str(caught.value).splitlines()) == 1


def test_masks_are_not_spread_anew_within_a_task() -> None:
    training = controlled(Scripted({1: Decision(active={"0.weight": 90, "2.weight": 90})}))
    with pytest.raises(ControllerError, match="active: decided before a task, not within one"):
        train(training)


def test_a_mask_has_the_new_weights_that_are_decided() -> None:
    frozen = {"0.weight": torch.zeros(30, 20).bool(), "2.weight": torch.zeros(10, 30).bool()}
    frozen["0.weight"][:, :15] = True
    decision = Decision(
        active={"0.weight": 100, "2.weight": 80}, new={"0.weight": 10, "2.weight": 80}
    )
    training = controlled(Scripted({0: decision}), frozen=frozen)
    assert training.counts == decision.active
    assert int((training.masks["0.weight"] & ~frozen["0.weight"]).sum()) == 10
    assert training.masks["0.weight"].any(1).all()
    train(training)
    assert training.counts == decision.active


@pytest.mark.parametrize("task", [-1, 3])
def test_a_task_that_is_not_one_of_all_is_refused(task: int) -> None:
    with pytest.raises(ValueError, match="tasks count from 0"):
        controlled(Controller(), task=task, tasks=3)


# Names and settings


def test_a_run_without_a_controller_keeps_its_name() -> None:
    run = quick_run()
    assert "controller" not in run.identity.get("topology", {})
    assert changed(run, controller="fixed").digest == run.digest
    assert run.controller is None
    assert "decisions" not in run.result_files


def test_a_spelled_out_default_is_the_same_run() -> None:
    short, long = (
        changed(quick_run(), controller=value)
        for value in ("saturation", {"name": "saturation", "below": "gradient"})
    )
    assert short.digest == long.digest
    assert short.controller == long.controller


def test_a_controller_comes_back_from_its_description() -> None:
    value = {"name": "early", "from": "saturation", "threshold": 0.8}
    run = replace(changed(quick_run(), controller=value), vary=(CONTROLLER,))
    again = Run.from_dict(json.loads(json.dumps(run.to_dict())))
    assert again.digest == run.digest != quick_run().digest
    assert again.controller == run.controller
    assert run.varied == {CONTROLLER: "early"}
    assert "topology.controller=early" in run.folder


def test_a_method_without_topology_reads_no_controller() -> None:
    run = changed(quick_run(), method="static", growth="none", controller="saturation")
    assert run.controller is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nothing", "allowed: fixed, saturation"),
        ({"name": "saturation", "threshold": 1.0}, "saturation.threshold: 1.0; should be less"),
        ({"name": "saturation", "threshold": 0}, "should be greater than 0"),
        ({"name": "saturation", "kappa": 1.0}, "saturation.kappa: unknown key; allowed: threshold"),
        ({"name": "free_capacity", "kappa": -1.0}, "kappa: -1.0; should be greater than 0"),
        ({"name": "saturation", "below": "nothing"}, "below: 'nothing'; allowed: random, unfired"),
        ({"threshold": 0.3}, "a name, or a mapping with name, from and"),
        ({"name": "fixed", "threshold": 0.3}, "'fixed' has no settings"),
        ({"name": "fixed", "from": "saturation"}, "'fixed' is not free"),
        ({"name": "free_capacity", "from": "saturation"}, "'free_capacity'; a name of its own"),
        *(
            ({"name": name, "from": "saturation"}, "a name of its own of at most 100 letters")
            for name in ("", "..", "a b", "a,b", "a\nb", "../x", "\u00fc", "x" * 101)
        ),
        ("own_nowhere:thing", "no own_nowhere.py in the working folder"),
        (7, "should be of type str or should be a mapping"),
    ],
)
def test_a_controller_that_is_none_is_refused_in_one_line(value: Any, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        changed(quick_run(), controller=value)
    assert words in str(caught.value)
    assert str(caught.value).startswith("topology.controller: ")
    assert len(str(caught.value).splitlines()) == 1


def params(**preset: Any) -> dict[str, Any]:
    values = load_file(REPOSITORY / "params.yaml", "quick").model_dump()
    values["presets"] = {"quick": values["presets"]["quick"] | {"extra": []}}
    for key, value in preset.items():
        values["presets"]["quick"][key] = value
    return values


def test_a_study_varies_controllers() -> None:
    values = ["fixed", "saturation", {"name": "early", "from": "saturation", "threshold": 0.8}]
    found = runs(load(params(vary={CONTROLLER: values}, seeds=[0])))
    assert Counter(run.varied[CONTROLLER] for run in found) == dict.fromkeys(
        ("fixed", "saturation", "early"), len(found) // 3
    )
    assert len({run.digest for run in found}) == len(found)


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        (
            {"vary": {CONTROLLER: ["fixed", "nothing"]}},
            "vary.topology.controller: 'nothing'; allowed: fixed",
        ),
        (
            {"vary": {CONTROLLER: ["saturation", {"name": "saturation", "threshold": 0.3}]}},
            "each value once; repeated: saturation",
        ),
        (
            {"vary": {CONTROLLER: ["saturation"]}, "protocols": ["corrected", "published"]},
            "topology.controller: 'saturation'; needs mask_counts: exact, not bernoulli (protocol "
            "published)",
        ),
        ({"vary": {CONTROLLER: ["own_nowhere:thing"]}}, "no own_nowhere.py in the working folder"),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_one_line(preset: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(params(**preset))
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_read_of_a_file_is_what_the_class_says() -> None:
    from dstcl import plugins

    for name, source in BUILT_IN.items():
        kind, facts = plugins.load(source), controller_facts(name)
        assert issubclass(kind, Controller)
        assert facts.needs_validation == kind.needs_validation
        assert facts.decides_counts == kind.decides_counts
        assert facts.settings is not None
        assert facts.settings.__name__ == kind.settings.__name__


# In a run


OWN = """
from dstcl.continual.controllers import NOTHING, Controller, Decision


class Watchful(Controller):
    needs_validation = True
    growths = ("gradient",)

    def __init__(self, **given):
        super().__init__(**given)
        self.best = 0.0

    def after_update(self, seen):
        if not seen.validation:
            return NOTHING
        self.best = max(self.best, seen.validation[-1])
        growth = "gradient" if seen.updates % 2 else "random"
        return Decision(growth=growth, update_every=1 + seen.updates % 3, prune_rate=0.3,
                        evidence=f"validation {seen.validation[-1]:.3f}, best {self.best:.3f}")

    def memory(self):
        return {"best": self.best}

    def remember(self, memory):
        self.best = memory["best"]


NotOne = dict
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    module = f"controllers_{tmp_path.name}_{abs(hash(tmp_path))}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return module


def test_saturation_trains_like_the_growths_that_it_chose(short_run: Run, digits: Prepared) -> None:
    """Up to the switch like random growth, bit for bit; the plan with its switch is the same."""
    run = changed(short_run, controller={"name": "saturation", "threshold": 0.7})
    decided = learner(run, digits, TASKS)
    decided.fit()
    chosen = decided.method.report()["growth_by_task"]
    switch = chosen.index("gradient")
    assert 0 < switch < 5
    plan = f"{switch}xrandom+{5 - switch}xgradient"
    planned = learner(changed(short_run, growth=plan), digits, TASKS)
    planned.fit()
    assert planned.outcome.accuracy == decided.outcome.accuracy
    assert chosen == planned.method.report()["growth_by_task"]
    shares = [one.method.dense_gradient_share(10, switch) for one in (decided, planned)]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)
    assert decided.method.dense_gradient_share(10, 0) == 0


@pytest.mark.parametrize("controller", BUILT_IN)
def test_where_tasks_go_on_with_one_mask_no_controller_draws_it_anew(
    controller: str, short_run: Run, digits: Prepared
) -> None:
    """What cannot be obeyed in the second task is refused before the first."""
    facts = controller_facts(controller)
    more: dict[str, Any] = {}
    if facts.needs_validation:
        more = {"validation": list(range(0, 800, 10))}
        short_run = changed(short_run, validation=0.1)
    if facts.decides_counts:
        with pytest.raises(ValueError, match="go on with the mask that is there"):
            changed(short_run, method="unisolated", controller=controller)
        return
    run = changed(short_run, method="unisolated", controller=controller, learn=2)
    learner(run, digits, TASKS, **more).fit()


@pytest.mark.parametrize("controller", [*BUILT_IN, "own"])
def test_an_interrupted_run_goes_on_bit_for_bit(
    controller: str, own: str, short_run: Run, digits: Prepared
) -> None:
    more: dict[str, Any] = {}
    if controller == "own":
        controller = f"{own}:Watchful"
    if controller_facts(controller).needs_validation:
        more = {"validation": list(range(0, 800, 10))}
        short_run = changed(short_run, validation=0.1)
    run = changed(short_run, controller=controller, learn=3, density=0.4)
    whole, states = learner(run, digits, TASKS, **more), []

    def pause(state: Any, task_end: bool) -> None:
        if len(states) < 40 and (task_end or whole._stages_done):
            states.append(deepcopy(state()))

    whole.pause = pause
    whole.fit()
    resumed = learner(run, digits, TASKS, **more)
    resumed.load_state_dict(states[7])  # within the second task
    resumed.fit()
    assert resumed.outcome.accuracy == whole.outcome.accuracy
    assert resumed.outcome.decisions == whole.outcome.decisions
    assert resumed.method.report() == whole.method.report()
    # So short a run settles nothing; test_changing_counts.py has one that does.
    assert whole.outcome.decisions or controller == "settling"
    for one, other in zip(whole.outcome.store.subnets, resumed.outcome.store.subnets):
        for name, mask in one.masks.items():
            assert torch.equal(mask, other.masks[name])


def test_free_capacity_keeps_the_number_of_weights(short_run: Run, digits: Prepared) -> None:
    """And takes no more new ones of a layer, at the start of a task, than it decided."""
    run = changed(short_run, controller="free_capacity", density=0.6, growth="gradient")
    fixed, free = (fit(one, digits, TASKS) for one in (short_run_like(run), run))
    for outcome in (fixed, free):
        active = Counter[int]()
        for row in outcome.store.capacity():
            active[int(row["task"])] += int(row["active"])
        assert set(active.values()) == {541}  # 0.6 of 36, 288 and 576, each rounded
    decided = {
        (row["task"], row["layer"]): row["value"]
        for row in free.decisions
        if row["what"] == "active"
    }
    for row in free.store.capacity():
        assert row["active"] == decided[int(row["task"]), row["layer"]]


def short_run_like(run: Run) -> Run:
    return changed(run, controller="fixed")


def test_validation_is_needed_where_a_controller_reads_it(own: str, short_run: Run) -> None:
    with pytest.raises(ValueError, match="needs training.validation above 0, as 0.1"):
        changed(short_run, controller=f"{own}:Watchful")


def test_what_is_no_controller_is_refused_before_training(
    own: str, short_run: Run, digits: Prepared
) -> None:
    with pytest.raises(ValueError, match="has no class 'NotOne'"):
        learner(changed(short_run, controller=f"{own}:NotOne"), digits, TASKS)


# Its files


@pytest.fixture
def study(tmp_path: Path, short_run: Run, digits: Prepared) -> tuple[Path, list[Run]]:
    """A study of two runs, one with a controller."""
    data = write_prepared(tmp_path / "data" / short_run.data_file, digits)
    write_json(tmp_path / "data" / short_run.tasks_file, task_split(data, TASKS))
    runs = [
        replace(changed(short_run, epochs=1, controller=value), vary=(CONTROLLER,))
        for value in ("fixed", "saturation_mix")
    ]
    folder = tmp_path / "results" / "tiny"
    for run in runs:
        train_run(
            run,
            tmp_path / "data" / run.data_file,
            tmp_path / "data" / run.tasks_file,
            folder / "runs" / run.folder,
            device="cpu",
        )
    write_plan("tiny", runs, folder / "plan.json")
    return folder, runs


def test_decisions_are_written_sealed_joined_and_read_back(
    study: tuple[Path, list[Run]],
) -> None:
    folder, (fixed, mixed) = study
    assert not (folder / "runs" / fixed.folder / "decisions.csv").exists()
    collect([fixed, mixed], folder)
    lines = (folder / "decisions.csv").read_text().splitlines()
    assert lines[0] == "digest,task,step,layer,what,value,evidence"
    assert len(lines) == 1 + 5 * 3  # growth, first pick and its share in each of five tasks
    assert all(line.startswith(f"{mixed.digest},") for line in lines[1:])
    loaded = load_run(folder / "runs" / mixed.folder)
    assert list(loaded.decisions["what"][:3]) == ["growth", "first_pick", "first_share"]
    with pytest.raises(ValueError, match="the run has no controller"):
        _ = load_run(folder / "runs" / fixed.folder).decisions
    path = folder / "runs" / mixed.folder / "decisions.csv"
    path.write_text(path.read_text().replace("random", "gradient", 1))
    with pytest.raises(CollectError, match=r"decisions\.csv: changed since the run wrote it"):
        collect([fixed, mixed], folder)
    path.unlink()
    with pytest.raises(CollectError, match=r"decisions\.csv: no such file"):
        collect([fixed, mixed], folder)
    with pytest.raises(CollectError, match=r"decisions\.csv"):
        long_table("decisions", ("task",), [mixed], folder / "runs")


def test_a_plug_in_that_is_gone_is_named(short_run: Run) -> None:
    with pytest.raises(PluginError):
        controller_facts("own_nowhere:thing")


def test_a_program_passes_a_controller_as_a_class() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(32, 1, 8, 8), torch.arange(32) % 2
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 2))
    learned = learn(
        network,
        [((images, labels), (images, labels))] * 2,
        growth="random",
        epochs=1,
        batch_size=8,
        learning_rate=0.01,
        update_every=1,
        controller=Saturation,
    )
    assert learned.run.controller is not None
    assert [row["value"] for row in learned.outcome.decisions] == ["random", "random"]


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "random"), (0.5, "random and 0.5 gradient"), (1.0, "gradient")],
)
def test_the_report_of_a_run_names_the_growth_that_a_task_begins_with(
    share: float, words: str, short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, tasks=2, growth="random", controller="saturation_mix")
    method = learner(run, digits, TASKS).method
    rows = Decision(growth="random", mixed=("gradient", share), evidence="f").rows(2, 0)
    method.plan.by_task = ["random", "random"]
    method.decisions = lambda: rows
    found = method.report().get("growth_by_task", ["random", "random"])
    assert found == ["random", words]


def test_the_report_of_a_run_names_the_shares_that_a_task_begins_with(
    short_run: Run, digits: Prepared
) -> None:
    method = learner(
        changed(short_run, tasks=2, controller="survival_bandit"), digits, TASKS
    ).method
    mix = Decision(shares={"gradient": 0.6, "random": 0.4})
    own = Decision(shares_of={"features.0.weight": {"gradient": 1.0}})
    method.plan.by_task = ["random", "random"]
    method.decisions = lambda: [*mix.rows(1, 0), *own.rows(2, 0)]
    assert method.report()["growth_by_task"] == ["0.6 gradient and 0.4 random", "shares by layer"]
