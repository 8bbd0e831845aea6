"""Where and with what numbers were taken: the head of every record in this folder."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).parents[1]


def need_torchvision(otherwise: str = "") -> None:
    """End in one line where torchvision, which is compared with, is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        sys.exit(f"torchvision is needed: pip install 'dstcl[dev]'{otherwise}")


def enough_rounds(text: str) -> int:
    """Type of an option ``--rounds``: how often variants take turns."""
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError("quartiles need at least 2")
    return number


def machine(*packages: str, device: torch.device | None = None) -> dict[str, Any]:
    """Command, day, commit, processor, versions, and how busy the machine is: below 0.5 is quiet.

    Args:
        packages: whose versions matter beside Python's and torch's.
        device: with a GPU, its name is told.
    """
    # Names of files without their folders: those are of this machine.
    arguments = [Path(argument).name for argument in sys.argv[1:]]
    told = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments]),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device is not None and device.type == "cuda":
        told["gpu"] = torch.cuda.get_device_name(device)
    return told | {name: importlib.metadata.version(name) for name in packages}


def processor() -> str:
    """Name of the CPU, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line for line in lines if "model name" in line]
    return names[0].split(":")[1].strip() if names else platform.processor()


def peak_memory() -> int:
    """Bytes that this process has held at most, as far as the system tells."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    # Not what getrusage tells: that counts the parent at the time of the fork too.
    for line in lines:
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def commit() -> str:
    """Of the repository, with "+" if tracked files other than records differ; "" without one."""
    git = ["git", "-C", str(REPOSITORY)]
    if shutil.which("git") is None:
        return ""
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    records = [":!benchmarks/*.json", ":!benchmarks/*.csv", ":!src/dstcl/study/speeds.csv"]
    changes = [*git, "status", "--porcelain", "-uno", "--", ".", *records]
    changed = subprocess.run(changes, capture_output=True, text=True).stdout
    return head.stdout.strip() + "+" * bool(changed)


def record(name: str, content: dict[str, Any]) -> None:
    """Write benchmarks/<name>.json."""
    (REPOSITORY / "benchmarks" / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
