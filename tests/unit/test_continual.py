"""The learner: isolation bit for bit, what is measured when, and the files of a run."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from dstcl.continual import InvariantError, Learner, SubnetStore, learner_of, schedules
from dstcl.continual.library import PROTOCOLS
from dstcl.continual.schedules import Moment, schedule_of
from dstcl.continual.scoring import Outputs, measure_accuracy
from dstcl.data.batches import evaluation_batches, task_examples
from dstcl.data.stored import Prepared
from dstcl.data.tasks import held_out, split_classes
from dstcl.jobs.train import train_run
from dstcl.networks.build import build_network
from dstcl.seeds import derive_seed
from dstcl.sparse import SparseTraining, unpack_masks
from dstcl.storage import read_json, read_tensors, write_json, write_tensors
from dstcl.study.run import RESULT_FILES, Run
from dstcl.study.settings import Training
from helpers.runs import changed, task_split, write_prepared

TASKS = split_classes(10, 5, "natural")
CPU = torch.device("cpu")
PAIR = Outputs(0, 2, among_all=False)


def learner(run: Run, data: Prepared, tasks: list[list[int]] = TASKS) -> Learner:
    return learner_of(run, data, tasks, CPU)


class FirstTaskLearned(Exception):
    pass


def learn_first_task(trained: Learner) -> None:
    """Stop a learner right after its first task."""

    def stop(state: object, task_end: bool) -> None:
        if task_end:
            raise FirstTaskLearned

    trained.pause = stop
    with pytest.raises(FirstTaskLearned):
        trained.fit()
    trained.pause = lambda state, task_end: None


@pytest.fixture(scope="module")
def finished(short_run: Run, digits: Prepared) -> Learner:
    trained = learner(changed(short_run, growth="gradient", epochs=8), digits)
    trained.fit()
    return trained


def test_every_task_ends_above_chance(finished: Learner) -> None:
    final = [r["accuracy"] for r in finished.outcome.accuracy if r["after_task"] == 5]
    assert len(final) == 5
    assert sum(final) / 5 > 0.6


def test_nothing_is_forgotten(finished: Learner) -> None:
    """Every row after learning a task equals the one right after it, bit for bit."""
    rows = {(r["after_task"], r["task"]): r["accuracy"] for r in finished.outcome.accuracy}
    for (after, task), accuracy in rows.items():
        if after >= task:
            assert accuracy == rows[task, task]


def test_what_is_measured_when(finished: Learner) -> None:
    """Untrained on every task, each task before it is learned, every seen task after each."""
    measured = [(r["after_task"], r["task"]) for r in finished.outcome.accuracy]
    expected = {(0, task) for task in range(1, 6)}
    expected |= {(task - 1, task) for task in range(2, 6)}
    expected |= {(after, task) for after in range(1, 6) for task in range(1, after + 1)}
    assert len(measured) == len(set(measured))
    assert set(measured) == expected


def test_capacity_adds_up(finished: Learner) -> None:
    store = finished.outcome.store
    rows = store.capacity()
    for layer in store.dense:
        used = 0
        for row in (r for r in rows if r["layer"] == layer):
            assert row["active"] == row["new"] + row["shared"]
            used += int(row["new"])
            assert row["free"] == int(row["size"]) - used
        assert used == int(store.used[layer].sum())


def test_masks_have_the_target_density(finished: Learner) -> None:
    sizes = {name: value.numel() for name, value in finished.outcome.store.dense.items()}
    for subnet in finished.outcome.store.subnets:
        for name, mask in subnet.masks.items():
            assert abs(int(mask.sum()) - 0.3 * sizes[name]) <= 1


def test_finished_tasks_keep_the_trained_masks_at_one_bit_a_weight(
    short_run: Run, digits: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, trained = SubnetStore.close_task, []

    def note(store: SubnetStore, sparse: SparseTraining) -> None:
        trained.append({name: mask.clone() for name, mask in sparse.masks.items()})
        close(store, sparse)

    monkeypatch.setattr(SubnetStore, "close_task", note)
    subnets = learner(short_run, digits).fit().store.subnets
    for subnet, masks in zip(subnets, trained, strict=True):
        assert subnet.masks.keys() == masks.keys()
        assert all(torch.equal(subnet.masks[name], mask) for name, mask in masks.items())
        held = sum(bits.untyped_storage().nbytes() for bits in subnet.masks.packed.values())
        assert held == sum(-(-mask.numel() // 8) for mask in masks.values())


def test_history_has_a_row_a_task_and_epoch(finished: Learner) -> None:
    assert [(r["task"], r["epoch"]) for r in finished.outcome.history] == [
        (task, epoch) for task in range(1, 6) for epoch in range(1, 9)
    ]


def test_unused_weights_keep_their_initial_values(finished: Learner) -> None:
    fresh = build_network("convnet", 1, 2, derive_seed(finished.run.seed, "weights"))
    store = finished.outcome.store
    for name, parameter in fresh.named_parameters():
        if name in store.dense:
            free = ~store.used[name]
            assert free.any()
            assert torch.equal(store.dense[name][free], parameter[free])


def test_a_change_to_a_finished_task_is_noticed(short_run: Run, digits: Prepared) -> None:
    trained = learner(short_run, digits)
    learn_first_task(trained)
    store = trained.outcome.store
    name = next(iter(store.dense))
    store.dense[name][store.subnets[0].masks[name]] += 1
    with pytest.raises(InvariantError, match="logits of task 1"):
        trained.fit()


def test_a_frozen_weight_that_moved_is_noticed(short_run: Run, digits: Prepared) -> None:
    trained = learner(short_run, digits)
    learn_first_task(trained)
    store = trained.outcome.store
    store.open_task(1)
    sparse = SparseTraining(
        trained.network,
        torch.optim.SGD(trained.network.parameters(), 0.1),
        density=0.5,
        init="uniform",
        frozen={},
        exclude=["head"],
    )
    with torch.no_grad():
        next(iter(sparse.stored.values())).add_(1)
    with pytest.raises(InvariantError, match="frozen weight of 'features.0.weight'"):
        store.close_task(sparse)


def test_accuracy_by_hand(digits: Prepared) -> None:
    """A network that always answers class 0 is right on exactly the images of class 0."""
    examples = task_examples(digits, [3, 7], test=True, device=CPU)

    class Zero(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[1.0, 0.0]]).expand(len(images), 2)

    share = float((examples.labels == 0).float().mean())
    assert measure_accuracy(Zero(), evaluation_batches(examples, 7), PAIR) == pytest.approx(share)


def test_each_task_starts_with_a_fresh_head_and_batch_norm(
    short_run: Run, digits: Prepared
) -> None:
    trained = learner(short_run, digits)
    store = trained.outcome.store
    store.open_task(0)
    first = {name: t.clone() for name, t in trained.network.state_dict().items()}
    learn_first_task(trained)
    assert trained.network.state_dict()["features.1.running_mean"].any()
    store.open_task(1)
    second = trained.network.state_dict()
    assert not second["features.1.running_mean"].any()
    assert not torch.equal(first["head.weight"], second["head.weight"])
    store.open_task(0)
    assert torch.equal(first["head.weight"], trained.network.state_dict()["head.weight"])


def test_runs_that_differ_in_growth_see_the_same_batches(
    short_run: Run, digits: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams of random numbers are apart, so comparisons between growths are paired."""
    from dstcl.continual import task_training as stage

    seen: dict[str, list[float]] = {}

    for growth in ("random", "gradient"):

        class Recorded(stage.TrainingBatches):
            sums = seen.setdefault(growth, [])

            def __next__(self):
                images, labels = super().__next__()
                self.sums.append(float(images.sum()))
                return images, labels

        with monkeypatch.context() as patch:
            patch.setattr(stage, "TrainingBatches", Recorded)
            learner(changed(short_run, growth=growth, epochs=1), digits, TASKS[:2]).fit()
    assert seen["random"] == seen["gradient"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, digits: Prepared) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    data, tasks = folder / "digits.safetensors", folder / "tasks.json"
    fields = asdict(digits)
    tensors = {key: fields.pop(key) for key in ("images", "labels", "is_test")}
    write_tensors(data, tensors, fields)
    write_json(tasks, task_split(digits, TASKS))
    return data, tasks


def test_same_seed_twice_gives_identical_files_apart_from_times(
    short_run: Run, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    for name in ("first", "second"):
        train_run(short_run, *inputs, tmp_path / name, device="cpu", threads=1)
    timed = {"metrics.json", "provenance.json"}
    for file in RESULT_FILES.values():
        first, second = ((tmp_path / name / file) for name in ("first", "second"))
        if file not in timed:
            assert first.read_bytes() == second.read_bytes(), file
    metrics = [read_json(tmp_path / name / "metrics.json") for name in ("first", "second")]
    for name in ("seconds", "images_per_second"):
        assert all(m.pop(name) > 0 for m in metrics)
    for values in metrics:  # of files with times in them
        del values["files"]["provenance.json"], values["checksum"]
    assert metrics[0] == metrics[1]


@pytest.fixture
def colours(tmp_path: Path) -> tuple[Path, Path]:
    """Two tasks of two classes, noise in colour: 48 training and 12 test images per class."""
    draws = torch.Generator().manual_seed(0)
    data, tasks = tmp_path / "colours.safetensors", tmp_path / "tasks.json"
    tensors = {
        "images": torch.randint(256, (240, 3, 32, 32), generator=draws, dtype=torch.uint8),
        "labels": torch.arange(240) % 4,
        "is_test": torch.arange(240) >= 192,
    }
    facts = {"class_names": list("abcd"), "mean": [0.5] * 3, "std": [0.25] * 3, "digest": ""}
    written = write_prepared(data, Prepared(**tensors, **facts))
    write_json(tasks, task_split(written, [[0, 1], [2, 3]]))
    return data, tasks


# Networks that end in maps of a single pixel, of which one image has no variance.
SINGLE_PIXEL = ("mobilenetv2-slim", "vgg16-slim")


@pytest.mark.parametrize("network", SINGLE_PIXEL)
@pytest.mark.parametrize("batch_norm", ["task", "batch"])
def test_networks_with_maps_of_one_pixel_train_to_the_end(
    network: str, batch_norm: str, short_run: Run, colours: tuple[Path, Path], tmp_path: Path
) -> None:
    short = {"tasks": 2, "epochs": 1, "image_size": 32}
    run = changed(short_run, network=network, batch_norm=batch_norm, **short)
    assert train_run(run, *colours, tmp_path / "out", device="cpu")["inference_flops"] > 0


@pytest.mark.parametrize(
    ("key", "size", "images"), [("batch_size", 19, 96), ("test_batch_size", 23, 24)]
)
def test_a_last_batch_that_cannot_be_normalised_is_refused_at_once(
    key: str, size: int, images: int, short_run: Run, colours: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = {"tasks": 2, "image_size": 32, key: size}
    run = changed(short_run, network="vgg16-slim", batch_norm="batch", **settings)
    with pytest.raises(ValueError, match=f"^{key}: {size}; of {images} images the last batch"):
        train_run(run, *colours, tmp_path / "out", device="cpu")
    train_run(changed(run, network="convnet"), *colours, tmp_path / "out", device="cpu")


def test_another_seed_gives_other_results(
    short_run: Run, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    data, split = inputs
    for seed in (0, 1):
        own = tmp_path / f"{seed}.json"
        known = read_json(split)
        write_json(own, task_split(known["data_digest"], known["tasks"], order=f"seed{seed}"))
        train_run(changed(short_run, seed=seed), data, own, tmp_path / str(seed), device="cpu")
    first, second = (read_tensors(tmp_path / str(s) / "masks.safetensors")[0] for s in (0, 1))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_saved_files_rebuild_the_evaluated_network(
    short_run: Run, digits: Prepared, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    """Nothing but weights.safetensors and masks.safetensors gives the reported accuracy."""
    metrics = train_run(short_run, *inputs, tmp_path, device="cpu", threads=1)
    weights, _ = read_tensors(tmp_path / "weights.safetensors")
    packed, header = read_tensors(tmp_path / "masks.safetensors")
    network = build_network("convnet", 1, 2, seed=123, head_bias=True)
    accuracies = []
    for task in range(1, 6):
        layers = {
            n.removeprefix(f"task{task}/"): p for n, p in packed.items() if f"task{task}/" in n
        }
        masks = unpack_masks(layers, header["shapes"])
        state = {name: weights[f"dense/{name}"] * mask for name, mask in masks.items()}
        prefix = f"task{task}/"
        state |= {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
        network.load_state_dict(state)
        tests = task_examples(digits, TASKS[task - 1], test=True, device=CPU)
        accuracies.append(measure_accuracy(network, evaluation_batches(tests, 128), PAIR))
    assert sum(accuracies) / 5 == pytest.approx(metrics["acc"])


def test_masks_take_one_bit_a_weight(
    short_run: Run, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    train_run(short_run, *inputs, tmp_path, device="cpu", threads=1)
    packed, header = read_tensors(tmp_path / "masks.safetensors")
    sizes = [torch.Size(shape).numel() for shape in header["shapes"].values()]
    assert sum(p.numel() for p in packed.values()) == 5 * sum(-(-size // 8) for size in sizes)


def test_a_split_of_other_data_is_refused(
    short_run: Run, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "tasks.json"
    write_json(other, task_split("x", TASKS))
    with pytest.raises(ValueError, match="made for other data"):
        train_run(short_run, inputs[0], other, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_into_other_tasks_is_refused(
    short_run: Run, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="5 tasks, the run has 2"):
        train_run(changed(short_run, tasks=2), *inputs, tmp_path / "out")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_named(short_run: Run, inputs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no GPU"):
        train_run(short_run, *inputs, tmp_path / "out", device="cuda")


def test_the_store_of_a_fresh_network_uses_nothing() -> None:
    store = SubnetStore(build_network("convnet", 1, 2, seed=0), seed=0)
    assert store.used_fraction() == 0
    assert store.capacity() == []


@pytest.mark.parametrize(
    ("epochs", "milestones"), [(10, (0.5, 0.75)), (3, (0.5, 0.75)), (9, (0.9, 0.2)), (4, ())]
)
def test_the_learning_rate_falls_as_torch_does_it(
    epochs: int, milestones: tuple[float, ...], short_run: Run
) -> None:
    run = changed(short_run, epochs=epochs, lr_milestones=milestones, lr_factor=0.1)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], run.training.learning_rate)
    oracle = torch.optim.lr_scheduler.MultiStepLR(
        optimizer, [int(fraction * epochs) for fraction in milestones], 0.1
    )
    for done in range(epochs):
        moment = Moment(7 * done, 7 * epochs, done, epochs)
        assert schedule_of(run.training)(moment, run.training) == oracle.get_last_lr()[0]
        optimizer.step()
        oracle.step()


def hold_out(digits: Prepared) -> list[int]:
    return held_out(digits, 0.25)


def test_images_held_out_are_validated_on_and_not_trained_on(
    short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, tasks=2)
    whole = learner(run, digits, TASKS[:2]).fit()
    chosen = hold_out(digits)
    outcome = learner_of(run, digits, TASKS[:2], CPU, validation=chosen).fit()
    in_tasks = sum(int(digits.labels[row]) < 4 for row in chosen)
    assert whole.effort.images - outcome.effort.images == run.training.epochs * in_tasks
    assert all(0.3 < row["validation_accuracy"] <= 1 for row in outcome.history)
    assert all(row["validation_accuracy"] is None for row in whole.history)


def test_the_epoch_best_in_validation_is_kept(
    short_run: Run, digits: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning rate that explodes half-way: the last epoch is not the best."""

    def exploding(moment: Moment, training: Training) -> float:
        late = moment.epochs == 6 and moment.epoch >= 3
        return training.learning_rate * (1000 if late else 1)

    monkeypatch.setitem(schedules.BUILT_IN, "constant", exploding)
    run = changed(
        short_run,
        tasks=1,
        method="static",
        growth="none",
        epochs=6,
        schedule="constant",
        checkpoint="best_validation_accuracy",
        validation=0.1,
    )
    chosen = hold_out(digits)
    kept = learner_of(run, digits, TASKS[:1], CPU, validation=chosen).fit()
    scores = [row["validation_accuracy"] for row in kept.history]
    assert scores.index(max(scores)) < 5
    stopped = changed(run, epochs=scores.index(max(scores)) + 1)
    alone = learner_of(stopped, digits, TASKS[:1], CPU, validation=chosen).fit()
    assert kept.accuracy[-1] == alone.accuracy[-1]


def test_joint_training_validates_on_all_tasks(short_run: Run, digits: Prepared) -> None:
    run = changed(
        short_run, tasks=2, method="joint", density=1.0, init="none", growth="none", epochs=6
    )
    outcome = learner_of(run, digits, TASKS[:2], CPU, validation=hold_out(digits)).fit()
    assert outcome.history[-1]["validation_accuracy"] > 0.8


@pytest.mark.parametrize("protocol", ["corrected", "published"])
def test_a_beginning_measures_what_the_whole_does_there(
    protocol: str, short_run: Run, digits: Prepared
) -> None:
    """Bit for bit: tasks that are not learned change nothing, and are not measured."""
    switches = PROTOCOLS[protocol]
    run = replace(changed(short_run, growth="random", epochs=1), switches=switches)
    whole = learner(run, digits).fit().accuracy
    part = learner(changed(run, learn=2), digits).fit().accuracy
    assert part == [row for row in whole if row["after_task"] <= 2 and row["task"] <= 2]


def test_joint_training_of_a_beginning_sees_its_tasks_alone(
    short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, method="joint", learn=2, epochs=1)
    outcome = learner(run, digits).fit()
    last = [row["task"] for row in outcome.accuracy if row["after_task"] == 2]
    assert last == [1, 2]
    first = torch.isin(digits.labels, torch.tensor([*TASKS[0], *TASKS[1]])) & ~digits.is_test
    assert outcome.effort.images == int(first.sum())
