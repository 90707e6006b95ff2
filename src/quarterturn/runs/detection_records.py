"""What a detector found in its test images, in ``RUN/detections.npz`` and ``RUN/detection.json``.

Shapes: N test images; d detections and g true boxes, of all images one after the other. Boxes are
(x1, y1, x2, y2) in pixels of the image as it is stored upright, counted from 0, corners included.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.errors import CheckpointError
from quarterturn.files import atomic_write
from quarterturn.kept_files import read_arrays
from quarterturn.runs.record_files import read_record

DETECTION = "detection.json"
DETECTIONS = "detections.npz"

KINDS = {
    "names": ("U", 1),
    "sizes": ("iu", 2),
    "image": ("iu", 1),
    "class_number": ("iu", 1),
    "score": ("f", 1),
    "box": ("f", 2),
    "true_image": ("iu", 1),
    "true_class": ("iu", 1),
    "true_box": ("f", 2),
    "true_difficult": ("b", 1),
}
"""The arrays of the file: kinds of their values, and number of their axes."""


@dataclass(frozen=True)
class Detections:
    """Everything that was found in the test images, and everything that is there.

    Attributes:
        names: (N,) names of the images.
        sizes: (N, 2) heights and widths in pixels; 0 for images that could not be read.
        image: (d,) number of the image of each detection.
        class_number: (d,) its class, from 0, in the order of `DetectionResult.classes`.
        score: (d,) its probability.
        box: (d, 4) its box.
        true_image: (g,) number of the image of each true box.
        true_class: (g,) its class.
        true_box: (g, 4) itself.
        true_difficult: (g,) whether it is difficult.
    """

    names: NDArray[np.str_]
    sizes: NDArray[np.int64]
    image: NDArray[np.int64]
    class_number: NDArray[np.int64]
    score: NDArray[np.float32]
    box: NDArray[np.float32]
    true_image: NDArray[np.int64]
    true_class: NDArray[np.int64]
    true_box: NDArray[np.float64]
    true_difficult: NDArray[np.bool_]

    def of_class(self, number: int) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """Detections and true boxes of one class, for each image.

        Args:
            number: Of the class.

        Returns:
            For each image (n, 5) boxes with scores, and (n, 5) true boxes with 1 for difficult
            ones: what `quarterturn.detection_average_precision` takes.
        """
        rows = np.column_stack([self.box, self.score]).astype(np.float64)
        true = np.column_stack([self.true_box, self.true_difficult]).astype(np.float64)
        return (
            _by_image(rows, self.image, self.class_number == number, len(self.names)),
            _by_image(true, self.true_image, self.true_class == number, len(self.names)),
        )

    def write(self, run: Path) -> None:
        """Write them to a run, atomically."""
        with atomic_write(run / DETECTIONS) as file:
            np.savez_compressed(file, **{f.name: getattr(self, f.name) for f in fields(self)})


def _by_image(
    rows: NDArray[np.float64],
    image: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    num_images: int,
) -> list[NDArray[np.float64]]:
    order = np.argsort(image[chosen], kind="stable")
    counts = np.bincount(image[chosen], minlength=num_images)
    return np.split(rows[chosen][order], np.cumsum(counts)[:-1])


def read_detections(run: Path) -> Detections:
    """Those in ``RUN/detections.npz``.

    Raises:
        FileNotFoundError: The run has none.
        CheckpointError: They are damaged.
    """
    path = run / DETECTIONS
    arrays = read_arrays(path)
    for name, (kinds, axes) in KINDS.items():
        found = arrays.get(name)
        if found is None or found.dtype.kind not in kinds or found.ndim != axes:
            what = "is missing" if found is None else f"has {found.dtype} of {found.shape}"
            raise CheckpointError(
                f"{path} is damaged: {name} {what}; delete it, and quarterturn detect --resume "
                f"{run} tests the detector again"
            )
    return Detections(**{name: arrays[name] for name in KINDS})


@dataclass(frozen=True)
class ClassDetection:
    """How well the objects of one class were found.

    Attributes:
        name: The class.
        training_boxes: Its boxes in the training images, difficult ones too.
        test_boxes: Its boxes in the test images that count, which are not difficult.
        difficult_boxes: Its difficult boxes in the test images, which do not count.
        detections: Boxes that were detected.
        ap_11_point: Average precision at 11 recalls (VOC2007).
        ap_area: Area under the envelope of the precision-recall curve (since VOC2010).
        recall: Of the curve's points, ascending: one for each detection that found an object.
        precision: Of the same points.
    """

    name: str
    training_boxes: int
    test_boxes: int
    difficult_boxes: int
    detections: int
    ap_11_point: float
    ap_area: float
    recall: tuple[float, ...] = ()
    precision: tuple[float, ...] = ()


@dataclass(frozen=True)
class DetectionResult:
    """A detector's test, as it is stored in ``RUN/detection.json``.

    Attributes:
        detector: ``fast-rcnn`` or ``faster-rcnn``.
        iterations: Steps of its training.
        iou: Overlap above which a detection has found an object.
        classes: The classes, in the order of the network's.
        mean_ap_11_point: Mean of their `ClassDetection.ap_11_point`.
        mean_ap_area: Mean of their `ClassDetection.ap_area`.
        training_images: Images that were learned from.
        test_images: Images that were tested on.
        test: In words, where they are from.
        proposals: In words, where proposals came from; empty for a detector that makes its own.
        proposals_per_image: Their mean number in the test images.
        recall_of_proposals: Share of the test boxes with a proposal of IoU above ``iou``: no
            detector of these proposals finds many more. None for one that makes its own.
        images_per_s: Test images a second.
        test_images_learned_from: Test images that the run that the training started from has been
            trained on; None if not known, 0 from scratch.
        test_images_learned_with_labels: Those of them whose label was read; None if not known.
    """

    detector: str
    iterations: int
    iou: float
    classes: tuple[ClassDetection, ...]
    mean_ap_11_point: float
    mean_ap_area: float
    training_images: int
    test_images: int
    test: str
    proposals: str
    proposals_per_image: float | None
    recall_of_proposals: float | None
    images_per_s: float
    test_images_learned_from: int | None = 0
    test_images_learned_with_labels: int | None = 0

    @property
    def class_names(self) -> list[str]:
        """The C classes."""
        return [each.name for each in self.classes]


def read_detection_result(run: Path) -> DetectionResult:
    """The result in ``RUN/detection.json``.

    Raises:
        FileNotFoundError: The run has none.
        CheckpointError: It is damaged.
    """
    result = read_record(run / DETECTION, DetectionResult)
    for each in result.classes:
        aps = (each.ap_11_point, each.ap_area)
        if len(each.recall) != len(each.precision) or not all(0 <= ap <= 1 for ap in aps):
            raise CheckpointError(
                f"{run / DETECTION} is damaged: the figures of {each.name} do not fit; delete it, "
                f"and quarterturn detect --resume {run} tests the detector again"
            )
    return result
