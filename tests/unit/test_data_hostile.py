"""Archives and images that are broken, mislabelled or meant to harm: one line, and no file."""

import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
    assert {path.name for path in out.parent.iterdir()} == {out.name, "cifar10.made_by.json"}


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


# What is no image file, or no file at all


EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 8 8
%%EndComments
0 0 8 8 rectfill
showpage
%%EOF
"""


@contextmanager
def patience(seconds: int = 20) -> Iterator[None]:
    """What hangs is interrupted."""

    def interrupt(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_no_other_program_sees_an_image(
    raw: Path, refusal: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow gives what begins as PostScript to Ghostscript, whatever its name says."""
    program = tmp_path / "bin" / "gs"
    unpacked(tmp_path / "bin", {"gs": f"#!/bin/sh\ntouch {tmp_path}/called; exit 1\n".encode()})
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    path = zipped(raw / "toy.zip", tree() | {"train/ant/9.png": EPS})
    said = refuse(refusal, tmp_path)
    assert said == f"{path}:train/ant/9.png: not an image (neither PNG nor JPEG)"
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "PPM", "WEBP", "ICO", "TGA"])
def test_only_png_and_jpeg_are_decoded(
    raw: Path, refusal: list[str], tmp_path: Path, kind: str
) -> None:
    image = encoded(picture(1), kind)
    zipped(raw / "toy.zip", tree() | {"train/ant/9.png": image})
    assert refuse(refusal, tmp_path).endswith("9.png: not an image (neither PNG nor JPEG)")


def test_a_png_called_jpg_is_an_image_all_the_same(raw: Path, tmp_path: Path) -> None:
    extra = {"train/ant/8.jpg": encoded(picture(1)), "train/ant/9.png": encoded(picture(2), "JPEG")}
    zipped(raw / "toy.zip", tree() | extra)
    prepare("toy", 8, tmp_path / "out.safetensors")
    assert len(load_prepared(tmp_path / "out.safetensors").labels) == 10


def test_a_large_image_of_few_bytes_is_not_decoded(
    raw: Path, refusal: list[str], tmp_path: Path
) -> None:
    black = encoded(Image.new("L", (4000, 4000)))
    path = zipped(raw / "toy.zip", tree() | {"train/ant/9.png": black})
    said = refuse(refusal, tmp_path)
    assert said == f"{path}:train/ant/9.png: 4000 x 4000 pixels in {len(black)} bytes; refused"


def make_odd(path: Path, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(path))
    else:
        path.symlink_to(kind)


@pytest.mark.parametrize("kind", ["pipe", "socket", "/dev/zero", "/dev/null"])
@pytest.mark.parametrize("name", ["train/ant/9.png", "train.csv", "train.parquet", "meta"])
def test_pipes_and_devices_are_named_and_not_opened(
    raw: Path, refusal: list[str], tmp_path: Path, kind: str, name: str
) -> None:
    flat = name != "train/ant/9.png"
    files = {f"images/{k}.png": encoded(picture(k)) for k in range(4)} if flat else tree()
    if name == "meta":
        files |= {"train": b"", "test": b""}
    unpacked(raw / "toy", files)
    make_odd(raw / "toy" / name, kind)
    with patience():
        said = refuse(refusal, tmp_path)
    assert said.startswith(f"{raw / 'toy' / name}: is no plain file")


@pytest.mark.parametrize("name", ["toy.zip", "toy"])
def test_a_source_that_is_a_pipe_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    own = replace(TOY, path=str(tmp_path / name))
    with patience(), pytest.raises(DataError, match="neither a folder nor a file"):
        prepare("mine", 8, tmp_path / "out.safetensors", own)


def test_a_folder_with_a_device_is_not_added(raw: Path, tmp_path: Path) -> None:
    from dstcl.data.add import add

    unpacked(tmp_path / "here", tree())
    make_odd(tmp_path / "here" / "train/ant/9.png", "/dev/zero")
    with patience(), pytest.raises(DataError, match=r"9.png: is no plain file"):
        add("toy", tmp_path / "here")
    assert list(raw.iterdir()) == []


def test_what_a_link_to_a_folder_holds_is_not_added(raw: Path, tmp_path: Path) -> None:
    """No reader follows it; a link to a folder around it would be copied without end."""
    from dstcl.data.add import add

    unpacked(tmp_path / "here", tree())
    (tmp_path / "here" / "train" / "again").symlink_to(tmp_path / "here")
    added = add("toy", tmp_path / "here")
    copied = {p.relative_to(added).as_posix(): p.read_bytes() for p in added.rglob("*.png")}
    assert copied == tree()


@pytest.mark.parametrize("name", [b"train/ant/\xff.png", b"train/\xff/1.png"])
def test_a_name_that_is_no_text_is_told(
    raw: Path, refusal: list[str], tmp_path: Path, name: bytes
) -> None:
    unpacked(raw / "toy", tree() | {os.fsdecode(name): encoded(picture(1))})
    said = refuse(refusal, tmp_path)
    assert "\\udcff" in said
    assert said.endswith("this name is not UTF-8; rename it")
    said.encode()


def listed(raw: Path, **lists: str) -> None:
    images = {f"images/{k}.png": encoded(picture(k)) for k in range(8)}
    rows = "\n".join(f"{k}.png,{'ant' if k < 4 else 'bee'}" for k in range(8))
    texts = {"train": f"filename,label\n{rows}\n"} | lists
    unpacked(raw / "toy", images | {f"{k}.csv": text.encode() for k, text in texts.items()})


def test_a_list_with_an_endless_cell_is_one_line(
    raw: Path, refusal: list[str], tmp_path: Path
) -> None:
    listed(raw, test=f"filename,label\n{'x' * 200_000},ant\n")
    said = refuse(refusal, tmp_path)
    assert said.startswith(f"{raw / 'toy'}:test.csv line 2: not CSV")
    listed(raw, test=f"filename,label\n{'x' * 100_000},ant\n")
    assert len(refuse(refusal, tmp_path)) < 400


def test_an_image_with_two_labels_is_refused(raw: Path, refusal: list[str], tmp_path: Path) -> None:
    listed(raw, val="filename,label\n3.png,bee\n")
    assert refuse(refusal, tmp_path).endswith("'3.png' is listed as 'ant' and 'bee'") or (
        refuse(refusal, tmp_path).endswith("'3.png' is listed as 'bee' and 'ant'")
    )
