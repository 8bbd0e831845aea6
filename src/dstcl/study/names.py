"""Names of built-in networks."""

NETWORKS = (
    "convnet",
    "lenet5",
    "resnet18-slim",
    "resnet18",
    "resnet18-3x3",
    "mobilenetv2-slim",
    "mobilenetv2",
    "vgg16-slim",
    "vgg16",
)
