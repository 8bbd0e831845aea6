"""The archive of a study: a zip that is the same, byte for byte, for the same study.

Its files lie as in the study's folder, so that it can be unpacked into one and read by all
commands. `SUMS` lists a digest of every other file, for ``sha256sum --check``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from dstcl.deposit.citation import read_citation, zenodo_metadata
from dstcl.deposit.contents import Contents, contents
from dstcl.deposit.crate import METADATA, crate_metadata
from dstcl.storage import replacing

Source = Callable[[], IO[bytes]]
SUMS = "SHA256SUMS"
ZENODO = "zenodo.json"
CITATION, LICENSE, README = "CITATION.cff", "LICENSE", "README.md"
EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the archive: the first that a zip can name."""
PACKED = (".png", ".pdf", ".safetensors")
"""Which compression makes no smaller."""
CHUNK = 1 << 20
LARGE = 1 << 31
"""Bytes from which an entry needs the fields for large files."""

ABOUT = """# Results of preset {preset}

{about}

| file | what it has |
|---|---|
| `report.html`, `summary.md` | the study to read: verdicts, tables, figures |
| `*.csv` | tables: `summary` a row a run, `cells` a row a configuration, `claims` a row a claim |
| `figures/` | each figure as SVG, PDF and PNG, with its numbers as CSV |
| `plan.json`, `params.json` | the runs, and the configuration that they come from |
| `runs/` | of each run: settings, metrics, accuracies, masks{weights}, how it was made |
| `provenance.csv`, `ro-crate-metadata.json` | where, when and with which code each run was made |
| `{sums}` | a digest of every file: `sha256sum --check {sums}` |
| `{zenodo}` | the metadata of the deposit |

{load}To cite it: `CITATION.cff`.
"""
LOAD = """In Python, with the package dstcl installed, `dstcl.load_run("runs/...")` gives a run back
with its networks.

"""


def write_archive(study: Path, out: Path, citation: Path, *, weights: bool = True) -> Contents:
    """Pack a finished study; nothing is left of an archive that is refused.

    Args:
        study: its folder.
        out: the zip to write.
        citation: CITATION.cff; the LICENSE beside it is packed too, where there is one.
        weights: whether weights are packed; without them no network can be loaded.

    Returns:
        What was packed, beside what is written about it.

    Raises:
        ValueError: as of `contents.contents` and `citation.read_citation`.
    """
    cited = read_citation(citation)
    found = contents(study, weights=weights)
    about = _about(found)
    texts = {
        README: ABOUT.format(
            preset=found.preset,
            about=about,
            weights=" and weights" if weights else "",
            load=LOAD if weights else "",
            sums=SUMS,
            zenodo=ZENODO,
        ).encode(),
        CITATION: citation.read_bytes(),
        ZENODO: _json(zenodo_metadata(cited, found.preset, about)),
    }
    if (licence := citation.with_name(LICENSE)).is_file():
        texts[LICENSE] = licence.read_bytes()
    texts[METADATA] = _json(crate_metadata(found, cited, about, {*texts, SUMS}))
    sources: dict[str, Source] = {name: _file(study / name) for name in found.files}
    sources |= {name: _opened(text) for name, text in texts.items()}
    sizes = {name: (study / name).stat().st_size for name in found.files}
    with replacing(out) as file, ZipFile(file, "w") as archive:
        sums = [
            f"{_add(archive, name, sources[name], sizes.get(name, 0))}  {name}\n"
            for name in sorted(sources)
        ]
        _add(archive, SUMS, _opened("".join(sums).encode()), 0)
    return found


def _about(found: Contents) -> str:
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in found.runs}))
    data = ", ".join(sorted({f"{run.dataset} in {run.tasks} tasks" for run in found.runs}))
    return (
        f"{len(found.runs)} runs of continual learning with dynamic sparse training on {data}, "
        f"seeds {seeds}: tables, figures, report, and of every run its metrics, masks and "
        "provenance."
    )


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _opened(text: bytes) -> Source:
    return lambda: BytesIO(text)


def _file(path: Path) -> Source:
    return lambda: path.open("rb")


class _Digested:
    """A writer that digests what goes through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, chunk: bytes) -> int:
        self.digest.update(chunk)
        return self.file.write(chunk)


def _add(archive: ZipFile, name: str, source: Source, size: int) -> str:
    """Write one file; returns its SHA-256."""
    entry = ZipInfo(name, EARLIEST)
    entry.compress_type = ZIP_STORED if name.endswith(PACKED) else ZIP_DEFLATED
    entry.create_system, entry.external_attr = 3, 0o644 << 16  # the same on every system
    with source() as read, archive.open(entry, "w", force_zip64=size >= LARGE) as written:
        through = _Digested(written)
        shutil.copyfileobj(read, through, CHUNK)
    return through.digest.hexdigest()
