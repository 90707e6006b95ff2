"""Networks of the timm library as backbones; timm is an extra, imported on use."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from quarterturn.errors import ConfigError
from quarterturn.models.backbone import Backbone


class TimmBackbone(Backbone):
    """A network of timm, without its classifier.

    Its layers are those of timm's ``feature_info`` under timm's names (``layer1``, ``blocks.0``
    ...), as (B, channels, height, width), and the pooled feature ``pool``. If timm cannot return
    them, or two have the same name, ``pool`` is the only layer.

    Args:
        net: A network from timm with ``num_classes=0``.
        feature_dim: D, width of the output of ``net``.
    """

    def __init__(self, net: Any, feature_dim: int) -> None:
        names: list[str] = []
        if hasattr(net, "forward_intermediates"):
            names = [info["module"] for info in net.feature_info]
        self.inner = names if len(set(names)) == len(names) else []
        super().__init__([("net", net)], [*self.inner, "pool"], feature_dim)

    @property
    def parting_layers(self) -> tuple[str, ...]:
        """Those of timm's layers that have parameters, where timm says how deep these lie."""
        grouped = self._groups()
        return tuple(name for name in self.inner if _of_module(name, grouped))

    def before(self, layer: str | None) -> list[nn.Module | nn.Parameter]:
        """See `Backbone.before`."""
        if layer is None:
            return super().before(None)
        grouped, net = self._groups(), self.stages["net"]
        first = min(_of_module(layer, grouped))
        found: dict[str, nn.Module | nn.Parameter] = {}
        for name, depth in grouped.items():
            if depth < first:
                owner, _, _ = name.rpartition(".")
                # Transformers have parameters beside their blocks: positions, tokens.
                whole = owner and max(_of_module(owner, grouped)) < first
                found |= (
                    {owner: net.get_submodule(owner)} if whole else {name: net.get_parameter(name)}
                )
        return list(found.values())

    def depths(self) -> dict[str, int]:
        """Parameters by name to the number of their block, as timm groups them."""
        grouped = self._groups()
        if not grouped:
            return super().depths()
        return {f"stages.net.{name}": depth for name, depth in grouped.items()}

    def _groups(self) -> dict[str, int]:
        """The parameters of timm's network by depth; empty where timm does not say."""
        net: Any = self.stages["net"]
        if not hasattr(net, "group_matcher"):
            return {}
        from timm.models import group_parameters

        return group_parameters(net, net.group_matcher(), reverse=True)

    def features(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """See `Backbone.features`; timm's forward pass stops after the last layer needed."""
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


def _of_module(name: str, grouped: dict[str, int]) -> list[int]:
    """How deep the parameters of a module lie."""
    return [depth for parameter, depth in grouped.items() if parameter.startswith(f"{name}.")]


def import_timm(what: str) -> Any:
    """Import the timm library.

    Args:
        what: The option or backbone that needs it, for the message.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f"{what} needs an extra: pip install 'quarterturn[timm]'") from error
    return timm


def timm_backbone(name: str, image_size: int) -> TimmBackbone:
    """A network of timm with fresh weights; nothing is downloaded.

    Transformers are built for the size of the images; if it is not a multiple of their patch size,
    they ignore the remaining pixels.

    Args:
        name: A name from `timm.list_models`, such as ``resnet10t``.
        image_size: Side of the input in pixels.

    Raises:
        ConfigError: timm is not installed, or has no such network.
        ValueError: The network does not accept images of this size.
    """
    timm = import_timm(f"the backbone 'timm:{name}'")
    if not timm.is_model(name):  # also refuses names on a hub, so that nothing is downloaded
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"similar names: {', '.join(close)}" if close else "timm.list_models() lists all"
        raise ConfigError(f"timm has no network {name!r}; {hint}")
    try:
        try:
            net = timm.create_model(name, pretrained=False, num_classes=0, img_size=image_size)
        except TypeError:  # the network accepts any size and has no such argument
            net = timm.create_model(name, pretrained=False, num_classes=0)
        # One image shows the width, which timm's attributes do not for all networks and versions,
        # and whether this size works. In eval mode it changes no state.
        with torch.no_grad():
            features = net.eval()(torch.zeros(1, 3, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"timm:{name} does not accept images of {image_size} px: {error}"
        ) from error
    if features.ndim != 2:
        raise ValueError(
            f"timm:{name} returns {tuple(features.shape)[1:]} per image; expected a pooled feature"
        )
    return TimmBackbone(net.train(), feature_dim=features.shape[1])
