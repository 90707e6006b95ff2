"""Rotation networks on folds, which tell the images that have an "up"."""

from __future__ import annotations

from quarterturn.config import DataConfig, ModelConfig, OptimizerConfig, RunConfig, UprightConfig
from quarterturn.methods.configuration import Config
from quarterturn.methods.rotation_head_options import RotationHeadOptions
from quarterturn.methods.rotnet_options import RotNetOptions


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
        method=RotNetOptions(),
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
        method=RotNetOptions(),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=1e-3),
        run=RunConfig(epochs=40, batch_size=64),
    )


def folder_rotation_head() -> Config:
    """Which photos of a folder have an "up", by weights that somebody has trained on others.

    A linear head is fitted for each fold on the last two maps of the frozen backbone, 2x2;
    backbone, mean and standard deviation are the weights'. Optimizer and epochs are not used.
    Paper: none; layers and grid were chosen on one fold of photos of houses (see ``docs/log.md``).
    Command: ``quarterturn upright PHOTOS --from FILE``.
    Expected: one pass over the photos, each in eight turned and mirrored copies, whatever the
    number of folds; see ``docs/results.md``.
    """
    return Config(
        data=DataConfig(image_size=128),
        method=RotationHeadOptions(),
        run=RunConfig(batch_size=64),
        upright=UprightConfig(view_crops=1),
    )
