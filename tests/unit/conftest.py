"""Real digits, few enough for unit tests."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from dstcl.data.catalog import DATASETS
from dstcl.data.readers.mnist5k import read_mnist5k
from dstcl.data.stored import Prepared, content_digest
from dstcl.sparse import GROW, INITS, PRUNE
from dstcl.study.run import Run
from dstcl.tracking import database
from helpers.runs import quick_run

# Tiny tensors gain nothing from threads, and lose much where cores are shared.
torch.set_num_threads(1)

# Nor is an example wrong because other processes were at work.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="session", autouse=True)
def memory_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of files is not what a person's own commands remember."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def new_databases_are_copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Of the first one: the migrations of a new database of MLflow take a second."""
    first, make = tmp_path_factory.mktemp("mlflow") / "new.db", database._make_tables

    def made(path: Path) -> None:
        if first.exists():
            shutil.copy(first, path)
        else:
            make(path)
            shutil.copy(path, first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_make_tables", made)
        yield


@pytest.fixture(scope="session")
def digits() -> Prepared:
    """Every fifth image of MNIST-5k: 1,000 real digits."""
    source = read_mnist5k()
    info = DATASETS["mnist5k"]
    data = Prepared(
        torch.from_numpy(source.pixels[::5].copy()),
        torch.from_numpy(source.labels[::5].copy()),
        torch.from_numpy(source.is_test[::5].copy()),
        source.class_names,
        list(info.mean),
        list(info.std),
        digest="",
    )
    return replace(data, digest=content_digest(data))


@pytest.fixture(scope="session")
def short_run() -> Run:
    """A run of preset quick, shortened."""
    return quick_run(density=0.3, growth="random", epochs=2, batch_size=32, update_every=2)


@pytest.fixture(autouse=True)
def tables_as_they_were() -> Iterator[None]:
    """What a test registers by name, or an example that it loads, is no other test's."""
    before = [(table, dict(table)) for table in (GROW, PRUNE, INITS)]
    yield
    for table, entries in before:
        table.clear()
        table.update(entries)
