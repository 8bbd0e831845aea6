"""A finished run read back: its numbers, its masks, and its network for each task.

The inverse of `dstcl.jobs.results`. Nothing is unpickled. A file of its own, which training does
not import: a change of how results are read trains nothing again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dstcl.networks.arithmetic import Arithmetic
from dstcl.networks.build import build_network
from dstcl.sparse.masks import unpack_mask
from dstcl.storage import read_json, read_tensors
from dstcl.study.recorded import AGAIN, read_config, refuse_older
from dstcl.study.run import ALL_FILES, RESULT_FILES, Run
from dstcl.study.seal import FILES, check_seal

if TYPE_CHECKING:
    from pandas import DataFrame

DATA_FACTS = ("image", "mean", "std", "class_names")


@dataclass(frozen=True)
class LoadedRun:
    """A finished run. Tables, masks and weights are read when they are asked for, and compared
    with the digests in metrics.json before: a file that was changed since is refused.

    Attributes:
        folder: of the run.
        run: its description.
        metrics, provenance: content of metrics.json and provenance.json.
        outputs: of its network.
        image: shape of an image, (C, S, S).
        mean, std: for `normalised`; one value per channel, on the scale 0 to 1.
        class_names: of each task, in the order of its outputs.
    """

    folder: Path
    run: Run
    metrics: dict[str, Any]
    provenance: dict[str, Any]
    outputs: int
    image: tuple[int, ...]
    mean: list[float]
    std: list[float]
    class_names: list[list[str]]

    @property
    def sealed(self) -> bool:
        """Whether files can be verified; runs of code that wrote no digests are read as is."""
        return FILES in self.metrics

    @property
    def tasks(self) -> int:
        """Number of tasks that were learned."""
        return self.run.learned

    @cached_property
    def accuracy(self) -> DataFrame:
        """Columns ``after_task, task, accuracy``."""
        return self._table("accuracy")

    @cached_property
    def history(self) -> DataFrame:
        """One row per task and epoch."""
        return self._table("history")

    @cached_property
    def capacity(self) -> DataFrame:
        """One row per task and layer: weights that are active, new, shared and free, and how well
        the layer could learn at the start of the task (`dstcl.continual.plasticity`)."""
        return self._table("capacity")

    @cached_property
    def overlap(self) -> DataFrame:
        """One row per pair of tasks: weights that both use."""
        return self._table("overlap")

    @cached_property
    def decisions(self) -> DataFrame:
        """One row per decision of the run's controller.

        Raises:
            ValueError: it has none.
        """
        if self.run.controller is None:
            raise ValueError(f"{self.folder}: the run has no controller, so no decisions")
        return self._table("decisions")

    def masks(self, task: int) -> dict[str, Tensor]:
        """The mask of a task by layer: bool, in the shape of the weight. Joint training has the
        same for all tasks.

        Args:
            task: counted from 1.

        Raises:
            ValueError: there is no such task, or the file of masks is damaged or was changed since
                the run wrote it; one line.
        """
        own = self._own(task)
        self._verify("masks")
        packed, metadata = read_tensors(self.path("masks"), lambda name: name.startswith(own))
        try:
            return {
                name: unpack_mask(packed[own + name], tuple(shape))
                for name, shape in metadata["shapes"].items()
            }
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self.path('masks')}: not the masks of a run ({_line(error)})"
            ) from None

    def network(self, task: int) -> nn.Module:
        """The network of a task as the run evaluated it last: a plain module on the CPU, in eval
        mode, with the task's mask applied, its head and its norms.

        It takes images that are `normalised` and returns logits (N, ``outputs``), which are those
        of the run bit for bit if that was trained on a CPU. A task that was trained in bfloat16 is
        computed in it. With ``batch_norm: batch`` the module normalises with the batch at hand,
        so that a prediction depends on the images beside it. With ``batch_norm: shared`` all tasks
        have the norms that the last one left: those of earlier tasks are not kept.

        Args:
            task: counted from 1.

        Raises:
            ValueError: there is no such task, a file is damaged, changed since the run wrote it or
                of another network, weights are not finite, or the code of a network of a user's own
                is not there; one line.
        """
        own, path = self._own(task), self.path("weights")
        self._verify("weights")
        parts = ("dense/", "common/", own)
        weights, _ = read_tensors(path, lambda name: name.startswith(parts))
        for name, tensor in weights.items():
            if not torch.isfinite(tensor).all():
                raise ValueError(f"{path}: {name} is not finite; delete the folder and run again")
        network = self._fresh()
        try:
            masked = {
                name: weights[f"dense/{name}"] * mask for name, mask in self.masks(task).items()
            }
            network.load_state_dict(_below("common/", weights) | masked | _below(own, weights))
        except (KeyError, RuntimeError) as error:
            raise ValueError(
                f"{path}: not the weights of {self.run.network} ({_line(error)})"
            ) from None
        return network.eval()

    def normalised(self, images: Tensor) -> Tensor:
        """Images as the network takes them.

        Args:
            images: uint8, (N, C, S, S), 0 to 255 as in image files.
        """
        mean, std = (torch.tensor(values).view(-1, 1, 1) * 255 for values in (self.mean, self.std))
        return (images.float() - mean) / std

    def path(self, kind: str) -> Path:
        """One of the run's files, by its name in `dstcl.study.run.ALL_FILES`."""
        return self.folder / ALL_FILES[kind]

    def _own(self, task: int) -> str:
        """How names of a task's tensors begin."""
        if isinstance(task, bool) or not isinstance(task, int) or not 1 <= task <= self.tasks:
            raise ValueError(f"{self.folder}: no task {task!r}; tasks are 1 to {self.tasks}")
        return "task1/" if self.run.facts.joint else f"task{task}/"

    def _fresh(self) -> nn.Module:
        """A network like the run's, which computes as that did as far as a CPU can."""
        source, switches = self.run.network_source, self.run.switches
        return build_network(
            source.source,
            channels=self.image[0],
            classes=self.outputs,
            seed=0,
            norm=switches.batch_norm,
            head_bias=True if switches.head == "task" else None,
            head=source.head,
            arguments=source.arguments,
            arithmetic=self._arithmetic(),
        )

    def _arithmetic(self) -> Arithmetic:
        """How the run computed, as far as a CPU can."""
        try:
            refuse_older(self.provenance, ("engine",))
            engine = self.provenance["engine"]
            precision, layout = str(engine["precision"]), str(engine["layout"])
        except ValueError as error:
            raise ValueError(f"{self.path('provenance')}: {error}; {AGAIN}") from None
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.path('provenance')}: damaged ({_line(error)})") from None
        # TF32 is a matter of the GPU; what it computes on is float32.
        return Arithmetic("float32" if precision == "tf32" else precision, layout)

    def _verify(self, kind: str) -> None:
        """Read a file once to see that it is what the run wrote."""
        if kind not in self._verified:
            check_seal(self.folder, self.metrics, [kind])
            self._verified.add(kind)

    @cached_property
    def _verified(self) -> set[str]:
        return set()

    def _table(self, kind: str) -> DataFrame:
        import pandas as pd

        self._verify(kind)
        try:
            return pd.read_csv(self.path(kind))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path(kind)}: not a table ({_line(error)})") from None


def load_run(folder: str | Path) -> LoadedRun:
    """Read a finished run.

    Args:
        folder: of the run, with the files of the result contract.

    Raises:
        ValueError: the folder holds no finished run, files of several, or files that were changed
            since the run wrote them; one line naming the file.
    """
    folder = Path(folder)
    path = {kind: folder / name for kind, name in RESULT_FILES.items()}
    for file in path.values():
        if not file.is_file():
            raise ValueError(f"{file}: no such file; a finished run has one")
    run = read_config(folder)
    metrics, provenance = (read_json(path[name]) for name in ("metrics", "provenance"))
    _, header = read_tensors(path["weights"], lambda name: False)
    for kind, found in (("metrics", metrics), ("weights", header)):
        if not isinstance(found, dict) or found.get("digest") != run.digest:
            digest = found.get("digest") if isinstance(found, dict) else None
            raise ValueError(f"{path[kind]}: of run {digest}, not of {run.digest}")
    check_seal(folder, metrics, ("config", "metrics", "provenance"))
    try:
        refuse_older(header, ("data", "outputs"))
        refuse_older(header["data"], DATA_FACTS)
        facts = {name: header["data"][name] for name in DATA_FACTS}
        facts |= {"outputs": header["outputs"], "image": tuple(facts["image"])}
    except ValueError as error:
        raise ValueError(f"{path['weights']}: {error}; {AGAIN}") from None
    except TypeError as error:
        raise ValueError(f"{path['weights']}: damaged ({_line(error)})") from None
    return LoadedRun(folder, run, metrics, provenance, **facts)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
