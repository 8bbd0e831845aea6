"""Writes the files of the CIFAR archives, instruction by instruction as Python 2 wrote them.

Checked against the head of the real test_batch of CIFAR-10 and its whole batches.meta: the same
instructions in the same order.
"""

import io
import struct
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Writer:
    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x02")
        self.memo = 0

    def remember(self) -> None:
        layout, code = ("<B", b"q") if self.memo < 256 else ("<I", b"r")
        self.out += code + struct.pack(layout, self.memo)
        self.memo += 1

    def text(self, value: bytes) -> None:
        short = len(value) < 256
        self.out += (
            (b"U" + struct.pack("<B", len(value)))
            if short
            else b"T" + struct.pack("<I", len(value))
        )
        self.out += value

    def number(self, value: int) -> None:
        if 0 <= value < 256:
            self.out += b"K" + struct.pack("<B", value)
        elif 0 <= value < 65536:
            self.out += b"M" + struct.pack("<H", value)
        else:
            self.out += b"J" + struct.pack("<i", value)

    def value(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            self.array(value)
        elif isinstance(value, list):
            self.out += b"]"
            self.remember()
            for start in range(0, len(value), 1000):
                self.out += b"("
                for item in value[start : start + 1000]:
                    self.value(item)
                self.out += b"e"
        elif isinstance(value, str):
            self.text(value.encode())
            self.remember()
        else:
            self.number(value)

    def array(self, values: np.ndarray) -> None:
        self.out += b"cnumpy.core.multiarray\n_reconstruct\n"
        self.remember()
        self.out += b"cnumpy\nndarray\n"
        self.remember()
        self.out += b"K\x00\x85U\x01b\x87R"
        self.remember()
        self.out += b"(K\x01"
        for length in values.shape:
            self.number(length)
        self.out += b"\x86cnumpy\ndtype\n"
        self.remember()
        self.out += b"U\x02u1K\x00K\x01\x87R"
        self.remember()
        self.out += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        by_column = values.flags.f_contiguous and not values.flags.c_contiguous
        self.out += b"\x88" if by_column else b"\x89"
        self.text(values.tobytes("F" if by_column else "C"))
        self.out += b"tb"


def record(values: Mapping[str, Any]) -> bytes:
    """One file: a dictionary of lists, numbers, texts and byte arrays."""
    writer = Writer()
    writer.out += b"}"
    writer.remember()
    writer.out += b"("
    for key, value in values.items():
        writer.value(key)
        writer.value(value)
    return bytes(writer.out + b"u.")


def packed(path: Path, folder: str, files: Mapping[str, bytes]) -> Path:
    """A tar.gz with these files in a folder."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def cifar100_files(
    train: Iterable[tuple[str, int, np.ndarray]],
    test: Iterable[tuple[str, int, np.ndarray]],
    class_names: list[str],
) -> dict[str, bytes]:
    """The files train, test and meta from (file name, label, pixels (3, 32, 32)) of each image."""
    files = {}
    for part, images in (("train", list(train)), ("test", list(test))):
        files[part] = record(
            {
                "batch_label": f"{part}ing batch 1 of 1",
                "fine_labels": [label for _, label, _ in images],
                "coarse_labels": [0 for _ in images],
                "data": np.stack([pixels.reshape(-1) for _, _, pixels in images]),
                "filenames": [name for name, _, _ in images],
            }
        )
    files["meta"] = record({"fine_label_names": class_names, "coarse_label_names": ["all"]})
    return files
