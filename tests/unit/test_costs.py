"""Theoretical FLOPs against counts by hand and the published network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision import models

from dstcl.continual import learner_of
from dstcl.continual.flops import run_costs, training_flops
from dstcl.continual.methods import method_of
from dstcl.data.stored import Prepared
from dstcl.networks.build import build_network
from dstcl.sparse import (
    GROW,
    PRUNE,
    SparseTraining,
    criterion,
    forward_flops,
    forward_work,
    maskable_weights,
    uses_per_image,
)
from dstcl.study.run import Run
from helpers.runs import changed


def test_a_small_network_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),  # 27 weights at 8 x 8 positions
        nn.Conv2d(3, 2, 3, stride=2),  # 54 weights at 3 x 3 positions
        nn.Flatten(),
        nn.Linear(18, 5),  # 90 weights, once
    )
    uses = uses_per_image(model, torch.zeros(2, 1, 8, 8))
    assert uses == {"0.weight": 64, "1.weight": 9, "3.weight": 1}
    active = {"0.weight": 27, "1.weight": 54, "3.weight": 90}
    assert forward_flops(active, uses) == 2 * (27 * 64 + 54 * 9 + 90)
    assert forward_flops(active | {"0.weight": 1}, uses) == 2 * (64 + 54 * 9 + 90)


def test_layers_on_tokens_and_layers_used_twice_count_every_use() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.attend = nn.Linear(4, 4), nn.MultiheadAttention(4, 1, batch_first=True)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.mix(self.mix(images.flatten(2).mT))  # (N, 9, 4), twice
            return self.attend(tokens, tokens, tokens)[0]

    uses = uses_per_image(Tokens(), torch.zeros(2, 4, 3, 3))
    # Attention takes the weight of its layer and never calls the layer.
    nine = {"attend.in_proj_weight": 9, "attend.out_proj.weight": 9}
    assert uses == {"mix.weight": 18, **nine}


class OwnPrecision(nn.Module):
    """Enters autocast by itself, as models do that Accelerate or Transformers wrap."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.inner(images)


def small_images_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),  # 27 weights at 8 x 8 positions
        nn.Flatten(),
        nn.Linear(192, 5),
    )


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("around", [True, False])
def test_autocast_does_not_change_the_count(own: bool, around: bool) -> None:
    model, images = small_images_network(), torch.rand(2, 1, 8, 8)
    wrapped = OwnPrecision(model) if own else model
    weights = maskable_weights(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=around):
        loss = wrapped(images).float().square().sum()  # autocast has cast the weights before
        work = forward_work(wrapped, images, weights)
        again = wrapped(images).float().square().sum()
    assert work.uses == {"0.weight": 64, "2.weight": 1}
    assert work.other == 0
    assert again == loss
    again.backward()
    assert all(w.grad is not None and w.grad.any() for w in weights.values())


def test_the_summary_counts_under_autocast() -> None:
    """14 of 27 weights at 64 positions and half of 960 once, two FLOPs each."""
    model = small_images_network()
    optimizer = torch.optim.SGD(model.parameters())
    dst = SparseTraining(model, optimizer, density=0.5, init="uniform")
    with torch.autocast("cpu", torch.bfloat16):
        told = dst.summary(torch.rand(2, 1, 8, 8))
    assert f"{2 * (14 * 64 + 480):,} FLOPs an input, {2 * (27 * 64 + 960):,} if dense" in told


def test_a_weight_that_forward_casts_counts_at_every_use() -> None:
    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(6, 6, bias=False)

        def forward(self, images: Tensor) -> Tensor:
            for _ in range(5):
                images = nn.functional.linear(images, self.mix.weight.bfloat16())
                images = images @ images.mT.contiguous() @ images  # of no weight: 4 * 36 * 6
            return images

    model = Casting()
    work = forward_work(model, torch.rand(1, 6, 6).bfloat16(), maskable_weights(model))
    assert work.uses == {"mix.weight": 5 * 6}
    assert work.other == 5 * 4 * 6 * 36


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.read, self.unused = kind(5, 7, batch_first=True), nn.Linear(7, 7)
        self.say = nn.Linear(7, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.say(self.read(words)[0][:, -1])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_weights_are_used_at_every_word_and_unused_ones_never(
    kind: type[nn.RNNBase],
) -> None:
    uses = uses_per_image(Recurrent(kind), torch.zeros(2, 11, 5))
    eleven = {"read.weight_ih_l0": 11, "read.weight_hh_l0": 11}
    assert uses == {**eleven, "unused.weight": 0, "say.weight": 1}


def test_attention_between_two_sequences_counts_each_part_of_its_weight() -> None:
    """Queries are 3 words; keys and values 6 each: 5 a weight in the mean, all parts together."""
    model = nn.MultiheadAttention(4, 2, batch_first=True)
    words, others = torch.zeros(2, 3, 4), torch.zeros(2, 6, 4)
    work = forward_work(model, (words, others, others), maskable_weights(model))
    assert work.uses == {"in_proj_weight": 5, "out_proj.weight": 3}
    assert work.other == 2 * (2 * 3 * 6 * 4), "scores, and their means of the values"


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_t", "googlenet", "efficientnet_b0"])
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
def test_networks_of_torchvision_cost_what_torch_counts(name: str) -> None:
    model = models.get_model(name, weights=None).eval()
    images = torch.zeros(1, 3, 64, 64)
    weights = maskable_weights(model)
    work = forward_work(model, images, weights)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    sizes = {key: weight.numel() for key, weight in weights.items()}
    assert forward_flops(sizes, work.uses) + work.other == counter.get_total_flops()


def test_arguments_by_name_and_modes_of_parts_are_kept() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout()).train()
    model[0].eval()
    assert uses_per_image(model, {"input": torch.zeros(4, 3)}) == {"0.weight": 1}
    assert [module.training for module in model] == [False, True]


def test_depthwise_convolutions_count_their_own_weights() -> None:
    model = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    uses = uses_per_image(model, torch.zeros(1, 4, 5, 5))
    assert forward_flops({"weight": model.weight.numel()}, uses) == 2 * 36 * 25


def test_the_published_resnet_has_about_a_seventh_of_a_billion_multiply_adds() -> None:
    """7x7 stem at 16 x 16, then 16, 16, 8, 4, 2: 0.14 GMAC forward an image."""
    network = build_network("resnet18", 3, 100, seed=0)
    uses = uses_per_image(network, torch.zeros(1, 3, 32, 32))
    sizes = {name: w.numel() for name, w in network.named_parameters()}
    multiply_adds = forward_flops({name: sizes[name] for name in uses}, uses) / 2
    stem, head = 9408 * 256, 51200
    stages = [
        4 * 36864 * 256,
        (73728 + 3 * 147456 + 8192) * 64,
        (294912 + 3 * 589824 + 32768) * 16,
        (1179648 + 3 * 2359296 + 131072) * 4,
    ]
    assert multiply_adds == stem + sum(stages) + head
    assert 0.13e9 < multiply_adds < 0.15e9


def test_counting_leaves_the_network_as_it_was() -> None:
    network = build_network("convnet", 1, 2, seed=0).train()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    uses_per_image(network, torch.rand(2, 1, 28, 28))
    assert network.training
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("growth", "share"),
    [
        ("random", 0.0),
        ("unfired", 0.0),
        ("gradient", 7 / 100),
        ("momentum", 1.0),
        ("random-then-gradient", 3 / 100),
        ("gradient-then-random", 4 / 100),
        ("random-then-momentum", 1.0),
    ],
)
def test_steps_that_need_dense_gradients(growth: str, share: float, short_run: Run) -> None:
    """Updates at 10, 20, ..., 70 of 100 steps; the switch at step 50 belongs to the second."""
    run = changed(short_run, growth=growth, update_every=10, stop_at=0.75, switch_at=0.5)
    assert method_of(run).dense_gradient_share(100, 0) == pytest.approx(share)


@pytest.mark.parametrize(
    ("redistribute", "share"), [("none", 0), ("nonzeros", 0), ("gradient", 0.07), ("momentum", 1)]
)
def test_redistribution_needs_dense_gradients_too(
    redistribute: str, share: float, short_run: Run
) -> None:
    run = changed(short_run, growth="random", update_every=10, stop_at=0.75)
    run = changed(run, redistribute=redistribute)
    assert method_of(run).dense_gradient_share(100, 0) == pytest.approx(share)


@pytest.mark.parametrize(
    ("prune", "share"), [("magnitude", 0), ("set", 0), ("random", 0), ("taylor", 0.07)]
)
def test_pruning_that_looks_at_gradients_needs_dense_ones(
    prune: str, share: float, short_run: Run
) -> None:
    run = changed(short_run, growth="random", update_every=10, stop_at=0.75)
    assert method_of(changed(run, prune=prune)).dense_gradient_share(100, 0) == pytest.approx(share)


@pytest.mark.parametrize(
    ("declared", "share"), [({}, 0), ({"gradient": True}, 0.07), ({"momentum": True}, 1)]
)
def test_criteria_of_ones_own_cost_what_they_declare(
    declared: dict[str, bool], share: float, short_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = criterion(**declared)(lambda layer: layer.random())
    run = changed(short_run, growth="random", update_every=10, stop_at=0.75)
    monkeypatch.setitem(PRUNE, "own", own)
    assert method_of(
        replace(run, topology=replace(run.topology, prune="own"))
    ).dense_gradient_share(100, 0) == pytest.approx(share)
    monkeypatch.setitem(GROW, "own", own)
    assert method_of(changed(run, growth="own")).dense_gradient_share(100, 0) == pytest.approx(
        share
    )


def test_only_dynamic_methods_need_dense_gradients(short_run: Run) -> None:
    assert (
        method_of(changed(short_run, method="static", growth="none")).dense_gradient_share(100, 0)
        == 0
    )


def test_training_of_a_fixed_mask_is_three_forward_passes_an_image(short_run: Run) -> None:
    run = changed(short_run, method="static", growth="none")
    history = [{"task": task, "density": 0.2} for task in (1, 1, 2, 2)]
    assert training_flops(method_of(run), history, [10, 20], 100, 400) == 100 * 3 * (
        10 + 10 + 20 + 20
    )


def test_momentum_growth_pays_one_dense_backward_pass_at_every_step(short_run: Run) -> None:
    """2 f_S + f_D an image (SNFS), as counted in the appendix of RigL."""
    run = changed(short_run, growth="momentum")
    history = [{"task": 1, "density": 0.2}]
    assert training_flops(method_of(run), history, [10], 100, 1) == 2 * 10 + 100


def test_a_method_that_prunes_pays_for_what_it_still_has(short_run: Run) -> None:
    run = changed(short_run, method="gradual", growth="none")
    history = [{"task": 1, "density": d} for d in (1.0, 0.6, 0.2)]
    assert training_flops(method_of(run), history, [20], 100, 3) == pytest.approx(
        3 * (100 + 60 + 20)
    )


def test_a_dense_network_costs_three_dense_passes(short_run: Run, digits: Prepared) -> None:
    run = changed(
        short_run, method="finetune", density=1.0, init="none", growth="none", tasks=2, epochs=1
    )
    outcome = learner_of(run, digits, [[0, 1], [2, 3]], torch.device("cpu")).fit()
    sample = digits.images[:1].float()
    costs = run_costs(method_of(run), outcome.store, outcome.history, outcome.effort.images, sample)
    images = outcome.effort.images
    assert costs["training_flops"] == pytest.approx(3 * images * costs["inference_flops"])
