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
}
"""Without a preset: rate and floor of ITOP's code, as in the paper on continual learning; all else
as in RigL."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Evci et al. 2020, section 3 and appendix: ERK, updates every 100 steps up to 3/4 of them,
    # 0.3 by half a cosine to zero.
    "rigl": {"prune_rate": 0.3, "floor": 0.0},
    # Mocanu et al. 2018, algorithm 1 and methods: Erdos-Renyi, zeta = 0.3 after each epoch.
    "set": {
        "init": "er",
        "update_every": None,
        "prune": "set",
        "grow": "random",
        "prune_rate": 0.3,
        "floor": 0.3,
        "prune_schedule": "constant",
        "stop_at": 1.0,
    },
    # Dettmers and Zettlemoyer 2019, algorithm 1, with the prune rate and cosine of their code:
    # layers of one density at first, after each epoch redistributed by momentum.
    "snfs": {
        "init": "uniform",
        "update_every": None,
        "grow": "momentum",
        "stop_at": 1.0,
        "redistribute": "momentum",
    },
    # Liu et al. 2021, RigL-ITOP as their code runs it: rare updates up to the end, so that most
    # weights are tried. SET-ITOP is grow="random", update_every=1500 on top.
    "itop": {"update_every": 4000, "stop_at": 1.0},
}


def chosen_settings(preset: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each of `DEFAULTS`: the given one unless it is None, else the preset's.

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
    return values
