"""Proposals of a dry run: those of a few images, timed, which then stand for every image's."""

from __future__ import annotations

import logging
import time

import numpy as np

from quarterturn.data.imageset import ImageSet
from quarterturn.data.voc_objects import ObjectsOfImages, names_of
from quarterturn.detection.data import DetectionData
from quarterturn.detection.proposals import Proposals
from quarterturn.detection.selective_search import ORIGIN, search
from quarterturn.progress import duration

logger = logging.getLogger(__name__)

SEARCHED_IMAGES = 3


def rehearsed_proposals(data: DetectionData, most: int, workers: int) -> dict[str, Proposals]:
    """Search a few training images, and log how long all of them would take.

    How long a step takes depends on the number of regions, and not on where they are.

    Args:
        data: The images.
        most: Proposals of an image, at most; 0 for all.
        workers: Processes that search; 0 for this one.

    Returns:
        ``train`` and ``test`` to the boxes of the searched images in turn, with an image's own.

    Raises:
        ConfigError: OpenCV's contributed modules are not installed.
    """
    number = min(SEARCHED_IMAGES, len(data.train))
    pixels = [np.asarray(data.train.read(i)) for i in range(number)]
    began_s = time.perf_counter()
    found = [search(image, most) for image in pixels]
    image_s = (time.perf_counter() - began_s) / number
    images = len(data.train) + len(data.test)
    logger.info(
        f"selective search took {image_s:.1f} s for each of {number} images, so for all "
        f"{images:,}, before the training, {duration(images * image_s / max(1, workers))}"
    )

    def of_split(images: ImageSet, objects: ObjectsOfImages) -> Proposals:
        boxes = [
            np.concatenate([own.boxes, found[i % number]]).astype(np.float32)
            for i, own in enumerate(objects.images)
        ]
        return Proposals(tuple(names_of(images)), tuple(boxes), ORIGIN)

    return {
        "train": of_split(data.train, data.train_objects),
        "test": of_split(data.test, data.test_objects),
    }
