"""Which weights are masked: held by an optimiser, tied, named, of all kinds of layers."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from small_networks import dynamic, small_network
from torch import Tensor, nn

from dstcl.sparse import DynamicSparseTraining, SparseTraining, maskable_weights, select_weights


def two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 20))


def learn(dst: SparseTraining, model: nn.Module, steps: int, width: int = 30) -> None:
    draws = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for optimizer in dst.optimizers:
            optimizer.zero_grad()
        out = model(torch.randn(16, width, generator=draws))
        nn.functional.cross_entropy(
            out, torch.randint(out.shape[1], (16,), generator=draws)
        ).backward()
        dst.step()


# Optimisers


def test_weights_of_several_optimisers_are_all_kept() -> None:
    model = two_layers()
    before = {name: w.detach().clone() for name, w in maskable_weights(model).items()}
    draws = torch.Generator().manual_seed(3)
    frozen = {name: torch.rand(w.shape, generator=draws) < 0.4 for name, w in before.items()}
    optimizers = [
        torch.optim.SGD(model[0].parameters(), 0.05, momentum=0.9, weight_decay=0.1),
        torch.optim.AdamW(model[2].parameters(), 0.01),
    ]
    dst = DynamicSparseTraining(
        model, optimizers, density=0.1, total_steps=40, update_every=5, frozen=frozen
    )
    for _ in range(8):
        learn(dst, model, 5)
        for name, weight in dst.weights.items():
            mask = dst.masks[name]
            assert int(mask.sum()) == dst.budget[name]
            assert not weight[~mask].any()
            assert torch.equal(weight[mask & frozen[name]], before[name][mask & frozen[name]])
            moments = [
                state
                for optimizer in optimizers
                for state in optimizer.state[weight].values()
                if isinstance(state, Tensor) and state.shape == weight.shape
            ]
            assert moments
            assert not any(state[~mask].any() for state in moments)
    assert dst.updates == 6
    assert not torch.equal(dst.weights["0.weight"], before["0.weight"] * dst.masks["0.weight"])


def test_a_weight_that_no_optimiser_holds_is_refused() -> None:
    model = two_layers()
    head = torch.optim.SGD(model[2].parameters(), 0.1)
    with pytest.raises(
        ValueError, match=r"optimizer: does not hold '0.weight'; give all .*exclude"
    ):
        SparseTraining(model, head, density=0.1)
    assert set(SparseTraining(model, head, density=0.1, exclude="0").masks) == {"2.weight"}
    assert model[0].weight.all(), "neither refusal nor exclusion touches it"


def test_a_weight_that_is_not_trained_stays_dense_and_is_named() -> None:
    model = two_layers()
    model[0].requires_grad_(False)
    with pytest.warns(UserWarning, match=r"stays dense: '0.weight \(requires no gradient\)'"):
        dst = dynamic(model, torch.optim.SGD(model[2].parameters(), 0.1))
    learn(dst, model, 4)
    assert model[0].weight.all()
    assert "dense: 0.weight (requires no gradient)" in dst.summary()


def test_no_optimiser_and_one_of_many_moves_are_refused() -> None:
    model = two_layers()
    with pytest.raises(ValueError, match="optimizer: none"):
        SparseTraining(model, [], density=0.5)
    with pytest.raises(ValueError, match="optimizer: LBFGS"):
        dynamic(model, torch.optim.LBFGS(model.parameters()))


# Tied weights


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(20, 20), nn.Linear(20, 20)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


def test_tied_weights_have_one_mask() -> None:
    torch.manual_seed(0)
    model = Tied()
    dst = dynamic(model, density=0.2, grow="random")
    for _ in range(4):
        assert int((model.a.weight != 0).sum()) <= 80 == int(dst.masks["a.weight"].sum())
        learn(dst, model, 3, width=20)
    assert dst.density() == pytest.approx(0.2)
    assert set(dst.masks) == {"a.weight"}
    assert dst.selection.shared == {"b.weight": "a.weight"}
    assert "a.weight = b.weight" in dst.summary()


def test_tied_weights_are_excluded_together() -> None:
    model = nn.Sequential(Tied(), nn.Linear(20, 4))
    assert set(maskable_weights(model, exclude="0.b")) == {"1.weight"}


# Names


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("6", {"0.weight", "3.weight"}),
        (["6", "0"], {"3.weight"}),
        ("3.weight", {"0.weight", "6.weight"}),
        ("[03]", {"6.weight"}),
        ("*", set()),
        ((), {"0.weight", "3.weight", "6.weight"}),
    ],
)
def test_exclude_takes_modules_parameters_and_patterns(exclude: Any, left: set[str]) -> None:
    assert set(maskable_weights(small_network(), exclude)) == left


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"exclude": "head"},
            "exclude: 'head' is no module or parameter of the model; known: 0, 1",
        ),
        ({"exclude": ["0", "6.wieght"]}, "exclude: '6.wieght' is no .*; did you mean 6.weight"),
        ({"include": "emb"}, "include: 'emb' is no module"),
        ({"include": "6.bias"}, "include: '6.bias' has no matrix or kernel"),
        ({"overrides": {"7": 0.5}}, "overrides: '7' is no masked weight of the model"),
        ({"groups": {"7.*": {"density": 0.5}}}, "groups: '7.\\*' is no masked weight of the model"),
        (
            {"groups": {"6": {"desnity": 0.5}}},
            "groups: '6' sets desnity; known: density, init, pru",
        ),
        ({"groups": {"*": {}, "6": {}}}, "groups: all weights of '6' belong to groups before"),
        ({"groups": {"6": {"grow": "gradeint"}}}, "unknown grow 'gradeint'"),
        ({"groups": {"6": {"density": 2}}}, "density must be in"),
        (
            {"groups": {"6": 0.1}},
            "groups: '6' is 0.1; it should be settings, {'density': 0.5}",
        ),
        ({"groups": {"6": {"density": "a"}}}, "groups: '6' has density 'a'; it should be a numb"),
        ({"groups": 0.1}, "groups: 0.1; it should be settings by name"),
        ({"overrides": {"6": "a"}}, "overrides: '6' has density 'a'; it should be a number in"),
        ({"overrides": 0.1}, "overrides: 0.1; it should be densities by name"),
        ({"density": "0.1"}, "density: '0.1'; it should be a number in"),
        ({"exclude": "*"}, "no linear or convolutional layer to make sparse; '0.weight' is excl"),
    ],
)
def test_names_that_are_not_there_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        dynamic(small_network(), **changes)
    assert "\n" not in str(refusal.value)


def test_overrides_take_modules_and_patterns_and_exact_names_win() -> None:
    dst = dynamic(small_network(), overrides={"*": 0.5, "3": 0.25, "6.weight": 1.0}, init="uniform")
    assert dst.densities == {"0.weight": 0.5, "3.weight": 0.5, "6.weight": 1.0}


def test_groups_spread_their_own_density_and_grow_by_their_own_criterion() -> None:
    model = small_network()
    dst = dynamic(
        model, density=0.5, init="uniform", grow="random", update_every=1, prune_rate=0.1,
        floor=0.1,
        groups={"[03]*": {"density": 0.2, "init": "erk"}, "6": {"grow": "gradient"}},
    )  # fmt: skip
    sizes = {name: w.numel() for name, w in dst.weights.items()}
    assert dst.densities["6.weight"] == 0.5
    assert dst.densities["0.weight"] > dst.densities["3.weight"], "ERK among these two"
    inside = sum(dst.densities[n] * sizes[n] for n in ("0.weight", "3.weight"))
    assert inside == pytest.approx(0.2 * (sizes["0.weight"] + sizes["3.weight"]))
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    inactive = (~dst.masks["6.weight"]).nonzero()[-14:]
    model[6].weight.grad[tuple(inactive.T)] = torch.arange(1.0, 15.0)
    dst.step()
    assert dst.masks["6.weight"][tuple(inactive.T)].all(), "14 of 135 replaced, by gradient"


# Kinds of layers


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(9, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(8, 2, kdim=4, vdim=6)
        self.lstm, self.gru = nn.LSTM(8, 5, bidirectional=True), nn.GRU(8, 5)
        self.cell = nn.GRUCell(3, 2)
        self.up = nn.ConvTranspose2d(3, 2, 3)
        self.pair = nn.Bilinear(2, 3, 4)
        self.own = nn.Parameter(torch.zeros(3, 4))
        self.norm = nn.LayerNorm(8)


def test_attention_recurrent_and_transposed_layers_are_masked() -> None:
    found = select_weights(Everything())
    assert sorted(found.weights) == sorted(
        ["attend.in_proj_weight", "attend.out_proj.weight", "cross.out_proj.weight"]
        + [f"cross.{x}_proj_weight" for x in "qkv"]
        + [f"lstm.weight_{x}h_l0{back}" for x in "ih" for back in ("", "_reverse")]
        + [f"gru.weight_{x}h_l0" for x in "ih"]
        + ["cell.weight_ih", "cell.weight_hh", "up.weight"]
    )
    why = "no weight of a known layer; include= masks it"
    assert found.dense == dict.fromkeys(["tokens.weight", "pair.weight", "own"], why)


def test_include_masks_what_is_not_masked_by_itself() -> None:
    found = maskable_weights(
        Everything(), exclude="*", include=["tokens", "own", "lstm.weight_ih*"]
    )
    assert sorted(found) == [
        "lstm.weight_ih_l0",
        "lstm.weight_ih_l0_reverse",
        "own",
        "tokens.weight",
    ]


def test_a_transformer_layer_has_the_density_that_is_asked_for() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    dst = dynamic(model, density=0.1, update_every=2)
    for _ in range(6):
        dst.optimizer.zero_grad()
        model(torch.randn(4, 5, 16)).square().sum().backward()
        dst.step()
    nonzero = sum(int((w != 0).sum()) for w in model.parameters() if w.dim() > 1)
    assert nonzero <= sum(dst.counts.values())
    assert sum(dst.counts.values()) == pytest.approx(0.1 * (4 * 16 * 16 + 2 * 16 * 32), abs=2)
    assert dst.updates == 3


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_train_sparse(kind: Any) -> None:
    torch.manual_seed(0)
    model = kind(6, 8)
    dst = dynamic(model, density=0.25, update_every=2)
    for _ in range(6):
        dst.optimizer.zero_grad()
        model(torch.randn(5, 3, 6))[0].square().sum().backward()
        dst.step()
    dst.check_counts()
    for name, weight in dst.weights.items():
        assert not weight[~dst.masks[name]].any()


def test_the_linear_layer_of_gpt2_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("transformers.pytorch_utils")
    monkeypatch.delitem(sys.modules, module.__name__, raising=False)  # of another test

    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 3))

    Conv1D.__module__ = module.__name__
    assert set(maskable_weights(Conv1D())) == {"weight"}
    Conv1D.__module__ = "elsewhere"
    assert not maskable_weights(Conv1D())
    assert module.__name__ not in sys.modules


@pytest.mark.parametrize("wrap", ["weight_norm", "spectral_norm", "orthogonal"])
def test_a_computed_weight_stays_dense_and_is_named(wrap: str) -> None:
    model = two_layers()
    getattr(nn.utils.parametrizations, wrap)(model[0])
    with pytest.warns(UserWarning, match="stays dense: '0.weight .computed from other parameters"):
        dst = dynamic(model)
    learn(dst, model, 5)
    assert set(dst.masks) == {"2.weight"}
    assert "0.weight (computed" in dst.summary()


def test_what_a_weight_is_computed_from_can_be_included() -> None:
    model = two_layers()
    nn.utils.parametrizations.weight_norm(model[0])
    name = "0.parametrizations.weight.original1"
    with pytest.warns(UserWarning, match="stays dense"):
        dst = dynamic(model, include=name)
    learn(dst, model, 7)
    assert torch.equal(model[0].weight != 0, dst.masks[name] & (model[0].weight != 0))
    assert int(dst.masks[name].sum()) == dst.counts[name]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.LazyLinear(3), "'weight' has no values yet; run the model once"),
        (nn.Linear(3, 3, device="meta"), "'weight' has no values yet"),
        (nn.BatchNorm1d(3), "no linear or convolutional layer to make sparse"),
        (nn.Embedding(3, 3), "no linear .*; 'weight' is no weight of a known layer; include="),
        (nn.Linear(0, 3), "no linear .*; 'weight' is empty"),
        (nn.Linear(3, 3, dtype=torch.complex64), "no linear .*; 'weight' is torch.complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_models_without_anything_to_mask_say_so(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SparseTraining(model, torch.optim.SGD(model.parameters(), 0.1), density=0.5)


def test_a_sharded_weight_is_refused_with_the_reason() -> None:
    class Sharded(nn.Parameter):
        device_mesh = None

    model = nn.Linear(4, 4)
    model.weight = Sharded(torch.zeros(4, 4))
    with pytest.raises(ValueError, match="'weight' is sharded over processes .*DataParallel"):
        SparseTraining(model, torch.optim.SGD(model.parameters(), 0.1), density=0.5)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*FSDP")
@pytest.mark.parametrize("use_orig_params", [True, False])
def test_a_model_that_fsdp_wraps_is_refused_with_the_reason(
    use_orig_params: bool, tmp_path: Path
) -> None:
    from torch.distributed.fsdp import FullyShardedDataParallel

    meet = f"file://{tmp_path}/meet"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=0, world_size=1)
    try:
        model = FullyShardedDataParallel(
            nn.Sequential(nn.Linear(4, 4)),
            device_id=torch.device("cpu"),
            use_orig_params=use_orig_params,
        )
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with pytest.raises(ValueError, match="sharded over processes .*Use DistributedDataParall"):
            SparseTraining(model, optimizer, density=0.5)
    finally:
        torch.distributed.destroy_process_group()


def test_a_model_that_is_sharded_later_is_told_so(tmp_path: Path) -> None:
    from torch.distributed.fsdp import fully_shard

    meet = f"file://{tmp_path}/meet"
    torch.distributed.init_process_group("gloo", init_method=meet, rank=0, world_size=1)
    try:
        model = nn.Sequential(nn.Linear(4, 4))
        dst = SparseTraining(model, torch.optim.SGD(model.parameters(), 0.1), density=0.5)
        fully_shard(model, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
        model(torch.ones(2, 4)).sum().backward()
        with pytest.raises(RuntimeError, match="no gradient: the model was sharded .*'0.weight'"):
            dst.step()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("exclude", [(), "1"])
@pytest.mark.parametrize("of", ["all", "transposed", "part"])
def test_two_parameters_in_one_memory_are_refused(exclude: Any, of: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    data = model[0].weight.data
    model[1].weight.data = {"all": data, "transposed": data.mT, "part": data[:2]}[of]
    with pytest.raises(ValueError, match="'0.weight' and '1.weight' are two parameters in one"):
        SparseTraining(
            model, torch.optim.SGD(model.parameters(), 0.1), density=0.5, exclude=exclude
        )


def test_parameters_side_by_side_in_one_memory_are_fine() -> None:
    """As recurrent layers on GPUs and some optimisers lay them; and one that is not trained."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    both = torch.randn(32)
    model[0].weight.data, model[1].weight.data = both[:16].view(4, 4), both[16:].view(4, 4)
    model.shadow = nn.Parameter(both[:16], requires_grad=False)
    dst = SparseTraining(model, torch.optim.SGD(model.parameters(), 0.1), density=0.5)
    assert int((both != 0).sum()) == 16
    assert set(dst.masks) == {"0.weight", "1.weight"}


@pytest.mark.slow
def test_a_weight_that_torch_has_sharded_is_refused(tmp_path: Path) -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        model = fully_shard(two_layers(), mesh=init_device_mesh("cpu", (1,)))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with pytest.raises(ValueError, match="'0.weight' is sharded over processes .DTensor") as no:
            SparseTraining(model, optimizer, density=0.5)
    finally:
        dist.destroy_process_group()
    assert "\n" not in str(no.value)


# Most weights in no known layer


class Experts(nn.Module):
    """A hundred weights of experts in one tensor, beside some linear layer and an embedding."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, 10)
        self.linear = linear
        self.experts = nn.Module()
        self.experts.gate = nn.Parameter(torch.zeros(5, 2, 4))
        self.experts.up = nn.Parameter(torch.zeros(5, 3, 4))


def told(model: nn.Module, **settings: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        SparseTraining(model, torch.optim.SGD(model.parameters(), 0.1), density=0.5, **settings)
    assert all(one.filename == __file__ for one in caught)
    return [str(one.message) for one in caught]


def test_a_model_of_which_most_weights_stay_dense_is_told() -> None:
    """100 of 110, and of 200, where embeddings do not count."""
    [message] = told(Experts(nn.Linear(5, 2)))
    assert message == (
        "91% of the weights are in no known layer and stay dense; the largest is 'experts.up'. "
        "Mask them with include=, or name them in exclude="
    )
    assert told(Experts(nn.Linear(10, 10))) == []


@pytest.mark.parametrize("settings", [{"include": "experts"}, {"exclude": "experts"}])
def test_what_was_asked_for_is_not_told(settings: dict[str, str]) -> None:
    assert told(Experts(nn.Linear(5, 2)), **settings) == []


def test_embeddings_norms_and_frozen_weights_are_expected_to_stay_dense() -> None:
    model = nn.Sequential(nn.Embedding(50, 4), nn.Linear(4, 4), nn.LayerNorm([50, 4]))
    assert told(model) == []
    model = Experts(nn.Linear(5, 2))
    model.experts.requires_grad_(False)
    assert told(model) == []


def test_computed_weights_are_told_once() -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(20, 20))
    [message] = told(nn.Sequential(normed, nn.Linear(20, 2)))
    assert message.startswith("stays dense: '0.weight (computed from other parameters")


# Masks that are given


def test_the_masks_of_a_pruned_model_are_its_nonzero_weights() -> None:
    model = two_layers()
    with torch.no_grad():
        model[0].weight[:, ::2] = 0
    before = model[0].weight.detach().clone()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
    dst = SparseTraining(model, optimizer, masks="nonzero", exclude="2")
    assert dst.densities == {"0.weight": 0.5}
    learn(dst, model, 5)
    assert torch.equal(model[0].weight != 0, before != 0)
    assert not torch.equal(model[0].weight, before)
    assert dst.density() == 0.5


def test_density_is_needed_without_masks() -> None:
    with pytest.raises(ValueError, match="density: needed, unless masks are given"):
        dynamic(small_network(), density=None)
    with pytest.raises(ValueError, match="masks: 'zero'; .* or 'nonzero'"):
        dynamic(small_network(), masks="zero")


def test_a_density_that_given_masks_do_not_have_is_refused() -> None:
    """Uniform 0.5 of 900 and 600 weights; the masks have every third column: 300 and 200."""
    model = two_layers()
    masks = {
        name: (torch.arange(30) % 3 == 0).expand(w.shape)
        for name, w in maskable_weights(model).items()
    }
    given: dict[str, Any] = {"masks": masks, "init": "uniform"}
    for kind, more in ((SparseTraining, {}), (DynamicSparseTraining, {"total_steps": 9})):
        with pytest.raises(ValueError) as refused:
            kind(model, torch.optim.SGD(model.parameters(), 0.1), density=0.5, **given | more)
        assert str(refused.value) == (
            "density: 0.5 asks for 450 active weights in '0.weight', its mask has 300; given masks "
            "decide every density: leave out density, overrides, and density and init of groups"
        )
    for apart in ({"overrides": {"2": 0.5}}, {"groups": {"2": {"density": 0.5}}}):
        with pytest.raises(ValueError, match="asks for 300 active weights in '2.weight', its mask"):
            dynamic(model, density=1 / 3, **given | apart)
        with pytest.raises(ValueError, match="^masks: given masks decide every density: leave out"):
            dynamic(model, density=None, **given | apart)
    dst = dynamic(model, density=1 / 3, **given)
    assert dst.counts == dst.budget == {"0.weight": 300, "2.weight": 200}


def test_a_state_of_other_weights_is_refused() -> None:
    state = dynamic(small_network(), exclude="6").state_dict()
    with pytest.raises(ValueError, match="state: masks of other weights; '6.weight' differ"):
        dynamic(small_network()).load_state_dict(state)


# Chance


def test_torch_s_seed_decides_the_first_masks() -> None:
    def first(seed: int) -> Tensor:
        model = small_network()
        torch.manual_seed(seed)
        return dynamic(model, generator=None).masks["6.weight"]

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_the_next_task_gets_other_masks() -> None:
    torch.manual_seed(0)
    model = small_network()
    first, second = (dynamic(model, generator=None).masks["6.weight"] for _ in range(2))
    assert not torch.equal(first, second)


def test_an_ordinary_model_gets_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dynamic(small_network())
