"""The stacked networks of benchmarks/ensemble.py are the same networks as those apart."""

from pathlib import Path
from types import ModuleType

import pytest
import torch

from dstcl.networks.arithmetic import Arithmetic

FOLDER = Path(__file__).parents[2] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture
def ensemble(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    import ensemble

    return ensemble


def test_stacked_networks_train_like_those_apart(ensemble: ModuleType) -> None:
    assert ensemble.disagreement("convnet", 3, Arithmetic(), CPU, 4) < 1e-4


def test_each_network_has_weights_and_images_of_its_own(ensemble: ModuleType) -> None:
    images, labels = ensemble.batches(2, CPU)
    for step in ensemble.both("convnet", 2, Arithmetic(), CPU).values():
        one, other = step(images, labels)
        assert not torch.equal(one, other)
        assert not torch.equal(step(images, labels)[0], one), "it learns"


def test_another_mask_is_another_training(
    ensemble: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the agreement above would not show that stacked gradients are masked."""
    stacked = ensemble.stacked

    def unmasked(networks: list, masks: list) -> object:
        return stacked(
            networks, [{n: torch.ones_like(m) for n, m in each.items()} for each in masks]
        )

    monkeypatch.setattr(ensemble, "stacked", unmasked)
    assert ensemble.disagreement("convnet", 3, Arithmetic(), CPU, 4) > 1e-3
