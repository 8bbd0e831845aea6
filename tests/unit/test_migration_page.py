"""docs/migration.md: its blocks and the lines in its right columns run, and do what is said."""

from __future__ import annotations

import ast
import inspect
import re
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dstcl.sparse
from dstcl.sparse import DynamicSparseTraining, GradualMagnitudePruning, SparseTraining
from helpers.runs import REPOSITORY

PAGE = (REPOSITORY / "docs" / "migration.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
NO_PYTHON = {"*", "?", "supsup", "pip install 'dstcl[onnx]'", "nearliness // 2", "block4"}
"""What else is quoted on the right."""
NAMES = {name: getattr(dstcl.sparse, name) for name in dstcl.sparse.__all__}
NAMES |= {"torch": torch, "nn": nn}
"""What lines outside of blocks need not import."""
USUAL = {"density": 0.1, "total_steps": 100, "update_every": 10}
"""What ``...`` in a call stands for, besides model and optimizer."""


def arguments(kind: Any) -> set[str]:
    """Of a constructor."""
    return set(inspect.signature(kind.__init__).parameters) - {"self"}


ARGUMENTS = arguments(DynamicSparseTraining) | arguments(GradualMagnitudePruning)


class Network(nn.Module):
    """With the names that the page uses; for images of four channels or of three."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.seq = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))
        self.fc = nn.Linear(32, 64)
        self.classifier = nn.Linear(64, 12)

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv2(self.conv1(images).relu()).relu().mean((2, 3))
        return self.classifier(self.fc(self.seq(features)).relu())


def at_hand(tmp_path: Path, channels: int = 4) -> dict[str, Any]:
    """What the page takes for granted, just before a step."""
    torch.manual_seed(0)
    model = Network(channels)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs = torch.randn(8, channels, 8, 8)
    model(inputs).square().sum().backward()
    return {
        "model": model, "optimizer": optimizer, "inputs": inputs,
        "path": tmp_path / "model.onnx", "masks": all_true(model), "total_steps": 200,
        "T_end": 60, "t_end": 60, "target_step": 30, "sparsity": 0.9, "final_sparsity": 0.9,
    }  # fmt: skip


def all_true(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach() == p for n, p in model.named_parameters() if p.dim() > 1}


def cells(section: str) -> list[str]:
    """The right-hand column of its table."""
    rows = re.findall(r"^\| .* \|$", SECTIONS[section], re.MULTILINE)
    return [row[2:-2].split(" | ")[-1] for row in rows[1:]]


def evaluated(code: str, space: dict[str, Any]) -> Any:
    """A call; ``...`` as its only positional argument stands for what is usual."""
    call, space = ast.parse(code, mode="eval").body, NAMES | space
    assert isinstance(call, ast.Call), code
    if not any(isinstance(a, ast.Constant) and a.value is Ellipsis for a in call.args):
        return eval(code, space)
    kind = space[ast.unparse(call.func)]
    given = {str(k.arg): eval(ast.unparse(k.value), space) for k in call.keywords}
    usual = {k: v for k, v in USUAL.items() if k in arguments(kind)}
    return kind(space["model"], space["optimizer"], **(usual | given))


def check(code: str, keyword: str | None, tmp_path: Path) -> str | None:
    """Run one quotation; the keyword to which a bare value after it belongs."""
    space = at_hand(tmp_path)
    if code in NO_PYTHON:
        return keyword
    if name := re.fullmatch(r"(\w+)=", code):
        assert name[1] in ARGUMENTS, code
        return name[1]
    if re.fullmatch(r"dst(\.\w+)?", code):
        assert hasattr(DynamicSparseTraining, code.partition(".")[2] or "step"), code
        return keyword
    if re.fullmatch(r"\w+", code):
        assert code in {*ARGUMENTS, *NAMES, *space} or hasattr(GradualMagnitudePruning, code), code
        return keyword
    if re.fullmatch(r'"[^"]*"', code):
        assert keyword is not None, code
        code = f"{keyword}={code}"
    if re.match(r"\w+=", code):
        evaluated(f"DynamicSparseTraining(..., {code})", space)
        return re.split(r"=", code, maxsplit=1)[0]
    if code.startswith(("dst.", "optimizer.")):
        form = 'density=0.5, structure="2:4"' if "2:4" in code else 'init="uniform"'
        space["dst"] = evaluated(f"DynamicSparseTraining(..., {form})", space)
        space["dst"].attach()
    evaluated(code, space)
    return keyword


@pytest.mark.filterwarnings("ignore:update_every")
@pytest.mark.parametrize("section", SECTIONS)
def test_every_line_of_the_right_hand_column_runs(section: str, tmp_path: Path) -> None:
    assert len(cells(section)) > 8
    for cell in cells(section):
        keyword = None
        for code in re.findall(r"`([^`]*)`", cell):
            if code.startswith("export_onnx") and find_spec("onnxscript") is None:
                continue
            try:
                keyword = check(code, keyword, tmp_path)
            except ValueError as error:
                if "2:4 needs an NVIDIA GPU" not in str(error):
                    raise AssertionError(f"{cell}: {error}") from error


@pytest.mark.parametrize(
    "wrong", ["no_such_name", "dst.no_such()", "no_such=", "init='no_such'", "dst.no_such"]
)
def test_a_line_that_does_not_work_is_found(wrong: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, AttributeError, TypeError, ValueError)):
        check(wrong, None, tmp_path)


def becomes(section: str) -> str:
    """The block of dstcl in it."""
    block = SECTIONS[section].partition("\nbecomes\n\n")[2]
    return dedent(re.split(r"^(?=\S)", block, maxsplit=1, flags=re.MULTILINE)[0])


def run(section: str, tmp_path: Path, channels: int = 3) -> Any:
    space = at_hand(tmp_path, channels)
    exec(becomes(section), space)
    assert space["dst"].steps == 1
    return space["dst"]


def test_the_block_for_rigl_torch_keeps_its_density_in_each_layer(tmp_path: Path) -> None:
    """10% of 16 x 32 x 9, 32 x 32 and 64 x 12 weights; conv1 and fc are dense."""
    assert run("rigl-torch", tmp_path).counts == {
        "conv2.weight": 461, "seq.0.weight": 102, "seq.2.weight": 102, "classifier.weight": 77,
    }  # fmt: skip


def test_linear_layers_stay_dense_as_they_do_in_rigl_torch(tmp_path: Path) -> None:
    [code] = re.findall(r"`(exclude=\[name .*?)` \|", SECTIONS["rigl-torch"])
    dst = evaluated(f"DynamicSparseTraining(..., init='uniform', {code})", at_hand(tmp_path))
    assert dst.counts == {"conv1.weight": 58, "conv2.weight": 461}, "10% of 576 and of 4608"


def test_a_dense_first_layer_that_counts_is_something_else(tmp_path: Path) -> None:
    """Two layers of 20 x 30 and 30 x 200: 660 weights in all, 600 of them in the first."""
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 200))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with_first = SparseTraining(model, optimizer, density=0.1, init="uniform_dense_first")
    assert with_first.counts == {"0.weight": 600, "2.weight": 60}
    without = SparseTraining(model, optimizer, density=0.1, init="uniform", exclude="0")
    assert without.counts == {"2.weight": 600}


def test_the_block_for_sparsimony_keeps_convolutions_and_classifier_dense(tmp_path: Path) -> None:
    dst = run("sparsimony", tmp_path)
    assert dst.counts == {"seq.0.weight": 512, "seq.2.weight": 512, "fc.weight": 1024}
    for mask in dst.masks.values():
        assert (mask.view(-1, 4).sum(1) == 2).all()


def test_first_layers_of_three_channels_are_refused_and_left_out_as_the_page_says(
    tmp_path: Path,
) -> None:
    space = at_hand(tmp_path, channels=3)
    with pytest.raises(ValueError, match=r"conv1.weight.* 3 inputs, no multiple of 4"):
        evaluated('DynamicSparseTraining(..., density=0.5, structure="2:4")', space)
    found = re.findall(r"`(density=0.5, structure=[^`]*conv1[^`]*)`", SECTIONS["sparsimony"])
    excluded, unstructured = [evaluated(f"DynamicSparseTraining(..., {c})", space) for c in found]
    assert "conv1.weight" not in excluded.masks
    assert unstructured.counts["conv1.weight"] == 216, "half of 16 x 3 x 9"
    for dst in (excluded, unstructured):
        assert dst.counts["conv2.weight"] == 2304
        assert (dst.masks["conv2.weight"].view(32, 4, 4, 9).sum(2) == 2).all()


def line(section: str, theirs: str) -> str:
    """The first quotation beside one of their names."""
    [row] = [r for r in SECTIONS[section].splitlines() if r.startswith(f"| `{theirs}")]
    return re.findall(r"`([^`]*)`", row.split(" | ")[-1])[0]


def test_diagonal_masks_are_those_of_torchao(tmp_path: Path) -> None:
    """Nearliness 3 in 4 x 4: 1100, 1110, 0111, 0011, as its documentation has it."""
    space = at_hand(tmp_path)
    model = space["model"] = nn.Sequential(nn.Linear(4, 4))
    space["optimizer"] = torch.optim.SGD(model.parameters(), 0.1)
    dst = evaluated(line("torchao.sparsity", "NearlyDiagonalSparsifier"), space)
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]])
    assert torch.equal(dst.masks["0.weight"].int(), expected.int())


def test_only_named_layers_are_masked_in_place_of_swapped_ones(tmp_path: Path) -> None:
    dst = evaluated(line("torchao.sparsity", "swap_linear"), at_hand(tmp_path))
    assert dst.counts == {"seq.0.weight": 512}


def test_detached_training_is_dense(tmp_path: Path) -> None:
    space = at_hand(tmp_path)
    space["dst"] = dst = evaluated("SparseTraining(...)", space)
    dst.attach()
    evaluated(line("torchao.sparsity", "swap_semi_sparse_linear"), space)
    space["optimizer"].step()
    weight = space["model"].fc.weight
    assert (weight[~dst.masks["fc.weight"]] != 0).any()


def test_one_shot_pruning_prunes_once(tmp_path: Path) -> None:
    space = at_hand(tmp_path)
    dst = evaluated(line("JaxPruner", "OneShotSchedule"), space)
    densities = []
    for _ in range(40):
        dst.step()
        densities.append(dst.density())
    assert densities[:29] == [1.0] * 29
    assert densities[29:] == pytest.approx([0.1] * 11, abs=1e-3)


def test_a_schedule_of_ones_own_overrides_target_counts(tmp_path: Path) -> None:
    """Half of what was there, every ten steps, as ``LambdaSL`` could say."""

    class Halving(GradualMagnitudePruning):
        def target_counts(self, step: int) -> dict[str, int]:
            return {n: w.numel() // 2 ** (step // 10) for n, w in self.weights.items()}

    space = at_hand(tmp_path)
    dst = Halving(
        space["model"], space["optimizer"], density=0.1, total_steps=40, update_every=10, stop_at=1
    )
    for _ in range(40):
        dst.step()
    assert dst.counts["conv2.weight"] == 4608 // 16
