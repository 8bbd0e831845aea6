"""The core in a training loop of one's own: any torch model, any optimiser.

python examples/own_loop.py
"""

import torch
from torch import nn

from dstcl import DynamicSparseTraining

UPDATE_EVERY, STEPS = 50, 400

torch.manual_seed(0)
inputs = torch.randn(4096, 64)
labels = (inputs[:, :8].sum(1) > 0).long()  # eight of 64 inputs matter
model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2))
optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
sparse = DynamicSparseTraining(
    model, optimizer, density=0.1, init="erk", grow="gradient",
    update_every=UPDATE_EVERY, total_steps=STEPS,
)  # fmt: skip

for step in range(1, STEPS + 1):
    batch = torch.randint(len(inputs), (64,))
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
    loss.backward()
    sparse.step()  # instead of optimizer.step()
    if sparse.changes_masks(step):
        print(
            f"update {sparse.updates}: loss {loss:.3f}, density {sparse.density():.3f}, "
            f"ever active {sparse.explored_fraction():.3f}"
        )
matter = sparse.masks["0.weight"][:, :8].float().mean()
print(f"density of the inputs that matter: {matter:.2f}")
