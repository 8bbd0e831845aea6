"""A growth criterion of one's own: by name in any loop, as own_growth:by_age in params.yaml.

python examples/own_growth.py
"""

import torch

from dstcl import DynamicSparseTraining, register_growth


@register_growth("by_age", gradient=True)
def by_age(layer):
    """Largest gradient among the weights that were never active; only then among the others."""
    size = layer.gradient.abs()
    return size + (~layer.explored) * (1 + size.max())


if __name__ == "__main__":
    model = torch.nn.Linear(100, 50)
    sparse = DynamicSparseTraining(
        model, torch.optim.SGD(model.parameters(), 0.1),
        density=0.1, grow="by_age", update_every=10, total_steps=40, stop_at=1.0,
    )  # fmt: skip
    for _ in range(40):
        sparse.optimizer.zero_grad()
        model(torch.randn(32, 100)).square().mean().backward()
        sparse.step()
    print(f"{sparse.updates} updates; {sparse.explored_fraction():.0%} of all weights were active")
