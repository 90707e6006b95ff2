"""Evaluation protocols of the literature, by name: classifiers on frozen features, with recipes.

Each states its paper, its command and the score to expect. How images are shown (side, mean, centre
crop) is the probed run's own; the constants here are those of the protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from quarterturn.config import DataConfig, OptimizerConfig, RunConfig
from quarterturn.config.validation import unknown
from quarterturn.methods.configuration import Config
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.presets.svm import SVM_PROTOCOLS

ALEXNET_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def imagenet_linear() -> Config:
    """Linear classifiers on conv1 to conv5 of AlexNet, trained together, on ImageNet's labels.

    Paper: Zhang, Isola, Efros (ECCV 2016, section 3.2), with the constants of Feng et al. (CVPR
    2019, section 4.2) and their code: maps max-pooled to about 9,000 features, batch norm without
    learned scales; SGD 0.9 Nesterov, weight decay 5e-4, 192 images in a batch, 65 epochs, learning
    rate 0.01, 0.002, 0.0004, 0.00008 while epoch < 5, 25, 45, 65; resize 256, random crops of 224,
    flips; tested on the centre crop. Gidaris et al. (ICLR 2018) do the same for 35 epochs, with
    steps at 5, 15, 25.
    Command: ``quarterturn probe RUN imagenet:ROOT --preset imagenet-linear``.
    Expected: not run here; the paper has its figures for conv1 to conv5.
    """
    return Config(
        data=DataConfig(crop_fraction=224 / 256),
        method=ProbeHeadsOptions(head="linear", layers=ALEXNET_LAYERS),
        optimizer=OptimizerConfig(
            learning_rate=0.01,
            schedule="step",
            milestones=(5 / 65, 25 / 65, 45 / 65),
            factors=(1.0, 0.2, 0.04, 0.008),
        ),
        run=RunConfig(epochs=65, batch_size=192, precision="32-true", log_every=100),
    )


def places205_linear() -> Config:
    """The same on the 205 classes of Places205, whose images are 256 x 256 pixels as they are.

    Paper: as `imagenet_linear`, without a resize: a random crop of 224 x 224 pixels of the image
    as it is, and the centre one in the test. Where the run's images are not of 224 pixels, the crop
    is resized to them. Images smaller than 224 pixels, which the original's code refuses, are shown
    by their largest square, enlarged; a warning counts them.
    Command: ``quarterturn probe RUN places205:ROOT --preset places205-linear``.
    Expected: not run here.
    """
    return imagenet_linear().with_settings(crop_fraction=0.0, fixed_crop=224)


def imagenet_nonlinear() -> Config:
    """The rest of AlexNet on conv4 and conv5, on ImageNet's labels.

    Paper: Noroozi and Favaro (ECCV 2016), with the constants of Gidaris et al. (ICLR 2018) and Feng
    et al. (CVPR 2019, section 4.2) and their code: one more 3x3 convolution of 256 on conv4, max
    pool 3/2, 4096-4096 with batch norm; 40 epochs, learning rate 0.01, 0.002, 0.0004, 0.00008 while
    epoch < 10, 20, 30, 40; the rest as `imagenet_linear`.
    Command: ``quarterturn probe RUN imagenet:ROOT --preset imagenet-nonlinear``.
    Expected: not run here.
    """
    recipe = imagenet_linear().with_settings(
        head="nonlinear", layers=("conv4", "conv5"), extra_conv=("conv4",)
    )
    return recipe.with_settings(epochs=40, milestones=(10 / 40, 20 / 40, 30 / 40))


def cifar10_multilayer() -> Config:
    """RotNet's non-linear classifier on CIFAR, on block2 of Network-in-Network (192 x 8 x 8).

    Paper: Gidaris et al. (ICLR 2018, section 4.1) and its code: 12,288-200-200-10 with batch norm,
    no biases in the hidden layers; SGD 0.9 Nesterov, weight decay 5e-4, 128 images in a batch, 100
    epochs, learning rate 0.1, 0.02, 0.004 while epoch < 20, 40, 45, then 0.0008; crops with a
    padding of 4, flips.
    Command: ``quarterturn probe RUN cifar10:ROOT --preset cifar10-multilayer``.
    Expected: not run here.
    """
    return Config(
        data=DataConfig(image_size=32, crop_padding=4),
        method=ProbeHeadsOptions(head="multilayer", layers=("block2",)),
        optimizer=OptimizerConfig(
            learning_rate=0.1,
            schedule="step",
            milestones=(20 / 100, 40 / 100, 45 / 100),
            factors=(1.0, 0.2, 0.04, 0.008),
        ),
        run=RunConfig(epochs=100, batch_size=128, precision="32-true", log_every=100),
    )


def cifar10_convolutional() -> Config:
    """RotNet's convolutional classifier on CIFAR: one more block of Network-in-Network on block2.

    Paper: as `cifar10_multilayer`; learning rate 0.1, 0.02, 0.004, 0.0008 while epoch < 35, 70, 85,
    100.
    Command: ``quarterturn probe RUN cifar10:ROOT --preset cifar10-convolutional``.
    Expected: not run here.
    """
    recipe = cifar10_multilayer().with_settings(head="convolutional")
    return recipe.with_settings(milestones=(35 / 100, 70 / 100, 85 / 100))


def cifar10_semi_supervised() -> Config:
    """`cifar10_convolutional` on the first 20, 100, 400, 1,000, 5,000 images of each class.

    Paper: Gidaris et al. (ICLR 2018, section 4.1) and its code: in file order, an epoch
    being 50,000 draws however many images there are.
    Command: ``quarterturn probe RUN cifar10:ROOT --preset cifar10-semi-supervised``.
    Expected: not run here.
    """
    return cifar10_convolutional().with_settings(
        images_per_class=(20, 100, 400, 1000, 5000), images_per_epoch=50_000
    )


def nonlinear() -> Config:
    """Two hidden layers on features that are extracted once: quick, for any backbone and data.

    Paper: none; the classifier is that of `cifar10_multilayer`, on the backbone's last layer.
    Command: ``quarterturn probe RUN DATA --kind nonlinear``.
    Expected: seconds on a few thousand images once their features are there.
    """
    return Config(
        method=ProbeHeadsOptions(head="multilayer", augment=False),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=1e-3),
        run=RunConfig(epochs=50, batch_size=128, precision="32-true", log_every=100),
    )


PROTOCOLS: dict[str, Callable[[], Config]] = {
    "imagenet-linear": imagenet_linear,
    "imagenet-nonlinear": imagenet_nonlinear,
    "places205-linear": places205_linear,
    "cifar10-multilayer": cifar10_multilayer,
    "cifar10-convolutional": cifar10_convolutional,
    "cifar10-semi-supervised": cifar10_semi_supervised,
    "nonlinear": nonlinear,
}


def protocol_for(name: str, run: Config) -> Config:
    """A protocol by its name, for the backbone of a run, with pixels as the run saw them.

    Side, mean and standard deviation are the run's. The centre crop of the test is as large as the
    random crops of the training, where the protocol has such, and else the run's.

    Raises:
        ConfigError: There is no such protocol; the message lists the closest.
    """
    if name not in PROTOCOLS:
        raise unknown("preset", name, [*PROTOCOLS, *SVM_PROTOCOLS])
    recipe, view = PROTOCOLS[name](), run.data
    augment = recipe.method_as(ProbeHeadsOptions).augment
    own_crop = (recipe.data.crop_fraction or 1.0) if augment else view.eval_crop
    fixed_crop = recipe.data.fixed_crop if augment else view.fixed_crop
    return replace(
        recipe,
        model=run.model,
        data=replace(
            recipe.data,
            image_size=view.image_size,
            eval_crop=own_crop,
            fixed_crop=fixed_crop,
            mean=view.mean,
            std=view.std,
            **view.reading,
        ),
    )
