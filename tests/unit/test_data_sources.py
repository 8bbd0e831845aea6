"""Readers of the layouts that people have on disk, and of each a reading that must agree."""

import contextlib
import copyreg
import gzip
import io
import json
import os
import pickle
import pickletools
import shutil
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar_files import cifar100_files, packed, record
from image_trees import assert_equal, encoded, picture, raw_folder, read_source, unpacked
from numpy.typing import NDArray
from PIL import Image

from dstcl.data.catalog import DATASETS, DatasetInfo
from dstcl.data.contents import file_digest
from dstcl.data.raw import DataError, fingerprint, read_header, source_state
from dstcl.data.readers import open_source
from dstcl.data.readers.records import RecordError, read_record
from dstcl.data.readers.source import Images, Notes, Pixels, split_by_class
from dstcl.data.superclasses import FINE_NAMES

NAMES = ["ant", "bee", "cat"]
TOY = DatasetInfo(3, 3, 32, (0.5,) * 3, (0.5,) * 3, 4, 2, "Toy", archives=("toy-python.tar.gz",))


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The empty folder in which archives of the data set "toy" with three classes belong."""
    return raw_folder(monkeypatch, tmp_path, TOY)


def colours(seed: int) -> Pixels:
    """Noise with channels first, as archives of CIFAR hold them."""
    return picture(seed, 3, 32, 32)


def png(pixels: Pixels, kind: str = "PNG") -> bytes:
    return encoded(pixels.transpose(1, 2, 0), kind)


def images(each: int, start: int) -> list[tuple[str, int, Pixels]]:
    """(file name, label, pixels), classes mixed as in the archives."""
    return [
        (f"x_s_{start + k:04}.png", k % 3, colours(start + k)) for k in reversed(range(3 * each))
    ]


TRAIN, TEST = images(4, 0), images(2, 100)


def as_folder(folder: Path) -> Images:
    """The same images as PNG files in class folders."""
    for part, content in (("train", TRAIN), ("test", TEST)):
        unpacked(folder, {f"{part}/{NAMES[k]}/{name}": png(p) for name, k, p in content})
    return read_source("toy", 32)


def complaint(size: int = 32) -> str:
    """The one line with which the data set "toy" is refused, pixels included."""
    with pytest.raises(DataError) as caught:
        read_source("toy", size)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# The original archives


def test_the_archive_and_a_folder_of_its_images_give_the_same(raw: Path) -> None:
    """Also in the order of the images, so that training sees the same batches."""
    path = packed(raw / "toy-python.tar.gz", "toy-python", cifar100_files(TRAIN, TEST, NAMES))
    from_archive = read_source("toy", 32)
    path.unlink()
    assert_equal(from_archive, as_folder(raw / "toy"))
    assert from_archive.is_test.sum() == 6


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_an_extracted_archive_gives_the_same(raw: Path, kind: str) -> None:
    import zipfile

    files = cifar100_files(TRAIN, TEST, NAMES)
    path = packed(raw / "toy-python.tar.gz", "toy-python", files)
    from_archive = read_source("toy", 32)
    path.unlink()
    if kind == "folder":
        unpacked(raw / "toy" / "cifar-100-python", files)
    else:
        with zipfile.ZipFile(raw / "toy.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(f"cifar-100-python/{name}", content)
    assert_equal(read_source("toy", 32), from_archive)


def test_the_five_batches_of_cifar10_are_put_together(raw: Path) -> None:
    batches = [TRAIN[k::5] for k in range(5)]
    files = {}
    for name, content in [
        *((f"data_batch_{k + 1}", b) for k, b in enumerate(batches)),
        ("test_batch", TEST),
    ]:
        data = np.stack([pixels.reshape(-1) for _, _, pixels in content])
        labels, names = [k for _, k, _ in content], [n for n, _, _ in content]
        files[name] = record(
            {"batch_label": name, "labels": labels, "data": data, "filenames": names}
        )
    files["batches.meta"] = record(
        {"num_cases_per_batch": 10000, "label_names": NAMES, "num_vis": 3072}
    )
    path = packed(raw / "toy-python.tar.gz", "cifar-10-batches-py", files)
    from_archive = read_source("toy", 32)
    path.unlink()
    assert_equal(from_archive, as_folder(raw / "toy"))


def test_an_archive_can_be_prepared_at_another_size(raw: Path) -> None:
    path = packed(raw / "toy-python.tar.gz", "toy-python", cifar100_files(TRAIN, TEST, NAMES))
    small = read_source("toy", 16)
    path.unlink()
    as_folder(raw / "toy")
    assert small.pixels.shape == (18, 3, 16, 16)
    assert_equal(small, read_source("toy", 16))


def test_records_are_what_python_would_have_read() -> None:
    """An independent reader of the same bytes (they are ours, so nothing can be called)."""
    for array in (TRAIN[0][2].reshape(2, -1), np.asfortranarray(TRAIN[0][2].reshape(2, -1))):
        values = {"data": array, "names": ["a", "b" * 300], "labels": [0, 255, 256, 70_000, -1]}
        content = record(values)
        expected = pickle.loads(content, encoding="latin-1")
        found = read_record(io.BytesIO(content))
        assert found.keys() == expected.keys()
        assert np.array_equal(found["data"], expected["data"])
        assert found["labels"] == expected["labels"]
        assert found["names"] == expected["names"]


def test_a_list_of_a_thousand_names_and_long_memos_are_read() -> None:
    names = [f"image {k}" for k in range(2500)]
    assert read_record(io.BytesIO(record({"names": names})))["names"] == names


class Harmful:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_file_that_would_call_a_function_is_refused_and_calls_nothing(
    tmp_path: Path, protocol: int
) -> None:
    content = pickle.dumps({"data": Harmful(str(tmp_path / "made"))}, protocol)
    with pytest.raises(RecordError):
        read_record(io.BytesIO(content))
    assert not (tmp_path / "made").exists()


def test_every_instruction_that_makes_objects_is_refused() -> None:
    known = {b"c", b"R", b"b"}  # names and calls, restricted to arrays
    harmless = {"PROTO", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2"}
    harmless |= {
        "BINSTRING",
        "SHORT_BINSTRING",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
    }
    harmless |= {"EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "STOP"}
    harmless |= {"BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"}
    for op in pickletools.opcodes:
        if op.name in harmless or op.code.encode("latin-1") in known:
            continue
        with pytest.raises(RecordError, match="instruction"):
            read_record(io.BytesIO(b"\x80\x02" + op.code.encode("latin-1") + b"0\n0\n."))


@pytest.mark.parametrize(
    "name", ["os\nsystem", "numpy\nload", "numpy.core.multiarray\nscalar", "builtins\neval"]
)
def test_every_other_name_is_refused(name: str) -> None:
    with pytest.raises(RecordError, match="not plain data"):
        read_record(io.BytesIO(b"\x80\x02c" + name.encode() + b"\n)R."))


def test_a_name_with_dots_is_not_walked_along() -> None:
    """From protocol 4 on a name may be a path of attributes, which `numpy` has many of."""
    for text in (b"\x80\x04cnumpy\nndarray.dump\n.", pickle.dumps(io.BytesIO.read, 4)):
        with pytest.raises(RecordError):
            read_record(io.BytesIO(text))


def test_a_registered_extension_is_not_reached(tmp_path: Path) -> None:
    """Also where the interpreter keeps it ready, and no name would have to be found."""
    made = str(tmp_path / "made").encode()
    content = b"\x80\x02\x82\xf0U" + bytes([len(made)]) + made + b"\x85R."
    copyreg.add_extension("os", "mkdir", 240)
    try:
        assert pickle.loads(b"\x80\x02\x82\xf0.") is os.mkdir
        with pytest.raises(RecordError, match="instruction"):
            read_record(io.BytesIO(content))
    finally:
        copyreg.remove_extension("os", "mkdir", 240)
    assert not (tmp_path / "made").exists()


DOUBLED = b"".join(b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) for k in range(60))


@pytest.mark.parametrize(
    "content",
    [
        b"}" + b")" + b"\x85" * 1_000_000 + b"Ns.",  # hashing this overflows the stack
        b"})q\x00" + DOUBLED + b"Ns.",  # and this takes 2^60 steps
        b"}" + b"(" * 2_000_000 + b".",
        b"}U\x01a](" + b"]" * 2_000_000 + b"es.",
        b"}(" + b"".join(b"U\x03%03dN" % k for k in range(100)) + b"u.",
        b"}U\x01aT\xf0\xff\xff\x7fa",  # 2 GiB are announced
        b"}U\x01acnumpy\nndarray\nJ\xff\xff\xff\x7f\x85Rs.",
        b"}U\x01acnumpy\nndarray\nU\x01O\x85R}U\x01b]sbs.",
        b"}U\x01acnumpy\ndtype\nU\x01OK\x00K\x01\x87Rs.",
        b"}cnumpy\ndtype\n(NU\x04nameU\x01ad\x86b.",
    ],
    ids=lambda content: content[:24].hex(),
)
def test_records_that_could_take_forever_or_all_memory_are_refused(content: bytes) -> None:
    began = time.process_time()
    with pytest.raises(RecordError) as caught:
        read_record(io.BytesIO(b"\x80\x02" + content))
    assert time.process_time() - began < 30
    assert len(str(caught.value).splitlines()) == 1


def test_a_record_takes_no_more_memory_than_it_has_bytes() -> None:
    """Neither by a far place in the memo nor by one text many times over."""
    text = b"}U\x04faceT\x00\x00\x10\x00" + b"x" * 2**20 + b"r\xff\xff\xff\x7f"
    again = b"U\x04many](" + b"j\xff\xff\xff\x7f" * 1000 + b"es."
    tracemalloc.start()
    try:
        with pytest.raises(RecordError, match="values within values"):
            read_record(io.BytesIO(b"\x80\x02" + text + b"s" + again))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * 2**20


def test_a_file_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = record({"names": ["a" * 100]})
    monkeypatch.setattr("dstcl.data.readers.records.LARGEST", len(content))
    assert read_record(io.BytesIO(content)) == {"names": ["a" * 100]}
    monkeypatch.setattr("dstcl.data.readers.records.LARGEST", 100)
    with pytest.raises(RecordError, match="longer than 100 bytes"):
        read_record(io.BytesIO(content))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80\x02N.",
        b"\x80\x02}(U\x01a]u.",  # an entry without its value would be fine: this has one
        b"\x80\x02}(U\x01au.",
        b"\x80\x02e.",
        b"\x80\x02h\x05.",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02}q\x00(U\x01ah\x00u.",
        b"\x80\x02}(U\x01aT\xff\xff\xff\xffabcu.",
        b"\x80\x02}U\x01a]]]aas.",
        b"\x80\x02cnumpy\ndtype\ncnumpy\ndtype\n\x85R.",
    ],
)
def test_damaged_records_are_refused_in_one_line(content: bytes) -> None:
    if content == b"\x80\x02}(U\x01a]u.":
        assert read_record(io.BytesIO(content)) == {"a": []}
        return
    with pytest.raises(RecordError) as caught:
        read_record(io.BytesIO(content))
    assert len(str(caught.value).splitlines()) == 1


def test_every_cut_of_a_record_is_refused() -> None:
    content = record({"data": np.zeros((2, 3), np.uint8), "names": ["a", "b"], "labels": [1, 300]})
    for end in range(len(content)):
        with pytest.raises(RecordError):
            read_record(io.BytesIO(content[:end]))


def test_every_changed_byte_of_a_record_is_refused_or_harmless() -> None:
    content = record({"data": np.zeros((2, 3), np.uint8), "names": ["a", "b"], "labels": [1, 300]})
    for place in range(len(content)):
        for byte in range(0, 256, 5):
            changed = content[:place] + bytes([byte]) + content[place + 1 :]
            with contextlib.suppress(RecordError):
                assert isinstance(read_record(io.BytesIO(changed)), dict)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("data", np.zeros((12, 3071), np.uint8), "train: no images of 3 x 32 x 32"),
        ("data", [1, 2], "train: no images"),
        ("fine_labels", [0] * 11, "train: 'fine_labels' are not 12 numbers below 3"),
        ("fine_labels", [3] * 12, "train: 'fine_labels' are not 12 numbers below 3"),
        ("filenames", ["a"], "train: 'filenames' is no list of names"),
    ],
)
def test_archives_that_say_something_else_are_refused(
    raw: Path, key: str, value: object, words: str
) -> None:
    files = cifar100_files(TRAIN, TEST, NAMES)
    files["train"] = record(read_record(io.BytesIO(files["train"])) | {key: value})
    path = packed(raw / "toy-python.tar.gz", "toy-python", files)
    assert complaint().startswith(f"{path}:{words}")


def test_an_archive_with_a_file_missing_is_refused(raw: Path) -> None:
    files = cifar100_files(TRAIN, TEST, NAMES)
    del files["meta"]
    path = packed(raw / "toy-python.tar.gz", "toy-python", files)
    assert complaint().startswith(f"{path}: not a CIFAR archive")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_an_archive_whose_download_stopped_is_named(raw: Path, share: float) -> None:
    path = packed(raw / "toy-python.tar.gz", "toy-python", cifar100_files(TRAIN, TEST, NAMES))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert complaint().startswith(f"{path}")


def test_a_changed_byte_of_an_archive_is_seen(raw: Path) -> None:
    """By gzip's checksum: in noise, it would pass for another image."""
    path = packed(raw / "toy-python.tar.gz", "toy-python", cifar100_files(TRAIN, TEST, NAMES))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert complaint().startswith(f"{path}")


def test_a_tar_with_unsafe_names_is_refused(raw: Path) -> None:
    files = cifar100_files(TRAIN, TEST, NAMES)
    for folder in ("../out", "/abs"):
        path = packed(raw / "toy-python.tar.gz", folder, files)
        assert complaint().startswith(f"{path}: unsafe path '{folder}/train'")


# Parquet


def parquet(path: Path, content: list[tuple[str, int, Pixels]], **options: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    label = options.get("label", "fine_label")
    values = {
        options.get("image", "img"): [
            {"bytes": png(pixels), "path": name} for name, _, pixels in content
        ],
        label: [NAMES[k] if options.get("text") else k for _, k, _ in content],
    }
    table = pa.table(values)
    if options.get("names", True):
        features = {"info": {"features": {label: {"names": NAMES, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


@pytest.mark.parametrize("options", [{}, {"image": "image", "label": "label"}, {"text": True}])
def test_parquet_holds_the_same_images_in_its_own_order(raw: Path, options: dict[str, Any]) -> None:
    parquet(raw / "toy" / "train-00000-of-00001.parquet", TRAIN, **options)
    parquet(raw / "toy" / "test-00000-of-00001.parquet", TEST, **options)
    found = read_source("toy", 32)
    assert found.class_names == NAMES
    content = TEST + TRAIN  # by file name
    assert found.labels.tolist() == [k for _, k, _ in content]
    assert found.is_test.tolist() == [True] * 6 + [False] * 12
    assert np.array_equal(found.pixels, np.stack([pixels for _, _, pixels in content]))


def test_parquet_without_names_numbers_its_classes(raw: Path) -> None:
    parquet(raw / "toy" / "data" / "validation.parquet", TEST, names=False)
    parquet(raw / "toy" / "data" / "train.parquet", TRAIN, names=False)
    found = read_source("toy", 32)
    assert found.class_names == ["0", "1", "2"]
    assert found.is_test.sum() == 6


def test_numbers_of_cifar100_get_their_names_from_the_catalogue() -> None:
    assert len(FINE_NAMES) == len(set(FINE_NAMES)) == 100
    assert (FINE_NAMES[0], FINE_NAMES[51], FINE_NAMES[99]) == ("apple", "mushroom", "worm")


def test_one_parquet_file_without_a_split_is_split_by_class(raw: Path) -> None:
    parquet(raw / "toy" / "toy.parquet", TRAIN)
    assert np.bincount(read_source("toy", 32).labels).tolist() == [4, 4, 4]
    assert read_source("toy", 32).is_test.sum() == 3


def test_parquet_of_other_columns_says_which_there_are(raw: Path) -> None:
    parquet(raw / "toy" / "train.parquet", TRAIN, image="picture")
    assert complaint() == (
        f"{raw / 'toy'}:train.parquet: no column img or image; there are picture, fine_label"
    )


@pytest.mark.parametrize("kept", [0, 3, 500, -1])
def test_damaged_parquet_is_named(raw: Path, kept: int) -> None:
    parquet(raw / "toy" / "train.parquet", TRAIN)
    path = raw / "toy" / "train.parquet"
    path.write_bytes(path.read_bytes()[:kept])
    assert complaint().startswith(f"{raw / 'toy'}:train.parquet: damaged")


def test_without_pyarrow_parquet_says_what_is_missing(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet(raw / "toy" / "train.parquet", TRAIN)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "pip install pyarrow" in complaint()


# miniImageNet


def flat(folder: Path, each: int = 6) -> None:
    unpacked(
        folder,
        {
            f"{name}/{name}{index:04}.png": png(colours(100 * k + index))
            for k, name in enumerate(NAMES)
            for index in range(each)
        },
    )


def test_lists_of_ravi_and_larochelle_give_what_class_folders_give(raw: Path) -> None:
    """Lists name other classes each; together they are the data set."""
    flat(raw / "toy", 12)
    from_folders = read_source("toy", 32)
    for part, name in zip(("train", "val", "test"), NAMES, strict=True):
        files = sorted((raw / "toy" / name).iterdir(), reverse=True)
        lines = [f"{path.name},{name}" for path in files]
        (raw / "toy" / f"{part}.csv").write_text("\n".join(["filename,label", *lines, ""]))
        for path in files:
            (raw / "toy" / "images").mkdir(exist_ok=True)
            path.rename(raw / "toy" / "images" / path.name)
    from_lists = read_source("toy", 32)
    assert_equal(from_lists, from_folders)
    assert from_lists.is_test.sum() == 6


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nothing.png,ant", "line 2: no image 'nothing.png'"),
        ("a.png", "line 2: filename,label is needed, found 'a.png'"),
    ],
)
def test_a_wrong_line_of_a_list_is_named(raw: Path, line: str, words: str) -> None:
    unpacked(raw / "toy", {"images/a.png": png(colours(0))})
    (raw / "toy" / "train.csv").write_text(f"filename,label\n{line}\n")
    assert complaint().startswith(f"{raw / 'toy'}:train.csv {words}")


def test_train_and_val_with_the_same_classes_are_a_split(raw: Path) -> None:
    flat(raw / "toy" / "train", 5)
    flat(raw / "toy" / "val", 2)
    found = read_source("toy", 32)
    assert np.bincount(found.labels[found.is_test]).tolist() == [2, 2, 2]
    assert np.bincount(found.labels[~found.is_test]).tolist() == [5, 5, 5]


def test_beside_a_test_set_val_is_training_data(raw: Path) -> None:
    for part, each in (("train", 5), ("val", 2), ("test", 3)):
        flat(raw / "toy" / part, each)
    found = read_source("toy", 32)
    assert np.bincount(found.labels[found.is_test]).tolist() == [3, 3, 3]
    assert np.bincount(found.labels).tolist() == [10, 10, 10]


def test_600_images_a_class_are_split_500_to_100_alike_on_every_machine(raw: Path) -> None:
    """The rule alone, without images: which of 600 sorted names are for testing."""
    is_test = split_by_class(np.repeat([0, 1], 600), 600 // 6)
    assert is_test.reshape(2, 600).sum(axis=1).tolist() == [100, 100]
    assert np.flatnonzero(is_test)[:6].tolist() == FIRST_TEST_IMAGES


FIRST_TEST_IMAGES = [13, 22, 30, 43, 48, 61]


# Tiny-ImageNet


def tiny(folder: Path, *, rearranged: bool = False) -> None:
    tree = {f"train/{NAMES[k]}/images/{n}": png(p, "JPEG") for n, k, p in TRAIN}
    tree = {name.replace(".png", ".JPEG"): content for name, content in tree.items()}
    lines = []
    for index, (_, k, pixels) in enumerate(TEST):
        place = f"val/{NAMES[k]}/images" if rearranged else "val/images"
        tree[f"{place}/val_{index}.JPEG"] = png(pixels, "JPEG")
        lines.append(f"val_{index}.JPEG\t{NAMES[k]}\t0\t0\t62\t62\n")
    if not rearranged:
        tree["val/val_annotations.txt"] = "".join(lines).encode()
        tree["test/images/test_0.JPEG"] = png(colours(1), "JPEG")
        tree["wnids.txt"] = b"ant\nbe"  # cut short
    unpacked(folder / "tiny-imagenet-200", tree)


def test_tiny_imagenet_takes_its_classes_from_folders_and_its_test_labels_from_a_list(
    raw: Path,
) -> None:
    tiny(raw / "toy")
    found = read_source("toy", 32)
    assert found.class_names == NAMES
    assert found.is_test.sum() == 6
    assert len(found.labels) == 18
    expected = sorted((k, png(p, "JPEG")) for _, k, p in TEST)
    decoded = [np.asarray(Image.open(io.BytesIO(c))).transpose(2, 0, 1) for _, c in expected]
    pairs = {(k, image.tobytes()) for (k, _), image in zip(expected, decoded, strict=True)}
    assert pairs == {
        (int(k), image.tobytes())
        for k, image in zip(found.labels[found.is_test], found.pixels[found.is_test], strict=True)
    }


def test_tiny_imagenet_with_val_in_class_folders_is_the_same_set(raw: Path) -> None:
    tiny(raw / "toy", rearranged=True)
    found = read_source("toy", 32)
    assert (found.is_test.sum(), len(found.labels)) == (6, 18)
    assert found.class_names == NAMES


def test_a_validation_image_that_is_not_listed_is_named(raw: Path) -> None:
    tiny(raw / "toy")
    listed = raw / "toy" / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[1:]))
    assert "val_0.JPEG: is not in val_annotations.txt" in complaint()


# MNIST and its like


def idx(values: NDArray[np.uint8]) -> bytes:
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


def mnist_files(packed_: bool = True) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for part, count in (("train", 30), ("t10k", 20)):
        digits = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        files[f"{part}-images-idx3-ubyte"] = idx(digits)
        files[f"{part}-labels-idx1-ubyte"] = idx(labels)
    if packed_:
        return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
    return files


@pytest.mark.parametrize("dataset", ["mnist", "fashionmnist"])
@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("inner", ["", "MNIST/raw"])
def test_idx_files_are_read_packed_or_not(
    raw: Path, dataset: str, is_packed: bool, inner: str
) -> None:
    unpacked(raw / dataset / inner, mnist_files(is_packed))
    found = read_source(dataset, 28)
    assert found.pixels.shape == (50, 1, 28, 28)
    assert found.is_test.tolist() == [False] * 30 + [True] * 20
    assert found.labels.tolist() == [*(k % 10 for k in range(30)), *(k % 10 for k in range(20))]
    expected = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
    assert np.array_equal(found.pixels[:30, 0], expected)
    assert found.class_names[9] == ("9" if dataset == "mnist" else "Ankle boot")


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("train-images-idx3-ubyte", lambda c: c[:-1], "values are announced"),
        ("train-images-idx3-ubyte", lambda c: c + b"0", "values are announced"),
        ("train-images-idx3-ubyte", lambda c: c[:2], "not an IDX file"),
        ("train-images-idx3-ubyte", lambda c: b"GIF8" + c[4:], "not an IDX file"),
        (
            "train-images-idx3-ubyte",
            lambda c: c[:4] + b"\xff" * 12,
            "not an IDX file of a known size",
        ),
        (
            "train-images-idx3-ubyte",
            lambda c: idx(np.zeros((30, 27, 28), np.uint8)),
            "not of 28 x 28",
        ),
        ("t10k-labels-idx1-ubyte", lambda c: c[:-1] + b"\x0a", "t10k-labels are not 20 labels"),
        ("t10k-labels-idx1-ubyte", lambda c: None, "no file t10k-labels"),
    ],
)
def test_wrong_idx_files_are_named(raw: Path, name: str, change: Any, words: str) -> None:
    files = mnist_files(False)
    files[name] = change(files[name])
    unpacked(raw / "mnist", {k: v for k, v in files.items() if v is not None})
    with pytest.raises(DataError, match=words) as caught:
        read_source("mnist", 28)
    assert str(caught.value).startswith(str(raw / "mnist"))


def test_a_packed_idx_file_that_stops_is_named(raw: Path) -> None:
    files = mnist_files()
    files["train-images-idx3-ubyte.gz"] = files["train-images-idx3-ubyte.gz"][:-20]
    unpacked(raw / "mnist", files)
    with pytest.raises(DataError, match="train-images-idx3-ubyte.gz: damaged"):
        read_source("mnist", 28)


def test_mnist_has_one_size(raw: Path) -> None:
    unpacked(raw / "mnist", mnist_files())
    with pytest.raises(DataError, match="mnist: image_size 32; only 28"):
        read_source("mnist", 32)


# Where things are looked for, and what changes them


def test_names_that_begin_alike_are_told_apart(raw: Path) -> None:
    """cifar10*.zip would be cifar100.zip too."""
    (raw / "cifar100.zip").write_bytes(b"")
    with pytest.raises(DataError, match="found nothing"):
        read_source("cifar10", 32)
    (raw / "cifar10-mine.zip").write_bytes(b"")
    with pytest.raises(DataError, match="damaged archive"):
        read_source("cifar10", 32)


def test_an_archive_and_what_was_extracted_from_it_are_one_source(raw: Path) -> None:
    (raw / "cifar-100-python.tar.gz").write_bytes(b"")
    (raw / "cifar-100-python").mkdir()
    with pytest.raises(DataError, match=r"cifar-100-python.tar.gz: damaged"):
        read_source("cifar100", 32)


def test_the_fingerprint_follows_content_and_not_time(raw: Path) -> None:
    as_folder(raw / "toy")
    before = fingerprint(raw / "toy")
    for path in (raw / "toy").rglob("*.png"):
        os.utime(path, (0, 0))
    assert fingerprint(raw / "toy") == before
    (raw / "toy" / "train" / "ant" / "more.png").write_bytes(b"")
    assert fingerprint(raw / "toy") != before


def test_the_fingerprint_of_an_archive_sees_a_change_anywhere(raw: Path) -> None:
    """Through the checksums in the directory of a zip and the trailer of a gzip."""
    import zipfile

    found = set()
    for number in range(3):
        with zipfile.ZipFile(raw / "toy.zip", "w") as archive:
            archive.writestr("a.png", bytes([number]) * 100)
        found.add(fingerprint(raw / "toy.zip"))
    assert len(found) == 3


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A memory of its own, in which files count as old at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("dstcl.data.contents.SETTLED", -1.0)


def exchanged(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Other content of the same size under the old time of change."""
    before, content = path.stat(), change(path.read_bytes())
    assert len(content) == before.st_size
    assert content != path.read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def first_byte(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


LISTED = b"filename,label\nx.png,ant\ny.png,bee\n"
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "train.csv": lambda c: (
        c.replace(b"ant", b"xxx").replace(b"bee", b"ant").replace(b"xxx", b"bee")
    ),
    "t10k-labels-idx1-ubyte": lambda c: c[:-2] + c[:-3:-1],
    "meta": first_byte,
    "val/val_annotations.txt": first_byte,
    "train/a/1.png": first_byte,
    "train.parquet": first_byte,
}


@pytest.mark.parametrize("small", [True, False], ids=["small", "large"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_a_folder_holds_decides_its_fingerprint(
    raw: Path, settled: None, monkeypatch: pytest.MonkeyPatch, name: str, small: bool
) -> None:
    tree = {other: encoded(picture(1, 16, 16, 3)) for other in CHANGES} | {"train.csv": LISTED}
    tree["t10k-labels-idx1-ubyte"] = b"\0\0\x08\x01\0\0\0\2\3\4"
    unpacked(raw / "toy", tree)
    if not small:
        monkeypatch.setattr("dstcl.data.raw.SMALL", 100)
    before = fingerprint(raw / "toy")
    assert fingerprint(raw / "toy") == before
    exchanged(raw / "toy" / name, CHANGES[name])
    assert fingerprint(raw / "toy") != before


@pytest.mark.parametrize("name", ["cifar-100-python.tar", "toy.zip", "toy.parquet"])
def test_every_byte_of_a_large_archive_decides_its_fingerprint(
    raw: Path, settled: None, name: str
) -> None:
    """A plain tar has no checksums of contents, and a zip's directory can exceed its last bytes."""
    (raw / name).write_bytes(bytes(9 * 2**20))
    before = fingerprint(raw / name)
    exchanged(raw / name, first_byte)
    assert fingerprint(raw / name) != before


def test_images_are_read_once_and_lists_of_labels_each_time(
    raw: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def noted(place: str) -> str:
        read.append(os.path.relpath(place, raw / "toy"))
        return file_digest(place)

    monkeypatch.setattr("dstcl.data.raw.file_digest", noted)
    monkeypatch.setattr("dstcl.data.raw.SMALL", 200)
    images = {f"images/{k}.png": encoded(picture(k, 16, 16, 3)) for k in range(3)}
    unpacked(raw / "toy", images | {"train.csv": LISTED, "labels/more.png": images["images/0.png"]})
    before = fingerprint(raw / "toy")
    assert sorted(read) == [*images, "labels/more.png", "train.csv"]
    for _ in range(2):
        read.clear()
        assert fingerprint(raw / "toy") == before
        assert read == ["train.csv"]
    shutil.rmtree(Path(os.environ["XDG_CACHE_HOME"]))
    assert fingerprint(raw / "toy") == before
    assert len(read) == 6


def test_what_must_not_be_opened_has_a_fingerprint_too(raw: Path) -> None:
    unpacked(raw / "toy", {"train.csv": LISTED})
    found = {fingerprint(raw / "toy")}
    os.mkfifo(raw / "toy" / "pipe.csv")
    (raw / "toy" / "zero.png").symlink_to("/dev/zero")
    (raw / "toy" / "nowhere.png").symlink_to("nothing")
    (raw / "toy" / "again").symlink_to(".")
    found.add(fingerprint(raw / "toy"))
    assert len(found) == 2


def test_the_source_is_remembered_where_it_is_gone(raw: Path, tmp_path: Path) -> None:
    """A clone that has pulled prepared data alone must not prepare them again."""
    from dstcl.data.prepare import prepare

    as_folder(raw / "toy")
    out = tmp_path / "toy.safetensors"
    assert source_state("toy", out) == fingerprint(raw / "toy")
    prepare("toy", 32, out)
    state = source_state("toy", out)
    (raw / "toy").rename(raw / "elsewhere")
    assert source_state("toy", out) == state != ""
    assert source_state("toy", tmp_path / "none") == ""


def test_folder_and_zip_have_one_source_digest(raw: Path, tmp_path: Path) -> None:
    as_folder(raw / "toy")
    digests = []
    for kind in ("folder", "zip"):
        notes = Notes()
        for _ in open_source("toy", 32).pieces(notes):
            pass
        digests.append(notes.digest)
        if kind == "folder":
            shutil.make_archive(str(raw / "toy"), "zip", raw / "toy")
            shutil.rmtree(raw / "toy")
    assert digests[0] == digests[1] != ""


def test_means_are_measured_on_training_images_where_none_are_known(
    raw: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dataclasses import replace

    from dstcl.data.prepare import prepare
    from dstcl.data.stored import load_prepared

    monkeypatch.setitem(DATASETS, "toy", replace(TOY, mean=(), std=()))
    images_ = as_folder(raw / "toy")
    prepare("toy", 32, tmp_path / "toy")
    train = images_.pixels[~images_.is_test] / 255
    data = load_prepared(tmp_path / "toy")
    assert data.mean == pytest.approx(train.mean(axis=(0, 2, 3)), abs=1e-4)
    assert data.std == pytest.approx(train.std(axis=(0, 2, 3)), abs=1e-4)
    assert read_header(tmp_path / "toy")["measured_mean"] == data.mean
