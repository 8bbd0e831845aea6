"""What the paper's tables and figures are of, and the setting that its runs share.

Facts of Yildirim et al., PMLR 234:94-107, with its appendix; reference/README.md has the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dstcl.study.run import Run

INTERVALS = (50, 100, 200, 400)
"""Steps between updates of the mask. All numbers are means over these, one run each, but those of
miniImageNet, which are means over two runs (inferred; which two is not known)."""
ADAPTIVE = "5xrandom+5xgradient"
"""Figure 6's adaptive growth, as a study names it."""
NAMES_OF_GROWTHS = {"adaptive": ADAPTIVE}
"""What the reference data call a growth, and what a study does."""
TITLES = {"resnet18": "ResNet-18", "mobilenetv2": "MobileNetV2", "vgg16": "VGG-like network"}
EPOCHS = {20: 25}
OTHER_EPOCHS = 100
TRAINING: Mapping[str, object] = {"batch_size": 128, "optimizer": "adam", "learning_rate": 0.001}


@dataclass(frozen=True)
class Part:
    """A table or a figure of the paper.

    Attributes:
        kind: "table" or "figure".
        number: as printed.
        numbers: how many it has: cells with ACC, or points of curves.
        curves: number of the figure with the same runs as this table.
        single: whether each curve is one run at one update interval, not a mean over several.
        about: what sets it apart from the others of its data and network.
    """

    kind: str
    number: str
    dataset: str
    tasks: int
    network: str
    numbers: int
    curves: str = ""
    single: bool = False
    about: str = ""

    @property
    def name(self) -> str:
        """As "Table 1"."""
        return f"{self.kind.capitalize()} {self.number}"


PARTS = (
    Part("table", "1", "cifar100", 20, "resnet18", 24, curves="2"),
    Part("table", "2", "miniimagenet", 10, "resnet18", 24, curves="3"),
    Part("table", "3", "cifar100", 10, "resnet18", 24, curves="4"),
    Part("table", "4", "cifar100", 5, "resnet18", 24, curves="5"),
    Part("figure", "2", "cifar100", 20, "resnet18", 480),
    Part("figure", "3", "miniimagenet", 10, "resnet18", 240),
    Part("figure", "4", "cifar100", 10, "resnet18", 240),
    Part("figure", "5", "cifar100", 5, "resnet18", 120),
    Part("figure", "6", "cifar100", 10, "resnet18", 30, about="adaptive growth"),
    Part("figure", "A", "cifar100", 10, "resnet18", 240, single=True, about="random growth"),
    Part("figure", "B", "cifar100", 10, "resnet18", 240, about="other sparsities"),
    Part("figure", "C", "cifar100", 10, "mobilenetv2", 240),
    Part("figure", "D", "cifar100", 10, "vgg16", 240),
)
TABLES = {part.number: part for part in PARTS if part.kind == "table"}
FIGURES = {part.number: part for part in PARTS if part.kind == "figure"}


def family(network: str) -> str:
    """The paper's network that a study's network is set beside: a variant has its name first.

    So ``resnet18-slim`` stands beside ``resnet18``; `unlike` tells the difference.
    """
    return network.partition("-")[0]


def unlike(run: Run) -> str:
    """What of a run's training is not the paper's, in words; "" if nothing.

    Update intervals are no part of it, because the paper has several (`unlike_intervals`).
    """
    given = {"network": run.network, "epochs": run.training.epochs}
    given |= {name: getattr(run.training, name) for name in TRAINING}
    theirs: dict[str, object] = {"network": family(run.network)}
    theirs |= {"epochs": EPOCHS.get(run.tasks, OTHER_EPOCHS), **TRAINING}
    words = [
        f"{name} {_word(value)} (paper: {_word(theirs[name])})"
        for name, value in given.items()
        if value != theirs[name]
    ]
    return ", ".join(words)


def unlike_intervals(intervals: set[int], dataset: str) -> str:
    """How the update intervals of a mean differ from those of the paper's; "" if they do not."""
    ours = ", ".join(map(str, sorted(intervals)))
    if dataset == "miniimagenet":
        known = len(intervals) == 2 and intervals <= set(INTERVALS)
        return "" if known else f"update interval {ours} (paper: two, not told which)"
    paper = ", ".join(map(str, INTERVALS))
    return "" if intervals == set(INTERVALS) else f"update interval {ours} (paper: {paper})"


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
