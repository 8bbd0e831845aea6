"""A step that is recorded and replayed trains what the plain one trains, to the last bit."""

from typing import Any

import pytest
import torch
from tape import Tape, TapeRecorder
from torch import Tensor

from dstcl.continual import learner_of, step
from dstcl.continual.learner import Outcome
from dstcl.continual.step import WARM_UP, CudaRecorder, StepGraph
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.study.load import load_file, runs
from dstcl.study.run import Run
from helpers.runs import changed

CPU = torch.device("cpu")
TASKS = split_classes(10, 5, "natural")[:2]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


@pytest.fixture
def run(short_run: Run) -> Run:
    """Learning rates that float32 holds exactly, as a step graph reads them from a tensor."""
    return changed(
        short_run,
        tasks=2,
        epochs=3,
        batch_size=16,
        update_every=5,
        learning_rate=2**-8,
        lr_factor=0.5,
        precision="float32",
    )


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[TapeRecorder]:
    """A CPU that can record; every recorder that a run made."""
    monkeypatch.setattr(TapeRecorder, "made", [])
    monkeypatch.setattr(step, "CudaRecorder", TapeRecorder)
    monkeypatch.setattr(step, "training_forward", lambda network, *engine: network)
    return TapeRecorder.made


def fit(run: Run, digits: Prepared, device: torch.device = CPU, **settings: Any) -> Outcome:
    return learner_of(run, digits, TASKS, device, **settings).fit()


def assert_same(mine: Outcome, theirs: Outcome) -> None:
    assert mine.accuracy == theirs.accuracy
    assert mine.history == theirs.history
    assert mine.effort.images == theirs.effort.images
    for name, dense in theirs.store.dense.items():
        assert torch.equal(mine.store.dense[name], dense), name
    for ours, others in zip(mine.store.subnets, theirs.store.subnets, strict=True):
        assert all(torch.equal(ours.masks[name], others.masks[name]) for name in others.masks)


def published() -> dict[str, Any]:
    """Every switch of the protocol that differs from the other's."""
    first = {run.protocol: vars(run.switches) for run in reversed(runs(load_file()))}
    ours = first["corrected"]
    return {name: value for name, value in first["published"].items() if value != ours[name]}


PUBLISHED = published()


@pytest.mark.parametrize(
    "settings",
    [
        {"growth": "random"},
        {"growth": "gradient"},
        {"growth": "momentum"},
        {"growth": "unfired", "optimizer": "sgd"},
        {"growth": "momentum", "optimizer": "sgd", "weight_decay": 2**-10},
        {"growth": "gradient", "redistribute": "momentum"},
        {"growth": "gradient", **PUBLISHED},
        {"growth": "momentum", **PUBLISHED},
        {"method": "static"},
        {"method": "gradual"},
        {"method": "packnet"},
        {"method": "finetune"},
        {"method": "ewc"},
        {"method": "joint"},
        {"method": "separate"},
        {"augment": "crop-flip", "precision": "bfloat16"},
    ],
    ids=lambda settings: " ".join(f"{value}" for value in settings.values()),
)
def test_nothing_but_speed_changes(
    settings: dict[str, Any], run: Run, digits: Prepared, recorders: list[TapeRecorder]
) -> None:
    run = changed(run, **settings)
    plain = fit(run, digits)
    assert not recorders
    graphed = fit(changed(run, compile="step-graph"), digits)
    assert all(recorder.tapes == 1 and recorder.replays > 5 for recorder in recorders)
    assert_same(graphed, plain)


def test_steps_that_change_masks_small_batches_and_the_first_ones_are_not_recorded(
    run: Run, digits: Prepared, recorders: list[TapeRecorder]
) -> None:
    learner = learner_of(changed(run, compile="step-graph"), digits, TASKS, CPU)
    learner.fit()
    for recorder, classes in zip(recorders, TASKS, strict=True):
        images = int(
            ((digits.labels.unsqueeze(1) == torch.tensor(classes)).any(1) & ~digits.is_test).sum()
        )
        whole = images // run.training.batch_size
        assert images % run.training.batch_size, "an epoch ends with a smaller batch"
        steps = run.training.epochs * (whole + 1)
        due = [s for s in range(5, int(run.switches.stop_at * steps) + 1, 5)]
        small = [(whole + 1) * epoch for epoch in range(1, run.training.epochs + 1)]
        as_they_are = len({*due, *small})
        assert recorder.aside_calls == WARM_UP
        assert recorder.replays == steps - as_they_are - WARM_UP


@pytest.mark.parametrize("stop_after", [2, 9, 16, 40])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    stop_after: int, run: Run, digits: Prepared, recorders: list[TapeRecorder]
) -> None:
    class StoppedError(Exception):
        pass

    run = changed(run, compile="step-graph", growth="momentum")
    states: list[dict[str, Any]] = []
    taken = 0

    def pause(state: Any, task_end: bool) -> None:
        nonlocal taken
        taken += 1
        if taken == stop_after:
            states.append(state())
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(run, digits, pause=pause)
    resumed = learner_of(run, digits, TASKS, CPU)
    resumed.load_state_dict(states[0])
    # Another number of steps before recording must not matter either.
    assert_same(resumed.fit(), fit(run, digits))


def test_a_learning_rate_that_is_no_tensor_would_be_noticed(
    run: Run, digits: Prepared, recorders: list[TapeRecorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the tape is a test at all: what a graph would take for a constant, it does too."""
    monkeypatch.setattr("dstcl.continual.task_training.STEP_GRAPHS", ())
    plain = fit(run, digits)
    graphed = fit(changed(run, compile="step-graph"), digits)
    assert graphed.history[0] == plain.history[0]
    assert graphed.history[2]["loss"] != plain.history[2]["loss"]


def test_what_waits_for_the_device_cannot_be_recorded() -> None:
    total = torch.ones(3)
    with pytest.raises(RuntimeError, match="_local_scalar_dense: not permitted"), Tape():
        float(total.sum())


@GPU
@pytest.mark.parametrize("compiled", ["step-graph", "compiled-step-graph"])
@pytest.mark.parametrize("settings", [{"growth": "gradient"}, {"growth": "momentum", **PUBLISHED}])
def test_on_a_gpu_the_step_graph_learns_the_same(
    compiled: str, settings: dict[str, Any], run: Run, digits: Prepared
) -> None:
    run = changed(run, **settings)
    device = torch.device("cuda")
    plain, graphed = (fit(changed(run, compile=how), digits, device) for how in ("off", compiled))
    for mine, theirs in zip(graphed.history, plain.history, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=0.1)
        assert mine["density"] == pytest.approx(theirs["density"], abs=0.02)


@GPU
def test_on_a_gpu_a_recorded_step_is_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without rounding in between: small whole numbers."""
    device = torch.device("cuda")
    weight = torch.zeros(4, device=device)

    class Fixed:
        steps = 0

        def changes_masks(self, step: int) -> bool:
            return False

        def count_replayed_step(self) -> None:
            self.steps += 1

    def learn(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        fixed.steps += 1
        weight.add_(images.sum(0))
        return weight.sum(), labels.sum()

    fixed = Fixed()
    graph = StepGraph(learn, fixed, 2, CudaRecorder(device))  # type: ignore[arg-type]
    seen = []
    for number in range(8):
        images = torch.full((2, 4), float(number), device=device)
        loss, hits = graph(images, torch.tensor([number, 1], device=device))
        seen.append((float(loss), int(hits)))
    assert seen == [(4.0 * n * (n + 1), n + 1) for n in range(8)]
    assert fixed.steps == 8
