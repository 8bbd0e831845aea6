"""Baselines: what each trains and keeps, by hand-computed cases and on real digits."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dstcl.continual import Outcome, learner_of
from dstcl.continual.capacity import capacity_rows, overlap_rows, used_fraction
from dstcl.continual.methods.ewc import EwcMemory, EwcTraining, diagonal_fisher
from dstcl.continual.methods.packnet import PackNetTraining
from dstcl.continual.scoring import JointOutputs, Outputs, task_outputs
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.plugins import load
from dstcl.sparse import PackedMasks, pack_masks
from dstcl.study.fields import defaults
from dstcl.study.methods import BUILT_IN, LITERALS, method_facts
from dstcl.study.run import Run
from helpers.runs import changed

TASKS = split_classes(10, 5, "natural")[:3]
CPU = torch.device("cpu")
DENSE = {"density": 1.0, "init": "none", "growth": "none"}


def as_method(run: Run, method: str, **changes: Any) -> Run:
    settings: dict[str, Any] = {} if method_facts(method).grows else {"growth": "none"}
    settings |= DENSE if method_facts(method).dense else {}
    return changed(run, method=method, **(settings | changes))


def fit(run: Run, digits: Prepared) -> Outcome:
    return learner_of(changed(run, tasks=3), digits, TASKS, CPU).fit()


def matrix(outcome: Outcome) -> dict[tuple[int, int], float]:
    return {(r["after_task"], r["task"]): r["accuracy"] for r in outcome.accuracy}


def layer(weights: list[float]) -> nn.Linear:
    linear = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([weights]))
    return linear


def still(model: nn.Module) -> torch.optim.Optimizer:
    """An optimiser that moves nothing."""
    return torch.optim.SGD(model.parameters(), lr=0.0)


def take_step(model: nn.Module, training: Any) -> None:
    training.optimizer.zero_grad()
    model(torch.ones(1, model.weight.shape[1])).sum().backward()
    training.step()


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_read_of_a_method_is_what_its_class_says(name: str) -> None:
    """Oracle for reading facts from the text of a file: the imported class."""
    facts, kind = method_facts(name), load(BUILT_IN[name])
    for fact in LITERALS:
        assert getattr(facts, fact) == getattr(kind, fact), fact
    assert (facts.settings is None) == (kind.settings is None)
    if facts.settings is not None:
        assert defaults(facts.settings) == defaults(kind.settings)


def test_every_method_has_a_file_of_its_own() -> None:
    modules = [source.partition(":")[0] for source in BUILT_IN.values()]
    assert len(set(modules)) == len(modules)


@pytest.mark.parametrize("method", ["static", "gradual", "packnet", "separate"])
def test_methods_that_keep_tasks_forget_nothing(
    method: str, short_run: Run, digits: Prepared
) -> None:
    accuracy = matrix(fit(as_method(short_run, method), digits))
    for (after, task), value in accuracy.items():
        if after >= task:
            assert value == accuracy[task, task]


def test_fine_tuning_forgets_and_ewc_forgets_less(short_run: Run, digits: Prepared) -> None:
    longer = changed(short_run, epochs=8)
    free = matrix(fit(as_method(longer, "finetune"), digits))
    held = matrix(fit(as_method(longer, "ewc", strength=1e3), digits))

    def forgotten(accuracy: dict[tuple[int, int], float]) -> float:
        return sum(accuracy[task, task] - accuracy[3, task] for task in (1, 2))

    assert forgotten(free) > 0.2
    assert forgotten(held) < forgotten(free) / 2


def test_ewc_without_strength_is_fine_tuning(short_run: Run, digits: Prepared) -> None:
    free = fit(as_method(short_run, "finetune"), digits)
    held = fit(as_method(short_run, "ewc", strength=0.0), digits)
    assert free.accuracy == held.accuracy
    assert free.history == held.history


def test_joint_training_sees_every_image_once_an_epoch_and_has_only_a_last_row(
    short_run: Run, digits: Prepared
) -> None:
    joint = fit(as_method(changed(short_run, epochs=8), "joint"), digits)
    sequence = fit(as_method(changed(short_run, epochs=8), "separate"), digits)
    assert joint.effort.images == sequence.effort.images
    assert set(matrix(joint)) == {(0, 1), (0, 2), (0, 3), (3, 1), (3, 2), (3, 3)}
    assert min(value for (after, _), value in matrix(joint).items() if after == 3) > 0.8
    assert len(joint.history) == 8


def test_separate_networks_start_from_the_same_weights_and_share_none(
    short_run: Run, digits: Prepared
) -> None:
    """The first task of every dense method is the same training."""
    store = fit(as_method(short_run, "separate"), digits)
    tuned = fit(as_method(short_run, "finetune"), digits)
    assert matrix(store)[1, 1] == matrix(tuned)[1, 1]
    assert store.store.used_fraction() == 3
    assert {row["shared"] for row in store.store.capacity()} == {0}
    first, second = (subnet.local["features.0.weight"] for subnet in store.store.subnets[:2])
    assert not torch.equal(first, second)


@pytest.mark.parametrize("method", ["finetune", "ewc", "joint"])
def test_dense_methods_use_one_whole_network(method: str, short_run: Run, digits: Prepared) -> None:
    assert fit(as_method(short_run, method), digits).store.used_fraction() == 1


def test_packnet_adds_its_density_until_nothing_is_left(short_run: Run, digits: Prepared) -> None:
    store = fit(as_method(short_run, "packnet", density=0.4, init="uniform"), digits).store
    for name, size in ((name, value.numel()) for name, value in store.dense.items()):
        rows = [row for row in store.capacity() if row["layer"] == name]
        wanted = int(0.4 * size + 0.5)
        assert [row["new"] for row in rows] == [wanted, wanted, size - 2 * wanted]
        assert rows[2]["free"] == 0
        assert [row["shared"] for row in rows] == [0, wanted, 2 * wanted]


def test_packnet_keeps_the_largest_free_weights_and_all_frozen_ones() -> None:
    model = layer([0.1, -5.0, 3.0, -4.0, 0.2, 1.0])
    frozen = {"weight": torch.tensor([[True, False, False, False, True, False]])}
    training = PackNetTraining(
        model, still(model), total_steps=3, density=1 / 3, init="uniform", frozen=frozen
    )
    take_step(model, training)
    assert training.masks["weight"].all()
    assert not training.settled()
    take_step(model, training)
    assert training.settled()
    assert training.masks["weight"].tolist() == [[True, True, False, True, True, False]]
    assert model.weight.tolist() == [pytest.approx([0.1, -5.0, 0.0, -4.0, 0.2, 0.0])]


def test_published_keeps_only_epochs_after_the_last_pruning(
    short_run: Run, digits: Prepared
) -> None:
    """The best epoch by training accuracy is often an early one, with every weight active."""
    run = as_method(short_run, "packnet", epochs=6, checkpoint="best_training_accuracy")
    store = fit(run, digits).store
    first = [row for row in store.capacity() if row["task"] == 1]
    assert sum(int(r["active"]) for r in first) < 0.5 * sum(int(r["size"]) for r in first)


def test_the_gradient_of_the_ewc_penalty_by_hand() -> None:
    """2 / 2 * [(w - 1)^2 + 3 (w - 2)^2] and 2 / 2 * 2 (v - 1)^2 at w = v = 0."""
    memory = EwcMemory(strength=2.0)
    memory.add({"w": torch.tensor([1.0, 1.0])}, {"w": torch.tensor([1.0, 2.0])})
    memory.add({"w": torch.tensor([2.0, 5.0])}, {"w": torch.tensor([3.0, 0.0])})
    assert memory.gradient("w", torch.zeros(2)).tolist() == [-14.0, -4.0]


def test_ewc_pulls_a_weight_back_to_where_it_was() -> None:
    memory = EwcMemory(strength=10.0)
    memory.add({"weight": torch.tensor([[1.0, 1.0]])}, {"weight": torch.tensor([[1.0, 0.0]])})
    model = layer([3.0, 3.0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    training = EwcTraining(model, optimizer, memory=memory, density=1.0, init="uniform")
    for _ in range(60):
        optimizer.zero_grad()
        (0.0 * model(torch.ones(1, 2))).sum().backward()
        training.step()
    assert model.weight.tolist() == [pytest.approx([1.0, 3.0])]


@pytest.mark.parametrize("batch", [1, 50])
def test_fisher_of_a_linear_classifier_is_the_closed_form(batch: int) -> None:
    """F[c, d] = mean x[d]^2 p[c] (1 - p[c]); batches of any size estimate the same."""
    draws = torch.Generator().manual_seed(3)
    network = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.5, -0.2], [0.1, 0.4], [-0.3, 0.2]]))
    images = torch.tensor([[1.0, 2.0], [-1.0, 0.5]]).repeat(2000 * batch, 1)
    chances = network(images).softmax(1).detach()
    expected = torch.einsum("nc,nd->cd", chances * (1 - chances), images**2) / len(images)
    batches = [(part, torch.zeros(len(part))) for part in images.split(batch)]
    fisher = diagonal_fisher(
        network, {"weight": network.weight}, batches, Outputs(0, 3, False), draws
    )["weight"]
    assert torch.allclose(fisher, expected, rtol=0.1)


def test_joint_scores_compare_only_classes_of_the_own_task() -> None:
    logits = torch.tensor([[1.0, 0.0, 9.0, 3.0], [5.0, 0.0, 1.0, 2.0]])
    labels = torch.tensor([0, 3])
    own, everything = (JointOutputs([2, 2], among_all, CPU) for among_all in (False, True))
    assert own.hits(logits, labels).tolist() == [True, True]
    assert everything.hits(logits, labels).tolist() == [False, False]
    by_hand = (torch.tensor([1.0, 1.0]).exp() / (torch.tensor([1.0, 1.0]).exp() + 1)).log().mean()
    assert float(own.loss(logits, labels)) == pytest.approx(-float(by_hand))


def test_joint_loss_has_no_gradient_for_other_tasks() -> None:
    logits = torch.randn(4, 6, requires_grad=True)
    JointOutputs([2, 3, 1], False, CPU).loss(logits, torch.tensor([0, 1, 4, 2])).backward()
    gradient: Tensor = logits.grad  # type: ignore[assignment]
    assert gradient.isfinite().all()
    assert not gradient[:2, 2:].any()
    assert not gradient[2:, :2].any()
    assert gradient[:2, :2].all()


def test_outputs_of_tasks_of_different_sizes() -> None:
    own = task_outputs([3, 2, 4], own_heads=True, among_all=False)
    shared = task_outputs([3, 2, 4], own_heads=False, among_all=True)
    assert [(o.start, o.stop) for o in own] == [(0, 3), (0, 2), (0, 4)]
    assert [(o.start, o.stop) for o in shared] == [(0, 3), (3, 5), (5, 9)]


@pytest.mark.parametrize("head", ["task", "shared"])
def test_tasks_of_different_sizes_are_learned(head: str, short_run: Run, digits: Prepared) -> None:
    tasks = [[0, 1, 2, 3], [4, 5], [6, 7, 8]]
    run = changed(short_run, tasks=3, head=head, epochs=8, density=0.6)
    outcome = learner_of(run, digits, tasks, CPU).fit()
    chance = {1: 1 / 4, 2: 1 / 2, 3: 1 / 3}
    for task, guess in chance.items():
        assert matrix(outcome)[3, task] > guess + 0.1


def masks(*rows: list[int]) -> list[dict[str, Tensor]]:
    return [{"a": torch.tensor(row).bool()} for row in rows]


def test_capacity_and_overlap_by_hand() -> None:
    tasks = masks([1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [1, 1, 1, 0, 0])
    rows = capacity_rows(tasks)
    assert [(r["active"], r["new"], r["shared"], r["free"]) for r in rows] == [
        (2, 2, 0, 3),
        (2, 1, 1, 2),
        (3, 0, 3, 2),
    ]
    assert used_fraction(tasks) == pytest.approx(3 / 5)
    assert overlap_rows(tasks) == [
        {"task": 2, "other": 1, "shared": 1, "jaccard": pytest.approx(1 / 3)},
        {"task": 3, "other": 1, "shared": 2, "jaccard": pytest.approx(2 / 3)},
        {"task": 3, "other": 2, "shared": 2, "jaccard": pytest.approx(2 / 3)},
    ]


def test_overlap_adds_up_over_layers_packed_or_not() -> None:
    """An independent oracle: Python sets of places."""
    draws = torch.Generator().manual_seed(5)
    shapes = {"a": (3, 7), "b": (11,), "c": (2, 2, 3)}
    tasks = [{n: torch.rand(s, generator=draws) < 0.4 for n, s in shapes.items()} for _ in range(4)]
    used = [
        {(n, i) for n, mask in task.items() for i, on in enumerate(mask.flatten().tolist()) if on}
        for task in tasks
    ]
    expected = [
        (i + 1, j + 1, len(used[i] & used[j]), len(used[i] & used[j]) / len(used[i] | used[j]))
        for i in range(4)
        for j in range(i)
    ]
    packed = [PackedMasks(pack_masks(task), shapes, CPU) for task in tasks]
    for given in (tasks, packed):
        assert [tuple(row.values()) for row in overlap_rows(given)] == expected
        assert used_fraction(given) == len(set().union(*used)) / 44
        assert capacity_rows(given) == capacity_rows(tasks)


def test_overlap_of_empty_masks_is_zero() -> None:
    assert overlap_rows(masks([0, 0], [0, 0]))[0]["jaccard"] == 0
