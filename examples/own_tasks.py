"""Continual learning without the pipeline: images, a torch module and one call.

python examples/own_tasks.py
"""

import torch
from torch import nn

from dstcl.continual import learn


def pair(first, count, draws):
    """Images of two classes, which differ in where they are bright: tensors, normalised."""
    labels = torch.arange(count) % 2
    images = torch.randn(count, 1, 8, 8, generator=draws)
    images[range(count), 0, first + labels] += 1.5
    return images, labels


draws = torch.Generator().manual_seed(0)
tasks = [(pair(first, 200, draws), pair(first, 100, draws)) for first in (0, 2, 4)]
torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 2))

learned = learn(
    network, tasks, method="dst", density=0.2, growth="gradient",
    epochs=5, batch_size=20, learning_rate=0.01, update_every=10,
)  # fmt: skip
print("rows: after 0, 1, 2, 3 tasks\n", learned.accuracy.numpy().round(2))
print(f"ACC {learned.metrics()['acc']:.2f}, forgetting {learned.metrics()['forgetting']:.2f}")

first = learned.network(1)  # a plain module with the first task's mask and head
images, labels = tasks[0][1]
print(f"task 1 alone: {(first(images).argmax(1) == labels).float().mean():.2f}")
shared = (learned.masks(1)["1.weight"] & learned.masks(2)["1.weight"]).sum()
print(f"the second task uses {shared} weights of the first, which stay as they are")
