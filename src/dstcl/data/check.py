"""Look at a prepared data set: counts, statistics, duplicates, and whether it is what it says."""

from __future__ import annotations

import glob
import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dstcl.data.catalog import DATASETS, DatasetInfo
from dstcl.data.made_by import check_made_by
from dstcl.data.prepare import ChannelStatistics
from dstcl.data.raw import DataError, find_raw, raw_folder, read_header, source_state
from dstcl.data.stored import AGAIN, Prepared, content_digest, read_prepared

PREPARED = Path("data/prepared")
TOLERANCE = 0.03
"""How far mean and standard deviation may be from the known ones without being remarked on."""
LISTED = 10
"""Groups of duplicates that are listed one by one."""


@dataclass
class Report:
    """Lines to read, and what is wrong.

    Attributes:
        lines: one fact each.
        problems: what makes the file unusable or suspicious; empty if it is as it should be.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_prepared(dataset: str) -> Path:
    """The one prepared file of a data set in data/prepared.

    Raises:
        DataError: none, or several sizes.
    """
    found = sorted(PREPARED.glob(f"{glob.escape(dataset)}-*px.safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{dataset}: name one of {', '.join(map(str, found))} with --data")
    raise DataError(
        f"{dataset}: no file {PREPARED / dataset}-*px.safetensors; make it with: snakemake data, "
        "or dstcl data prepare"
    )


def check(path: Path, own: DatasetInfo | None = None) -> Report:
    """Everything that can be said of a prepared file.

    Args:
        own: facts of a set of the user's own, whose source is looked for as they say.

    Raises:
        ValueError: it cannot be read.
    """
    data, header = read_prepared(path), read_header(path)
    report = Report()
    digest = content_digest(data)
    report.lines.append(f"{path}: {data.dataset}, digest {digest}")
    if digest != data.digest:
        report.problems.append(f"its digest should be {data.digest}: the file has been changed")
    source = header.get("fingerprint", "")
    report.lines.append(f"made from {source or 'an unknown source'}")
    if own or data.dataset in DATASETS:
        present = source_state(data.dataset, path, own)
        if present != source:
            report.problems.append(f"its source is now {present}: {AGAIN}")
    try:
        said = check_made_by(path, data.digest)
    except ValueError as error:
        report.problems.append(str(error).removeprefix(f"{path}: "))
    else:
        report.lines.append(f"made by {'the code of now' if said else 'code that is not known'}")
    _counts(data, report)
    _statistics(data, report)
    if converted := header.get("converted"):
        told = ", ".join(f"{count} {kind}" for kind, count in converted.items())
        report.lines.append(f"converted: {told}")
    _duplicates(data, report)
    return report


def _counts(data: Prepared, report: Report) -> None:
    count, channels, size, _ = data.images.shape
    report.lines.append(
        f"{count} images of {size} x {size} pixels, {channels} channels, "
        f"{len(data.class_names)} classes"
    )
    info = DATASETS.get(data.dataset)
    for part, test in (("training", False), ("test", True)):
        members = data.labels[data.is_test == test].numpy()
        each = np.bincount(members, minlength=len(data.class_names))
        line = f"{part}: {each.sum()} images, {_span(each.min(), each.max())} a class"
        complete = _complete(info, test)
        if complete and each.sum() != complete * len(each):
            line += f" (the complete set has {complete * len(each)})"
        report.lines.append(line)
        if each.min() == 0:
            lacking = data.class_names[int(each.argmin())]
            report.problems.append(f"class {lacking} has no {part} images")


def _complete(info: DatasetInfo | None, test: bool) -> int:
    if info is None:
        return 0
    return info.test_per_class if test else info.train_per_class


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _statistics(data: Prepared, report: Report) -> None:
    statistics = ChannelStatistics(data.images.shape[1])
    for images, is_test in zip(data.images.split(4096), data.is_test.split(4096), strict=True):
        statistics.add(images[~is_test].numpy())
    mean, std = statistics.mean_and_std()
    report.lines.append(
        f"mean {_numbers(mean)}, standard deviation {_numbers(std)}; normalised with "
        f"{_numbers(data.mean)} and {_numbers(data.std)}"
    )
    # miniImageNet is normalised with ImageNet's values, as in the paper's code.
    apart = max(abs(a - b) for a, b in zip([*mean, *std], [*data.mean, *data.std], strict=True))
    if apart > TOLERANCE:
        report.lines.append(f"these are up to {apart:.3f} apart")


def _numbers(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:.4f}" for value in values) + ")"


def duplicates(data: Prepared) -> list[list[int]]:
    """Groups of images that are equal in every pixel, by position."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, image in enumerate(data.images.numpy()):
        groups[hashlib.blake2b(image.tobytes(), digest_size=16).digest()].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _duplicates(data: Prepared, report: Report) -> None:
    groups = duplicates(data)
    labels, is_test = data.labels.tolist(), data.is_test.tolist()
    two_labels = [group for group in groups if len({labels[k] for k in group}) > 1]
    across = [group for group in groups if len({is_test[k] for k in group}) > 1]
    extra = sum(len(group) - 1 for group in groups)
    report.lines.append(
        f"duplicates: {extra} images are there again, in {len(groups)} groups; "
        f"{len(two_labels)} groups with two labels, {len(across)} across training and test"
    )
    telling = sorted(two_labels + [group for group in across if group not in two_labels])
    for group in telling[:LISTED]:
        images = ", ".join(
            f"{'test' if is_test[k] else 'training'} image {k} ({data.class_names[labels[k]]})"
            for k in group
        )
        report.lines.append(f"  equal: {images}")
    if len(telling) > LISTED:
        report.lines.append(f"  and {len(telling) - LISTED} groups more")


def overview(own: dict[str, DatasetInfo]) -> list[str]:
    """A line for each data set: what it is, and whether archive and prepared files are there."""
    rows = [("name", "classes", "size", "archive", "prepared")]
    for name, info in {**DATASETS, **own}.items():
        try:
            archive = "embedded" if info.embedded else str(find_raw(name, own.get(name)))
        except DataError:
            archive = "can be downloaded" if info.download else "-"
        made = sorted(path.name for path in PREPARED.glob(f"{name}-*px.safetensors"))
        size = f"{info.channels}x{info.image_size}x{info.image_size}"
        rows.append((name, str(info.classes), size, archive, ", ".join(made) or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]])
        for row in rows
    ]
    return [*lines, f"archives are looked for in {raw_folder()} (DSTCL_DATA)"]
