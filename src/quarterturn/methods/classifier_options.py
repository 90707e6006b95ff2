"""Options of a classifier that is learned from labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from quarterturn.config.bounds import Count, CountOrZero, Positive, PositiveOrZero
from quarterturn.config.data import Resampling
from quarterturn.config.method import MethodOptions
from quarterturn.config.options import COMMON
from quarterturn.config.shared import ClassSizeOptions


@dataclass(frozen=True)
class ClassifierOptions(MethodOptions, ClassSizeOptions):
    """A classifier of labelled images, and how it treats classes of unequal size."""

    name: ClassVar[str] = "classifier"
    title: ClassVar[str] = "supervised classification"
    meaning: ClassVar[str] = "the network learns the labels of its images"
    module: ClassVar[str | None] = "quarterturn.methods.classifier"
    command: ClassVar[str | None] = "finetune"
    reads_labels: ClassVar[bool] = True

    loss: Annotated[
        Literal["cross-entropy", "sigmoid", "ldam", "focal", "balanced-softmax", "logit-adjusted"],
        COMMON,
    ] = "cross-entropy"
    """ldam (Cao et al. 2019) takes a cosine head and larger margins for rarer classes; focal (Lin
    et al. 2017); balanced-softmax (Ren et al. 2020); logit-adjusted (Menon et al. 2021); sigmoid,
    one per class, is what images with several labels get."""
    focal_gamma: PositiveOrZero = 1.0
    """Exponent of the focal loss; 0 is cross-entropy."""
    adjustment: Positive = 1.0
    """Strength of the adjustment by class frequency in logit-adjusted; 1 is balanced-softmax."""
    post_hoc_adjustment: PositiveOrZero = 0.0
    """Subtract N times the log class frequencies from the logits after the training, in tests and
    predictions (Menon et al. 2021); 1 for a network trained by cross-entropy, 0 for none."""
    reweight: Annotated[Literal["none", "always", "drw"], COMMON] = "none"
    """Weigh classes by effective numbers: never, always, or late (deferred re-weighting)."""
    resample: Resampling = "none"
    """Draw the images of an epoch with replacement: all classes equally often, or by effective
    numbers."""
    per_class: Count | None = None
    """Learn from N images of each class, drawn by --seed, and from all of a class with fewer; from
    all by default. The test images stay."""
    images_per_epoch: Count | None = None
    """Images that an epoch shows; by default each one once."""
    order: Literal["shuffled", "cyclic"] = "shuffled"
    """cyclic shuffles the images once and shows them in that order over and over."""
    solver: Annotated[Literal["auto", "exact", "steps"], COMMON] = "auto"
    """How the classifier learns on a backbone of which nothing is trained: exact solves logistic
    regression on its features, with no epochs; steps trains by the optimizer. auto is exact with
    --from, --trained none, cross-entropy or sigmoid, and fewer than 100 training images of every
    class."""
    classifier_init: Literal["uniform", "solved", "caffe", "deepcluster"] = "uniform"
    """How the classifier begins: by PyTorch's default; as --solver exact makes it of the features
    that --from gives to up to 100 images of each class (solved, Kumar et al. 2022), or for the
    cosine head of ldam as mean features, and by default where images have several labels each; with
    weights of standard deviation 0.01 and biases of 0.1 (caffe, Krähenbühl et al. 2016); or by
    default with biases of 0.1, and so that AlexNet's fc6 and fc7 begin anew as in caffe, whatever
    --from has (deepcluster)."""
    rescale: Literal["none", "unit"] = "none"
    """unit scales the layers of a folded AlexNet by its first training images: all learn at one
    rate, and the features have a standard deviation of 1 (Krähenbühl et al. 2016)."""
    random_test_crops: CountOrZero = 0
    """Test on the sum of the logits of N random crops drawn as in the training; 0 takes the centre
    crop."""
    leave_out_empty: bool = False
    """Train even if a class has no training image: it has no margin and no weight, is never
    predicted, and its test images are left out."""
    protocol: Literal["last-epoch", "paper"] = "last-epoch"
    """paper reports the best of the evaluated epochs too, as older papers do: it is chosen on
    the test images, so it is too high."""

    @property
    def has_several_labels(self) -> bool:
        """Whether images have several labels each."""
        return self.loss == "sigmoid"
