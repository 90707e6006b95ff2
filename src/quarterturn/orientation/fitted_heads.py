"""Rotation heads on the features of trained weights, one for each fold, fitted at once.

The backbone runs once over every image in all views and turns; then a linear head takes seconds,
where a network from scratch takes tens of epochs. Each image is scored by the head that has not
seen it, as with networks.

Shapes: N images; V views of each; F features of a turned copy.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from quarterturn.config import DataConfig
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.views import View, list_views
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.telemetry import Telemetry
from quarterturn.features.cache import FeatureCache
from quarterturn.features.cached_extraction import is_complete
from quarterturn.features.extraction import extract_parts
from quarterturn.features.network_features import weights_fingerprint
from quarterturn.features.space_needed import BYTES_PER_FEATURE, require_disk_space
from quarterturn.methods.base import Network
from quarterturn.methods.build import build_network
from quarterturn.methods.rotation_head import RotationHeadNetwork
from quarterturn.orientation.folds import Fold, split_into_folds
from quarterturn.orientation.networks import (
    OUTCOME,
    FoldOutcome,
    begin_fold,
    draw_seen,
    fold_run,
    has_outcome,
    measure_turns,
    stopped_checkpoint,
)
from quarterturn.orientation.view_logits import IN_THE_MIRROR
from quarterturn.progress import stage
from quarterturn.randomness import permutation
from quarterturn.runs import Run
from quarterturn.runs.bound_settings import settings_record
from quarterturn.runs.life_cycle import TrainingFiles

logger = logging.getLogger(__name__)

FOLDER = "features"
"""Name of the folder of features in a run directory; it goes when the run is finished."""
PENALTIES = (1e-2, 1e-3, 1e-4)
"""Of the squared weights, strongest first, each fit beginning with the one before. On photos of
houses the first two figures of the loss are the same for the last two."""
ITERATIONS = 60
"""Of L-BFGS for each penalty."""
MOST_VALUES = 250_000_000
"""Features that a head is fitted to at most, a gigabyte: a sample of the images where there are
more."""
BATCH_SIZE = 64
"""Images per batch; each is four copies."""


class TurnFeatures(nn.Module):
    """What a rotation head reads of each image in its four turns, as features to extract.

    Args:
        network: Backbone and head.
    """

    def __init__(self, network: RotationHeadNetwork) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, S, S) to (B, 4, F)."""
        copies = images.to(memory_format=torch.channels_last)
        return {"turns": self.network.features_of_turns(copies)}


@dataclass(frozen=True)
class Copies:
    """The features of all images in all views and turns.

    Attributes:
        read: (n,) numbers of the images that could be read in every view.
        by_view: V of (N', 4, F) float32, memory-mapped.
        rows: V of (n,) rows of the images ``read``.
        views: V of them.
    """

    read: NDArray[np.int64]
    by_view: Sequence[NDArray[np.float32]]
    rows: Sequence[NDArray[np.int64]]
    views: Sequence[View]

    def of(self, numbers: NDArray[np.int64], view: int) -> Tensor:
        """(m, 4, F) features of those of the images that could be read."""
        chosen = np.isin(self.read, numbers)
        return torch.from_numpy(self.by_view[view][self.rows[view][chosen]])

    def readable(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the images that could be read, in ascending order."""
        return self.read[np.isin(self.read, numbers)]


def fit_heads(
    whole: Run, images: ImageSet, runtime: Runtime, *, start: Network
) -> list[FoldOutcome] | None:
    """Fit the head of every fold and let it score what it has not seen.

    Features that are there, and folds that are done, are not made again.

    Args:
        whole: Its directory holds the folds' runs and the features; its configuration is theirs.
        images: All N images.
        runtime: Device and processes, which share the pass over the images.
        start: The trained weights.

    Returns:
        What each fold's head says; None to all processes but the first.
    """
    config = whole.config
    network = build_network(config)
    assert isinstance(network, RotationHeadNetwork)
    network.backbone.load_state_dict(start.backbone.state_dict())
    network = network.to(runtime.device).eval()
    folds = split_into_folds(
        images, config.upright.folds, validation=config.upright.validation, seed=config.run.seed
    )
    missing = [
        number
        for number in range(len(folds))
        if not has_outcome(fold_run(whole.path, number), runtime)
    ]
    copies = None
    with stage("folds", total=10, weight=90) as bar:
        if missing:
            with stage("turned copies", total=1, weight=9):
                copies = _extract(whole, images, network, runtime)
        else:
            bar.skip(9)
        runs = {n: begin_fold(whole, n, folds[n], images, runtime) for n in missing}
        if not runtime.is_main:
            return None
        with stage("heads", total=max(1, len(missing)), weight=1) as fitted:
            for number, run in runs.items():
                assert copies is not None
                _fit_fold(run, folds[number], network, copies, runtime)
                fitted.advance()
    shutil.rmtree(whole.path / FOLDER, ignore_errors=True)
    return [FoldOutcome.read(fold_run(whole.path, n) / OUTCOME) for n in range(len(folds))]


def _extract(
    whole: Run, images: ImageSet, network: RotationHeadNetwork, runtime: Runtime
) -> Copies | None:
    """The features of all images, from the cache or by a pass for each view."""
    crop = whole.config.data
    views = list_views(crop, whole.config.upright.view_crops)
    cache, model = FeatureCache(whole.path / FOLDER), TurnFeatures(network)
    width = network.rotation_head.in_features
    keys = [_key(network, images, crop, view) for view in views]
    absent = [
        number
        for number, key in enumerate(keys)
        if runtime.is_main and not is_complete(images, cache, key)
    ]
    absent = runtime.gather_objects(absent)[0]
    if runtime.is_main:
        needed = BYTES_PER_FEATURE * 4 * width * len(images) * len(absent)
        remedy = "give a --limit or --view-crops 1, or leave out --from"
        if line := require_disk_space(needed, cache.folder, remedy):
            logger.info(line)
    for number in absent:
        writer = cache.writer(keys[number], len(images)) if runtime.is_main else None
        with stage("view", total=len(images), weight=1 / len(views)):
            extract_parts(
                images,
                crop,
                model,
                device=runtime.device,
                workers=whole.config.machine.num_workers,
                batch_size=BATCH_SIZE,
                view=views[number].crops,
                writer=writer,
                runtime=runtime,
            )
    if not runtime.is_main:
        return None
    entries = [cache.read(key) for key in keys]
    read = reduce(np.intersect1d, [numbers for numbers, _ in entries])
    rows = [np.searchsorted(numbers, read) for numbers, _ in entries]
    return Copies(read, [arrays["turns"] for _, arrays in entries], rows, views)


def _key(network: RotationHeadNetwork, images: ImageSet, crop: DataConfig, view: View) -> str:
    """The name of a view's entry in the cache."""
    about = {
        "weights": weights_fingerprint(network.backbone),
        "layers": list(network.layers),
        "grid": network.grid,
        "images": images.fingerprint(),
        "files": images.files_fingerprint() if isinstance(images, FileImages) else None,
        "image_size": crop.image_size,
        "eval_crop": crop.centre_crop,
        "mean": crop.mean,
        "std": crop.std,
        "view": [view.place, view.mirrored],
    }
    return FeatureCache.key(about, None)


def _fit_fold(
    run: Run, fold: Fold, network: RotationHeadNetwork, copies: Copies, runtime: Runtime
) -> None:
    """Fit the head of a fold, keep it, and write what it says of its images."""
    config, device = run.config, runtime.device
    centre = [i for i, view in enumerate(copies.views) if view.place == "centre"]
    most = max(1, MOST_VALUES // (4 * len(centre) * network.rotation_head.in_features))
    order = permutation(len(fold.train), config.run.seed, "rotation head").numpy()
    train = fold.train[np.sort(order[:most])]
    features = torch.cat([copies.of(train, view).flatten(0, 1) for view in centre]).to(device)
    turns = torch.arange(4, device=device).repeat(len(features) // 4)
    # A mirrored copy that is turned by k looks turned by -k; its head says so, as a network's does.
    heads = fit_rotation_heads(features, turns)
    with Telemetry(
        run.metrics_file,
        total_steps=len(heads),
        steps_per_epoch=len(heads),
        logged=TrainingFiles.of_run(run).logged,
    ) as telemetry:
        best = None
        for step, (penalty, weight, bias) in enumerate(heads):
            with torch.no_grad():
                network.rotation_head.weight.copy_(weight)
                network.rotation_head.bias.copy_(bias)
            found = measure_turns(_logits(network, copies, fold.validation, centre, device))
            telemetry.record("validation", step=step, epoch=0, penalty=penalty, **found)
            if best is None or found["loss"] < best[0]:
                best = found["loss"], weight, bias
    assert best is not None
    with torch.no_grad():
        network.rotation_head.weight.copy_(best[1])
        network.rotation_head.bias.copy_(best[2])
    state = {"network": network.state_dict(), "epoch": 0, "epochs_done": 0.0}
    for path in (run.checkpoint, stopped_checkpoint(run)):  # there is no later state than this
        save_checkpoint(path, state | settings_record(config))
    seen, every = draw_seen(fold, config.run.seed), list(range(len(copies.views)))
    logits = _logits(network, copies, fold.held_out, every, device)
    FoldOutcome(
        copies.readable(fold.held_out),
        logits,
        logits[:, :1],
        _logits(network, copies, fold.validation, every, device),
        copies.readable(seen),
        _logits(network, copies, seen, every[:1], device),
        epoch=0,
    ).write(run.path / OUTCOME)


@torch.no_grad()
def _logits(
    network: RotationHeadNetwork,
    copies: Copies,
    numbers: NDArray[np.int64],
    views: Sequence[int],
    device: torch.device,
) -> Tensor:
    """(n, V, 4, 4) logits of some images, of mirrored views as they refer to the image itself."""
    found = []
    for view in views:
        parts = copies.of(numbers, view).split(1024)
        of_view = torch.cat([network.rotation_logits(part.to(device)).cpu() for part in parts])
        if copies.views[view].mirrored:
            of_view = of_view[:, IN_THE_MIRROR][:, :, IN_THE_MIRROR]
        found.append(of_view)
    return torch.stack(found, dim=1)


def fit_rotation_heads(
    features: Tensor, turns: Tensor, penalties: Sequence[float] = PENALTIES
) -> list[tuple[float, Tensor, Tensor]]:
    """Multinomial logistic regression by L-BFGS, for each of several penalties.

    Args:
        features: (n, F) float32; standardised here, in place.
        turns: (n,) int64, 0 to 3.
        penalties: Of the squared weights on standardised features, beside the mean loss.

    Returns:
        For each penalty: itself, the (4, F) weights and the (4,) biases, on plain features.
    """
    mean, spread = features.mean(dim=0), features.std(dim=0)
    spread = torch.where(spread > 0, spread, 1.0)
    features.sub_(mean).div_(spread)
    weight = torch.zeros(4, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(4, device=features.device, requires_grad=True)
    found = []
    for penalty in penalties:
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe"
        )

        def loss(penalty: float = penalty, optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            value = F.cross_entropy(F.linear(features, weight, bias), turns)
            value = value + penalty * weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        plain = weight.detach() / spread
        found.append((penalty, plain, bias.detach() - plain @ mean))
    return found
