"""Train with a constant fan-in and use the network with layers that hold active weights only.

python examples/structured.py
"""

import torch
from torch import nn

from dstcl import DynamicSparseTraining

STEPS = 300

torch.manual_seed(0)
inputs = torch.randn(4096, 64)
labels = (inputs[:, :8].sum(1) > 0).long()  # eight of 64 inputs matter
model = nn.Sequential(
    nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2)
)
optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
sparse = DynamicSparseTraining(
    model, optimizer, density=0.1, grow="gradient", update_every=50, total_steps=STEPS,
    structure={"4": "none", "*": "fan-in"},  # not the layer of the two outputs
)  # fmt: skip

for _ in range(STEPS):
    batch = torch.randint(len(inputs), (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
    sparse.step()

for name in sparse.structures:
    fan_in = sparse.masks[name].sum(1).unique().tolist()
    print(f"{name}: {fan_in} of {sparse.shapes[name][1]} inputs for every output")
exported = sparse.export(model, "condensed", densest=0.25)
print(exported)
with torch.no_grad():
    dense, condensed = model(inputs), exported(inputs)
print(f"accuracy {(condensed.argmax(1) == labels).float().mean():.2f}, dense model the same: "
      f"{torch.allclose(dense, condensed, rtol=1e-4, atol=1e-5)}")  # fmt: skip
