"""Training in progress: one task, or several at once, for a run's epochs, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import isfinite
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.continual.best_epoch import BestEpoch
from dstcl.continual.methods import Method, OpenTask
from dstcl.continual.optimizers import build_optimizer, set_learning_rate
from dstcl.continual.plasticity import plasticity_rows
from dstcl.continual.precision import STEP_GRAPHS
from dstcl.continual.schedules import Moment, schedule_of
from dstcl.continual.scoring import Scoring
from dstcl.continual.step import training_step
from dstcl.continual.subnets import DivergedError, SubnetStore
from dstcl.data.batches import Examples, TrainingBatches
from dstcl.seeds import derive_seed, generator
from dstcl.sparse import SparseTraining
from dstcl.study.run import Run


@dataclass
class Effort:
    """What training took.

    Attributes:
        seconds: in training steps alone.
        images: trained on, repetitions included.
    """

    seconds: float = 0.0
    images: int = 0


class TaskTraining:
    """Trains the open task of a store.

    Args:
        run: settings.
        method: what is trained.
        network: holds the store's open task.
        store: of the sub-networks.
        index: of the stage, from 0.
        examples: its training images.
        scoring: from logits to loss and hits.
        effort: adds up over stages.
        validate: accuracy on the stage's held-out images after so many epochs; None without any.
    """

    def __init__(
        self,
        run: Run,
        method: Method,
        network: nn.Module,
        store: SubnetStore,
        index: int,
        examples: Examples,
        scoring: Scoring,
        effort: Effort,
        validate: Callable[[int], float] | None = None,
    ) -> None:
        self.run, self.network, self.index = run, network, index
        self._method = method
        self._validate = validate
        self.examples, self.effort, self._scoring = examples, effort, scoring
        self.device = examples.labels.device
        training = run.training
        refuse_single_image(network, examples, training.batch_size, "batch_size")
        recorded = run.engine.compile in STEP_GRAPHS
        optimizer = build_optimizer(training, network.parameters(), recorded)
        self._schedule = schedule_of(training)
        self._steps = steps = -(-len(examples) // training.batch_size) * training.epochs
        self._rate = -1.0
        self.sparse: SparseTraining = method.training(
            OpenTask(
                network, optimizer, store, index, steps, examples.normalised(examples.first(2))
            )
        )
        self._step = training_step(
            run.engine, training.batch_size, network, scoring, self.sparse, self.device
        )
        self.draws = generator(run.seed, "batches", index)
        # Layers such as dropout draw from torch's own generators.
        torch.manual_seed(derive_seed(run.seed, "layers", index))
        self.best = None if run.switches.checkpoint == "last" else BestEpoch()
        self.epochs_done = 0
        self._batches: TrainingBatches | None = None
        self._start_epoch()

    def train(
        self,
        after_step: Callable[[], None],
        after_epoch: Callable[[dict[str, Any]], None],
    ) -> None:
        """Train what is left of the stage.

        Args:
            after_step: called between steps, where `state_dict` can be taken.
            after_epoch: called with the epoch's row of history.

        Raises:
            DivergedError: the loss of an epoch is not finite.
        """
        while self.epochs_done < self.run.training.epochs:
            loss, accuracy = self._train_epoch(after_step)
            if not isfinite(loss):
                raise self._diverged(self.epochs_done + 1, "the loss")
            self._batches = None
            self.epochs_done += 1
            self._start_epoch()
            validated = self._validate(self.epochs_done) if self._validate else None
            by_training = self.run.switches.checkpoint == "best_training_accuracy"
            score = accuracy if by_training else validated
            # A method that is still pruning has no sub-network to keep yet.
            if self.best is not None and self.sparse.settled():
                assert score is not None
                self.best.offer(score, self.network, self.sparse)
            row = {
                "task": self.index + 1,
                "epoch": self.epochs_done,
                "loss": loss,
                "accuracy": accuracy,
                "validation_accuracy": validated,
                "learning_rate": self._rate,
                "prune_rate": self.sparse.prune_rate(),
                "density": self.sparse.density(),
                "explored": self.sparse.explored_fraction(),
            }
            self._method.after_epoch(self.sparse, row)
            after_epoch(row)
        if self.best is not None:
            self.best.restore(self.network, self.sparse)

    def plasticity(self) -> list[dict[str, Any]]:
        """How well the network can learn the stage, as rows of the capacity table: see
        `plasticity_rows`. Of one batch of its training images, not augmented."""
        images, labels = self.examples.spread(self.run.training.batch_size)
        rows = plasticity_rows(
            self.network,
            self.sparse.weights,
            self.sparse.frozen,
            self._scoring.loss,
            (self.examples.normalised(images), labels),
        )
        return [{"task": self.index + 1} | row for row in rows]

    def check_finite(self, logits: Tensor) -> None:
        """Look at what training has left: the last step can spoil it after its loss was taken.

        Args:
            logits: of some images, by the trained network.

        Raises:
            DivergedError: naming what is not finite.
        """
        for name, tensor in {**self.network.state_dict(), "an output": logits}.items():
            if not tensor.isfinite().all():
                raise self._diverged(self.epochs_done, name)

    def _diverged(self, epoch: int, what: str) -> DivergedError:
        return DivergedError(
            f"task {self.index + 1}, epoch {epoch}: {what} is not finite; training diverged with "
            f"training.learning_rate {self.run.training.learning_rate:g}"
        )

    def state_dict(self) -> dict[str, Any]:
        """With the network's, enough to go on bit for bit between any two steps."""
        epoch = None
        if self._batches is not None:
            epoch = {"order": self._batches.order, "position": self._batches.position}
        return {
            "optimizer": self.sparse.optimizer.state_dict(),
            "sparse": self.sparse.state_dict(),
            "draws": self.draws.get_state(),
            "best": self.best.state_dict() if self.best else None,
            "epochs_done": self.epochs_done,
            "epoch": epoch,
            "loss": self._loss,
            "hits": self._hits,
            "rate": self._rate,
            "layers": torch.get_rng_state(),
            "layers_on_gpu": torch.cuda.get_rng_state(self.device) if self._on_gpu else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, after the network's state, in a like stage."""
        self.sparse.optimizer.load_state_dict(state["optimizer"])
        self.sparse.load_state_dict(state["sparse"])
        self.draws.set_state(state["draws"])
        if self.best is not None:
            self.best.load_state_dict(state["best"])
        torch.set_rng_state(state["layers"])
        if self._on_gpu and state["layers_on_gpu"] is not None:
            torch.cuda.set_rng_state(state["layers_on_gpu"], self.device)
        self.epochs_done, self._rate = state["epochs_done"], state["rate"]
        self._loss, self._hits = state["loss"].to(self.device), state["hits"].to(self.device)
        if state["epoch"] is not None:
            self._batches = self._open_epoch(**state["epoch"])

    @property
    def _on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def _start_epoch(self) -> None:
        self._loss = torch.zeros((), device=self.device)
        self._hits = torch.zeros((), device=self.device, dtype=torch.int64)

    def _open_epoch(self, order: Tensor | None = None, position: int = 0) -> TrainingBatches:
        training = self.run.training
        if order is not None:
            order = order.to(self.device)
        return TrainingBatches(
            self.examples,
            training.batch_size,
            training.augment,
            self.draws,
            order=order,
            position=position,
        )

    def _train_epoch(self, after_step: Callable[[], None]) -> tuple[float, float]:
        """Mean loss over the task's classes, and accuracy by the protocol's rule, in training."""
        self.network.train()
        if self._batches is None:
            self._batches = self._open_epoch()
        since = perf_counter()
        for images, labels in self._batches:
            self._set_rate()
            loss, hits = self._step(images, labels)
            self._loss += loss
            self._hits += hits
            self.effort.images += len(labels)
            self._add_time(since)
            after_step()
            since = perf_counter()
        # Waits for the device, so that its work is in the time.
        means = float(self._loss) / len(self.examples), int(self._hits) / len(self.examples)
        self._add_time(since)
        return means

    def _set_rate(self) -> None:
        """The schedule's rate for the step that comes; that of the last one is in the history."""
        training = self.run.training
        moment = Moment(self.sparse.steps, self._steps, self.epochs_done, training.epochs)
        rate = self._schedule(moment, training)
        if rate != self._rate:
            set_learning_rate(self.sparse.optimizer, rate)
            self._rate = rate

    def _add_time(self, since: float) -> None:
        self.effort.seconds += perf_counter() - since


def refuse_single_image(network: nn.Module, examples: Examples, batch_size: int, key: str) -> None:
    """Before hours are spent: statistics of a batch need two values, which one image does not have
    in maps of a single pixel.

    Raises:
        ValueError: the last batch would be such a one.
    """
    if len(examples) % batch_size != 1:
        return
    image = examples.normalised(examples.first(1))
    try:
        with torch.no_grad():
            deepcopy(network).train()(image)
    except ValueError:
        raise ValueError(
            f"{key}: {batch_size}; of {len(examples)} images the last batch would have one, which "
            "this network cannot normalise; choose another"
        ) from None
