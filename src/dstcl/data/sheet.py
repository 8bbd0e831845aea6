"""A contact sheet: some images of every class with its name, to see what a data set is."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from dstcl.data.catalog import dataset_title
from dstcl.data.stored import Prepared
from dstcl.storage import write_bytes

GAP = 2
NAME_WIDTH = 130
MARGIN = 12
THUMB = 40
TEXT = 12
MOST_PIXELS = 50_000_000
"""Of the images on a sheet together."""


def write_sheet(data: Prepared, out: Path, samples: int = 10) -> None:
    """Draw the sheet as PNG: one row per class: its name and evenly spaced training images."""
    content = io.BytesIO()
    sheet(data, samples).save(content, "PNG")
    write_bytes(out, content.getvalue())


def sheet(data: Prepared, samples: int = 10) -> Image.Image:
    """The sheet as an image; classes run down columns of about equal height.

    Args:
        samples: images a class, where it has as many.

    Raises:
        ValueError: the image would be too large to be looked at.
    """
    classes = len(data.class_names)
    thumb = max(THUMB, min(2 * THUMB, data.images.shape[-1]))
    samples = min(samples, int(torch.bincount(data.labels[~data.is_test], minlength=1).max()))
    most = MOST_PIXELS // (classes * (thumb + GAP) ** 2)
    if samples > max(most, 1):
        raise ValueError(
            f"--samples: {samples} images of each of {classes} classes are too many for one "
            f"picture; at most {max(most, 1)}"
        )
    width = NAME_WIDTH + samples * (thumb + GAP) + MARGIN
    columns = max(1, round(math.sqrt(classes * (thumb + GAP) / width)))
    rows = math.ceil(classes / columns)
    top = 3 * MARGIN
    size = (MARGIN + columns * width, top + rows * (thumb + GAP) + MARGIN)
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(TEXT)
    pen.text((MARGIN, MARGIN), _title(data), "black", font)
    for label, name in enumerate(data.class_names):
        left = MARGIN + label // rows * width
        up = top + label % rows * (thumb + GAP)
        text = _fitting(name, font, NAME_WIDTH - 6)
        pen.text((left, up + (thumb - TEXT) // 2), text, "black", font)
        for index, image in enumerate(_examples(data, label, samples)):
            place = (left + NAME_WIDTH + index * (thumb + GAP), up)
            picture.paste(image.resize((thumb, thumb), Image.Resampling.NEAREST), place)
    return picture


def _title(data: Prepared) -> str:
    test = int(data.is_test.sum())
    train = len(data.labels) - test
    return (
        f"{dataset_title(data.dataset)}: {train} training and {test} test images, "
        f"{len(data.class_names)} classes, {data.images.shape[-1]} pixels, digest {data.digest}"
    )


def _fitting(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    text = name
    while font.getlength(text) > width:
        text = text[:-2] + "…" if text.endswith("…") else text[:-1] + "…"
    return text


def _examples(data: Prepared, label: int, samples: int) -> list[Image.Image]:
    members = ((data.labels == label) & ~data.is_test).nonzero().flatten()
    chosen = np.linspace(0, len(members) - 1, min(samples, len(members))).round().astype(int)
    return [
        Image.fromarray(data.images[members[k]].permute(1, 2, 0).numpy().squeeze()) for k in chosen
    ]
