"""Registered models: the networks of a run, in a Python that does not know this repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dstcl.cli import main
from dstcl.continual import Learner, learner_of
from dstcl.data.stored import Prepared, read_tasks
from dstcl.data.tasks import write_tasks
from dstcl.jobs.train import train_run
from dstcl.storage import read_tensors, write_tensors
from dstcl.study.run import Run
from dstcl.study.seal import sealed
from dstcl.tracking import model_files
from dstcl.tracking.register import register
from helpers.runs import changed

NAME = "dstcl-tiny-dst-random-d0.3-{init}-mnist5k-5tasks-convnet-corrected"


@dataclass
class Project:
    """A folder as the pipeline leaves it, with the trained networks of its runs."""

    root: Path
    digits: Prepared
    run: Run
    learner: Learner
    classes: list[list[int]]

    @property
    def folder(self) -> Path:
        return self.root / "results" / "tiny" / "runs" / self.run.folder

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    def model_folders(self) -> list[Path]:
        """What MLflow loads without a server."""
        return sorted(self.root.glob("mlartifacts/dstcl/tiny/*/artifacts/model/*"))

    def images(self, task: int) -> torch.Tensor:
        """Test images of a task (from 1), uint8."""
        classes = torch.tensor(self.classes[task - 1])
        return self.digits.images[self.digits.is_test & torch.isin(self.digits.labels, classes)]

    @torch.no_grad()
    def logits(self, task: int) -> np.ndarray:
        """What the trained network itself says of them."""
        learner = self.learner
        learner.outcome.store.activate(0 if self.run.method == "joint" else task - 1)
        learner.network.eval()
        mean, std = (torch.tensor(v).view(-1, 1, 1) * 255 for v in (self.digits.mean, [0.3081]))
        return learner.network((self.images(task).float() - mean) / std).numpy()


def train(root: Path, digits: Prepared, run: Run) -> Project:
    data = root / "data" / "prepared" / f"{run.data_name}.safetensors"
    split = root / "data" / "tasks" / f"{run.data_name}-{run.tasks}tasks" / f"{run.order_name}.json"
    write_tensors(
        data,
        {"images": digits.images, "labels": digits.labels, "is_test": digits.is_test},
        {n: getattr(digits, n) for n in ("class_names", "mean", "std", "digest", "dataset")},
    )
    write_tasks(data, "mnist5k", run.tasks, run.order_name, split)
    train_run(run, data, split, root / "results" / "tiny" / "runs" / run.folder, device="cpu")
    classes = read_tasks(split)["tasks"]
    learner = learner_of(run, digits, classes, torch.device("cpu"))
    learner.fit()
    return Project(root, digits, run, learner, classes)


@pytest.fixture(scope="module")
def project(tmp_path_factory, digits: Prepared, short_run: Run) -> Project:
    """A trained and registered run; do not change it."""
    project = train(tmp_path_factory.mktemp("project"), digits, short_run)
    done = register(project.folder, uri=project.uri)
    assert (done.name, done.version, done.new) == (NAME.format(init=project.run.init), "1", True)
    return project


LOAD = """
import sys
sys.modules["dstcl"] = None  # as if it were not installed
import numpy as np, torch, mlflow.pyfunc
def watch(event, arguments):
    assert event != "pickle.find_class", f"unpickled: {arguments}"
sys.addaudithook(watch)
model = mlflow.pyfunc.load_model(sys.argv[1])
for task in sys.argv[2:]:
    images = np.load(f"images{task}.npy", allow_pickle=False)
    np.save(f"logits{task}.npy", model.predict(images, params={"task": int(task)}))
assert not [name for name in sys.modules if name.startswith("dstcl.")]
"""


@pytest.mark.slow
def test_predictions_are_the_networks_own_where_there_is_no_dstcl(project, tmp_path):
    for task in (1, 4):
        np.save(tmp_path / f"images{task}.npy", project.images(task).numpy())
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    (model,) = project.model_folders()
    done = subprocess.run(
        [sys.executable, "-c", LOAD, model, "1", "4"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    accuracy = (project.folder / "accuracy.csv").read_text().splitlines()
    for task in (1, 4):
        logits = np.load(tmp_path / f"logits{task}.npy")
        np.testing.assert_array_equal(logits, project.logits(task))
        # And they are as right as the run says.
        classes = torch.tensor(project.classes[task - 1])
        test = project.digits.is_test & torch.isin(project.digits.labels, classes)
        right = classes[torch.from_numpy(logits).argmax(1)] == project.digits.labels[test]
        (last,) = (row for row in accuracy if row.startswith(f"5,{task},"))
        assert float(last.split(",")[2]) == right.double().mean()


def test_tasks_differ(project):
    import mlflow.pyfunc

    (folder,) = project.model_folders()
    model = mlflow.pyfunc.load_model(str(folder))
    images = project.images(1).numpy()
    first, second = (model.predict(images, params={"task": task}) for task in (1, 2))
    assert not np.array_equal(first, second)
    # Going back gives the first again, and the first task is the default.
    np.testing.assert_array_equal(model.predict(images, params={"task": 1}), first)
    np.testing.assert_array_equal(model.predict(images), first)
    # One image alone is predicted as among others (but for rounding), and none at all is no error.
    np.testing.assert_allclose(model.predict(images[:1]), first[:1], rtol=1e-5, atol=1e-6)
    assert model.predict(images[:0]).shape == (0, 2)


@pytest.mark.parametrize("task", [0, 6, -1])
def test_a_task_that_is_none_is_refused(project, task):
    import mlflow.pyfunc

    (folder,) = project.model_folders()
    model = mlflow.pyfunc.load_model(str(folder))
    with pytest.raises(ValueError, match=f"task {task}: the model has tasks 1 to 5"):
        model.predict(project.images(1).numpy(), params={"task": task})


def test_images_of_another_type_or_shape_are_refused(project):
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException

    (folder,) = project.model_folders()
    model = mlflow.pyfunc.load_model(str(folder))
    images = project.images(1).numpy()
    for bad in (images / 255.0, images[:, :, :14], images[0]):
        with pytest.raises(MlflowException):
            model.predict(bad)


def test_a_version_has_signature_example_classes_and_its_run(project):
    from mlflow import MlflowClient
    from mlflow.models import Model

    (folder,) = project.model_folders()
    model = Model.load(str(folder))
    inputs, outputs, params = (
        model.signature.to_dict()[k] for k in ("inputs", "outputs", "params")
    )
    assert json.loads(inputs)[0]["tensor-spec"] == {"dtype": "uint8", "shape": [-1, 1, 28, 28]}
    assert json.loads(outputs)[0]["tensor-spec"] == {"dtype": "float32", "shape": [-1, 2]}
    assert json.loads(params)[0]["name"] == "task"
    example = model.load_input_example(str(folder))
    assert (example.dtype, example.shape) == (np.uint8, (1, 1, 28, 28))
    names = [[str(label) for label in task] for task in project.classes]
    assert model.metadata["class_names"] == names

    client = MlflowClient(project.uri)
    version = client.get_model_version(NAME.format(init=project.run.init), "1")
    recorded = client.get_run(version.run_id)
    assert recorded.data.tags["dstcl.digest"] == project.run.digest
    assert version.source.startswith("mlflow-artifacts:/dstcl/tiny/")
    # The run's own files, byte for byte; no path of this machine; nothing pickled.
    for name in ("weights.safetensors", "masks.safetensors"):
        kept = (folder / "artifacts" / name).read_bytes()
        assert kept == (project.folder / name).read_bytes()
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.suffix not in (".pkl", ".pt", ".pt2", ".pth")
            content = path.read_bytes()
            for place in (project.root, Path(__file__).parents[2]):
                assert str(place).encode() not in content, path


def test_registering_twice_gives_the_same_version(project):
    before = project.model_folders()
    again = register(project.folder, uri=project.uri)
    assert (again.version, again.new) == ("1", False)
    assert project.model_folders() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "separate", "density": 1.0, "init": "none", "growth": "none"},
        {"method": "joint", "density": 1.0, "init": "none", "growth": "none"},
        {"method": "finetune", "density": 1.0, "init": "none", "growth": "none"},
        {"head": "shared", "logits": "task"},
        {"head": "shared", "logits": "all"},
    ],
)
def test_other_methods_and_heads(tmp_path, digits, short_run, changes):
    import mlflow.pyfunc

    project = train(tmp_path, digits, changed(short_run, epochs=1, **changes))
    register(project.folder, uri=project.uri)
    (folder,) = project.model_folders()
    model = mlflow.pyfunc.load_model(str(folder))
    for task in (1, 4):
        logits = project.logits(task)
        outputs = project.learner.outputs[task - 1]
        if not outputs.among_all:
            logits = logits[:, outputs.start : outputs.stop]
        found = model.predict(project.images(task).numpy(), params={"task": task})
        np.testing.assert_array_equal(found, logits)


OWN = """
from torch import nn
from shared_parts import WIDTH

def net(channels, classes):
    return nn.Sequential(
        nn.Conv2d(channels, WIDTH, 5, stride=4), nn.BatchNorm2d(WIDTH), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, classes),
    )
"""


def test_a_network_of_the_users_own_travels_with_its_code(tmp_path, digits, short_run, monkeypatch):
    """It predicts the same where there is neither dstcl nor the working folder."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "registered_net.py").write_text(OWN)
    (work / "shared_parts.py").write_text("WIDTH = 6")
    (work / "not_needed.py").write_text("")
    monkeypatch.chdir(work)
    monkeypatch.syspath_prepend(str(work))
    run = changed(short_run, epochs=1, network="registered_net:net")
    project = train(tmp_path / "project", digits, run)
    register(project.folder, uri=project.uri)
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(work)
    (model,) = project.model_folders()
    assert not list(model.rglob("not_needed.py"))
    np.save(tmp_path / "images4.npy", project.images(4).numpy())
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, model, "4"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "logits4.npy"), project.logits(4))


def test_the_package_that_a_network_is_from_is_among_the_requirements():
    assert model_files._requirements("convnet") == model_files._requirements("resnet18")
    found = model_files._requirements("torchvision.models:resnet18")
    (package,) = set(found) - set(model_files._requirements("convnet"))
    assert re.fullmatch(r"torchvision==[0-9.]+", package)


# What cannot be registered


def copied(project: Project, tmp_path: Path) -> Project:
    for name in ("data", "results"):
        shutil.copytree(project.root / name, tmp_path / name)
    return replace(project, root=tmp_path)


def mistake(*arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        main(list(map(str, arguments)))
    message = caught.value.code
    assert isinstance(message, str)
    assert len(message.splitlines()) == 1
    return message.removeprefix("dstcl: ")


@pytest.fixture
def copy(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the project without its database, to be changed."""
    project = copied(project, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", project.uri)
    return project


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def change_run(folder: Path, **values: object) -> None:
    """Make the files of a run those of another one."""
    config, weights = folder / "config.json", folder / "weights.safetensors"
    run = changed(Run.from_dict(json.loads(config.read_text())), **values)
    config.write_text(json.dumps(run.to_dict()))
    change(folder / "metrics.json", digest=run.digest)
    tensors, metadata = read_tensors(weights)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    write_tensors(weights, tensors, metadata | {"digest": run.digest})
    seal(folder)


def seal(folder: Path) -> None:
    """Make the digests in metrics.json those of the files there."""
    path = folder / "metrics.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()), folder)))


@pytest.mark.parametrize("batch_norm", ["batch", "shared"])
def test_batch_norms_that_cannot_be_served_are_refused(copy: Project, batch_norm: str) -> None:
    change_run(copy.folder, batch_norm=batch_norm)
    assert f"batch_norm is '{batch_norm}'; only runs" in mistake("register", copy.folder)
    assert not (copy.root / "mlflow.db").exists()


@pytest.mark.parametrize(
    "name", ["metrics.json", "weights.safetensors", "masks.safetensors", "config.json"]
)
def test_an_unfinished_run_is_refused(copy: Project, name: str) -> None:
    (copy.folder / name).unlink()
    assert f"{copy.folder / name}: no such file" in mistake("register", copy.folder)


def test_a_folder_that_is_no_run_is_refused(copy: Project) -> None:
    assert "no such file" in mistake("register", copy.root)
    moved = copy.folder.rename(copy.root / "elsewhere")
    assert "not below results/<preset>/runs" in mistake("register", moved)


def test_neither_data_nor_splits_are_needed(copy: Project) -> None:
    shutil.rmtree(copy.root / "data")
    assert register(copy.folder, uri=copy.uri).version == "1"


def test_weights_of_another_network_are_refused_and_nothing_is_registered(copy: Project) -> None:
    from mlflow import MlflowClient

    before = copy.folder
    (before / "weights.safetensors").replace(before / "kept")
    for changes, words in (({}, "of run 0123456789, not of"), ({"network": "lenet5"}, "not the")):
        shutil.copyfile(before / "kept", before / "weights.safetensors")
        if changes:
            change_run(before, **changes)
        else:
            tensors, metadata = read_tensors(before / "kept")
            write_tensors(
                before / "weights.safetensors",
                {name: tensor.clone() for name, tensor in tensors.items()},
                metadata | {"digest": "0123456789"},
            )
        message = mistake("register", before)
        assert message.startswith(f"{before / 'weights.safetensors'}: {words}")
    assert list(MlflowClient(copy.uri).search_registered_models()) == []


def test_damaged_masks_are_refused(copy: Project) -> None:
    (copy.folder / "masks.safetensors").write_bytes(b"damaged")
    assert "masks.safetensors: changed since the run" in mistake("register", copy.folder)
    seal(copy.folder)
    assert "masks.safetensors: damaged" in mistake("register", copy.folder)


@pytest.mark.parametrize("name", ["weights.safetensors", "masks.safetensors"])
def test_a_flipped_bit_is_refused_and_nothing_is_registered(copy: Project, name: str) -> None:
    path = copy.folder / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert mistake("register", copy.folder).startswith(f"{path}: changed since the run wrote it")
    assert not (copy.root / "mlflow.db").exists()


def test_a_run_without_digests_is_registered_and_said_to_be_unverified(copy: Project) -> None:
    path = copy.folder / "metrics.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in values.items() if k not in ("files", "checksum")}))
    assert str(register(copy.folder)).endswith(
        "(unverified: the run wrote no digests of its files)"
    )


def test_a_name_of_ones_own(copy: Project, capsys: pytest.CaptureFixture[str]) -> None:
    main(["register", str(copy.folder), "--name", "digits"])
    assert capsys.readouterr().out == "models:/digits/1\n"
    assert mistake("register", copy.folder, "--name", "a/b").startswith("MLflow at sqlite:")


def test_a_model_outlives_its_run(copy: Project) -> None:
    """A run trained again takes its place in the list; what was registered stays."""
    import mlflow.pyfunc

    from dstcl.tracking import sync

    register(copy.folder)
    change(copy.folder / "metrics.json", acc=0.5)
    seal(copy.folder)
    assert sync("tiny", [copy.folder]).updated == 1
    (folder,) = copy.model_folders()
    assert mlflow.pyfunc.load_model(str(folder)).predict(copy.images(1).numpy()).shape[1] == 2
