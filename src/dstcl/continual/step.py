"""One training step, and the same as a CUDA graph: recorded once, then replayed without Python."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from torch import Tensor, nn

from dstcl.continual.precision import STEP_GRAPHS, training_forward
from dstcl.continual.scoring import Scoring
from dstcl.sparse import SparseTraining
from dstcl.study.settings import Engine

WARM_UP = 3
"""Steps before recording, in which torch and its libraries allocate what they keep."""

Learned = tuple[Tensor, Tensor]
"""The loss summed over a batch and the hits in it, two scalars on the device."""

Step = Callable[[Tensor, Tensor], Learned]
"""Learns from images (B, C, S, S) and labels (B,)."""


class Recorder(Protocol):
    """What `StepGraph` asks of a device."""

    def aside(self, work: Callable[[], Learned]) -> Learned:
        """Do the work where it leaves nothing that recording would trip over."""

    def record(self, work: Callable[[], Learned]) -> tuple[Callable[[], None], Learned]:
        """Do no work, but remember its operations: a function that does them on the same tensors,
        and the tensors that will then hold the result."""


def training_step(
    engine: Engine,
    batch_size: int,
    network: nn.Module,
    scoring: Scoring,
    sparse: SparseTraining,
    device: torch.device,
) -> Step:
    """The step that the engine settings ask for.

    Raises:
        ValueError: the device cannot do it.
    """
    forward = training_forward(network, engine, batch_size, device)

    def step(images: Tensor, labels: Tensor) -> Learned:
        logits = forward(images)
        loss = scoring.loss(logits, labels)
        sparse.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        sparse.step()
        return loss.detach() * len(labels), scoring.hits(logits.detach(), labels).sum()

    if engine.compile in STEP_GRAPHS:
        return StepGraph(step, sparse, batch_size, CudaRecorder(device))
    return step


class StepGraph:
    """A step of which forward and backward pass, masking and optimiser are one CUDA graph.

    Masks, stored values and optimiser state are changed in place by topology updates, so the graph
    stays valid for a whole task. Steps that change masks and batches that are smaller than the
    others are made as they are, and so are the first ones, of which the libraries remember what
    they need. Every batch is learned from exactly once.

    Args:
        step: makes a step without waiting for the device, so with a ``capturable`` optimiser, whose
            learning rate is a tensor.
        sparse: whose steps these are.
        batch_size: of a whole batch.
        recorder: of the device.
    """

    def __init__(
        self, step: Step, sparse: SparseTraining, batch_size: int, recorder: Recorder
    ) -> None:
        self._step, self._sparse = step, sparse
        self._batch_size, self._recorder = batch_size, recorder
        self._warm = 0
        self._replay: Callable[[], None] | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> Learned:
        """Learn from a batch; what is returned holds until the next call."""
        sparse = self._sparse
        if len(labels) < self._batch_size or sparse.changes_masks(sparse.steps + 1):
            return self._step(images, labels)
        if self._warm < WARM_UP:
            self._warm += 1
            return self._recorder.aside(lambda: self._step(images, labels))
        if self._replay is None:
            # Recording runs the step's Python code, so it is counted there.
            self._record(images, labels)
        else:
            self._images.copy_(images)
            self._labels.copy_(labels)
            sparse.count_replayed_step()
        assert self._replay is not None
        self._replay()
        return self._learned

    def _record(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images.clone(), labels.clone()
        self._replay, self._learned = self._recorder.record(
            lambda: self._step(self._images, self._labels)
        )


class CudaRecorder:
    """Recording on an NVIDIA GPU, after torch's notes on whole-network capture."""

    def __init__(self, device: torch.device) -> None:
        self._side = side_stream(device)

    def aside(self, work: Callable[[], Learned]) -> Learned:
        """On a stream of its own, as operations of the default one cannot be recorded."""
        main = torch.cuda.current_stream(self._side.device)
        self._side.wait_stream(main)
        with torch.cuda.stream(self._side):
            learned = work()
        main.wait_stream(self._side)
        return learned

    def record(self, work: Callable[[], Learned]) -> tuple[Callable[[], None], Learned]:
        """Other threads may go on, such as the one that reads the next images."""
        graph = torch.cuda.CUDAGraph()
        # On another GPU than the current one nothing would be recorded, with a mere warning.
        with (
            torch.cuda.device(self._side.device),
            torch.cuda.graph(graph, stream=self._side, capture_error_mode="thread_local"),
        ):
            learned = work()
        return graph.replay, learned


@cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all tasks of a process: libraries keep memory for every stream that they saw."""
    return torch.cuda.Stream(device)
