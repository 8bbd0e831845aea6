"""Networks of a user's own: any torch.nn.Module is built and trained like those built in, and what
cannot be is refused in one line before training."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dstcl.continual import learner_of
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.networks.arithmetic import Arithmetic
from dstcl.networks.build import NetworkError, build_network
from dstcl.networks.check import check_network
from dstcl.networks.convolution import UnfoldedConv2d
from dstcl.networks.head import Head, find_head
from dstcl.networks.norms import batch_statistics, swap_norm
from dstcl.sparse import maskable_weights
from dstcl.study.run import Run
from helpers.runs import changed

CPU = torch.device("cpu")
TASKS = split_classes(10, 5, "natural")[:2]
TORCHVISION = {
    "torchvision.models:resnet18": "fc",
    "torchvision.models:mobilenet_v2": "classifier.1",
}

OWN = '''
from torch import nn


class Tiny(nn.Module):
    """Batch norm is of vectors."""

    def __init__(self, in_channels, num_classes=7, width=6):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, stride=2)
        self.mix = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.out(self.norm(self.mix(self.stem(images).relu().mean((2, 3))).relu()))


class HeadFirst(Tiny):
    """The last linear layer is not the head."""

    def __init__(self, in_channels, num_classes=7, width=6):
        super().__init__(in_channels, num_classes, width)
        mix = self.mix
        del self.mix
        self.mix = mix


def plain(channels):
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3, bias=False),
    )


def fails(channels):
    raise RuntimeError("two\\nlines")


def makes_none(channels):
    return {"channels": channels}


number = 7
'''


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file of networks, under a name that no other test has."""
    module = f"own_{abs(hash(tmp_path))}"
    (tmp_path / f"{module}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def module(folder: Path) -> str:
    (file,) = folder.glob("own_*.py")
    return file.stem


def logits(network: nn.Module, *size: int) -> Tensor:
    return network(torch.randn(2, *size, generator=torch.Generator().manual_seed(0)))


# What comes back


@pytest.mark.parametrize("norm", ["task", "batch", "shared"])
@pytest.mark.parametrize("bias", [None, True, False])
@pytest.mark.parametrize("source", TORCHVISION)
def test_networks_of_torchvision(source: str, bias: bool | None, norm: str) -> None:
    network = build_network(source, 3, 5, seed=1, norm=norm, head_bias=bias)
    check_network(network, (3, 32, 32), 5, source)
    assert type(network).__module__.startswith("torchvision.models")
    name, head = find_head(network)
    assert (name, type(head), head.out_features) == (TORCHVISION[source], Head, 5)
    assert (head.bias is None) is (bias is False)
    assert f"{name}.weight" in maskable_weights(network)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    batch = norm == "batch"
    assert all((layer.weight is None) is batch for layer in norms)
    assert bool(list(network.buffers())) is not batch


@pytest.mark.parametrize("source", TORCHVISION)
def test_the_seed_decides_all_their_weights(source: str) -> None:
    first, again, other = (
        maskable_weights(build_network(source, 3, 5, seed)) for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_all_but_the_head_is_as_the_function_made_it() -> None:
    """Drawn by the seed as torchvision draws it, with nothing drawn in between."""
    from torchvision.models import resnet18

    network = build_network("torchvision.models:resnet18", 3, 5, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        theirs = resnet18()
    for name, value in theirs.state_dict().items():
        if not name.startswith("fc."):
            assert torch.equal(network.state_dict()[name], value), name


def test_a_class_is_given_the_sizes_that_it_has_names_for(module: str) -> None:
    network = build_network(
        f"{module}:HeadFirst", 2, 5, 0, head="out", arguments={"width": 8, "num_classes": 9}
    )
    assert network.stem.weight.shape == (8, 2, 3, 3)
    assert find_head(network) == ("out", network.out)
    assert network.out.weight.shape == (5, 8)
    check_network(network, (2, 9, 9), 5, f"{module}:HeadFirst")


def test_a_head_that_is_not_the_last_linear_layer_must_be_named(module: str) -> None:
    source = f"{module}:HeadFirst"
    network = build_network(source, 2, 6, 0)
    line = refused(lambda: check_network(network, (2, 9, 9), 6, source))
    assert line.endswith("'out.weight' is used after the head 'mix'; name the head")
    named = build_network(source, 2, 6, 0, head="out")
    check_network(named, (2, 9, 9), 6, source)
    # Once built, nobody need name it again, not in a copy either.
    assert find_head(deepcopy(named))[0] == "out"


def test_a_head_has_a_bias_as_it_was_made_unless_asked(module: str) -> None:
    for asked, expected in ((None, False), (True, True), (False, False)):
        network = build_network(f"{module}:plain", 1, 2, 0, head_bias=asked)
        assert (find_head(network)[1].bias is not None) is expected


@pytest.mark.parametrize(
    "arithmetic", [Arithmetic("bfloat16", "channels_last"), Arithmetic("float32", "unfolded")]
)
def test_they_compute_in_the_arithmetic_asked_for(arithmetic: Arithmetic) -> None:
    source = "torchvision.models:resnet18"
    plain, other = (
        build_network(source, 3, 5, 0, norm="batch", arithmetic=how)
        for how in (Arithmetic(), arithmetic)
    )
    assert list(plain.state_dict()) == list(other.state_dict())
    convolutions = {type(m) for m in other.modules() if isinstance(m, nn.Conv2d)}
    assert convolutions == {UnfoldedConv2d if arithmetic.layout == "unfolded" else nn.Conv2d}
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected, found = plain(images), other(images)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert (found - expected).norm() < 0.1 * expected.norm()


def test_convolutions_of_the_users_own_keep_their_class() -> None:
    class Standardised(nn.Conv2d):
        pass

    def make() -> nn.Module:
        return nn.Sequential(Standardised(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))

    network = build_network(make, 3, 2, 0, arithmetic=Arithmetic(layout="unfolded"))
    assert type(network[0]) is Standardised


# Training


@pytest.mark.parametrize("norm", ["task", "batch", "shared"])
@pytest.mark.parametrize("head", ["task", "shared"])
@pytest.mark.parametrize("attribute", ["plain", "Tiny"])
def test_runs_train_them_and_hold_their_invariants(
    attribute: str, head: str, norm: str, module: str, short_run: Run, digits: Prepared
) -> None:
    """The learner asserts that finished tasks and frozen weights stay, bit for bit."""
    settings = {"tasks": 2, "epochs": 1, "batch_size": 30, "head": head, "batch_norm": norm}
    run = changed(short_run, network=f"{module}:{attribute}", **settings)
    learner = learner_of(run, digits, TASKS, CPU)
    outcome = learner.fit()
    name, layer = find_head(learner.network)
    assert name == {"plain": "5", "Tiny": "out"}[attribute]
    assert layer.out_features == (2 if head == "task" else 4)
    assert (f"{name}.weight" in outcome.store.dense) is (head == "shared")
    norms = {n.rpartition(".")[0] for n in outcome.store.subnets[0].local} - {name}
    kept = {"plain": {"1"}, "Tiny": {"norm"}}[attribute] if norm == "task" else set()
    assert norms - {"stem", "mix", "0"} == kept


def test_a_network_that_cannot_take_the_images_is_refused_before_training(
    short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, network="torchvision.models:resnet18", tasks=2)
    with pytest.raises(NetworkError, match="does not take images of 1 channel and 28x28 pixels"):
        learner_of(run, digits, TASKS, CPU)


# Norms


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (nn.BatchNorm1d, (4, 3)),
        (nn.BatchNorm1d, (4, 3, 5)),
        (nn.BatchNorm2d, (4, 3, 5, 5)),
        (nn.BatchNorm3d, (4, 3, 2, 5, 5)),
    ],
)
def test_batch_statistics_of_all_dimensions(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    layer = kind(3, eps=0.1)
    nn.init.normal_(layer.weight)
    module = nn.Sequential(layer, nn.InstanceNorm2d(3, affine=True))
    assert swap_norm(module, batch_statistics) == 1
    x = torch.randn(shape) * 5 + 2
    over = [d for d in range(x.dim()) if d != 1]
    centred = x - x.mean(over, keepdim=True)
    expected = centred / (x.var(over, keepdim=True, unbiased=False) + 0.1).sqrt()
    for training in (True, False):
        torch.testing.assert_close(module[0].train(training)(x), expected)
    assert not module[0].state_dict()
    assert module[1].weight is not None


def test_norms_at_any_depth_are_swapped_once_each() -> None:
    shared = nn.BatchNorm2d(4)
    module = nn.ModuleDict(
        {"a": shared, "b": nn.Sequential(nn.ReLU(), shared, nn.Sequential(nn.BatchNorm1d(2)))}
    )
    made: list[nn.Module] = []

    def group(layer: nn.BatchNorm2d) -> nn.Module:
        made.append(nn.GroupNorm(1, layer.num_features))
        return made[-1]

    assert swap_norm(module, group) == len(made) == 2
    assert module["a"] is module["b"][1] is made[0]
    assert module["b"][2][0] is made[1]
    assert not [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert swap_norm(module, group) == 0


def test_a_batch_norm_with_more_to_it_keeps_that() -> None:
    class Activated(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input).relu()

    module = nn.Sequential(Activated(3))
    swap_norm(module, batch_statistics)
    assert module(torch.randn(4, 3, 5, 5)).min() == 0
    assert not module.state_dict()


def test_a_batch_norm_alone_has_no_place_for_another() -> None:
    with pytest.raises(ValueError, match="a batch norm and nothing else"):
        swap_norm(nn.BatchNorm2d(3), batch_statistics)


# Refusals


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(NetworkError) as caught:
        call()
    (line,) = str(caught.value).splitlines()
    assert line.startswith("networks: ")
    return line


@pytest.mark.parametrize(
    ("attribute", "arguments", "reason"),
    [
        ("fails", {}, "building it failed (RuntimeError: two lines)"),
        ("plain", {"depth": 3}, "building it failed (TypeError: plain() got an unexpected keyword"),
        ("makes_none", {}, "made a dict, not a torch.nn.Module"),
        ("number", {}, "a int, which cannot be called"),
    ],
)
def test_what_makes_no_module(
    attribute: str, arguments: dict[str, Any], reason: str, module: str, folder: Path
) -> None:
    line = refused(lambda: build_network(f"{module}:{attribute}", 3, 2, 0, arguments=arguments))
    place = re.escape(f"networks: '{module}:{attribute}' ({folder / module}.py): {reason}")
    assert re.match(place, line)


def test_names_that_lead_nowhere(module: str) -> None:
    assert f"{module}.py has no 'other'" in refused(
        lambda: build_network(f"{module}:other", 3, 2, 0)
    )
    assert "no nowhere.py" in refused(lambda: build_network("nowhere:net", 3, 2, 0))
    with pytest.raises(ValueError, match="^batch_norm: no 'group'; known: task, batch, shared$"):
        build_network(f"{module}:plain", 3, 2, 0, norm="group")


def convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def ends_in(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(convolution(), *deepcopy(layers))


@pytest.mark.parametrize(
    ("make", "head", "reason"),
    [
        (convolution, None, "no layer is a torch.nn.Linear, so none can be the head"),
        (lambda: nn.Linear(4, 2), None, "no layer is a torch.nn.Linear"),
        (ends_in(nn.Linear(4, 2)), "fc", "head 'fc' is not there; linear layers: 1"),
        (ends_in(nn.Linear(4, 2)), "0.0", "head '0.0' is a Conv2d; linear layers: 1"),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Linear(4, 2)), None, "the shape of '0.wei"),
    ],
)
def test_modules_without_a_head(
    make: Callable[[], nn.Module], head: str | None, reason: str
) -> None:
    assert f": {reason}" in refused(lambda: build_network(make, 3, 2, 0, head=head))


def test_a_built_in_network_has_its_own_head() -> None:
    assert "head 'fc' is not there" in refused(lambda: build_network("convnet", 1, 2, 0, head="fc"))


class Detached(nn.Module):
    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.idle, self.used = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        if tied:
            self.idle.weight = self.used.weight
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.used(images).mean((2, 3)))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.conv(images).mean((2, 3))
        return self.head(features), features


class Outside(Two):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        raise ZeroDivisionError("many\nlines")


class Silent(Two):
    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[0]


def normed_weight() -> nn.Module:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    return nn.Sequential(convolution(), layer, nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), "no linear or convolutional"),
        (ends_in(nn.Linear(4, 2), nn.Unflatten(1, (2, 1))), "2 images gave logits (2, 2, 1), not"),
        (ends_in(nn.Linear(5, 2)), "it does not take images of 3 channels and 8x8 pixels (Runtime"),
        (ends_in(nn.BatchNorm1d(5), nn.Linear(4, 2)), "it does not take images of 3 channels"),
        (Outside, "it does not take images of 3 channels and 8x8 pixels (ZeroDivisionError"),
        (Two, "it returns a tuple in training, not one tensor of logits"),
        (Detached, "'idle.weight' has no gradient"),
        (Silent, "'conv.weight' has no gradient"),
        (lambda: Detached(tied=True), "'used.weight' is no parameter of its own"),
        (normed_weight, "'1.weight' is no parameter of its own"),
    ],
)
def test_networks_that_runs_could_not_train(make: Callable[[], nn.Module], reason: str) -> None:
    network = build_network(make, 3, 2, 0)
    assert f": {reason}" in refused(lambda: check_network(network, (3, 8, 8), 2, make))


@pytest.mark.parametrize("name", ["torchvision.models:mobilenet_v2", "resnet18-slim"])
def test_a_check_leaves_no_trace(name: str) -> None:
    network = build_network(name, 3, 2, 0).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    drawn = torch.get_rng_state()
    check_network(network, (3, 32, 32), 2, name)
    assert not network.training
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
