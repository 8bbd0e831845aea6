"""What a whole study costs before it is started, as text; see `dstcl.study.cost` for one run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dstcl.data.catalog import DATASETS
from dstcl.study.cost import (
    Speed,
    Work,
    find_speed,
    memory_mb_to_ask_for,
    read_speeds,
    run_seconds,
    with_margin,
    work_of,
)
from dstcl.study.kept import kept_rows
from dstcl.study.run import RESULT_FILES, Run

HEAD = ("data set", "tasks", "network", "runs", "steps", "images", "images/s", "minutes", "ask for")


@dataclass(frozen=True)
class Kind:
    """Runs that cost the same.

    Attributes:
        run: one of them.
        count: how many there are.
        work: what one has to do, or None where the size of the data set is not known.
        speed: images per second, or None where nobody has measured it.
        source: where the speed comes from.
    """

    run: Run
    count: int
    work: Work | None
    speed: float | None
    source: str

    @property
    def seconds(self) -> float | None:
        """Of one run."""
        if self.speed is None or self.work is None:
            return None
        return run_seconds(self.work, self.speed)


def cost_report(
    runs: Sequence[Run],
    device: str = "cpu",
    images_per_second: float | None = None,
    at_once: int = 1,
    speeds: Sequence[Speed] | None = None,
    parts: Mapping[str, Sequence[Run]] | None = None,
) -> str:
    """Runs, steps, images, time and disk of a study.

    Args:
        runs: of the study.
        device: "cpu" for one thread of a processor, or a part of a GPU's name: "h100".
        images_per_second: of every run, instead of what was measured.
        at_once: runs that train at the same time, each as fast as if it were alone.
        speeds: measured speeds; None for those of the package.
        parts: runs of each part of the study, told one by one where there are several.

    Raises:
        ValueError: a speed or a number of runs that is not positive.
    """
    if images_per_second is not None and not images_per_second > 0:
        raise ValueError(f"--images-per-second: {images_per_second}; more than 0")
    if at_once < 1:
        raise ValueError(f"--at-once: {at_once}; 1 or more")
    kinds = _kinds(runs, device, images_per_second, speeds)
    lines = [
        f"{len(runs):,} runs, {sum(k.count * k.work.images for k in kinds if k.work):,} images in "
        f"{sum(k.count * k.work.steps for k in kinds if k.work):,} steps",
        "",
        _table(kinds),
        "",
        "steps, images, minutes: of one run; ask for: minutes to ask a scheduler for",
        *dict.fromkeys(kind.source for kind in kinds),
        "",
        *_parts(parts or {}, device, images_per_second, at_once, speeds),
        _time(kinds, at_once),
        _disk(runs),
        *_kept(runs),
        f"memory: {max(memory_mb_to_ask_for(k.run, speeds=speeds) for k in kinds):,} MB a run on a "
        "processor",
    ]
    return "\n".join(lines)


def _parts(
    parts: Mapping[str, Sequence[Run]],
    device: str,
    images_per_second: float | None,
    at_once: int,
    speeds: Sequence[Speed] | None,
) -> list[str]:
    """A line for each of several parts; a run in two counts in both, as each can be run alone."""
    if len(parts) < 2:
        return []
    rows = [("part", "runs", "images", "hours")]
    for part, runs in parts.items():
        kinds = _kinds(runs, device, images_per_second, speeds)
        hours = _hours(kinds)
        images = sum(kind.count * kind.work.images for kind in kinds if kind.work)
        time = "not known" if hours is None else f"{hours / at_once:,.1f}"
        rows.append((part or "in no part", f"{len(runs):,}", f"{images:,}", time))
    return [*_aligned(rows, left=(0,)), ""]


def _kinds(
    runs: Sequence[Run],
    device: str,
    images_per_second: float | None,
    speeds: Sequence[Speed] | None,
) -> list[Kind]:
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        size, training = run.data.image_size, run.training
        key = (run.dataset, run.tasks, run.network, size, training.epochs, training.batch_size)
        groups.setdefault((*key, work_of(run)), []).append(run)
    return [
        Kind(
            alike[0],
            len(alike),
            work_of(alike[0]),
            *_speed(alike[0], device, images_per_second, speeds),
        )
        for alike in groups.values()
    ]


def _speed(
    run: Run, device: str, given: float | None, speeds: Sequence[Speed] | None
) -> tuple[float | None, str]:
    if given is not None:
        return given, "images/s: as given"
    speed = find_speed(run, device, speeds)
    if speed is None:
        known = {s.device for s in (read_speeds() if speeds is None else speeds)}
        return None, (
            f"images/s: no measurement of {run.network} at {run.data.image_size} pixels on "
            f"{device!r} (devices measured: {', '.join(sorted(known)) or 'nothing'}); "
            "give --images-per-second, or measure with benchmarks/speed.py"
        )
    threads = f"{speed.threads} thread, " if speed.device == "cpu" else ""
    return speed.images_per_second, (
        f"images/s of {run.network}: {speed.device}, {threads}batch {speed.batch_size}; "
        f"{speed.source}"
    )


def _table(kinds: Sequence[Kind]) -> str:
    rows = [HEAD]
    for kind in kinds:
        run, work, seconds = kind.run, kind.work, kind.seconds
        speed = "not measured" if kind.speed is None else f"{kind.speed:,.0f}"
        rows.append(
            (
                run.dataset,
                str(run.tasks),
                run.network,
                f"{kind.count:,}",
                "not known" if work is None else f"{work.steps:,}",
                "not known" if work is None else f"{work.images:,}",
                speed,
                "-" if seconds is None else f"{seconds / 60:,.1f}",
                "-" if seconds is None else f"{with_margin(seconds):,}",
            )
        )
    return "\n".join(_aligned(rows, left=(0, 2)))


def _aligned(rows: Sequence[tuple[str, ...]], left: Collection[int]) -> list[str]:
    """Rows as lines of text, with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]


def _time(kinds: Sequence[Kind], at_once: int) -> str:
    hours = _hours(kinds)
    if hours is None:
        return "time: not known, as not every speed or data set is"
    text = f"time: {hours:,.1f} hours of the device, one run after the other"
    if at_once > 1:
        text += f"; {at_once} runs at once: {hours / at_once:,.1f} hours"
    return text


def _hours(kinds: Sequence[Kind]) -> float | None:
    """Of all runs, one after the other; None where a speed or the size of a data set is unknown."""
    known = [kind.count * kind.seconds / 3600 for kind in kinds if kind.seconds is not None]
    return sum(known) if len(known) == len(kinds) else None


def _disk(runs: Sequence[Run]) -> str:
    sizes: dict[tuple[object, ...], int] = {}
    results = 0
    if own := {run.dataset for run in runs} - DATASETS.keys():
        return f"disk: not known for data sets of your own: {', '.join(sorted(own))}"
    for run in runs:
        network = (run.network, run.own_heads, run.method_source.source)
        alike = (run.dataset, run.tasks, run.data, *network)
        if alike not in sizes:
            sizes[alike] = stored_bytes(run)
        results += sizes[alike]
    files = len(runs) * (len(RESULT_FILES) + 2)
    size = f"{results / 1e9:,.1f} GB" if results > 1e9 else f"{results / 1e6:,.1f} MB"
    return (
        f"disk: {size} in {files:,} files of results and logs, and as many small "
        "files of Snakemake's memory; once more in DVC's cache"
    )


def _kept(runs: Sequence[Run]) -> list[str]:
    """What each method keeps and computes, of data sets whose size is known."""
    known = [run for run in runs if run.dataset in DATASETS]
    if not known:
        return []
    return [
        "",
        *_aligned(kept_rows(known), left=(0, 2, 3, 5, 6)),
        "",
        "kept: what all tasks together need to be computed, if they share no weight; in training: "
        "what an optimiser moves; multiply-adds: of an image through a sub-network",
    ]


def stored_bytes(run: Run) -> int:
    """Size of a run's weights and masks: the dense store, and of each task one bit per weight, its
    head and its normalisation; where each task has a network of its own, one more dense store
    per task. Tables and texts are some kilobytes."""
    import torch

    from dstcl.networks.build import build_network
    from dstcl.networks.head import find_head

    info, source = DATASETS[run.dataset], run.network_source
    sizes = run.data.task_sizes or (info.classes // run.tasks,) * run.tasks
    with torch.device("meta"):
        network = build_network(
            source.source,
            info.channels,
            run.outputs(sizes),
            seed=0,
            head=source.head,
            arguments=source.arguments,
        )
    own = {name for name, value in network.state_dict().items() if value.dim() < 2}
    if run.own_heads:
        head, _ = find_head(network)
        own |= {name for name in network.state_dict() if name.startswith(f"{head}.")}
    numbers = {name: value.numel() for name, value in network.state_dict().items()}
    local = sum(size for name, size in numbers.items() if name in own)
    masked = sum(numbers.values()) - local
    subnets = 1 if run.facts.joint else run.learned
    networks = run.learned + 1 if run.facts.own_networks else 1
    return networks * 4 * masked + subnets * (4 * local + masked // 8)
