"""Predict the turn of every image, by networks that were not trained on it where possible.

Shapes: n images; F fold networks; V views of each image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quarterturn.data.data_argument import locate
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.views import View, list_views
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.orientation.calibration import Calibration, choose_calibration
from quarterturn.orientation.networks import OUTCOME, FoldOutcome, fold_run, stopped_checkpoint
from quarterturn.orientation.scores import Floats, stored_turns
from quarterturn.orientation.turns import IN_SAMPLE, NEW, OUT_OF_FOLD, Turns
from quarterturn.orientation.upright_table import FILE, NOT_SCORED, UprightTable
from quarterturn.orientation.view_logits import view_logits
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.training_images import training_names


def run_to_orient_by(run: Run) -> Run:
    """The run whose networks predict the turns: a pretraining run's own `upright` run, if any.

    Raises:
        ConfigError: The run is one fold of an `upright` run, or is not finished.
    """
    within = run.path / "upright"
    if run.kind != "upright" and (within / "config.json").exists():
        run = Run.open(within)
    if run.kind == "fold":
        raise ConfigError(
            f"{run.path} is one fold of {run.path.parent}; give that run, which has networks for "
            "all images"
        )
    if run.kind == "upright" and not (run.path / FILE).exists():
        raise ConfigError(
            f"{run.path} is not finished: it has no {FILE}; resume with: quarterturn upright "
            f"--resume {run.path}"
        )
    return run


def orient_images(
    run: Run,
    splits: Mapping[str, ImageSet],
    data: str,
    *,
    in_sample: bool = False,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> tuple[dict[str, Turns], bool]:
    """Predict the turn of every image.

    With an `upright` run, an image that it was trained on gets its row of ``upright.npz``; if its
    file has changed since, the network that held it out scores it again. Other images get the mean
    over all fold networks, with the calibration of the stored scores. A pretraining run scores with
    its own network at temperature 1, from the centre crop and, if the training mirrors, its mirror
    image.

    Args:
        run: See `run_to_orient_by`.
        splits: The images.
        data: DATA that they are from.
        in_sample: Let a pretrained network score its own training images.
        device: Device to compute on.
        workers: Processes that decode files.

    Returns:
        Split to turns; and whether the run's training images are known, which they are not if its
        data is gone.

    Raises:
        ConfigError: The network has no rotation head; or it was trained on the images, and
            ``in_sample`` is not set.
        DataError: See `training_names`.
    """
    data = locate(data)
    names_in_run = training_names(run, data)
    names = {
        split: [(names_in_run or {}).get(images.identity(i, data)) for i in range(len(images))]
        for split, images in splits.items()
    }
    there: dict[str, Any] = {"device": device, "workers": workers}
    if run.kind == "upright":
        table = UprightTable.read(run.path / FILE)
        found = {s: _by_folds(run, table, splits[s], names[s], **there) for s in splits}
    else:
        network = run.load_network().to(device)
        if network.rotation_head is None:
            raise ConfigError(
                f"{run.path} has no rotation head, and so predicts no turns; expected a run of "
                "quarterturn upright, or of pretrain by --method decoupling or rotnet"
            )
        if not in_sample:
            _refuse_learned(run, data, names)
        found = {s: _by_one(run, network, splits[s], names[s], **there) for s in splits}
    return found, names_in_run is not None


def _refuse_learned(run: Run, data: str, names: Mapping[str, list[str | None]]) -> None:
    flags = [name is not None for of_split in names.values() for name in of_split]
    if any(flags):
        raise ConfigError(
            f"{run.path} was trained on {sum(flags):,} of these {len(flags):,} images, so its "
            f"predictions for them are overconfident. Run quarterturn upright {data} for "
            "out-of-fold predictions, or give --in-sample"
        )


def _by_folds(
    run: Run, table: UprightTable, images: ImageSet, names: list[str | None], **there: Any
) -> Turns:
    """Turns by an `upright` run; ``names`` are the images' names in its table, None for others."""
    place = {name: row for row, name in enumerate(table.names)}
    rows = np.array([place.get(name, -1) if name is not None else -1 for name in names], np.int64)
    fold = np.where(rows >= 0, table.fold[rows], NOT_SCORED)  # one that held the image out, if any
    known = (fold != NOT_SCORED) & ~_changed_since(run, images)
    probabilities, agnostic = np.zeros((len(images), 4, 4)), np.zeros(len(images))
    probabilities[known], agnostic[known] = (
        table.probabilities[rows[known]],
        table.agnostic[rows[known]],
    )
    num_networks = known.astype(np.int64)  # that have scored each image
    if not known.all():
        folds = [Run.open(fold_run(run.path, i)) for i in range(run.config.upright.folds)]
        outcomes = [FoldOutcome.read(of_fold.path / OUTCOME) for of_fold in folds]
        calibration = choose_calibration(outcomes, run.config.data)
        to_score = [
            np.flatnonzero(~known & ((fold == NOT_SCORED) | (fold == number)))
            for number in range(len(folds))
        ]
        num_passes = sum(map(len, to_score)) * len(_views_in_use(run, calibration))
        with stage("folds", total=num_passes, weight=len(images)):
            for of_fold, rows_of_fold in zip(folds, to_score, strict=True):
                if len(rows_of_fold) == 0:
                    continue
                network = of_fold.load_network(stopped_checkpoint(of_fold)).to(there["device"])
                read, predicted, scores = _score(
                    run, network, images.subset(rows_of_fold), calibration, **there
                )
                probabilities[rows_of_fold[read]] += predicted
                agnostic[rows_of_fold[read]] += scores
                num_networks[rows_of_fold[read]] += 1
    divisor = np.where(num_networks > 0, num_networks, np.nan)
    scored = [NEW if of == NOT_SCORED else OUT_OF_FOLD for of in fold]
    return Turns(stored_turns(probabilities / divisor[:, None, None]), agnostic / divisor, scored)


def _changed_since(run: Run, images: ImageSet) -> NDArray[np.bool_]:
    """(n,) whether an image's file is newer than the scores, such as after turning it in place."""
    if not isinstance(images, FileImages):
        return np.zeros(len(images), dtype=bool)
    return images.modified_ns > (run.path / FILE).stat().st_mtime_ns


def _by_one(
    run: Run, network: Network, images: ImageSet, names: list[str | None], **there: Any
) -> Turns:
    """Turns by a pretrained network."""
    stored, agnostic = np.full((len(images), 4), np.nan), np.full(len(images), np.nan)
    num_views = len(list_views(run.config.data, 1))
    plain = Calibration("as it is", list(range(num_views)), 1.0, math.nan)
    with stage("scores", total=len(images) * num_views, weight=len(images)):
        read, predicted, scores = _score(run, network, images, plain, **there)
    stored[read], agnostic[read] = stored_turns(predicted), scores
    return Turns(stored, agnostic, [NEW if name is None else IN_SAMPLE for name in names])


def _score(
    run: Run, network: Network, images: ImageSet, calibration: Calibration, **there: Any
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Numbers of the images that could be read, their (n, 4, 4) probabilities and agnostic scores.

    Callers average the agnostic scores of several networks, like those of several views: the
    entropy of a mean is higher, and not comparable with the stored scores of one network.
    """
    views = _views_in_use(run, calibration)
    read, logits = view_logits(network, images, run.config.data, views, **there)
    return read, *calibration.apply(logits)


def _views_in_use(run: Run, calibration: Calibration) -> list[View]:
    """The views up to the last one that the calibration averages."""
    views = list_views(run.config.data, run.config.upright.view_crops)
    return views[: 1 + max(calibration.views)]
