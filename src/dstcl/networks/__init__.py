"""Built-in networks by name: which file makes each, and with what.

A network's file is imported where it is built (`dstcl.networks.build`), so that the digest of a
run's code covers its own network's file only. What building needs imports relatively within this
package: a registered model carries a copy of it under another name.

Never imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

NO_ARGUMENTS: Mapping[str, int] = MappingProxyType({})


class BuiltIn(NamedTuple):
    """How a network is made.

    Attributes:
        module: its file in this package.
        function: in that file; takes the channels of images and the number of classes, and returns
            a `torch.nn.Module` whose head is the layer ``head``.
        arguments: further ones, by name.
    """

    module: str
    function: str
    arguments: Mapping[str, int] = NO_ARGUMENTS


NETWORKS: dict[str, BuiltIn] = {
    "convnet": BuiltIn("convnet", "convnet"),
    "lenet5": BuiltIn("lenet", "lenet5"),
    "resnet18-slim": BuiltIn("resnet", "resnet18", {"width": 16}),
    "resnet18": BuiltIn("resnet", "resnet18"),
    "resnet18-3x3": BuiltIn("resnet", "resnet18", {"stem_size": 3, "stem_stride": 1}),
    "mobilenetv2-slim": BuiltIn("mobilenet", "mobilenetv2", {"width": 8}),
    "mobilenetv2": BuiltIn("mobilenet", "mobilenetv2"),
    "vgg16-slim": BuiltIn("vgg", "vgg16", {"width": 16}),
    "vgg16": BuiltIn("vgg", "vgg16"),
}


def built_in(name: str) -> BuiltIn:
    """How a network is made.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in NETWORKS:
        raise ValueError(
            f"networks: no {name!r}; built in: {', '.join(NETWORKS)}; "
            "one of your own: module:attribute"
        )
    return NETWORKS[name]


def network_modules(name: str) -> tuple[str, ...]:
    """Modules of dstcl that make a built-in network, for `dstcl.codedigest`.

    Raises:
        ValueError: there is none of that name.
    """
    return (f"networks.{built_in(name).module}",)
