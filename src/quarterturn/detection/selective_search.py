"""Selective search (Uijlings et al., IJCV 2013) by OpenCV, over all cores that are given.

What is done is kept in the run image by image, so that an interrupted search continues.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ImageSet
from quarterturn.data.voc_objects import names_of
from quarterturn.detection.proposals import Proposals
from quarterturn.errors import CheckpointError, ConfigError, DataError
from quarterturn.files import atomic_write
from quarterturn.kept_files import read_arrays
from quarterturn.progress import stage

logger = logging.getLogger(__name__)

ORIGIN = "selective search"
WIDTH = 500
"""Wider images are shrunk to this for the search, as in Fast R-CNN's code."""
KEPT_TOGETHER = 16
"""Images whose proposals are one file until the search is done."""


def search(pixels: NDArray[np.uint8], most: int = 0) -> NDArray[np.float32]:
    """Regions of an image that may be objects, the largest first, each once.

    OpenCV finds the same set in each run, in an order that differs; here it does not.

    Args:
        pixels: (height, width, 3) RGB.
        most: Where there are more, an even choice of them over all sizes; 0 for all.

    Returns:
        (n, 4) boxes in pixels counted from 0, corners included. Where nothing is found, the whole
        image.

    Raises:
        ConfigError: OpenCV's contributed modules are not installed.
    """
    segmentation = _segmentation()
    height, width = pixels.shape[:2]
    scale = min(1.0, WIDTH / width)
    if scale < 1:
        small = (WIDTH, max(1, round(height * scale)))
        pixels = np.asarray(Image.fromarray(pixels).resize(small, Image.Resampling.BILINEAR))
    finder = segmentation.createSelectiveSearchSegmentation()
    finder.setBaseImage(np.ascontiguousarray(pixels[:, :, ::-1]))
    finder.switchToSelectiveSearchFast()
    left, top, wide, high = np.asarray(finder.process(), np.float64).reshape(-1, 4).T
    small_height, small_width = pixels.shape[:2]
    x, y = width / small_width, height / small_height
    boxes = np.stack(
        [left * x, top * y, (left + wide) * x - 1, (top + high) * y - 1], axis=1
    ).round()
    boxes = np.unique(boxes.clip(0, [width - 1, height - 1] * 2), axis=0)
    boxes = boxes[(boxes[:, 2:] >= boxes[:, :2]).all(axis=1)]
    if not len(boxes):
        boxes = np.array([[0, 0, width - 1, height - 1]], np.float64)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    boxes = boxes[np.argsort(-areas, kind="stable")].astype(np.float32)
    if most and len(boxes) > most:
        boxes = boxes[np.linspace(0, len(boxes) - 1, most).round().astype(int)]
    return boxes


def search_all(
    images: ImageSet,
    folder: Path,
    *,
    most: int,
    workers: int,
    name: str = ORIGIN,
    weight: float = 1,
) -> Proposals:
    """Proposals of all images, several at a time.

    Args:
        images: The images.
        folder: Where finished ones are kept meanwhile; what is there already is not searched again.
        most: Proposals of an image, at most; see `search`.
        workers: Processes; 0 searches in this one.
        name: Of the stage of progress.
        weight: Steps of the stage around it that it makes up.

    Raises:
        ConfigError: OpenCV's contributed modules are not installed.
        DataError: An image cannot be decoded, or a process was killed.
    """
    _segmentation()
    folder.mkdir(parents=True, exist_ok=True)
    names = names_of(images)
    parts = [
        range(begin, min(begin + KEPT_TOGETHER, len(images)))
        for begin in range(0, len(images), KEPT_TOGETHER)
    ]
    boxes: dict[int, NDArray[np.float32]] = {}
    with stage(name, total=len(images), weight=weight) as bar:
        missing = []
        for part in parts:
            kept = _kept(folder, part, names)
            boxes.update(kept)
            missing += [] if kept else [part]
            bar.skip(len(kept))
        for part, found in zip(missing, _searched(images, missing, most, workers), strict=True):
            boxes.update(zip(part, found, strict=True))
            _keep(folder, part, names, found)
            bar.advance(len(part))
    in_order = tuple(boxes[number] for number in range(len(images)))
    return Proposals(tuple(names), in_order, ORIGIN)


def _searched(
    images: ImageSet, parts: Sequence[range], most: int, workers: int
) -> Iterator[list[NDArray[np.float32]]]:
    """The boxes of each part, in order."""
    work = partial(_search_part, images, most)
    if not workers or len(parts) < 2:
        yield from map(work, parts)
        return
    # Not by fork: torch and OpenCV have threads by now.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(parts)), context, initializer=_leave_signals)
    try:
        yield from pool.map(work, parts)
    except BrokenProcessPool as error:
        raise DataError(
            "a process of selective search was killed, perhaps for want of memory: resume with "
            "fewer --workers; what is done is kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _search_part(images: ImageSet, most: int, part: range) -> list[NDArray[np.float32]]:
    found = []
    for number in part:
        try:
            image = images.read(number)
        except UnreadableImageError as error:
            raise DataError(
                f"{images.names[number]} cannot be read: {error}; mend it, or take it out of the "
                "split, and resume"
            ) from error
        found.append(search(np.asarray(image), most))
    return found


def _leave_signals() -> None:
    """Ctrl-C reaches every process of a terminal; the main one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _file(folder: Path, part: range) -> Path:
    return folder / f"{part.start:07d}.npz"


def _kept(folder: Path, part: range, names: Sequence[str]) -> dict[int, NDArray[np.float32]]:
    """What an earlier search kept of a part; nothing where it is damaged or of other images."""
    with suppress(FileNotFoundError, CheckpointError, LookupError, ValueError):
        arrays = read_arrays(_file(folder, part))
        if list(arrays["names"]) == [names[number] for number in part]:
            split = np.split(arrays["boxes"], np.cumsum(arrays["counts"])[:-1])
            return dict(zip(part, split, strict=True))
    return {}


def _keep(
    folder: Path, part: range, names: Sequence[str], found: Sequence[NDArray[np.float32]]
) -> None:
    with atomic_write(_file(folder, part)) as file:
        np.savez_compressed(
            file,
            names=np.array([names[number] for number in part], np.str_),
            counts=np.array([len(boxes) for boxes in found], np.int64),
            boxes=np.concatenate(found),
        )


def _segmentation() -> Any:
    """OpenCV's module of selective search.

    Raises:
        ConfigError: It is not installed, or another build of OpenCV has taken its place.
    """
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            "--proposals selective-search needs an extra: pip install 'quarterturn[detection]'"
        ) from error
    if not hasattr(cv2, "ximgproc"):
        raise ConfigError(
            f"--proposals selective-search: OpenCV {cv2.__version__} is installed without its "
            "contributed modules. The builds of OpenCV share a folder, so remove it first: pip "
            "uninstall opencv-python opencv-python-headless; pip install --force-reinstall "
            "'opencv-contrib-python-headless>=4.8,<5'"
        )
    cv2.setNumThreads(1)  # as many processes as there are cores do better
    return cv2.ximgproc.segmentation
