"""One training of a detector, tested at its end."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.unreadable import check_unreadable
from quarterturn.detection.batches import DetectionBatches
from quarterturn.detection.data import DetectionData
from quarterturn.detection.evaluation import (
    IOU,
    class_figures,
    detections_of,
    proposal_figures,
)
from quarterturn.detection.finding import find_objects
from quarterturn.detection.proposals import Proposals
from quarterturn.detection.shown_images import best_and_worst
from quarterturn.detection.training_regions import TrainingRegions, offset_statistics
from quarterturn.engine.loop import Training
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import CheckpointError
from quarterturn.files import write_json
from quarterturn.methods.base import Method
from quarterturn.methods.build import build_method
from quarterturn.methods.detector_options import DetectorOptions
from quarterturn.methods.fast_rcnn import FastRCNN, RegionClassification
from quarterturn.models.backbone import Backbone
from quarterturn.pages.detection_tables import brief_words, detection_table
from quarterturn.pages.figures import save_figure
from quarterturn.pages.report import never_fatal, refresh_report
from quarterturn.pages.tables import show
from quarterturn.runs import Run, write_items
from quarterturn.runs.closing import log_unreadable
from quarterturn.runs.detection_records import (
    DETECTION,
    DetectionResult,
    read_detection_result,
    read_detections,
)
from quarterturn.runs.facts import write_facts
from quarterturn.runs.life_cycle import TrainingFiles, TrainingJob
from quarterturn.runs.record_files import to_json
from quarterturn.runs.training_images import count_trained_on
from quarterturn.runs.without_effect import options_without_effect
from quarterturn.weights.backbone_weights import weights_for
from quarterturn.weights.start import Start

logger = logging.getLogger(__name__)

TIMED_IMAGES = 3
"""Test images on which a dry run times the test."""
STATISTICS_IMAGES = 64
"""Training images by which an untrained backbone's batch norm is set."""


@dataclass(frozen=True, kw_only=True)
class DetectorTraining(TrainingJob[Method]):
    """Trains a detector, and tests it once it is finished.

    Attributes:
        run: The run directory.
        data: Its images, and the objects in them.
        proposals: ``train`` and ``test`` to those of the images, for Fast R-CNN; else empty.
        regions: Those that Fast R-CNN learns from; filled once.
        start: The run that it begins with, and its network, where the run has no directory that
            holds them.
    """

    run: Run
    data: DetectionData
    proposals: dict[str, Proposals] = field(default_factory=dict)
    regions: list[TrainingRegions] = field(default_factory=list)
    start: Start | None = None

    shorter = "--iterations, --scales or --limit"

    @classmethod
    def of(
        cls,
        run: Run,
        data: DetectionData,
        proposals: dict[str, Proposals],
        runtime: Runtime,
        *,
        start: Start | None = None,
    ) -> DetectorTraining:
        """The training of a run."""
        return cls(
            config=run.config,
            images=data.train,
            runtime=runtime,
            source=data.source,
            files=TrainingFiles.of_run(run),
            name="detector",
            weight=run.config.method_as(DetectorOptions).iterations * run.config.run.batch_size,
            run=run,
            data=data,
            proposals=proposals,
            start=start,
        )

    @property
    def options(self) -> DetectorOptions:
        """Of the detector."""
        return self.config.method_as(DetectorOptions)

    def build_method(self) -> Method:
        """A detector on a new backbone, or on that of the run it starts from."""
        method = build_method(
            self.config,
            len(self.images),
            class_counts=torch.from_numpy(self._training_boxes()),
            device=self.runtime.device,
        )
        network = method.network
        if not self.run.checkpoint.exists():
            self._begin(network.backbone)
        if isinstance(network, FastRCNN):
            assert isinstance(method, RegionClassification)
            of_train = self.proposals["train"]
            method.proposals = of_train.fingerprint()
            self.regions.extend(
                TrainingRegions.of(objects, boxes)
                for objects, boxes in zip(
                    self.data.train_objects.images, of_train.boxes, strict=True
                )
            )
            means, deviations = self._normalisation()
            network.offset_means.copy_(means)
            network.offset_stds.copy_(deviations)
        return method

    def _begin(self, backbone: Backbone) -> None:
        """Give a backbone its first weights, and an untrained one's batch norm its statistics.

        A trained network's statistics are those of its own training. Where there was none, they
        are of a unit normal, which features of random weights are far from.
        """
        start = self.run.open_start() if self.start is None else self.start.run
        if start is None:
            _set_statistics(backbone, self._sample())
            return
        network = start.load_network() if self.start is None else self.start.network
        pretrained = network.backbone
        if start.untrained:
            _set_statistics(pretrained, self._sample().cpu())
        backbone.load_state_dict(weights_for(pretrained, self.config.model.backbone))

    def _sample(self) -> Tensor:
        """The first training images, as centre squares."""
        first = self.images.subset(np.arange(min(STATISTICS_IMAGES, len(self.images))))
        device = self.runtime.device
        batches = evaluation_batches(first, self.config.data, failed={}, device=device)
        return torch.cat([batch.images for batch in batches])

    def _normalisation(self) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of the offsets, which follow from regions and options."""
        number, from_overlap = len(self.data.class_names), self.options.foreground_from
        return offset_statistics(self.regions, number, from_overlap)

    def _training_boxes(self) -> np.ndarray:
        return self.data.train_objects.counts(len(self.data.class_names))

    def build_batches(self, method: Method) -> DetectionBatches:  # type: ignore[override]
        """Whole images with regions."""
        is_fast = isinstance(method.network, FastRCNN)
        nothing = torch.zeros(0, 4)
        assert self.source is not None
        return DetectionBatches(
            self.images,
            self.data.train_objects.images,
            self.regions if is_fast else None,
            self._normalisation() if is_fast else (nothing, nothing),
            self.config,
            self.runtime.device,
            self.source,
        )

    def is_concluded(self) -> bool:
        """The results come last; damaged ones are made again."""
        try:
            read_detections(self.run.path)
            read_detection_result(self.run.path)
        except FileNotFoundError:
            return False
        except CheckpointError as error:
            logger.warning(f"{error}; the detector is tested again")
            return False
        return True

    @property
    def class_names(self) -> tuple[str, ...]:
        """The run's."""
        return self.run.class_names

    @property
    def place(self) -> str:
        """The run directory."""
        return str(self.run.path)

    def introduce(self, training: Training[Method]) -> None:
        """Log the data, the detector and the steps to come."""
        config, options = self.config, self.options
        self.data.source.log_summary()
        begun = "from scratch" if self.run.start is None else f"with {self.run.began_with}"
        parameters = sum(p.numel() for p in training.method.network.parameters() if p.requires_grad)
        lines = [
            self.data.words(),
            f"{options.detector} on {config.model.backbone} {begun}, {parameters / 1e6:.2f} "
            f"million parameters to train; short sides of {', '.join(map(str, options.scales))} px",
            self._proposal_words(),
            f"{options.iterations:,} iterations of {config.run.batch_size} images, on "
            f"{self.runtime.device} in {self.runtime.precision}; run directory {self.run.path}",
        ]
        logger.info("\n".join(filter(None, lines)))
        for warning in options_without_effect(config):
            logger.warning(warning)

    def _proposal_words(self) -> str:
        """Where the proposals came from; empty for a detector that makes its own."""
        return f"proposals: {self.proposals['train'].origin}" if self.proposals else ""

    @property
    def evaluate_every(self) -> int:
        """Only at the end."""
        return max(1, self.config.run.epochs)

    def evaluate(self, training: Training[Method], epochs_done: int) -> None:
        """Fold what offsets were normalised by into the weights, before the last checkpoint."""
        if isinstance(network := training.method.network, FastRCNN):
            network.fold_offsets()

    def rehearse_evaluation(self, training: Training[Method]) -> float:
        """Test on a few images; see `TrainingJob.rehearse_evaluation`."""
        test = self.data.test
        few = np.arange(min(TIMED_IMAGES, len(test)))
        find_objects(
            training.method.network,
            test.subset(few),
            self.config,
            self.proposals["test"].boxes[: len(few)] if self.proposals else None,
            device=self.runtime.device,
        )
        return len(test) / len(few)

    def conclude(self, training: Training[Method]) -> None:
        """Test the detector, and write what it found, tables and the page."""
        result = self._test(training)
        write_items(
            self.run.path / "items.csv", self.data.source, self.images, None, self.unreadable
        )
        write_facts(
            self.run,
            data=[*self.data.source.summary(), self.data.words()],
            warnings=options_without_effect(self.config),
        )
        with never_fatal("the pictures of the page", self.run):
            detections = read_detections(self.run.path)
            shown = best_and_worst(detections, self.data.test, self.class_names, IOU)
            for figure in shown:
                save_figure(self.run.figures, figure)
        write_json(self.run.path / DETECTION, to_json(result))  # with it the run is finished
        refresh_report(self.run)
        show(detection_table(result))
        logger.info(brief_words(result))
        log_unreadable(self.data.source.unreadable | self.unreadable, self.run.path / "items.csv")

    def _test(self, training: Training[Method]) -> DetectionResult:
        """Find the objects of the test images, keep them, and compare."""
        test, objects = self.data.test, self.data.test_objects
        proposed = self.proposals["test"].boxes if self.proposals else None
        began_s = time.perf_counter()
        found = find_objects(
            training.method.network,
            test,
            self.config,
            proposed,
            device=self.runtime.device,
            workers=self.config.machine.num_workers,
            weight=len(test),
        )
        took_s = time.perf_counter() - began_s
        bad = {
            self.data.source.file_of("test", test.names[i]): why for i, why in found.failed.items()
        }
        check_unreadable(bad, len(test) - len(bad), self.config.data.max_bad_fraction)
        self.unreadable.update(bad)
        detections = detections_of(found, test, objects)
        detections.write(self.run.path)
        classes = class_figures(detections, self.class_names, self._training_boxes())
        worth = None if proposed is None else proposal_figures(proposed, objects)
        learned: dict[str, int | None] = {}
        if (start := self.run.open_start()) is not None:
            index = self.run.index_of_start or self.run.index
            learned = count_trained_on(start, test, str(self.run.data), index=index)
        return DetectionResult(
            detector=self.options.detector,
            iterations=self.options.iterations,
            iou=IOU,
            classes=classes,
            mean_ap_11_point=float(np.mean([each.ap_11_point for each in classes])),
            mean_ap_area=float(np.mean([each.ap_area for each in classes])),
            training_images=len(self.images),
            test_images=len(test) - len(bad),
            test=f"the split {self.data.source.test_name!r}",
            proposals=self._proposal_words(),
            proposals_per_image=None if worth is None else worth.per_image,
            recall_of_proposals=None if worth is None else worth.recall,
            images_per_s=(len(test) - len(bad)) / max(took_s, 1e-9),
            **learned,
        )


@torch.no_grad()
def _set_statistics(backbone: Backbone, images: Tensor) -> None:
    """Set the running statistics of batch norm to those of images.

    Args:
        backbone: In any mode; left in that mode.
        images: (n, 3, S, S), normalised.
    """
    norms = [m for m in backbone.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta, was_training = [norm.momentum for norm in norms], backbone.training
    for norm in norms:
        norm.momentum = 1.0  # of one batch, in place of a running average
    backbone.train()
    backbone(images)
    backbone.train(was_training)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
