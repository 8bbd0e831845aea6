"""A stage in progress: one task, or several at once, trained for a run's epochs, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.continual.best_epoch import BestEpoch
from dstcl.continual.methods import Method, OpenTask
from dstcl.continual.optimizers import build_optimizer, set_learning_rate
from dstcl.continual.scoring import Scoring
from dstcl.continual.step import training_step
from dstcl.continual.subnets import SubnetStore
from dstcl.data.batches import Examples, TrainingBatches
from dstcl.seeds import generator
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


class Stage:
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
        self._validate = validate
        self.examples, self.effort = examples, effort
        self.device = examples.labels.device
        refuse_single_image(network, examples, run.batch_size, "batch_size")
        optimizer = build_optimizer(run, network)
        steps = -(-len(examples) // run.batch_size) * run.epochs
        self.sparse: SparseTraining = method.training(
            OpenTask(network, optimizer, store, index, steps)
        )
        self._step = training_step(run, network, scoring, self.sparse, self.device)
        self.draws = generator(run.seed, "batches", index)
        self.best = None if run.checkpoint == "last" else BestEpoch()
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
        """
        while self.epochs_done < self.run.epochs:
            rate = learning_rate(self.run, self.epochs_done)
            set_learning_rate(self.sparse.optimizer, rate)
            loss, accuracy = self._train_epoch(after_step)
            self._batches = None
            self.epochs_done += 1
            self._start_epoch()
            validated = self._validate(self.epochs_done) if self._validate else None
            score = accuracy if self.run.checkpoint == "best_training_accuracy" else validated
            # A method that is still pruning has no sub-network to keep yet.
            if self.best is not None and self.sparse.settled():
                assert score is not None
                self.best.offer(score, self.network, self.sparse)
            after_epoch(
                {
                    "task": self.index + 1,
                    "epoch": self.epochs_done,
                    "loss": loss,
                    "accuracy": accuracy,
                    "validation_accuracy": validated,
                    "learning_rate": rate,
                    "prune_rate": self.sparse.prune_rate(),
                    "density": self.sparse.density(),
                    "explored": self.sparse.explored_fraction(),
                }
            )
        if self.best is not None:
            self.best.restore(self.network, self.sparse)

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
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, after the network's state, in a like stage."""
        self.sparse.optimizer.load_state_dict(state["optimizer"])
        self.sparse.load_state_dict(state["sparse"])
        self.draws.set_state(state["draws"])
        if self.best is not None:
            self.best.load_state_dict(state["best"])
        self.epochs_done = state["epochs_done"]
        self._loss, self._hits = state["loss"].to(self.device), state["hits"].to(self.device)
        if state["epoch"] is not None:
            self._batches = self._open_epoch(**state["epoch"])

    def _start_epoch(self) -> None:
        self._loss = torch.zeros((), device=self.device)
        self._hits = torch.zeros((), device=self.device, dtype=torch.int64)

    def _open_epoch(self, order: Tensor | None = None, position: int = 0) -> TrainingBatches:
        run = self.run
        if order is not None:
            order = order.to(self.device)
        return TrainingBatches(
            self.examples, run.batch_size, run.augment, self.draws, order=order, position=position
        )

    def _train_epoch(self, after_step: Callable[[], None]) -> tuple[float, float]:
        """Mean loss over the task's classes, and accuracy by the protocol's rule, in training."""
        self.network.train()
        if self._batches is None:
            self._batches = self._open_epoch()
        since = perf_counter()
        for images, labels in self._batches:
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


def learning_rate(run: Run, epochs_done: int) -> float:
    """In the epoch after so many: multiplied by the factor at each milestone that has passed."""
    rate = run.learning_rate
    for fraction in sorted(run.lr_milestones):
        if epochs_done >= int(fraction * run.epochs):
            rate *= run.lr_factor
    return rate
