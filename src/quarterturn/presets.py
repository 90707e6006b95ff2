"""Recipes by name. Each states its paper, its command, and the time and score to expect."""

from __future__ import annotations

from collections.abc import Callable

from quarterturn.config import (
    Config,
    DataConfig,
    MethodConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
)
from quarterturn.errors import ConfigError


def digits() -> Config:
    """scikit-learn's 1,797 digits, 8x8 px shown at 16 px: the method in under a minute.

    Paper: none; the constants were chosen on a part of the training digits.
    Command: ``quarterturn pretrain digits`` (or, with every baseline beside it,
    ``quarterturn demo``).
    Expected: half a minute on two cores; kNN 94.7 % on turned test digits by the invariant half
    (one seed, 2026-11-22; ``docs/results.md``).
    """
    return Config(
        data=DataConfig(
            image_size=16,
            crop_scale=(0.8, 1.0),
            flip=False,  # a mirrored digit is another sign
            eval_crop=1.0,
            mean=(0.305, 0.305, 0.305),
            std=(0.376, 0.376, 0.376),
        ),
        model=ModelConfig(backbone="convnet", embedding_dim=64),
        method=MethodConfig(num_noise=512),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=2e-3),
        run=RunConfig(epochs=25, batch_size=64, log_every=21),
    )


def folder() -> Config:
    """A folder of photos, from a few thousand to a million: ResNet-18 at 128 px.

    Paper: the method is Feng et al. (CVPR 2019); backbone, InfoNCE and the cosine schedule are
    this project's choice for collections smaller than ImageNet (see ``docs/log.md``).
    Command: ``quarterturn pretrain PHOTOS --preset folder``.
    Expected: about 40 turned copies a second on two CPU cores. Three epochs on 1,900 photos: see
    ``docs/results.md``; the full 100 epochs: not run.
    """
    return Config(
        data=DataConfig(image_size=128),
        model=ModelConfig(backbone="resnet18"),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=1e-3),
        run=RunConfig(epochs=100, batch_size=64),
    )


def demo_folder() -> Config:
    """About 1,000 photos in about five minutes on two cores: the small convnet at 64 px.

    Paper: none. Command: ``quarterturn demo PHOTOS``; not offered as a ``--preset``, since longer
    training of a larger network is worth more. Expected: see the dated table in
    ``docs/results.md``.
    """
    return Config(
        data=DataConfig(image_size=64, crop_scale=(0.3, 1.0), eval_crop=1.0),
        model=ModelConfig(backbone="convnet"),
        method=MethodConfig(num_noise=512),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=1e-3),
        run=RunConfig(epochs=15, batch_size=64, log_every=12),
    )


def imagenet_alexnet() -> Config:
    """The paper's own recipe: AlexNet with batch norm on ImageNet, 245 epochs.

    Paper: Feng, Xu, Tao, "Self-Supervised Representation Learning by Rotation Feature
    Decoupling", CVPR 2019. SGD 0.9 Nesterov, weight decay 5e-4, batch 192; learning rate 0.01
    while epoch < 90, 1e-3 < 130, 1e-4 < 190, 1e-5 < 210, then 1e-4 < 230 and 1e-5 < 245.
    Command: ``quarterturn pretrain IMAGENET --preset imagenet-alexnet``.
    Expected: not run.
    """
    return Config(
        data=DataConfig(image_size=224, crop_scale=(0.08, 1.0)),
        model=ModelConfig(backbone="alexnet"),
        method=MethodConfig(instance_loss="nce", noise="per-image", temperature=0.07),
        optimizer=OptimizerConfig(
            learning_rate=0.01,
            schedule="step",
            milestones=(90 / 245, 130 / 245, 190 / 245, 210 / 245, 230 / 245),
            factors=(1.0, 0.1, 0.01, 0.001, 0.01, 0.001),
        ),
        run=RunConfig(epochs=245, batch_size=192, log_every=100, diagnostics_every=5),
    )


PRESETS: dict[str, Callable[[], Config]] = {
    "digits": digits,
    "folder": folder,
    "imagenet-alexnet": imagenet_alexnet,
}


def preset(name: str) -> Config:
    """The configuration of a preset by its name.

    Raises:
        ConfigError: There is no such preset; the message lists those there are.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]()


def default_preset(data: str) -> str:
    """The preset that fits ``DATA`` when none is named."""
    if data.startswith(("cifar10:", "cifar100:")):
        return "cifar10-resnet18"
    return "digits" if data == "digits" else "folder"
