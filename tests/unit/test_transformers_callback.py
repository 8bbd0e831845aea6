"""Sparse training within a Trainer of Transformers is that of a plain loop."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_loops import assert_same, settings, trained
from safetensors.torch import load_file
from torch import Tensor

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="accelerate is not installed")

from in_transformers import InOrder, Model, Rows, sparse, trainer  # noqa: E402

from dstcl.sparse import GradualMagnitudePruning, SparseTraining  # noqa: E402
from dstcl.sparse.integrations.transformers import FILE, SparseTrainingCallback  # noqa: E402


@pytest.mark.parametrize(
    ("accumulate", "clip", "bf16"),
    [(1, None, False), (2, None, False), (1, 0.1, False), (2, 0.1, False), (1, 0.1, True)],
)
def test_it_is_the_plain_loop_bit_for_bit(
    accumulate: int, clip: float | None, bf16: bool, tmp_path: Path
) -> None:
    expected, _ = trained(8, accumulate=accumulate, clip=clip, autocast=bf16)
    used = trainer(
        tmp_path, gradient_accumulation_steps=accumulate, max_grad_norm=clip or 0.0, bf16=bf16
    )
    unscale = used.accelerator.unscale_gradients
    callback = sparse(used)
    used.train()
    assert_same(callback.dst, expected)
    assert callback.dst.steps == used.state.global_step == 8 // accumulate
    assert callback.dst.schedule.total_steps == 8 // accumulate
    assert not callback.dst.attached
    assert used.accelerator.unscale_gradients == unscale


@pytest.mark.parametrize("training", ["dynamic", "momentum", "gradual", "static"])
@pytest.mark.parametrize("moved", [False, True])
def test_it_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(
    training: str, moved: bool, tmp_path: Path
) -> None:
    def added(used: Any) -> SparseTrainingCallback:
        common = settings()
        if training in ("dynamic", "momentum"):
            grow = "momentum" if training == "momentum" else "gradient"
            return sparse(used, **common | {"grow": grow})
        kept = {key: common[key] for key in ("density", "generator")}
        if training == "static":
            return sparse(used, SparseTraining, **kept)
        return sparse(used, GradualMagnitudePruning, update_every=2, **kept)

    more = {"num_train_epochs": 3, "max_grad_norm": 0.1}
    used = trainer(tmp_path / "whole", 5, save_strategy="steps", save_steps=7, **more)
    whole = added(used)
    used.train()
    folder = tmp_path / "whole" / "checkpoint-7"
    assert (folder / FILE).exists()
    again: Any = str(folder)
    if moved:
        again = str(shutil.move(folder, tmp_path / "elsewhere"))
    model = Model()
    with torch.no_grad():
        model.net[0].weight.fill_(3.0)
    used = trainer(tmp_path / "whole", 5, model, **more)
    resumed = added(used)
    used.train(resume_from_checkpoint=again)
    assert whole.dst.steps == 15
    assert_same(resumed.dst, whole.dst)


def test_the_last_checkpoint_is_found(tmp_path: Path) -> None:
    used = trainer(tmp_path, 4, save_strategy="steps", save_steps=2)
    whole = sparse(used)
    used.train()
    shutil.rmtree(tmp_path / "checkpoint-4")
    used = trainer(tmp_path, 4)
    resumed = sparse(used)
    used.train(resume_from_checkpoint=True)
    assert_same(resumed.dst, whole.dst)


def test_a_second_training_begins_with_the_masks_of_the_first(tmp_path: Path) -> None:
    used = trainer(tmp_path, 4)
    callback = sparse(used)
    used.train()
    masks = {name: mask.clone() for name, mask in callback.dst.masks.items()}
    seen: list[bool] = []

    class Look(transformers.TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            seen.append(all(torch.equal(m, masks[n]) for n, m in callback.dst.masks.items()))

    used.add_callback(Look())
    used.train()
    assert seen[0]
    assert callback.dst.steps == 4


@pytest.mark.parametrize(
    "more",
    [
        {"redistribute": "nonzeros"},
        {"redistribute": "gradient", "overrides": {"net.2": 0.5}},
        {"redistribute": "gradient", "groups": {"net.2": {"density": 0.5, "grow": "random"}}},
    ],
)
def test_a_second_training_begins_with_counts_that_have_moved(
    more: dict[str, Any], tmp_path: Path
) -> None:
    """The masks of the first decide, not the densities that it began with."""
    used = trainer(tmp_path, 4)
    callback = sparse(used, **settings() | more)
    used.train()
    first = callback.dst
    assert first.counts != first.budget
    used.train()
    assert callback.dst is not first
    assert callback.dst.budget == first.counts
    if "groups" in more:
        assert callback.dst.groups == {"net.2": {"grow": "random"}}


def test_a_second_gradual_pruning_goes_on_to_its_density(tmp_path: Path) -> None:
    used = trainer(tmp_path, 4)
    callback = sparse(used, GradualMagnitudePruning, density=0.3, update_every=1)
    used.train()
    budget = callback.dst.budget
    used.train()
    assert callback.dst.counts == callback.dst.budget == budget


def test_numbers_go_where_the_trainer_logs(tmp_path: Path) -> None:
    used = trainer(tmp_path, logging_strategy="steps", logging_steps=3)
    sparse(used)
    used.train()
    ours = [entry for entry in used.state.log_history if "sparse/density" in entry]
    losses = [entry["step"] for entry in used.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in ours] == losses == [3, 6]
    assert ours[0]["sparse/density"] == pytest.approx(0.3, abs=0.01)
    json.dumps(used.state.log_history)


def best_model_asked(**more: Any) -> dict[str, Any]:
    """The model with the highest loss counts as the best: that of the first evaluation."""
    return {
        "load_best_model_at_end": True, "save_strategy": "steps", "save_steps": 2,
        "eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": "loss",
        "greater_is_better": True,
    } | more  # fmt: skip


def test_masks_are_those_of_the_best_model_where_that_is_loaded(tmp_path: Path) -> None:
    used = trainer(tmp_path, **best_model_asked(max_grad_norm=0.1))
    callback = sparse(used)
    used.train()
    best = Path(used.state.best_model_checkpoint)
    assert best.name != "checkpoint-8"
    dst = callback.dst
    assert best.name == f"checkpoint-{dst.steps}"
    assert all(not w[~dst.masks[name]].any() for name, w in dst.weights.items())
    dst.check_counts()


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_best_model_without_a_state_ends_with_a_warning_and_its_weights(
    harm: str, tmp_path: Path
) -> None:
    used = trainer(tmp_path, **best_model_asked())
    callback = sparse(used)

    class Harm(transformers.TrainerCallback):
        def on_save(self, *_: Any, **__: Any) -> None:
            for file in tmp_path.glob(f"*/{FILE}"):
                file.unlink() if harm == "gone" else file.write_bytes(b"cut")

    used.add_callback(Harm())
    with pytest.warns(UserWarning, match="masks are those of the last step") as told:
        used.train()
    best = Path(used.state.best_model_checkpoint)
    [line] = [str(w.message) for w in told if "masks are those" in str(w.message)]
    assert line.startswith(f"{best / FILE}: {'no such file' if harm == 'gone' else 'damaged'}")
    assert "\n" not in line
    weights = load_file(best / "model.safetensors")
    assert all(torch.equal(w, weights[name]) for name, w in used.model.state_dict().items())
    assert callback.dst.steps == 8
    assert not callback.dst.attached


def test_a_search_for_hyperparameters_keeps_each_state_with_its_trial(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna", reason="optuna is not installed")
    optuna.logging.disable_default_handler()
    best: list[tuple[str, dict[str, Tensor]]] = []
    rows, asked = Rows(8), trainer(tmp_path, **best_model_asked()).args
    used = InOrder(args=asked, train_dataset=rows, eval_dataset=rows, model_init=Model)
    callback = sparse(used)

    class Look(transformers.TrainerCallback):
        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            best.append((state.best_model_checkpoint, callback.dst.masks))

    used.add_callback(Look())
    used.hyperparameter_search(
        lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 0.01, 0.1)},
        n_trials=2, direction="minimize", backend="optuna",
    )  # fmt: skip
    saved = sorted(str(file.parent.relative_to(tmp_path)) for file in tmp_path.rglob(FILE))
    folders = [f"run-{trial}/checkpoint-{step}" for trial in (0, 1) for step in (2, 4, 6, 8)]
    assert saved == folders
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-0", "run-1"]
    assert [Path(folder).parent.name for folder, _ in best] == ["run-0", "run-1"]
    for folder, masks in best:
        weights = load_file(Path(folder, "model.safetensors"))
        assert all(not weights[name][~mask].any() for name, mask in masks.items())


def test_states_go_with_the_checkpoints_that_are_deleted(tmp_path: Path) -> None:
    used = trainer(tmp_path, save_strategy="steps", save_steps=2, save_total_limit=2)
    whole = sparse(used)
    used.train()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-6", "checkpoint-8"]
    assert len(list(tmp_path.rglob(FILE))) == 2
    again = trainer(tmp_path)
    resumed = sparse(again)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert_same(resumed.dst, whole.dst)


def test_max_steps_are_the_schedule_and_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    expected, _ = trained(4, epochs=3)
    used = trainer(tmp_path, 4, max_steps=12, save_strategy="steps", save_steps=5)
    callback = sparse(used)
    used.train()
    assert callback.dst.schedule.total_steps == 12
    assert_same(callback.dst, expected)
    again = trainer(tmp_path, 4, max_steps=12)
    resumed = sparse(again)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert_same(resumed.dst, expected)


def test_evaluation_alone_leaves_the_model_dense(tmp_path: Path) -> None:
    used = trainer(tmp_path, 4)
    callback = sparse(used)
    before = {name: w.clone() for name, w in used.model.state_dict().items()}
    used.evaluate()
    used.predict(Rows(2))
    assert callback.dst is None
    assert all(torch.equal(w, before[name]) for name, w in used.model.state_dict().items())


def test_evaluation_on_start_sees_the_sparse_model(tmp_path: Path) -> None:
    used = trainer(tmp_path, 4, eval_on_start=True, eval_strategy="steps", eval_steps=4)
    seen: list[float] = []

    class Look(transformers.TrainerCallback):
        def on_evaluate(self, *_: Any, **__: Any) -> None:
            seen.append(float((used.model.net[0].weight == 0).float().mean()))

    used.add_callback(Look())
    sparse(used)
    used.train()
    assert len(seen) == 2
    assert min(seen) > 0.5


def test_a_model_of_transformers(tmp_path: Path) -> None:
    config = transformers.GPT2Config(
        vocab_size=30, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    tokens = torch.randint(30, (32, 8), generator=torch.Generator().manual_seed(0))
    rows = [{"input_ids": row, "labels": row} for row in tokens]
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], save_strategy="steps", save_steps=4,
        per_device_train_batch_size=4, num_train_epochs=1, disable_tqdm=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    used = transformers.Trainer(model, args, train_dataset=rows)
    callback = sparse(used, density=0.2, update_every=3)
    used.train()
    dst = callback.dst
    assert dst.updates == 2
    dst.check_counts()
    loaded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "checkpoint-8")
    weights = dict(loaded.named_parameters(remove_duplicate=False))
    assert all(not weights[name][~mask].any() for name, mask in dst.masks.items())


def test_what_it_cannot_handle_is_refused_in_a_line(tmp_path: Path) -> None:
    dense = trainer(tmp_path, 4, save_strategy="steps", save_steps=2)
    dense.train()
    used = trainer(tmp_path, 4)
    sparse(used)
    with pytest.raises(ValueError, match="made without SparseTrainingCallback") as refusal:
        used.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert "\n" not in str(refusal.value)
    used = trainer(tmp_path, 4)
    sparse(used, density=0.1, exclude="head")
    with pytest.raises(ValueError, match="exclude: 'head' is no module"):
        used.train()
    one, other = trainer(tmp_path, 4), trainer(tmp_path, 4)
    other.add_callback(SparseTrainingCallback(one, **settings()))
    with pytest.raises(ValueError, match="added to another trainer"):
        other.train()
