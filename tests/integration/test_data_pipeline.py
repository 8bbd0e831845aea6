"""Data sets through the whole pipeline: real miniImageNet, a set of one's own, other archives."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dry_runs import jobs
from PIL import Image
from workspace import Workspace

pytestmark = pytest.mark.pipeline


def test_real_miniimagenet_images_run_through_the_pipeline(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.environ.get("DSTCL_TEST_DATA")
    if not data:
        pytest.skip("DSTCL_TEST_DATA does not name a folder with miniimagenet-subset.zip")
    monkeypatch.setenv("DSTCL_DATA", data)
    workspace.change(
        {"benchmarks": [{"dataset": "miniimagenet", "tasks": 10}], "networks": ["convnet"]},
        training={"epochs": 1, "augment": "crop-flip"},
    )
    done = workspace.run("evaluate")
    assert done.returncode == 0, done.stdout
    summary = pd.read_csv(workspace.study / "summary.csv")
    assert summary["tasks"].tolist() == [10]
    assert summary["dataset"].tolist() == ["miniimagenet"]


def flowers(path: Path, shift: int = 0) -> None:
    """Four classes of noise around a grey of their own."""
    for label in range(4):
        for k in range(24):
            rng = np.random.default_rng([label, k, shift])
            pixels = rng.integers(60 * label, 60 * label + 40, (16, 16, 3), dtype=np.uint8)
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, "PNG")
            file = path / f"kind{label}" / f"{k}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.getvalue())


def own_study(workspace: Workspace) -> None:
    workspace.params["datasets"] = {"flowers": {"path": "flowers.zip", "classes": 4}}
    benchmark = {"dataset": "flowers", "tasks": 2, "image_size": 16, "batch_size": 8}
    workspace.change({"benchmarks": [benchmark]}, training={"epochs": 20})


def archive(workspace: Workspace, shift: int = 0) -> None:
    folder = workspace.folder / "unpacked"
    flowers(folder, shift)
    shutil.make_archive(str(workspace.folder / "flowers"), "zip", folder)
    shutil.rmtree(folder)


def test_a_data_set_of_one_s_own_is_one_entry_and_its_archive_is_watched(
    workspace: Workspace,
) -> None:
    archive(workspace)
    own_study(workspace)
    done = workspace.run("evaluate", "data/sheets/flowers-16px.png")
    assert done.returncode == 0, done.stdout
    assert pd.read_csv(workspace.study / "summary.csv")["acc"].item() > 0.9
    assert Image.open(workspace.folder / "data/sheets/flowers-16px.png").width > 100
    # Touched, or gone after `dvc pull` in a clone: nothing is made again.
    (workspace.folder / "flowers.zip").touch()
    assert "Nothing to be done" in workspace.run("evaluate", "--dry-run").stdout
    (workspace.folder / "flowers.zip").rename(workspace.folder / "away")
    assert "Nothing to be done" in workspace.run("evaluate", "--dry-run").stdout
    # Another archive of the same name is noticed.
    archive(workspace, shift=1)
    planned = jobs(workspace.run("evaluate", "--dry-run").stdout)
    assert (planned["prepare"], planned["train_run"]) == (1, 1)


def test_a_set_that_is_not_there_ends_with_one_line(workspace: Workspace) -> None:
    own_study(workspace)
    done = workspace.run("data")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "dstcl: flowers: flowers.zip is not there; datasets.flowers.path names it" in said
    assert not list(workspace.folder.rglob("*.safetensors"))


def test_a_plan_says_which_set_is_not_there_and_how_to_get_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of runs that are not finished; the plan itself is made all the same."""
    monkeypatch.setenv("DSTCL_DATA", str(workspace.folder / "nowhere"))
    workspace.change({"benchmarks": [{"dataset": "cifar100", "tasks": 20}], "seeds": [0, 1]})
    words = "2 of 2 runs need images that are not there: cifar100: one of "
    planned = workspace.run("--dry-run", "train")
    assert planned.returncode == 0, planned.stdout
    (said,) = [line for line in planned.stdout.splitlines() if "not there" in line]
    assert said.startswith(words)
    assert said.endswith("or get it with: dstcl data add cifar100")
    assert jobs(planned.stdout)["train_run"] == 2
    assert words not in workspace.run("--dry-run", "plan").stdout
    (workspace.folder / "nowhere" / "cifar100").mkdir(parents=True)
    assert "not there" not in workspace.run("--dry-run", "train").stdout


def test_unequal_tasks_are_a_split_of_their_own(workspace: Workspace) -> None:
    workspace.change({"benchmarks": [{"dataset": "mnist5k", "tasks": 3, "task_sizes": [6, 2, 2]}]})
    done = workspace.run("tasks")
    assert done.returncode == 0, done.stdout
    split = workspace.folder / "data/tasks/mnist5k-28px-3tasks/seed0-sizes6+2x2.json"
    assert split.exists()


def test_corrected_labels_train_again_and_a_second_plan_reads_no_image(
    workspace: Workspace,
) -> None:
    """Two labels exchanged in a list: its name, its size and its time stay what they were."""
    flowers(workspace.folder / "unpacked")
    names = sorted(p.relative_to(workspace.folder) for p in workspace.folder.rglob("*.png"))
    rows = [f"{name.parent.name}-{name.name},{name.parent.name}" for name in names]
    for name in names:
        target = workspace.folder / "flowers" / "images" / f"{name.parent.name}-{name.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        (workspace.folder / name).rename(target)
    shutil.rmtree(workspace.folder / "unpacked")
    listed = workspace.folder / "flowers" / "train.csv"
    listed.write_text("\n".join(["filename,label", *rows]) + "\n")
    own_study(workspace)
    workspace.params["datasets"]["flowers"]["path"] = "flowers"
    workspace.change(training={"epochs": 1})
    done = workspace.run("train")
    assert done.returncode == 0, done.stdout
    assert "Nothing to be done" in workspace.run("train", "--dry-run").stdout
    before, text = listed.stat(), listed.read_text()
    text = text.replace(",kind0", ",kindX").replace(",kind1", ",kind0").replace(",kindX", ",kind1")
    listed.write_text(text)
    os.utime(listed, ns=(before.st_atime_ns, before.st_mtime_ns))
    planned = jobs(workspace.run("train", "--dry-run").stdout)
    assert (planned["prepare"], planned["train_run"]) == (1, 1)
