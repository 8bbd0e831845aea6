"""Small images of noise, as files in folders and archives, for tests of reading data."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dstcl.data.catalog import DATASETS, DatasetInfo
from dstcl.data.readers import open_source
from dstcl.data.readers.source import Images, Notes, Pixels

Tree = Mapping[str, bytes]
"""Contents of files by their paths in an archive or folder."""


def raw_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy: DatasetInfo) -> Path:
    """The empty folder in which archives of the data set "toy" belong."""
    monkeypatch.setitem(DATASETS, "toy", toy)
    monkeypatch.setenv("DSTCL_DATA", str(tmp_path / "raw"))
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def picture(seed: int, *shape: int) -> Pixels:
    """Noise, of eight by eight pixels in colour unless a shape is given."""
    return np.random.default_rng(seed).integers(0, 256, shape or (8, 8, 3), dtype=np.uint8)


def encoded(image: Image.Image | Pixels, kind: str = "PNG") -> bytes:
    """The content of an image file."""
    content = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(content, kind)
    return content.getvalue()


def zipped(path: Path, tree: Tree) -> Path:
    """Write a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return path


def unpacked(folder: Path, tree: Tree) -> Path:
    """Write files in a folder."""
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def read_source(dataset: str, image_size: int) -> Images:
    """A data set of the catalogue in memory."""
    source = open_source(dataset, image_size)
    pixels = np.concatenate(list(source.pieces(Notes())))
    return Images(pixels, source.labels, source.is_test, source.class_names)


def assert_equal(one: Images, other: Images) -> None:
    """The same images in the same order, with the same labels and split."""
    assert one.class_names == other.class_names
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.is_test, other.is_test)
    assert np.array_equal(one.pixels, other.pixels)
