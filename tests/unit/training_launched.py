"""What a user's script does that starts processes itself; `test_integrations_launched.py` runs it.

    ... training_launched.py ddp_spawn|ddp_fork|notebook_launcher FOLDER

Each process writes what there is after the training, and the one that started them what it has.
"""

from __future__ import annotations

import os
import socket
import sys
import warnings
from pathlib import Path

import torch
from plain_loops import SETTINGS
from training_in_ranks import BATCHES, EPOCHS, RANKS, in_accelerate, kept

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)  # in the processes that import this to begin with, too


def with_lightning(strategy: str, folder: Path) -> None:
    from in_lightning import InOrder, Writer, seeded, trainer

    from dstcl.sparse.integrations.lightning import SparseTrainingCallback

    callback = SparseTrainingCallback(seeded, **SETTINGS)
    assert callback.dst is None
    module = InOrder(BATCHES)
    used = trainer(
        [callback, Writer(callback, folder)],
        folder,
        devices=RANKS,
        strategy=strategy,
        max_epochs=EPOCHS,
    )
    used.fit(module)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        used.save_checkpoint(folder / "after.ckpt")
    try:
        told_of_dst = str(callback.dst)
    except RuntimeError as error:
        told_of_dst = str(error)
    found = {
        "dst": told_of_dst,
        "warnings": [str(one.message) for one in told],
        "parameters": [p.detach().clone() for p in module.parameters()],
    }
    torch.save(found, folder / "parent.pt")


def with_accelerate(folder: Path) -> None:
    from accelerate import notebook_launcher

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    notebook_launcher(in_process, (folder,), num_processes=RANKS, use_port=str(port))


def in_process(folder: Path) -> None:
    rank = int(os.environ["LOCAL_RANK"])
    whole, resumed = in_accelerate(rank, folder / "checkpoints")
    torch.save({"whole": kept(whole), "resumed": kept(resumed)}, folder / f"{rank}.pt")


if __name__ == "__main__":
    launcher, folder = sys.argv[1], Path(sys.argv[2])
    if launcher == "notebook_launcher":
        with_accelerate(folder)
    else:
        with_lightning(launcher, folder)
