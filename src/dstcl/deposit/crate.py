"""The metadata of a deposit as a Process Run Crate: every run as an action, with what it read,
what it left, and the software that did it.

Profile: https://w3id.org/ro/wfrun/process/0.5, on top of RO-Crate 1.1. Actions are those that
provenance.json of a run vouches for. Tables and figures are files without an action, because
nothing records when they were made.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from dstcl.deposit.citation import author_name
from dstcl.deposit.contents import Contents
from dstcl.study.run import RESULT_FILES, Run
from dstcl.study.standing import VOUCHED

METADATA = "ro-crate-metadata.json"
VERSION = "1.1"
"""Of RO-Crate, which the profile builds on."""
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
INPUTS = {"data_digest": "images of {}", "tasks_digest": "task split of {}"}
"""What a run reads that is not deposited: keys of provenance.json with its digest, and
a name."""
FORMATS = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".md": "text/markdown",
    ".html": "text/html",
    ".svg": "image/svg+xml",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".tex": "application/x-tex",
    ".cff": "application/yaml",
    ".safetensors": "application/octet-stream",
}


def crate_metadata(
    found: Contents, cited: dict[str, Any], about: str, texts: Iterable[str]
) -> dict[str, Any]:
    """The content of ro-crate-metadata.json; the same study gives the same.

    Args:
        found: what is deposited.
        cited: CITATION.cff.
        about: what the deposit is.
        texts: names of files beside those of the study.
    """
    from rocrate.model import ContextEntity
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version=VERSION)

    def entity(identifier: str, kind: str, **properties: Any) -> ContextEntity:
        return crate.add(ContextEntity(crate, identifier, {"@type": kind, **properties}))

    root = crate.root_dataset
    crate.name, crate.description = f"dstcl: preset {found.preset}", about
    # Not the time of packing: the same study gives the same bytes.
    crate.datePublished = max(str(made["finished"]) for made in found.made.values())
    licence = str(cited["license"])
    crate.license = entity(f"https://spdx.org/licenses/{licence}", "CreativeWork", name=licence)
    root["conformsTo"] = entity(PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
    people = [
        entity(f"#author-{n}", "Organization" if "name" in one else "Person", name=author_name(one))
        for n, one in enumerate(cited["authors"], start=1)
    ]
    # The recommendation is a value in place of a list of one.
    authors = people if len(people) > 1 else people[0]
    root["author"] = authors
    files = {
        name: crate.add_file(dest_path=name, properties=_described(name))
        for name in sorted([*found.files, *texts])
    }
    for run in found.runs:
        made, config = found.made[run.digest], f"runs/{run.folder}/{RESULT_FILES['config']}"
        action = entity(f"#run-{run.digest}", "CreateAction", **_action(run, made))
        # Of one code there may be several commits, and an entity has one description.
        code = [made.get(name) for name in ("code", "git_commit", "git_dirty")]
        action["instrument"] = entity(
            f"#code-{'-'.join(map(str, code))}", "SoftwareApplication", **_software(made, cited)
        )
        action["agent"] = authors
        action["object"] = [
            files[config],
            *(
                entity(f"#{key}-{made.get(key)}", "CreativeWork", name=name.format(run.data_name))
                for key, name in INPUTS.items()
            ),
        ]
        action["result"] = [
            files[name]
            for name in found.of_run(run)
            if name != config and PurePosixPath(name).name != VOUCHED
        ]
        root.append_to("mentions", action)
    return dict(crate.metadata.generate())


def _described(name: str) -> dict[str, str]:
    path = PurePosixPath(name)
    format_of = {"encodingFormat": FORMATS.get(path.suffix, "text/plain")}
    return {"name": path.name, **format_of}


def _action(run: Run, made: dict[str, Any]) -> dict[str, str]:
    versions = made.get("versions", {})
    precision = made.get("engine", {}).get("precision", "unknown")
    return {
        "name": f"Training of {run.folder}",
        "description": f"Python {versions.get('python')}, torch {versions.get('torch')}, "
        f"{made.get('device')}, {made.get('threads')} threads, precision {precision}",
        "startTime": str(made["started"]),
        "endTime": str(made["finished"]),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }


def _software(made: dict[str, Any], cited: dict[str, Any]) -> dict[str, str]:
    found = {
        "name": "dstcl",
        "description": f"{cited['title']}; code digest {made.get('code')}; run in a folder at "
        f"commit {made.get('git_commit')}{' with changes' if made.get('git_dirty') else ''}",
        "softwareVersion": str(made.get("versions", {}).get("dstcl", "unknown")),
    }
    return found | ({"url": str(cited["repository-code"])} if "repository-code" in cited else {})
