"""Time and memory of preparing CIFAR-100, and the speed of augmented batches.

    python benchmarks/data.py cifar100.zip [--rounds 5]    # writes benchmarks/data.json

The zip holds 60,000 PNG files (train/<class>/*.png, test/<class>/*.png). The original archive is
written from it in the exact format (tests/unit/cifar_files.py), so that no download is needed.
Memory is the peak of the proportional set sizes of all processes together, sampled every 20 ms:
pages that processes share count once, and what the system caches of files does not count. Batches
are compared with torchvision's, which comes with the extra ``dev``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from commands import cpu_of_children
from machine import REPOSITORY, machine, need_torchvision, record
from PIL import Image

from dstcl.data.batches import TrainingBatches, task_examples
from dstcl.data.stored import Prepared, load_prepared

sys.path.insert(0, str(REPOSITORY / "tests" / "unit"))
from cifar_files import cifar100_files, packed

BATCH = 64


def write_archive(images: Path, out: Path) -> None:
    """The images of a zip as cifar-100-python.tar.gz, in an order of its own as in the original."""
    parts: dict[str, list[tuple[str, int, np.ndarray]]] = {"train": [], "test": []}
    with zipfile.ZipFile(images) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".png"))
        classes = sorted({name.split("/")[1] for name in names})
        for name in np.random.default_rng(0).permutation(names):
            part, label, file = str(name).split("/")
            pixels = np.asarray(Image.open(archive.open(str(name)))).transpose(2, 0, 1)
            parts[part].append((file, classes.index(label), pixels))
    packed(out, "cifar-100-python", cifar100_files(parts["train"], parts["test"], classes))


def memory(process: int) -> int:
    """Bytes that a process and its children hold, shared pages counted once."""
    total = 0
    for member in (process, *children(process)):
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:  # ended meanwhile
            continue
        total += 1024 * sum(int(s.split()[1]) for s in rollup.splitlines() if s.startswith("Pss:"))
    return total


def children(process: int) -> list[int]:
    """All descendants."""
    try:
        direct = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [member for child in map(int, direct) for member in (child, *children(child))]


def prepared(data: Path, out: Path, workers: int) -> dict[str, float]:
    """One call of `dstcl data prepare`: wall and CPU seconds, peak memory in MiB."""
    before = cpu_of_children()
    started = time.perf_counter()
    command = ["dstcl", "data", "prepare", "cifar100", "--image-size", "32", "--out", str(out)]
    environment = os.environ | {"DSTCL_DATA": str(data)}
    process = subprocess.Popen([*command, "--workers", str(workers)], env=environment)
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.02)
    wall = time.perf_counter() - started
    if process.returncode:
        sys.exit("dstcl data prepare failed")
    return {
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu_of_children() - before, 2),
        "peak_mib": round(peak / 2**20),
        "file_mib": round(out.stat().st_size / 2**20),
    }


def preparing(images: Path, folder: Path) -> dict[str, dict[str, float]]:
    """Every way to prepare CIFAR-100; all must give the same images."""
    for name in ("png", "python"):
        (folder / name).mkdir()
    (folder / "png" / "cifar100.zip").symlink_to(images.absolute())
    write_archive(images, folder / "python" / "cifar-100-python.tar.gz")
    ways = {
        "60,000 PNG files in a zip, 1 process": ("png", 1),
        "60,000 PNG files in a zip, 2 processes": ("png", 2),
        "original archive": ("python", 1),
    }
    rows, digests = {}, set()
    for name, (data, workers) in ways.items():
        out = folder / f"{data}{workers}.safetensors"
        rows[name] = prepared(folder / data, out, workers)
        digests.add(load_prepared(out).digest)
    assert len(digests) == 1
    return rows


def ways_to_batches(data: Prepared) -> dict[str, Callable[[], int]]:
    """One function per way: an epoch of augmented batches of a task of 10 classes; its images."""
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    device = torch.device("cpu")
    examples = task_examples(data, list(range(10)), test=False, device=device, place="device")
    in_file = task_examples(data, list(range(10)), test=False, device=device, place="host")
    transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.mean, data.std),
        ]
    )

    class Pictures(Dataset):  # type: ignore[type-arg]
        """Decoded images, one PIL image each, as torchvision's CIFAR100 gives them."""

        def __len__(self) -> int:
            return len(examples)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            picture = Image.fromarray(examples.images[index].permute(1, 2, 0).numpy())
            return transform(picture), int(examples.labels[index])

    def ours(chosen: object, threads: int) -> Callable[[], int]:
        generator = torch.Generator().manual_seed(0)

        def epoch() -> int:
            torch.set_num_threads(threads)
            batches = TrainingBatches(chosen, BATCH, "crop-flip", generator)  # type: ignore[arg-type]
            return sum(len(labels) for _, labels in batches)

        return epoch

    def theirs(workers: int) -> Callable[[], int]:
        # Workers are kept, so that starting them is not part of an epoch.
        loader = DataLoader(
            Pictures(), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        return lambda: sum(len(labels) for _, labels in loader)

    return {
        "batches on tensors, 1 thread": ours(examples, 1),
        "batches on tensors, 2 threads": ours(examples, 2),
        "batches on tensors, images read from the file, 1 thread": ours(in_file, 1),
        "PIL and torchvision, image by image, 2 processes": theirs(2),
        "PIL and torchvision, image by image, in the training process": theirs(0),
    }


def batches(data: Prepared, rounds: int) -> dict[str, dict[str, object]]:
    """Images per second of every way, in turns."""
    ways = ways_to_batches(data)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for attempt in range(rounds + 1):
        for name, epoch in ways.items():
            started = time.perf_counter()
            count = epoch()
            if attempt:  # the first is for warming up
                rates[name].append(count / (time.perf_counter() - started))
    slow = statistics.median(rates["PIL and torchvision, image by image, 2 processes"])
    return {
        name: {
            "median_images_per_second": round(statistics.median(values)),
            "quartiles": [round(q) for q in statistics.quantiles(values, n=4)[::2]],
            "times_torchvision": round(statistics.median(values) / slow, 1),
        }
        for name, values in rates.items()
    }


def main() -> None:
    """Measure, record and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="zip with 60,000 PNG files")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    need_torchvision()
    told = machine()
    folder = Path(tempfile.mkdtemp())
    try:
        preparation = preparing(options.images, folder)
        rates = batches(load_prepared(folder / "png1.safetensors"), options.rounds)
    finally:
        shutil.rmtree(folder)
    record("data", told | {"rounds": options.rounds, "preparing": preparation, "batches": rates})
    print("| from | wall, s | CPU, s | peak memory, MiB |\n|---|---|---|---|")
    for name, row in preparation.items():
        print(f"| {name} | {row['wall_seconds']} | {row['cpu_seconds']} | {row['peak_mib']} |")
    print("\n| batches | images/s | quartiles | times torchvision |\n|---|---|---|---|")
    for name, rate in rates.items():
        low, high = rate["quartiles"]  # type: ignore[misc]
        times = rate["times_torchvision"]
        print(f"| {name} | {rate['median_images_per_second']} | {low} to {high} | {times} |")


if __name__ == "__main__":
    main()
