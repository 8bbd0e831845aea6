"""Whether prepared data and task splits are what the code and the sources of now would make.

By what is written in and beside them, as `dstcl.study.standing` asks runs: Snakemake has no memory
of files that were prepared by hand, copied or pulled, nor of any if its memory was deleted.
"""

from __future__ import annotations

from pathlib import Path

from dstcl.data.catalog import DatasetInfo
from dstcl.data.made_by import check_made_by, read_made_by
from dstcl.data.raw import (
    DataError,
    deciding_facts,
    find_raw,
    known,
    read_header,
    source_state,
)
from dstcl.storage import read_json
from dstcl.study.standing import Doubt, prepared_digest, split_digest

PREPARED_SUFFIX = ".safetensors"


def doubt_of_data(path: Path) -> Doubt | None:
    """A doubt about the code that made a prepared file or a split: one line that names the file.

    None also where there is no such file, or it is none: who reads it is told.
    """
    digest_of = prepared_digest if path.suffix == PREPARED_SUFFIX else split_digest
    digest = digest_of(str(path))
    if digest is None:
        return None
    try:
        said = check_made_by(path, digest)
    except ValueError as error:
        return Doubt("data", str(error))
    return None if said else Doubt("data", f"{path}: does not say which code made it", False)


def why_prepare_again(path: Path, dataset: str, own: DatasetInfo | None = None) -> str | None:
    """Why a prepared file that is there must be made again: one line, or None.

    Args:
        own: facts of a set of the user's own.
    """
    header = read_header(path)
    if not header:
        return f"{path}: not a prepared data set"
    if (doubt := doubt_of_data(path)) and doubt.certain:
        return doubt.text
    source = header.get("fingerprint")
    if source and source != source_state(dataset, path, own):
        return f"{path}: made from another source than the one there now"
    made = read_made_by(path, str(header.get("digest")))
    if made and made.get("facts") != deciding_facts(dataset, own):
        return f"{path}: made with other facts of the data set than those of now"
    return None


def why_not_prepared(dataset: str, own: DatasetInfo | None = None) -> str | None:
    """Why a data set cannot be prepared: one line with the command that gets it, or None.

    Args:
        own: facts of a set of the user's own.
    """
    if known(dataset, own).embedded:
        return None
    try:
        find_raw(dataset, own)
    except DataError as error:
        return str(error)
    return None


def why_split_again(path: Path, data: Path) -> str | None:
    """Why a task split that is there must be made again: one line, or None.

    Args:
        data: the prepared file that it is for; not compared if it is not there.
    """
    try:
        made_for = read_json(path).get("data_digest")
    except (AttributeError, ValueError):
        return f"{path}: not a task split"
    if (doubt := doubt_of_data(path)) and doubt.certain:
        return doubt.text
    present = prepared_digest(str(data))
    if present is not None and made_for != present:
        return f"{path}: made for other data than {data}"
    return None
