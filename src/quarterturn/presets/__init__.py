"""Recipes by name. Each states its paper, its command, and the time and score to expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from quarterturn.config import SMALL_IMAGE, ImbalanceConfig, NoiseAwareConfig
from quarterturn.config.entry_points import PRESETS_GROUP, callables_from
from quarterturn.config.validation import unknown
from quarterturn.methods.configuration import Config
from quarterturn.methods.registry import METHODS
from quarterturn.methods.rotation_head_options import RotationHeadOptions
from quarterturn.methods.rotnet_options import RotNetOptions
from quarterturn.presets.labelled import (
    cifar10_classifier,
    cifar10_lt_ldam,
    digits_classifier,
    folder_classifier,
    pretrained_classifier,
    small_pretrained_classifier,
)
from quarterturn.presets.rotation import folder_rotation_head, folder_rotnet, imagenet_rotnet
from quarterturn.presets.unlabelled import (
    cifar10_lt_resnet18,
    cifar10_nin,
    cifar10_resnet18,
    digits,
    folder,
    folder_distill,
    imagenet_alexnet,
)
from quarterturn.presets.voc07 import (
    voc07_all,
    voc07_deepcluster,
    voc07_fc6_8,
    voc07_fc8,
    voc07_pool5,
)
from quarterturn.presets.voc07_detection import voc07_fast_rcnn, voc07_faster_rcnn

PRESETS: dict[str, Callable[[], Config]] = {
    "digits": digits,
    "folder": folder,
    "folder-distill": folder_distill,
    "folder-rotnet": folder_rotnet,
    "folder-rotation-head": folder_rotation_head,
    "imagenet-alexnet": imagenet_alexnet,
    "imagenet-rotnet": imagenet_rotnet,
    "cifar10-nin": cifar10_nin,
    "cifar10-resnet18": cifar10_resnet18,
    "cifar10-lt-resnet18": cifar10_lt_resnet18,
    "digits-classifier": digits_classifier,
    "folder-classifier": folder_classifier,
    "pretrained-classifier": pretrained_classifier,
    "cifar10-classifier": cifar10_classifier,
    "small-pretrained-classifier": small_pretrained_classifier,
    "cifar10-lt-ldam": cifar10_lt_ldam,
    "voc07-fc8": voc07_fc8,
    "voc07-fc6-8": voc07_fc6_8,
    "voc07-all": voc07_all,
    "voc07-pool5": voc07_pool5,
    "voc07-deepcluster": voc07_deepcluster,
    "voc07-fast-rcnn": voc07_fast_rcnn,
    "voc07-faster-rcnn": voc07_faster_rcnn,
}
PRESETS |= callables_from(PRESETS_GROUP, PRESETS)


def fold_recipe(config: Config) -> Config:
    """The recipe of the rotation networks that ``--upright auto`` trains before a run.

    Images, folds and how they are asked, seed and machine are the run's; the rest is that of
    ``fold_preset``, or else the run's own, without its noise-aware phase. Heads on trained features
    take the run's backbone; a method that learns from trained weights has them by default.
    """
    asked, run = config.noise_aware, config.run
    name = asked.fold_preset or (ROTATION_HEAD if config.method.needs_start else None)
    if name is None:
        # Feng et al., CVPR 2019; a run that is lengthened keeps the networks that it has.
        recipe, epochs = config, max(1, round(config.first_phase_epochs * 50 / 245))
    else:
        recipe = preset(name)
        if fits_heads(recipe):
            side = config.data.image_size
            recipe = seen_as_by(config, recipe).with_settings(image_size=side)
        epochs = recipe.run.epochs
    return replace(
        recipe,
        data=replace(
            recipe.data,
            limit=config.data.limit,
            long_tail=config.data.long_tail,
            long_tail_kind=config.data.long_tail_kind,
            **config.data.reading,
            verify=config.data.verify,
        ),
        method=recipe.method if fits_heads(recipe) else RotNetOptions(),
        noise_aware=NoiseAwareConfig(),
        imbalance=ImbalanceConfig(),  # it needs the probabilities that these networks are to give
        optimizer=replace(recipe.optimizer, noise_aware_rate=None, restarts=()),
        run=replace(recipe.run, epochs=asked.fold_epochs or epochs, seed=run.seed),
        upright=config.upright,
        machine=config.machine,
    )


def fits_heads(recipe: Config) -> bool:
    """Whether the recipe fits heads on trained features, and trains no network of its own."""
    return isinstance(recipe.method, RotationHeadOptions)


def preset(name: str) -> Config:
    """The configuration of a preset by its name.

    Raises:
        ConfigError: There is no such preset; the message lists those there are.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return PRESETS[name]()


def recipe_for(
    data: str, name: str | None = None, method: str | None = None, start: Config | None = None
) -> Config:
    """The recipe of a pretraining before any setting is given.

    Args:
        data: DATA.
        name: Of a preset, where one is given.
        method: The method, where one is given.
        start: Configuration of the weights that it begins with, or None.
    """
    recipe = preset(name or preset_with_start(method, start) or default_preset(data))
    return recipe if start is None else seen_as_by(start, recipe)


def preset_with_start(method: str | None, start: Config | None) -> str | None:
    """The preset that learns from trained weights, where nothing else was asked of them.

    Args:
        method: As for `recipe_for`.
        start: Likewise.
    """
    foreign = start is not None and start.method.command is None
    learns = METHODS[method].needs_start if method in METHODS else method is None and foreign
    return "folder-distill" if learns else None


ROTATION_HEAD = "folder-rotation-head"
"""The preset of rotation heads on trained features, whatever the data."""


def default_rotnet_preset(data: str) -> str:
    """The preset of the rotation networks for ``DATA`` where none is given."""
    name = default_preset(data)
    return {"folder": "folder-rotnet", "imagenet-alexnet": "imagenet-rotnet"}.get(name, name)


def upright_recipe(data: str, name: str | None = None, start: Config | None = None) -> Config:
    """The recipe of rotation networks, or of heads on trained weights, before any setting is given.

    Args:
        data: DATA.
        name: Of a preset, where one is given.
        start: Configuration of the weights that it begins with, or None.
    """
    if start is None:
        return preset(name or default_rotnet_preset(data))
    return seen_as_by(start, preset(name or ROTATION_HEAD))


def default_preset(data: str) -> str:
    """The preset that fits ``DATA`` where none is given."""
    if data.startswith(("cifar10:", "cifar100:")):
        return "cifar10-resnet18"
    if data.startswith("imagenet:"):
        return "imagenet-alexnet"
    return "digits" if data == "digits" else "folder"


def classifier_preset_with_start(start: Config) -> str:
    """The preset of a classifier on trained weights, by the size of images that they are for."""
    small = start.data.image_size < SMALL_IMAGE
    return "small-pretrained-classifier" if small else "pretrained-classifier"


def default_classifier_preset(data: str) -> str:
    """The preset of a classifier of ``DATA`` from scratch, where none is given."""
    kind = default_preset(data).split("-")[0]
    return f"{kind}-classifier" if f"{kind}-classifier" in PRESETS else "folder-classifier"


FOLDED = {"alexnet-folded": "alexnet", "alexnet-pool5": "alexnet"}
"""Backbones that begin with the weights of another, whose batch norm is folded."""


def seen_as_by(pretrained: Config, recipe: Config) -> Config:
    """A recipe for the backbone of another run, with images shown as that run saw them.

    A recipe that learns from that very backbone shows both of them images of its own size, unless
    the run's network was made for small images. A recipe for AlexNet without batch norm keeps that,
    for a run of AlexNet.
    """
    view, backbone = pretrained.data, pretrained.model.backbone
    own_size = recipe.method.needs_start and view.image_size >= SMALL_IMAGE
    if FOLDED.get(recipe.model.backbone) == backbone:
        backbone = recipe.model.backbone
    return recipe.with_settings(
        backbone=backbone,
        image_size=recipe.data.image_size if own_size else view.image_size,
        eval_crop=view.eval_crop,
        mean=view.mean,
        std=view.std,
        flip=view.flip and recipe.data.flip,
    )
