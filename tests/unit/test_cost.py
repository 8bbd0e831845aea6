"""Estimates: counts by hand, speeds from the table, and files of the size that was foretold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dstcl.cli import main
from dstcl.data.prepare import prepare
from dstcl.data.tasks import write_tasks
from dstcl.jobs.train import train_run
from dstcl.networks import NETWORKS
from dstcl.study.cost import (
    SPEED_COLUMNS,
    START_SECONDS,
    UNKNOWN_MINUTES,
    Speed,
    Work,
    find_speed,
    memory_mb_to_ask_for,
    minutes_to_ask_for,
    read_speeds,
    run_seconds,
    with_margin,
    work_of,
)
from dstcl.study.estimate import cost_report, stored_bytes
from dstcl.study.load import load_file, runs, runs_by_part
from helpers.runs import changed

PARAMS = Path(__file__).parents[2] / "params.yaml"
PIPELINE = PARAMS.parent / "benchmarks" / "pipeline-amd-avx2.json"
QUICK = runs(load_file(PARAMS, "quick"))
PAPER = runs(load_file(PARAMS, "paper", ["table-1", "table-2", "table-3", "table-4"]))


def speed(device: str, network: str, images_per_second: float, threads: int = 1) -> Speed:
    return Speed(device, threads, network, 32, 64, images_per_second, 1400, 0, "measured by hand")


SPEEDS = [
    speed("cpu", "resnet18", 200.0, threads=2),
    speed("cpu", "resnet18", 100.0),
    speed("NVIDIA Example 80GB", "resnet18", 10_000.0),
]


# Counts of one run


def test_images_and_steps_of_preset_quick_by_hand() -> None:
    """5 tasks of 2 digits, 400 training images a digit, 10 epochs, batch 64."""
    images, steps = 5 * 2 * 400 * 10, 5 * 10 * 13  # 800 / 64 = 12.5
    # 5 tasks untrained, 4 again before their training, 1 + 2 + ... + 5 after; 200 images each.
    assert work_of(QUICK[0]) == Work(images, steps, (5 + 4 + 15) * 200)


def test_unequal_tasks_and_a_validation_part_by_hand() -> None:
    """Tasks of 4 and 6 digits; of 400 images a digit 40 are held out and tested each epoch."""
    run = changed(QUICK[0], tasks=2, task_sizes=(4, 6), validation=0.1, epochs=3)
    images, steps = 3 * 10 * 360, 3 * (23 + 34)  # 1440 / 64 = 22.5, 2160 / 64 = 33.75
    assert work_of(run) == Work(images, steps, 1000 + 600 + (400 + 1000) + 3 * 10 * 40)


def test_a_data_set_of_ones_own_is_not_known_before_it_is_read() -> None:
    run = changed(PAPER[0], dataset="birds")
    assert work_of(run) is None
    assert minutes_to_ask_for(run, speeds=SPEEDS) == UNKNOWN_MINUTES
    assert memory_mb_to_ask_for(run, speeds=SPEEDS) == 4000
    report = cost_report([*PAPER[:2], run], "example", speeds=SPEEDS)
    assert "birds" in report
    assert "time: not known" in report
    assert "disk: not known for data sets of your own: birds" in report


def test_every_benchmark_of_the_paper_is_counted_with_its_own_epochs() -> None:
    counted = {(run.dataset, run.tasks): work_of(run).images for run in PAPER}
    assert counted == {
        ("cifar100", 5): 5_000_000,
        ("cifar100", 10): 5_000_000,
        ("cifar100", 20): 1_250_000,
        ("miniimagenet", 10): 5_000_000,
    }


def test_seconds_are_start_and_images() -> None:
    assert run_seconds(work_of(QUICK[0]), 1000.0) == pytest.approx(START_SECONDS + 40 + 4.8 / 3)


def test_the_recorded_run_of_preset_quick_took_what_is_estimated() -> None:
    """All runs are of one size; that processor takes 1.8 times as long as the measured one."""
    recorded = json.loads(PIPELINE.read_text())
    estimated = recorded["runs"] * run_seconds(work_of(QUICK[0]), 14_188 / 1.8)
    measured = recorded["commands"]["preset quick, everything"]
    assert estimated == pytest.approx(measured["cpu_seconds"], rel=0.1)


# Measured speeds


def test_every_network_has_been_measured_on_a_processor() -> None:
    measured = {speed.network for speed in read_speeds() if speed.device == "cpu"}
    assert measured == set(NETWORKS)
    assert all(speed.source for speed in read_speeds())


@pytest.mark.parametrize(
    ("device", "threads", "expected"),
    [("cpu", 1, 100.0), ("cpu", 2, 200.0), ("example", 1, 10_000.0), ("Example 80gb", 8, 10_000.0)],
)
def test_a_speed_is_found_by_device(device: str, threads: int, expected: float) -> None:
    found = find_speed(PAPER[0], device, SPEEDS, threads)
    assert found is not None
    assert found.images_per_second == expected


@pytest.mark.parametrize("device", ["h100", "cpu "])
def test_a_device_that_nobody_measured_has_no_speed(device: str) -> None:
    assert find_speed(PAPER[0], device, SPEEDS) is None


def test_a_speed_holds_for_one_network_and_image_size() -> None:
    assert find_speed(changed(PAPER[0], image_size=84), "cpu", SPEEDS) is None
    assert find_speed(QUICK[0], "cpu", SPEEDS) is None


@pytest.mark.parametrize("row", ["cpu,1,convnet", "cpu,one,convnet,28,64,1.0,1,0,here"])
def test_a_damaged_table_is_named_with_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "speeds.csv"
    path.write_text(",".join(SPEED_COLUMNS) + f"\n{row}\n")
    with pytest.raises(ValueError, match=r"speeds.csv, line 2: not a speed"):
        read_speeds(path)


# What a scheduler is asked for


@pytest.mark.parametrize(("seconds", "minutes"), [(0, 10), (200, 10), (201, 20), (3600, 180)])
def test_minutes_come_in_tens_with_a_margin(seconds: float, minutes: int) -> None:
    assert with_margin(seconds) == minutes


def test_time_to_ask_for_is_that_of_one_thread() -> None:
    """5 million images at 100 a second: 14 hours, with a margin of 3: 42 and a bit for tests."""
    assert 42 * 60 <= minutes_to_ask_for(PAPER[0], speeds=SPEEDS) <= 42.5 * 60


def test_later_attempts_ask_for_twice_as_much_and_no_more() -> None:
    for ask in (minutes_to_ask_for, memory_mb_to_ask_for):
        first, *later = (ask(PAPER[0], attempt, SPEEDS) for attempt in (1, 2, 3, 4))
        assert later == [2 * first] * 3


def test_an_unknown_network_gets_a_day() -> None:
    assert minutes_to_ask_for(PAPER[0], speeds=[]) == UNKNOWN_MINUTES
    assert memory_mb_to_ask_for(PAPER[0], speeds=[]) == 4000


def test_memory_to_ask_for_covers_process_and_data() -> None:
    """1.5 x (1,400 MB + 2 x 60,000 images of 3 x 32 x 32 bytes), in steps of 500."""
    assert memory_mb_to_ask_for(PAPER[0], speeds=SPEEDS) == 3000


# The whole study


@pytest.mark.parametrize(
    ("network", "method", "protocol"),
    [
        ("lenet5", "dst", "corrected"),
        ("lenet5", "dst", "published"),
        ("lenet5", "separate", "corrected"),
        ("convnet", "finetune", "corrected"),
    ],
)
def test_a_run_leaves_what_was_foretold(
    tmp_path: Path, network: str, method: str, protocol: str
) -> None:
    """Images that it was tested on, and the size of its weights and masks."""
    published = next(run for run in QUICK if run.protocol == protocol)
    run = changed(published, network=network, method=method, epochs=1)
    if method != "dst":
        run = changed(run, density=1.0, init="none", growth="none")
    data, tasks, out = tmp_path / "data", tmp_path / "tasks", tmp_path / "out"
    prepare("mnist5k", 28, data)
    write_tasks(data, "mnist5k", 5, run.order_name, tasks)
    train_run(run, data, tasks, out, device="cpu", threads=1)
    measured = len((out / "accuracy.csv").read_text().splitlines()) - 1
    assert measured * 200 == work_of(run).evaluated
    found = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    names = 16_000  # of the tensors, in the files' headers
    assert stored_bytes(run) <= found <= stored_bytes(run) + names


def test_the_report_adds_up() -> None:
    report = cost_report(PAPER, "example", speeds=SPEEDS, at_once=8)
    assert report.startswith("336 runs, 1,320,000,000 images in 10,512,000 steps\n")
    hours = sum(run_seconds(work_of(run), 10_000.0) for run in PAPER) / 3600
    assert f"time: {hours:,.1f} hours" in report
    assert f"8 runs at once: {hours / 8:,.1f} hours" in report
    assert "measured by hand" in report
    (row,) = (line for line in report.splitlines() if line.startswith("cifar100         20"))
    assert row.split()[2:6] == ["resnet18", "96", "10,000", "1,250,000"]


@pytest.mark.parametrize(
    ("changes", "images", "steps"),
    [
        # 400 training images a digit, 2 digits a task, 10 epochs, batches of 64: 12.5 a task.
        ([{"learn": 1}, {"learn": 5}], (1 + 5) * 2 * 400 * 10, (1 + 5) * 13 * 10),
        ([{"validation": 0.0}, {"validation": 0.5}], 5 * 2 * (400 + 200) * 10, 5 * (13 + 7) * 10),
        (
            [{"tasks": 2, "task_sizes": [5, 5]}, {"tasks": 2, "task_sizes": [8, 2]}],
            2 * 10 * 400 * 10,
            ((32 + 32) + (50 + 13)) * 10,  # 2000, 3200 and 800 images
        ),
    ],
)
def test_runs_of_other_work_are_counted_by_themselves(
    changes: list[dict], images: int, steps: int
) -> None:
    """In whatever order their values are listed."""
    both = [changed(QUICK[0], **change) for change in changes]
    report, turned = (cost_report(planned) for planned in (both, both[::-1]))
    assert report.startswith(f"2 runs, {images:,} images in {steps:,} steps\n")
    rows, again = (
        [row for row in text.splitlines() if "convnet  " in row] for text in (report, turned)
    )
    assert sorted(rows) == sorted(again)
    disk = [line for line in report.splitlines() if line.startswith("disk")]
    assert disk[0] in turned.splitlines()
    assert f"disk: {sum(map(stored_bytes, both)) / 1e6:,.1f} MB" in report


def test_every_part_is_told_by_itself() -> None:
    params = load_file(PARAMS, "paper", ["table-1", "table-3", "figure-a"])
    report = cost_report(
        runs(params), "example", speeds=SPEEDS, at_once=2, parts=runs_by_part(params)
    )
    lines = [line.split() for line in report.splitlines()]
    hours = sum(run_seconds(work_of(run), 10_000.0) for run in runs(params)[96:]) / 7200
    assert ["table-1", "96", "120,000,000", f"{hours:.1f}"] in lines
    assert ["figure-a", "24", "120,000,000"] in [line[:3] for line in lines]
    assert report.startswith("192 runs, ")  # those of figure-a are of table-3 too


def test_a_device_that_nobody_measured_gets_no_invented_number() -> None:
    report = cost_report(PAPER, "h100", speeds=SPEEDS)
    assert "no measurement of resnet18 at 32 pixels on 'h100'" in report
    assert "measured: NVIDIA Example 80GB, cpu" in report
    assert "time: not known" in report
    assert "not measured        -" in report


def test_a_given_speed_replaces_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--params", str(PARAMS), "--preset", "paper", "--images-per-second", "5000"]
    main(["config", "cost", *options])
    said = capsys.readouterr().out
    everything = runs(load_file(PARAMS, "paper"))
    assert said.startswith(f"preset paper: {len(everything):,} runs")
    assert "images/s: as given" in said
    assert f"{sum(run_seconds(work_of(run), 5000) for run in everything) / 3600:,.1f} hours" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--images-per-second", "0"], "--images-per-second: 0.0; more than 0"),
        (["--images-per-second", "nan"], "--images-per-second: nan; more than 0"),
        (["--at-once", "0"], "--at-once: 0; 1 or more"),
        (["--preset", "huge"], "'huge'; allowed: quick"),
    ],
)
def test_a_mistake_ends_in_one_line(options: list[str], words: str) -> None:
    with pytest.raises(SystemExit, match=words):
        main(["config", "cost", "--params", str(PARAMS), *options])
