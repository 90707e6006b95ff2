"""Names that other codes give to the weights of our networks.

A layout maps each of our weights to its name there. An import stops if any weight is missing,
unexpected, or of another shape.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.methods.configuration import Config
from quarterturn.models.timm_backbone import import_timm
from quarterturn.presets import preset

OF_TIMM = (
    "For another network of timm's: quarterturn import FILE --backbone timm:NAME --out RUN, and "
    "give that run"
)


@dataclass(frozen=True)
class Layout:
    """Another code's names for one of our networks.

    Attributes:
        name: Code and network, for messages.
        config: Configuration of the same network here, and of the images that it expects.
        theirs: Our name of a weight to theirs.
        heads: Our heads that come with the weights.
        left_out: Prefixes of their names without a counterpart here, such as a classifier.
        advice: Where a file does not fit after all.
    """

    name: str
    config: Config
    theirs: Callable[[str], str]
    heads: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    advice: str = ""

    def translate(
        self, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Their tensors by our names.

        Args:
            tensors: Their tensors.
            expected: Our network's state dict, for names and shapes.

        Returns:
            A state dict for our network, and the names that were left out.

        Raises:
            CheckpointError: Lists missing and unexpected tensors, and those of another shape.
        """
        state, missing, misshapen = {}, [], []
        used = set()
        for ours, wanted in expected.items():
            name = self.theirs(ours)
            used.add(name)
            if name not in tensors:
                if ours.endswith(".num_batches_tracked"):
                    # Older versions of torch did not count; the count has no effect here.
                    state[ours] = torch.zeros_like(wanted)
                else:
                    missing.append(name)
            elif tensors[name].shape != wanted.shape:
                misshapen.append(
                    f"{name} is {tuple(tensors[name].shape)}, expected {tuple(wanted.shape)}"
                )
            else:
                state[ours] = tensors[name]
        rest = [name for name in tensors if name not in used]
        left_out = sorted(name for name in rest if name.startswith(self.left_out))
        unexpected = [name for name in rest if name not in left_out]
        if missing or unexpected or misshapen:
            raise CheckpointError(
                f"this looks like {self.name}, but it does not fit:"
                + _listed("missing", missing)
                + _listed("unexpected", unexpected)
                + _listed("of another shape", misshapen)
                + (f"\n{self.advice}" if self.advice else "")
            )
        return state, left_out


def recognise(names: Collection[str], backbone: str | None = None) -> Layout:
    """Recognise the code and network of a file by the names of its tensors.

    Args:
        names: The tensors' names.
        backbone: Our backbone for the weights; required only for ``timm:NAME``.

    Raises:
        CheckpointError: No layout has such names.
        ConfigError: The weights belong to another backbone.
    """
    if backbone is not None and backbone.startswith("timm:"):
        return timm_layout(backbone)

    def some(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in names)

    if some("backbone.stages."):
        raise CheckpointError(
            "this is a checkpoint of quarterturn: use its run directory, which needs no import"
        )
    if some("_feature_blocks.0.Block1_"):
        layout = _nin(names)
    elif some("_feature_blocks.9."):
        layout = _rotnet_alexnet()
    elif some("_feature_blocks."):
        layout = _decoupling_alexnet(names)
    elif some("layer1."):
        layout = _resnet("resnet50" if "layer1.0.conv3.weight" in names else "resnet18")
    else:
        raise CheckpointError(
            f"these are not the weights of a known network: {len(names)} tensors, the first "
            f"{', '.join(list(names)[:3])}; expected a feature_net_epochN of FeatureDecoupling, a "
            "model_net_epochN of RotNet, or torchvision's or timm's resnet18 or resnet50. "
            f"{OF_TIMM}"
        )
    if backbone not in (None, layout.config.model.backbone):
        raise ConfigError(f"--backbone {backbone}, but the file looks like {layout.name}")
    return layout


ALEXNET = {
    "conv1.0": "0.0",
    "conv1.1": "0.1",
    "conv2.0": "2.0",
    "conv2.1": "2.1",
    "conv3.0": "4.0",
    "conv3.1": "4.1",
    "conv4.0": "5.0",
    "conv4.1": "5.1",
    "conv5.0": "6.0",
    "conv5.1": "6.1",
    "fc6.0": "8.1",
    "fc6.1": "8.2",
    "fc7.0": "8.4",
    "fc7.1": "8.5",
}
"""Convolutions and linear layers (.0) and their batch norms (.1), ours and among the numbered
``_feature_blocks`` of both original codes."""


def _by_module(modules: Mapping[str, str]) -> Callable[[str], str]:
    """Renames the module that a parameter belongs to."""

    def theirs(ours: str) -> str:
        module, _, parameter = ours.rpartition(".")
        return f"{modules[module]}.{parameter}"

    return theirs


def _alexnet_modules(rotation_head: str) -> dict[str, str]:
    blocks = {f"backbone.stages.{m}": f"_feature_blocks.{number}" for m, number in ALEXNET.items()}
    return {**blocks, "rotation_head": rotation_head, "embedding_head": "norm.0"}


def _decoupling_alexnet(names: Collection[str]) -> Layout:
    """Feng, Xu, Tao (CVPR 2019): the heads are in files of their own, beside the backbone's."""
    found = {"rotation_head": "fc_classifier.0.weight", "embedding_head": "norm.0.weight"}
    return Layout(
        "the AlexNet of FeatureDecoupling",
        preset("imagenet-alexnet"),
        _by_module(_alexnet_modules("fc_classifier.0")),
        heads=tuple(head for head, name in found.items() if name in names),
    )


def _rotnet_alexnet() -> Layout:
    """Gidaris, Singh, Komodakis (ICLR 2018)."""
    return Layout(
        "the AlexNet of RotNet",
        preset("imagenet-alexnet").with_settings(method="rotnet"),
        _by_module(_alexnet_modules("_feature_blocks.9.0")),
        heads=("rotation_head",),
    )


def _nin(names: Collection[str]) -> Layout:
    """RotNet's network for CIFAR, with as many blocks as the file has.

    Some of RotNet's configurations, not the one for CIFAR-10, have a pool after the third block,
    which the names do not show; here there is none.
    """
    blocks = len({name.split(".")[1] for name in names if "_ConvB1." in name})
    modules = {"rotation_head": f"_feature_blocks.{blocks}.Classifier"}
    for block in range(blocks):
        for conv in range(3):
            ours = f"backbone.stages.block{block + 1}"
            theirs = f"_feature_blocks.{block}.Block{block + 1}_ConvB{conv + 1}.layers"
            modules[f"{ours}.{3 * conv}"] = f"{theirs}.Conv"
            modules[f"{ours}.{3 * conv + 1}"] = f"{theirs}.BatchNorm"
    sizes = {3: "nin3", 4: "nin", 5: "nin5"}
    if blocks not in sizes:
        raise CheckpointError(
            f"this looks like RotNet's Network-in-Network, but of {blocks} blocks; expected 3 to 5"
        )
    return Layout(
        f"RotNet's Network-in-Network of {blocks} blocks",
        preset("cifar10-nin").with_settings(method="rotnet", backbone=sizes[blocks]),
        _by_module(modules),
        heads=("rotation_head",),
    )


def resnet_name(ours: str) -> str:
    """Torchvision's and timm's name for a weight of our ResNets."""
    for mine, theirs in (("stages.stem.0.", "stages.conv1."), ("stages.stem.1.", "stages.bn1.")):
        ours = ours.replace(mine, theirs)
    return ours.removeprefix("backbone.stages.")


def timm_name(ours: str) -> str:
    """Timm's name for a weight of our ``timm:NAME``."""
    return ours.removeprefix("backbone.stages.net.")


def _resnet(name: str) -> Layout:
    return Layout(
        f"torchvision's or timm's {name}",
        Config().with_settings(backbone=name, method="imported", image_size=224),
        resnet_name,
        left_out=("fc.",),
        advice=OF_TIMM,
    )


def timm_layout(backbone: str) -> Layout:
    """Any network of timm, with the image size and normalisation of its own weights."""
    name = backbone.removeprefix("timm:")
    timm = import_timm(f"the backbone '{backbone}'")
    config = Config().with_settings(backbone=backbone, method="imported", image_size=224)
    left_out: tuple[str, ...] = ()
    if (about := timm.get_pretrained_cfg(name)) is not None:
        config = config.with_settings(
            image_size=about.input_size[1],
            eval_crop=about.crop_pct,
            mean=tuple(about.mean),
            std=tuple(about.std),
        )
        heads = [about.classifier] if isinstance(about.classifier, str) else about.classifier or ()
        left_out = tuple(f"{head}." for head in heads)
    return Layout(
        f"timm's {name}",
        config,
        timm_name,
        left_out=left_out,
    )


def _listed(title: str, names: list[str], most: int = 12) -> str:
    if not names:
        return ""
    lines = names[:most] + ([f"... and {len(names) - most} more"] if len(names) > most else [])
    return f"\n{title} ({len(names)}):" + "".join(f"\n  {line}" for line in lines)
