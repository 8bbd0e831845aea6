"""Write the prepared file of a data set."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dstcl.cli.data.own import add_params, own_datasets

if TYPE_CHECKING:
    from dstcl.data.catalog import DatasetInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The data set, the size of its images, and the file."""
    parser.add_argument("dataset", help="name of the data set")
    parser.add_argument("--image-size", type=int, required=True, help="edge in pixels")
    parser.add_argument("--out", type=Path, required=True, help="prepared file to write")
    parser.add_argument("--own", help="entry of your own data set as JSON, instead of --params")
    parser.add_argument(
        "--workers", type=int, default=_cores(), help="decoding processes (default: all cores)"
    )
    add_params(parser)


def run(options: argparse.Namespace) -> None:
    """Prepare, and say the digest of what was written."""
    from dstcl.data.catalog import DATASETS
    from dstcl.data.prepare import prepare
    from dstcl.data.raw import read_header

    if options.workers < 1:
        raise ValueError(f"--workers: {options.workers}; at least 1")
    own = None if options.dataset in DATASETS else _own(options)
    before = read_header(options.out).get("digest")
    digest = prepare(options.dataset, options.image_size, options.out, own, options.workers)
    compared = "" if before is None else ", as before" if before == digest else f", was {before}"
    print(f"{options.out}: digest {digest}{compared}", file=sys.stderr)


def _own(options: argparse.Namespace) -> DatasetInfo | None:
    """Facts of a data set of the user's own, from --own or from params.yaml."""
    from dstcl.data.catalog import own_dataset
    from dstcl.storage import parse_json

    if not options.own:
        return own_datasets(options.params).get(options.dataset)
    entry = parse_json(options.own, "--own")
    if not isinstance(entry, dict):
        raise ValueError("--own: not the JSON of an entry under datasets")
    try:
        return own_dataset(options.dataset, entry)
    except ValueError as error:
        raise ValueError(f"--own: not the JSON of an entry under datasets ({error})") from None


def _cores() -> int:
    """Cores that this process may use, which a scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
