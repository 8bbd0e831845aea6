"""The learner: one task after the other, each in a sparse sub-network of one network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.continual.checkpoints import BestEpoch
from dstcl.continual.scoring import Outputs, measure_accuracy
from dstcl.continual.subnets import InvariantError, SubnetStore
from dstcl.data.batches import Examples, TrainingBatches, evaluation_batches, task_examples
from dstcl.data.prepare import Prepared
from dstcl.models import batch_statistics, build_network
from dstcl.runs import Run
from dstcl.seeds import derive_seed, generator
from dstcl.sparse import (
    DynamicSparseTraining,
    GradualMagnitudePruning,
    PublishedSparseTraining,
    SparseTraining,
)

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
        own_heads = run.head == "task"
        self.network = build_network(
            run.network,
            channels=data.images.shape[1],
            classes=len(tasks[0]) if own_heads else sum(map(len, tasks)),
            seed=derive_seed(run.seed, "weights"),
            norm=batch_statistics if run.batch_norm == "batch" else nn.BatchNorm2d,
            head_bias=True if own_heads else None,
        ).to(device)
        store = SubnetStore(
            self.network,
            run.seed,
            own_heads=own_heads,
            own_norms=run.batch_norm != "shared",
            keep_free=run.free_weights == "keep",
        )
        self.outcome = Outcome(store)
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
        sparse = self._sparse_training(task, optimizer, batches_an_epoch * run.epochs)
        self._measure_untrained(task)
        batches = generator(run.seed, "batches", task)
        best = BestEpoch() if run.checkpoint == "best_training_accuracy" else None
        for epoch in range(1, run.epochs + 1):
            rate = learning_rate.get_last_lr()[0]
            loss, accuracy = self._train_epoch(examples, sparse, batches, task)
            learning_rate.step()
            row = {
                "task": task + 1,
                "epoch": epoch,
                "loss": loss,
                "accuracy": accuracy,
                "learning_rate": rate,
                "prune_rate": sparse.prune_rate(),
                "density": sparse.density(),
                "explored": sparse.explored_fraction(),
            }
            self.outcome.history.append(row)
            self.progress(task + 1, epoch, row)
            if best is not None:
                best.offer(accuracy, self.network, sparse)
        if best is not None:
            best.restore(self.network, sparse)
        trained = self._logits(self._probe(task))
        store.close_task(sparse)
        store.activate(task)
        self._probes.append(self._logits(self._probe(task)))
        if run.regrown_frozen == "stored" and not torch.equal(trained, self._probes[task]):
            raise InvariantError(f"task {task + 1}: the evaluated network is not the trained one")

    def _sparse_training(
        self, task: int, optimizer: torch.optim.Optimizer, total_steps: int
    ) -> SparseTraining:
        run, store = self.run, self.outcome.store
        common: dict[str, Any] = {
            "density": run.density,
            "init": run.init,
            "frozen": store.used if task else None,
            "regrown": run.regrown_frozen,
            "exclude": store.unmasked,
            "generator": generator(run.seed, "masks", task),
        }
        if run.method == "static":
            return SparseTraining(self.network, optimizer, **common)
        if run.method == "gradual":
            return GradualMagnitudePruning(
                self.network,
                optimizer,
                total_steps=total_steps,
                update_every=run.update_every,
                stop_at=run.stop_at,
                **common,
            )
        published = run.mask_counts == "bernoulli"
        kind = PublishedSparseTraining if published else DynamicSparseTraining
        return kind(
            self.network,
            optimizer,
            prune=run.prune,
            grow=run.growth,
            switch_at=run.switch_at,
            prune_rate=run.prune_rate,
            floor=run.prune_rate_floor,
            prune_schedule=run.prune_schedule,
            update_every=run.update_every,
            total_steps=total_steps,
            stop_at=run.stop_at,
            candidates=run.candidates,
            redistribute=run.redistribute,
            **common,
        )

    def _train_epoch(
        self, examples: Examples, sparse: SparseTraining, batches: torch.Generator, task: int
    ) -> tuple[float, float]:
        """Mean loss over the task's classes, and accuracy by the protocol's rule, in training."""
        run, network, outputs = self.run, self.network, self._outputs(task)
        network.train()
        total_loss = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device, dtype=torch.int64)
        started = perf_counter()
        for images, labels in TrainingBatches(examples, run.batch_size, run.augment, batches):
            logits = network(images)
            loss = nn.functional.cross_entropy(outputs.of_task(logits), labels)
            sparse.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            sparse.step()
            total_loss += loss.detach() * len(labels)
            correct += (outputs.predictions(logits.detach()) == labels).sum()
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

    def _outputs(self, task: int) -> Outputs:
        classes = len(self.tasks[task])
        start = 0 if self.run.head == "task" else task * classes
        return Outputs(start, start + classes, among_all=self.run.logits == "all")

    def _measure(self, after_task: int, task: int) -> None:
        run = self.run
        accuracy = measure_accuracy(
            self.network,
            evaluation_batches(
                self._tests[task],
                run.test_batch_size,
                # With statistics of the test batch its order matters; the paper's code shuffles.
                shuffle=run.batch_norm == "batch",
                augment=run.augment if run.test_augment else "none",
                generator=generator(run.seed, "test", after_task, task),
            ),
            self._outputs(task),
        )
        row = {"after_task": after_task, "task": task + 1, "accuracy": accuracy}
        self.outcome.accuracy.append(row)

    def _check_finished_tasks(self, task: int) -> None:
        if self.run.batch_norm == "shared":
            return  # going on with a common batch norm changes finished tasks: that is the point
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
