"""Optimisers without torch's compiler are torch's optimisers."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, Optimizer

from dstcl.continual.optimizers import uncompiled

KINDS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (Adam, {"lr": 0.01, "weight_decay": 0.1, "fused": True}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "fused": True}),
]


def trained(kind: Any, options: dict[str, Any]) -> tuple[torch.Tensor, Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    optimizer = kind(model.parameters(), **options)
    for _ in range(4):
        optimizer.zero_grad()
        model(torch.randn(7, 5)).square().sum().backward()
        optimizer.step()
    return model.weight.detach(), optimizer


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_steps_are_torchs_bit_for_bit(kind: type[Optimizer], options: dict[str, Any]) -> None:
    expected, theirs = trained(kind, options)
    actual, ours = trained(uncompiled(kind), options)
    assert torch.equal(expected, actual)
    assert isinstance(ours, kind)
    assert ours.defaults == theirs.defaults


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_states_can_be_exchanged_with_torchs(
    kind: type[Optimizer], options: dict[str, Any]
) -> None:
    _, theirs = trained(kind, options)
    _, ours = trained(uncompiled(kind), options)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    for one, two in zip(ours.state.values(), theirs.state.values(), strict=True):
        for name, value in one.items():
            same = torch.equal(value, two[name]) if torch.is_tensor(value) else value == two[name]
            assert same, name


def test_a_step_needs_no_compiler() -> None:
    """The reason for all of it; where this fails, training is right but starts slowly."""
    program = (
        "import sys, torch; from dstcl.continual.optimizers import uncompiled\n"
        "w = torch.nn.Parameter(torch.ones(2)); o = uncompiled(torch.optim.Adam)([w])\n"
        "w.sum().backward(); o.step(); o.load_state_dict(o.state_dict())\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
