"""Which way is up: the turn of every image, by networks that have not seen it if there are any.

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
from quarterturn.data.views import list_views
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.orientation.calibration import Calibration, choose_calibration
from quarterturn.orientation.networks import OUTCOME, FoldOutcome, fold_run, stopped_checkpoint
from quarterturn.orientation.scores import Floats, stored_turns
from quarterturn.orientation.turns import IN_SAMPLE, NEW, OUT_OF_FOLD, Turns
from quarterturn.orientation.upright_table import FILE, NOT_SCORED, UprightTable
from quarterturn.orientation.view_logits import look
from quarterturn.runs import Run
from quarterturn.runs.training_images import training_names


def run_to_orient_by(run: Run) -> Run:
    """The run whose networks tell the turns: the `upright` run within a pretraining run, if any.

    Raises:
        ConfigError: The run is a part of one, or is not finished.
    """
    within = run.path / "upright"
    if run.kind != "upright" and (within / "config.json").exists():
        run = Run.open(within)
    if run.kind == "fold":
        raise ConfigError(
            f"{run.path} is a fold of the run {run.path.parent}, which has networks for all "
            "images; give that one"
        )
    if run.kind == "upright" and not (run.path / FILE).exists():
        raise ConfigError(
            f"{run.path} is not finished: it has no {FILE}; quarterturn upright --resume "
            f"{run.path} goes on with it"
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
    """Tell the turn of every image.

    By an `upright` run, an image that it was trained on gets its row of ``upright.npz``, or, where
    its file has been changed since, is scored anew by the network that held it out. Any other image
    gets the mean over all fold networks, in the reading that the stored scores are of. By a
    pretraining run it is that network, the centre crop and its mirror image where the training
    mirrors, at temperature 1.

    Args:
        run: See `run_to_orient_by`.
        splits: The images.
        data: Where they are from.
        in_sample: Let a pretrained network score images that it has learned from.
        device: Where to compute.
        workers: Processes that decode files.

    Returns:
        The turns in each split; and whether images that the run was trained on could be told, which
        they cannot where its data is gone.

    Raises:
        ConfigError: The network has no rotation head; or it has learned from the images, and
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
            f"{run.path} has learned from {sum(flags):,} of these {len(flags):,} images, whose "
            f"turns it would tell surer than it should. quarterturn upright {data} makes a run to "
            "orient them by, out of fold; or give --in-sample"
        )


def _by_folds(
    run: Run, table: UprightTable, images: ImageSet, names: list[str | None], **there: Any
) -> Turns:
    """The turns by an `upright` run; ``names`` are those in the table, None for other images."""
    place = {name: row for row, name in enumerate(table.names)}
    rows = np.array([place.get(name, -1) if name is not None else -1 for name in names], np.int64)
    fold = np.where(rows >= 0, table.fold[rows], NOT_SCORED)  # one that held the image out, if any
    known = (fold != NOT_SCORED) & ~_changed_since(run, images)
    probabilities, agnostic = np.zeros((len(images), 4, 4)), np.zeros(len(images))
    probabilities[known], agnostic[known] = (
        table.probabilities[rows[known]],
        table.agnostic[rows[known]],
    )
    asked = known.astype(np.int64)  # how many networks have had their say
    if not known.all():
        folds = [Run.open(fold_run(run.path, i)) for i in range(run.config.upright.folds)]
        outcomes = [FoldOutcome.read(of_fold.path / OUTCOME) for of_fold in folds]
        reading = choose_calibration(outcomes, run.config.data)
        for number, of_fold in enumerate(folds):
            to_ask = np.flatnonzero(~known & ((fold == NOT_SCORED) | (fold == number)))
            if len(to_ask) == 0:
                continue
            network = of_fold.load_network(stopped_checkpoint(of_fold)).to(there["device"])
            read, said, scores = _ask(run, network, images.subset(to_ask), reading, **there)
            probabilities[to_ask[read]] += said
            agnostic[to_ask[read]] += scores
            asked[to_ask[read]] += 1
    divisor = np.where(asked > 0, asked, np.nan)
    scored = [NEW if of == NOT_SCORED else OUT_OF_FOLD for of in fold]
    return Turns(stored_turns(probabilities / divisor[:, None, None]), agnostic / divisor, scored)


def _changed_since(run: Run, images: ImageSet) -> NDArray[np.bool_]:
    """(n,) whether the file of an image is newer than the scores, as one turned in place is."""
    if not isinstance(images, FileImages):
        return np.zeros(len(images), dtype=bool)
    return images.modified_ns > (run.path / FILE).stat().st_mtime_ns


def _by_one(
    run: Run, network: Network, images: ImageSet, names: list[str | None], **there: Any
) -> Turns:
    """The turns by a pretrained network."""
    stored, agnostic = np.full((len(images), 4), np.nan), np.full(len(images), np.nan)
    num_views = len(list_views(run.config.data, 1))
    plain = Calibration("as it is", list(range(num_views)), 1.0, math.nan)
    read, said, scores = _ask(run, network, images, plain, **there)
    stored[read], agnostic[read] = stored_turns(said), scores
    return Turns(stored, agnostic, [NEW if name is None else IN_SAMPLE for name in names])


def _ask(
    run: Run, network: Network, images: ImageSet, reading: Calibration, **there: Any
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Numbers of the images that could be read, their (n, 4, 4) probabilities and agnostic scores.

    The agnostic scores of several networks are averaged, as those of several views are: the entropy
    of a mean would be higher, and could not be compared with the stored scores of one network.
    """
    views = list_views(run.config.data, run.config.upright.view_crops)
    views = views[: 1 + max(reading.views)]  # those beyond are not read
    read, logits = look(network, images, run.config.data, views, **there)
    return read, *reading.read(logits)
