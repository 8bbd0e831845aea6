"""What users bring to the core: criteria and inits in every form, and methods of their own."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap
from abc import ABC
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from small_networks import one_layer, small_network, step_with_gradient, train
from torch import Tensor, nn

import dstcl
from dstcl.continual.published import PublishedSparseTraining
from dstcl.plugins import PluginError
from dstcl.sparse import (
    GROW,
    PRUNE,
    Criterion,
    CriterionError,
    DynamicSparseTraining,
    GradualMagnitudePruning,
    GrowthPlan,
    LayerView,
    SparseTraining,
    check_criterion,
    criterion,
    growth_plan,
    layer_densities,
    prune_criterion,
    register_growth,
    register_init,
    register_prune,
)

# Four of seven weights active, half of them replaced: by magnitude the first and the fourth go.
WEIGHTS, MASK = [0.1, -0.9, 0.5, -0.2, 0.0, 0.0, 0.0], [1, 1, 1, 1, 0, 0, 0]
GRADIENT = [0.0, 0.0, 0.0, 0.0, 8.0, 0.5, -9.0]

OWN = """
import torch
from dstcl import criterion
from dstcl.sparse import LayerView

@criterion(gradient=True)
def by_age(layer):
    size = layer.gradient.abs()
    return size + (~layer.explored) * (1 + size.max())

def largest_go(layer):
    return -layer.weight.abs()

def all_in_first(shapes, density):
    first, *others = shapes
    return {first: density * len(shapes)} | dict.fromkeys(others, 0.0)

seven = 7
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Writes modules into a working folder; they are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)

    def module(name: str, text: str) -> Path:
        file = tmp_path / f"{name}.py"
        file.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return file

    yield module
    for name in set(sys.modules) - known:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == tmp_path:
            del sys.modules[name]


def updated(**settings: object) -> list[int]:
    """The mask of the layer above after one update; weights 4 and 6 were active before."""
    model, sparse = one_layer(WEIGHTS, MASK, **settings)
    sparse.explored["0.weight"][0, [4, 6]] = True
    step_with_gradient(model, sparse, GRADIENT)
    return sparse.masks["0.weight"].int().tolist()[0]


def young_first(layer: LayerView) -> Tensor:
    assert layer.gradient is not None
    size = layer.gradient.abs()
    return size + (~layer.explored) * (1 + size.max())


BY_AGE = [0, 1, 1, 0, 0, 1, 1]  # 5 was never active; of the others 6 has the largest gradient


def test_a_registered_growth_is_known_by_name_and_gets_the_gradient() -> None:
    register_growth("by_age", gradient=True)(young_first)
    assert updated(grow="by_age") == BY_AGE
    assert growth_plan("random-then-by_age").then.needs_gradient


def test_a_registered_criterion_can_be_passed_and_called_itself() -> None:
    made = register_growth("by_age", gradient=True)(young_first)
    assert updated(grow=made) == BY_AGE
    layer = LayerView(
        torch.zeros(2), torch.tensor([True, False]), torch.tensor([-3.0, 1.0]), None,
        torch.Generator(),
    )  # fmt: skip
    assert made(layer).tolist() == [3.0, 5.0]


def test_a_plain_function_grows() -> None:
    assert updated(grow=lambda layer: torch.arange(7.0).view(1, 7)) == [0, 1, 1, 0, 0, 1, 1]


def test_a_plain_function_prunes() -> None:
    """The two largest go, -.9 and .5; 4 and 6 come for their gradients."""
    assert updated(prune=lambda layer: -layer.weight.abs()) == [1, 0, 0, 1, 1, 0, 1]


def test_a_registered_pruning_is_known_by_name() -> None:
    @register_prune("largest_go")
    def largest_go(layer: LayerView) -> Tensor:
        return -layer.weight.abs()

    assert updated(prune="largest_go") == [1, 0, 0, 1, 1, 0, 1]
    assert "largest_go" not in GROW


def test_one_function_can_serve_both_ways_and_keeps_what_it_declares() -> None:
    @register_prune("smallest_gradient")
    @criterion(gradient=True)
    def smallest_gradient(layer: LayerView) -> Tensor:
        assert layer.gradient is not None
        return layer.gradient.abs()

    assert prune_criterion("smallest_gradient").needs_gradient
    grown = register_growth("largest_gradient")(smallest_gradient)
    assert (grown.name, grown.needs_gradient, grown.needs_momentum) == (
        "largest_gradient", True, False,
    )  # fmt: skip
    assert updated(grow="largest_gradient") == updated(grow="gradient")


def test_a_plan_is_a_growth() -> None:
    plan = GrowthPlan(GROW["random"], GROW["gradient"], 0.1)
    assert updated(grow=plan, total_steps=10) == updated(grow="gradient") == [0, 1, 1, 0, 1, 0, 1]


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))


def counts(**settings: object) -> list[int]:
    model = two_layers()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return list(SparseTraining(model, optimizer, density=0.3, **settings).counts.values())


def test_a_plain_function_spreads_the_density() -> None:
    assert counts(init=lambda shapes, density: {"0.weight": 0.1, "1.weight": 0.5}) == [10, 50]


def test_a_registered_init_is_known_by_name() -> None:
    @register_init("rising")
    def rising(shapes: object, density: float) -> dict[str, float]:
        return {"0.weight": density - 0.1, "1.weight": density + 0.1}

    assert counts(init="rising") == [20, 40]
    assert rising({}, 0.3) == {"0.weight": pytest.approx(0.2), "1.weight": pytest.approx(0.4)}


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (lambda shapes, density: None, "NoneType; it must return a density for each of 0.weight"),
        (lambda shapes, density: {"0.weight": 0.3}, "0.weight; it must return a density for each"),
        (lambda shapes, density: dict.fromkeys(shapes, "0.3"), "'0.3' for layer '0.weight'"),
        (lambda shapes, density: {"0.weight": 1.2, "1.weight": 0.0}, "1.2 for layer '0.weight'"),
        (lambda shapes, density: dict.fromkeys(shapes, float("nan")), "nan for layer '0.weight'"),
        (lambda shapes, density: dict.fromkeys(shapes, 0.5), "densities of 100 .* 0.3 is 60"),
    ],
)
def test_an_init_that_does_not_meet_the_density_is_refused(
    init: Callable[..., object], message: str
) -> None:
    with pytest.raises(ValueError, match=f"init '<lambda>' returned .*{message}"):
        counts(init=init)


def test_an_init_may_round_to_whole_weights() -> None:
    """0.33 of 10 weights in each of two layers is 3.3, and 3 of each is as near as can be."""
    shapes = {"a": (10, 1), "b": (10, 1)}
    assert layer_densities(shapes, 0.33, lambda s, d: dict.fromkeys(s, 0.3))["a"] == 0.3
    with pytest.raises(ValueError, match="returned densities"):
        layer_densities(shapes, 0.33, lambda s, d: dict.fromkeys(s, 0.2))


# Files of the user's own


def test_a_growth_a_pruning_and_an_init_from_a_file(write: Callable[[str, str], Path]) -> None:
    write("own_parts", OWN)
    assert updated(grow="own_parts:by_age") == BY_AGE
    assert updated(prune="own_parts:largest_go") == [1, 0, 0, 1, 1, 0, 1]
    assert counts(init="own_parts:all_in_first") == [60, 1]  # no layer is ever empty
    for kind, name in (("grow", "by_age"), ("prune", "largest_go")):
        check_criterion(f"own_parts:{name}", kind)


def test_a_switch_takes_names_of_files(write: Callable[[str, str], Path]) -> None:
    write("own_parts", OWN)
    plan = growth_plan("random-then-own_parts:by_age", 0.5)
    assert [plan.at(f).name for f in (0.4, 0.5)] == ["random", "own_parts:by_age"]
    assert (plan.needs_gradient, plan.needs_momentum) == (True, False)
    check_criterion("random-then-own_parts:by_age", "grow")
    assert growth_plan("own_parts:by_age-then-gradient").first.name == "own_parts:by_age"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grow": "own_parts:by_aeg"}, "grow: 'own_parts:by_aeg': .*own_parts.py has no 'by_aeg'"),
        ({"grow": "random-then-own:x"}, "grow: 'own:x': no own.py in the working folder"),
        ({"grow": "own_parts:seven"}, "grow: 'own_parts:seven' is a int; it must be a Criterion"),
        ({"prune": "own_parts:seven"}, "prune: 'own_parts:seven' is a int"),
        (
            {"init": "own_parts:seven", "density": 1.0},
            "init: 'own_parts:seven' is a int; it must be a function",
        ),
        (
            {"init": "own_parts:", "density": 1.0},
            "init: 'own_parts:': the form is module:attribute",
        ),
        ({"prune": "broken:it"}, "prune: 'broken:it': importing .*broken.py failed .*division"),
    ],
)
def test_what_a_file_has_not_is_refused_in_one_line(
    settings: dict[str, object], message: str, write: Callable[[str, str], Path]
) -> None:
    write("own_parts", OWN)
    write("broken", "it = 1 / 0")
    with pytest.raises(ValueError, match=message) as refusal:
        updated(**settings)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_an_error_of_plugins(write: Callable[[str, str], Path]) -> None:
    with pytest.raises(PluginError):
        updated(grow="nowhere:at_all")


# Criteria that cannot be used

BAD: dict[str, tuple[Callable[[LayerView], object], str]] = {
    "shape": (lambda layer: layer.weight.flatten()[1:], r"returned shape \(\d+,\); it must return"),
    "list": (lambda layer: layer.weight.tolist(), "returned a list"),
    "nothing": (lambda layer: None, "returned a NoneType"),
    "type": (lambda layer: layer.explored, "returned type torch.bool; .* floating-point tensor"),
    "nan": (lambda layer: layer.weight * float("nan"), "returned NaN for every weight"),
    "undeclared": (lambda layer: layer.gradient.abs(), r"NoneType.*@criterion\(gradient=True\)"),
    "argument": (lambda layer: torch.abs(layer.momentum), r"NoneType.*@criterion\(gradient=True\)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["grow", "prune"])
@pytest.mark.parametrize("bad", BAD)
def test_a_criterion_that_returns_no_scores_is_refused(kind: str, bad: str) -> None:
    """Before training where it is checked, and else at its first use."""
    function, message = BAD[bad]
    other = {"grow": "random"} if kind == "prune" else {}
    with pytest.raises(CriterionError, match=f"criterion '<lambda>' .*{message}") as late:
        updated(**other | {kind: function})
    with pytest.raises(CriterionError, match=f"{kind}: criterion '<lambda>' .*{message}") as early:
        check_criterion(function, kind)  # type: ignore[arg-type]
    assert "\n" not in str(late.value) + str(early.value)


def test_the_second_criterion_of_a_switch_is_refused_at_its_first_use_too() -> None:
    nan = Criterion("random", BAD["nan"][0])  # type: ignore[arg-type]
    model, sparse = one_layer(WEIGHTS, MASK, grow=GrowthPlan(GROW["random"], nan, 0.2))
    step_with_gradient(model, sparse, GRADIENT)
    with pytest.raises(CriterionError, match="'random' returned NaN"):
        step_with_gradient(model, sparse, GRADIENT)
    with pytest.raises(CriterionError, match="'random' returned NaN"):
        check_criterion(GrowthPlan(GROW["random"], nan, 0.2), "grow")


def test_a_training_that_diverged_is_not_the_criterions_fault() -> None:
    model, sparse = one_layer(WEIGHTS, MASK, grow="gradient")
    sparse.optimizer.param_groups[0]["lr"] = 1.0
    step_with_gradient(model, sparse, [float("nan")] * 7)
    assert int(sparse.masks["0.weight"].sum()) == 4


@pytest.mark.parametrize(
    ("grow", "what"), [("gradient", "gradient"), ("momentum", "running gradient")]
)
def test_a_gradient_that_is_not_finite_is_not_the_criterions_fault(grow: str, what: str) -> None:
    """The weights are still sound, as someone drops such gradients before the step."""
    model, sparse = one_layer(WEIGHTS, MASK, grow=grow)
    model[0].weight.grad = torch.full((1, 7), float("nan"))
    sparse.mask_gradients()
    model[0].weight.grad.zero_()
    message = (
        rf"the {what} of a layer of shape \(1, 7\) is not finite, so criterion '{grow}' has no"
    )
    with pytest.raises(ValueError, match=message) as refusal:
        sparse.step()
    assert not isinstance(refusal.value, CriterionError)
    own = Criterion("own", BAD["nan"][0])  # type: ignore[arg-type]
    model, sparse = one_layer(WEIGHTS, MASK, prune="taylor", grow=own)
    with pytest.raises(CriterionError, match="criterion 'own' returned NaN"):
        step_with_gradient(model, sparse, GRADIENT)


def test_a_criterion_that_is_nan_here_and_there_is_used() -> None:
    """NaN is the lowest score."""

    def odd(layer: LayerView) -> Tensor:
        return torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, float("nan"), 2.0]])

    assert updated(grow=odd) == [0, 1, 1, 0, 1, 0, 1]


def test_the_check_tells_of_changes_in_place_and_of_errors() -> None:
    with pytest.raises(CriterionError, match="grow: criterion '<lambda>' changed .* weight in pl"):
        check_criterion(lambda layer: layer.weight.abs_(), "grow")
    with pytest.raises(CriterionError, match=r"failed on a layer of shape \(6, 5, 3, 3\) \(Runt"):
        check_criterion(lambda layer: layer.weight @ torch.eye(5), "grow")
    check_criterion(lambda layer: layer.weight @ torch.eye(5), "grow", shapes=[(4, 5)])
    with pytest.raises(CriterionError, match=r"\(ValueError: no luck\)"):
        check_criterion(raising, "prune")
    with pytest.raises(ValueError, match="kind: 'init'"):
        check_criterion("random", "init")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown prune 'gradient'"):
        check_criterion("gradient", "prune")


def raising(layer: LayerView) -> Tensor:
    raise ValueError("no\nluck")


def test_an_error_of_the_users_own_function_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="no\nluck"):
        updated(grow=raising)
    with pytest.raises(AttributeError, match="wieght"):
        updated(grow=lambda layer: layer.wieght)


def test_what_is_built_in_passes_the_check() -> None:
    for name in [*GROW, "random-then-momentum"]:
        check_criterion(name, "grow")
    for name in PRUNE:
        check_criterion(name, "prune")


# Names


def test_a_name_is_given_once() -> None:
    made = register_growth("by_age", gradient=True)(young_first)
    assert register_growth("by_age", gradient=True)(young_first) == made
    with pytest.raises(ValueError, match="grow: 'by_age' is registered already, .*young_first"):
        register_growth("by_age")(lambda layer: layer.random())
    for table, register in (("grow", register_growth), ("prune", register_prune)):
        with pytest.raises(ValueError, match=f"{table}: 'random' is registered already"):
            register("random")(young_first)
    with pytest.raises(ValueError, match="init: 'erk' is registered already, for .*erk_densities"):
        register_init("erk")(lambda shapes, density: {})
    assert updated(grow="by_age") == BY_AGE


def test_two_functions_without_a_name_of_their_own_are_two() -> None:
    register_growth("it")(lambda layer: layer.random())
    with pytest.raises(ValueError, match="registered already"):
        register_growth("it")(lambda layer: -layer.random())


def test_a_module_that_is_loaded_again_replaces_its_own_criterion(
    write: Callable[[str, str], Path],
) -> None:
    text = """
        from dstcl import register_growth

        @register_growth("from_file")
        def from_file(layer):
            return layer.random() + {}
    """
    write("registers", text.format(0))
    assert growth_plan("registers:from_file").first.name == "registers:from_file"
    write("registers", text.format("0  # edited"))
    importlib.reload(sys.modules["registers"])
    assert GROW["from_file"].score is sys.modules["registers"].from_file.score


@pytest.mark.parametrize("name", ["", "a-then-b", "a:b", "a/b", "3d", "a b"])
def test_names_that_other_things_have_are_refused(name: str) -> None:
    for register in (register_growth, register_prune, register_init):
        with pytest.raises(ValueError, match=re.escape(repr(name))):
            register(name)(young_first)


def test_the_doors_open_from_the_package_itself() -> None:
    for name in ("register_growth", "register_prune", "register_init", "criterion"):
        assert getattr(dstcl, name) is getattr(dstcl.sparse, name)
    with pytest.raises(AttributeError, match="no attribute 'register'"):
        _ = dstcl.register


def test_the_published_topology_takes_its_own_criteria_only() -> None:
    model = two_layers()
    for grow in (lambda layer: layer.random(), Criterion("random", lambda layer: layer.random())):
        with pytest.raises(ValueError, match="published topology has only random"):
            PublishedSparseTraining(
                model, torch.optim.SGD(model.parameters(), 0.1), density=0.5, total_steps=9,
                grow=grow,
            )  # fmt: skip


# Methods of one's own


class Rewired(SparseTraining):
    """The example of `SparseTraining`, with a shorter pause."""

    def changes_masks(self, step: int) -> bool:
        return step % 3 == 0

    def update_topology(self) -> None:
        for name, mask in self.first_masks().items():
            self.set_mask(name, mask, self.budget[name])


class Lottery(Rewired, ABC):
    """Every hook, and all fields set after the base class's; keeps something for each mask."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, share: float) -> None:
        super().__init__(model, optimizer, density=0.5)
        self.share, self.pull = share, 0.25
        self.seen: list[int] = []

    def begin(self) -> None:
        super().begin()
        self.age = {name: mask.int() * 0 for name, mask in self.masks.items()}

    def first_masks(self) -> dict[str, Tensor]:
        """The first columns."""
        return {
            name: (torch.arange(shape[1]) < self.share * shape[1]).expand(shape)
            for name, shape in self.shapes.items()
        }

    def before_masking(self, gradients: list[Tensor]) -> None:
        self.seen.append(self.steps)
        for gradient in gradients:
            gradient.add_(self.pull)

    def update_topology(self) -> None:
        for name, mask in self.masks.items():
            self.age[name] += mask
            self.set_mask(name, mask.roll(1, 1), self.counts[name])


def sparse_linear(made: Callable[..., SparseTraining], **settings: object) -> SparseTraining:
    """A layer of ten inputs and two outputs whose weights are all one."""
    model = nn.Linear(10, 2, bias=False)
    nn.init.ones_(model.weight)
    return made(model, torch.optim.SGD(model.parameters(), 1.0), **settings)


def step_without_gradient(sparse: SparseTraining) -> None:
    for weight in sparse.weights.values():
        weight.grad = torch.zeros_like(weight)
    sparse.step()


def test_a_method_of_ones_own_may_set_its_fields_after_the_constructor() -> None:
    sparse = sparse_linear(Lottery, share=0.2)
    assert isinstance(sparse, Lottery)
    assert sparse.counts == {"weight": 4}
    weight = sparse.weights["weight"]
    assert weight.tolist() == [[1.0] * 2 + [0.0] * 8] * 2
    step_without_gradient(sparse)
    assert weight.tolist() == [[0.75] * 2 + [0.0] * 8] * 2  # the pull, masked
    for _ in range(2):
        step_without_gradient(sparse)
    assert sparse.masks["weight"].int().tolist() == [[0, 1, 1] + [0] * 7] * 2
    assert weight.tolist() == [[0.0, 0.25, 0.0] + [0.0] * 7] * 2
    assert sparse.explored["weight"].int().tolist() == [[1, 1, 1] + [0] * 7] * 2
    assert sparse.age["weight"].tolist() == [[1, 1] + [0] * 8] * 2
    assert sparse.seen == [1, 2, 3]


def test_the_example_of_the_documentation_works() -> None:
    sparse = sparse_linear(Rewired, density=0.3)
    first = sparse.masks["weight"].clone()
    for _ in range(3):
        step_without_gradient(sparse)
    assert not torch.equal(sparse.masks["weight"], first)
    assert sparse.counts == {"weight": 6}


def test_a_method_may_begin_in_its_constructor_and_does_so_once() -> None:
    class Early(Rewired):
        drawn = 0

        def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
            super().__init__(model, optimizer, density=0.3)
            self.begin()
            self.start = {name: mask.clone() for name, mask in self.masks.items()}

        def first_masks(self) -> dict[str, Tensor]:
            self.drawn += 1
            return super().first_masks()

    sparse = sparse_linear(Early)
    assert isinstance(sparse, Early)
    assert sparse.drawn == 1
    assert torch.equal(sparse.start["weight"], sparse.masks["weight"])


def test_a_method_that_miscounts_is_told_so() -> None:
    class Miscounting(Rewired):
        def update_topology(self) -> None:
            self.set_mask("weight", ~self.masks["weight"], 3)

    sparse = sparse_linear(Miscounting, density=0.3)
    with pytest.raises(AssertionError, match="layer 'weight' has 14 active weights, not 3"):
        for _ in range(3):
            step_without_gradient(sparse)


def test_first_masks_that_do_not_fit_are_refused() -> None:
    class Misfit(SparseTraining):
        def first_masks(self) -> dict[str, Tensor]:
            return {"weight": torch.ones(2, 9).bool()}

    with pytest.raises(ValueError, match=r"masks: torch.bool of shape \(2, 9\) for layer 'weight'"):
        sparse_linear(Misfit, density=0.3)


def test_moments_of_weights_that_come_or_go_are_forgotten() -> None:
    model = small_network()
    sparse = Rewired(model, torch.optim.Adam(model.parameters(), 0.01), density=0.4)
    train(sparse, model, 2)
    before = {name: mask.clone() for name, mask in sparse.masks.items()}
    train(sparse, model, 1)
    for name, weight in sparse.weights.items():
        stayed = before[name] & sparse.masks[name]
        moments = sparse.optimizer.state[weight]["exp_avg"]
        assert moments[stayed].any()
        assert not moments[~stayed].any()


def test_gradual_pruning_may_start_from_given_masks() -> None:
    """The count of the schedule holds from the first pruning on."""
    mask = {"weight": torch.ones(2, 10).bool()}
    sparse = sparse_linear(
        GradualMagnitudePruning, density=0.3, masks=mask, total_steps=4, update_every=1, stop_at=1.0
    )
    for _ in range(4):
        step_without_gradient(sparse)
    assert sparse.counts == {"weight": 6}


def test_masks_and_factors_stay_where_they_are() -> None:
    """A CUDA graph remembers addresses."""
    model = small_network()
    for made in (DynamicSparseTraining, PublishedSparseTraining):
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        frozen = {
            name: torch.zeros_like(w).bool() for name, w in model.named_parameters() if w.dim() > 1
        }
        sparse = made(
            model, optimizer, density=0.4, grow="random", total_steps=9, update_every=2,
            stop_at=1.0, frozen=frozen,
        )  # fmt: skip

        def places(sparse: SparseTraining = sparse) -> list[int]:
            kept = [
                sparse.masks.values(), sparse.explored.values(), sparse._gradient_keep,
                sparse._weight_keep, sparse._pinned,
            ]  # fmt: skip
            return [tensor.data_ptr() for tensors in kept for tensor in tensors]

        before = places()
        train(sparse, model, 5)
        sparse.load_state_dict(sparse.state_dict())
        assert places() == before
        assert sparse.updates == 2
