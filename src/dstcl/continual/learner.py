"""The learner: one task after the other, each with what earlier ones left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from dstcl.continual.capacity import with_plasticity
from dstcl.continual.methods import method_of
from dstcl.continual.precision import arithmetic_of
from dstcl.continual.scoring import JointOutputs, Scoring, measure_accuracy, task_outputs
from dstcl.continual.subnets import InvariantError, SubnetStore
from dstcl.continual.task_training import Effort, TaskTraining, refuse_single_image
from dstcl.continual.tasks import PreparedTasks, Tasks
from dstcl.data.batches import Examples, Part, evaluation_batches
from dstcl.data.stored import Prepared
from dstcl.networks.build import Source, build_network
from dstcl.networks.check import check_network
from dstcl.seeds import derive_seed, generator
from dstcl.study.run import Run

PROBE_IMAGES = 64
PARTS: tuple[Part, Part] = ("train", "validation")

Progress = Callable[[int, int, dict[str, Any]], None]
"""Called after every epoch with the task (from 1), the epoch (from 1) and its history row."""


Pause = Callable[[Callable[[], dict[str, Any]], bool], None]
"""See `Learner`."""


@dataclass
class Outcome:
    """What a run measured.

    Attributes:
        store: the consolidated network and its sub-networks.
        accuracy: rows ``after_task, task, accuracy``; see `dstcl.continual.metrics`.
        history: one row per task and epoch; one per epoch where all tasks are learned at once.
        effort: time and images of training.
        fwt_by_position: forward transfer as the paper's code measures it; see `Learner`.
        decisions: rows ``task, step, layer, what, value, evidence`` of a controller.
        plasticity: rows ``task, layer, channels, dead, gradient, rank`` as tasks begin; see
            `dstcl.continual.plasticity`.
    """

    store: SubnetStore
    accuracy: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    effort: Effort = field(default_factory=Effort)
    fwt_by_position: float | None = None
    decisions: list[dict[str, Any]] = field(default_factory=list)
    plasticity: list[dict[str, Any]] = field(default_factory=list)

    def capacity(self) -> list[dict[str, Any]]:
        """For each task and layer: what it takes of the network, and how well it could learn."""
        return with_plasticity(self.store.capacity(), self.plasticity)


def learner_of(
    run: Run,
    data: Prepared,
    classes: Sequence[Sequence[int]],
    device: torch.device,
    progress: Progress | None = None,
    pause: Pause | None = None,
    validation: Sequence[int] = (),
) -> Learner:
    """The learner of a run of the study, with its network, on a prepared data set.

    Args:
        run: what to train.
        data: the prepared data set.
        classes: labels of each task; sizes may differ.
        device: where to train.
        progress, pause: see `Learner`.
        validation: positions of training images that are held out; see `read_tasks`.
    """
    tasks = PreparedTasks(data, classes, device, validation)
    network = checked_network(run, tasks, data.images.shape[1:], device)
    return Learner(run, network, tasks, progress, pause)


def checked_network(
    run: Run,
    tasks: Tasks,
    image: Sequence[int],
    device: torch.device,
    source: Source | None = None,
) -> nn.Module:
    """A run's network on the device, tried out on made-up images.

    Args:
        run, tasks, device, source: see `network_of`.
        image: channels, height and width.

    Raises:
        NetworkError: it cannot be built, or not be trained on such images.
    """
    network = network_of(run, tasks, device, source)
    check_network(network, image, run.outputs(tasks.sizes), source or run.network_source.source)
    return network.to(device)


def network_of(
    run: Run, tasks: Tasks, device: torch.device, source: Source | None = None
) -> nn.Module:
    """A run's network, freshly initialised, on the processor.

    Args:
        run: names the network, its seed and what becomes of its batch norm.
        tasks: decide channels and outputs.
        device: where it will compute; decides its precision.
        source: what makes the network, where the run's name of it is but a label.
    """
    named = run.network_source
    return build_network(
        source or named.source,
        channels=tasks.channels,
        classes=run.outputs(tasks.sizes),
        seed=derive_seed(run.seed, "weights"),
        norm=run.switches.batch_norm,
        head_bias=True if run.switches.head == "task" else None,
        head=named.head,
        arguments=named.arguments,
        arithmetic=arithmetic_of(run.engine, device),
    )


class Learner:
    """Trains one run, task by task.

    Args:
        run: what to train.
        network: freshly initialised, on the training device, with as many outputs as `Run.outputs`
            says.
        tasks: images of each task, on the same device.
        progress: called after every epoch.
        pause: called after every training step and every task (then with True) with a function
            that returns `state_dict`; may raise to stop.
    """

    def __init__(
        self,
        run: Run,
        network: nn.Module,
        tasks: Tasks,
        progress: Progress | None = None,
        pause: Pause | None = None,
    ) -> None:
        self.run, self.network, self.tasks = run, network, tasks
        self.progress = progress or (lambda task, epoch, row: None)
        self.pause = pause or (lambda state, task_end: None)
        self.method = method_of(run)
        # Tasks learned together, in order.
        every = list(range(run.data.learn or len(tasks.sizes)))
        self.stages = [every] if self.method.joint else [[task] for task in every]
        self.outputs = task_outputs(
            tasks.sizes, own_heads=run.own_heads, among_all=run.switches.logits == "all"
        )
        store = self.method.store(
            self.network,
            run.seed,
            own_heads=run.own_heads,
            own_norms=run.switches.batch_norm != "shared",
            keep_free=run.switches.free_weights == "keep",
        )
        self.outcome = Outcome(store)
        self._tests = [tasks.examples([task], "test") for task in every]
        self.device = self._tests[0].labels.device
        if run.switches.batch_norm == "batch":
            size = run.training.test_batch_size
            for tests in self._tests:
                refuse_single_image(self.network, tests, size, "test_batch_size")
        self._probes: list[Tensor] = []
        self._stages_done = 0
        self._stage: TaskTraining | None = None

    def fit(self) -> Outcome:
        """Learn what is left of the tasks; measure accuracy before, between and after them.

        Raises:
            DivergedError: the loss of an epoch, or what training left of a task, is not finite.
            InvariantError: a frozen weight or the logits of a finished task changed, or the
                evaluated network is not the trained one.
        """
        while self._stages_done < len(self.stages):
            if self._stage is None:
                self._stage = self._open_stage()
                self.outcome.plasticity += self._stage.plasticity()
                self._measure_untrained()
            self._stage.train(lambda: self.pause(self.state_dict, False), self._after_epoch)
            self._close_stage(self._stage)
            self._measure_seen_tasks()
            self.pause(self.state_dict, True)
        self.outcome.fwt_by_position = self._transfer_by_position()
        self.outcome.decisions = self.method.decisions()
        return self.outcome

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on bit for bit, from between any two steps."""
        return {
            "digest": self.run.digest,
            "stages_done": self._stages_done,
            "store": self.outcome.store.state_dict(),
            "method": self.method.state_dict(),
            "network": self.network.state_dict(),
            "accuracy": self.outcome.accuracy,
            "history": self.outcome.history,
            "effort": asdict(self.outcome.effort),
            "plasticity": self.outcome.plasticity,
            "probes": self._probes,
            "stage": self._stage.state_dict() if self._stage else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, in a fresh learner of the same run.

        Raises:
            ValueError: the state belongs to another run.
        """
        if state["digest"] != self.run.digest:
            raise ValueError(f"checkpoint of run {state['digest']}, not of {self.run.digest}")
        outcome = self.outcome
        outcome.store.load_state_dict(state["store"])
        self.method.load_state_dict(state["method"], self.device)
        outcome.accuracy, outcome.history = list(state["accuracy"]), list(state["history"])
        outcome.effort = Effort(**state["effort"])
        # Checkpoints of earlier code have none; the cells of those tasks stay empty.
        outcome.plasticity = list(state.get("plasticity", ()))
        self._probes = [probe.to(self.device) for probe in state["probes"]]
        self._stages_done = state["stages_done"]
        self.network.load_state_dict(state["network"])
        if state["stage"] is not None:
            self._stage = self._open_stage()
            self.network.load_state_dict(state["network"])
            self._stage.load_state_dict(state["stage"])

    def renew_probes(self) -> None:
        """Take the logits of finished tasks anew, as another device computes other last digits."""
        trained = {name: value.clone() for name, value in self.network.state_dict().items()}
        with self.method.aside():
            for seen in range(self._stages_done):
                self.outcome.store.activate(seen)
                self._probes[seen] = self._logits(self._probe(seen))
        self.network.load_state_dict(trained)

    def _open_stage(self) -> TaskTraining:
        run, index = self.run, self._stages_done
        self.outcome.store.open_task(index)
        members = self.stages[index]
        scoring = self._scoring(members)
        examples, held_out = (self.tasks.examples(members, part) for part in PARTS)

        def validate(epoch: int) -> float:
            return self._accuracy(held_out, scoring, "validation", index, epoch)

        return TaskTraining(
            run,
            self.method,
            self.network,
            self.outcome.store,
            index,
            examples,
            scoring,
            self.outcome.effort,
            validate if len(held_out) else None,
        )

    def _scoring(self, members: list[int]) -> Scoring:
        if self.method.joint:
            return JointOutputs(self.tasks.sizes, self.run.switches.logits == "all", self.device)
        return self.outputs[members[0]]

    def _after_epoch(self, row: dict[str, Any]) -> None:
        self.outcome.history.append(row)
        self.progress(row["task"], row["epoch"], row)

    def _close_stage(self, stage: TaskTraining) -> None:
        """Keep what was trained; the network to evaluate must be the trained one."""
        run, store, index = self.run, self.outcome.store, stage.index
        trained = self._logits(self._probe(index))
        stage.check_finite(trained)
        store.close_task(stage.sparse)
        if not self.method.joint:
            self.method.remember(store, stage.examples, self.outputs[index], index)
        store.activate(index)
        self._probes.append(self._logits(self._probe(index)))
        if run.switches.regrown_frozen == "stored" and not torch.equal(
            trained, self._probes[index]
        ):
            raise InvariantError(f"task {index + 1}: the evaluated network is not the trained one")
        self._stages_done += 1
        self._stage = None

    def _measure_untrained(self) -> None:
        """Accuracy on the next task before training it; at the start, on every task."""
        done = self._stages_done
        for task in range(len(self._tests)) if done == 0 else [done]:
            self._measure(after_task=done, task=task)

    def _measure_seen_tasks(self) -> None:
        last = self.stages[self._stages_done - 1][-1]
        for seen in range(last + 1):
            if not self.method.joint:  # whose one network is active
                self.outcome.store.activate(seen)
                self._check_finished_task(seen)
            self._measure(after_task=last + 1, task=seen)

    def _check_finished_task(self, task: int) -> None:
        """The active task's logits stay what they were, bit for bit, where a method keeps them."""
        if self.run.switches.batch_norm == "shared" or not self.method.keeps_tasks:
            return  # going on with common weights changes finished tasks: that is the point
        if not torch.equal(self._logits(self._probe(task)), self._probes[task]):
            raise InvariantError(f"logits of task {task + 1} changed in task {self._stages_done}")

    def _transfer_by_position(self) -> float | None:
        """FWT as the paper's code has it (docs/published-code.md, d5): each sub-network tested on
        all later tasks, a class counting as that of its own task at the same position. The mean
        over sub-networks, each with the mean over its later tasks.

        It is chance level and says nothing of transfer, so it is measured only where its number is
        compared with the paper's: in prediction among all classes. Else None.
        """
        count = len(self._tests)
        equal = len(set(self.tasks.sizes)) == 1
        if self.run.switches.logits != "all" or self.method.joint or count < 2 or not equal:
            return None
        means = []
        for task in range(count - 1):
            self.outcome.store.activate(task)
            later = [
                self._accuracy(self._tests[other], self.outputs[task], "later", task, other)
                for other in range(task + 1, count)
            ]
            means.append(fmean(later))
        return fmean(means)

    def _measure(self, after_task: int, task: int) -> None:
        accuracy = self._accuracy(self._tests[task], self.outputs[task], "test", after_task, task)
        row = {"after_task": after_task, "task": task + 1, "accuracy": accuracy}
        self.outcome.accuracy.append(row)

    def _accuracy(self, examples: Examples, scoring: Scoring, purpose: str, *parts: int) -> float:
        """Accuracy by the protocol's rule; purpose and parts name the stream of its chance."""
        run = self.run
        batches = evaluation_batches(
            examples,
            run.training.test_batch_size,
            # With statistics of the test batch its order matters; the paper's code shuffles.
            shuffle=run.switches.batch_norm == "batch",
            augment=run.training.augment if run.switches.test_augment else "none",
            generator=generator(run.seed, purpose, *parts),
        )
        return measure_accuracy(self.network, batches, scoring)

    def _probe(self, task: int) -> Tensor:
        tests = self._tests[task]
        return tests.normalised(tests.first(PROBE_IMAGES))

    @torch.no_grad()
    def _logits(self, images: Tensor) -> Tensor:
        self.network.eval()
        return self.network(images)
