"""A quick kNN on labelled images as a pretraining goes: the points of its learning curve.

Shapes: n images in the gallery, m queries; d width of a part of the feature.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import TEST_FRACTION
from quarterturn.data.source import Source
from quarterturn.data.subsets import limit_images, stratified_split
from quarterturn.errors import DataError
from quarterturn.features.extraction import extract_parts, random_turns
from quarterturn.methods.base import Network
from quarterturn.probing.knn import knn_predict
from quarterturn.runs import Run

KIND = "quick_probe"
"""Of the lines in ``metrics.jsonl``."""
NOTE = "quick, on the way; not a probe's result"
NEIGHBORS = 20
MOST_IMAGES = 5000
"""Labelled images at most, so that a point of the curve stays quick."""
QUERY_SHARE = 0.2
"""Of these images: the queries, which are held out of the gallery."""
SEED = 0
"""Of every draw here, so that the curves of all runs are of the same images; a probe has it, too,
unless it is given another."""


@dataclass(frozen=True)
class LabelledSample:
    """Labelled images of a training split, of which a part is held out to be classified.

    Attributes:
        gallery: (n) images with known labels.
        queries: (m) images that are classified.
        description: Which images these are, in words.
    """

    gallery: ImageSet
    queries: ImageSet
    description: str

    @classmethod
    def of(cls, source: Source, data: str) -> LabelledSample:
        """Draw the images, without those that a probe would test on.

        Where the data has a test split, nothing of it is used, not even its labels. Where it has
        none, the 20 % that a probe holds out by default are left out.

        Args:
            source: The opened data.
            data: DATA as the user wrote it, for messages.

        Raises:
            DataError: The images do not have one label each, or are too few.
        """
        images, of = source.labelled_train, "training images"
        if images.labels is None:
            found = "no labels" if images.label_sets is None else "several labels each"
            raise DataError(
                f"--probe-every classifies images by their one label, and those of {data} have "
                f"{found}: give --probe-data LABELLED, or leave it out"
            )
        if source.labelled_test is None:
            kept, _ = stratified_split(images.labels, TEST_FRACTION, SEED)
            images = images.subset(kept)
            of = "images that a probe by default learns from"
        images = limit_images(images, MOST_IMAGES)
        assert images.labels is not None
        gallery, queries = stratified_split(images.labels, QUERY_SHARE, SEED)
        if not len(queries) or len(np.unique(images.labels)) < 2:
            raise DataError(
                f"--probe-every: {data} has {len(images)} labelled images to learn from, of "
                f"{len(np.unique(images.labels))} classes; expected two classes of at least three"
            )
        words = f"{len(queries):,} of the {len(images):,} labelled {of} of {source.name}"
        return cls(
            images.subset(gallery),
            images.subset(queries),
            f"{words}, by the other {len(gallery):,}; no test image",
        )

    @property
    def fingerprint(self) -> str:
        """A short hash of images, labels and names of classes."""
        digest = hashlib.sha256("\0".join(self.gallery.class_names).encode(errors="replace"))
        for images in (self.gallery, self.queries):
            assert images.labels is not None
            digest.update(images.fingerprint().encode())
            digest.update(np.ascontiguousarray(images.labels).data)
        return digest.hexdigest()[:16]

    @property
    def chance(self) -> float:
        """Accuracy of always naming the most frequent class of the queries."""
        assert self.queries.labels is not None
        return float(np.bincount(self.queries.labels).max() / len(self.queries))


def quick_knn(
    network: Network,
    sample: LabelledSample,
    crop: DataConfig,
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    failed: dict[str, str] | None = None,
) -> dict[str, float]:
    """Classify the queries by their 20 nearest neighbours in the gallery.

    Args:
        network: Backbone and heads; left as it is.
        sample: The images.
        crop: Crop and normalisation settings.
        device: Where the network is.
        workers: Processes that decode files.
        failed: Filled with the images that could not be decoded, with the reason.

    Returns:
        ``knn20_PART_VIEW`` to the accuracy, for each part of the feature, on ``upright`` and on
        ``turned`` queries; the gallery is upright.
    """
    was_training = network.training
    network.eval()

    def parts_of(images: ImageSet, turns: torch.Tensor | None = None) -> dict:
        unread: dict[int, str] = {}
        found = extract_parts(
            images,
            crop,
            lambda batch: network.parts(network.backbone(batch)),
            turns=turns,
            device=device,
            workers=workers,
            failed=unread,
        )
        if failed is not None:
            failed.update({images.names[i]: why for i, why in unread.items()})
        return found

    queries = sample.queries
    try:
        gallery = parts_of(sample.gallery)
        views = {
            "upright": parts_of(queries),
            "turned": parts_of(queries, random_turns(len(queries), SEED)),
        }
    finally:
        network.train(was_training)
    accuracies = {}
    for part, known in gallery.items():
        for view, found in views.items():
            predicted = knn_predict(
                known.values,
                known.labels,
                found[part].values,
                (NEIGHBORS,),
                num_classes=len(queries.class_names),
            )[NEIGHBORS]
            accuracies[f"knn{NEIGHBORS}_{part}_{view}"] = float(
                (predicted == found[part].labels).mean()
            )
    return accuracies


def require_same_sample(run: Run, sample: LabelledSample) -> None:
    """Refuse to continue a curve with other images than it began with.

    Raises:
        DataError: They, or their labels, have changed.
    """
    lines = run.read_metrics(KIND)
    if lines and lines[-1].get("images") != (found := sample.fingerprint):
        raise DataError(
            f"the labelled images of --probe-every are not those that {run.path} began with "
            f"(fingerprint {found}, expected {lines[-1].get('images')}): images or labels were "
            "added, removed or changed"
        )
