"""Detecting the objects of VOC2007: Fast R-CNN as papers report it, and a modern one beside it."""

from __future__ import annotations

from quarterturn.config import DataConfig, ModelConfig, OptimizerConfig, RunConfig
from quarterturn.methods.configuration import Config
from quarterturn.methods.detector_options import PARTS, DetectorOptions


def voc07_fast_rcnn() -> Config:
    """Fast R-CNN on given proposals, with AlexNet or the backbone of any run.

    Paper: Girshick (ICCV 2015) and its code, with the settings of Krähenbühl et al. (ICLR 2016) and
    Feng et al. (CVPR 2019): training images at a short side drawn from 480, 576, 688, 864, 1200 px,
    long side up to 2000; 200,000 iterations of 2 images with 64 regions each, at most 16 of them on
    objects; SGD 0.9, its momentum in units of the step, rate 0.001, a tenth of it after each 80,000
    iterations, twice that for biases, which do not decay; weight decay 5e-4; conv1 frozen; tested
    at 600 px, long side up to 1000. ``--iterations`` scales the schedule. Batch norm of AlexNet is
    folded first; that of other backbones keeps its statistics. RotNet has 54.4 mAP (its README).
    Command: ``quarterturn detect voc2007:ROOT --from RUN --proposals FILE``.
    Expected: not run here on VOC2007.
    """
    return Config(
        data=DataConfig(image_size=224),
        model=ModelConfig(backbone="alexnet-folded", frozen_statistics=True),
        method=DetectorOptions(),
        optimizer=OptimizerConfig(
            learning_rate=0.001,
            nesterov=False,
            weight_decay=5e-4,
            bias_rate=2.0,
            decay_biases=False,
            rate_in_momentum=True,
            schedule="step",
            milestones=(0.4, 0.8),
            factors=(1.0, 0.1, 0.01),
        ),
        run=RunConfig(epochs=PARTS, batch_size=2, precision="32-true"),
    )


def voc07_faster_rcnn() -> Config:
    """Torchvision's Faster R-CNN with a feature pyramid, on the backbone of a run.

    Paper: Ren et al. (NeurIPS 2015) and Lin et al. (CVPR 2017); 70,000 iterations of 2 images and
    the rate's drop after seven tenths are this project's choice, near those of their code.
    Command: ``quarterturn detect voc2007:ROOT --from RUN --preset voc07-faster-rcnn``.
    Expected: not run here on VOC2007.
    """
    recipe = voc07_fast_rcnn().with_settings(
        backbone="resnet18",
        detector="faster-rcnn",
        iterations=70_000,
        scales=(480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
        max_side=1333,
        test_scale=800,
        test_max_side=1333,
        regions_per_image=512,
        overlap=0.5,
    )
    return recipe.with_settings(
        learning_rate=0.0025,
        bias_rate=1.0,
        decay_biases=True,
        rate_in_momentum=False,
        weight_decay=1e-4,
        warmup_steps=500,
        milestones=(0.7,),
        factors=(1.0, 0.1),
    )


def default_detector_preset(data: str) -> str:
    """The preset of a detector where none is given."""
    return "voc07-fast-rcnn"
