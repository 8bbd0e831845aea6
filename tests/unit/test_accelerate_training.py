"""Sparse training of what Accelerate has prepared is that of a plain loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_loops import BATCH, adam, assert_same, examples, loss_of, network, settings, trained
from torch import nn

pytest.importorskip("accelerate", reason="accelerate is not installed")

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from dstcl.sparse import SparseTraining
from dstcl.sparse.integrations import accelerate as ours
from dstcl.sparse.integrations.accelerate import sparse_training


@pytest.fixture(autouse=True)
def _no_state_of_other_tests() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def loop(
    accelerator: Any,
    dst: SparseTraining,
    model: nn.Module,
    optimizer: Any,
    batches: range,
    clip: float | None = None,
    of: int = 8,
) -> None:
    inputs, labels = examples(of)
    for index in batches:
        part = slice(index % of * BATCH, (index % of + 1) * BATCH)
        with accelerator.accumulate(model):
            loss = loss_of(model, inputs[part], labels[part])
            accelerator.backward(loss)
            if clip is not None and accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()


def made(accelerator: Any, steps: int, **more: Any) -> tuple[SparseTraining, nn.Module, Any]:
    bare = network()
    model, optimizer = accelerator.prepare(bare, adam(bare))
    dst = sparse_training(accelerator, model, optimizer, total_steps=steps, **settings(**more))
    return dst, model, optimizer


@pytest.mark.parametrize(
    ("accumulate", "clip", "precision"),
    [(1, None, "no"), (2, None, "no"), (1, 0.1, "no"), (2, 0.1, "no"), (1, 0.1, "bf16")],
)
def test_it_is_the_plain_loop_bit_for_bit(
    accumulate: int, clip: float | None, precision: str
) -> None:
    expected, _ = trained(8, accumulate=accumulate, clip=clip, autocast=precision == "bf16")
    accelerator = Accelerator(
        cpu=True, gradient_accumulation_steps=accumulate, mixed_precision=precision
    )
    dst, model, optimizer = made(accelerator, 8 // accumulate)
    loop(accelerator, dst, model, optimizer, range(8), clip)
    assert dst.steps == 8 // accumulate
    assert_same(dst, expected)


def test_clipping_of_every_batch_that_is_accumulated_does_not_hide_gradients_from_growth() -> None:
    expected, _ = trained(8, accumulate=2)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    dst, model, optimizer = made(accelerator, 4)
    inputs, labels = examples(8)
    for index in range(8):
        part = slice(index * BATCH, (index + 1) * BATCH)
        with accelerator.accumulate(model):
            accelerator.backward(loss_of(model, inputs[part], labels[part]))
            accelerator.clip_grad_norm_(model.parameters(), 1e9)  # not only of the last
            optimizer.step()
            optimizer.zero_grad()
    assert_same(dst, expected)


@pytest.mark.parametrize("grow", ["gradient", "momentum"])
@pytest.mark.parametrize("zeroed", ["optimizer", "in place", "model", "never"])
def test_a_step_that_the_loop_skips_leaves_no_trace(grow: str, zeroed: str) -> None:
    """Batches 1 and 4 have a norm that is not finite; 1 would have been the first update."""

    def fit(skip: bool) -> tuple[SparseTraining, list[int]]:
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = Accelerator(cpu=True)
        dst, model, optimizer = made(accelerator, 8, grow=grow)
        inputs, labels = examples(8)
        counted = []
        for index in range(8):
            if skip and index in (1, 4):
                continue
            part = slice(index * BATCH, (index + 1) * BATCH)
            loss = loss_of(model, inputs[part], labels[part])
            accelerator.backward(loss * (math.nan if index in (1, 4) else 1))
            accelerator.clip_grad_norm_(model.parameters(), 0.1)
            norm = accelerator.clip_grad_norm_(model.parameters(), 0.1)  # clips twice
            if norm.isfinite():
                optimizer.step()
            if zeroed == "model" or (zeroed == "never" and norm.isfinite()):
                model.zero_grad()
            elif zeroed == "never":
                for parameter in model.parameters():
                    parameter.grad.zero_()
            else:
                optimizer.zero_grad(set_to_none=zeroed == "optimizer")
                counted.append(dst.steps)
        return dst, counted

    (skipped, counted), (plain, _) = fit(False), fit(True)
    assert skipped.steps == 6
    assert counted in ([], [1, 1, 2, 3, 3, 4, 5, 6])
    assert_same(skipped, plain)


@pytest.mark.parametrize("steps_last", [False, True])
def test_clipping_one_of_two_models_does_not_hide_the_gradients_of_the_other(
    steps_last: bool,
) -> None:
    """As where a discriminator takes turns with its generator, or both step after both losses."""
    accelerator = Accelerator(cpu=True)
    parts = [made(accelerator, 8) for _ in range(2)]
    inputs, labels = examples(8)
    for index in range(8):
        part = slice(index * BATCH, (index + 1) * BATCH)
        for _, model, optimizer in parts:
            accelerator.backward(loss_of(model, inputs[part], labels[part]))
            accelerator.clip_grad_norm_(model.parameters(), 0.1)
            if not steps_last:
                optimizer.step()
                optimizer.zero_grad()
        for _, _, optimizer in parts if steps_last else ():
            optimizer.step()
            optimizer.zero_grad()
    expected, _ = trained(8, clip=0.1)
    for dst, *_ in parts:
        assert_same(dst, expected)


def test_a_step_that_the_scaler_skips_is_no_step() -> None:
    accelerator = Accelerator(cpu=True)
    # Accelerate makes a scaler on GPUs alone; this is what it has there.
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**22, growth_interval=1000)
    accelerator.native_amp = True
    accelerator.state._mixed_precision = "fp16"
    dst, model, optimizer = made(accelerator, 20, grow="momentum")
    skipped = 0
    inputs, labels = examples(8)
    for index in range(20):
        part = slice(index % 8 * BATCH, (index % 8 + 1) * BATCH)
        accelerator.backward(loss_of(model, inputs[part], labels[part]))
        accelerator.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        skipped += optimizer.step_was_skipped
        optimizer.zero_grad()
    assert 0 < skipped < 20
    assert dst.steps == 20 - skipped
    assert all(w.isfinite().all() and not w[~dst.masks[n]].any() for n, w in dst.weights.items())
    assert all(moment.isfinite().all() for moment in dst._moments.first)  # type: ignore[attr-defined]


def test_save_state_and_load_state_keep_the_training(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    whole, model, optimizer = made(accelerator, 16)
    loop(accelerator, whole, model, optimizer, range(7), 0.1)
    accelerator.save_state(str(tmp_path))
    loop(accelerator, whole, model, optimizer, range(7, 16), 0.1)

    other = Accelerator(cpu=True)
    resumed, model, optimizer = made(other, 16)
    loop(other, resumed, model, optimizer, range(3), 0.1)
    other.load_state(str(tmp_path))
    loop(other, resumed, model, optimizer, range(7, 16), 0.1)
    assert_same(resumed, whole)


def test_a_state_that_is_loaded_too_early_is_refused(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    made(accelerator, 4)
    accelerator.save_state(str(tmp_path))
    other = Accelerator(cpu=True)
    bare = network()
    other.prepare(bare, adam(bare))
    with pytest.raises(RuntimeError, match="does not match the number of registered objects"):
        other.load_state(str(tmp_path))


def test_numbers_go_to_the_trackers_as_the_page_says(tmp_path: Path) -> None:
    from accelerate.tracking import GeneralTracker

    class Spy(GeneralTracker):
        name = "spy"
        requires_logging_directory = False

        def __init__(self) -> None:
            super().__init__()
            self.entries: list[Any] = []

        @property
        def tracker(self) -> Any:
            return self

        def store_init_configuration(self, values: Any) -> None: ...

        def log(self, values: Any, step: Any = None, **_: Any) -> None:
            self.entries.append((step, values))

    spy = Spy()
    accelerator = Accelerator(cpu=True, log_with=spy)
    accelerator.init_trackers("a project")
    dst, model, optimizer = made(accelerator, 8)
    loop(accelerator, dst, model, optimizer, range(4))
    accelerator.log(dst.log(), step=dst.steps)
    [(step, values)] = spy.entries
    assert step == 4
    assert values["density"] == pytest.approx(0.3, abs=0.01)


def test_a_compiled_model_is_trained_under_its_own_names() -> None:
    from accelerate.utils import TorchDynamoPlugin

    expected, _ = trained(4)
    accelerator = Accelerator(cpu=True, dynamo_plugin=TorchDynamoPlugin(backend="eager"))
    dst, model, optimizer = made(accelerator, 4)
    assert set(dst.masks) == {"0.weight", "2.weight", "4.weight"}
    loop(accelerator, dst, model, optimizer, range(4), of=4)
    assert_same(dst, expected)


def test_what_it_cannot_handle_is_refused_in_a_line() -> None:
    accelerator = Accelerator(cpu=True)
    model = network()
    with pytest.raises(ValueError, match=r"optimizer: not prepared; call accelerator.prepare"):
        sparse_training(accelerator, model, adam(model), density=0.1, total_steps=5)

    class Sharded:
        distributed_type = "FSDP"
        scaler = None

    with pytest.raises(ValueError, match="accelerator: FSDP may shard parameters"):
        ours.refuse(Sharded(), 1)

    class Scaled:
        distributed_type = "NO"
        scaler = torch.amp.GradScaler("cpu")

    with pytest.raises(ValueError, match="mixed_precision: a gradient scaler"):
        ours.refuse(Scaled(), 2)
