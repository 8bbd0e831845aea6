"""Benchmarks must run where there is nothing but Python and torch, and measure what they say."""

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
import torch
from tape import TapeRecorder

from dstcl.continual import step
from dstcl.data.batches import task_examples
from dstcl.networks import NETWORKS
from dstcl.networks.build import build_network
from dstcl.sparse import maskable_weights
from dstcl.storage import read_json
from dstcl.study.load import load_file, runs
from dstcl.study.run import Run
from helpers.runs import changed

FOLDER = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scaling() -> Iterator[ModuleType]:
    """The module, with the others of the folder within reach; networks that it adds are removed."""
    with pytest.MonkeyPatch.context() as patching, patch.dict(NETWORKS):
        patching.syspath_prepend(str(FOLDER))
        yield importlib.import_module("scaling")


def other(name: str) -> Any:
    return importlib.import_module(name)


def test_the_run_of_the_benchmarks_is_one_of_preset_paper_in_batches_of_64() -> None:
    """At which all recorded speeds were measured."""
    paper = runs(load_file(FOLDER.parent / "params.yaml", "paper"))
    run = Run.from_dict(read_json(FOLDER / "run.json"))
    assert run.to_dict() == read_json(FOLDER / "run.json")
    assert changed(run, batch_size=128, update_every=100).digest in {one.digest for one in paper}


@pytest.mark.slow
def test_what_measures_a_gpu_needs_only_what_training_needs() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(FOLDER)!r})
for script in ("engine", "ensemble", "speed", "dst_step", "scaling"):
    __import__(script)
    missing = {{"pydantic", "snakemake", "mlflow", "dvc", "torchvision"}} & sys.modules.keys()
    assert not missing, (script, missing)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "otherwise"),
    [("data.py images.zip", ""), ("engine.py --device cpu", ", or --no-plain-loop")],
)
def test_what_compares_with_torchvision_says_that_it_is_needed(
    scaling: ModuleType, words: str, otherwise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit) as stopped:
        other(words.partition(".")[0]).main()
    needed = "torchvision is needed: pip install 'dstcl[dev]'"
    assert stopped.value.code == needed + otherwise


@pytest.mark.parametrize("record", sorted(FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_records_name_no_place_on_the_machine_that_made_them(record: Path) -> None:
    assert not re.search(r"[ \"](/|[A-Z]:)\w", record.read_text())


@pytest.mark.parametrize(("tasks", "classes"), [(1, 20), (2, 10), (3, 2), (1, 100)])
def test_every_task_has_its_images_of_its_own_classes(
    scaling: ModuleType, tasks: int, classes: int
) -> None:
    data = other("subjects").random_data(205, 8, 1, tasks, classes)
    for members in other("subjects").task_classes(tasks, classes):
        for test, count in ((False, 185), (True, 20)):
            examples = task_examples(data, members, test=test, device=CPU)
            assert len(examples) == count
        assert set(data.labels.tolist()) >= set(members)
    assert len(data.class_names) == tasks * classes


def test_networks_of_other_widths(scaling: ModuleType) -> None:
    subjects = other("subjects")
    widths = {name: subjects.default_width(name) for name in ("resnet18", "vgg16-slim", "convnet")}
    assert widths == {"resnet18": 64, "vgg16-slim": 16, "convnet": None}

    def shapes(name: str) -> list[torch.Size]:
        return [w.shape for w in maskable_weights(build_network(name, 3, 10, seed=0)).values()]

    assert shapes(subjects.of_width("resnet18", 16)) == shapes("resnet18-slim")
    assert shapes(subjects.of_width("resnet18-slim", None)) == shapes("resnet18-slim")
    assert shapes(subjects.of_width("resnet18-3x3", 8))[0] == (8, 3, 3, 3)


def test_a_pace_by_hand(scaling: ModuleType) -> None:
    pace = other("paces").Pace(images=300, seconds=4.0, loss=2.0, updates=(0.1, 0.5, 0.4))
    assert pace.images_per_second == 75
    assert pace.between_updates == pytest.approx(100)
    assert pace.update_ms == pytest.approx(400)


def test_the_second_epoch_of_each_task_is_measured(scaling: ModuleType) -> None:
    """180 images to train on are 3 steps an epoch; of 6 steps, 2 and 4 change the mask, not 6, as
    changes stop at three quarters."""
    subjects, paces = other("subjects"), other("paces")
    run = subjects.short_run("convnet", tasks=2, image_size=8, update_every=2)
    data, tasks = subjects.random_data(200, 8, 3), subjects.task_classes(2)
    with paces.timed_updates(CPU) as updates:
        first, second = paces.second_epochs(run, data, tasks, CPU, updates)
    assert len(updates) == 4
    assert (first.updates, second.updates) == ((updates[1],), (updates[3],))
    for pace in (first, second):
        assert pace.images == 180
        assert 0 < sum(pace.updates) < pace.seconds
    assert [pace.updates for pace in paces.second_epochs(run, data, tasks, CPU)] == [(), ()]


def test_a_timed_function_does_what_it_did_and_is_given_back(scaling: ModuleType) -> None:
    class Owner:
        def double(self, number: int, plus: int = 0) -> int:
            return 2 * number + plus

    before = Owner.double
    timed = other("paces").timed
    with timed(Owner, "double", CPU) as seconds:
        assert [Owner().double(number, plus=1) for number in (1, 2, 3)] == [3, 5, 7]
    assert len(seconds) == 3
    assert min(seconds) > 0
    with pytest.raises(TypeError), timed(Owner, "double", CPU):
        Owner().double(None)  # type: ignore[arg-type]
    assert Owner.double is before


def test_variants_take_turns_and_are_compared_with_the_first_of_their_axis(
    scaling: ModuleType,
) -> None:
    pace, calls = other("paces").Pace, []

    def measure(name: str, *seconds: float) -> Any:
        def call() -> list[Any]:
            calls.append(name)
            return [pace(100, s + 0.5, 2.0, (0.5 * s / seconds[0],)) for s in seconds]

        return call

    variants = [
        scaling.Variants("width", [8], measure("narrow", 1.0)),
        scaling.Variants("width", [16], measure("wide", 4.0)),
        scaling.Variants("finished tasks", [0, 9], measure("tasks", 2.0, 4.0)),
    ]
    found = scaling.speeds(variants, 3)
    assert calls == ["narrow", "wide", "tasks"] * 3
    assert {axis: list(rows) for axis, rows in found.items()} == {
        "width": ["8", "16"],
        "finished tasks": ["0", "9"],
    }
    assert found["width"]["16"]["images_per_second"]["median"] == 25
    assert found["width"]["16"]["times_the_first"] == 0.25
    last = found["finished tasks"]["9"]
    assert last["images_per_second"] == {"median": 28.6, "quartiles": [28.6, 28.6]}
    assert (last["update_ms"]["median"], last["update_times_the_first"]) == (1000, 2)


def test_every_variant_differs_from_the_others_as_it_says(
    scaling: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, int]] = []

    def note(run: Any, data: Any, tasks: list[list[int]], *rest: Any) -> list[Any]:
        seen.append((run, len(data.class_names)))
        return [other("paces").Pace(1, 1.0, 2.0, (0.1,)) for _ in tasks]

    monkeypatch.setattr(scaling, "second_epochs", note)
    for variant in scaling.Bench("resnet18-slim", 20, CPU).variants([8]):
        seen.clear()
        assert len(variant.measure()) == len(variant.values)
        ((run, classes),) = seen
        expected = {
            "density": (run.density, 10, "task", "resnet18-slim", 1),
            "classes, own head": (0.2, classes, "task", "resnet18-slim", 1),
            "classes, shared head in the mask": (0.2, classes, "shared", "resnet18-slim", 1),
            "width": (0.2, 10, "task", "resnet18-slim, width 8", 1),
            "finished tasks": (0.2, 100, "task", "resnet18-slim", 10),
        }[variant.axis]
        assert (run.density, classes, run.switches.head, run.network, run.tasks) == expected
        varying = {"density": run.density, "width": 8}.get(variant.axis, classes)
        assert variant.axis == "finished tasks" or variant.values == [varying]


@pytest.mark.slow
def test_a_whole_run_by_its_parts(scaling: ModuleType) -> None:
    run = other("whole_run").whole_run(
        "convnet", None, 80, "cpu", tasks=2, epochs=2, update_every=1
    )
    parts = run["seconds"]
    assert list(parts) == [
        *("start-up", "training steps", "topology updates", "evaluation", "checkpoints"),
        *("result files", "everything else"),
    ]
    assert min(parts.values()) > 0
    assert run["images"] == 2 * 2 * 72
    # Three layers of 3x3 kernels: 3 to 4, 4 to 8 and 8 to 8 channels.
    sizes = [108, 288, 576]
    assert run["weights"] == sum(sizes)
    assert run["mask_in_memory"] == sum(-(-size // 8) for size in sizes)
    assert run["mask_in_memory"] < run["mask_in_file"] < run["mask_in_memory"] + 400
    # Head: 8 x 10 weights, 10 biases. Norms: 4 vectors each of float32 and a count in 8 bytes.
    assert run["own"] == 4 * 90 + 4 * 4 * 20 + 3 * 8
    assert run["peak"] > run["start"] > 0
    # Weights twice, in the store and in the network; no mask takes a byte a weight.
    assert run["checkpoint"] > 2 * 4 * sum(sizes)


def test_what_runs_alone_has_a_process_of_its_own(scaling: ModuleType) -> None:
    assert other("whole_run").alone(os.getpid) != os.getpid()


@pytest.mark.slow
def test_scaling_from_end_to_end(
    scaling: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records: dict[str, Any] = {}
    monkeypatch.setattr(scaling, "record", records.__setitem__)
    monkeypatch.setattr(scaling, "FINISHED", (0, 1))
    monkeypatch.setattr(scaling, "WHOLE", {"tasks": 1, "epochs": 1})
    words = "scaling.py --network convnet --images 300 --rounds 2"
    monkeypatch.setattr(sys, "argv", [*words.split(), "--device", "cpu"])
    scaling.main()
    written = records["scaling-cpu"]
    assert (written["network"], written["rounds"]) == ("convnet", 2)
    assert "width" not in written["speeds"]  # a convnet has one
    assert list(written["speeds"]["finished tasks"]) == ["0", "1"]
    printed = capsys.readouterr().out
    assert "| density | 0.05 |" in printed
    assert "| whole run | " in printed


@pytest.mark.slow
def test_a_step_graph_is_compared_with_plain_steps(
    scaling: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check, records = other("step_graph"), dict[str, Any]()
    short_run = check.short_run
    monkeypatch.setattr(check, "record", records.__setitem__)
    monkeypatch.setattr(check, "IMAGES", 250)
    monkeypatch.setattr(check, "short_run", lambda network, **run: short_run("convnet", **run))
    # A small network, which falls by little.
    monkeypatch.setattr(check, "ALLOWED", 0.02)
    settings = {"growth": "momentum", "learning_rate": 2**-7}
    monkeypatch.setattr(check, "SETTINGS", {"momentum": settings})
    monkeypatch.setattr(step, "CudaRecorder", TapeRecorder)
    monkeypatch.setattr(step, "training_forward", lambda network, *engine: network)
    monkeypatch.setattr(sys, "argv", ["step_graph.py", "--device", "cpu"])
    with pytest.raises(SystemExit) as stopped:
        check.main()
    assert stopped.value.code is None
    plain, again, graph, _ = records["step_graph-cpu"]["losses"]["momentum"]
    assert plain == again == graph
    assert "| momentum | off | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("plain", "graph", "wrong"),
    [
        ([2.0, 1.0], [2.0, 1.05], []),
        ([2.0, 1.0], [2.0, 1.3], ["x: step-graph is off by 30%"]),
        ([2.0, 1.0], [2.0, float("nan")], ["x: step-graph is off by nan%"]),
        ([2.0, 1.9], [2.0, 1.9], ["x: plain steps learn nothing, so this tells nothing"]),
    ],
)
def test_what_is_wrong_with_a_step_graph_is_said(
    plain: list[float],
    graph: list[float],
    wrong: list[str],
    scaling: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = other("step_graph")
    monkeypatch.setattr(check, "EPOCHS", 2)
    assert check.judged({"x": [plain, plain, graph, plain]}) == wrong


def test_a_variant_that_fails_does_not_lose_the_others(scaling: ModuleType) -> None:
    def fail() -> float:
        raise RuntimeError("no memory")

    works, failed = other("engine").tried({"a": lambda: 1.0, "b": fail})
    assert list(works) == ["a"]
    assert failed == {"b": "RuntimeError: no memory"}


@pytest.mark.slow
def test_memory_from_end_to_end(
    scaling: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    memory, records = other("memory"), dict[str, Any]()
    monkeypatch.setattr(memory, "record", records.__setitem__)
    monkeypatch.setattr(memory, "TASKS_OF_WIDTHS", 2)
    words = "memory.py --network resnet18-slim --tasks 1 --widths 4 --device cpu"
    monkeypatch.setattr(sys, "argv", words.split())
    memory.main()
    runs = records["memory-resnet18-slim-cpu"]["runs"]
    assert [(run["width"], run["tasks"]) for run in runs] == [(16, 1), (4, 2)]
    assert runs[0]["weights"] > 10 * runs[1]["weights"]
    if sys.platform == "linux":
        assert all(0 < run["peak_giving_back"] < 1.1 * run["peak"] for run in runs)
    assert not set(memory.GIVE_BACK) & set(os.environ)
    assert "| 16 | 699,696 | 1 | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "1"], "--rounds: quartiles need at least 2"),
        (["--images", "200"], "--images: too few"),
        (["--network", "resnet"], "invalid choice: 'resnet'"),
    ],
)
def test_wrong_arguments_are_named(
    scaling: ModuleType,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        scaling.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_timed_command_tells_what_it_said(scaling: ModuleType, tmp_path: Path) -> None:
    code = "import os; print(os.getcwd(), os.environ['WORD']); sum(range(10**6))"
    call = other("commands").timed([Path(sys.executable).name, "-c", code], tmp_path, WORD="so")
    assert call.said == f"{tmp_path} so\n"
    assert call.seconds() == {"wall_seconds": call.wall_seconds, "cpu_seconds": call.cpu_seconds}
    assert call.cpu_seconds >= 0


def test_a_command_that_fails_shows_why(scaling: ModuleType, tmp_path: Path) -> None:
    code = "import sys; print('begun'); sys.exit('no space')"
    with pytest.raises(SystemExit, match="begun\nno space"):
        other("commands").timed([sys.executable, "-c", code], tmp_path)


def test_a_crossover_is_the_highest_density_below_which_a_form_is_always_faster(
    scaling: ModuleType,
) -> None:
    faster = {"0.5": 1.1, "0.1": 0.9, "0.05": 1.2, "0.01": 3.0}
    rows = {d: {"csr": {"times_faster": {"median": value}}} for d, value in faster.items()}
    assert other("sparse_layers").crossover(rows, "csr") == 0.05
    assert other("sparse_layers").crossover({"0.5": rows["0.1"]}, "csr") is None


def test_sparse_layers_of_the_benchmark_give_what_the_dense_one_gives(scaling: ModuleType) -> None:
    kinds, inputs = other("sparse_layers").layers(32, 0.1), torch.randn(3, 32)
    for layer in kinds.values():
        torch.testing.assert_close(layer(inputs), kinds["dense"](inputs))
    assert [len(times) for times in other("sparse_layers").measure(kinds, inputs, 2).values()] == [
        2
    ] * 3


def test_structured_updates_of_the_benchmark_change_masks(scaling: ModuleType) -> None:
    update = other("structured").Update((8, 8), 0.5, "gradient", "2:4")
    before = update.training.masks["weight"].clone()
    update.seconds(torch.randn(8, 8), torch.randn(8, 8))
    assert update.training.updates == 1
    assert not torch.equal(update.training.masks["weight"], before)
