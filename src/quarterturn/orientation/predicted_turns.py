"""Predict the turn of every image, by networks that were not trained on it where possible.

Shapes: n images; F fold networks; V views of each image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
from quarterturn.orientation.scores import Floats
from quarterturn.orientation.turn_reading import (
    Predictions,
    TurnReading,
    predictions_of_one,
    read_turns,
)
from quarterturn.orientation.turns import NEW, OUT_OF_FOLD
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


@dataclass(frozen=True)
class PredictedTurns:
    """How images are stored, by a run.

    Attributes:
        reading: Turns of all images.
        learned_is_known: Whether the run's training images are known, which they are not if its
            data is gone.
    """

    reading: TurnReading
    learned_is_known: bool


def orient_images(
    run: Run,
    splits: Mapping[str, ImageSet],
    data: str,
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> PredictedTurns:
    """Predict the turn of every image.

    With an `upright` run, an image that it was trained on gets its row of ``upright.npz``; if its
    file has changed since, the network that held it out scores it again. Other images get the mean
    over all fold networks, with the calibration of the stored scores. Any other run scores the
    centre crop with its own network, which has learned from some of the images.

    Args:
        run: See `run_to_orient_by`.
        splits: The images.
        data: DATA that they are from.
        device: Device to compute on.
        workers: Processes that decode files.

    Raises:
        ConfigError: The network has no rotation head.
        DataError: See `training_names`.
    """
    found, learned_is_known = predict_copies(run, splits, data, device=device, workers=workers)
    return PredictedTurns(read_turns(found, known_accuracy(run)), learned_is_known)


def predict_copies(
    run: Run,
    splits: Mapping[str, ImageSet],
    data: str,
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> tuple[dict[str, Predictions], bool]:
    """What a run's networks say of the copies of every image; see `orient_images`.

    Returns:
        Split to predictions; and whether the run's training images are known.
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
                "quarterturn upright, or of pretrain by a method that predicts turns, such as "
                "multiview, decoupling, rotnet or distill"
            )
        found = _by_one(run, network, splits, names, **there)
    return found, names_in_run is not None


def known_accuracy(run: Run) -> float | None:
    """Rotation accuracy of a pretraining run on the images that it held out, if it did."""
    lines = run.read_metrics("diagnostics")
    return lines[-1].get("rotation_accuracy") if lines else None


def _by_folds(
    run: Run, table: UprightTable, images: ImageSet, names: list[str | None], **there: Any
) -> Predictions:
    """What an `upright` run says; ``names`` are the images' names in its table, None for others."""
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
    return Predictions(probabilities / divisor[:, None, None], agnostic / divisor, scored)


def _changed_since(run: Run, images: ImageSet) -> NDArray[np.bool_]:
    """(n,) whether an image's file is newer than the scores, such as after turning it in place."""
    if not isinstance(images, FileImages):
        return np.zeros(len(images), dtype=bool)
    return images.modified_ns > (run.path / FILE).stat().st_mtime_ns


def _by_one(
    run: Run,
    network: Network,
    splits: Mapping[str, ImageSet],
    names: Mapping[str, list[str | None]],
    **there: Any,
) -> dict[str, Predictions]:
    """What a single network says of all splits, at one temperature."""
    logits, num_images = {}, sum(map(len, splits.values()))
    with stage("scores", total=num_images, weight=num_images):
        for split, images in splits.items():
            logits[split] = np.full((len(images), 4, 4), np.nan, np.float32)
            centre = list_views(run.config.data, 1)[:1]
            read, seen = view_logits(network, images, run.config.data, centre, **there)
            logits[split][read] = seen[:, 0].numpy()
    learned = [name is not None for of_split in names.values() for name in of_split]
    whole = predictions_of_one(np.concatenate(list(logits.values())), np.array(learned, bool))
    ends = np.cumsum([0, *map(len, splits.values())]).tolist()
    return {
        split: Predictions(
            whole.probabilities[start:end], whole.agnostic[start:end], whole.scored[start:end]
        )
        for split, start, end in zip(splits, ends[:-1], ends[1:], strict=True)
    }


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
