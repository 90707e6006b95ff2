"""The batches of a detector's training: whole images with regions, as functions of seed and step.

Every image is there twice, as it is and mirrored; all of them are shuffled, and once all were
shown, again (Girshick, ICCV 2015).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from quarterturn.data.imageset import ImageSet
from quarterturn.data.region_batches import RegionBatch
from quarterturn.data.region_boxes import mirrored
from quarterturn.data.source import Source
from quarterturn.data.voc_objects import Objects
from quarterturn.data.whole_images import Padded, Resized, WholeImage, whole_images
from quarterturn.detection.training_regions import TrainingRegions, sample
from quarterturn.methods.configuration import Config
from quarterturn.methods.detector_options import PARTS, DetectorOptions
from quarterturn.randomness import integers, permutation

NO_BOXES = torch.zeros(0, 4)
NO_CLASSES = torch.zeros(0, dtype=torch.int64)


class DetectionBatches:
    """The batches of any part of a training.

    Args:
        images: The N images.
        objects: What is in each.
        regions: Of each image, or None for a detector that makes its own.
        normalisation: Means and standard deviations of the offsets, (C + 1, 4) each.
        config: All settings.
        device: Device of the batches.
        source: The images' source: its unreadable files count against ``max_bad_fraction`` too.

    Attributes:
        failed: Images that could not be decoded, by number, with the reason; they drop out of their
            batches.
        changed: Images whose files have changed since they were indexed.
    """

    def __init__(
        self,
        images: ImageSet,
        objects: Sequence[Objects],
        regions: Sequence[TrainingRegions] | None,
        normalisation: tuple[Tensor, Tensor],
        config: Config,
        device: torch.device,
        source: Source,
    ) -> None:
        self.images, self.objects, self.regions = images, objects, regions
        self.means, self.deviations = normalisation
        self.options, self.config = config.method_as(DetectorOptions), config
        self.device, self.source = device, source
        self.failed: dict[int, str] = {}
        self.changed: set[int] = set()
        self._padded = Padded(config.data, device)
        self._order = lru_cache(maxsize=2)(self._shuffled)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of a part of the training."""
        return max(1, self.options.iterations // PARTS)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[RegionBatch]:
        """The batches of a part of the training, from number ``first`` on.

        Raises:
            DataError: Too many files could not be decoded.
        """
        begin = epoch * self.steps_per_epoch
        steps = range(begin + first, begin + self.steps_per_epoch)
        decoded = whole_images(
            self.images, map(self._plans, steps), self.config.machine.num_workers
        )
        for step, resized in zip(steps, decoded, strict=True):
            self.note_failed({r.plan.index: r.failure for r in resized if r.pixels is None})
            self.changed |= self.images.note([r.seen for r in resized if r.seen is not None])
            yield self._batch(step, epoch, [r for r in resized if r.pixels is not None])

    def note_failed(self, failed: dict[int, str]) -> None:
        """Record images that could not be decoded.

        Raises:
            DataError: There are too many of them now.
        """
        if failed.keys() <= self.failed.keys():
            return
        self.failed.update(failed)
        unreadable = {self.images.names[i]: reason for i, reason in self.failed.items()}
        limit = self.config.data.max_bad_fraction
        self.source.check_failures(unreadable, len(self.images), limit)

    def _shuffled(self, passes: int) -> Tensor:
        """Every image and its mirrored copy, whose number is N more, in the order of a pass."""
        return permutation(2 * len(self.images), self.config.run.seed, "detection", passes)

    def _plans(self, step: int) -> list[WholeImage]:
        """What a step shows."""
        size, seed = self.config.run.batch_size, self.config.run.seed
        scales, number = self.options.scales, len(self.images)
        plans = []
        for place in range(step * size, (step + 1) * size):
            drawn = int(self._order(place // (2 * number))[place % (2 * number)])
            scale = scales[int(integers(len(scales), seed, "scale", step, drawn))]
            plans.append(
                WholeImage(drawn % number, scale, self.options.max_side, mirrored=drawn >= number)
            )
        return plans

    def _batch(self, step: int, epoch: int, shown: list[Resized]) -> RegionBatch:
        pixels = [resized.pixels for resized in shown if resized.pixels is not None]
        learned = [self._regions(step, resized) for resized in shown]
        true = [self._objects(resized) for resized in shown]
        device = self.device
        return RegionBatch(
            torch.tensor([resized.plan.index for resized in shown], device=device),
            self._padded(pixels) if pixels else torch.zeros(0, 3, 1, 1, device=device),
            tuple((image.shape[1], image.shape[2]) for image in pixels),
            tuple(boxes.to(device) for boxes, _, _ in learned),
            tuple(classes.to(device) for _, classes, _ in learned),
            tuple(offsets.to(device) for _, _, offsets in learned),
            tuple(boxes.to(device) for boxes, _ in true),
            tuple(classes.to(device) for _, classes in true),
            epoch,
        )

    def _regions(self, step: int, resized: Resized) -> tuple[Tensor, Tensor, Tensor]:
        """Regions, classes and normalised offsets of an image in a step."""
        if self.regions is None:
            return NO_BOXES, NO_CLASSES, NO_BOXES
        plan, of_image = resized.plan, self.regions[resized.plan.index]
        drawn = plan.index + plan.mirrored * len(self.images)
        chosen = sample(of_image.overlaps, self.options, self.config.run.seed, step, drawn)
        on_objects = torch.from_numpy(of_image.overlaps[chosen] >= self.options.foreground_from)
        classes = torch.from_numpy(of_image.classes[chosen]) * on_objects
        offsets = of_image.offsets(chosen) * on_objects[:, None]
        offsets[:, 0] *= -1 if plan.mirrored else 1
        normalised = (offsets.float() - self.means[classes]) / self.deviations[classes]
        boxes = torch.from_numpy(of_image.boxes[chosen])
        return self._shown(boxes, resized), classes, normalised * on_objects[:, None]

    def _objects(self, resized: Resized) -> tuple[Tensor, Tensor]:
        """The objects that are not difficult: they teach a detector that proposes by itself."""
        objects = self.objects[resized.plan.index]
        counts = ~objects.difficult
        boxes = torch.from_numpy(objects.boxes[counts].astype(np.float32))
        return self._shown(boxes, resized), torch.from_numpy(objects.classes[counts] + 1)

    def _shown(self, boxes: Tensor, resized: Resized) -> Tensor:
        """Boxes of an image where they are once it is mirrored and resized."""
        if resized.plan.mirrored:
            boxes = mirrored(boxes, resized.size[1])
        return boxes * resized.scale
