"""Which classes form a task, which images are held out, and images that stay in their file."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dstcl.data.batches import TrainingBatches, evaluation_batches, task_examples
from dstcl.data.orders import PATTERN, Order, order_name, parse_order
from dstcl.data.prepare import prepare
from dstcl.data.stored import Prepared, load_prepared, read_tasks
from dstcl.data.superclasses import CIFAR100, FINE_NAMES, SUPERCLASSES
from dstcl.data.tasks import (
    held_out,
    split_classes,
    superclasses_of,
    write_tasks,
)

CPU = torch.device("cpu")
fuzzed = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def mnist_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mnist5k-28px.safetensors"
    prepare("mnist5k", 28, path)
    return path


def noise(count: int, classes: int = 4) -> Prepared:
    """Image k is of class k mod ``classes``; every third is for testing."""
    random = torch.Generator().manual_seed(1)
    return Prepared(
        torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=random),
        torch.arange(count) % classes,
        torch.arange(count) % 3 == 0,
        [f"class {label}" for label in range(classes)],
        [0.5] * 3,
        [0.25] * 3,
        "digest",
    )


# Names of orders


@fuzzed
@given(
    st.sampled_from(["natural", "superclass", "seed0", "seed17"]),
    st.lists(st.integers(1, 60), max_size=12),
    st.sampled_from([0.0, 0.01, 0.1, 0.125, 0.5]),
)
def test_a_name_says_all_that_decides_a_split(
    classes: str, sizes: list[int], validation: float
) -> None:
    order = Order(classes, tuple(sizes), validation)
    assert parse_order(order_name(order)) == order
    assert re.fullmatch(PATTERN, order_name(order))


def test_names_are_short() -> None:
    order = Order("seed3", (50, 10, 10, 10, 10, 10), 0.1)
    assert order_name(order) == "seed3-sizes50+5x10-val0.1"


@pytest.mark.parametrize(
    "name", ["", "seed", "random", "seed1-", "natural-val1", "natural-sizes", "seed1-sizes5++5",
             "seed1-sizesx5", "val0.1", "natural-val0.1-sizes5"]
)  # fmt: skip
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="order"):
        parse_order(name)


# Unequal tasks


@pytest.mark.parametrize("order", ["natural", "seed3"])
def test_unequal_tasks_cut_the_same_sequence(order: str) -> None:
    equal = split_classes(10, 5, order)
    unequal = split_classes(10, 3, f"{order}-sizes5+3+2")
    assert [len(task) for task in unequal] == [5, 3, 2]
    assert list(itertools.chain(*unequal)) == list(itertools.chain(*equal))
    assert split_classes(10, 3, order, sizes=[5, 3, 2]) == unequal


@pytest.mark.parametrize("sizes", ["5+3", "5+3+3", "4+3+2", "10+0+0"])
def test_sizes_that_do_not_fit_are_refused(sizes: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"sizes {sizes}: ")):
        split_classes(10, 3, f"natural-sizes{sizes}")


# Superclasses


def test_there_are_twenty_superclasses_of_five_classes() -> None:
    assert len(CIFAR100) == 20
    assert {len(names) for names in CIFAR100.values()} == {5}
    assert len(set(itertools.chain(*CIFAR100.values()))) == 100
    assert list(CIFAR100) == sorted(CIFAR100)
    assert all(list(names) == sorted(names) for names in CIFAR100.values())


def test_tasks_by_superclass_hold_whole_superclasses() -> None:
    numbers = superclasses_of("cifar100", FINE_NAMES)
    for task, names in zip(
        split_classes(100, 20, "superclass", superclasses=numbers), CIFAR100.values(), strict=True
    ):
        assert [FINE_NAMES[label] for label in task] == list(names)
    ten = split_classes(100, 10, "superclass", superclasses=numbers)
    assert all(len({numbers[label] for label in task}) == 2 for task in ten)


def test_the_published_coarse_labels_of_some_classes() -> None:
    """From the data set's page: apple 4, aquarium_fish 1, baby 14, bear 8, worm 13."""
    numbers = superclasses_of("cifar100", FINE_NAMES)
    assert [numbers[k] for k in (0, 1, 2, 3, 99)] == [4, 1, 14, 8, 13]


def test_superclasses_of_other_data_are_refused(mnist_file: Path, tmp_path: Path) -> None:
    assert superclasses_of("cifar100", ["a", "b"]) == []
    with pytest.raises(ValueError, match=r"superclass.*cifar100"):
        write_tasks(mnist_file, "mnist5k", 5, "superclass", tmp_path / "tasks.json")
    assert list(SUPERCLASSES) == ["cifar100"]


# Validation


@fuzzed
@given(st.integers(24, 200), st.sampled_from([0.01, 0.1, 0.25, 0.5]))
def test_held_out_images_are_training_images_of_every_class(count: int, share: float) -> None:
    data = noise(count)
    chosen = held_out(data, share)
    assert chosen == sorted(set(chosen))
    assert not data.is_test[chosen].any()
    for label in range(4):
        members = int(((data.labels == label) & ~data.is_test).sum())
        assert int((data.labels[chosen] == label).sum()) == max(1, round(share * members))


def test_held_out_images_are_the_same_everywhere() -> None:
    assert held_out(noise(60), 0.2) == [4, 37, 38, 41, 44, 46, 47, 59]


def test_a_larger_share_holds_out_the_same_images_and_more() -> None:
    data = noise(120)
    assert set(held_out(data, 0.1)) < set(held_out(data, 0.25)) < set(held_out(data, 0.5))


def test_what_is_held_out_of_a_class_depends_on_no_other_class() -> None:
    data = noise(120)
    labels = data.labels.clamp(max=2)  # another class becomes larger, another disappears
    alone = replace(data, labels=labels, class_names=data.class_names[:3])
    same = [k for k in held_out(data, 0.2) if data.labels[k] == 0]
    assert [k for k in held_out(alone, 0.2) if data.labels[k] == 0] == same


def test_a_class_with_nothing_left_is_named() -> None:
    with pytest.raises(ValueError, match=r"validation: 0.5; class class 2 has 1 images"):
        held_out(noise(9), 0.5)


def test_the_three_parts_never_overlap_and_leave_none_out(mnist_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    write_tasks(mnist_file, "mnist5k", 5, "seed1-val0.1", path)
    split, data = read_tasks(path), load_prepared(mnist_file)
    assert len(split["validation"]) == 400
    seen: list[bytes] = []
    for classes in split["tasks"]:
        counts = []
        for part in ("train", "validation", "test"):
            examples = task_examples(
                data, classes, part=part, validation=split["validation"], device=CPU
            )
            seen += [image.numpy().tobytes() for image in examples.images]
            counts.append(torch.bincount(examples.labels).tolist())
        assert counts == [[360, 360], [40, 40], [100, 100]]
    assert len(seen) == len(set(seen)) == 5000


def test_validation_changes_the_digest_and_only_then_the_file(
    mnist_file: Path, tmp_path: Path
) -> None:
    files = []
    for order in ("seed0", "seed0-val0.1", "seed0-val0.2", "seed0-sizes2+8"):
        path = tmp_path / "tasks.json"
        write_tasks(mnist_file, "mnist5k", 2 if "sizes" in order else 5, order, path)
        files.append(read_tasks(path))
    assert len({content["digest"] for content in files}) == 4
    assert "validation" not in files[0]


def test_the_digest_of_a_plain_split_is_the_same_everywhere(
    mnist_file: Path, tmp_path: Path
) -> None:
    write_tasks(mnist_file, "mnist5k", 5, "seed0", tmp_path / "tasks.json")
    assert read_tasks(tmp_path / "tasks.json")["digest"] == "70007128620bb408"


def test_without_held_out_images_training_is_everything_but_testing() -> None:
    data = noise(40)
    plain = task_examples(data, [1, 2], test=False, device=CPU)
    named = task_examples(data, [1, 2], part="train", device=CPU)
    assert torch.equal(plain.images, named.images)
    assert len(task_examples(data, [1, 2], part="validation", device=CPU)) == 0
    with pytest.raises(ValueError, match="either test or part"):
        task_examples(data, [1], device=CPU)


# Images that stay in their file


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_batches_from_the_file_are_those_from_the_device(mnist_file: Path, augment: str) -> None:
    data = load_prepared(mnist_file)
    epochs = []
    for place in ("device", "host"):
        examples = task_examples(data, [3, 8], test=False, device=CPU, place=place)  # type: ignore[arg-type]
        generator = torch.Generator().manual_seed(4)
        epochs.append(list(TrainingBatches(examples, 100, augment, generator)))
    assert len(epochs[0]) == 8
    for (images, labels), (others, other_labels) in zip(*epochs, strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, other_labels)


def test_nothing_is_copied_of_images_that_stay_in_their_file(mnist_file: Path) -> None:
    data = load_prepared(mnist_file)
    examples = task_examples(data, [0], test=True, device=CPU, place="host")
    assert examples.stored.data_ptr() == data.images.data_ptr()
    assert torch.equal(examples.images, data.images[(data.labels == 0) & data.is_test])
    ((images, _),) = evaluation_batches(examples, 1000)
    assert torch.equal(images, examples.normalised(examples.images))


def test_an_epoch_from_the_file_goes_on_where_it_was_interrupted(mnist_file: Path) -> None:
    data = load_prepared(mnist_file)
    examples = task_examples(data, [3, 8], test=False, device=CPU, place="host")
    generator = torch.Generator().manual_seed(4)
    batches = TrainingBatches(examples, 100, "crop-flip", generator)
    for _ in range(3):
        next(batches)
    order, position, state = batches.order.clone(), batches.position, generator.get_state()
    expected = list(batches)
    resumed = torch.Generator()
    resumed.set_state(state)
    rest = TrainingBatches(examples, 100, "crop-flip", resumed, order=order, position=position)
    assert all(torch.equal(a, b) for x, y in zip(expected, rest, strict=True) for a, b in zip(x, y))


@pytest.mark.parametrize(("free", "stays"), [(10**9, False), (1000, True)])
def test_images_stay_in_their_file_where_memory_is_short(
    monkeypatch: pytest.MonkeyPatch, free: int, stays: bool
) -> None:
    monkeypatch.setattr("dstcl.data.batches.free_memory", lambda device: free)
    examples = task_examples(noise(40), [1, 2], test=False, device=CPU)
    assert (examples.rows is not None) == stays


def test_an_interrupted_epoch_leaves_no_thread(mnist_file: Path) -> None:
    import gc
    import threading

    data = load_prepared(mnist_file)
    before = threading.active_count()
    examples = task_examples(data, [3, 8], test=False, device=CPU, place="host")
    batches = TrainingBatches(examples, 10, "none", torch.Generator())
    next(batches)
    del batches
    gc.collect()
    assert threading.active_count() == before


def test_augmented_batches_are_alike_on_cpu_and_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    epochs = []
    for device in (CPU, torch.device("cuda")):
        for place in ("device", "host"):
            examples = task_examples(noise(60), [1, 2], test=False, device=device, place=place)  # type: ignore[arg-type]
            generator = torch.Generator().manual_seed(1)
            epochs.append(list(TrainingBatches(examples, 7, "crop-flip", generator)))
    for epoch in epochs[1:]:
        for (images, labels), (others, other_labels) in zip(epochs[0], epoch, strict=True):
            # Subtraction and division round alike; augmentation moves pixels only.
            assert torch.equal(images, others.cpu())
            assert torch.equal(labels, other_labels.cpu())
