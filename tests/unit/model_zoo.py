"""Models of torchvision and timm without trained weights, with the smallest inputs they take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Case = tuple[nn.Module, tuple[Any, ...]]
CLASSES = 5

# Side of the images, and what is asked of the constructor besides.
VISION: dict[str, tuple[int, dict[str, Any]]] = {
    "alexnet": (64, {}),
    "convnext_tiny": (32, {}),
    "densenet121": (32, {}),
    "efficientnet_b0": (32, {}),
    "efficientnet_v2_s": (32, {}),
    "googlenet": (32, {"init_weights": False, "aux_logits": False}),
    "inception_v3": (80, {"init_weights": False, "aux_logits": False}),
    "maxvit_t": (224, {}),
    "mnasnet0_5": (32, {}),
    "mobilenet_v2": (32, {}),
    "mobilenet_v3_large": (32, {}),
    "mobilenet_v3_small": (32, {}),
    "quantized_mobilenet_v2": (32, {"quantize": False}),
    "quantized_resnet18": (32, {"quantize": False}),
    "regnet_x_400mf": (32, {}),
    "regnet_y_400mf": (32, {}),
    "resnet18": (32, {}),
    "resnet34": (32, {}),
    "resnet50": (32, {}),
    "resnext50_32x4d": (32, {}),
    "shufflenet_v2_x0_5": (32, {}),
    "squeezenet1_0": (32, {}),
    "squeezenet1_1": (32, {}),
    "swin_t": (32, {}),
    "swin_v2_t": (32, {}),
    "vgg11": (32, {"init_weights": False}),
    "vit_b_32": (32, {"image_size": 32}),
    "wide_resnet50_2": (32, {}),
}
VIDEO = ("mc3_18", "mvit_v2_s", "r2plus1d_18", "r3d_18", "s3d", "swin3d_t")
SEGMENTATION = ("deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large")
DETECTION = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fcos_resnet50_fpn",
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "ssdlite320_mobilenet_v3_large",
)
FLOW = ("raft_small",)

TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "test_byobnet": (32, {}),
    "test_coatnet": (64, {"img_size": 64}),
    "test_convnext": (32, {}),
    "test_convnext2": (32, {}),
    "test_convnext3": (32, {}),
    "test_efficientnet": (32, {}),
    "test_efficientnet_evos": (32, {}),
    "test_efficientnet_gn": (32, {}),
    "test_efficientnet_ln": (32, {}),
    "test_mambaout": (32, {}),
    "test_maxvit": (64, {"img_size": 64}),
    "test_nfnet": (32, {}),
    "test_resnet": (32, {}),
    "test_vit": (32, {"img_size": 32}),
    "test_vit2": (32, {"img_size": 32}),
    "test_vit3": (32, {"img_size": 32}),
    "test_vit4": (32, {"img_size": 32}),
    "beit_base_patch16_224": (32, {"img_size": 32, "depth": 2}),
    "cait_xxs24_224": (32, {"img_size": 32}),
    "coat_tiny": (32, {"img_size": 32}),
    "convit_tiny": (32, {"img_size": 32}),
    "convmixer_768_32": (32, {}),
    "crossvit_tiny_240": (240, {}),
    "cspresnet50": (32, {}),
    "darknet17": (32, {}),
    "davit_tiny": (32, {}),
    "deit_tiny_patch16_224": (32, {"img_size": 32}),
    "dla46_c": (32, {}),
    "edgenext_xx_small": (32, {}),
    "efficientformer_l1": (224, {}),
    "eva02_tiny_patch14_224": (28, {"img_size": 28}),
    "fastvit_t8": (64, {}),
    "focalnet_tiny_srf": (32, {}),
    "gcvit_xxtiny": (224, {}),
    "ghostnet_050": (32, {}),
    "gmlp_s16_224": (32, {"img_size": 32}),
    "hgnetv2_b0": (32, {}),
    "hrnet_w18_small": (32, {}),
    "inception_next_atto": (32, {}),
    "lcnet_035": (32, {}),
    "levit_128s": (224, {}),
    "mixer_s32_224": (32, {"img_size": 32}),
    "mixnet_s": (32, {}),
    "mobilenetv4_conv_small": (32, {}),
    "mobileone_s0": (32, {}),
    "mobilevit_xxs": (32, {}),
    "mobilevitv2_050": (32, {}),
    "nf_resnet26": (32, {}),
    "pit_ti_224": (64, {"img_size": 64}),
    "poolformer_s12": (32, {}),
    "pvt_v2_b0": (32, {}),
    "repghostnet_050": (32, {}),
    "repvgg_a0": (32, {}),
    "res2net50_14w_8s": (32, {}),
    "resmlp_12_224": (32, {"img_size": 32}),
    "resnetv2_50": (32, {}),
    "rexnet_100": (32, {}),
    "selecsls42": (64, {}),
    "sequencer2d_s": (32, {"img_size": 32}),
    "skresnet18": (32, {}),
    "starnet_s1": (32, {}),
    "swin_tiny_patch4_window7_224": (64, {"img_size": 64, "window_size": 2}),
    "tiny_vit_5m_224": (224, {}),
    "tinynet_e": (32, {}),
    "twins_svt_small": (64, {"img_size": 64}),
    "vit_tiny_patch16_224": (32, {"img_size": 32}),
    "xcit_nano_12_p16_224": (32, {"img_size": 32}),
}

NOT_TRAINED: dict[str, str] = {
    "vgg11": "has the layers of alexnet, and 133 million weights",
    "wide_resnet50_2": "has the layers of resnet50, and 69 million weights",
    "mvit_v2_s": "takes 16 images of 224 by 224 and no less, which is too much for a test",
}
"""Models that are not tried, each with the reason."""


def torchvision_names() -> list[str]:
    return [*VISION, *VIDEO, *SEGMENTATION, *DETECTION, *FLOW]


def of_torchvision(name: str) -> Case:
    from torchvision import models

    if name in VISION:
        side, asked = VISION[name]
        model = models.get_model(name, weights=None, num_classes=CLASSES, **asked)
        return model, (images(2, 3, side, side),)
    if name in VIDEO:
        shape = (1, 3, 14, 224, 224) if name == "s3d" else (2, 3, 4, 32, 32)
        return models.get_model(name, weights=None, num_classes=CLASSES), (images(*shape),)
    if name in FLOW:
        return models.get_model(name, weights=None), (
            images(1, 3, 128, 128),
            images(1, 3, 128, 128),
        )
    more = {"weights_backbone": None, "num_classes": CLASSES}
    model = models.get_model(name, weights=None, **more)
    if name in SEGMENTATION:
        return model, (images(2, 3, 32, 32),)
    transform = model.transform
    transform.min_size, transform.max_size = (64,), 64
    transform.fixed_size = None if transform.fixed_size is None else (64, 64)
    return model, (list(images(2, 3, 64, 64).abs()), [target() for _ in range(2)])


def of_timm(name: str) -> Case:
    import timm

    side, asked = TIMM[name]
    model = timm.create_model(name, pretrained=False, num_classes=CLASSES, **asked)
    return model, (images(2, 3, side, side),)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def target() -> dict[str, Tensor]:
    """An object of class 1 in the middle of an image of 64 by 64."""
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[:, 10:50, 10:50] = 1
    return {
        "boxes": torch.tensor([[10.0, 10.0, 50.0, 50.0]]),
        "labels": torch.tensor([1]),
        "masks": masks,
    }


def tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from tensors(value)


def loss_of(model: nn.Module, inputs: tuple[Any, ...]) -> Tensor:
    """Some loss in which all outputs have a part."""
    found = [t for t in tensors(model(*inputs)) if t.is_floating_point() and t.requires_grad]
    return torch.stack([(t - 1).square().mean() for t in found]).sum()


MAKE: dict[str, Callable[[str], Case]] = {"torchvision": of_torchvision, "timm": of_timm}
