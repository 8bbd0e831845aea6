"""States of trainings as files: resumed bit for bit, small, never unpickled, refused if damaged."""

from __future__ import annotations

import copy
import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_networks import dynamic, small_network, train
from torch import Tensor, nn

from dstcl.nested import put_together, take_apart
from dstcl.sparse import (
    GROW,
    PRUNE,
    GradualMagnitudePruning,
    LayerView,
    SparseTraining,
    criterion,
    register_growth,
)
from dstcl.sparse.mixed_growth import mixed_growth
from dstcl.storage import write_tensors

Make = Callable[[nn.Module], SparseTraining]


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)


def gradual(model: nn.Module, **more: Any) -> GradualMagnitudePruning:
    draws = torch.Generator().manual_seed(5)
    return GradualMagnitudePruning(
        model, sgd(model), density=0.2, total_steps=20, update_every=3, generator=draws, **more
    )


def frozen(model: nn.Module) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(9)
    weights = dynamic(small_network()).weights
    return {name: torch.rand(w.shape, generator=draws) < 0.3 for name, w in weights.items()}


def nonzero(model: nn.Module) -> SparseTraining:
    with torch.no_grad():
        model[6].weight[:, ::2] = 0
    return gradual(model, masks="nonzero")


TRAININGS: dict[str, Make] = {
    "gradient growth": dynamic,
    "random growth": lambda model: dynamic(model, grow="random"),
    "momentum growth of Adam": lambda model: dynamic(model, grow="momentum"),
    "momentum growth of SGD": lambda model: dynamic(
        model, sgd(model), grow="momentum", redistribute="momentum"
    ),
    "frozen": lambda model: dynamic(model, frozen=frozen(model)),
    "frozen, zero": lambda model: dynamic(model, frozen=frozen(model), regrown="zero"),
    "n:m": lambda model: dynamic(model, density=0.5, init="uniform", structure={"6": "3:6"}),
    "blocks": lambda model: dynamic(model, structure={"3": "block:2x2"}),
    "fan-in": lambda model: dynamic(model, structure="fan-in"),
    "gradual": gradual,
    "gradual from a mask": nonzero,
    "static": lambda model: SparseTraining(model, sgd(model), density=0.2),
}


def everything(dst: SparseTraining, model: nn.Module) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    take_apart([dst.state_dict(), dict(model.state_dict())], tensors)
    return tensors


@pytest.mark.parametrize("make", TRAININGS.values(), ids=TRAININGS.keys())
def test_a_training_goes_on_from_its_file_bit_for_bit(make: Make, tmp_path: Path) -> None:
    model = small_network()
    whole = make(model)
    train(whole, model, 7, seed=1)
    whole.save(tmp_path / "state.safetensors")
    saved = [{k: v.clone() for k, v in model.state_dict().items()}, whole.optimizer.state_dict()]
    torch.save(saved, tmp_path / "rest.pt")
    train(whole, model, 8, seed=2)

    other = small_network(seed=3)
    resumed = make(other)
    weights, optimizer = torch.load(tmp_path / "rest.pt", weights_only=True)
    other.load_state_dict(weights)
    resumed.optimizer.load_state_dict(optimizer)
    resumed.load(tmp_path / "state.safetensors")
    train(resumed, other, 8, seed=2)
    expected, found = everything(whole, model), everything(resumed, other)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert (whole.steps, whole.counts) == (resumed.steps, resumed.counts)


def test_masks_are_in_the_file_under_their_names_at_one_bit_per_weight(tmp_path: Path) -> None:
    model = small_network()
    dst = dynamic(model)
    dst.save(tmp_path / "state.safetensors")
    tensors = load_file(tmp_path / "state.safetensors")
    for name, weight in dst.weights.items():
        packed = tensors[f"masks/{name}"]
        assert packed.dtype == torch.uint8
        assert packed.numel() == -(-weight.numel() // 8)


def written(path: Path, header: dict[str, Any], content: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def flipped(path: Path) -> None:
    header, content = read(path)
    written(path, header, content[:-1] + bytes([content[-1] ^ 1]))


def miscounted(path: Path) -> None:
    header, content = read(path)
    told = json.loads(header["__metadata__"]["dstcl"])
    told["state"] = json.loads(json.dumps(told["state"]).replace('["steps", 4]', '["steps", 5]'))
    header["__metadata__"]["dstcl"] = json.dumps(told)
    written(path, header, content)


def swapped(path: Path) -> None:
    header, content = read(path)
    one, other = "masks/0.weight", "explored/0.weight"
    header[one], header[other] = header[other], header[one]
    written(path, header, content)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "empty": lambda path: path.write_bytes(b""),
    "a bit": flipped,
    "a number": miscounted,
    "two tensors": swapped,
    "a pickle": lambda path: torch.save({"masks": {}}, path),
    "other tensors": lambda path: write_tensors(path, {"a": torch.ones(2)}, {}),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_is_refused_in_a_line_and_changes_nothing(
    damage: Callable[[Path], Any], tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    model = small_network()
    dst = dynamic(model)
    train(dst, model, 4)
    dst.save(path)
    train(dst, model, 3)
    before = everything(dst, model)
    damage(path)
    with pytest.raises(ValueError) as refusal:
        dst.load(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)
    after = everything(dst, model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert dst.steps == 7


OTHERS: dict[str, tuple[Make, Make, str]] = {
    "names": (
        dynamic,
        lambda _: dynamic(nn.Sequential(nn.Flatten(), nn.Linear(4, 4))),
        "masks of other weights",
    ),
    "shapes of as many weights": (
        lambda _: dynamic(nn.Sequential(nn.Linear(4, 6))),
        lambda _: dynamic(nn.Sequential(nn.Linear(6, 4))),
        r"'0.weight' has shape \(6, 4\) there, \(4, 6\) here",
    ),
    "method": (gradual, dynamic, "is of GradualMagnitudePruning, not of DynamicSparseTraining"),
    "structure": (
        lambda model: dynamic(model),
        lambda model: dynamic(model, structure="fan-in"),
        "not of this training",
    ),
    "optimizer": (
        lambda model: dynamic(model, grow="momentum"),
        lambda model: dynamic(model, sgd(model), grow="momentum"),
        "squares of running gradients",
    ),
    "criterion": (
        dynamic,
        lambda model: dynamic(model, grow="momentum"),
        "no running gradients",
    ),
}


@pytest.mark.parametrize(("one", "other", "reason"), OTHERS.values(), ids=OTHERS.keys())
def test_a_state_of_something_else_is_refused_in_a_line_and_changes_nothing(
    one: Make, other: Make, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    one(small_network()).save(path)
    model = small_network()
    dst = other(model)
    before = everything(dst, model)
    with pytest.raises(ValueError, match=reason) as refusal:
        dst.load(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)
    after = everything(dst, model)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_subclass_that_keeps_what_no_file_can_hold_is_told_and_leaves_no_file(
    tmp_path: Path,
) -> None:
    class Odd(SparseTraining):
        def state_dict(self) -> dict[str, Any]:
            return super().state_dict() | {"odd": object()}

    model = small_network()
    with pytest.raises(TypeError, match="cannot hold"):
        Odd(model, sgd(model), density=0.5).save(tmp_path / "state.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("make", TRAININGS.values(), ids=TRAININGS.keys())
def test_a_state_that_is_kept_in_memory_does_not_change(make: Make) -> None:
    model = small_network()
    dst = make(model)
    train(dst, model, 2)
    state = dst.state_dict()
    before, after = {}, {}
    take_apart(copy.deepcopy(state), before)
    train(dst, model, 5)
    for stored in dst.stored.values():
        stored.zero_()
    take_apart(state, after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def own_bytes(dst: SparseTraining) -> int:
    """Of all tensors that a training holds beside those of the model, one byte for each bit."""
    theirs = {w.untyped_storage().data_ptr() for w in dst.model.parameters()}
    found: dict[int, int] = {}

    def look(value: Any) -> None:
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            if storage.data_ptr() not in theirs:
                found[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, dict):
            list(map(look, value.values()))
        elif isinstance(value, list | tuple):
            list(map(look, value))

    look({name: value for name, value in vars(dst).items() if name not in ("model", "optimizers")})
    return sum(found.values())


@pytest.mark.parametrize(
    ("more", "per_weight"),
    [
        # A mask, what was explored, and an integer as wide as the weight.
        ({}, 1 + 1 + 4),
        # Stored values, too.
        ({"frozen": {}}, 1 + 1 + 4 + 4),
    ],
)
def test_a_training_holds_few_bytes_for_each_weight(more: dict[str, Any], per_weight: int) -> None:
    model = nn.Linear(200, 100, bias=False)
    dst = dynamic(model, torch.optim.SGD(model.parameters(), 0.1), **more)
    # What is false everywhere has a byte.
    assert own_bytes(dst) == 200 * 100 * per_weight + 1


def test_a_state_has_two_bits_for_each_weight_where_nothing_is_frozen(tmp_path: Path) -> None:
    model = nn.Linear(400, 200, bias=False)
    dynamic(model).save(tmp_path / "state.safetensors")
    assert (tmp_path / "state.safetensors").stat().st_size < 400 * 200 * 2 / 8 + 10_000


def test_values_of_earlier_tasks_are_stored_where_there_may_be_some() -> None:
    model = small_network()
    before = {name: value.clone() for name, value in model.named_parameters()}
    dst = dynamic(model, frozen={})
    train(dst, model, 4)
    for name, value in dst.consolidated().items():
        mask = dst.masks[name]
        assert torch.equal(value[mask], dst.weights[name][mask])
        assert torch.equal(value[~mask], before[name][~mask])
    plain = dynamic(small_network())
    assert not plain.stored
    with pytest.raises(ValueError, match="frozen: {} for the first of several tasks"):
        plain.consolidated()
    state = plain.state_dict()
    with pytest.raises(ValueError, match="state: of a training without frozen"):
        dst.load_state_dict(state)


def test_a_state_of_another_density_is_refused() -> None:
    dst = dynamic(small_network(), density=0.3)
    other = dynamic(small_network(), density=0.1)
    before = {name: mask.clone() for name, mask in other.masks.items()}
    with pytest.raises(ValueError, match=r"state: of density 0.3, this training has 0.1"):
        other.load_state_dict(dst.state_dict())
    assert all(torch.equal(before[name], mask) for name, mask in other.masks.items())


@pytest.mark.parametrize("frozen", [None, {}])
def test_a_state_of_earlier_code_can_be_loaded(frozen: dict[str, Tensor] | None) -> None:
    """It always had stored values, and neither shapes nor density."""
    model = small_network()
    dst = dynamic(model, frozen={})
    train(dst, model, 4)
    state = dst.state_dict()
    del state["shapes"], state["density"]
    again = dynamic(small_network(1), frozen=frozen)
    again.load_state_dict(state)
    assert all(torch.equal(again.masks[name], mask) for name, mask in dst.masks.items())
    if frozen is not None:
        assert all(torch.equal(again.stored[name], value) for name, value in dst.stored.items())


# Copies of a training with its model and optimiser


@criterion(gradient=True)
def by_age(layer: LayerView) -> Tensor:
    return layer.gradient.abs() + ~layer.explored  # type: ignore[union-attr]


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda dst: pickle.loads(pickle.dumps(dst)),
}
GROWTHS: dict[str, Any] = {
    **{name: name for name in ("gradient", "momentum", "random-then-unfired")},
    "own": by_age,
    "mix": mixed_growth("random", "gradient", 0.3),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())
@pytest.mark.parametrize("grow", GROWTHS.values(), ids=GROWTHS.keys())
@pytest.mark.parametrize("attached", [False, True])
def test_a_copy_of_a_training_goes_on_by_itself_bit_for_bit(
    attached: bool, grow: Any, copied: Callable[[Any], Any]
) -> None:
    model = small_network()
    dst = dynamic(model, sgd(model), grow=grow, prune="set")
    if attached:
        dst.attach()

    def go_on(one: SparseTraining) -> None:
        draws = torch.Generator().manual_seed(1)
        for _ in range(5):
            one.optimizer.zero_grad()
            one.model(torch.randn(8, 1, 8, 8, generator=draws)).square().mean().backward()
            (one.optimizer if attached else one).step()

    go_on(dst)
    other = copied(dst)
    assert other.attached == attached
    assert (other.grow, other.prune) == (dst.grow, dst.prune)
    go_on(dst)
    assert (dst.steps, other.steps) == (10, 5)
    go_on(other)
    expected, found = everything(dst, model), everything(other, other.model)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert (dst.updates, other.updates) == (3, 3)


def test_a_step_that_is_masked_but_not_made_is_not_in_a_copy() -> None:
    model = small_network()
    dst = dynamic(model)
    model(torch.ones(2, 1, 8, 8)).sum().backward()
    dst.mask_gradients()
    other = copy.deepcopy(dst)
    assert (dst.steps, other.steps) == (1, 0)
    train(other, other.model, 3)
    assert (other.steps, other.updates) == (3, 1)


def test_criteria_are_copied_by_name() -> None:
    @register_growth("local")
    def local(layer: LayerView) -> Tensor:
        return layer.random()

    for one in [*GROW.values(), *PRUNE.values(), by_age]:
        assert pickle.loads(pickle.dumps(one)) is one
    renamed = replace(by_age, name="another")
    assert pickle.loads(pickle.dumps(renamed)) == renamed
    with pytest.raises((pickle.PicklingError, AttributeError), match="local"):
        pickle.dumps(replace(local, name="not registered"))


def test_names_with_slashes_stay_apart() -> None:
    state = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1), "b#": torch.full((1,), 2.0)}}
    tensors: dict[str, Tensor] = {}
    plain = take_apart(state, tensors)
    assert len(tensors) == 3
    back = put_together(plain, tensors)
    assert [float(back["a/b"]), float(back["a"]["b"]), float(back["a"]["b#"])] == [0, 1, 2]
