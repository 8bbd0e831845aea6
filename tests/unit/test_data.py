"""From what is on disk to batches: readers, prepared files, task splits, augmentation."""

import hashlib
import io
import json
import os
import re
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_trees import assert_equal, encoded, picture, raw_folder, read_source, unpacked, zipped
from PIL import Image
from torch import Tensor

from dstcl.data.batches import (
    Examples,
    TrainingBatches,
    crop_and_flip,
    evaluation_batches,
    task_examples,
)
from dstcl.data.catalog import DATASETS, DatasetInfo
from dstcl.data.prepare import prepare
from dstcl.data.raw import DataError
from dstcl.data.readers.source import SPLIT_SEED, Images, split_by_class
from dstcl.data.stored import Prepared, load_prepared, read_tasks
from dstcl.data.tasks import split_classes, write_tasks
from dstcl.storage import write_tensors

CPU = torch.device("cpu")
fuzzed = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# MNIST-5k


@pytest.fixture(scope="module")
def mnist() -> Images:
    return read_source("mnist5k", 28)


@pytest.fixture(scope="module")
def mnist_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "mnist5k-28px.safetensors"
    prepare("mnist5k", 28, path)
    return path


def test_mnist5k_has_400_training_and_100_test_images_of_each_digit(mnist: Images) -> None:
    assert mnist.pixels.shape == (5000, 1, 28, 28)
    assert mnist.pixels.dtype == np.uint8
    assert mnist.class_names == list("0123456789")
    assert np.bincount(mnist.labels[~mnist.is_test]).tolist() == [400] * 10
    assert np.bincount(mnist.labels[mnist.is_test]).tolist() == [100] * 10


def test_mnist5k_pixels_are_those_that_it_is_normalised_with(mnist: Images) -> None:
    assert (mnist.pixels.min(), mnist.pixels.max()) == (0, 255)
    assert mnist.pixels.mean() / 255 == pytest.approx(DATASETS["mnist5k"].mean[0], abs=0.01)
    assert mnist.pixels.std() / 255 == pytest.approx(DATASETS["mnist5k"].std[0], abs=0.01)


def test_no_image_of_mnist5k_is_there_twice(mnist: Images) -> None:
    """So none is in both the training and the test set."""
    assert len({image.tobytes() for image in mnist.pixels}) == 5000


def test_mnist5k_is_split_alike_whatever_was_drawn_before(mnist: Images) -> None:
    np.random.seed(1)
    again = read_source("mnist5k", 28)
    assert np.array_equal(again.pixels, mnist.pixels)
    assert np.array_equal(again.is_test, mnist.is_test)


def test_mnist5k_has_one_size(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mnist5k: image_size 32; only 28"):
        prepare("mnist5k", 32, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_split_of_a_class_depends_on_no_other_class() -> None:
    labels = np.array([0, 1, 2] * 20)
    together = split_by_class(labels, 5)
    alone = split_by_class(np.full(20, 1), 5)
    assert np.array_equal(together[labels == 1], alone)
    assert not np.array_equal(together[labels == 0], together[labels == 1])


@fuzzed
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9))
def test_every_class_gives_the_same_number_of_test_images(labels: list[int], each: int) -> None:
    is_test = split_by_class(np.array(labels), each)
    for label in set(labels):
        assert is_test[np.array(labels) == label].sum() == min(each, labels.count(label))


# Prepared files


def test_a_prepared_file_holds_what_the_reader_gave(mnist: Images, mnist_file: Path) -> None:
    data = load_prepared(mnist_file)
    assert np.array_equal(data.images.numpy(), mnist.pixels)
    assert np.array_equal(data.labels.numpy(), mnist.labels)
    assert np.array_equal(data.is_test.numpy(), mnist.is_test)
    assert (data.images.dtype, data.labels.dtype) == (torch.uint8, torch.int64)
    assert data.class_names == mnist.class_names
    assert data.mean == list(DATASETS["mnist5k"].mean)
    assert data.std == list(DATASETS["mnist5k"].std)


def test_the_digest_of_mnist5k_is_the_same_everywhere(mnist_file: Path) -> None:
    """Results name the data by it: if it changes, so did anything else that training sees."""
    data = load_prepared(mnist_file)
    assert data.digest == "8c63fe16b22f0093"
    parts = (data.images, data.labels, data.is_test)
    plain = hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts))
    assert plain.hexdigest()[:16] == "95080720614f3ecb"  # in results recorded up to 2026


def changed(images: Images, part: str) -> Images:
    parts = {name: np.array(getattr(images, name)) for name in ("pixels", "labels", "is_test")}
    parts[part].flat[0] = 1 - parts[part].flat[0]
    return Images(**parts, class_names=images.class_names)


@pytest.mark.parametrize("part", ["pixels", "labels", "is_test"])
def test_pixels_labels_and_split_decide_the_digest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    small = Images(
        np.zeros((4, 1, 2, 2), np.uint8),
        np.array([0, 1, 0, 1]),
        np.array([False, False, True, True]),
        ["a", "b"],
    )
    monkeypatch.setattr("dstcl.data.readers.mnist5k.read_mnist5k", lambda: small)
    before = prepare("mnist5k", 28, tmp_path / "one")
    assert prepare("mnist5k", 28, tmp_path / "same") == before
    monkeypatch.setattr("dstcl.data.readers.mnist5k.read_mnist5k", lambda: changed(small, part))
    assert prepare("mnist5k", 28, tmp_path / "other") != before


def refused(path: Path) -> None:
    """The file is refused, and named."""
    with pytest.raises(ValueError, match=re.escape(str(path))):
        load_prepared(path)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 1_000, 2_000_000, -1])
def test_a_truncated_file_is_refused(mnist_file: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(mnist_file.read_bytes()[:kept])
    refused(path)


def test_a_file_that_goes_on_after_its_end_is_refused(mnist_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    path.write_bytes(mnist_file.read_bytes() + b"more")
    refused(path)


@fuzzed
@given(st.integers(8, 40), st.integers(0, 255))
def test_a_damaged_header_is_refused_or_harmless(
    mnist_file: Path, tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    content = bytearray(mnist_file.read_bytes())
    content[place] = byte
    path = tmp_path_factory.mktemp("damaged") / "data.safetensors"
    path.write_bytes(content)
    try:
        outcome = f"{path}: {len(load_prepared(path).labels)} labels"
    except ValueError as error:
        outcome = str(error)
    assert outcome.startswith(f"{path}: ")


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"class,file\n0,a.png\n", b"PK\x03\x04"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(content)
    refused(path)


def test_tensors_of_another_kind_are_refused(tmp_path: Path, mnist_file: Path) -> None:
    from safetensors.torch import save_file

    tensors = {name: torch.zeros(2) for name in ("images", "labels", "is_test")}
    names = {"class_names": ["a"], "mean": [0.5], "std": [0.5], "digest": "d"}
    write_tensors(tmp_path / "weights", {"conv.weight": torch.zeros(2)}, names)
    write_tensors(tmp_path / "no-digest", tensors, {"class_names": ["a"]})
    save_file(tensors, tmp_path / "no-json", {"format": "pt"})
    save_file(tensors, tmp_path / "no-metadata")
    for name in ("weights", "no-digest", "no-json", "no-metadata", "missing"):
        refused(tmp_path / name)


# Folders and archives of images

TOY = DatasetInfo(3, 3, 8, (0.5,) * 3, (0.5,) * 3, 4, 2, "Toy")


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The empty folder in which archives of the data set "toy" with three classes belong."""
    return raw_folder(monkeypatch, tmp_path, TOY)


def split_tree(classes: str = "cab") -> dict[str, bytes]:
    """Two training images and one test image of each class."""
    return {
        f"{part}/{name}/{index}.png": encoded(picture(100 * ord(name) + index))
        for name in classes
        for part, index in (("train", 0), ("train", 1), ("test", 2))
    }


def flat_tree(each: int, classes: str = "cab") -> dict[str, bytes]:
    """``each`` images of each class, without a split."""
    return {
        f"{name}/{index:02}.png": encoded(picture(100 * ord(name) + index))
        for name in classes
        for index in range(each)
    }


def toy(size: int = 8) -> Images:
    return read_source("toy", size)


def test_a_tree_keeps_its_split_its_classes_and_every_pixel(raw: Path) -> None:
    zipped(raw / "toy-subset.zip", split_tree())
    images = toy()
    assert images.class_names == ["a", "b", "c"]
    assert images.pixels.shape == (9, 3, 8, 8)
    assert images.pixels.dtype == np.uint8
    assert images.is_test.sum() == 3
    found = {
        (int(label), bool(test), image.tobytes())
        for image, label, test in zip(images.pixels, images.labels, images.is_test)
    }
    assert found == {
        (label, index == 2, picture(100 * ord(name) + index).transpose(2, 0, 1).tobytes())
        for label, name in enumerate("abc")
        for index in range(3)
    }


@pytest.mark.parametrize("outer", ["", "toy-master/", "deep/er/"])
def test_folder_and_archive_give_the_same_with_any_folder_around(raw: Path, outer: str) -> None:
    tree = {outer + name: content for name, content in split_tree().items()}
    archive = zipped(raw / "toy.zip", tree)
    from_archive = toy()
    archive.unlink()
    unpacked(raw / "toy", tree)
    assert_equal(toy(), from_archive)
    assert from_archive.is_test.sum() == 3


def test_the_order_of_files_in_an_archive_decides_nothing(raw: Path) -> None:
    tree = split_tree()
    zipped(raw / "toy.zip", tree)
    forwards = toy()
    zipped(raw / "toy.zip", dict(reversed(tree.items())))
    assert_equal(toy(), forwards)


@pytest.mark.parametrize(("each", "expected"), [(2, 1), (6, 1), (11, 1), (12, 2), (20, 3)])
def test_without_a_split_a_sixth_of_each_class_is_the_test_set(
    raw: Path, each: int, expected: int
) -> None:
    zipped(raw / "toy.zip", flat_tree(each))
    images = toy()
    assert np.bincount(images.labels).tolist() == [each] * 3
    assert np.bincount(images.labels[images.is_test]).tolist() == [expected] * 3


def test_a_class_with_fewer_images_sets_the_number_of_test_images(raw: Path) -> None:
    tree = flat_tree(12) | {f"c/{i}-more.png": encoded(picture(i)) for i in range(12)}
    zipped(raw / "toy.zip", tree)
    images = toy()
    assert np.bincount(images.labels[images.is_test]).tolist() == [2, 2, 2]


def test_train_val_test_by_class_is_put_together_and_split_by_image(raw: Path) -> None:
    """miniImageNet's usual archive keeps whole classes for testing; here every class is learned."""
    parts = dict(zip("abc", ("train", "val", "test")))
    zipped(raw / "toy.zip", {f"{parts[n[0]]}/{n}": c for n, c in flat_tree(6).items()})
    images = toy()
    assert np.bincount(images.labels[images.is_test]).tolist() == [1, 1, 1]


def test_images_in_grey_with_palette_or_alpha_become_rgb(raw: Path) -> None:
    grey = picture(0)[:, :, 0]
    alpha = np.concatenate([picture(1), np.full((8, 8, 1), 255, np.uint8)], axis=2)
    palette = io.BytesIO()
    Image.new("P", (8, 8), 1).save(palette, "PNG")
    tree = {"a/1.png": encoded(grey), "b/1.png": encoded(alpha), "c/1.png": palette.getvalue()}
    tree |= {name.replace("1", "2"): content for name, content in tree.items()}
    zipped(raw / "toy.zip", tree)
    pixels = toy().pixels[::2]
    assert pixels.shape == (3, 3, 8, 8)
    assert all(np.array_equal(channel, grey) for channel in pixels[0])
    assert np.array_equal(pixels[1], picture(1).transpose(2, 0, 1))


def test_a_wide_image_loses_its_sides_and_a_large_one_its_resolution(raw: Path) -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64, 1] = 200
    tall = wide.transpose(1, 0, 2)
    tree = {
        "a/1.png": encoded(wide),
        "b/1.png": encoded(tall),
        "c/1.png": encoded(picture(0, 16, 16, 3)),
    }
    tree |= {name.replace("1", "2"): content for name, content in tree.items()}
    zipped(raw / "toy.zip", tree)
    pixels = toy(16).pixels[::2]
    assert pixels.shape == (3, 3, 16, 16)
    for image in pixels[:2]:
        assert (image[1, :, 2:-2] == 200).mean() > 0.8  # a resized edge may blend
        assert image[0].max() == image[2].max() == 0
    assert np.array_equal(pixels[2], picture(0, 16, 16, 3).transpose(2, 0, 1))


def test_other_files_and_suffixes_in_capitals_are_understood(raw: Path) -> None:
    tree = split_tree("ab")
    tree |= {"train/c/1.JPG": encoded(picture(1), "JPEG"), "test/c/2.jpeg": tree["test/a/2.png"]}
    tree |= {"README.md": b"text", "train/labels.csv": b"a,b", "train/a/Thumbs.db": b"\0"}
    zipped(raw / "toy.zip", tree)
    assert np.bincount(toy().labels).tolist() == [3, 3, 2]


def test_a_prepared_tree_can_be_trained_on(raw: Path, tmp_path: Path) -> None:
    zipped(raw / "toy.zip", split_tree())
    prepare("toy", 8, tmp_path / "toy.safetensors")
    data = load_prepared(tmp_path / "toy.safetensors")
    examples = task_examples(data, [2, 0], test=False, device=CPU)
    assert sorted(examples.labels.tolist()) == [0, 0, 1, 1]
    expected = torch.from_numpy(picture(100 * ord("c")).transpose(2, 0, 1).copy())
    assert any(torch.equal(image, expected) for image in examples.images[examples.labels == 0])


def complaint() -> str:
    """The one line with which the data set "toy" is refused."""
    with pytest.raises(DataError) as caught:
        toy()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_data_that_are_not_there_are_asked_for_by_file_name(raw: Path) -> None:
    (raw / "cifar.zip").write_bytes(b"")
    message = complaint()
    assert f"{raw / 'toy'}/" in message
    assert f"{raw / 'toy'}*.zip" in message
    assert "DSTCL_DATA" in message


def test_two_sources_of_one_data_set_are_refused_with_both_names(raw: Path) -> None:
    zipped(raw / "toy-small.zip", split_tree())
    unpacked(raw / "toy", split_tree())
    message = complaint()
    assert str(raw / "toy-small.zip") in message
    assert f"{raw / 'toy'}," in message


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_archives_are_looked_for_in_data_raw(
    raw: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv("DSTCL_DATA")
    else:
        monkeypatch.setenv("DSTCL_DATA", value)
    monkeypatch.chdir(raw)
    assert str(Path("data/raw/toy")) in complaint()
    (raw / "data" / "raw").mkdir(parents=True)
    zipped(raw / "data" / "raw" / "toy.zip", split_tree())
    assert len(toy().labels) == 9


@pytest.mark.parametrize("classes", ["ab", "abcd"])
def test_another_number_of_classes_is_refused(raw: Path, classes: str) -> None:
    path = zipped(raw / "toy.zip", split_tree(classes))
    assert complaint() == f"{path}: {len(classes)} classes; toy has 3"


def test_an_archive_without_images_is_refused(raw: Path) -> None:
    path = zipped(raw / "toy.zip", {"README.md": b"nothing here"})
    assert complaint() == f"{path}: no images in it"


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_archive_is_named(raw: Path, content: bytes) -> None:
    (raw / "toy.zip").write_bytes(content)
    assert complaint().startswith(f"{raw / 'toy.zip'}: ")


def test_an_archive_whose_download_stopped_is_named(raw: Path) -> None:
    path = zipped(raw / "toy.zip", split_tree())
    path.write_bytes(path.read_bytes()[:-200])
    assert complaint().startswith(f"{path}: damaged archive")


def test_an_archive_with_a_changed_byte_is_named(raw: Path) -> None:
    path = zipped(raw / "toy.zip", split_tree())
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    assert complaint().startswith(f"{path}: damaged archive")


@pytest.mark.parametrize("content", [b"", b"text", encoded(picture(0))[:60]])
def test_a_file_that_is_no_image_is_named_with_its_archive(raw: Path, content: bytes) -> None:
    path = zipped(raw / "toy.zip", split_tree() | {"train/b/9.png": content})
    assert complaint().startswith(f"{path}:train/b/9.png: not an image")


def real_subset(dataset: str, monkeypatch: pytest.MonkeyPatch) -> Images:
    """A part of the real data set at its own size."""
    folder = os.environ.get("DSTCL_TEST_DATA")
    if not folder:
        pytest.skip("DSTCL_TEST_DATA names no folder with cifar100-subset.zip and so on")
    if not (Path(folder) / f"{dataset}-subset.zip").exists():
        pytest.skip(f"no {dataset}-subset.zip in the folder that DSTCL_TEST_DATA names")
    monkeypatch.setenv("DSTCL_DATA", folder)
    return read_source(dataset, DATASETS[dataset].image_size)


def test_real_cifar100_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = real_subset("cifar100", monkeypatch)
    assert images.pixels.shape[1:] == (3, 32, 32)
    assert images.class_names[:2] == ["apple", "aquarium_fish"]
    assert images.class_names[99] == "worm"
    assert np.bincount(images.labels[~images.is_test]).tolist() == [100] * 100
    assert np.bincount(images.labels[images.is_test]).tolist() == [20] * 100
    mean, std = (f(images.pixels / 255, (0, 2, 3)) for f in (np.mean, np.std))
    assert mean == pytest.approx(DATASETS["cifar100"].mean, abs=0.02)
    assert std == pytest.approx(DATASETS["cifar100"].std, abs=0.02)


def test_real_miniimagenet_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = real_subset("miniimagenet", monkeypatch)
    assert images.pixels.shape == (2000, 3, 32, 32)
    assert len(images.class_names) == 100
    assert all(re.fullmatch(r"n\d{8}", name) for name in images.class_names)
    assert np.bincount(images.labels[images.is_test]).tolist() == [3] * 100
    mean = np.mean(images.pixels / 255, (0, 2, 3))
    assert mean == pytest.approx(DATASETS["miniimagenet"].mean, abs=0.03)


# Tasks


@st.composite
def divisions(draw: st.DrawFn) -> tuple[int, int]:
    tasks, size = draw(st.integers(1, 20)), draw(st.integers(1, 10))
    return tasks * size, tasks


@fuzzed
@given(divisions(), st.one_of(st.just("natural"), st.integers(0, 10**6).map("seed{}".format)))
def test_a_split_has_equal_tasks_and_every_class_once(
    division: tuple[int, int], order: str
) -> None:
    classes, tasks = division
    split = split_classes(classes, tasks, order)
    assert [len(task) for task in split] == [classes // tasks] * tasks
    assert sorted(label for task in split for label in task) == list(range(classes))


def test_natural_order_counts_up() -> None:
    assert split_classes(6, 3, "natural") == [[0, 1], [2, 3], [4, 5]]


def test_seeded_orders_are_the_same_everywhere_and_always() -> None:
    torch.manual_seed(5)
    assert split_classes(10, 5, "seed0") == [[0, 6], [1, 4], [9, 8], [2, 3], [7, 5]]
    assert split_classes(10, 5, "seed1") == [[6, 7], [5, 1], [4, 0], [8, 2], [3, 9]]


def test_seeded_orders_differ_between_seeds_but_not_between_numbers_of_tasks() -> None:
    orders = {str(split_classes(100, 10, f"seed{seed}")) for seed in range(20)}
    assert len(orders) == 20
    sequences = {
        tuple(label for task in split_classes(100, tasks, "seed3") for label in task)
        for tasks in (5, 10, 20)
    }
    assert len(sequences) == 1


def test_drawing_a_split_leaves_the_global_random_state_alone() -> None:
    state = torch.get_rng_state()
    split_classes(10, 5, "seed0")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_task_file_holds_the_split_and_what_it_was_made_for(
    mnist_file: Path, tmp_path: Path
) -> None:
    write_tasks(mnist_file, "mnist5k", 5, "seed0", tmp_path / "tasks.json")
    content = read_tasks(tmp_path / "tasks.json")
    assert content["tasks"] == split_classes(10, 5, "seed0")
    assert content["class_names"] == [[str(label) for label in task] for task in content["tasks"]]
    assert content["dataset"] == "mnist5k"
    assert content["order"] == "seed0"
    assert content["data_digest"] == load_prepared(mnist_file).digest


def test_the_digest_of_a_task_file_follows_its_content(mnist_file: Path, tmp_path: Path) -> None:
    digests = {}
    for tasks, order in [(5, "seed0"), (5, "seed1"), (2, "seed0"), (5, "natural")]:
        for attempt in range(2):
            path = tmp_path / f"{attempt}.json"
            write_tasks(mnist_file, "mnist5k", tasks, order, path)
            digests[tasks, order, attempt] = read_tasks(path)["digest"]
        assert digests[tasks, order, 0] == digests[tasks, order, 1]
    assert len(set(digests.values())) == 4


def test_the_digest_of_a_task_file_follows_the_data_too(raw: Path, tmp_path: Path) -> None:
    digests = set()
    for number, tree in enumerate((split_tree(), flat_tree(6))):
        zipped(raw / "toy.zip", tree)
        prepare("toy", 8, tmp_path / "toy.safetensors")
        write_tasks(tmp_path / "toy.safetensors", "toy", 1, "natural", tmp_path / f"{number}.json")
        digests.add(read_tasks(tmp_path / f"{number}.json")["digest"])
    assert len(digests) == 2


def test_a_damaged_task_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text('{"tasks": [[0,')
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "tasks.json"))):
        read_tasks(tmp_path / "tasks.json")


# Examples of a task


def numbered(count: int, classes: int = 4, size: int = 16, channels: int = 1) -> Prepared:
    """Image k is k + 1 everywhere and of class k mod ``classes``; every third is for testing."""
    values = torch.arange(1, count + 1, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Prepared(
        values.expand(count, channels, size, size).contiguous(),
        torch.arange(count) % classes,
        torch.arange(count) % 3 == 0,
        [f"class {label}" for label in range(classes)],
        [0.0] * channels,
        [1 / 255] * channels,
        "digest",
    )


def numbers(images: Tensor) -> list[int]:
    """Which images of `numbered` these are; padding does not reach the centre."""
    return images[:, 0, 8, 8].int().tolist()


def test_a_task_has_the_images_of_its_classes_with_labels_by_position() -> None:
    data = numbered(24)
    examples = task_examples(data, [3, 1], test=False, device=CPU)
    expected = [k for k in range(24) if k % 3 and k % 4 in (3, 1)]
    assert numbers(examples.images) == [k + 1 for k in expected]
    assert examples.labels.tolist() == [0 if k % 4 == 3 else 1 for k in expected]
    assert len(examples) == len(expected)
    assert examples.images.dtype == torch.uint8
    assert examples.labels.dtype == torch.int64


def test_tasks_share_no_image_and_leave_none_out() -> None:
    data = numbered(40)
    seen = []
    for classes, test in product(split_classes(4, 2, "seed1"), (False, True)):
        seen += numbers(task_examples(data, classes, test=test, device=CPU).images)
    assert sorted(seen) == list(range(1, 41))


def test_labels_of_real_tasks_agree_with_the_classes(mnist_file: Path) -> None:
    data = load_prepared(mnist_file)
    for classes in split_classes(10, 5, "seed2"):
        for test, each in ((False, 400), (True, 100)):
            examples = task_examples(data, classes, test=test, device=CPU)
            assert torch.bincount(examples.labels).tolist() == [each, each]
            for label, original in enumerate(classes):
                own = data.images[(data.labels == original) & (data.is_test == test)]
                assert torch.equal(examples.images[examples.labels == label], own)


def test_normalisation_by_hand() -> None:
    """(value / 255 - mean) / std with a mean and std for each channel."""
    data = Prepared(
        torch.tensor([0, 255, 51, 102], dtype=torch.uint8).view(1, 2, 1, 2),
        torch.zeros(1, dtype=torch.int64),
        torch.ones(1, dtype=torch.bool),
        ["only"],
        [0.5, 0.2],
        [0.25, 0.1],
        "digest",
    )
    examples = task_examples(data, [0], test=True, device=CPU)
    ((images, _),) = evaluation_batches(examples, 8)
    assert images.dtype == torch.float32
    assert images.shape == (1, 2, 1, 2)
    assert images.flatten().tolist() == pytest.approx([-2.0, 2.0, 0.0, 2.0], abs=1e-6)


# Batches


def training_set(count: int = 30, size: int = 16) -> Examples:
    """`numbered` training images, labelled with their number."""
    images = numbered(count, size=size).images
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    return Examples(images, torch.arange(1, count + 1), zero, one)


@fuzzed
@given(
    st.integers(1, 60), st.integers(1, 70), st.sampled_from(["none", "crop-flip"]), st.integers(0)
)
def test_an_epoch_has_every_image_once_with_its_label(
    count: int, batch_size: int, augment: str, seed: int
) -> None:
    generator = draws(seed % 2**63)
    batches = list(TrainingBatches(training_set(count), batch_size, augment, generator))
    sizes = [len(labels) for _, labels in batches]
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert 1 <= sizes[-1] <= batch_size
    labels = [label for _, part in batches for label in part.tolist()]
    assert sorted(labels) == list(range(1, count + 1))
    assert [n for images, _ in batches for n in numbers(images)] == labels
    assert all(images.dtype == torch.float32 for images, _ in batches)


def test_epochs_are_shuffled_each_in_another_order() -> None:
    generator = draws()
    epochs = []
    for _ in range(3):
        batches = TrainingBatches(training_set(), 8, "none", generator)
        epochs.append([n for _, labels in batches for n in labels.tolist()])
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert sorted(epochs[0]) not in epochs


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_equal_generators_give_equal_batches(augment: str) -> None:
    torch.manual_seed(1)
    one = list(TrainingBatches(training_set(), 8, augment, draws(7)))
    torch.manual_seed(2)
    two = list(TrainingBatches(training_set(), 8, augment, draws(7)))
    other = list(TrainingBatches(training_set(), 8, augment, draws(8)))
    assert all(torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y))
    assert any(not torch.equal(a, b) for x, y in zip(one, other) for a, b in zip(x, y))


def test_without_augmentation_images_are_only_normalised() -> None:
    examples = training_set()
    for images, labels in TrainingBatches(examples, 7, "none", draws()):
        assert torch.equal(images, examples.images[labels - 1].float())


@pytest.mark.parametrize("batch_size", [1, 7, 30, 100])
def test_evaluation_batches_come_in_stored_order(batch_size: int) -> None:
    examples = training_set()
    images, labels = zip(*evaluation_batches(examples, batch_size))
    assert max(map(len, labels)) == min(batch_size, 30)
    assert torch.equal(torch.cat(labels), examples.labels)
    assert torch.equal(torch.cat(images), examples.images.float())


def test_an_evaluation_can_be_shuffled_and_augmented_by_a_generator() -> None:
    """As the paper's code does: still every image once, with its label."""
    examples = training_set()
    options: list[dict[str, Any]] = [{"shuffle": True}, {"shuffle": True, "augment": "crop-flip"}]
    for option in options:
        batches = list(evaluation_batches(examples, 7, generator=draws(2), **option))
        labels = [label for _, part in batches for label in part.tolist()]
        assert sorted(labels) == examples.labels.tolist() != labels
        assert [n for images, _ in batches for n in numbers(images)] == labels
        again = list(evaluation_batches(examples, 7, generator=draws(2), **option))
        assert all(torch.equal(a, b) for x, y in zip(batches, again) for a, b in zip(x, y))


def test_an_augmented_evaluation_in_stored_order_changes_images_but_not_labels() -> None:
    examples = training_set()
    batches = evaluation_batches(examples, 100, augment="crop-flip", generator=draws())
    ((images, labels),) = batches
    assert torch.equal(labels, examples.labels)
    assert (images == 0).any()  # padding


# Augmentation


def noise(count: int, channels: int = 3, size: int = 12, seed: int = 0) -> Tensor:
    shape = (count, channels, size, size)
    return torch.randint(1, 256, shape, generator=draws(seed), dtype=torch.uint8)


def crop(image: Tensor, down: int, right: int, mirrored: bool) -> Tensor:
    """The slow way, one image: pad with zeros, cut, mirror."""
    size = image.shape[-1]
    padded = np.pad(image.numpy(), ((0, 0), (4, 4), (4, 4)))
    cut = padded[:, down : down + size, right : right + size]
    return torch.from_numpy(np.flip(cut, 2).copy() if mirrored else cut.copy())


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 12), (3, 32)])
def test_a_batch_is_augmented_as_image_by_image_with_the_same_draws(
    channels: int, size: int
) -> None:
    images = noise(50, channels, size)
    same = draws(3)
    offsets = torch.randint(9, (2, 50, 1), generator=same)
    mirrored = torch.rand(50, 1, generator=same) < 0.5
    expected = [
        crop(image, int(offsets[0, k]), int(offsets[1, k]), bool(mirrored[k]))
        for k, image in enumerate(images)
    ]
    augmented = crop_and_flip(images, draws(3))
    assert augmented.dtype == images.dtype
    assert torch.equal(augmented, torch.stack(expected))


def test_every_offset_and_both_directions_are_drawn_equally_often() -> None:
    """162 crops are possible; each image must be one of them, each crop drawn about 50 times."""
    variants = list(product(range(9), range(9), (False, True)))
    image = noise(1, channels=1, size=6)[0]
    known = {crop(image, *variant).numpy().tobytes(): variant for variant in variants}
    assert len(known) == 162
    batch = crop_and_flip(image.expand(162 * 50, 1, 6, 6), draws(11))
    drawn = [known[one.numpy().tobytes()] for one in batch]
    for place, options in ((0, 9), (1, 9), (2, 2)):
        counts = np.unique([variant[place] for variant in drawn], return_counts=True)[1]
        expected = len(drawn) / options
        assert len(counts) == options
        # 5 standard deviations of a binomial number.
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected * (1 - 1 / options))
    assert len(set(drawn)) == 162


def test_a_spread_of_examples_is_of_even_distances() -> None:
    """Of images that are chosen from those that are stored, too; label k stands by image 2k."""
    stored = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1)
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    examples = Examples(stored, torch.arange(10), zero, one, rows=torch.arange(0, 20, 2))
    images, labels = examples.spread(4)
    assert labels.tolist() == [0, 2, 5, 7]
    assert images.flatten().tolist() == [0, 4, 10, 14]
    assert len(examples.spread(99)[1]) == 10


def test_augmentation_reaches_the_batches() -> None:
    """Each image is one of the crops of its own, seldom the middle one."""
    stored = noise(40, channels=1, size=8)
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    examples = Examples(stored, torch.arange(40), zero, one)
    ((images, labels),) = TrainingBatches(examples, 40, "crop-flip", draws())
    variants = list(product(range(9), range(9), (False, True)))
    for image, label in zip(images, labels):
        crops = [crop(stored[label], *variant) for variant in variants]
        assert any(torch.equal(image, one_crop.float()) for one_crop in crops)
    unchanged = sum(torch.equal(images[k], stored[labels[k]].float()) for k in range(40))
    assert unchanged < 5


def test_augmentation_leaves_the_stored_images_alone() -> None:
    images = noise(8)
    before = images.clone()
    crop_and_flip(images, draws())
    assert torch.equal(images, before)


# Gaps: what should be refused, or refused in better words, and is not yet


def test_preparing_again_gives_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    """Snakemake and DVC compare checksums: other bytes mean training everything again."""
    zipped(raw / "toy.zip", split_tree())
    for attempt in range(4):
        prepare("toy", 8, tmp_path / str(attempt))
    assert len({(tmp_path / str(attempt)).read_bytes() for attempt in range(4)}) == 1


def test_an_unknown_data_set_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"imagenet.*mnist5k"):
        prepare("imagenet", 28, tmp_path / "out")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_that_one_part_lacks_is_refused(raw: Path, part: str) -> None:
    tree = {name: data for name, data in split_tree().items() if not name.startswith(f"{part}/b")}
    path = zipped(raw / "toy.zip", tree)
    message = complaint()
    assert message.startswith(f"{path}: ")
    assert "b" in message


def test_folder_and_archive_agree_where_one_class_begins_like_another(raw: Path) -> None:
    names = [f"{name}/{k}.png" for name in ("a", "a-b", "c") for k in (1, 2)]
    tree = {name: encoded(picture(k)) for k, name in enumerate(names)}
    archive = zipped(raw / "toy.zip", tree)
    from_archive = toy()
    archive.unlink()
    unpacked(raw / "toy", tree)
    assert_equal(toy(), from_archive)


def harmed(content: bytes, what: str) -> bytes:
    """An archive with one thing wrong that zipfile tells with an error of another type."""
    harmed = bytearray(content)
    directory = content.index(b"PK\x01\x02")
    if what == "encrypted":
        harmed[6] |= 1
        harmed[directory + 8] |= 1
    elif what == "compression":
        harmed[8] = harmed[directory + 10] = 99
    elif what == "version":
        harmed[directory + 6] = 200
    return bytes(harmed)


@pytest.mark.parametrize("what", ["encrypted", "compression", "version"])
def test_an_archive_that_cannot_be_read_is_named(raw: Path, what: str) -> None:
    path = zipped(raw / "toy.zip", split_tree())
    path.write_bytes(harmed(path.read_bytes(), what))
    assert complaint().startswith(f"{path}: ")


@pytest.mark.parametrize("what", ["chunk", "header", "huge"])
def test_an_image_that_pillow_refuses_is_named(raw: Path, what: str) -> None:
    good = encoded(picture(0, 64, 64, 3))
    if what == "chunk":  # a part that is shorter than it should be: SyntaxError
        data = good.index(b"IDAT")
        content = good[: data - 4] + b"\0\0\0\x64" + good[data:]
    elif what == "header":  # ValueError
        content = good[:8] + b"\0\0\0\x05" + good[12:]
    else:  # DecompressionBombError
        huge = io.BytesIO()
        Image.new("1", (15_000, 15_000)).save(huge, "PNG")
        content = huge.getvalue()
    path = zipped(raw / "toy.zip", split_tree() | {"train/b/9.png": content})
    assert complaint().startswith(f"{path}:train/b/9.png: ")


def test_the_second_files_of_macos_are_no_images(raw: Path) -> None:
    second = {
        str(PurePosixPath("__MACOSX", name).with_name(f"._{PurePosixPath(name).name}")): b"\0\5"
        for name in split_tree()
    }
    zipped(raw / "toy.zip", split_tree() | second)
    assert len(toy().labels) == 9


@pytest.mark.parametrize("tasks", [0, -1, 3, 20])
def test_tasks_that_do_not_divide_the_classes_are_refused(tasks: int) -> None:
    with pytest.raises(ValueError, match=str(tasks)):
        split_classes(10, tasks, "natural")


def test_an_unknown_order_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="natural"):
        split_classes(10, 5, "random")


def test_a_split_of_another_data_set_is_refused(mnist_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cifar100"):
        write_tasks(mnist_file, "cifar100", 5, "natural", tmp_path / "tasks.json")


def test_an_unknown_augmentation_is_refused() -> None:
    with pytest.raises(ValueError, match="crop_flip"):
        next(TrainingBatches(training_set(), 8, "crop_flip", draws()))


@pytest.mark.parametrize("content", [[], {}, {"tasks": [[0, 1]]}])
def test_a_file_that_is_no_split_is_named(tmp_path: Path, content: object) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "tasks.json"))):
        read_tasks(tmp_path / "tasks.json")


def test_the_split_seed_is_part_of_the_data() -> None:
    """Changing it changes every result: nothing but a new digest would tell."""
    assert SPLIT_SEED == 2024


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_an_epoch_goes_on_bit_for_bit_where_it_was_interrupted(augment: str) -> None:
    generator = draws(5)
    batches = TrainingBatches(training_set(), 7, augment, generator)
    for _ in range(2):
        next(batches)
    order, position, state = batches.order.clone(), batches.position, generator.get_state()
    expected = list(batches)
    resumed = draws(99)
    resumed.set_state(state)
    rest = list(
        TrainingBatches(training_set(), 7, augment, resumed, order=order, position=position)
    )
    assert position == 14
    assert len(rest) == len(expected) == 3
    assert all(torch.equal(a, b) for x, y in zip(expected, rest, strict=True) for a, b in zip(x, y))
