"""Protocols of linear SVMs on frozen features, by name; see `quarterturn.presets.protocols`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quarterturn.config.validation import unknown


@dataclass(frozen=True)
class SvmProtocol:
    """How the SVMs are trained, and by what their cost is chosen.

    Attributes:
        costs: C to choose from, for each class by average precision.
        folds: Training folds that choose.
        positive_weight: Of the images with the class; 1 for those without it.
        max_iterations: Bound on the steps of the solver.
        num_features: Maps are max-pooled to about as many features.
        shots: Images with the class to train on, in turn; empty for all images.
        negatives_per_positive: Images without the class beside each of them.
        draws: How often they are drawn, for each seed.
    """

    costs: tuple[float, ...] = (0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000)
    folds: int = 3
    positive_weight: float = 2.0
    max_iterations: int = 2000
    num_features: int = 9000
    shots: tuple[int, ...] = ()
    negatives_per_positive: int = 19
    draws: int = 5


def voc07_svm() -> SvmProtocol:
    """One linear SVM per class on each layer, on VOC2007's trainval, tested on its test split.

    Paper: Goyal, Mahajan, Gupta, Misra (ICCV 2019, section 6.1) and its code: images squashed to a
    square, maps max-pooled to about 9,000 features (AlexNet: 12, 7, 5, 6, 6 a side), rows divided
    by their length; squared hinge loss, weights 2 : 1 for images with the class, ignored entries
    as without it in the training and left out of the test; the cost of each class by the AP of
    three training folds; AP under the envelope of the precision-recall curve.
    Command: ``quarterturn probe RUN voc2007:ROOT --preset voc07-svm``.
    Expected: not run here on VOC2007. The code resizes twice, to 256 and then to 224; here it is
    one resize.
    """
    return SvmProtocol()


def voc07_svm_lowshot() -> SvmProtocol:
    """`voc07_svm` on K images with the class, K from 1 to 96, and 19 K without it, 5 draws.

    Paper: as `voc07_svm` (section 6.2). Its code chooses one cost for each K on the test images;
    here each class chooses on its training folds (1 for K = 1, which has none to spare), and
    ``--protocol paper`` does as the code.
    Command: ``quarterturn probe RUN voc2007:ROOT --preset voc07-svm-lowshot``.
    Expected: not run here on VOC2007.
    """
    return SvmProtocol(shots=(1, 2, 4, 8, 16, 32, 64, 96))


SVM_PROTOCOLS: dict[str, Callable[[], SvmProtocol]] = {
    "voc07-svm": voc07_svm,
    "voc07-svm-lowshot": voc07_svm_lowshot,
}


def svm_protocol(name: str) -> SvmProtocol:
    """A protocol by its name.

    Raises:
        ConfigError: There is no such protocol; the message lists the closest.
    """
    if name not in SVM_PROTOCOLS:
        raise unknown("preset", name, SVM_PROTOCOLS)
    return SVM_PROTOCOLS[name]()
