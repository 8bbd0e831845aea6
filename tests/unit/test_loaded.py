"""Finished runs read back: their networks compute what was trained, bit for bit."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import dstcl
from dstcl.continual.learner import Learner, learner_of
from dstcl.data.stored import Prepared
from dstcl.jobs import train as training
from dstcl.jobs.loaded import LoadedRun
from dstcl.networks.head import find_head
from dstcl.storage import read_tensors, write_json, write_tensors
from dstcl.study.parts import NetworkSource
from dstcl.study.run import RESULT_FILES, Run
from helpers.runs import REPOSITORY, changed, task_split

TASKS = [[3, 1], [0, 7, 5], [8, 2]]
DENSE = {"density": 1.0, "init": "none", "growth": "none"}


@dataclass
class Trained:
    """A run's folder, and the learner that trained it."""

    folder: Path
    learner: Learner
    digits: Prepared

    @property
    def loaded(self) -> LoadedRun:
        return dstcl.load_run(self.folder)

    def images(self, task: int) -> torch.Tensor:
        """All test images of a task (from 1), uint8."""
        chosen = torch.isin(self.digits.labels, torch.tensor(TASKS[task - 1]))
        return self.digits.images[self.digits.is_test & chosen]

    @torch.no_grad()
    def logits(self, task: int) -> torch.Tensor:
        """What the learner itself says of them."""
        learner = self.learner
        learner.outcome.store.activate(0 if learner.method.joint else task - 1)
        learner.network.eval()
        tests = learner.tasks.examples([task - 1], "test")
        assert len(tests) == len(self.images(task))
        return learner.network(tests.normalised(tests.first(len(tests))))


def train(root: Path, digits: Prepared, run: Run, monkeypatch: pytest.MonkeyPatch) -> Trained:
    run = changed(run, tasks=len(TASKS), epochs=1)
    fields = asdict(digits)
    tensors = {key: fields.pop(key) for key in ("images", "labels", "is_test")}
    write_tensors(root / "digits.safetensors", tensors, fields)
    write_json(root / "tasks.json", task_split(digits, TASKS, order=run.order_name))
    learners: list[Learner] = []

    def noted(*arguments: Any) -> Learner:
        learners.append(learner_of(*arguments))
        return learners[-1]

    with monkeypatch.context() as patch:
        patch.setattr(training, "learner_of", noted)
        files = root / "digits.safetensors", root / "tasks.json"
        training.train_run(run, *files, root / "run", device="cpu")
    return Trained(root / "run", learners[0], digits)


@torch.no_grad()
def same_logits(trained: Trained) -> None:
    run = trained.loaded
    for task in (1, 2, 3):
        network = run.network(task)
        assert not network.training
        found = network(run.normalised(trained.images(task)))
        assert torch.equal(found, trained.logits(task)), task


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head": "shared", "logits": "task"},
        {"head": "shared", "logits": "all", "free_weights": "zero"},
        {"batch_norm": "batch"},
        {"batch_norm": "shared"},
        {"batch_norm": "batch", "head": "shared", "logits": "all", "regrown_frozen": "zero"},
        {"batch_norm": "shared", "head": "shared", "logits": "all"},
        {"method": "packnet", "growth": "none"},
        {"method": "packnet", "growth": "none", "head": "shared", "logits": "task"},
        {"method": "joint", **DENSE},
        {"method": "separate", **DENSE},
        {"method": "separate", **DENSE, "batch_norm": "shared"},
        {"method": "finetune", **DENSE},
        {"method": "finetune", **DENSE, "head": "shared", "logits": "task"},
        {"method": "ewc", **DENSE},
        {"method": "ewc", **DENSE, "head": "shared", "logits": "all"},
        {"network": "resnet18-slim"},
    ],
    ids=lambda changes: "-".join(f"{k}={v}" for k, v in changes.items()) or "dst",
)
def test_networks_compute_what_was_trained(
    changes: dict[str, Any],
    tmp_path: Path,
    digits: Prepared,
    short_run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same_logits(train(tmp_path, digits, changed(short_run, **changes), monkeypatch))


@pytest.mark.parametrize("layout", ["unfolded", "channels_last"])
def test_networks_compute_in_the_layout_of_the_run(
    layout: str,
    tmp_path: Path,
    digits: Prepared,
    short_run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same_logits(train(tmp_path, digits, changed(short_run, layout=layout), monkeypatch))


OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, classes, width):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 5, stride=4)
        self.norm = nn.BatchNorm2d(width)
        self.answer = nn.Linear(width, classes)
        self.aside = nn.Linear(width, width)

    def forward(self, images):
        maps = self.norm(self.first(images)).relu().mean((2, 3))
        return self.answer(self.aside(maps))
"""


def own_network(run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    (root / "loaded_net.py").write_text(OWN)
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(str(root))
    # The last linear layer of the module is not the head.
    source = NetworkSource("loaded_net:Net", "answer", {"width": 6})
    return replace(run, network="mine", network_source=source)


def test_a_network_of_the_users_own(
    tmp_path: Path, digits: Prepared, short_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train(tmp_path, digits, own_network(short_run, tmp_path, monkeypatch), monkeypatch)
    same_logits(trained)
    assert find_head(trained.loaded.network(1))[0] == "answer"
    (tmp_path / "loaded_net.py").unlink()
    monkeypatch.delitem(sys.modules, "loaded_net")
    refuses(trained.loaded.network, "loaded_net", 1)


# What else is read


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits: Prepared, short_run: Run):
    """Do not change it."""
    with pytest.MonkeyPatch.context() as patch:
        yield train(tmp_path_factory.mktemp("trained"), digits, short_run, patch)


def test_numbers_masks_and_tables_are_those_of_the_run(trained: Trained) -> None:
    run, outcome = trained.loaded, trained.learner.outcome
    assert run.run == trained.learner.run
    assert run.metrics == json.loads((trained.folder / "metrics.json").read_text())
    assert run.provenance["data_digest"] == trained.digits.digest
    assert run.class_names == [["3", "1"], ["0", "7", "5"], ["8", "2"]]
    assert (run.image, run.outputs) == ((1, 28, 28), 3)
    assert run.accuracy.to_dict("records") == outcome.accuracy
    assert run.history["loss"].tolist() == [row["loss"] for row in outcome.history]
    assert run.capacity.to_dict("records") == outcome.capacity()
    assert len(run.overlap) > 0
    for task, subnet in enumerate(outcome.store.subnets, start=1):
        masks = run.masks(task)
        assert masks.keys() == subnet.masks.keys()
        for name, mask in masks.items():
            assert mask.dtype == torch.bool
            assert torch.equal(mask, subnet.masks[name])
        # And in the network nothing else is left.
        state = run.network(task).state_dict()
        assert all(not state[name][~mask].any() for name, mask in masks.items())


def test_a_run_is_opened_as_the_tutorial_says(trained: Trained) -> None:
    page = (REPOSITORY / "docs" / "tutorial.md").read_text()
    lines = page[page.index("    run = dstcl.load_run(") :].partition("\n\n")[0]
    block = dedent(lines).replace("results/quick/runs/...", str(trained.folder))
    names: dict[str, Any] = {"dstcl": dstcl}
    exec(block, names)
    assert names["run"].run == trained.learner.run


def test_neither_tables_nor_a_pickle_are_read_for_a_network(trained: Trained) -> None:
    program = (
        "import sys, dstcl\n"
        "assert 'torch' not in sys.modules\n"
        "def watch(event, arguments):\n"
        "    assert event != 'pickle.find_class', arguments\n"
        "sys.addaudithook(watch)\n"
        "run = dstcl.load_run(sys.argv[1])\n"
        "run.network(2)\n"
        "assert 'pandas' not in sys.modules\n"
        "run.accuracy\n"
    )
    command = [sys.executable, "-c", program, str(trained.folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# What is refused


def refuses(call: Callable[..., object], *words: object, **more: object) -> None:
    *wanted, argument = words
    with pytest.raises(ValueError) as caught:
        call(argument, **more)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert all(str(word) in message for word in wanted), message


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Trained:
    """A copy, to be changed."""
    shutil.copytree(trained.folder, tmp_path / "copy")
    return replace(trained, folder=tmp_path / "copy")


@pytest.mark.parametrize("name", sorted(RESULT_FILES.values()))
def test_a_folder_without_one_of_the_files_is_refused(copy: Trained, name: str) -> None:
    (copy.folder / name).unlink()
    refuses(dstcl.load_run, f"{copy.folder / name}: no such file; a finished run", copy.folder)


@pytest.mark.parametrize("task", [0, 4, -1, True, "1", 1.0])
def test_a_task_that_there_is_not_is_refused(trained: Trained, task: object) -> None:
    for call in (trained.loaded.masks, trained.loaded.network):
        refuses(call, f"no task {task!r}; tasks are 1 to 3", task)


def test_files_of_another_run_are_refused(copy: Trained) -> None:
    for name in ("weights.safetensors", "metrics.json"):
        path = copy.folder / name
        before = path.read_bytes()
        if name.endswith("json"):
            path.write_text(json.dumps(json.loads(before) | {"digest": "0123456789"}))
        else:
            tensors, metadata = read_tensors(path)
            write_tensors(path, tensors, metadata | {"digest": "0123456789"})
        refuses(dstcl.load_run, f"{path}: of run 0123456789, not of", copy.folder)
        path.write_bytes(before)


@pytest.mark.parametrize("name", ["config.json", "metrics.json", "provenance.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}"])
def test_damaged_json_is_named(copy: Trained, name: str, content: str) -> None:
    (copy.folder / name).write_text(content)
    refuses(lambda folder: dstcl.load_run(folder).network(1), copy.folder / name, copy.folder)


@pytest.mark.parametrize("harm", ["no safetensors", "cut", "without shapes", "short", "missing"])
def test_damaged_masks_are_refused(copy: Trained, harm: str) -> None:
    path = copy.folder / "masks.safetensors"
    tensors, metadata = read_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    run, name = copy.loaded, next(name for name in tensors if name.startswith("task2/"))
    match harm:
        case "no safetensors":
            path.write_bytes(b"damaged")
        case "cut":
            path.write_bytes(path.read_bytes()[:-10])
        case "without shapes":
            save_file(tensors, path)
        case "short":
            write_tensors(path, tensors | {name: tensors[name][:-1]}, metadata)
        case "missing":
            write_tensors(path, {n: t for n, t in tensors.items() if n != name}, metadata)
    for call in (run.masks, run.network):
        refuses(call, path, 2)


@pytest.mark.parametrize("harm", ["cut", "without data", "another shape", "missing"])
def test_damaged_weights_are_refused(copy: Trained, harm: str) -> None:
    path = copy.folder / "weights.safetensors"
    tensors, metadata = read_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    name = next(name for name in tensors if name.startswith("dense/"))
    match harm:
        case "cut":
            path.write_bytes(path.read_bytes()[:-10])
        case "without data":
            write_tensors(path, tensors, {"digest": metadata["digest"]})
        case "another shape":
            write_tensors(path, tensors | {name: tensors[name][:-1]}, metadata)
        case "missing":
            write_tensors(path, {n: t for n, t in tensors.items() if n != name}, metadata)
    refuses(lambda folder: dstcl.load_run(folder).network(1), path, copy.folder)


def unsealed(folder: Path) -> None:
    """Make a run one of code that wrote no digests."""
    path = folder / "metrics.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in values.items() if k not in ("files", "checksum")}))


@pytest.mark.parametrize("kind", ["weights", "masks", "accuracy", "provenance", "config"])
def test_one_changed_bit_is_refused_where_it_is_read(copy: Trained, kind: str) -> None:
    path = copy.folder / RESULT_FILES[kind]
    content = bytearray(path.read_bytes())
    # Inside the numbers: what is read is whole but for them.
    content[content.rindex(b"1") if path.suffix in (".json", ".csv") else -9] ^= 1
    path.write_bytes(bytes(content))

    def use(folder: Path) -> None:
        run = dstcl.load_run(folder)
        _ = run.accuracy
        run.network(1)

    refuses(use, path, copy.folder)
    assert copy.folder.exists()


def test_runs_without_digests_are_read_and_say_so(copy: Trained) -> None:
    assert copy.loaded.sealed
    unsealed(copy.folder)
    assert not copy.loaded.sealed
    same_logits(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(copy: Trained, value: float) -> None:
    path = copy.folder / "weights.safetensors"
    tensors, metadata = read_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    name = next(name for name in tensors if name.startswith("dense/"))
    tensors[name].view(-1)[0] = value
    write_tensors(path, tensors, metadata)
    unsealed(copy.folder)
    refuses(copy.loaded.network, f"{path}: {name} is not finite", 1)


def test_a_table_that_is_none_is_named(copy: Trained) -> None:
    (copy.folder / "accuracy.csv").write_text("")
    run = copy.loaded
    refuses(lambda name: getattr(run, name), copy.folder / "accuracy.csv", "accuracy")
