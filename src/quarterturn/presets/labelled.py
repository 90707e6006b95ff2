"""What learns from labels."""

from __future__ import annotations

from dataclasses import replace

from quarterturn.config import DataConfig, ModelConfig, NoiseAwareConfig, OptimizerConfig, RunConfig
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config
from quarterturn.presets.unlabelled import digits, folder


def digits_classifier() -> Config:
    """scikit-learn's digits with their labels, by the small convnet of `digits`.

    Paper: none. Command: ``quarterturn finetune digits``.
    Expected: 100 % of the 450 test digits (one seed, 2026-11-22; ``docs/results.md``).
    """
    recipe = replace(digits(), method=ClassifierOptions())
    return recipe.with_settings(epochs=15, diagnostics_every=5)


def folder_classifier() -> Config:
    """A folder of labelled photos, ResNet-18 at 128 px; a fifth of each class is held out.

    Paper: none; meant to begin with the backbone of a run of `folder`, by ``--from RUN``.
    Command: ``quarterturn finetune PHOTOS --from RUN``.
    Expected: not run.
    """
    recipe = replace(folder(), method=ClassifierOptions(), noise_aware=NoiseAwareConfig())
    return recipe.with_settings(
        holdout=0.2, learning_rate=3e-4, warmup=0.05, epochs=30, batch_size=64
    )


def pretrained_classifier() -> Config:
    """Labelled images of any kind, by a backbone that has been trained: every layer learns on.

    Paper: the classifier begins as logistic regression on the features, so that its first steps do
    not spoil them (Kumar et al., ICLR 2022). Rate and statistics were best in trials on training
    images (``docs/log.md``).
    Command: ``quarterturn finetune DATA --from RUN``.
    Expected: 86.8 on 10 photos of each of four classes from ImageNet's weights, where the frozen
    features have 88.5 (three seeds each; ``docs/results.md``); with more labels not run.
    """
    return Config(
        data=DataConfig(holdout=0.2),
        model=ModelConfig(frozen_statistics=True),
        method=ClassifierOptions(classifier_init="solved"),
        optimizer=OptimizerConfig(
            optimizer="adamw", learning_rate=3e-4, weight_decay=0.01, warmup=0.1
        ),
        run=RunConfig(epochs=30, batch_size=64),
    )


def small_pretrained_classifier() -> Config:
    """Images below 96 px, by a network that was trained on such: ten times the rate.

    Paper: none; `pretrained_classifier` with the rate and the statistics of batches that were best
    for a ResNet-20 of ``multiview`` on 50 images of each class of CIFAR-10 (``docs/log.md``).
    Command: ``quarterturn finetune DATA --from RUN``.
    Expected: 46.9 on 50 images of each class of JPEG-75 CIFAR-10, by a ResNet-20 that saw 120,000
    views; 42.4 from scratch (three seeds each; ``docs/results.md``).
    """
    return pretrained_classifier().with_settings(learning_rate=3e-3, frozen_statistics=False)


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
        method=ClassifierOptions(),
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
    Expected: 72.0 at the last epoch on pixels that went through JPEG-75, and 65.9 by cross-entropy
    (``docs/results.md``); about an hour and a half of one core with bfloat16 (cross-entropy: 98
    minutes), six hours of a busy machine without. On the original pixels: not run.
    """
    return cifar10_classifier().with_settings(long_tail=0.01, loss="ldam", reweight="drw")
