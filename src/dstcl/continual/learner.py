"""The learner: one task after the other, each in a sparse sub-network of one network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.continual.subnets import HEAD, InvariantError, SubnetStore
from dstcl.data.batches import Examples, task_examples, test_batches, training_batches
from dstcl.data.prepare import Prepared
from dstcl.models import build_network
from dstcl.runs import Run
from dstcl.seeds import derive_seed, generator
from dstcl.sparse import DynamicSparseTraining

PROBE_IMAGES = 64

Progress = Callable[[int, int, dict[str, Any]], None]
"""Called after every epoch with the task (from 1), the epoch (from 1) and its history row."""


@dataclass
class Outcome:
    """What a run measured.

    Attributes:
        accuracy: rows ``after_task, task, accuracy``; see `dstcl.evaluation.metrics`.
        history: one row a task and epoch.
        store: the consolidated network and its sub-networks.
        train_seconds: time in training steps alone.
        images: images trained on, repetitions included.
    """

    store: SubnetStore
    accuracy: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    train_seconds: float = 0.0
    images: int = 0


class Learner:
    """Trains one run, task by task.

    Args:
        run: what to train.
        data: the prepared data set.
        tasks: classes of each task.
        device: where to train.
        progress: called after every epoch.
    """

    def __init__(
        self,
        run: Run,
        data: Prepared,
        tasks: list[list[int]],
        device: torch.device,
        progress: Progress | None = None,
    ) -> None:
        self.run, self.data, self.tasks, self.device = run, data, tasks, device
        self.progress = progress or (lambda task, epoch, row: None)
        network = build_network(
            run.network,
            channels=data.images.shape[1],
            classes=len(tasks[0]),
            seed=derive_seed(run.seed, "weights"),
        )
        self.network = network.to(device)
        self.outcome = Outcome(SubnetStore(self.network, run.seed))
        self._tests = [task_examples(data, c, test=True, device=device) for c in tasks]
        self._probes: list[Tensor] = []

    def fit(self) -> Outcome:
        """Learn all tasks in order and measure accuracy before, between and after them.

        Raises:
            InvariantError: a frozen weight or the logits of a finished task changed, or the
                evaluated network is not the trained one.
        """
        for task in range(len(self.tasks)):
            self._learn(task)
            self._check_finished_tasks(task)
            for seen in range(task + 1):
                self.outcome.store.activate(seen)
                self._measure(after_task=task + 1, task=seen)
        return self.outcome

    def _learn(self, task: int) -> None:
        run, store = self.run, self.outcome.store
        examples = task_examples(self.data, self.tasks[task], test=False, device=self.device)
        batches_an_epoch = -(-len(examples) // run.batch_size)
        store.open_task(task)
        optimizer = build_optimizer(run, self.network)
        learning_rate = torch.optim.lr_scheduler.MultiStepLR(
            optimizer,
            [int(fraction * run.epochs) for fraction in run.lr_milestones],
            run.lr_factor,
        )
        dst = DynamicSparseTraining(
            self.network,
            optimizer,
            density=run.density,
            init=run.init,
            prune=run.prune,
            grow=run.growth,
            switch_at=run.switch_at,
            prune_rate=run.prune_rate,
            floor=run.prune_rate_floor,
            prune_schedule=run.prune_schedule,
            update_every=run.update_every,
            total_steps=batches_an_epoch * run.epochs,
            stop_at=run.stop_at,
            candidates=run.candidates,
            frozen=store.used if task else None,
            exclude=[HEAD],
            generator=generator(run.seed, "masks", task),
        )
        self._measure_untrained(task)
        batches = generator(run.seed, "batches", task)
        for epoch in range(1, run.epochs + 1):
            rate = learning_rate.get_last_lr()[0]
            loss, accuracy = self._train_epoch(examples, dst, batches)
            learning_rate.step()
            row = {
                "task": task + 1,
                "epoch": epoch,
                "loss": loss,
                "accuracy": accuracy,
                "learning_rate": rate,
                "prune_rate": dst.prune_rate(),
                "density": dst.density(),
                "explored": dst.explored_fraction(),
            }
            self.outcome.history.append(row)
            self.progress(task + 1, epoch, row)
        trained = self._logits(self._probe(task))
        store.close_task(dst)
        store.activate(task)
        if not torch.equal(trained, self._logits(self._probe(task))):
            raise InvariantError(f"task {task + 1}: the evaluated network is not the trained one")
        self._probes.append(trained)

    def _train_epoch(
        self, examples: Examples, dst: DynamicSparseTraining, batches: torch.Generator
    ) -> tuple[float, float]:
        """Mean loss and accuracy over the epoch, as seen while training."""
        run, network = self.run, self.network
        network.train()
        total_loss = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device, dtype=torch.int64)
        started = perf_counter()
        for images, labels in training_batches(examples, run.batch_size, run.augment, batches):
            logits = network(images)
            loss = nn.functional.cross_entropy(logits, labels)
            dst.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            dst.step()
            total_loss += loss.detach() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
        mean_loss, accuracy = float(total_loss) / len(examples), int(correct) / len(examples)
        self.outcome.train_seconds += perf_counter() - started
        self.outcome.images += len(examples)
        return mean_loss, accuracy

    def _measure_untrained(self, task: int) -> None:
        """Accuracy on the next task before training it; at the start, on every task."""
        self._measure(after_task=task, task=task)
        if task == 0:
            for later in range(1, len(self.tasks)):
                self._measure(after_task=0, task=later)

    def _measure(self, after_task: int, task: int) -> None:
        accuracy = measure_accuracy(self.network, self._tests[task], self.run.test_batch_size)
        row = {"after_task": after_task, "task": task + 1, "accuracy": accuracy}
        self.outcome.accuracy.append(row)

    def _check_finished_tasks(self, task: int) -> None:
        for seen in range(task):
            self.outcome.store.activate(seen)
            if not torch.equal(self._logits(self._probe(seen)), self._probes[seen]):
                raise InvariantError(f"logits of task {seen + 1} changed in task {task + 1}")

    def _probe(self, task: int) -> Tensor:
        tests = self._tests[task]
        return tests.normalised(tests.images[:PROBE_IMAGES])

    @torch.no_grad()
    def _logits(self, images: Tensor) -> Tensor:
        self.network.eval()
        return self.network(images)


@torch.no_grad()
def measure_accuracy(network: nn.Module, examples: Examples, batch_size: int) -> float:
    """Share of images whose largest logit is the right one, in evaluation mode."""
    network.eval()
    correct = torch.zeros((), device=examples.labels.device, dtype=torch.int64)
    for images, labels in test_batches(examples, batch_size):
        correct += (network(images).argmax(1) == labels).sum()
    return int(correct) / len(examples)


def build_optimizer(run: Run, network: nn.Module) -> torch.optim.Optimizer:
    """A fresh optimiser, as for every task (section c3 of the paper's code)."""
    parameters = list(network.parameters())
    if run.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            run.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=run.weight_decay,
            fused=True,
        )
    return torch.optim.Adam(
        parameters, run.learning_rate, weight_decay=run.weight_decay, fused=True
    )
