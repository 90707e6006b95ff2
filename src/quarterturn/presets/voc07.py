"""Classifying VOC2007 by fine-tuning, as Krähenbühl et al. and the papers after them do."""

from __future__ import annotations

from quarterturn.config import DataConfig, ModelConfig, OptimizerConfig, RunConfig
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.configuration import Config

ITERATIONS_PER_EPOCH = 1000
BATCH = 16


def voc07_fc8() -> Config:
    """A new classifier on frozen fc7 of AlexNet, for the 20 classes of VOC2007.

    Paper: Krähenbühl, Doersch, Donahue, Darrell (ICLR 2016) and their code, as Feng et al. (CVPR
    2019) use it: squares of 0.5 to 2 source pixels a pixel, without antialiasing, mirrored in half
    of the cases; sigmoid cross-entropy over all classes, ignored entries masked, divided by the 16
    images of a batch; 80,000 iterations in one cyclic order; SGD 0.9, its momentum in units of the
    step, rate 0.001 halved every 10,000 iterations, twice that for biases; weight decay 1e-6,
    gradients clipped to length 10; classifier drawn with standard deviation 0.01 and biases of 0.1,
    dropout of one half behind fc6 and fc7. Batch norm is folded first. An epoch is 1,000
    iterations, and ``--epochs`` scales the schedule. Tested by the sum of ten random crops, with
    the first one beside it. Images have the run's own mean and scale. ``--rescale unit`` scales the
    layers first, as that code does.
    Command: ``quarterturn finetune voc2007:ROOT --from RUN --preset voc07-fc8``.
    Expected: not run here on VOC2007.
    """
    return Config(
        data=DataConfig(image_size=224, crop_pixels=(0.5, 2.0)),
        model=ModelConfig(backbone="alexnet-folded", trained="none"),
        method=ClassifierOptions(
            loss="sigmoid",
            images_per_epoch=ITERATIONS_PER_EPOCH * BATCH,
            order="cyclic",
            classifier_init="caffe",
            random_test_crops=10,
        ),
        optimizer=OptimizerConfig(
            learning_rate=0.001,
            nesterov=False,
            weight_decay=1e-6,
            bias_rate=2.0,
            clip_gradient=10.0,
            rate_in_momentum=True,
            schedule="step",
            milestones=tuple(drop / 8 for drop in range(1, 8)),
            factors=tuple(0.5**drop for drop in range(8)),
        ),
        run=RunConfig(epochs=80, batch_size=BATCH, precision="32-true", log_every=100),
    )


def voc07_fc6_8() -> Config:
    """`voc07_fc8`, with fc6 and fc7 trained too.

    Paper: as `voc07_fc8`; papers report it as "fc6-8".
    Command: ``quarterturn finetune voc2007:ROOT --from RUN --preset voc07-fc6-8``.
    Expected: not run here on VOC2007.
    """
    return voc07_fc8().with_settings(trained="fc6")


def voc07_all() -> Config:
    """`voc07_fc8`, with all layers trained.

    Paper: as `voc07_fc8`; papers report it as "all".
    Command: ``quarterturn finetune voc2007:ROOT --from RUN --preset voc07-all``.
    Expected: not run here on VOC2007.
    """
    return voc07_fc8().with_settings(trained="whole")


def voc07_deepcluster() -> Config:
    """The protocol of DeepCluster's PyTorch code, with which later papers compare.

    Paper: Caron, Bojanowski, Joulin, Douze (ECCV 2018) and ``eval_voc_classif.py`` of their code:
    crops of 0.1 to 0.5 of the area at ratio 1, mirrored in half of the cases; rate 0.003 halved
    every 5,000 of 80,000 iterations, the same for biases, torch's momentum; fc6 and fc7 drawn anew
    and trained with the classifier, convolutions and the statistics of their batch norm kept, which
    is why batch norm may be folded; loss, batches, order, weight decay, clipping and ten random
    test crops as in `voc07_fc8`. There dropout is before fc6 and fc7, here behind them.
    Command: ``quarterturn finetune voc2007:ROOT --from RUN --preset voc07-deepcluster``.
    Expected: not run here on VOC2007; DeepCluster's own features reach 70.4 (its README).
    """
    recipe = voc07_fc6_8().with_settings(
        crop_pixels=None,
        crop_scale=(0.1, 0.5),
        crop_ratio=(1.0, 1.0),
        classifier_init="deepcluster",
        learning_rate=0.003,
        bias_rate=1.0,
        rate_in_momentum=False,
    )
    return recipe.with_settings(
        milestones=tuple(drop / 16 for drop in range(1, 16)),
        factors=tuple(0.5**drop for drop in range(16)),
    )


def voc07_pool5() -> Config:
    """`voc07_fc8`, with the classifier straight on frozen pool5.

    Paper: as `voc07_fc8`.
    Command: ``quarterturn finetune voc2007:ROOT --from RUN --preset voc07-pool5``.
    Expected: not run here on VOC2007.
    """
    return voc07_fc8().with_settings(backbone="alexnet-pool5")
