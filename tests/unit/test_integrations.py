"""What integrations share, and that nobody pays for them who does not use them."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from plain_loops import adam, network, settings

from dstcl.sparse import DynamicSparseTraining, GradualMagnitudePruning, SparseTraining
from dstcl.sparse.integrations.common import begin_attached, plain, with_total_steps

FRAMEWORKS = ("lightning", "transformers", "accelerate")


def test_importing_the_library_imports_no_framework() -> None:
    code = (
        "import sys, dstcl.sparse, dstcl.sparse.integrations, dstcl.sparse.integrations.common\n"
        "dstcl.DynamicSparseTraining\n"
        f"print(*({set(FRAMEWORKS)} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework_that_is_not_installed_is_told_in_a_line(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [m for m in sys.modules if m.startswith("dstcl.sparse.integrations.")]:
        monkeypatch.delitem(sys.modules, loaded)
    for loaded in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError) as refusal:
        __import__(f"dstcl.sparse.integrations.{name}")
    text = str(refusal.value)
    assert "needed: pip install 'dstcl[" in text
    assert "\n" not in text


def test_steps_are_those_of_the_framework_unless_given() -> None:
    def total(training: object, given: dict[str, int], expected: float) -> dict[str, int]:
        return with_total_steps(training, given, lambda: expected, "max_steps")  # type: ignore

    assert total(DynamicSparseTraining, {}, 7.0) == {"total_steps": 7}
    assert total(DynamicSparseTraining, {"total_steps": 3}, math.inf) == {"total_steps": 3}
    assert total(GradualMagnitudePruning, {}, 7) == {"total_steps": 7}
    assert total(SparseTraining, {}, math.inf) == {}
    for endless in (math.inf, -1, 0):
        with pytest.raises(ValueError, match="total_steps: unknown.*set max_steps or total_steps="):
            total(DynamicSparseTraining, {}, endless)


def test_resuming_changes_neither_weights_nor_the_random_numbers_of_others() -> None:
    model = network()
    optimizer = adam(model)
    before = [p.detach().clone() for p in model.parameters()]
    state = torch.random.get_rng_state()
    given = settings(total_steps=4)
    del given["generator"]
    dst = begin_attached(DynamicSparseTraining, model, [optimizer], given, lambda _: None)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())
    assert dst.attached


def test_an_optimizer_is_found_within_wrappers() -> None:
    class Wrapper:
        def __init__(self, optimizer: object) -> None:
            self.optimizer = optimizer

    optimizer = adam(network())
    assert plain(optimizer) is optimizer
    assert plain(Wrapper(Wrapper(optimizer).optimizer)) is optimizer


def test_an_attached_step_without_any_gradient_is_no_step() -> None:
    model = network()
    dst = DynamicSparseTraining(model, adam(model), total_steps=4, **settings())
    dst.attach()
    before = [p.detach().clone() for p in model.parameters()]
    dst.optimizer.step()
    assert dst.steps == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_an_attached_step_that_trains_only_what_is_not_masked_is_a_step() -> None:
    model = network()
    sgd = torch.optim.SGD(model.parameters(), 0.5)
    dst = DynamicSparseTraining(model, sgd, total_steps=4, **settings(grow="momentum"))
    dst.attach()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    masks = {name: mask.clone() for name, mask in dst.masks.items()}
    for _ in range(2):
        model[0].bias.grad = torch.ones(20)
        sgd.step()
    assert (dst.steps, dst.updates) == (2, 1)
    assert torch.equal(model[0].bias, before.pop("0.bias") - 1)
    assert all(torch.equal(model.get_parameter(name), value) for name, value in before.items())
    assert all(torch.equal(dst.masks[name], mask) for name, mask in masks.items())
