"""Sparse training within a Lightning trainer is that of a plain loop."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_loops import adam, assert_same, loss_of, settings, trained
from torch import Tensor, nn

pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

from in_lightning import Module, loader, trainer  # noqa: E402

from dstcl.sparse import GradualMagnitudePruning, SparseTraining  # noqa: E402
from dstcl.sparse.integrations.lightning import SparseTrainingCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class ByHand(Module):
    """Manual optimisation, with one optimiser for each layer."""

    automatic_optimization = False

    def __init__(self, several: bool = True, clip: float | None = None) -> None:
        super().__init__()
        self.several, self.clip = several, clip
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> None:
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        self.manual_backward(loss_of(self.net, *batch))
        if self.clip is not None:
            [callback] = [
                c for c in self.trainer.callbacks if isinstance(c, SparseTrainingCallback)
            ]
            callback.dst.mask_gradients()
            self.clip_gradients(optimizers[0], self.clip, "norm")
        for optimizer in optimizers:
            optimizer.step()
        self.zero_grad()

    def configure_optimizers(self) -> Any:
        if not self.several:
            return adam(self)
        return [adam(layer) for layer in self.net if isinstance(layer, nn.Linear)]


class Spy(pl.loggers.logger.DummyLogger):
    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.entries.append((step, metrics))


def fitted(batches: int = 8, module: Any = None, **more: Any) -> SparseTrainingCallback:
    callback = SparseTrainingCallback(**settings())
    trainer(callback, **more).fit(module or Module(), loader(batches))
    return callback


def test_it_is_the_plain_loop_bit_for_bit() -> None:
    expected, _ = trained(8)
    callback = fitted()
    assert_same(callback.dst, expected)
    assert callback.dst.updates == 4
    assert not callback.dst.attached


def test_accumulated_batches_are_one_step() -> None:
    expected, _ = trained(8, accumulate=2)
    callback = fitted(accumulate_grad_batches=2)
    assert_same(callback.dst, expected)
    assert callback.dst.steps == 4
    assert callback.dst.schedule.total_steps == 4


def test_clipping_sees_the_gradients_of_active_weights_alone() -> None:
    expected, _ = trained(8, clip=0.1)
    assert_same(fitted(gradient_clip_val=0.1).dst, expected)
    unclipped, _ = trained(8)
    assert not torch.equal(unclipped.model[0].weight, expected.model[0].weight)


def test_mixed_precision_and_clipping() -> None:
    expected, _ = trained(8, clip=0.1, autocast=True)
    assert_same(fitted(gradient_clip_val=0.1, precision="bf16-mixed").dst, expected)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_the_scaler_skips_is_no_step(fused: bool) -> None:
    from lightning.pytorch.plugins.precision import MixedPrecision

    class Fused(Module):
        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), 0.05, fused=fused)

    # Too large for float16 at first: some steps overflow, and the scale is halved.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**22, growth_interval=1000)
    plugin = MixedPrecision("16-mixed", "cpu", scaler)
    clip = {} if fused else {"gradient_clip_val": 0.1}
    module = Fused()
    callback = SparseTrainingCallback(**settings(grow="momentum"))
    trainer(callback, plugins=[plugin], **clip).fit(module, loader(12))
    dst = callback.dst
    skipped = round(-torch.log2(torch.tensor(scaler.get_scale() / 2.0**22)).item())
    assert 0 < skipped < 12
    assert dst.steps == 12 - skipped
    assert dst.updates == dst.steps // 2
    assert all(w.isfinite().all() and not w[~dst.masks[n]].any() for n, w in dst.weights.items())
    assert all(moment.isfinite().all() for moment in dst._moments.first)


def test_a_batch_without_a_loss_is_no_step() -> None:
    callback = fitted(module=Module(skip=3))
    assert callback.dst.steps == 7
    callback.dst.check_counts()


def test_several_optimizers_in_manual_optimisation() -> None:
    expected, _ = trained(8)
    callback = fitted(module=ByHand(), max_steps=24)
    assert callback.dst.steps == 8
    one = SparseTrainingCallback(**settings(total_steps=8))
    trainer(one).fit(ByHand(), loader(8))
    for name, weight in expected.weights.items():
        assert torch.equal(weight, one.dst.weights["net." + name])
        assert torch.equal(expected.masks[name], one.dst.masks["net." + name])


def test_clipping_by_hand() -> None:
    expected, _ = trained(8, clip=0.1)
    assert_same(fitted(module=ByHand(several=False, clip=0.1)).dst, expected)


@pytest.mark.parametrize("training", ["dynamic", "momentum", "gradual", "static"])
def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(
    training: str, tmp_path: Path
) -> None:
    def callback() -> SparseTrainingCallback:
        common = settings()
        if training in ("dynamic", "momentum"):
            grow = "momentum" if training == "momentum" else "gradient"
            return SparseTrainingCallback(**common | {"grow": grow})
        kept = {key: common[key] for key in ("density", "generator")}
        if training == "static":
            return SparseTrainingCallback(SparseTraining, **kept)
        return SparseTrainingCallback(GradualMagnitudePruning, update_every=2, **kept)

    whole, more = callback(), {"max_epochs": 3, "gradient_clip_val": 0.1}
    trainer(whole, **more).fit(Module(), loader(5))
    save = pl.callbacks.ModelCheckpoint(
        tmp_path, filename="{epoch}", every_n_epochs=1, save_top_k=-1
    )
    trainer([callback(), save], enable_checkpointing=True, **more).fit(Module(), loader(5))
    module = Module()
    with torch.no_grad():
        module.net[0].weight.fill_(3.0)
    resumed = callback()
    trainer(resumed, **more).fit(module, loader(5), ckpt_path=tmp_path / "epoch=0.ckpt")
    assert whole.dst.steps == 15
    assert_same(resumed.dst, whole.dst)


def test_a_second_fit_keeps_masks_and_goes_on() -> None:
    callback, module = SparseTrainingCallback(**settings()), Module()
    used = trainer(callback)
    used.fit(module, loader(5))
    masks = {name: mask.clone() for name, mask in callback.dst.masks.items()}
    used.fit_loop.max_epochs = 2
    seen: list[bool] = []

    class Look(pl.Callback):
        def on_train_start(self, *_: Any) -> None:
            seen.append(all(torch.equal(m, masks[n]) for n, m in callback.dst.masks.items()))

    used.callbacks.append(Look())
    used.fit(module, loader(5))
    assert seen == [True]
    assert callback.dst.steps == 10


def test_clipping_by_value_and_a_number_of_steps() -> None:
    expected, _ = trained(8, clip=1e-3, by_value=True)
    callback = fitted(
        20, max_steps=8, max_epochs=-1, gradient_clip_val=1e-3, gradient_clip_algorithm="value"
    )
    assert callback.dst.schedule.total_steps == 8
    assert callback.dst.steps == 8
    assert_same(fitted(gradient_clip_val=1e-3, gradient_clip_algorithm="value").dst, expected)


class Worse(Module):
    """The first epoch is the best one."""

    def on_train_epoch_end(self) -> None:
        self.log("loss", float(self.current_epoch))

    def validation_step(self, batch: Any, index: int) -> None: ...


def test_it_goes_on_from_the_best_checkpoint(tmp_path: Path) -> None:
    whole = SparseTrainingCallback(**settings(total_steps=15))
    trainer(whole, max_epochs=3).fit(Worse(), loader(5))
    callback = SparseTrainingCallback(**settings(total_steps=15))
    best = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", monitor="loss")
    used, module = trainer([callback, best], enable_checkpointing=True, max_epochs=2), Worse()
    used.fit(module, loader(5))
    assert callback.dst.steps == 10
    assert Path(best.best_model_path).name == "epoch=0.ckpt"
    used.fit_loop.max_epochs = 3
    used.fit(module, loader(5), ckpt_path="best")
    assert_same(callback.dst, whole.dst)


def test_checkpoints_of_weights_alone_are_sparse_and_nothing_to_go_on_from(tmp_path: Path) -> None:
    callback = SparseTrainingCallback(**settings())
    save = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}", save_weights_only=True)
    used, module = trainer([callback, save], enable_checkpointing=True), Worse()
    used.fit(module, loader(4))
    saved = torch.load(save.best_model_path, weights_only=True)["state_dict"]
    assert all(not saved[name][~mask].any() for name, mask in callback.dst.masks.items())
    used.validate(module, loader(1), ckpt_path="best", verbose=False)
    callback.dst.check_counts()
    with pytest.raises(KeyError, match="save_weights_only"):
        used.fit(module, loader(4), ckpt_path="best")


def test_evaluation_alone_leaves_the_module_dense() -> None:
    module = Worse()
    callback = SparseTrainingCallback(**settings())
    before = [w.clone() for w in module.parameters()]
    trainer(callback).validate(module, loader(2), verbose=False)
    assert callback.dst is None
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_weights_given_between_two_fits_are_masked_before_they_are_used() -> None:
    callback, module = SparseTrainingCallback(**settings()), Module()
    used = trainer(callback)
    used.fit(module, loader(5))
    with torch.no_grad():
        module.net[0].weight.fill_(1.0)
    used.fit_loop.max_epochs = 2
    seen: list[Tensor] = []

    class Look(pl.Callback):
        def on_train_start(self, *_: Any) -> None:
            seen.append(module.net[0].weight.detach().clone())

    used.callbacks.append(Look())
    mask = callback.dst.masks["net.0.weight"].clone()
    used.fit(module, loader(5))
    assert torch.equal(seen[0], mask.float())


def test_numbers_go_to_the_loggers_of_the_trainer() -> None:
    spy = Spy()
    fitted(logger=spy, log_every_n_steps=3, accumulate_grad_batches=1)
    ours = [(step, m) for step, m in spy.entries if "sparse/density" in m]
    assert [step for step, _ in ours] == [3, 6]
    assert ours[0][1]["sparse/density"] == pytest.approx(0.3, abs=0.01)


def test_the_network_is_sparse_before_the_sanity_check() -> None:
    zeros: list[float] = []

    class Checked(Module):
        def validation_step(self, batch: Any, index: int) -> None:
            zeros.append(float((self.net[0].weight == 0).float().mean()))

    trainer(SparseTrainingCallback(**settings())).fit(Checked(), loader(2), loader(1))
    assert min(zeros) > 0.5


def refused(callback: SparseTrainingCallback, module: Any, **more: Any) -> str:
    with pytest.raises(ValueError) as refusal:
        used = trainer(callback, **more)
        used.fit(module, loader(2))
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_what_it_cannot_handle_is_refused_in_a_line() -> None:
    from lightning.pytorch.plugins.precision import MixedPrecision
    from lightning.pytorch.strategies import FSDPStrategy

    from dstcl.sparse.integrations import lightning as ours

    scaled = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    callback = SparseTrainingCallback(**settings(total_steps=2))
    assert refused(callback, ByHand(), plugins=[scaled]).startswith("precision: a gradient scaler")
    endless = refused(SparseTrainingCallback(**settings()), Module(), max_epochs=-1)
    assert endless.startswith("total_steps: unknown, as training has no end; set max_epochs")
    unknown = refused(SparseTrainingCallback(density=0.1, exclude="head"), Module())
    assert unknown.startswith("exclude: 'head' is no module")

    class Sharded:
        strategy = FSDPStrategy.__new__(FSDPStrategy)

    with pytest.raises(ValueError, match="strategy: FSDPStrategy may shard parameters"):
        ours._refuse(Sharded())  # type: ignore[arg-type]


def test_a_checkpoint_of_a_dense_training_is_refused_to_go_on_from(tmp_path: Path) -> None:
    dense = trainer([])
    dense.fit(Module(), loader(2))
    dense.save_checkpoint(tmp_path / "dense.ckpt")
    callback = SparseTrainingCallback(**settings())
    with pytest.raises(ValueError, match="made without SparseTrainingCallback"):
        trainer(callback).fit(Module(), loader(2), ckpt_path=tmp_path / "dense.ckpt")


def test_a_checkpoint_holds_plain_data(tmp_path: Path) -> None:
    callback = SparseTrainingCallback(**settings())
    used = trainer(callback)
    used.fit(Module(), loader(2))
    used.save_checkpoint(tmp_path / "sparse.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = torch.load(tmp_path / "sparse.ckpt", weights_only=True)
    assert saved["callbacks"]["SparseTrainingCallback"]["steps"] == 2


def test_a_compiled_module_is_trained_under_its_own_names() -> None:
    expected, _ = trained(4)
    callback = SparseTrainingCallback(**settings())
    module = Module()
    trainer(callback).fit(torch.compile(module, backend="eager"), loader(4))
    assert_same(callback.dst, expected)
    assert "net.0.weight" in callback.dst.masks
