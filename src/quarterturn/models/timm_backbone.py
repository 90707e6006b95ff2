"""Any network of the timm library as a backbone; timm is an extra and is imported when used."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from quarterturn.errors import ConfigError
from quarterturn.models.backbone import Backbone


class TimmBackbone(Backbone):
    """A network of timm, without its classifier.

    Its layers are those of timm's ``feature_info``, by timm's own names (``layer1``, ``blocks.0``
    ...), as (B, channels, height, width), and the pooled feature ``pool``. A network that cannot
    hand out the former, or gives two of them the same name, offers ``pool`` alone.

    Args:
        net: Made by timm with ``num_classes=0``.
        feature_dim: D, width of what ``net`` returns.
    """

    def __init__(self, net: Any, feature_dim: int) -> None:
        names: list[str] = []
        if hasattr(net, "forward_intermediates"):
            names = [info["module"] for info in net.feature_info]
        self.inner = names if len(set(names)) == len(names) else []
        super().__init__([("net", net)], [*self.inner, "pool"], feature_dim)

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """As `Backbone.features`; timm's own forward stops after the last layer asked for."""
        self.refuse_unknown(layers)
        net: Any = self.stages["net"]
        inner = [name for name in self.inner if name in layers]
        indices = [self.inner.index(name) for name in inner]
        if not inner:
            return {"pool": net(images)} if "pool" in layers else {}
        if "pool" not in layers:
            values = net.forward_intermediates(
                images, indices=indices, stop_early=True, intermediates_only=True
            )
            return dict(zip(inner, values, strict=True))
        last, values = net.forward_intermediates(images, indices=indices)
        return dict(zip(inner, values, strict=True)) | {"pool": net.forward_head(last)}


def import_timm(what: str) -> Any:
    """The timm library.

    Raises:
        ConfigError: It is not installed; ``what`` says what needs it.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f"{what} needs an extra: pip install 'quarterturn[timm]'") from error
    return timm


def timm_backbone(name: str, image_size: int) -> TimmBackbone:
    """A network of timm with fresh weights; nothing is downloaded.

    Transformers are built for the size of the images; of a size that is no multiple of their
    patches they do not see the rest.

    Args:
        name: As `timm.list_models` has it, such as ``resnet10t``.
        image_size: Side of the input in pixels.

    Raises:
        ConfigError: timm is not installed, or has no such network.
        ValueError: The network does not take images of this size.
    """
    timm = import_timm(f"the backbone 'timm:{name}'")
    if not timm.is_model(name):  # nor is a name on a hub, so that none is asked
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"close to it: {', '.join(close)}" if close else "timm.list_models() has them all"
        raise ConfigError(f"timm has no network {name!r}; {hint}")
    try:
        try:
            net = timm.create_model(name, pretrained=False, num_classes=0, img_size=image_size)
        except TypeError:  # the network takes any size and has no such argument
            net = timm.create_model(name, pretrained=False, num_classes=0)
        # One image tells the width, which timm's attributes do not in all networks and versions,
        # and whether this size works. In eval mode it leaves no trace.
        with torch.no_grad():
            features = net.eval()(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(f"timm:{name} does not take images of {image_size} px: {error}") from error
    if features.ndim != 2:
        raise ValueError(f"timm:{name} gives no pooled feature, but {tuple(features.shape)[1:]}")
    return TimmBackbone(net.train(), feature_dim=features.shape[1])
