"""`learn` is the pipeline's learner for images at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import torch
from torch import Tensor, nn

from dstcl.continual import learn
from dstcl.continual.controllers import Controller
from dstcl.continual.library import PROTOCOLS
from dstcl.continual.methods import Method
from dstcl.continual.methods.finetune import FineTuning
from dstcl.continual.tasks import PreparedTasks
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.networks.build import NetworkError
from dstcl.sparse import LayerView, SparseTraining, criterion
from dstcl.study.fields import Between, Settings
from dstcl.study.load import load_file
from dstcl.study.run import Run
from helpers.runs import CPU, REPOSITORY, changed, fit

CLASSES = split_classes(10, 5, "natural")[:3]
SHORT: dict[str, Any] = {"epochs": 2, "batch_size": 10, "learning_rate": 0.01, "update_every": 2}
Pair = tuple[Tensor, Tensor]


def pair(part: int, classes: int = 2, size: int = 6) -> Pair:
    draws = torch.Generator().manual_seed(part)
    labels = torch.arange(30) % classes
    images = torch.randn(30, 1, size, size, generator=draws)
    images[range(30), 0, labels] += 2
    return images, labels


def three(classes: int = 2) -> list[tuple[Pair, Pair]]:
    return [(pair(task, classes), pair(10 + task, classes)) for task in range(3)]


def perceptron() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 40), nn.ReLU(), nn.Linear(40, 7))


def normalised(data: Prepared) -> list[tuple[Pair, Pair]]:
    tasks = PreparedTasks(data, CLASSES, CPU)
    parts = [[tasks.examples([k], part) for part in ("train", "test")] for k in range(3)]
    pairs = [[(part.normalised(part.images), part.labels) for part in both] for both in parts]
    return [(train, test) for train, test in pairs]


@pytest.mark.parametrize("method", ["dst", "ewc", "joint"])
def test_accuracies_are_those_of_the_pipeline_bit_for_bit(
    method: str, short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, tasks=3, seed=4, prune_rate=0.3, method=method)
    if method != "dst":
        run = changed(run, density=1.0, init="none", growth="none")
    learned = learn(
        "convnet", normalised(digits), method=method, density=0.3, init=run.init, growth="random",
        epochs=2, batch_size=32, learning_rate=run.training.learning_rate, seed=4, device="cpu",
        update_every=2, prune_rate=0.3, precision="float32",
    )  # fmt: skip
    outcome = fit(run, digits, CLASSES)
    assert learned.outcome.accuracy == outcome.accuracy
    assert [row["loss"] for row in learned.outcome.history] == [
        row["loss"] for row in outcome.history
    ]
    for name, weight in outcome.store.dense.items():
        assert torch.equal(weight, learned.outcome.store.dense[name])


def test_protocols_are_those_of_params_yaml() -> None:
    params = load_file(REPOSITORY / "params.yaml")
    assert {name: params.protocols[name] for name in PROTOCOLS} == PROTOCOLS


def test_a_module_is_used_with_its_weights_and_stays_as_it_is() -> None:
    network = perceptron()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learned = learn(network, three(), density=1.0, init="uniform", learning_rate=1e-30,
                    **{k: v for k, v in SHORT.items() if k != "learning_rate"})  # fmt: skip
    after = learned.network(1).state_dict()
    assert torch.equal(after["1.weight"], before["1.weight"])
    assert after["3.weight"].shape == (2, 40), "an output a class"
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_what_is_left_is_one_network_a_task() -> None:
    tasks, untrained = three(), perceptron()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    learned = learn(untrained, tasks, density=0.2, init="uniform", **SHORT)
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers are its own"
    for task, (_, (images, labels)) in enumerate(tasks):
        network = learned.network(task + 1)
        assert not network.training
        mask = learned.masks(task + 1)["1.weight"]
        assert int(mask.sum()) == round(0.2 * mask.numel())
        assert int((network.get_parameter("1.weight") != 0).sum()) == int(mask.sum())
        share = float((network(images).argmax(1) == labels).double().mean())
        assert learned.accuracy[3, task] == pytest.approx(share)
        assert learned.accuracy[task + 1, task] == learned.accuracy[3, task], "nothing forgotten"
    assert learned.accuracy.shape == (4, 3)
    assert learned.accuracy[1, 2].isnan()
    assert learned.metrics()["acc"] == pytest.approx(float(learned.accuracy[3].mean()))
    assert learned.metrics()["forgetting"] == 0
    assert {row["task"] for row in learned.capacity()} == {1, 2, 3}
    for wrong in (4, -1):
        with pytest.raises(IndexError, match=f"task {wrong}; there are 1 to 3"):
            learned.network(wrong)


def test_tasks_count_from_1_as_in_tables_and_files() -> None:
    """What is new in each mask, one after the other, is what `capacity` calls new."""
    learned = learn(perceptron(), three(), density=0.4, init="uniform", **SHORT)
    used = torch.zeros(40, 36).bool()
    rows = [row for row in learned.capacity() if row["layer"] == "1.weight"]
    assert [row["task"] for row in rows] == [1, 2, 3]
    for row in rows:
        mask = learned.masks(row["task"])["1.weight"]
        assert int((mask & ~used).sum()) == row["new"]
        used |= mask
    assert rows[0]["new"] == 576 > rows[1]["new"] > rows[2]["new"]
    for read in (learned.network, learned.masks):
        with pytest.raises(ValueError) as refused:
            read(0)
        assert str(refused.value) == "task 0; tasks count from 1, as in capacity() and in files"


@pytest.mark.parametrize("method", ["dst", "joint"])
def test_of_some_tasks_only_those_that_were_learned_are_left(method: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 7))
    tasks = [(pair(task, size=8), pair(10 + task, size=8)) for task in range(3)]
    learned = learn(network, tasks, method=method, learn=2, density=0.2, **SHORT)
    assert learned.accuracy.shape == (3, 2)
    assert learned.accuracy[2].isfinite().all()
    assert learned.network(2).get_parameter("1.weight").shape == (40, 64)
    for read in (learned.network, learned.masks):
        with pytest.raises(IndexError, match="task 3; there are 1 to 2"):
            read(3)
    with pytest.raises(ValueError, match="learn: 4; there are 3 tasks"):
        learn(network, tasks, method=method, learn=4, **SHORT)


def test_one_sparse_network_goes_on_with_counts_that_have_moved() -> None:
    """From layer to layer, so that no layer has the number that density and init ask for."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 7)
    )
    for tasks in (three()[:1], three()):
        learned = learn(
            network, tasks, method="unisolated", density=0.2, init="uniform",
            redistribute="gradient", **SHORT | {"epochs": 8},
        )  # fmt: skip
        counts = {name: int(mask.sum()) for name, mask in learned.masks(len(tasks)).items()}
        assert counts["1.weight"] != 288
        assert counts["1.weight"] + counts["3.weight"] == 288 + 240


class Pairs(torch.utils.data.Dataset[tuple[Tensor, int]]):
    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


def test_tensors_and_data_sets_are_one() -> None:
    sets = [(Pairs(*train), Pairs(*test)) for train, test in three()]
    assert torch.equal(
        learn(perceptron(), sets, **SHORT).accuracy.nan_to_num(-1),
        learn(perceptron(), three(), **SHORT).accuracy.nan_to_num(-1),
    )


# What a program has at hand


@dataclass(frozen=True, kw_only=True)
class ShareSettings(Settings):
    """Of the method below."""

    share: Annotated[float, Between(gt=0, le=1)] = 1.0
    """Of the density that is used."""


class Thinner(Method):
    """Static masks of a share of the density."""

    settings = ShareSettings
    reads = ()

    def training(self, task: Any) -> SparseTraining:
        common = self.common(task)
        common["density"] *= self.settings.share
        return SparseTraining(task.network, task.optimizer, **common)


def active(learned: Any, task: int = 1) -> int:
    return int(learned.masks(task)["1.weight"].sum())


def test_a_class_of_the_program_is_a_method_with_its_settings() -> None:
    def trained(**more: Any) -> int:
        return active(
            learn(
                perceptron(), three(), method=Thinner, density=0.4, init="uniform", **SHORT, **more
            )
        )

    assert (trained(), trained(share=0.5)) == (576, 288)
    with pytest.raises(ValueError, match=r"share: 1.5; should be less than or equal to 1"):
        trained(share=1.5)


def test_facts_are_those_of_the_class_that_is_given() -> None:
    class Still(FineTuning):
        """Two classes of one name, defined in one place."""

        joint = True

    first = Still

    class Still(FineTuning):  # type: ignore[no-redef]
        """The other one."""

    for kind, joint in ((first, True), (Still, False), (first, True)):
        run = learn(perceptron(), three(), method=kind, **SHORT).run
        assert (run.facts.joint, run.facts.dense, run.density, run.init) == (
            joint, True, 1.0, "none",
        )  # fmt: skip


def test_functions_grow_prune_and_spread() -> None:
    called = set()

    @criterion(gradient=True)
    def grown(layer: LayerView) -> Tensor:
        called.add("grow")
        assert layer.gradient is not None
        return layer.gradient.abs()

    def pruned(layer: LayerView) -> Tensor:
        called.add("prune")
        return layer.weight.abs()

    def spread(shapes: Any, density: float) -> dict[str, float]:
        called.add("init")
        return dict.fromkeys(shapes, density)

    own = learn(perceptron(), three(), growth=grown, prune=pruned, init=spread, **SHORT)
    known = learn(perceptron(), three(), growth="gradient", init="uniform", **SHORT)
    assert called == {"grow", "prune", "init"}
    for name, mask in known.masks(3).items():
        assert torch.equal(own.masks(3)[name], mask)
    assert torch.equal(own.accuracy.nan_to_num(-1), known.accuracy.nan_to_num(-1))


def test_an_optimiser_and_a_schedule_of_the_program() -> None:
    seen = []

    def falling(moment: Any, training: Any) -> float:
        seen.append(moment.step)
        return training.learning_rate / (1 + moment.step)

    learned = learn(
        perceptron(), three(), optimizer=torch.optim.RMSprop, schedule=falling,
        optimizer_settings={"alpha": 0.9}, **SHORT,
    )  # fmt: skip
    assert seen[-6:] == [0, 1, 2, 3, 4, 5]
    assert learned.outcome.history[-1]["learning_rate"] == pytest.approx(0.01 / 6)


def test_a_switch_of_the_protocol_is_a_setting() -> None:
    learned = learn(perceptron(), three(), head="shared", logits="all", density=0.3, **SHORT)
    assert learned.network(1).get_parameter("3.weight").shape == (6, 40)
    published = learn(perceptron(), three(), protocol="published", augment="none", **SHORT)
    assert published.run.switches == PROTOCOLS["published"]


class Looking(Controller):
    needs_validation = True


@pytest.fixture(scope="module")
def tasks() -> list[tuple[Pair, Pair]]:
    return three()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"growht": "random"}, "growht: no setting; allowed: .*update_every"),
        ({"epochs": 0}, "training.epochs: 0; should be greater than or equal to 1"),
        ({"prune_rate": 2.0}, "topology.prune_rate: 2.0; should be less"),
        ({"method": "dts"}, "'dts'; allowed: dst, static"),
        ({"method": int}, "method: <class 'int'>; a name, or a subclass of Method"),
        ({"protocol": "corect"}, "protocol: 'corect'; allowed: corrected, published"),
        ({"growth": "gradeint"}, "unknown grow 'gradeint'"),
        ({"checkpoint": "best_validation_accuracy"}, "checkpoint: .* needs held-out images"),
        ({"validation": 0.1}, "validation: no setting"),
        (
            {"controller": "density_by_gain"},
            "controller: 'density_by_gain' needs held-out images; none here",
        ),
        (
            {"controller": {"name": "mine", "from": "density_by_gain", "kappa": 3.0}},
            "controller: 'mine' needs held-out images",
        ),
        ({"controller": Looking}, "controller: '.*Looking' needs held-out images"),
        ({"controller": "density_by_gian"}, "topology.controller: .*allowed: fixed, saturation"),
        ({"growth": lambda layer: None}, "grow: criterion .* returned a NoneType"),
        ({"head_layer": "fc"}, "networks: 'Sequential': head 'fc' is not there"),
        ({"density": 0.0}, "density"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    changes: dict[str, Any], message: str, tasks: list[tuple[Pair, Pair]]
) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        learn(perceptron(), tasks, **(SHORT | changes))
    assert "\n" not in str(refusal.value)


def test_a_module_that_does_not_take_the_images_is_refused() -> None:
    tasks = [(pair(0, size=5), pair(1, size=5))]
    with pytest.raises(NetworkError, match="does not take images of 1 channel and 5x5 pixels"):
        learn(perceptron(), tasks, **SHORT)
