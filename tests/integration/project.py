"""A git and DVC repository with a tiny study of its own: what a person has after cloning."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from PIL import Image
from workspace import BIN, DRAWN, PATIENCE, TINY, copy_repository, search_path

from dstcl.study.fields import plain
from dstcl.study.load import load_file, runs

Records = dict[str, tuple[str, float]]
RESULTS = "results/quick"


class Project:
    """A git and DVC repository of its own with a tiny study.

    Attributes:
        cold: whether commands start as a person starts them, and not at once."""

    def __init__(self, folder: Path) -> None:
        self.cold = False
        self.folder = folder
        scratch = folder.parent / "dvc"
        self.environment = os.environ | {
            "PYTHONPATH": str(folder / "src"),
            "DVC_GLOBAL_CONFIG_DIR": str(scratch / "config"),
            "DVC_SITE_CACHE_DIR": str(scratch / "site"),
            "DVC_NO_ANALYTICS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }

    def start(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        """A command in this project, in a process group of its own."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment | {"PATH": search_path(BIN if self.cold else None)},
            text=True,
            start_new_session=True,
            **(streams | options),
        )

    def run(self, *command: str, fails: bool = False) -> str:
        """Run to the end; what it printed."""
        process = self.start(*command)
        said, _ = process.communicate(timeout=PATIENCE)
        assert (process.returncode != 0) is fails, said
        return said

    def snakemake(self, *arguments: str) -> str:
        return self.run("snakemake", "--cores", "2", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.run("dvc", *arguments)

    def commit(self, tag: str) -> None:
        self.run("git", "commit", "--quiet", "--all", "--message", tag)
        self.run("git", "tag", tag)

    def change(self, figures: dict[str, Any] | None = None, **axes: Any) -> None:
        """Change axes of the study or the section of figures, as a person edits params.yaml."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params["presets"]["quick"].update(axes)
        params["figures"].update(figures or {})
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def copy(self, folder: Path) -> Project:
        """The same project at another place, git and DVC included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)

    def records(self) -> Records:
        """Snakemake's memory: file -> (rule, when the rule began)."""
        memory = self.folder / ".snakemake" / "metadata"
        found = {}
        for path in filter(Path.is_file, memory.rglob("*")):
            name = "".join(part.lstrip("@") for part in path.relative_to(memory).parts)
            record = json.loads(path.read_text())
            found[base64.urlsafe_b64decode(name).decode()] = record["rule"], record["starttime"]
        return found

    def trained(self) -> dict[str, str]:
        """Run folder -> when its training began, as the run itself wrote."""
        folder = self.folder / RESULTS / "runs"
        return {
            str(path.parent.relative_to(folder)): json.loads(path.read_text())["started"]
            for path in folder.rglob("provenance.json")
        }

    def check(self, *, versioned: bool = True) -> None:
        """Every file says what params.yaml asks for; neither DVC nor Snakemake has more to do."""
        params = load_file(self.folder / "params.yaml")
        wanted = {run.digest: run for run in runs(params)}
        results = self.folder / RESULTS
        for run in wanted.values():
            recorded = json.loads((results / "runs" / run.folder / "config.json").read_text())
            assert recorded == run.to_dict()
        plan = json.loads((results / "plan.json").read_text())
        assert [entry["run"] for entry in plan["runs"]] == [r.to_dict() for r in wanted.values()]
        assert set(pd.read_csv(results / "summary.csv")["digest"]) == set(wanted)
        assert json.loads((results / "params.json").read_text()) == plain(params.model_dump())
        assert json.loads((results / "overview.json").read_text())["runs"] == len(wanted)
        for figure in DRAWN:
            with Image.open(results / "figures" / f"{figure}.png") as image:
                assert round(image.info["dpi"][0]) == params.figures.dpi
        assert "Nothing to be done" in self.snakemake("--dry-run")
        if versioned:
            assert "up to date" in self.dvc("status")


def make_project(folder: Path) -> Project:
    """A project with two runs made by plain Snakemake; DVC and git know nothing of them yet."""
    copy_repository(folder)
    project = Project(folder)
    project.change(**TINY | {"growths": ["random", "gradient"]})
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["presets"]["quick"]["training"]["epochs"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    project.run("git", "config", "user.name", "Tester")
    project.run("git", "config", "user.email", "tester@example.com")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "study")
    project.snakemake()
    return project
