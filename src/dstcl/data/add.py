"""Bring a data set into the folder of archives: from a path, or from where it is published."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request as WebRequest
from urllib.request import urlopen

from dstcl.data.catalog import Download
from dstcl.data.raw import DataError, candidates, known, raw_folder, walk
from dstcl.data.readers.files import open_file
from dstcl.data.readers.layouts import read_files
from dstcl.data.readers.source import Request
from dstcl.storage import replacing

TIMEOUT = 30
"""Seconds without an answer."""
STEP = 2**18


def add(dataset: str, path: Path | None, *, link: bool = False) -> Path:
    """Check what is at ``path`` and bring it to where `dstcl data prepare` looks.

    Args:
        path: folder or archive; None downloads the data set where it is published.
        link: leave the data where they are and make a symbolic link.

    Raises:
        DataError: already there, not that data set, not to be downloaded, or damaged on the way.
    """
    info = known(dataset)
    if info.embedded:
        raise DataError(f"{dataset}: comes with an installed package, there is nothing to add")
    stopped = path is None and info.download is not None and _lacking(dataset, info.download)
    if (there := candidates(dataset)) and not stopped:
        raise DataError(f"{dataset}: {there[0]} is there already; remove it first")
    if path is None:
        if info.download is None:
            raise DataError(f"{dataset}: is not published for download; give a folder or archive")
        return download(dataset, info.download)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    read_files(Request(path, dataset, info, info.image_size))
    target = raw_folder() / _name(dataset, path, info.archives)
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(path.absolute())
    elif path.is_dir():
        _copy_folder(path, target)
    else:
        with path.open("rb") as source, replacing(target) as copy:
            shutil.copyfileobj(source, copy, STEP)
    return target


def _lacking(dataset: str, source: Download) -> bool:
    """Whether a download of several files has stopped between two of them."""
    there = {(raw_folder() / dataset / name).exists() for name, _ in source.files}
    return there == {True, False}


def _name(dataset: str, path: Path, archives: tuple[str, ...]) -> str:
    if path.is_dir():
        return dataset
    if path.suffix == ".zip":
        return f"{dataset}.zip"
    return next(name for name in archives if name.endswith(".tar.gz"))


def _copy_folder(path: Path, target: Path) -> None:
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp"))
    try:
        for name, _ in walk(path):
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            with open_file(path / name) as source, (temporary / name).open("wb") as copy:
                shutil.copyfileobj(source, copy, STEP)
        temporary.chmod(0o755)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def download(dataset: str, source: Download) -> Path:
    """Get the published files, each checked against its published MD5.

    What a stopped download has left is used by the next one.

    Raises:
        DataError: cannot be reached, or something else than what was published.
    """
    folder = raw_folder() if len(source.files) == 1 else raw_folder() / dataset
    folder.mkdir(parents=True, exist_ok=True)
    for name, md5 in source.files:
        target, part = folder / name, folder / f".{name}.part"
        if target.exists():
            continue
        _fetch(source.url + name, part, f"dstcl data add {dataset} PATH")
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5:
            part.unlink()
            raise DataError(
                f"{source.url}{name}: MD5 is {found}, published is {md5}; nothing was kept"
            )
        os.replace(part, target)
    return folder / source.files[0][0] if len(source.files) == 1 else folder


def _fetch(url: str, part: Path, instead: str) -> None:
    """Append to ``part`` what it lacks of the file at ``url``."""
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    try:
        with urlopen(WebRequest(url, headers=_range(have)), timeout=TIMEOUT) as answer:
            goes_on = answer.status == 206
            missing = int(answer.headers.get("Content-Length") or 0)
            with (
                part.open("ab" if goes_on else "wb") as file,
                tqdm(
                    total=(have if goes_on else 0) + missing or None,
                    initial=have if goes_on else 0,
                    desc=part.name.strip(".").removesuffix(".part"),
                    unit="B",
                    unit_scale=True,
                    disable=None,
                ) as bar,
            ):
                received = 0
                while content := answer.read(STEP):
                    file.write(content)
                    received += len(content)
                    bar.update(len(content))
        if received < missing:
            raise OSError(f"stopped after {received} of {missing} bytes")
    except HTTPError as error:
        if error.code == 416 and have:  # nothing is missing
            return
        raise DataError(f"{url}: {error.code} {error.reason}; {_elsewhere(instead)}") from None
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"{url}: cannot be had ({reason}); {_elsewhere(instead)}") from None


def _range(have: int) -> dict[str, str]:
    return {"Range": f"bytes={have}-"} if have else {}


def _elsewhere(instead: str) -> str:
    return f"try again to go on, or get the file elsewhere and: {instead}"
