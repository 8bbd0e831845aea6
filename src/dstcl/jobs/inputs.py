"""The files that a run is trained on, refused where they are not those that it asks for.

A run says all that decides them: data set, image size, and the name of its task split. So a file
of another run is noticed by what it holds, whatever it is called.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dstcl.data.made_by import check_made_by
from dstcl.data.stored import Prepared, load_prepared, read_tasks
from dstcl.study.run import Run


def read_inputs(run: Run, data_file: Path, tasks_file: Path) -> tuple[Prepared, dict[str, Any]]:
    """The prepared data set and the task split of a run.

    Raises:
        ValueError: a file is missing or damaged, was made by other code than today's, or belongs to
            other data or another run; one line that names the file.
    """
    data, split = load_prepared(data_file), read_tasks(tasks_file)
    made = ((data_file, data.digest), (tasks_file, split["digest"]))
    if unsaid := [str(path) for path, digest in made if not check_made_by(path, digest)]:
        print(f"{', '.join(unsaid)}: which code made it is not known", file=sys.stderr)
    if data.dataset not in ("", run.dataset):
        raise ValueError(f"{data_file}: images of {data.dataset}, the run is on {run.dataset}")
    height, width = data.images.shape[-2:]
    if (height, width) != (run.data.image_size,) * 2:
        raise ValueError(
            f"{data_file}: images of {height} x {width} pixels, the run has "
            f"data.image_size {run.data.image_size}"
        )
    if split["data_digest"] != data.digest:
        raise ValueError(f"{tasks_file}: made for other data than {data_file}; make it again")
    if len(split["tasks"]) != run.tasks:
        raise ValueError(f"{tasks_file}: {len(split['tasks'])} tasks, the run has {run.tasks}")
    if split.get("order") != run.order_name:
        raise ValueError(
            f"{tasks_file}: the split {split.get('order')!r}, the run needs {run.order_name!r} "
            "(by its seed, class_order, task_sizes and validation)"
        )
    return data, split
