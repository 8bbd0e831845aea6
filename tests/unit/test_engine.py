"""Precision, layout and compilation: what "auto" becomes, and that weights do not notice."""

import re
from copy import deepcopy
from pathlib import Path
from shutil import which
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from dstcl.continual import learner_of
from dstcl.continual import precision as engine
from dstcl.continual.precision import (
    arithmetic_of,
    bfloat16_gain,
    bfloat16_pays,
    bfloat16_units,
    training_forward,
)
from dstcl.data.stored import Prepared
from dstcl.data.tasks import split_classes
from dstcl.networks.arithmetic import Arithmetic
from dstcl.networks.build import build_network
from dstcl.study.run import Run
from helpers.runs import changed

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TASKS = split_classes(10, 5, "natural")[:2]
LOW = Arithmetic("bfloat16", "channels_last")


@pytest.mark.parametrize(
    ("asked", "units", "expected"),
    [
        (("auto", "auto"), True, ("bfloat16", "unfolded")),
        (("auto", "auto"), False, ("float32", "contiguous")),
        (("float32", "auto"), True, ("float32", "contiguous")),
        (("bfloat16", "auto"), False, ("bfloat16", "unfolded")),
        (("auto", "contiguous"), True, ("bfloat16", "contiguous")),
        (("float32", "channels_last"), True, ("float32", "channels_last")),
    ],
)
def test_auto_becomes_what_the_device_is_made_for(
    asked: tuple[str, str],
    units: bool,
    expected: tuple[str, str],
    short_run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "bfloat16_units", lambda device: "AMX" * units)
    monkeypatch.setattr(engine, "bfloat16_gain", lambda: 8.0)
    run = changed(short_run, precision=asked[0], layout=asked[1])
    assert arithmetic_of(run.engine, CPU) == Arithmetic(*expected)


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (0.53, Arithmetic("float32", "contiguous")),  # Intel, AVX512_BF16 without AMX
        (1.98, Arithmetic("bfloat16", "unfolded")),  # AMD, AVX512_BF16
    ],
)
def test_instructions_that_are_slower_than_float32_do_not_count(
    gain: float, expected: Arithmetic, short_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "bfloat16_units", lambda device: "AVX512_BF16")
    monkeypatch.setattr(engine, "bfloat16_gain", lambda: gain)
    run = changed(short_run, precision="auto", layout="auto")
    assert arithmetic_of(run.engine, CPU) == expected


def test_a_processor_is_measured_once() -> None:
    bfloat16_gain.cache_clear()
    first = bfloat16_gain()
    assert 0 < first < 100
    assert bfloat16_gain() == first  # a second measurement would differ


def test_the_choice_of_precision_is_the_same_each_time() -> None:
    if not bfloat16_units(CPU):
        pytest.skip("this processor has nothing for bfloat16")
    choices = set()
    for _ in range(5):
        bfloat16_gain.cache_clear()
        choices.add(bfloat16_pays(CPU))
    assert len(choices) == 1


def test_on_cuda_auto_leaves_small_maps_to_its_kernels(
    short_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "bfloat16_units", lambda device: "tensor cores")
    run = changed(short_run, precision="auto", layout="auto")
    assert arithmetic_of(run.engine, CUDA) == Arithmetic("bfloat16", "channels_last")


@pytest.mark.parametrize(("generation", "expected"), [(7, False), (8, True), (9, True)])
def test_tensor_cores_since_ampere_count_as_units(
    generation: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (generation, 0))
    assert bfloat16_units(CUDA) == "tensor cores" * expected


def test_this_processor_has_units_if_the_system_lists_them() -> None:
    features = Path("/proc/cpuinfo")
    if not features.exists():
        pytest.skip("no list of this processor's features")
    listed = re.search(r"\b(amx_bf16|avx512_bf16|bf16)\b", features.read_text())
    assert bool(bfloat16_units(CPU)) is (listed is not None)


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "AMX"),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "AMD EPYC"}, "AVX512_BF16"),
        ({"neon": True, "bf16": True}, "BF16"),
        ({"avx2": True, "avx512_bf16": False}, ""),
    ],
)
def test_processors_are_told_by_what_they_can_do(
    has: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert bfloat16_units(CPU) == expected
    # Without the library that uses them, the instructions make nothing faster.
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert bfloat16_units(CPU) == ""


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("tf32", True)])
def test_float32_means_float32_on_cuda_too(
    precision: str, allowed: bool, short_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    switches = [SimpleNamespace(allow_tf32=not allowed) for _ in range(2)]
    monkeypatch.setattr(torch.backends.cuda, "matmul", switches[0])
    monkeypatch.setattr(torch.backends, "cudnn", switches[1])
    arithmetic_of(changed(short_run, precision=precision).engine, CUDA)
    assert [switch.allow_tf32 for switch in switches] == [allowed] * 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("precision", "tf32"),
        ("compile", "graphs"),
        ("compile", "step-graph"),
        ("compile", "compiled-step-graph"),
    ],
)
def test_what_only_a_gpu_can_do_is_refused_before_training(
    key: str, value: str, short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, tasks=2, **{key: value})
    with pytest.raises(ValueError, match=f"^{key}: '{value}' needs an NVIDIA GPU; .* on cpu$"):
        learner_of(run, digits, TASKS, CPU).fit()


def network(arithmetic: Arithmetic) -> nn.Module:
    return build_network("resnet18-slim", 3, 10, seed=0, arithmetic=arithmetic)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "arithmetic",
    [
        LOW,
        Arithmetic("bfloat16"),
        Arithmetic(layout="channels_last"),
        Arithmetic(layout="unfolded"),
        Arithmetic("bfloat16", "unfolded"),
    ],
)
def test_weights_gradients_and_logits_are_those_of_float32_but_for_rounding(
    arithmetic: Arithmetic, images: Tensor
) -> None:
    plain, other = network(Arithmetic()), network(arithmetic)
    expected, logits = plain(images), other(images)
    assert logits.dtype == torch.float32
    tolerance = 0.06 if arithmetic.precision == "bfloat16" else 1e-5
    assert (logits - expected).norm() < tolerance * expected.norm()
    assert not torch.equal(logits, expected), "the arithmetic is another one"
    for mine, theirs in zip(other.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.is_contiguous()
    expected.logsumexp(1).sum().backward()
    logits.logsumexp(1).sum().backward()
    for name, parameter in other.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        theirs = plain.get_parameter(name).grad
        assert theirs is not None
        similar = torch.nn.functional.cosine_similarity(
            parameter.grad.flatten(), theirs.flatten(), 0
        )
        assert similar > 0.8, name


@pytest.mark.parametrize("name", ["resnet18-slim", "vgg16-slim", "mobilenetv2-slim", "lenet5"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "unfolded"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_are_cast_and_the_head_is_not(
    name: str, layout: str, precision: str, images: Tensor
) -> None:
    """Equal, bit for bit, to what the arithmetic says, written out."""
    made = build_network(name, 3, 10, seed=0, arithmetic=Arithmetic(precision, layout)).eval()
    head = made.head
    arranged = images if layout == "contiguous" else images.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        features = made.features(arranged)
    assert features.dtype == getattr(torch, precision)
    assert torch.equal(made(images), nn.functional.linear(features.float(), head.weight, head.bias))


@pytest.mark.parametrize("arithmetic", [LOW, Arithmetic("bfloat16", "unfolded")])
def test_the_arithmetic_is_in_copies_and_compiled_and_not_in_the_state(
    arithmetic: Arithmetic, images: Tensor
) -> None:
    plain, made = network(Arithmetic()), network(arithmetic)
    assert isinstance(made, type(plain))
    assert list(made.state_dict()) == list(plain.state_dict())
    made.load_state_dict(plain.state_dict())
    logits = made.eval()(images)
    copied = deepcopy(made)
    with torch.no_grad():
        made.head.weight.zero_()
    assert torch.equal(copied(images), logits)
    whole = torch.compile(copied, fullgraph=True, backend="eager", dynamic=False)
    assert torch.equal(whole(images), logits)


def test_networks_alike_are_of_one_class_so_that_they_can_be_stacked() -> None:
    torch.func.stack_module_state([network(LOW), network(LOW)])
    assert type(network(LOW)) is not type(network(Arithmetic("bfloat16")))


def test_an_error_in_the_network_leaves_no_casting_behind() -> None:
    with pytest.raises(RuntimeError):
        network(LOW)(torch.zeros(2, 5, 32, 32))
    assert not torch.is_autocast_enabled("cpu")


def precisions(network: nn.Module, images: Tensor) -> set[torch.dtype]:
    """What the network's convolutions compute in."""
    seen = set()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, maps: seen.add(maps.dtype))
    with torch.no_grad():
        network(images)
    return seen


def test_bfloat16_learns_and_keeps_what_it_learned(short_run: Run, digits: Prepared) -> None:
    """The learner asserts that finished tasks' logits stay the same, bit for bit."""
    run = changed(
        short_run, seed=2, tasks=2, epochs=8, precision="bfloat16", layout="channels_last"
    )
    learner = learner_of(run, digits, TASKS, CPU)
    outcome = learner.fit()
    assert precisions(learner.network, digits.images[:2].float()) == {torch.bfloat16}
    final = [row["accuracy"] for row in outcome.accuracy if row["after_task"] == 2]
    assert sum(final) / 2 > 0.75
    assert all(tensor.dtype == torch.float32 for tensor in outcome.store.dense.values())


@pytest.mark.skipif(which("c++") is None, reason="no C++ compiler on this machine")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_steps_train_the_same_network(
    precision: str, short_run: Run, digits: Prepared
) -> None:
    run = changed(short_run, tasks=2, epochs=1, precision=precision)
    torch._dynamo.utils.counters.clear()
    plain, compiled = (
        learner_of(changed(run, compile=how), digits, TASKS, CPU).fit() for how in ("off", "on")
    )
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    for mine, theirs in zip(compiled.history, plain.history, strict=True):
        assert mine["loss"] == pytest.approx(
            theirs["loss"], rel=1e-3 if precision == "float32" else 0.02
        )


def test_only_whole_batches_go_through_the_compiled_network(
    short_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def compiler(network: nn.Module, **options: object) -> engine.Forward:
        def compiled(images: Tensor) -> Tensor:
            seen.append(len(images))
            return network(images)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    run = changed(short_run, compile="on", batch_size=4)
    forward = training_forward(network(Arithmetic()), run.engine, run.training.batch_size, CPU)
    assert [len(forward(torch.zeros(n, 3, 32, 32))) for n in (4, 4, 2)] == [4, 4, 2]
    assert seen == [4, 4]
