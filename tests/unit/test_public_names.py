"""What `dstcl` has at its top, and what ``help`` says of it."""

from __future__ import annotations

import inspect

import pytest
from torch import nn

import dstcl
import dstcl.sparse
from dstcl.sparse import SparseTraining


@pytest.mark.parametrize("name", sorted({*dstcl.CORE}))
def test_the_core_can_be_taken_from_the_top(name: str) -> None:
    assert getattr(dstcl, name) is getattr(dstcl.sparse, name)
    assert name in dir(dstcl)
    assert name in dstcl.__all__


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'dstcl' has no attribute 'DynamicSparse'"):
        dstcl.DynamicSparse  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    ("training", "own"),
    [
        ("SparseTraining", ()),
        ("DynamicSparseTraining", ("total_steps", "preset", "grow", "update_every")),
        ("GradualMagnitudePruning", ("total_steps", "update_every")),
    ],
)
def test_help_shows_the_arguments_of_a_training(training: str, own: tuple[str, ...]) -> None:
    """The metaclass would show ``*arguments, **settings``."""
    parameters = inspect.signature(getattr(dstcl, training)).parameters
    assert list(parameters)[:2] == ["model", "optimizer"]
    assert {"density", "init", "frozen", "generator", *own} <= set(parameters)


def test_help_shows_the_arguments_of_a_training_of_ones_own() -> None:
    class Mine(SparseTraining):
        def __init__(self, model: nn.Module, more: int) -> None: ...

    assert list(inspect.signature(Mine).parameters) == ["model", "more"]
