"""The growth criteria that are built in."""

from __future__ import annotations

from torch import Tensor

from dstcl.sparse.criteria import LayerView, register_growth


@register_growth("random")
def grow_random(layer: LayerView) -> Tensor:
    """Any candidate, with equal chance (SET; Mocanu et al. 2018)."""
    return layer.random()


@register_growth("unfired")
def grow_unfired(layer: LayerView) -> Tensor:
    """At random among weights never active in this task; only then among the others.

    After ITOP (Liu et al. 2021).
    """
    return layer.random() + (~layer.explored)


@register_growth("gradient", gradient=True)
def grow_gradient(layer: LayerView) -> Tensor:
    """Largest dense gradient of the current mini-batch (RigL; Evci et al. 2020)."""
    assert layer.gradient is not None
    return layer.gradient.abs()


@register_growth("momentum", momentum=True)
def grow_momentum(layer: LayerView) -> Tensor:
    """Largest running gradient (SNFS; Dettmers and Zettlemoyer 2019, without redistribution)."""
    assert layer.momentum is not None
    return layer.momentum.abs()


@register_growth("momentum_neuron", momentum=True)
def grow_momentum_neuron(layer: LayerView) -> Tensor:
    """Largest running gradient, weighed by the mean over the weight's output neuron or channel.

    Dettmers and Zettlemoyer 2019 (appendix).
    """
    assert layer.momentum is not None
    magnitude = layer.momentum.abs()
    neuron = magnitude.flatten(1).mean(1)
    return magnitude * neuron.view(-1, *[1] * (magnitude.dim() - 1))
