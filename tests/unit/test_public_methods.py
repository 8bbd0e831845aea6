"""Comparisons with the public code of other methods: the same start for both sides, and records."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dstcl.continual.methods.supsup import RandomWeightStore
from dstcl.continual.subnets import SubnetStore
from dstcl.storage import read_json

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "benchmarks"
TWINS = ("public_wsn", "public_supsup")
EXACT = "details as in ours"
"""How names of settings end in which both sides do the same, bit for bit."""
RECORDS = ("public_hat", *TWINS)
EPOCHS, BATCH, RATE, DENSITY = 4, 8, 0.05, 0.3


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """Modules of the folder by name."""
    with pytest.MonkeyPatch.context() as patching:
        patching.syspath_prepend(str(FOLDER))
        names = ("methods", "twins", "wsn", "supsup")
        yield SimpleNamespace(**{n: importlib.import_module(f"public_{n}") for n in names})


def two_tasks() -> list[Any]:
    """Random images that a line separates, 36 pixels each."""
    draws = torch.Generator().manual_seed(1)

    def pair(count: int, pixel: int) -> tuple[Tensor, Tensor]:
        images = torch.randn(count, 1, 6, 6, generator=draws)
        return images, (images.flatten(1)[:, pixel] > 0).long()

    return [(pair(30, pixel), pair(20, pixel)) for pixel in (3, 20)]


def small_network(bench: Any) -> nn.Module:
    draws = torch.Generator().manual_seed(2)
    return bench.twins.perceptron(
        torch.randn(12, 36, generator=draws) / 6, torch.randn(7, 12, generator=draws) / 4
    )


def plain_masks(scores: list[Tensor]) -> list[Tensor]:
    """The highest scores of each layer by size."""
    masks = []
    for score in scores:
        count = int(DENSITY * score.numel() + 0.5)
        mask = torch.zeros(score.numel())
        mask[score.detach().abs().flatten().argsort(descending=True)[:count]] = 1
        masks.append(mask.view_as(score))
    return masks


def plain_loop(
    bench: Any, store: type[SubnetStore], learns_weights: bool
) -> tuple[list[list[Tensor]], list[float]]:
    """WSN (scores go on from task to task) or SupSup (fresh ones), written down step by step.

    Returns the masks of each task, and its accuracy.
    """
    tasks, begin = two_tasks(), bench.twins.starts(small_network(bench), store, DENSITY, 5)
    weights = [w.clone().requires_grad_(learns_weights) for w in begin[0].weights.values()]
    scores = [s.clone().requires_grad_() for s in begin[0].scores.values()]
    used = [torch.zeros_like(w) for w in weights]
    kept, accuracies = [], []
    for task, (_, (images, labels)) in enumerate(tasks):
        if not learns_weights:
            scores = [s.clone().requires_grad_() for s in begin[task].scores.values()]
        head = begin[task].head.clone().requires_grad_()
        trained = [*(weights if learns_weights else []), *scores, head]
        optimizer = torch.optim.SGD(trained, lr=RATE, momentum=0.9)

        def logits(inputs: Tensor, gates: list[Tensor], head: Tensor = head) -> Tensor:
            hidden = inputs.flatten(1)
            for weight, gate in zip(weights, gates):
                hidden = (hidden @ (weight * gate).T).relu()
            return hidden @ head.T

        for epoch in bench.twins.batches(tasks, task, BATCH, EPOCHS, 5):
            for inputs, targets in epoch:
                masks = plain_masks(scores)
                through = [m + (s.abs() - s.abs().detach()) for m, s in zip(masks, scores)]
                optimizer.zero_grad()
                cross_entropy(logits(inputs, through), targets).backward()
                before = [w.detach().clone() for w in weights]
                optimizer.step()
                for weight, old, mask, frozen in zip(weights, before, masks, used):
                    weight.data = torch.where((mask > 0) & (frozen == 0), weight.data, old)
        kept.append(plain_masks(scores))
        used = [torch.maximum(u, m) for u, m in zip(used, kept[-1])]
        accuracies.append(float((logits(images, kept[-1]).argmax(1) == labels).float().mean()))
    return kept, accuracies


@pytest.mark.parametrize(
    ("method", "store", "learns_weights"),
    [("wsn", SubnetStore, True), ("supsup", RandomWeightStore, False)],
)
def test_a_run_of_ours_begins_as_is_said_and_does_what_a_plain_loop_does(
    bench: Any, method: str, store: type[SubnetStore], learns_weights: bool
) -> None:
    masks, accuracies = plain_loop(bench, store, learns_weights)
    with bench.twins.no_head_bias():
        ours = bench.methods.own_run(
            small_network(bench),
            two_tasks(),
            5,
            method=method,
            density=DENSITY,
            init="uniform",
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=RATE,
            optimizer="torch.optim:SGD",
            optimizer_settings={"momentum": 0.9},
            weight_decay=0.0,
        )
    for task, plain in enumerate(masks):
        for own, mask in zip(ours.masks[task].values(), plain, strict=True):
            assert torch.equal(own, mask > 0)
    assert not torch.equal(masks[0][0], masks[1][0])
    assert ours.measured["acc"] == pytest.approx(fmean(accuracies))
    assert ours.measured["forgetting"] == 0


def test_what_a_run_comes_to_by_hand(bench: Any) -> None:
    rows = [(1, 1, 0.9), (2, 1, 0.7), (2, 2, 0.6)]
    masks = [
        {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True])},
        {"a": torch.tensor([False, True, True, False]), "b": torch.tensor([False])},
    ]
    told = [dict(zip(("after_task", "task", "accuracy"), row)) for row in rows]
    assert bench.methods.ran(told, masks).measured == {
        "acc": pytest.approx(0.65),
        "forgetting": pytest.approx(0.2),
        "used_fraction": 4 / 5,
        "density": pytest.approx((3 / 5 + 2 / 5) / 2),
    }
    other = [{"x": masks[0]["a"], "y": ~masks[0]["b"]}, {"x": masks[1]["a"], "y": masks[1]["b"]}]
    assert bench.twins.in_common(masks, other) == pytest.approx((2 / 3 + 1) / 2)


def test_a_start_in_numbers_by_hand(bench: Any) -> None:
    weights = {"a": torch.tensor([[0.5, -0.5, 0.5, -0.5]])}
    scores = {"a": torch.tensor([[0.0, -0.25, 0.0, 0.25]])}
    start = bench.twins.Start(weights, scores, {"a": scores["a"] != 0}, torch.ones(2, 1))
    assert bench.twins.described(start) == {
        "active": [2],
        "largest_score": [0.5],
        "root_mean_square_score": [0.354],
        "largest_weight": [1.0],
        "root_mean_square_weight": [1.0],
    }


def test_packages_that_are_not_used_need_not_be_there(bench: Any) -> None:
    with bench.methods.stand_ins("no_such_package", "no_such_package.part", "torch"):
        exec("import no_such_package.part as part\nfrom no_such_package import thing")
        assert sys.modules["torch"] is torch
    assert "no_such_package" not in sys.modules


def test_exactly_so_many_weights_where_scores_are_equal(bench: Any) -> None:
    scores = torch.tensor([0.2, 0.5, 0.2, 0.2, 0.7, 0.1]).requires_grad_()
    mask = bench.twins.highest(scores, 0.5)
    assert (int(mask.sum()), mask[1], mask[4], mask[5]) == (3, 1, 1, 0)
    (3 * mask).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [3] * 6


def test_a_weight_that_has_left_the_mask_rests(bench: Any) -> None:
    layer: Any = nn.Linear(2, 1, bias=False)
    optimizer = bench.wsn.HoldingAdam(layer.parameters(), lr=0.1)
    optimizer.layers = [layer]
    layer.weight_mask = torch.ones(1, 2)
    layer.weight.grad = torch.ones(1, 2)
    optimizer.step()
    before = layer.weight.detach().clone()
    layer.weight_mask = torch.tensor([[1.0, 0.0]])
    layer.weight.grad = torch.zeros(1, 2)  # momentum alone
    optimizer.step()
    assert layer.weight[0, 0] != before[0, 0]
    assert layer.weight[0, 1] == before[0, 1]


def test_a_single_seed_is_refused(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "public_wsn.py --code WSN --data digits.safetensors --seeds 1"
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit):
        bench.methods.compare("public_wsn", "", bench.wsn.settings, "github.com/a/b")
    assert "--seeds: 1; at least 2" in capsys.readouterr().err


# Records


def told(values: list[float]) -> str:
    return f"{100 * fmean(values):.1f} ± {100 * stdev(values):.1f}"


def rows_of_docs() -> list[list[str]]:
    lines = (REPOSITORY / "docs" / "methods.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]


@pytest.mark.parametrize("name", RECORDS)
def test_the_page_on_methods_says_what_is_recorded(name: str) -> None:
    record = read_json(FOLDER / f"{name}.json")
    rows = {row[0]: row[1:] for row in rows_of_docs()}
    for setting, sides in record["settings"].items():
        label = f"{setting} per layer" if name == "public_hat" else setting
        assert rows[label][:2] == [told([r["acc"] for r in sides[s]]) for s in ("public", "ours")]
        for cell, side in zip(rows[label][3:5], ("public", "ours")):
            assert cell == f"{100 * fmean(r['used_fraction'] for r in sides[side]):.0f}"
        if name in TWINS:
            assert rows[label][5] == f"{100 * fmean(record['masks_in_common'][setting]):.1f}"


@pytest.mark.parametrize("name", RECORDS)
def test_nothing_was_forgotten_in_any_recorded_run(name: str) -> None:
    for sides in read_json(FOLDER / f"{name}.json")["settings"].values():
        runs = [run for own in sides.values() for run in own]
        assert len(runs) == 10
        assert {run["forgetting"] for run in runs} == {0.0}


@pytest.mark.parametrize("name", TWINS)
def test_public_code_and_ours_chose_the_same_masks(name: str) -> None:
    record = read_json(FOLDER / f"{name}.json")
    exact = [key for key in record["settings"] if key.endswith(EXACT)]
    assert len(exact) == 2
    for key in exact:
        sides = record["settings"][key]
        for public, ours in zip(sides["public"], sides["ours"], strict=True):
            assert public == pytest.approx(ours, abs=1e-12)  # means of the same numbers
        assert set(record["masks_in_common"][key]) == {1.0}


@pytest.mark.parametrize("name", TWINS)
def test_each_side_by_itself_begins_as_the_other(name: str) -> None:
    """Counts within one weight, scores of one distribution, weights of one size or range."""
    for sides in read_json(FOLDER / f"{name}.json")["drawn"].values():
        public, ours = sides["public"], sides["ours"]
        for theirs, own in zip(public.pop("active"), ours.pop("active"), strict=True):
            assert abs(theirs - own) <= 1
        for what, values in public.items():
            assert values == pytest.approx(ours[what], abs=0.01), what
