"""docs/library.md, structured.md and fine-tuning.md: their blocks run, and do what is said."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dstcl.sparse import CondensedLinear, SparseTraining
from dstcl.sparse.presets import PRESETS
from helpers.runs import REPOSITORY

BLOCK = re.compile(r"(?<=\n\n)(?:    .*\n|\n)+")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.mix(x))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(16, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean(1))


def blocks(page: str) -> list[str]:
    """The blocks of a page but for those that compare libraries."""
    text = (REPOSITORY / "docs" / page).read_text().partition("\n## Side by side\n")[0]
    return [dedent(block).strip("\n") + "\n" for block in BLOCK.findall(text)]


def compared() -> dict[str, str]:
    """By library, its block in the comparison."""
    text = (REPOSITORY / "docs" / "library.md").read_text().partition("\n## Side by side\n")[2]
    found = re.findall(r"^\*\*(\w[\w-]*)\*\*.*\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    return {library: dedent(block) for library, block in found}


def at_hand(**more: Any) -> dict[str, Any]:
    """What the pages take for granted."""
    torch.manual_seed(0)
    model = Model()
    draws = torch.Generator().manual_seed(1)
    batches = [
        (torch.randint(20, (8, 5), generator=draws), torch.randint(4, (8,), generator=draws))
        for _ in range(55)
    ]
    return {
        "torch": torch, "model": model, "batches": batches, "device": "cpu",
        "loss": nn.functional.cross_entropy,
        "optimizer": torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1),
    } | more  # fmt: skip


def test_the_blocks_of_the_library_page_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain, attached, chosen, scaled, _, saved, averaged = blocks("library.md")
    first = at_hand()
    exec(plain, first)
    assert first["dst"].updates == 1
    assert first["logged"]["density"] == pytest.approx(0.1, abs=0.001)
    assert 0 < first["logged"]["change"] <= 0.5, "of the update after step 50"
    assert "survival" not in first["logged"]
    assert "FLOPs an input" in capsys.readouterr().out
    second = at_hand()
    exec(plain.splitlines()[0] + "\n" + attached, second)
    for name, weight in first["dst"].weights.items():
        assert torch.equal(weight, second["dst"].weights[name])
    second["dst"].detach()
    exec(chosen, second)
    dst = second["dst"]
    assert "embed.weight" in dst.masks
    assert "head.weight" not in dst.masks
    assert dst.densities["blocks.0.mix.weight"] == 0.5
    inside = [n for n in dst.masks if "blocks.1.mlp" in n]
    sizes = {n: dst.weights[n].numel() for n in inside}
    assert sum(dst.densities[n] * sizes[n] for n in inside) == pytest.approx(
        0.05 * sum(sizes.values())
    )
    exec(scaled, second)
    assert dst.steps == 55
    exec(saved, second)
    assert (tmp_path / "state.safetensors").exists()
    exec(averaged, second)
    for name, weight in second["average"].module.named_parameters():
        assert name not in dst.masks or not weight[~dst.masks[name]].any()


def test_log_says_nothing_of_changes_before_its_first_call() -> None:
    space = at_hand()
    plain = re.sub(r"^ +if dst.steps.*\n +logged.*\n", "", blocks("library.md")[0], flags=re.M)
    exec(plain, space)
    assert space["dst"].updates == 1
    assert not {"change", "survival"} & set(space["dst"].log())


def test_the_lines_of_the_comparison_run() -> None:
    space = at_hand(total_steps=600)
    space["loss"](space["model"](space["batches"][0][0]), space["batches"][0][1]).backward()
    exec(compared()["dstcl"], space)
    assert space["dst"].steps == 1
    assert space["dst"].density() == pytest.approx(0.1, abs=0.001)


def test_the_table_of_the_comparison_counts_the_statements_of_its_blocks() -> None:
    """All but those that were in the loop anyway."""
    text = (REPOSITORY / "docs" / "library.md").read_text()
    for library, block in compared().items():
        [said] = re.findall(rf"^\| {library} \| (\d+)", text, re.MULTILINE)
        layer = library == "SparseLab"  # counted by itself
        assert len(ast.parse(block).body) - layer == int(said), library
    assert set(compared()) == {"dstcl", "rigl-torch", "sparsimony", "SparseLab", "JaxPruner"}


def test_the_block_of_the_structured_page_runs() -> None:
    """Layers of 64 inputs at density 0.1 have 6 active weights for each output."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    inputs = torch.randn(8, 64)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    [block] = blocks("structured.md")
    begin, training, end = re.split(r"^(\.\.\. .*\n)", block, flags=re.MULTILINE)
    space: dict[str, Any] = {"model": model, "optimizer": optimizer}
    exec(begin, space)
    assert "train" in training
    for _ in range(100):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        space["dst"].step()
    assert space["dst"].updates == 1
    exec(end, space)
    fast = space["fast"]
    for at in (0, 2):
        assert isinstance(fast[at], CondensedLinear)
        assert (space["dst"].masks[f"{at}.weight"].sum(1) == 6).all()
    torch.testing.assert_close(fast(inputs), model(inputs), rtol=1e-5, atol=1e-6)


def column(page: str, head: str) -> list[str]:
    """What the first column of a table quotes, by the head of that column."""
    text = (REPOSITORY / "docs" / page).read_text()
    [table] = re.findall(rf"^\| `{head}` .*\n\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    return re.findall(r'^\| `"([^"]+)"`', table, re.MULTILINE)


@pytest.mark.parametrize("structure", column("structured.md", "structure="))
def test_the_structures_of_the_structured_page_are_there(structure: str) -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    dst = SparseTraining(model, optimizer, density=0.5, structure=structure)
    assert dst.density() == 0.5


@pytest.mark.parametrize("form", column("structured.md", "to="))
def test_the_forms_of_the_structured_page_are_there(form: str) -> None:
    """One of them needs a GPU, and says so."""
    model = nn.Sequential(nn.Linear(16, 16))
    structure = form if form == "2:4" else "fan-in"
    dst = SparseTraining(
        model, torch.optim.SGD(model.parameters(), 0.1), density=0.5, structure=structure
    )
    if form == "2:4":
        with pytest.raises(ValueError, match="2:4 needs an NVIDIA GPU"):
            dst.export(model, form)
    else:
        inputs = torch.randn(4, 16)
        torch.testing.assert_close(dst.export(model, form, densest=1.0)(inputs), model(inputs))


class TiedModel(nn.Module):
    """As language models have it; the embedding comes first but is no layer that is masked."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.embed(tokens).mean(1))


def test_the_average_of_tied_weights_is_masked_as_the_page_says() -> None:
    torch.manual_seed(0)
    model = TiedModel()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    dst = SparseTraining(model, optimizer, density=0.1)
    with torch.no_grad():
        model.head.weight.fill_(1.0)
    space = at_hand(model=model, dst=dst)
    exec(blocks("library.md")[-1], space)
    average = space["average"].module
    assert average.embed.weight is average.head.weight
    assert int((average.embed.weight != 0).sum()) == 32, "a tenth of 320"


def test_a_training_goes_on_from_the_checkpoint_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under other random numbers, and against one that was not stopped."""
    monkeypatch.chdir(tmp_path)
    plain, *_, resumed, _, _ = blocks("library.md")
    save, load = re.split(r"\n\n(?=saved = )", resumed)
    whole, again = at_hand(), at_hand()
    exec(plain, whole)
    exec(save, whole)
    exec(plain.partition("for ")[0], again)
    torch.manual_seed(7)
    exec(load, again)
    assert again["dst"].steps == 55
    steps = plain.partition("for ")[1] + plain.partition("for ")[2].partition("\n\n")[0]
    for space in (whole, again):
        exec(steps, space)
    assert whole["dst"].updates == 2
    assert 0 < whole["logged"]["survival"] <= 1
    for name, weight in whole["model"].state_dict().items():
        assert torch.equal(weight, again["model"].state_dict()[name]), name


def test_a_pruned_model_keeps_its_zeros_as_the_page_says() -> None:
    space = at_hand()
    pruned = {}
    with torch.no_grad():
        for name, weight in space["model"].named_parameters():
            if name.endswith(("mix.weight", "0.weight")):
                weight.mul_(weight.abs() > weight.abs().median())
                pruned[name] = weight != 0
    fixed, moving = blocks("fine-tuning.md")
    before = {n: w.detach().clone() for n, w in space["model"].named_parameters()}
    exec(fixed, space)
    for name, weight in space["model"].named_parameters():
        assert not torch.equal(weight, before[name])
        assert torch.equal(weight != 0, pruned.get(name, weight != 0))
    exec(moving, space)
    assert space["dst"].density() == pytest.approx(
        sum(int(m.sum()) for m in space["dst"].masks.values())
        / sum(m.numel() for m in space["dst"].masks.values())
    )
    assert set(pruned) <= set(space["dst"].masks)


def line_of(framework: str) -> tuple[str, str]:
    """What the page's table has for a framework: the import and the call."""
    text = (REPOSITORY / "docs" / "library.md").read_text()
    [row] = re.findall(
        rf"^\| {framework} \| `(from [^`]*)` <br> `([^`]*)`.* \|$", text, re.MULTILINE
    )
    return row


def test_the_lines_for_lightning_run() -> None:
    lightning = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    space: dict[str, Any] = {"Trainer": lightning.Trainer}
    exec("\n".join(line_of("Lightning")), space)


def test_the_lines_for_transformers_run(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from in_transformers import trainer

    used = trainer(tmp_path)
    exec("\n".join(line_of("Transformers")), {"trainer": used})
    used.train()
    zeros = (used.model.net[0].weight == 0).float().mean()
    assert float(zeros) > 0.5


def test_the_lines_for_accelerate_run() -> None:
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    space = at_hand()
    accelerator = accelerate.Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(space["model"], space["optimizer"])
    space |= {"accelerator": accelerator, "model": model, "optimizer": optimizer}
    exec("\n".join(line_of("Accelerate")), space)
    assert space["dst"].density() == pytest.approx(0.1, abs=0.01)
    assert space["dst"].attached


def test_the_table_of_presets_is_complete() -> None:
    text = (REPOSITORY / "docs" / "library.md").read_text()
    [head] = re.findall(r"^\| \| (rigl.*) \|$", text, re.MULTILINE)
    assert head.split(" | ") == [*PRESETS, "none"]
