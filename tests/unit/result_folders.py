"""Comparing folders of finished runs."""

from pathlib import Path

from dstcl.storage import read_json
from dstcl.study.run import RESULT_FILES

TIMED = ("metrics.json", "provenance.json")


def same_results(first: Path, second: Path) -> bool:
    """Whether two folders hold the same but for times."""
    metrics = [read_json(folder / "metrics.json") for folder in (first, second)]
    for values in metrics:
        del values["seconds"], values["images_per_second"]
    return metrics[0] == metrics[1] and all(
        (first / name).read_bytes() == (second / name).read_bytes()
        for name in RESULT_FILES.values()
        if name not in TIMED
    )
