"""`dstcl data`: get data sets, prepare, check and split them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from dstcl.cli.command import add_command


def add_data(commands: Any) -> None:
    """Add the commands of this module."""
    data = commands.add_parser("data", help="get data sets, prepare, check and split them")
    parts = data.add_subparsers(required=True, metavar="WHAT")
    every = add_command(parts, "list", data_list, "list data sets and what of them is there")
    bring = add_command(parts, "add", data_add, "bring a data set to where archives are looked for")
    bring.add_argument("dataset")
    bring.add_argument("path", type=Path, nargs="?", help="folder or archive; none to download")
    bring.add_argument("--link", action="store_true", help="link to it instead of copying")
    prepare = add_command(parts, "prepare", data_prepare, "write the prepared file of a data set")
    prepare.add_argument("dataset")
    prepare.add_argument("--image-size", type=int, required=True)
    prepare.add_argument("--out", type=Path, required=True)
    prepare.add_argument("--own", help="entry of a set of one's own as JSON, instead of --params")
    prepare.add_argument(
        "--workers", type=int, default=_cores(), help="processes that decode; default: all cores"
    )
    for part in (every, prepare):
        part.add_argument("--params", type=Path, default=Path("params.yaml"))
    look = add_command(
        parts, "check", data_check, "say what a prepared file holds and if it is whole"
    )
    sheet = add_command(parts, "sheet", data_sheet, "draw some images of every class")
    for part in (look, sheet):
        part.add_argument("dataset")
        part.add_argument("--data", type=Path, help="prepared file; default: in data/prepared")
    sheet.add_argument("--out", type=Path, required=True, help="PNG file")
    sheet.add_argument("--samples", type=int, default=10, help="images a class")
    split = add_command(parts, "split", data_split, "write which classes form which task")
    split.add_argument("dataset")
    split.add_argument("--data", type=Path, required=True, help="prepared file")
    split.add_argument("--tasks", type=int, required=True)
    split.add_argument(
        "--order",
        required=True,
        help="natural, superclass or seed<k>; then -sizes50+5x10 for unequal tasks, then -val0.1",
    )
    split.add_argument("--out", type=Path, required=True)


def _cores() -> int:
    """Cores that this process may use, which a scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def data_list(options: argparse.Namespace) -> None:
    """List data sets and what of them is there."""
    from dstcl.data.check import overview

    print(*overview(_own_datasets(options.params)), sep="\n")


def data_add(options: argparse.Namespace) -> None:
    """Bring a data set to where archives are looked for."""
    from dstcl.data.add import add

    print(f"{add(options.dataset, options.path, link=options.link)}: there", file=sys.stderr)


def data_prepare(options: argparse.Namespace) -> None:
    """Write the prepared file of a data set."""
    from dstcl.data.catalog import DATASETS
    from dstcl.data.prepare import prepare

    if options.workers < 1:
        raise ValueError(f"--workers: {options.workers}; at least 1")
    own = None
    if options.dataset not in DATASETS:
        entries = {options.dataset: options.own} if options.own else options.params
        own = _own_datasets(entries).get(options.dataset)
    digest = prepare(options.dataset, options.image_size, options.out, own, options.workers)
    print(f"{options.out}: digest {digest}", file=sys.stderr)


def data_check(options: argparse.Namespace) -> None:
    """Say what a prepared file holds; ends with an error if it is not whole."""
    from dstcl.data.check import check, find_prepared

    path = options.data or find_prepared(options.dataset)
    report = check(path)
    print(*report.lines, sep="\n")
    if report.problems:
        raise ValueError(f"{path}: {'; '.join(report.problems)}")


def data_sheet(options: argparse.Namespace) -> None:
    """Draw some images of every class."""
    from dstcl.data.check import find_prepared
    from dstcl.data.sheet import write_sheet
    from dstcl.data.stored import load_prepared

    if options.samples < 1:
        raise ValueError(f"--samples: {options.samples}; at least 1")
    data = load_prepared(options.data or find_prepared(options.dataset))
    write_sheet(data, options.out, options.samples)


def data_split(options: argparse.Namespace) -> None:
    """Write which classes form which task."""
    from dstcl.data.tasks import write_tasks

    write_tasks(options.data, options.dataset, options.tasks, options.order, options.out)


def _own_datasets(entries: Path | dict[str, str]) -> dict[str, Any]:
    """Facts of the user's own data sets, from params.yaml (if there is one) or from JSON."""
    from dstcl.data.catalog import own_dataset

    if isinstance(entries, Path):
        if not entries.exists():
            return {}
        from dstcl.study.load import load_file

        sets = load_file(entries).datasets
        return {name: own_dataset(name, own.model_dump()) for name, own in sets.items()}
    try:
        return {name: own_dataset(name, json.loads(text)) for name, text in entries.items()}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"--own: not the JSON of an entry under datasets ({error})") from None
