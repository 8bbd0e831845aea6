"""Exported networks: the same outputs from sparse layers, files and ONNX."""

import copy
import io
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import dynamic, small_network, train
from torch import nn

import dstcl
from dstcl.sparse import (
    CondensedLinear,
    CSRLinear,
    export,
    export_onnx,
    load_sparse,
    save_sparse,
)

FORMS = {"csr": CSRLinear, "condensed": CondensedLinear}


def trained(structure="fan-in", **changes):
    """A network with a convolution and two linear layers, after three updates."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(36, 24), nn.ReLU(), nn.Linear(24, 5, bias=False),
    )  # fmt: skip
    dst = dynamic(model, structure={"0": "none", "*": structure}, init="uniform",
                  **({"density": 0.08} | changes))  # fmt: skip
    train(dst, model, 9)
    return model.eval(), dst


def masked_layer(out, into, mask, bias=True, dtype=torch.float32):
    layer = nn.Linear(into, out, bias=bias, dtype=dtype)
    with torch.no_grad():
        layer.weight.mul_(mask)
    return layer


@pytest.mark.parametrize("to", ["csr", "condensed", "dense"])
@pytest.mark.parametrize("structure", ["fan-in", "fan-in:ablate=1"])
def test_a_trained_network_gives_the_same_outputs(to, structure):
    model, dst = trained(structure)
    before = copy.deepcopy(model.state_dict())
    exported = dst.export(model, to)
    images = torch.randn(7, 1, 8, 8)
    with torch.no_grad():
        for some in (images, images[:1], images[:0]):
            torch.testing.assert_close(exported(some), model(some), rtol=1e-5, atol=1e-6)
    kinds = [type(exported[i]) for i in (0, 4, 6)]
    assert kinds == [nn.Conv2d, *[FORMS.get(to, nn.Linear)] * 2]
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_ablation_is_there_to_be_exported():
    _, dst = trained("fan-in:ablate=1")
    assert not dst.masks["4.weight"].any(1).all()


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9), st.booleans(), st.data())
def test_sparse_layers_of_every_shape(out, into, batch, bias, data):
    """In float64, where sums in another order differ by 1e-12 at most here."""
    torch.manual_seed(data.draw(st.integers(0, 9)))
    fan_in = data.draw(st.integers(0, into))
    alive = torch.rand(out) < 0.7
    mask = (torch.rand(out, into).argsort(1) < fan_in) & alive.unsqueeze(1)
    layer = masked_layer(out, into, mask, bias, torch.float64)
    inputs = torch.randn(batch, into, dtype=torch.float64)
    with torch.no_grad():
        for kind in (CSRLinear, CondensedLinear):
            sparse = kind(layer, mask)
            torch.testing.assert_close(sparse(inputs), layer(inputs), rtol=0, atol=1e-12)
            assert torch.equal(sparse.weight, layer.weight)
            assert f"active={int(mask.sum())}" in repr(sparse)


@pytest.mark.parametrize("kind", [CSRLinear, CondensedLinear])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (1, 1, 6), (2, 0, 6)])
def test_inputs_have_any_leading_dimensions(kind, shape):
    mask = torch.arange(6).expand(4, 6) % 3 == 0
    layer = masked_layer(4, 6, mask)
    inputs = torch.randn(shape)
    torch.testing.assert_close(kind(layer, mask)(inputs), layer(inputs))


@pytest.mark.parametrize("to", FORMS)
def test_weights_outside_the_mask_do_not_count(to):
    model = nn.Sequential(nn.Linear(8, 4))
    masks = {"0.weight": torch.arange(8).expand(4, 8) == 3}
    inputs = torch.randn(3, 8)
    expected = inputs[:, 3:4] @ model[0].weight[:, 3:4].t() + model[0].bias
    torch.testing.assert_close(export(model, masks, to, densest=0.2)(inputs), expected)


def test_without_masks_what_is_not_zero_is_active():
    model, dst = trained()
    exported, images = dstcl.export(model, to="csr"), torch.randn(3, 1, 8, 8)
    active = int(model[4].weight.count_nonzero())
    assert 0 < active < dst.counts["4.weight"]  # weights that came last are still zero
    assert exported[4].values.numel() == active
    torch.testing.assert_close(exported(images), model(images))


def test_a_layer_that_is_used_twice_is_replaced_once():
    shared = nn.Linear(6, 6)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    masks = {"0.weight": torch.eye(6).bool(), "2.weight": torch.eye(6).bool()}
    exported = export(model, masks, densest=0.2)
    assert exported[0] is exported[2]
    assert isinstance(exported[0], CSRLinear)


@pytest.mark.parametrize("to", FORMS)
def test_attention_and_layers_that_read_weights_give_the_same_outputs(to):
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    dst = dynamic(model, structure={"linear*": "fan-in"}, density=0.15)
    exported = dst.export(model, to, densest=0.2)
    assert isinstance(exported.linear1, FORMS[to])
    tokens = torch.randn(2, 5, 8)
    with torch.no_grad():  # here torch takes a path of its own
        torch.testing.assert_close(exported(tokens), model(tokens), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(exported(tokens), model(tokens), rtol=1e-5, atol=1e-6)


def test_denser_layers_stay_and_a_single_layer_is_replaced_itself():
    model, dst = trained(overrides={"6.weight": 0.5})
    assert [type(dst.export(model)[i]) for i in (4, 6)] == [CSRLinear, nn.Linear]
    assert [type(dst.export(model, densest=0.5)[i]) for i in (4, 6)] == [CSRLinear] * 2
    assert isinstance(export(nn.Linear(12, 12), {"weight": torch.eye(12).bool()}), CSRLinear)


@pytest.mark.parametrize("to", FORMS)
def test_exported_modules_are_saved_and_loaded(to):
    model, dst = trained()
    exported, images = dst.export(model, to), torch.randn(3, 1, 8, 8)
    file = io.BytesIO()
    torch.save(exported, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(images), exported(images))
    other, other_dst = trained(generator=torch.Generator().manual_seed(9))
    loaded = other_dst.export(other, to)
    loaded.load_state_dict(exported.state_dict())
    assert torch.equal(loaded(images), exported(images))


def test_a_file_of_weights_and_masks_comes_back_bit_for_bit(tmp_path: Path):
    model, dst = trained()
    save_sparse(tmp_path / "net.safetensors", model, dst.masks)
    torch.manual_seed(5)
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data.normal_()
    masks = load_sparse(tmp_path / "net.safetensors", other)
    assert list(masks) == list(dst.masks)
    assert all(torch.equal(masks[name], mask) for name, mask in dst.masks.items())
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(export(other, masks)(images), dst.export(model)(images))


def test_files_of_other_models_and_damaged_ones_are_refused(tmp_path: Path):
    model, dst = trained()
    path = tmp_path / "net.safetensors"
    with pytest.raises(ValueError, match="no such file"):
        load_sparse(path, model)
    save_sparse(path, model, dst.masks)
    with pytest.raises(ValueError, match=r"net.safetensors: not of this model \(.*Missing key"):
        load_sparse(path, small_network())
    path.write_bytes(path.read_bytes()[:-99])
    with pytest.raises(ValueError, match="net.safetensors: damaged"):
        load_sparse(path, model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "coo"}, "to: unknown 'coo'; known: dense, csr, condensed, 2:4"),
        ({"densest": 0.0}, "densest must be in (0, 1], got 0.0"),
        ({"densest": 0.01}, "no layer to replace up to density 0.01 (4 has density 0.083"),
        ({"masks": {}}, "(no linear layer has a mask)"),
        ({"masks": {"9.weight": torch.ones(1).bool()}}, "the model has no parameter '9.weight'"),
        ({"masks": {"4.weight": torch.ones(2, 2).bool()}}, "shape (2, 2) for '4.weight'; it must"),
        ({"masks": {"4.weight": torch.ones(24, 36)}}, "masks: torch.float32 of shape"),
        (
            {"to": "condensed", "masks": {"4.weight": torch.ones(24, 36).tril(-18).bool()}},
            "layer '4': 1 to 6 active weights for an output, not a constant number",
        ),
        ({"to": "2:4"}, "to '2:4': layer '4': "),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(arguments, message):
    model, dst = trained()
    with pytest.raises(ValueError) as refused:
        export(model, **({"masks": dst.masks} | arguments))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_of_four_needs_a_card():
    model, dst = trained("2:4", density=0.5)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="layer '4': it is on cpu; 2:4 needs an NVIDIA GPU"):
            dst.export(model, "2:4")


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0),
    reason="needs an NVIDIA GPU, Ampere or later",
)
def test_two_of_four_on_a_card_gives_the_same_outputs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 128)).cuda()
    dst = dynamic(model, structure="2:4", density=0.5)
    half = copy.deepcopy(model).half()
    inputs = torch.randn(64, 256, device="cuda").half()
    with torch.no_grad():
        found, expected = dst.export(half, "2:4")(inputs), half(inputs)
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)


def test_without_onnx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"onnx, onnxscript needed: pip install 'dstcl\[onnx\]'"):
        export_onnx(nn.Linear(3, 2), torch.randn(2, 3), tmp_path / "net.onnx")


def test_onnx_gives_the_same_outputs_for_any_batch(tmp_path: Path):
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    from onnx.reference import ReferenceEvaluator

    model, _ = trained()
    path = tmp_path / "net.onnx"
    with pytest.raises(ValueError, match="inputs: a batch of 1"):
        export_onnx(model, torch.randn(1, 1, 8, 8), path)
    export_onnx(model, torch.randn(2, 1, 8, 8), path)
    for batch in (1, 5):
        images = torch.randn(batch, 1, 8, 8)
        (found,) = ReferenceEvaluator(str(path)).run(None, {"inputs": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), model(images), rtol=1e-4, atol=1e-5)


def test_layers_with_one_weight_are_both_replaced():
    """The mask has the first of their names."""
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    model[2].weight = model[0].weight
    dst = dynamic(model, density=0.1, structure="fan-in")
    found = dst.export(model, "csr", densest=0.2)
    assert [type(found[k]) for k in (0, 2)] == [CSRLinear, CSRLinear]
    inputs = torch.randn(3, 16)
    assert torch.allclose(found(inputs), model(inputs), atol=1e-6)


def two_linear():
    model = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 10))
    masks = {"0.weight": torch.zeros(30, 40).bool(), "2.weight": torch.zeros(10, 30).bool()}
    for mask in masks.values():
        mask[:, ::20] = True  # two of each output
    with torch.no_grad():
        for name, mask in masks.items():
            model.get_parameter(name).mul_(mask)
    return model, masks


@pytest.mark.parametrize("to", ["csr", "condensed"])
def test_a_layer_with_forward_hooks_stays_dense_and_is_named(to):
    model, masks = two_linear()
    inputs = torch.randn(3, 40)
    handle = model[0].register_forward_hook(lambda module, given, outputs: 2 * outputs)
    with pytest.warns(UserWarning, match="^stays dense: '0', as it has forward hooks"):
        exported = export(model, masks, to)
    assert [type(layer) for layer in exported] == [nn.Linear, nn.ReLU, FORMS[to]]
    torch.testing.assert_close(exported(inputs), model(inputs), rtol=1e-5, atol=1e-6)
    model[2].register_forward_pre_hook(lambda module, given: None)
    with pytest.raises(ValueError, match="0 has density 0.05 and forward hooks; 2 has density 0.0"):
        export(model, masks, to)
    handle.remove()
    with pytest.warns(UserWarning, match="'2'"):
        assert type(export(model, masks, to)[0]) is FORMS[to]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_types_that_are_not_multiplied_as_csr_are_refused(dtype):
    model, masks = two_linear()
    model.to(dtype)
    with pytest.raises(
        ValueError, match=f"layer '0': {dtype}; CSR .* or to='condensed'"
    ) as refused:
        export(model, masks, "csr")
    assert "\n" not in str(refused.value)
    exported = export(model, masks, "condensed")
    for batch in (1, 3):
        inputs = torch.randn(batch, 40).to(dtype)
        torch.testing.assert_close(exported(inputs), model(inputs), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("to", ["csr", "condensed"])
@pytest.mark.parametrize("batch", [1, 3])
def test_under_autocast_sparse_layers_compute_in_their_own_type(to, dtype, batch):
    """Behind a dense layer, too, whose outputs autocast makes bfloat16."""
    model, masks = two_linear()
    exported = export(model.to(dtype), masks, to)
    behind = nn.Sequential(nn.Linear(40, 40, dtype=dtype), exported)
    inputs = torch.randn(batch, 40, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, after = exported(inputs), behind(inputs)
    assert outputs.dtype == after.dtype == dtype
    assert torch.equal(outputs, exported(inputs))
    torch.testing.assert_close(after, behind(inputs), rtol=0.05, atol=0.05)
