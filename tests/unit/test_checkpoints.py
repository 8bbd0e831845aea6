"""Interrupted runs: whatever the moment, the end is the same, bit for bit."""

import errno
import gc
import json
import os
import signal
import weakref
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from dstcl.continual import InvariantError, Outcome, learner_of
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.jobs import checkpoints, interruption
from dstcl.jobs import train as record
from dstcl.jobs.checkpoints import Checkpoints, decode, encode
from dstcl.jobs.epochs import Told, read_epochs
from dstcl.jobs.interruption import EXIT_CODE, SIGNALS, Interrupted, StopRequest
from dstcl.jobs.train import train_run
from dstcl.storage import read_json, write_json, write_tensors
from dstcl.study.methods import BUILT_IN, method_facts
from dstcl.study.run import RESULT_FILES, Run
from helpers.finished import same_results
from helpers.runs import changed, task_split

TASKS = split_classes(10, 5, "natural")[:2]
CPU = torch.device("cpu")
DENSE = {"density": 1.0, "init": "none", "growth": "none"}
PUBLISHED = {
    "protocol": "published",
    "logits": "all",
    "head": "shared",
    "batch_norm": "batch",
    "test_augment": True,
    "augment": "crop-flip",
    "mask_counts": "bernoulli",
    "free_weights": "zero",
    "regrown_frozen": "zero",
    "candidates": "published",
    "checkpoint": "best_training_accuracy",
    "stop_at": 1.0,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "random": {"growth": "random"},
    "gradient": {"growth": "gradient"},
    "momentum": {"growth": "momentum"},
    "unfired": {"growth": "unfired", "augment": "crop-flip"},
    "sgd": {"growth": "momentum", "optimizer": "sgd", "learning_rate": 0.1},
    "redistributed": {"growth": "gradient", "redistribute": "momentum"},
    "shared batch norm": {"growth": "random", "batch_norm": "shared"},
    "static": {"method": "static", "growth": "none"},
    "gradual": {"method": "gradual", "growth": "none"},
    "packnet": {"method": "packnet", "growth": "none"},
    "wsn": {"method": "wsn", "growth": "none"},
    "wsn, fresh scores": {"method": "wsn", "growth": "none", "scores": "fresh"},
    "wsn, published": {"method": "wsn", "growth": "none", **PUBLISHED},
    "supsup": {"method": "supsup", "growth": "none"},
    "supsup, published": {"method": "supsup", "growth": "none", **PUBLISHED},
    "hat": {"method": "hat", **DENSE},
    "nispa": {"method": "nispa", "growth": "none"},
    "disjoint": {"method": "disjoint", "growth": "none"},
    "unisolated": {"method": "unisolated", "growth": "gradient"},
    "unisolated, published": {"method": "unisolated", "growth": "momentum", **PUBLISHED},
    "finetune": {"method": "finetune", **DENSE},
    "ewc": {"method": "ewc", "strength": 100.0, **DENSE},
    "separate": {"method": "separate", **DENSE},
    "joint": {"method": "joint", **DENSE},
    "published gradient": {"growth": "gradient", **PUBLISHED},
    "published momentum": {"growth": "momentum", **PUBLISHED},
    "published, stored": {"growth": "gradient", **PUBLISHED, "regrown_frozen": "stored"},
    "bfloat16": {"growth": "gradient", "precision": "bfloat16", "layout": "channels_last"},
}


def tensors_of(outcome: Outcome) -> dict[str, torch.Tensor]:
    state = {f"dense/{name}": value for name, value in outcome.store.dense.items()}
    for task, subnet in enumerate(outcome.store.subnets):
        state |= {f"{task}/mask/{name}": value for name, value in subnet.masks.items()}
        state |= {f"{task}/local/{name}": value for name, value in subnet.local.items()}
    return state


class Cut(Exception):
    pass


def cut_after(calls: int, saved: list[bytes]) -> Callable[[Callable[[], Any], bool], None]:
    """A pause that stops a learner at its so-manieth pause."""
    left = iter(range(calls, -1, -1))

    def pause(state: Callable[[], Any], task_end: bool) -> None:
        if next(left) == 0:
            saved.append(encode(state()))
            raise Cut

    return pause


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_cut_anywhere_ends_as_if_it_had_not_been(
    variant: str, short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, tasks=2, **VARIANTS[variant])
    pauses: list[bool] = []
    whole = learner_of(run, digits, TASKS, CPU, pause=lambda state, end: pauses.append(end)).fit()
    task_end = pauses.index(True)
    # In the first epoch, at its last step, in mid-epoch later, at the end of a task, in the next.
    for calls in sorted({1, task_end // 2 - 1, task_end - 2, task_end, len(pauses) - 3}):
        saved: list[bytes] = []
        with pytest.raises(Cut):
            learner_of(run, digits, TASKS, CPU, pause=cut_after(calls, saved)).fit()
        resumed = learner_of(run, digits, TASKS, CPU)
        resumed.load_state_dict(decode(saved[0]))
        outcome = resumed.fit()
        assert outcome.accuracy == whole.accuracy
        assert outcome.history == whole.history
        expected, actual = tensors_of(whole), tensors_of(outcome)
        assert expected.keys() == actual.keys()
        for name, value in expected.items():
            assert torch.equal(value, actual[name]), (calls, name)


@pytest.mark.parametrize(
    "variant",
    ["momentum", "gradual", "packnet", "wsn", "supsup", "hat", "nispa", "unisolated", "ewc"],
)
def test_training_changes_no_state_that_was_taken_before(
    variant: str, short_run: Run, digits: Prepared
) -> None:
    """Of the method and of its training, at every fifth pause of two tasks."""
    run = changed(short_run, tasks=2, **VARIANTS[variant])
    taken: list[tuple[Any, Any]] = []
    pauses = count()

    def pause(state: Callable[[], Any], task_end: bool) -> None:
        if next(pauses) % 5 and not task_end:
            return
        whole = state()
        own = (whole["method"], whole["stage"]["sparse"] if whole["stage"] else None)
        taken.append((own, deepcopy(own)))

    learner_of(run, digits, TASKS, CPU, pause=pause).fit()
    assert len(taken) > 5
    for now, then in taken:
        assert encode({"state": now}) == encode({"state": then})


def test_a_run_cut_at_every_step_ends_as_if_it_had_not_been(
    short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, tasks=2, growth="momentum", epochs=1)
    whole = learner_of(run, digits, TASKS, CPU).fit()
    state: list[bytes] = []
    attempts = 0
    while True:
        learner = learner_of(run, digits, TASKS, CPU, pause=cut_after(0, state))
        if state:
            learner.load_state_dict(decode(state.pop()))
        try:
            outcome = learner.fit()
            break
        except Cut:
            attempts += 1
    assert attempts > 10
    assert outcome.accuracy == whole.accuracy
    assert outcome.history == whole.history


def test_a_state_of_another_run_is_refused(short_run: Run, digits: Prepared) -> None:
    run = changed(short_run, tasks=2)
    state = learner_of(run, digits, TASKS, CPU).state_dict()
    with pytest.raises(ValueError, match=f"of run {run.digest}, not of"):
        learner_of(changed(run, seed=9), digits, TASKS, CPU).load_state_dict(state)


def test_nested_states_survive() -> None:
    shared = torch.arange(3)
    state = {
        "a": [1, 2.5, None, True, "text"],
        3: (shared, shared[:2], torch.tensor([True]), torch.zeros(())),
        "empty": {"dict": {}, "list": [], "tuple": ()},
        "float": 0.1 + 0.2,
    }
    restored = decode(encode(state))
    assert restored["a"] == state["a"]
    assert restored["empty"] == state["empty"]
    assert restored["float"] == state["float"]
    assert all(torch.equal(x, y) for x, y in zip(state[3], restored[3], strict=True))
    assert isinstance(restored[3], tuple)
    assert restored[3][3].shape == ()


def test_a_checkpoint_leaves_nothing_to_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the copies of several checkpoints pile up in memory."""
    copies: list[weakref.ref[torch.Tensor]] = []

    def noting(tensors: dict[str, torch.Tensor]) -> bytes:
        copies.extend(weakref.ref(tensor) for tensor in tensors.values())
        return save(tensors)

    def opened(content: bytes) -> dict[str, torch.Tensor]:
        tensors = load(content)
        copies.extend(weakref.ref(tensor) for tensor in tensors.values())
        return tensors

    monkeypatch.setattr(checkpoints, "save", noting)
    monkeypatch.setattr(checkpoints, "load", opened)
    gc.disable()
    try:
        decode(encode({"a": [torch.ones(3), {"b": (torch.zeros(2),)}]}))
        assert len(copies) == 2 * 3
        assert not any(copy() is not None for copy in copies)
    finally:
        gc.enable()


def test_what_cannot_be_saved_is_named() -> None:
    with pytest.raises(TypeError, match="cannot hold"):
        encode({"a": object()})


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, every=0)
    paths = [checkpoints.save({"number": n}) for n in range(4)]
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert checkpoints.newest() == {"number": 3}
    assert Checkpoints(tmp_path, every=0).save({"number": 9}).name > paths[-1].name


@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(
    harm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path, every=0)
    good, bad = (checkpoints.save({"number": n, "t": torch.ones(50)}) for n in range(2))
    content = bytearray(bad.read_bytes())
    content[-3] ^= 1
    bad.write_bytes({"truncated": content[:-10], "flipped": content, "empty": b""}[harm])
    assert checkpoints.newest()["number"] == 0
    assert f"{bad}: damaged" in capsys.readouterr().err
    good.write_bytes(b"")
    assert checkpoints.newest() is None


def test_checkpoints_are_due_by_time_and_sooner_at_the_end_of_a_task(tmp_path: Path) -> None:
    now = [0.0]
    checkpoints = Checkpoints(tmp_path, every=100, clock=lambda: now[0])
    due = []
    for now[0] in (5, 10, 99, 100):
        due.append((checkpoints.due(), checkpoints.due(task_end=True)))
    assert due == [(False, False), (False, True), (False, True), (True, True)]
    checkpoints.save({})
    assert not checkpoints.due()


@pytest.fixture
def inputs(tmp_path: Path, digits: Prepared) -> tuple[Path, Path]:
    data, tasks = tmp_path / "digits.safetensors", tmp_path / "tasks.json"
    fields = asdict(digits)
    tensors = {key: fields.pop(key) for key in ("images", "labels", "is_test")}
    write_tensors(data, tensors, fields)
    write_json(tasks, task_split(digits, TASKS))
    return data, tasks


@pytest.mark.parametrize("method", BUILT_IN)
def test_every_method_leaves_the_files_of_a_finished_run(
    method: str, short_run: Run, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    facts = method_facts(method)
    growth = "gradient" if facts.grows else "none"
    own = DENSE if facts.dense else {"growth": growth}
    run = changed(short_run, method=method, tasks=2, epochs=1, **own)
    train_run(run, *inputs, tmp_path / "run", device="cpu", threads=1)
    assert all((tmp_path / "run" / name).is_file() for name in RESULT_FILES.values())


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_makes_a_run_write_a_checkpoint_and_stop(
    number: signal.Signals, short_run: Run, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    run = changed(short_run, tasks=2)
    train_run(run, *inputs, tmp_path / "whole", device="cpu", threads=1)
    out = tmp_path / "cut"

    def stop_in_second_task(task: int, epoch: int, row: dict[str, Any]) -> None:
        if task == 2:
            os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_DFL)  # of nohup too
    with pytest.raises(Interrupted, match=f"stopped by {number.name}; goes on from"):
        train_run(run, *inputs, out, device="cpu", progress=stop_in_second_task)
    assert signal.signal(number, before) == signal.SIG_DFL
    assert not (out / "metrics.json").exists()
    train_run(run, *inputs, out, device="cpu")
    assert same_results(tmp_path / "whole", out)
    assert read_json(out / "provenance.json")["resumed"] == 1
    assert {path.name for path in out.iterdir()} == set(RESULT_FILES.values())


def test_an_interrupted_command_says_where_it_goes_on_and_exits_with_75(
    short_run: Run,
    inputs: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from dstcl.cli import main
    from dstcl.jobs import progress

    def stop(self: object, task: int, epoch: int, row: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(progress.EpochProgress, "__call__", stop)
    description = json.dumps(changed(short_run, tasks=2).to_dict())
    data, tasks = map(str, inputs)
    command = ["train", "--run", description, "--data", data, "--tasks", tasks]
    with pytest.raises(SystemExit) as end:
        main([*command, "--out", str(tmp_path / "out"), "--device", "cpu"])
    assert end.value.code == EXIT_CODE == 75
    assert "dstcl: stopped by SIGTERM; goes on from" in capsys.readouterr().err


def test_an_interrupted_run_tells_its_epochs_and_those_of_its_checkpoint_count(
    short_run: Run, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    run, out = changed(short_run, tasks=2, epochs=3), tmp_path / "out"
    told: list[Told | None] = []
    fail_at = (1, 2)

    def look(task: int, epoch: int, row: dict[str, Any]) -> None:
        told.append(read_epochs(out))
        if (task, epoch) == fail_at:
            raise RuntimeError("no\nmemory")

    def attempt(error: type[Exception], every: float) -> Told:
        with pytest.raises(error):
            train_run(run, *inputs, out, device="cpu", progress=look, checkpoint_every=every)
        after = read_epochs(out)
        assert after is not None
        return after

    first = attempt(RuntimeError, every=0)
    assert first.ended == ("failed", "RuntimeError: no\nmemory")
    assert [row["epoch"] for row in first.epochs] == [1, 2]
    # The last checkpoint is of before the second epoch ended: that is trained again, and its row
    # is there once.
    fail_at = (2, 1)
    second = attempt(RuntimeError, every=1e9)
    assert [(row["task"], row["epoch"]) for row in second.epochs] == [
        (1, 1), (1, 2), (1, 3), (2, 1)
    ]  # fmt: skip
    assert second.epochs[:2] == first.epochs
    assert second.started == first.started
    assert all(seen and seen.ended is None for seen in told)
    fail_at = (0, 0)
    train_run(run, *inputs, out, device="cpu")
    assert {path.name for path in out.iterdir()} == set(RESULT_FILES.values())


def test_training_that_cannot_begin_says_why(short_run: Run, tmp_path: Path) -> None:
    """Where there is a folder: Snakemake makes it before the job."""
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="no such file"):
        train_run(short_run, tmp_path / "no", tmp_path / "none", tmp_path / "out", device="cpu")
    told = read_epochs(tmp_path / "out")
    assert told is not None
    assert told.ended == ("failed", f"{tmp_path / 'no'}: no such file")


def test_signals_in_a_moment_are_one_request_and_a_later_one_has_its_usual_effect(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Shells start what runs in the background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    # Hypothesis watches the collection of garbage in Python: what is raised in there is lost.
    gc.disable()
    request.addfinalizer(gc.enable)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == "SIGINT"
        os.kill(os.getpid(), signal.SIGINT)
        monkeypatch.setattr(interruption, "ONE_REQUEST", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_killed_at_twenty_moments_a_run_ends_as_if_it_had_not_been(
    short_run: Run, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    """kill -9 of a real process; each attempt goes on from what the last one left."""
    run = changed(short_run, tasks=2, growth="gradient", epochs=4)
    train_run(run, *inputs, tmp_path / "whole", device="cpu", threads=1)
    out = tmp_path / "killed"
    moments = torch.rand(20, generator=torch.Generator().manual_seed(0)).mul(0.3).tolist()
    finished = 0
    for moment in moments:
        child = os.fork()
        if child == 0:  # forked, not started anew: starting Python and torch takes seconds
            try:
                signal.setitimer(signal.ITIMER_REAL, moment)
                signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
                train_run(run, *inputs, out, device="cpu", threads=1, checkpoint_every=0)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        finished += os.WIFEXITED(status)
    train_run(run, *inputs, out, device="cpu", threads=1, checkpoint_every=0)
    assert finished < len(moments)
    assert same_results(tmp_path / "whole", out)


@pytest.mark.parametrize("key", ["data_digest", "tasks_digest", "torch", "dstcl", "code"])
def test_a_checkpoint_of_other_data_or_versions_is_not_used(
    key: str,
    short_run: Run,
    inputs: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, out = changed(short_run, tasks=2, epochs=1), tmp_path / "out"

    def stop(task: int, epoch: int, row: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train_run(run, *inputs, out, device="cpu", progress=stop)
    checkpoints = Checkpoints(out, every=0)
    state = checkpoints.newest()
    state["origin"][key] = "another"
    checkpoints.save(state)
    train_run(run, *inputs, out, device="cpu")
    assert f"{key} was another, is " in capsys.readouterr().err
    assert read_json(out / "provenance.json")["resumed"] == 0


@pytest.mark.parametrize("device", ["the same", "another"])
def test_on_another_device_logits_of_finished_tasks_are_taken_anew(
    device: str, short_run: Run, inputs: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Their last digits differ there, which is no task forgotten."""
    run, out = changed(short_run, tasks=2, epochs=2), tmp_path / "out"

    def stop(task: int, epoch: int, row: dict[str, Any]) -> None:
        if task == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(record, "_device_name", lambda where: "the same")
    with pytest.raises(Interrupted):
        train_run(run, *inputs, out, device="cpu", progress=stop)
    checkpoints = Checkpoints(out, every=0)
    state = checkpoints.newest()
    state["learner"]["probes"][0] += 1e-6
    checkpoints.save(state)
    monkeypatch.setattr(record, "_device_name", lambda where: device)
    if device == "the same":
        with pytest.raises(InvariantError, match="logits of task 1 changed"):
            train_run(run, *inputs, out, device="cpu")
        return
    train_run(run, *inputs, out, device="cpu")
    assert read_json(out / "provenance.json")["devices"] == ["the same", "another"]
    monkeypatch.undo()
    train_run(run, *inputs, tmp_path / "whole", device="cpu")
    assert same_results(tmp_path / "whole", out)


def test_a_full_disk_ends_a_run_with_the_reason_and_keeps_the_last_checkpoint(
    short_run: Run, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dstcl.jobs import checkpoints

    run, out = changed(short_run, tasks=2, epochs=1), tmp_path / "out"
    train_run(run, *inputs, tmp_path / "whole", device="cpu", threads=1)
    write, writes = checkpoints.write_bytes, []

    def full(path: Path, content: bytes) -> None:
        writes.append(path)
        if len(writes) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            train_run(run, *inputs, out, device="cpu", checkpoint_every=0)
    assert len(list((out / "checkpoints").iterdir())) == 2
    train_run(run, *inputs, out, device="cpu")
    assert read_json(out / "provenance.json")["resumed"] == 1
    assert same_results(tmp_path / "whole", out)


def test_a_stop_request_outside_the_main_thread_catches_nothing() -> None:
    import threading

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: StopRequest().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_checkpoint_is_no_pickle(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path, every=0).save({"a": torch.ones(2)})
    header = path.read_bytes()
    length = int.from_bytes(header[:8], "little")
    assert set(json.loads(header[8 : 8 + length])) == {"structure", "a"}
