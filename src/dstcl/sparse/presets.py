"""The values with which methods were published, for ``preset=`` of `DynamicSparseTraining`.

What all have in common here and the originals do not: the optimiser also steps where masks change
(RigL leaves that step out), and the number of weights to replace is rounded up (RigL's code cuts
off). Counts are exact, where SNFS and SET's code let them drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, Any] = {
    "init": "erk",
    "update_every": 100,
    "prune": "magnitude",
    "grow": "gradient",
    "prune_rate": 0.5,
    "floor": 0.005,
    "prune_schedule": "cosine",
    "stop_at": 0.75,
    "redistribute": "none",
    "at_the_end": True,
}
"""Without a preset: rate and floor of ITOP's code, as in the paper on continual learning; all else
as in RigL."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "rigl": {"prune_rate": 0.3, "floor": 0.0},
    "set": {
        "init": "er",
        "update_every": None,
        "prune": "set",
        "grow": "random",
        "prune_rate": 0.3,
        "floor": 0.3,
        "prune_schedule": "constant",
        "stop_at": 1.0,
        "at_the_end": False,
    },
    "snfs": {
        "init": "uniform",
        "update_every": None,
        "grow": "momentum",
        "stop_at": 1.0,
        "redistribute": "momentum",
        "at_the_end": False,
    },
    "itop": {"update_every": 4000, "stop_at": 1.0},
}
"""What each has in place of `DEFAULTS`.

- ``rigl``: Evci et al. 2020 (arXiv 1911.11134), section 3 and appendix: ERK, alpha 0.3 by half a
  cosine to zero, every 100 steps up to about 3/4 of them. In the public code (google-research/rigl)
  ``drop_fraction`` is 0.3 and ``maskupdate_frequency`` 100; ``maskupdate_end_step`` is 75,000 of
  97,656 steps in ``cifar_resnet`` and 25,000 in ``imagenet_resnet``. There
  ``drop_fraction_anneal`` is constant unless the command says cosine, as the paper has it.
- ``set``: Mocanu et al. 2018 (Nature Communications 9, 2383), algorithm 1 and methods:
  Erdos-Renyi, zeta 0.3 after each epoch, the smallest positive and the largest negative weights.
  So ``set_mlp_keras_cifar10.py`` of the public code, whose last layer is dense. Nothing is grown
  after the last epoch (algorithm 1; ``set_mlp_sparse_data_structures.py`` changes nothing there).
- ``snfs``: Dettmers and Zettlemoyer 2019 (arXiv 1907.04840), algorithm 1. Rate 0.5 by a cosine to
  0.005, layers of one density at first (``enforce_density_per_layer``), an update after each epoch:
  defaults of the public code (TimDettmers/sparse_learning, ``sparselearning/core.py``), which has
  none after the last epoch (``mnist_cifar/main.py``).
- ``itop``: Liu et al. 2021 (arXiv 2102.02887), RigL-ITOP as the README of the public code
  (In-Time-Over-Parameterization) runs it: ERK, ``--update_frequency 4000``, gradient growth, up to
  the end, so that most weights are tried; rate 0.5 by a cosine to 0.005, as in its
  ``sparselearning/core.py``. Its SET-ITOP is ``grow="random", update_every=1500`` on top.
"""


def chosen_settings(preset: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each of `DEFAULTS`: the given one unless it is None, else the preset's.

    A floor that is not given is at most the rate, so that a rate of 0 exchanges nothing.

    Raises:
        ValueError: an unknown preset, or one that leaves to the user what was not given.
    """
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    values = {**DEFAULTS, **(PRESETS[preset] if preset else {})}
    values |= {key: value for key, value in given.items() if value is not None}
    if values["update_every"] is None:
        raise ValueError(
            f"update_every: preset {preset!r} changes masks after each epoch; give the number of "
            "steps in one"
        )
    if given.get("floor") is None:
        values["floor"] = min(values["floor"], values["prune_rate"])
    return values
