"""``upright --dry-run``: what the networks of all folds would take, or the heads on weights."""

from __future__ import annotations

import logging
import time

import numpy as np

from quarterturn.data.selection import Selection
from quarterturn.data.views import list_views
from quarterturn.engine.runtime import Runtime
from quarterturn.features.space_needed import BYTES_PER_FEATURE
from quarterturn.methods.base import Network
from quarterturn.methods.build import build_network
from quarterturn.methods.rotation_head import RotationHeadNetwork
from quarterturn.orientation.folds import split_into_folds
from quarterturn.orientation.networks import FoldTraining
from quarterturn.orientation.view_logits import view_logits
from quarterturn.progress import duration
from quarterturn.runs import Run
from quarterturn.runs.dry_run import NUM_CHECKPOINTS, log_room, rehearse
from quarterturn.runs.life_cycle import REHEARSED_IMAGES

logger = logging.getLogger(__name__)


def rehearse_folds(run: Run, images: Selection, runtime: Runtime) -> None:
    """Log what the networks of all folds take, by some steps of the first; nothing is written.

    Args:
        run: The run that would be made.
        images: What is scored.
        runtime: Device, precision, processes.
    """
    upright = run.config.upright
    folds = split_into_folds(
        images.chosen, upright.folds, validation=upright.validation, seed=run.config.run.seed
    )
    name = f"fold 1 of {len(folds)}"
    job = FoldTraining.of(run, folds[0], images.chosen, runtime, images.source, name)
    rehearse(job, run.path, trainings=len(folds), kind="folds")


def rehearse_heads(run: Run, images: Selection, runtime: Runtime, start: Network) -> None:
    """Log what heads on trained weights take, by a pass over a few images; nothing is written.

    Args:
        run: The run that would be made.
        images: What is scored.
        runtime: Device, precision, processes.
        start: The network of the weights.
    """
    config = run.config
    network = build_network(config)
    assert isinstance(network, RotationHeadNetwork)
    network.backbone.load_state_dict(start.backbone.state_dict())
    network = network.to(runtime.device)
    views = list_views(config.data, config.upright.view_crops)
    number = len(images.chosen)
    few = images.chosen.subset(np.arange(min(REHEARSED_IMAGES, number)))
    began_s = time.perf_counter()
    view_logits(
        network,
        few,
        config.data,
        views[:1],
        device=runtime.device,
        workers=config.machine.num_workers,
        failed={},
    )
    image_s = (time.perf_counter() - began_s) / len(few)
    features = BYTES_PER_FEATURE * 4 * network.rotation_head.in_features * number * len(views)
    logger.info(
        f"four turned copies of {len(few):,} images took {1000 * image_s:.0f} ms an image, so "
        f"{len(views)} views of all {number:,} take {duration(len(views) * number * image_s)}; "
        "each head takes seconds"
    )
    weights = sum(4 * parameter.numel() for parameter in network.parameters())
    kept = config.upright.folds * NUM_CHECKPOINTS * weights
    log_room("features, which go in the end, and checkpoints take", features + kept, run.path)
