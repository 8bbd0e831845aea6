"""What a device makes of a run's engine settings (`dstcl.study.settings.Engine`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from dstcl.networks.arithmetic import Arithmetic
from dstcl.study.settings import Engine

Forward = Callable[[Tensor], Tensor]

COMPILED = ("on", "graphs", "compiled-step-graph")
"""Values of ``compile`` for which the network goes through torch.compile."""
STEP_GRAPHS = ("step-graph", "compiled-step-graph")
"""Values of ``compile`` for which the whole step is one CUDA graph (`dstcl.continual.step`)."""
WORTHWHILE = 1.2
"""Gain in speed from which "auto" takes bfloat16 on a processor. Measured gains are 0.5 (Intel,
AVX512_BF16 without AMX) or about 2 and more (AMD with AVX512_BF16, Intel with AMX), so noise does
not change the choice."""


def arithmetic_of(engine: Engine, device: torch.device) -> Arithmetic:
    """Precision and layout on a device, with "auto" decided.

    Sets the switch of this process that lets CUDA use TF32 for float32: on for "tf32" alone,
    although torch's own default is on for convolutions.

    Raises:
        ValueError: the device cannot do it.
    """
    precision: str = engine.precision
    layout: str = engine.layout
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(f"precision: 'tf32' needs an NVIDIA GPU; this run is on {device.type}")
    if precision == "auto":
        precision = "bfloat16" if bfloat16_pays(device) else "float32"
    if layout == "auto":
        fast = "unfolded" if device.type == "cpu" else "channels_last"
        layout = "contiguous" if precision == "float32" else fast
    allow_tf32(precision == "tf32")
    return Arithmetic(precision, layout)


def allow_tf32(allowed: bool) -> None:
    """Whether CUDA may compute float32 products in TF32, in this process."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def bfloat16_pays(device: torch.device) -> bool:
    """Whether a device computes faster in bfloat16 than in float32.

    A GPU with units for it does. A processor with instructions for it need not: Intel's have half
    the float32 rate where AMX is missing. So its speed is measured.
    """
    if not bfloat16_units(device):
        return False
    return device.type == "cuda" or bfloat16_gain() >= WORTHWHILE


@cache
def bfloat16_gain(size: int = 512, rounds: int = 7) -> float:
    """How many times as fast this processor multiplies matrices in bfloat16 as in float32.

    Measured once in a process, in about 0.05 s; the fastest round of each counts, as other work on
    the processor only slows rounds down.

    Args:
        size: of the square matrices.
        rounds: of one product in each precision.
    """
    factors = torch.linspace(-1, 1, size * size).view(size, size)
    kinds = {kind: factors.to(kind) for kind in (torch.float32, torch.bfloat16)}
    best = dict.fromkeys(kinds, float("inf"))
    for _ in range(rounds):
        for kind, matrix in kinds.items():
            started = time.perf_counter()
            torch.mm(matrix, matrix)
            best[kind] = min(best[kind], time.perf_counter() - started)
    return best[torch.float32] / best[torch.bfloat16]


def bfloat16_units(device: torch.device) -> str:
    """What a device has for bfloat16; empty where it has nothing.

    "tensor cores" (NVIDIA since Ampere) or, for processors, the instructions that oneDNN uses for
    products: "AMX", "AVX512_BF16" (Intel and AMD) or "BF16" (ARM). Where torch was built without
    oneDNN, a processor's instructions lie idle and do not count.
    """
    if device.type == "cuda":
        return "tensor cores" if torch.cuda.get_device_capability(device)[0] >= 8 else ""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return ""
    has = torch.cpu.get_capabilities()
    names = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16", "bf16": "BF16"}
    return next((name for flag, name in names.items() if has.get(flag)), "")


def training_forward(
    network: nn.Module, engine: Engine, batch_size: int, device: torch.device
) -> Forward:
    """The network's forward pass for training steps, compiled where the run asks for it.

    A batch that is smaller than the others, as the last of an epoch is, goes through the network
    itself: compiling for it would cost more than it saves.

    Raises:
        ValueError: the device cannot do it.
    """
    if engine.compile not in ("off", "on") and device.type != "cuda":
        raise ValueError(
            f"compile: {engine.compile!r} needs an NVIDIA GPU; this run is on {device.type}"
        )
    if engine.compile not in COMPILED:
        return network
    graphs = engine.compile == "graphs"
    compiled = torch.compile(network, dynamic=False, mode="reduce-overhead" if graphs else None)

    def forward(images: Tensor) -> Tensor:
        if len(images) < batch_size:
            return network(images)
        if graphs:
            torch.compiler.cudagraph_mark_step_begin()
        return compiled(images)

    return forward
