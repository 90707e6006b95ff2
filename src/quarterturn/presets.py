"""Recipes by name. Each states its paper, its command, and the time and score to expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from quarterturn.config import (
    Config,
    DataConfig,
    ImbalanceConfig,
    MethodConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    UprightConfig,
)
from quarterturn.errors import ConfigError

CIFAR_MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
CIFAR_STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)
"""As in RotNet's code (Gidaris et al., ICLR 2018)."""


def digits() -> Config:
    """scikit-learn's 1,797 digits, 8x8 px shown at 16 px: the method in under a minute.

    Paper: none; the constants were chosen on a part of the training digits.
    Command: ``quarterturn pretrain digits`` (or, with every baseline beside it,
    ``quarterturn demo``).
    Expected: half a minute on two cores; kNN 92.9 % on turned test digits by the invariant half
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
        method=MethodConfig(fold_preset="folder-rotnet"),
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
        method=MethodConfig(
            instance_loss="nce",
            noise="per-image",
            temperature=0.07,
            fold_preset="imagenet-rotnet",
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.01,
            schedule="step",
            milestones=(90 / 245, 130 / 245, 190 / 245, 210 / 245, 230 / 245),
            factors=(1.0, 0.1, 0.01, 0.001, 0.01, 0.001),
        ),
        run=RunConfig(epochs=245, batch_size=192, log_every=100, diagnostics_every=5),
        upright=UprightConfig(patience=1.0, view_crops=1),  # as in imagenet-rotnet
    )


def imagenet_rotnet() -> Config:
    """The paper's estimate of upright probabilities on ImageNet: RotNet, AlexNet, 50 epochs a fold.

    Paper: Gidaris, Singh, Komodakis (ICLR 2018), as Feng et al. (CVPR 2019, section 3.2) use it:
    SGD 0.9 Nesterov, weight decay 5e-4, batch 192, random resized crops; learning rate 0.01, 1e-3,
    1e-4, 1e-5 while epoch < 15, 30, 45, 50; scored on the centre crop in eval mode. All epochs are
    trained; of them the one with the least validation loss is used, and its temperature is scaled.
    Command: ``quarterturn upright IMAGENET --preset imagenet-rotnet``.
    Expected: not run.
    """
    return Config(
        data=DataConfig(image_size=224, crop_scale=(0.08, 1.0)),
        model=ModelConfig(backbone="alexnet"),
        method=MethodConfig(method="rotnet"),
        optimizer=OptimizerConfig(
            learning_rate=0.01,
            schedule="step",
            milestones=(15 / 50, 30 / 50, 45 / 50),
            factors=(1.0, 0.1, 0.01, 0.001),
        ),
        run=RunConfig(epochs=50, batch_size=192, log_every=100),
        upright=UprightConfig(patience=1.0, view_crops=1),
    )


def folder_rotnet() -> Config:
    """Which photos of a folder have an "up": small RotNets at 64 px.

    Paper: none; the recipe was chosen by the validation loss of a fold of houses and textures (see
    ``docs/log.md``).
    Command: ``quarterturn upright PHOTOS``.
    Expected: about ten seconds an epoch of 1,500 photos on two idle cores; see ``docs/results.md``.
    """
    return Config(
        data=DataConfig(image_size=64, crop_scale=(0.3, 1.0)),
        model=ModelConfig(backbone="convnet"),
        method=MethodConfig(method="rotnet"),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=1e-3),
        run=RunConfig(epochs=40, batch_size=64),
    )


def cifar10_nin() -> Config:
    """RotNet's own recipe on CIFAR-10, with decoupling: Network-in-Network, 200 epochs.

    Paper: Gidaris, Singh, Komodakis, "Unsupervised Representation Learning by Predicting Image
    Rotations" (ICLR 2018), section 3.1 and its code: SGD 0.9 Nesterov, weight decay 5e-4, 128
    images in a batch, learning rate 0.1, 0.02, 0.004, 0.0008 while epoch < 60, 120, 160, 200; crops
    with a padding of 4 and flips before the turns. The losses are those of Feng et al. (CVPR 2019);
    ``--method rotnet`` is RotNet itself.
    Command: ``quarterturn pretrain cifar10:ROOT --preset cifar10-nin``.
    Expected: not run.
    """
    return Config(
        data=DataConfig(
            image_size=32, crop_padding=4, eval_crop=1.0, mean=CIFAR_MEAN, std=CIFAR_STD
        ),
        model=ModelConfig(backbone="nin"),
        optimizer=OptimizerConfig(
            learning_rate=0.1,
            schedule="step",
            milestones=(60 / 200, 120 / 200, 160 / 200),
            factors=(1.0, 0.2, 0.04, 0.008),
        ),
        run=RunConfig(epochs=200, batch_size=128),
    )


def cifar10_resnet18() -> Config:
    """CIFAR-10 or CIFAR-100, ResNet-18 with a 3x3 stem at 32 px: where small methods are compared.

    Paper: the method is Feng et al. (CVPR 2019); random resized crops as in Wu et al. (CVPR 2018);
    backbone, InfoNCE, AdamW and the cosine schedule are this project's choice.
    Command: ``quarterturn pretrain cifar10:ROOT --preset cifar10-resnet18``.
    Expected: about 11 days on two CPU cores, where a turned copy takes 25 ms; the full 200 epochs:
    not run. One epoch on 10,000 images: see ``docs/results.md``.
    """
    return Config(
        data=DataConfig(image_size=32, eval_crop=1.0, mean=CIFAR_MEAN, std=CIFAR_STD),
        model=ModelConfig(backbone="resnet18"),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=1e-3),
        run=RunConfig(epochs=200, batch_size=128),
    )


def cifar10_lt_resnet18() -> Config:
    """`cifar10_resnet18` on the long tail of CIFAR-10: 5,000 images of a class down to 50.

    Paper: the cut is that of Cao et al. (NeurIPS 2019), exponential, factor 0.01, 12,406 images.
    Labels are read to make it, and for nothing else.
    Command: ``quarterturn pretrain cifar10:ROOT --preset cifar10-lt-resnet18``.
    Expected: not run.
    """
    return cifar10_resnet18().with_settings(long_tail=0.01)


def digits_classifier() -> Config:
    """scikit-learn's digits with their labels, by the small convnet of `digits`.

    Paper: none. Command: ``quarterturn finetune digits``.
    Expected: 100 % of the 450 test digits (one seed, 2026-11-22; ``docs/results.md``).
    """
    recipe = replace(digits(), method=MethodConfig(method="classifier"))
    return recipe.with_settings(epochs=15, diagnostics_every=5)


def folder_classifier() -> Config:
    """A folder of labelled photos, ResNet-18 at 128 px; a fifth of each class is held out.

    Paper: none; meant to begin with the backbone of a run of `folder`, by ``--from RUN``.
    Command: ``quarterturn finetune PHOTOS --from RUN``.
    Expected: not run.
    """
    recipe = replace(folder(), method=MethodConfig(method="classifier"))
    return recipe.with_settings(holdout=0.2, learning_rate=3e-4, warmup=0.05, epochs=30)


def cifar10_classifier() -> Config:
    """The recipe of the long-tail literature on all of CIFAR-10: ResNet-32, cross-entropy.

    Paper: Cao et al. (NeurIPS 2019), section 4.1 and code: SGD 0.9 without Nesterov, weight decay
    2e-4, 128 images in a batch, 200 epochs; learning rate 0.02, 0.04, 0.06, 0.08, 0.1 in the first
    five, then 0.1, 0.001 from epoch 160, 1e-5 from 180; crops with a padding of 4 and flips.
    Command: ``quarterturn finetune cifar10:ROOT --preset cifar10-classifier``.
    Expected: not run.
    """
    return Config(
        data=DataConfig(
            image_size=32,
            crop_padding=4,
            eval_crop=1.0,
            holdout=0.2,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2023, 0.1994, 0.2010),
        ),
        model=ModelConfig(backbone="resnet32"),
        method=MethodConfig(method="classifier"),
        optimizer=OptimizerConfig(
            learning_rate=0.1,
            nesterov=False,
            weight_decay=2e-4,
            schedule="step",
            milestones=(1 / 200, 2 / 200, 3 / 200, 4 / 200, 160 / 200, 180 / 200),
            factors=(0.2, 0.4, 0.6, 0.8, 1.0, 0.01, 0.0001),
        ),
        run=RunConfig(epochs=200, batch_size=128, log_every=97, diagnostics_every=10),
    )


def cifar10_lt_ldam() -> Config:
    """LDAM with deferred re-weighting on CIFAR-10-LT: 5,000 images of a class down to 50.

    Paper: Cao et al. (NeurIPS 2019): `cifar10_classifier` with LDAM (largest margin 0.5, scale 30),
    effective-number weights (beta 0.9999) from epoch 160 on, exponential tail, factor 0.01; 77.0 at
    the best test epoch on the original pixels. With ``--loss cross-entropy --reweight none`` it is
    the paper's baseline, 70.4.
    Command: ``quarterturn finetune CIFAR10 --preset cifar10-lt-ldam``; CIFAR10 is ``cifar10:ROOT``
    or a ``.npz`` file of all 60,000 images.
    Expected: not run.
    """
    return cifar10_classifier().with_settings(long_tail=0.01, loss="ldam", reweight="drw")


PRESETS: dict[str, Callable[[], Config]] = {
    "digits": digits,
    "folder": folder,
    "folder-rotnet": folder_rotnet,
    "imagenet-alexnet": imagenet_alexnet,
    "imagenet-rotnet": imagenet_rotnet,
    "cifar10-nin": cifar10_nin,
    "cifar10-resnet18": cifar10_resnet18,
    "cifar10-lt-resnet18": cifar10_lt_resnet18,
    "digits-classifier": digits_classifier,
    "folder-classifier": folder_classifier,
    "cifar10-classifier": cifar10_classifier,
    "cifar10-lt-ldam": cifar10_lt_ldam,
}


def fold_recipe(config: Config) -> Config:
    """The recipe of the rotation networks that ``--upright auto`` trains before a run.

    Images, folds and how they are asked, seed and machine are the run's; the rest is that of
    ``fold_preset``, or else the run's own, without its noise-aware phase.
    """
    method, run = config.method, config.run
    if method.fold_preset is None:
        recipe, epochs = config, max(1, round(run.epochs * 50 / 245))  # Feng et al., CVPR 2019
    else:
        recipe = preset(method.fold_preset)
        epochs = recipe.run.epochs
    return replace(
        recipe,
        data=replace(
            recipe.data,
            limit=config.data.limit,
            long_tail=config.data.long_tail,
            long_tail_kind=config.data.long_tail_kind,
            max_bad_fraction=config.data.max_bad_fraction,
            verify=config.data.verify,
        ),
        method=MethodConfig(method="rotnet"),
        imbalance=ImbalanceConfig(),  # it needs the probabilities that these networks are to give
        optimizer=replace(recipe.optimizer, noise_aware_rate=None),
        run=replace(recipe.run, epochs=method.fold_epochs or epochs, seed=run.seed),
        upright=config.upright,
        machine=config.machine,
    )


def preset(name: str) -> Config:
    """The configuration of a preset by its name.

    Raises:
        ConfigError: There is no such preset; the message lists those there are.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]()


def default_rotnet_preset(data: str) -> str:
    """The preset of the networks that tell what is upright, when none is named."""
    name = default_preset(data)
    return {"folder": "folder-rotnet", "imagenet-alexnet": "imagenet-rotnet"}.get(name, name)


def default_preset(data: str) -> str:
    """The preset that fits ``DATA`` when none is named."""
    if data.startswith(("cifar10:", "cifar100:")):
        return "cifar10-resnet18"
    if data.startswith("imagenet:"):
        return "imagenet-alexnet"
    return "digits" if data == "digits" else "folder"


def default_classifier_preset(data: str) -> str:
    """The preset of a classifier of ``DATA`` when none is named."""
    kind = default_preset(data).split("-")[0]
    return f"{kind}-classifier" if f"{kind}-classifier" in PRESETS else "folder-classifier"


def seen_as_by(pretrained: Config, recipe: Config) -> Config:
    """A recipe for the backbone of another run, with images shown as that run saw them."""
    view = pretrained.data
    return recipe.with_settings(
        backbone=pretrained.model.backbone,
        image_size=view.image_size,
        eval_crop=view.eval_crop,
        mean=view.mean,
        std=view.std,
    )
