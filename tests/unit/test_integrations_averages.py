"""Lightning's averages of weights are as sparse as the training wherever they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from plain_loops import loss_of, settings
from torch import nn

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

from in_lightning import Module, loader, trainer  # noqa: E402

from dstcl.sparse.integrations.lightning import SparseTrainingCallback  # noqa: E402

EMA = getattr(pl.callbacks, "EMAWeightAveraging", None)

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(EMA is None, reason="this version of lightning averages no weights"),
]


class Checked(Module):
    """Notes how many inactive weights are not zero in validation."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        if norm:
            self.net.insert(1, nn.BatchNorm1d(20))
        self.seen: list[int] = []
        self.losses: list[float] = []

    def validation_step(self, batch: Any, index: int) -> None:
        if self.trainer.sanity_checking:
            return
        [sparse] = [c for c in self.trainer.callbacks if isinstance(c, SparseTrainingCallback)]
        self.seen.append(violations(sparse))
        self.losses.append(float(loss_of(self.net, *batch)))


class Spy(pl.Callback):
    """Notes how many inactive weights are not zero in the epoch that trains nothing."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        [sparse] = [c for c in trainer.callbacks if isinstance(c, SparseTrainingCallback)]
        self.seen.append(violations(sparse))


def violations(callback: SparseTrainingCallback) -> int:
    dst = callback.dst
    return sum(int(w[~dst.masks[name]].count_nonzero()) for name, w in dst.weights.items())


def both(first: bool, average: Any, **more: Any) -> tuple[SparseTrainingCallback, list[Any]]:
    sparse = SparseTrainingCallback(**settings(**more))
    return sparse, [average, sparse] if first else [sparse, average]


def averaged(average: Any, name: str) -> torch.Tensor:
    """A weight of what Lightning has averaged, without masks."""
    module = average._average_model
    return getattr(module, "module", module).get_parameter(name).detach()


@pytest.mark.parametrize("first", [False, True], ids=["after ours", "before ours"])
@pytest.mark.parametrize("kind", ["ema", "swa", "swa with batch norm"])
def test_the_module_has_the_masked_average_after_fit(kind: str, first: bool) -> None:
    average = (
        EMA(decay=0.9)
        if kind == "ema"
        else pl.callbacks.StochasticWeightAveraging(0.05, swa_epoch_start=1)
    )
    sparse, callbacks = both(first, average, total_steps=24)
    spy, module = Spy(), Checked(norm="norm" in kind)
    trainer([*callbacks, spy], max_epochs=3).fit(module, loader(8))
    dst = sparse.dst
    assert dst.updates > 2
    denser = 0
    for name, weight in dst.weights.items():
        expected = averaged(average, name)
        denser += int(expected[~dst.masks[name]].count_nonzero())
        # With batch norm, Lightning itself makes one more step with the gradient of the last.
        if "norm" not in kind:
            assert torch.equal(weight, expected * dst.masks[name])
    assert denser > 0
    assert violations(sparse) == 0
    assert set(spy.seen) == {0}
    assert len(spy.seen) == (32 if "norm" in kind else 24)


@pytest.mark.parametrize("first", [False, True], ids=["after ours", "before ours"])
def test_validation_sees_the_masked_average_and_does_not_change_it(first: bool) -> None:
    found = []
    for batches in (None, loader(1)):
        average = EMA(decay=0.9)
        sparse, callbacks = both(first, average, total_steps=16)
        module = Checked()
        trainer(callbacks, max_epochs=2).fit(module, loader(8), batches)
        found.append([averaged(average, name) for name in sparse.dst.weights])
    assert module.seen == [0, 0]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    # The average, masked, is what the module has in the end.
    expected = loss_of(module.net, *next(iter(loader(1))))
    assert module.losses[-1] == pytest.approx(float(expected))


@pytest.mark.parametrize("first", [False, True], ids=["after ours", "before ours"])
def test_checkpoints_hold_the_masked_average_and_are_gone_on_from_bit_for_bit(
    first: bool, tmp_path: Path
) -> None:
    def fit(again: Path | None, *more: Any) -> tuple[SparseTrainingCallback, Any]:
        average = EMA(decay=0.9)
        sparse, callbacks = both(first, average)
        used = trainer([*callbacks, *more], max_epochs=3, enable_checkpointing=bool(more))
        used.fit(Checked(), loader(5), ckpt_path=again)
        used.save_checkpoint(tmp_path / "after.ckpt")
        return sparse, average

    save = pl.callbacks.ModelCheckpoint(
        tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1
    )
    whole, average = fit(None, save)
    for name in ("epoch=0.ckpt", "epoch=2.ckpt", "after.ckpt"):
        saved = torch.load(tmp_path / name, weights_only=True)
        state = saved["callbacks"]["SparseTrainingCallback"]
        for weight, count in state["counts"].items():
            assert 0 < int(saved["state_dict"][weight].count_nonzero()) <= count, (name, weight)
    resumed, other = fit(tmp_path / "epoch=0.ckpt")
    assert whole.dst.steps == resumed.dst.steps == 15
    for name, mask in whole.dst.masks.items():
        assert torch.equal(mask, resumed.dst.masks[name])
        assert torch.equal(averaged(average, name), averaged(other, name))
        assert torch.equal(whole.dst.weights[name], resumed.dst.weights[name])


def test_a_second_fit_encloses_the_callbacks_once_more_and_not_twice() -> None:
    sparse, callbacks = both(False, EMA(decay=0.9), total_steps=16)
    used, module = trainer(callbacks, max_epochs=1), Checked()
    used.fit(module, loader(8), loader(1))
    used.validate(module, loader(1), verbose=False)
    used.fit_loop.max_epochs = 2
    used.fit(module, loader(8), loader(1))
    assert len(used.callbacks) == 4
    assert module.seen == [0, 0, 0]
    assert violations(sparse) == 0


def test_other_trainers_keep_their_callbacks() -> None:
    sparse = SparseTrainingCallback(**settings())
    used = trainer(sparse)
    used.fit(Checked(), loader(2))
    assert used.callbacks == [sparse]
