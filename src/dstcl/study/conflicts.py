"""Settings that exclude each other, although each may be set; standard library only.

A run asks when it is built, params.yaml as soon as it is read.
"""

from __future__ import annotations

from dstcl.study.methods import method_facts
from dstcl.study.settings import Training


def decay_problem(training: Training, mask_counts: str, method: str) -> str:
    """What is wrong with the weight decay of several tasks, "" if nothing: key, value, a remedy.

    With mask counts as in the paper's code, gradients of frozen weights are zeroed, but not what
    the optimiser adds to them: weight decay would change finished tasks.
    """
    own = "weight_decay" in training.optimizer_settings
    decay = training.optimizer_settings["weight_decay"] if own else training.weight_decay
    if not decay or mask_counts != "bernoulli":
        return ""
    if "switches.mask_counts" not in method_facts(method).reads:
        return ""
    key = f"training.{'optimizer_settings.' if own else ''}weight_decay"
    return (
        f"{key}: {decay!r}; it would move frozen weights under mask_counts: bernoulli; "
        "allowed: 0, or mask_counts: exact"
    )


def validation_problem(checkpoint: str, validation: float) -> str:
    """Why the epoch to keep cannot be found, "" if it can: key, value, what is allowed."""
    if checkpoint != "best_validation_accuracy" or validation:
        return ""
    return (
        f"training.validation: {validation:g}; switches.checkpoint {checkpoint!r} needs a share "
        "above 0, as 0.1"
    )
