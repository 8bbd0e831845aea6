"""Stands in for `dstcl train`: takes the slot that it is given, waits for others, writes nothing.

Notes when it takes and frees which card; goes on once $STUB_TOGETHER have been seen at work.
"""

import argparse
import os
import time
from pathlib import Path

from dstcl.jobs.devices import LOCKS, VISIBLE, granted_device
from dstcl.study.run import RESULT_FILES

parser = argparse.ArgumentParser()
parser.add_argument("command", choices=["train"])
parser.add_argument("--gpus", type=int)
parser.add_argument("--gpu-slots")
parser.add_argument("--out", type=Path)
options, _ = parser.parse_known_args()

folder = Path(os.environ["STUB_FOLDER"])
os.environ[LOCKS] = str(folder / "locks")


def note(what: str) -> None:
    """One line per change, in the order of time."""
    with (folder / "log").open("a") as log:
        log.write(f"{what} {os.environ[VISIBLE]}\n")


with granted_device("auto", options.gpus, options.gpu_slots):
    note("take")
    while (folder / "log").read_text().count("take") < int(os.environ["STUB_TOGETHER"]):
        time.sleep(0.05)
    for name in RESULT_FILES.values():
        (options.out / name).touch()
    note("free")
