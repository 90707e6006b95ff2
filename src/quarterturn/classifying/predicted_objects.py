"""``quarterturn predict`` by a detector: the objects in images, as tables and drawn."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from quarterturn.data.imageset import ImageSet
from quarterturn.data.source import Source
from quarterturn.detection.finding import Found, find_objects
from quarterturn.detection.selective_search import search_all
from quarterturn.engine.runtime import Runtime
from quarterturn.features.source_pass import run_on_all_splits
from quarterturn.files import write_bytes, write_csv, write_json
from quarterturn.methods.base import Network
from quarterturn.methods.configuration import Config
from quarterturn.methods.detector_options import DetectorOptions

COLUMNS = ["name", "split", "label", "score", "x1", "y1", "x2", "y2"]
LINE = "#e4572e"


@dataclass(frozen=True)
class ObjectsOfSplit:
    """What was found in the images of a split.

    Attributes:
        indices: (n,) numbers of the images that could be read.
        found: The objects, the surest of each image first.
    """

    indices: NDArray[np.int64]
    found: Found

    def of(self, image: int, threshold: float) -> NDArray[np.int64]:
        """Rows of the objects in an image with at least a score, the surest first."""
        found = self.found
        rows = np.flatnonzero((found.image == image) & (found.score >= threshold))
        return rows[np.argsort(-found.score[rows], kind="stable")]


def find_in_source(
    network: Network, source: Source, config: Config, runtime: Runtime, workers: int
) -> tuple[dict[str, ObjectsOfSplit], dict[str, str]]:
    """The objects in the images of all splits, and the files that could not be read.

    Proposals for Fast R-CNN are made by selective search.

    Raises:
        ConfigError: The extra that selective search needs is not installed.
        DataError: Too many images cannot be read.
    """
    options = config.method_as(DetectorOptions)

    def find(images: ImageSet, failed: dict[int, str]) -> ObjectsOfSplit:
        proposals = None
        if options.detector == "fast-rcnn":
            with TemporaryDirectory() as folder:
                most = options.max_proposals
                searched = search_all(images, Path(folder), most=most, workers=workers)
                proposals = searched.boxes
        found = find_objects(
            network, images, config, proposals, device=runtime.device, workers=workers
        )
        failed.update(found.failed)
        return ObjectsOfSplit(np.setdiff1d(np.arange(len(images)), [*found.failed]), found)

    return run_on_all_splits("predict", source, find, config.data.max_bad_fraction)


def write_objects(
    out: Path,
    source: Source,
    by_split: dict[str, ObjectsOfSplit],
    class_names: Sequence[str],
    threshold: float,
) -> int:
    """Write the objects as a ``.csv`` file, and as COCO's JSON beside it.

    Corners in the ``.csv`` file are pixels counted from 0 and belong to the object. COCO's boxes
    are corner, width and height; its annotations have a ``score`` each.

    Returns:
        Number of objects.
    """
    rows: list[list[object]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for split, of_split in by_split.items():
        names, found = source.all_splits[split].names, of_split.found
        for image in of_split.indices.tolist():
            height, width = map(int, found.sizes[image])
            number = len(images) + 1
            about = {"id": number, "file_name": names[image], "split": split}
            images.append(about | {"height": height, "width": width})
            for row in of_split.of(image, threshold):
                label, score = int(found.class_number[row]), float(found.score[row])
                x1, y1, x2, y2 = (round(float(value), 2) for value in found.box[row])
                rows.append(
                    [names[image], split, class_names[label], f"{score:.6f}", x1, y1, x2, y2]
                )
                box = [x1, y1, round(x2 - x1 + 1, 2), round(y2 - y1 + 1, 2)]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": label + 1,
                        "bbox": box,
                        "area": round(box[2] * box[3], 2),
                        "iscrowd": 0,
                        "score": score,
                    }
                )
    write_csv(out, COLUMNS, rows)
    categories = [{"id": i, "name": name} for i, name in enumerate(class_names, start=1)]
    everything = {"images": images, "annotations": annotations, "categories": categories}
    write_json(out.with_suffix(".json"), everything)
    return len(rows)


def draw_objects(
    folder: Path,
    source: Source,
    by_split: dict[str, ObjectsOfSplit],
    class_names: Sequence[str],
    threshold: float,
    most: int,
) -> int:
    """Draw the first images with their objects, as JPEG files in a folder.

    Returns:
        Number of images that were drawn.
    """
    drawn = 0
    for split, of_split in by_split.items():
        images = source.all_splits[split]
        for image in of_split.indices.tolist()[: most - drawn]:
            pixels, _ = images.read_sized(image, lambda size: 1.0)
            pen = ImageDraw.Draw(pixels)
            for row in of_split.of(image, threshold):
                x1, y1, x2, y2 = map(float, of_split.found.box[row])
                name = class_names[int(of_split.found.class_number[row])]
                pen.rectangle((x1, y1, x2, y2), outline=LINE, width=2)
                words = f"{name} {100 * float(of_split.found.score[row]):.0f} %"
                # The font at hand has no letters beyond Latin-1.
                words = words.encode("latin-1", "replace").decode("latin-1")
                left, top, right, bottom = pen.textbbox((x1 + 3, y1 + 1), words)
                pen.rectangle((left - 2, top - 1, right + 2, bottom + 1), fill=LINE)
                pen.text((x1 + 3, y1 + 1), words, "white")
            folder.mkdir(exist_ok=True)
            contents = io.BytesIO()
            pixels.save(contents, "JPEG", quality=90)
            stem = Path(str(images.names[image])).stem
            write_bytes(folder / f"{split}-{image:05d}-{stem}.jpg", contents.getvalue())
            drawn += 1
    return drawn
