"""Archives and images that are broken, mislabelled or meant to harm: one line, and no file."""

import os
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from image_trees import encoded, picture, raw_folder, read_source, unpacked, zipped
from numpy.typing import NDArray
from PIL import Image

from dstcl.data.catalog import DatasetInfo
from dstcl.data.prepare import prepare
from dstcl.data.raw import DataError, read_header
from dstcl.data.readers.decode import decode
from dstcl.data.stored import load_prepared

TOY = DatasetInfo(2, 3, 8, (0.5,) * 3, (0.5,) * 3, 4, 2, "Toy")


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The empty folder in which archives of the data set "toy" with two classes belong."""
    return raw_folder(monkeypatch, tmp_path, TOY)


def tree(each: int = 2) -> dict[str, bytes]:
    return {
        f"{part}/{name}/{k}.png": encoded(picture(ord(name[0]) + 50 * k + 500 * (part == "test")))
        for part in ("train", "test")
        for name in ("ant", "bee")
        for k in range(each)
    }


@pytest.fixture
def refusal(raw: Path, tmp_path: Path) -> Iterator[list[str]]:
    """Collects the one line of each refusal; afterwards nothing must have been written."""
    said: list[str] = []
    yield said
    assert said
    assert not [path for path in tmp_path.iterdir() if path != raw and "out" in path.name]


def refuse(said: list[str], tmp_path: Path) -> str:
    with pytest.raises(DataError) as caught:
        prepare("toy", 8, tmp_path / "out.safetensors")
    said.append(str(caught.value))
    assert len(said[-1].splitlines()) == 1
    return said[-1]


@pytest.mark.parametrize(
    "name", ["../evil.png", "train/../../evil.png", "/etc/evil.png", "C:/evil.png", "..\\evil.png"]
)
def test_paths_that_leave_the_archive_are_refused(
    raw: Path, tmp_path: Path, refusal: list[str], name: str
) -> None:
    path = zipped(raw / "toy.zip", tree() | {name: encoded(picture(0))})
    assert refuse(refusal, tmp_path).startswith(f"{path}: unsafe path ")


def test_links_in_an_archive_are_refused(raw: Path, tmp_path: Path, refusal: list[str]) -> None:
    path = zipped(raw / "toy.zip", tree())
    link = zipfile.ZipInfo("train/ant/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert refuse(refusal, tmp_path) == (
        f"{path}: 'train/ant/link.png' in it is a link; only files are read"
    )


def test_a_file_twice_in_an_archive_is_refused(
    raw: Path, tmp_path: Path, refusal: list[str]
) -> None:
    path = zipped(raw / "toy.zip", tree())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/ant/0.png", encoded(picture(9)))
    assert refuse(refusal, tmp_path) == f"{path}: 'train/ant/0.png' is in it twice"


def test_a_file_that_grows_a_thousandfold_is_refused(
    raw: Path, tmp_path: Path, refusal: list[str]
) -> None:
    path = zipped(raw / "toy.zip", tree())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/ant/bomb.png", bytes(20_000_000))
    assert f"{path}:train/ant/bomb.png: " in refuse(refusal, tmp_path)
    assert "grow to 20000000; refused" in refusal[0]


def bomb(width: int, height: int) -> bytes:
    """A small PNG that announces an enormous image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000)])
def test_an_image_of_absurd_size_is_refused_before_it_is_decoded(
    raw: Path, tmp_path: Path, refusal: list[str], size: tuple[int, int]
) -> None:
    path = zipped(raw / "toy.zip", tree() | {"train/ant/9.png": bomb(*size)})
    assert refuse(refusal, tmp_path).startswith(f"{path}:train/ant/9.png: ")


def test_the_limit_of_pixels_is_ours(raw: Path, tmp_path: Path, refusal: list[str]) -> None:
    path = zipped(raw / "toy.zip", tree() | {"train/ant/9.png": bomb(8_000, 7_500)})
    assert refuse(refusal, tmp_path) == f"{path}:train/ant/9.png: 8000 x 7500 pixels; refused"


def test_a_text_that_is_called_png_is_named(raw: Path, tmp_path: Path, refusal: list[str]) -> None:
    path = unpacked(raw / "toy", tree() | {"train/bee/9.png": b"a text"})
    assert refuse(refusal, tmp_path).startswith(f"{path}:train/bee/9.png: not an image")


def test_a_class_without_test_images_is_named(
    raw: Path, tmp_path: Path, refusal: list[str]
) -> None:
    content = {name: data for name, data in tree().items() if not name.startswith("test/bee")}
    path = zipped(raw / "toy.zip", content | {"test/ant/7.png": encoded(picture(7))})
    assert refuse(refusal, tmp_path) == f"{path}: test has no images of class bee"


def test_a_class_with_nothing_left_to_train_on_is_named(
    raw: Path, tmp_path: Path, refusal: list[str]
) -> None:
    content = {"ant/1.png": encoded(picture(1)), "ant/2.png": encoded(picture(2))}
    path = zipped(raw / "toy.zip", content | {"bee/1.png": encoded(picture(3))})
    assert refuse(refusal, tmp_path).startswith(f"{path}: class bee has 1 image")


def test_classes_that_differ_in_capitals_alone_are_named(
    raw: Path, tmp_path: Path, refusal: list[str]
) -> None:
    content = tree() | {"train/Bee/1.png": encoded(picture(1))}
    path = zipped(raw / "toy.zip", content)
    assert refuse(refusal, tmp_path) == f"{path}: classes Bee and bee differ in capitals alone"


def test_images_outside_of_the_parts_are_named(
    raw: Path, tmp_path: Path, refusal: list[str]
) -> None:
    path = zipped(raw / "toy.zip", tree() | {"more/ant/1.png": encoded(picture(1))})
    assert refuse(refusal, tmp_path) == f"{path}: class ant lies outside of test and train"


def test_an_image_in_no_class_folder_is_named(
    raw: Path, tmp_path: Path, refusal: list[str]
) -> None:
    path = zipped(raw / "toy.zip", tree() | {"1.png": encoded(picture(1))})
    assert refuse(refusal, tmp_path) == f"{path}:1.png: lies in no class folder"


def test_unequal_classes_are_used_as_they_are(raw: Path) -> None:
    more = {f"train/ant/more{k}.png": encoded(picture(k)) for k in range(5)}
    zipped(raw / "toy.zip", tree() | more)
    images = read_source("toy", 8)
    assert np.bincount(images.labels[~images.is_test]).tolist() == [7, 2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_named(raw: Path, tmp_path: Path, refusal: list[str]) -> None:
    path = unpacked(raw / "toy", tree())
    (path / "train" / "bee").chmod(0)
    try:
        assert refuse(refusal, tmp_path).startswith(f"{path / 'train' / 'bee'}: cannot be read")
    finally:
        (path / "train" / "bee").chmod(0o755)


def test_a_folder_that_fails_to_be_listed_is_named(
    raw: Path, tmp_path: Path, refusal: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above for root, by an operating system that refuses."""
    path = unpacked(raw / "toy", tree())
    scandir = os.scandir

    def refusing(place: str) -> object:
        if str(place).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    message = refuse(refusal, tmp_path)
    assert message.startswith(f"{path}/")
    assert message.endswith("bee: cannot be read (Permission denied)")


# Other kinds of images


def sixteen_bit(values: NDArray[np.uint16]) -> bytes:
    return encoded(Image.fromarray(values))


def test_other_kinds_of_images_are_converted_and_counted(raw: Path, tmp_path: Path) -> None:
    colour = Image.fromarray(picture(1))
    kinds = {
        "grey": encoded(colour.convert("L")),
        "black and white": encoded(colour.convert("1")),
        "palette": encoded(colour.quantize(4)),
        "with alpha": encoded(colour.convert("RGBA")),
        "CMYK": encoded(colour.convert("CMYK"), "JPEG"),
        "16-bit": sixteen_bit(np.full((8, 8), 0x80FF, np.uint16)),
    }
    more = {
        f"train/ant/{kind}.{'jpg' if kind == 'CMYK' else 'png'}": c for kind, c in kinds.items()
    }
    zipped(raw / "toy.zip", tree() | more)
    prepare("toy", 8, tmp_path / "out")
    assert read_header(tmp_path / "out")["converted"] == {kind: 1 for kind in sorted(kinds)}
    assert load_prepared(tmp_path / "out").images.shape == (14, 3, 8, 8)


def test_sixteen_bits_become_eight_by_their_upper_half() -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    pixels, kind = decode(sixteen_bit(values), 8, 3, "here")
    assert kind == "16-bit"
    assert np.array_equal(pixels[0], values >> 8)
    assert np.array_equal(pixels[2], values >> 8)


def test_cmyk_keeps_its_colours() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    pixels, kind = decode(encoded(red, "JPEG"), 8, 3, "here")
    assert kind == "CMYK"
    assert pixels[0].min() > 200
    assert pixels[1:].max() < 50


def test_colour_becomes_grey_for_a_grey_data_set() -> None:
    pixels, kind = decode(encoded(picture(1)), 8, 1, "here")
    assert kind == "RGB"
    assert pixels.shape == (1, 8, 8)
    assert np.array_equal(pixels[0], np.asarray(Image.fromarray(picture(1)).convert("L")))


# Processes and disks


def many(count: int) -> dict[str, bytes]:
    content = [encoded(picture(k)) for k in range(10)]
    return {
        f"{part}/{name}/{k:04}.png": content[(k + len(name + part)) % 10]
        for part in ("train", "test")
        for name in ("ant", "bee")
        for k in range(count)
    }


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_several_processes_give_the_same_file_as_one(raw: Path, tmp_path: Path, kind: str) -> None:
    content = many(600)
    zipped(raw / "toy.zip", content) if kind == "zip" else unpacked(raw / "toy", content)
    prepare("toy", 8, tmp_path / "one")
    prepare("toy", 8, tmp_path / "two", workers=2)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_image_that_fails_in_another_process_is_named(
    raw: Path, tmp_path: Path, refusal: list[str]
) -> None:
    path = zipped(raw / "toy.zip", many(600) | {"train/bee/0300.png": b"text"})
    with pytest.raises(DataError) as caught:
        prepare("toy", 8, tmp_path / "out", workers=2)
    refusal.append(str(caught.value))
    assert refusal[0].startswith(f"{path}:train/bee/0300.png: not an image")


PREPARE = "from dstcl.cli import main; import sys; main(sys.argv[1:])"


def command(out: Path, data: Path) -> tuple[list[str], dict[str, str]]:
    arguments = ["data", "prepare", "cifar10", "--image-size", "8", "--out", str(out)]
    return [sys.executable, "-c", PREPARE, *arguments], os.environ | {"DSTCL_DATA": str(data)}


def cifar10_tree(each: int = 40) -> dict[str, bytes]:
    return {
        f"{part}/class{label}/{k}.png": encoded(picture(10 * label + k))
        for part in ("train", "test")
        for label in range(10)
        for k in range(each)
    }


def test_two_jobs_that_prepare_the_same_data_both_leave_a_whole_file(
    raw: Path, tmp_path: Path
) -> None:
    zipped(raw / "cifar10.zip", cifar10_tree())
    out = tmp_path / "prepared" / "cifar10.safetensors"
    line, environment = command(out, raw)
    jobs = [subprocess.Popen(line, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    assert [job.wait(timeout=300) for job in jobs] == [0, 0]
    for job in jobs:
        assert job.stderr is not None
        job.stderr.close()
    assert len(load_prepared(out).labels) == 800
    assert [path.name for path in out.parent.iterdir()] == [out.name]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system, and not everywhere")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_named_and_left_empty(raw: Path, small_disk: Path) -> None:
    zipped(raw / "cifar10.zip", cifar10_tree())
    line, environment = command(small_disk / "cifar10.safetensors", raw)
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr == (
        f"dstcl: {small_disk / 'cifar10.safetensors'}: no space left; 1 MiB needed\n"
    )
    assert list(small_disk.iterdir()) == []
