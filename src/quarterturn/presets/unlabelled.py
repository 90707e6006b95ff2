"""What learns without labels: decoupling, RotNet and instance discrimination."""

from __future__ import annotations

from quarterturn.config import (
    DataConfig,
    ModelConfig,
    NoiseAwareConfig,
    OptimizerConfig,
    RunConfig,
    UprightConfig,
)
from quarterturn.methods.configuration import Config
from quarterturn.methods.decoupling_options import DecouplingOptions
from quarterturn.methods.distill_options import DistillOptions
from quarterturn.methods.multiview_options import MultiviewOptions

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
        model=ModelConfig(backbone="convnet"),
        method=DecouplingOptions(num_noise=512, embedding_dim=64),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=2e-3),
        run=RunConfig(epochs=25, batch_size=64, log_every=21),
    )


def folder() -> Config:
    """A folder of photos, from a few thousand to a million: ResNet-18 at 128 px, by views.

    Paper: the method carries Feng et al. (CVPR 2019) on by views in place of a bank; backbone,
    AdamW and the cosine schedule are this project's choice (see ``docs/log.md``). 42 images of two
    full and four small views cost a step of 126 full views.
    Command: ``quarterturn pretrain PHOTOS --preset folder``.
    Expected: as much as fits into the hour on a processor, unless --epochs or --budget says
    otherwise; the full 100 epochs: not run. At 96 px and rate 0.004, 24 minutes of one core with
    bfloat16 on 2,140 photos of four kinds: 69.6 % upright by both halves, 62.4 % turned by the
    invariant half (kNN-20, one seed, ``docs/results.md``).
    """
    return Config(
        data=DataConfig(image_size=128),
        model=ModelConfig(backbone="resnet18"),
        method=MultiviewOptions(),
        noise_aware=NoiseAwareConfig(fold_preset="folder-rotnet"),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=1e-3),
        run=RunConfig(epochs=100, batch_size=42),
    )


def folder_distill() -> Config:
    """A folder of photos, from a network that somebody has trained on others: at 128 px.

    Paper: the family is knowledge distillation (Hinton, Vinyals, Dean, 2015); this form is the
    project's own (``docs/research.md``). Backbone, mean and standard deviation are the weights'.
    Command: ``quarterturn pretrain PHOTOS --from FILE``, or ``--backbone timm:NAME --pretrained``.
    Expected: the nearest neighbours of an image turned a point behind those of it upright, which
    are as good as the weights' own, and much of what the collection does not show forgotten, which
    ``--half with-start`` keeps. Three splits of 2,140 photos, EfficientNet-Lite0:
    ``docs/results.md``.
    """
    return Config(
        data=DataConfig(image_size=128, crop_scale=(0.35, 1.0)),
        method=DistillOptions(),
        optimizer=OptimizerConfig(
            optimizer="adamw", learning_rate=1e-3, weight_decay=0.01, warmup_steps=20
        ),
        run=RunConfig(epochs=8, batch_size=64),
        upright=UprightConfig(view_crops=1),  # as in folder-rotation-head
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
        method=DecouplingOptions(num_noise=512),
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
        method=DecouplingOptions(instance_loss="nce", noise="per-image", temperature=0.07),
        noise_aware=NoiseAwareConfig(fold_preset="imagenet-rotnet"),
        optimizer=OptimizerConfig(
            learning_rate=0.01,
            schedule="step",
            milestones=(90 / 245, 130 / 245, 190 / 245, 210 / 245, 230 / 245),
            factors=(1.0, 0.1, 0.01, 0.001, 0.01, 0.001),
        ),
        run=RunConfig(
            epochs=245,
            batch_size=192,
            precision="32-true",  # the paper's; bf16-mixed is quicker
            log_every=100,
            diagnostics_every=5,
        ),
        upright=UprightConfig(patience=1.0, view_crops=1),  # as in imagenet-rotnet
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

    Paper: the method carries Feng et al. (CVPR 2019) on by views in place of a bank; backbone,
    AdamW and the cosine schedule are this project's choice. 42 images of two full and four small
    views cost a step of 126 full views; small networks learned better at twice the rate.
    Command: ``quarterturn pretrain cifar10:ROOT --preset cifar10-resnet18``.
    Expected: after one epoch at rate 0.004, 50 minutes of one core with bfloat16, 45.5 % upright
    by both halves and 38.0 % turned by the invariant half (kNN-20, JPEG-75 CIFAR-10, one seed,
    ``docs/results.md``); the full 200 epochs, about nine days of two cores without bfloat16, by 25
    ms a view: not run.
    """
    return Config(
        data=DataConfig(image_size=32, eval_crop=1.0, mean=CIFAR_MEAN, std=CIFAR_STD),
        model=ModelConfig(backbone="resnet18"),
        method=MultiviewOptions(),
        optimizer=OptimizerConfig(optimizer="adamw", learning_rate=1e-3),
        run=RunConfig(epochs=200, batch_size=42),
    )


def cifar10_lt_resnet18() -> Config:
    """`cifar10_resnet18` on the long tail of CIFAR-10: 5,000 images of a class down to 50.

    Paper: the cut is that of Cao et al. (NeurIPS 2019), exponential, factor 0.01, 12,406 images.
    Labels are read to make it, and for nothing else.
    Command: ``quarterturn pretrain cifar10:ROOT --preset cifar10-lt-resnet18``.
    Expected: not run.
    """
    return cifar10_resnet18().with_settings(long_tail=0.01)
