"""What ``pretrain --upright`` asks for: probabilities from a file, or made first."""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.data.selection import Selection
from quarterturn.data.views import list_views
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.schedule import first_epoch, phases
from quarterturn.files import replacing, write_json
from quarterturn.losses.rotation import pu_weights
from quarterturn.methods.configuration import Config
from quarterturn.methods.rotation_balance import agnostic_groups
from quarterturn.orientation.upright import make_probabilities
from quarterturn.orientation.upright_table import FILE, agnostic_of, p_upright_of
from quarterturn.presets import fits_heads, fold_recipe
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.environment import environment
from quarterturn.runs.lock import locked
from quarterturn.wording import counted

logger = logging.getLogger(__name__)


def p_upright_for(run: Run, images: Selection, runtime: Runtime) -> Tensor | None:
    """The probabilities that a pretraining run asks for; they are kept in its directory.

    Args:
        run: The run; with ``auto``, its folder ``upright`` gets a run of cross-fitting, which
            resumes where it was interrupted.
        images: Its images.
        runtime: Device, precision, processes.

    Returns:
        (N, 4), one row for each image that is learned from; None where it asks for none.
    """
    asked = run.config.noise_aware.upright
    if asked == "none":
        return None
    if asked == "auto":
        kept = run.path / "upright"
        recipe = fold_recipe(run.config)
        heads = fits_heads(recipe)
        folds = Run(
            kept,
            run.data,
            recipe,
            images.chosen.fingerprint(),
            "upright",
            start=str(run.kept_start.resolve()) if heads else None,
            origin=run.provenance if heads else None,
        )
        if not (kept / FILE).exists():
            logger.info(_cost(run.config, recipe))
        if runtime.is_main and not (kept / "environment.json").exists():
            shutil.rmtree(kept, ignore_errors=True)  # begun, but killed before it had both files
            with folds.draft() as draft:
                write_json(draft.path / "environment.json", environment(runtime, recipe))
        runtime.barrier()
        lock = locked(kept) if runtime.is_main else nullcontext()
        with lock, stage("upright", total=100, weight=upright_passes(run.config)):
            make_probabilities(folds, _without_labels(images), runtime)
    else:
        given = upright_file(asked)
        kept = run.path / f"upright{given.suffix}"
        if runtime.is_main and not kept.exists():
            with replacing(kept) as partial:
                shutil.copyfile(given, partial)
    runtime.barrier()
    rows = p_upright_of(kept, images.train, (images.source.train, images.chosen))
    logger.info(_noise_aware_words(run.config, rows, kept))
    return torch.from_numpy(rows)


def upright_passes(config: Config) -> float:
    """Passes over the images that making the probabilities takes: its share of the time.

    0 where they are not asked for, or come from a file.
    """
    if config.noise_aware.upright != "auto":
        return 0.0
    recipe = fold_recipe(config)
    if fits_heads(recipe):  # of the images in each view, without gradients
        return float(len(list_views(recipe.data, recipe.upright.view_crops)))
    return (recipe.upright.folds - 1) * (1 - recipe.upright.validation) * recipe.run.epochs


def _without_labels(images: Selection) -> Selection:
    """Pretraining reads none, not even for the mean scores of classes."""
    chosen = copy(images.chosen)
    chosen.labels, chosen.class_names = None, []
    return replace(images, chosen=chosen)


def agnostic_for(run: Run, images: Selection) -> Tensor | None:
    """The agnostic scores that a pretraining run asks for; call it after `p_upright_for`.

    Returns:
        (N,), one for each image that is learned from; None where it asks for none.

    Raises:
        DataError: They were asked for, and the file of probabilities has none.
    """
    if not run.config.imbalance.balance_agnostic:
        return None
    made = run.path / "upright" / FILE
    kept = made if made.exists() else run.path / FILE
    return torch.from_numpy(agnostic_of(kept, images.train))


def agnostic_warnings(run: Run, images: Selection) -> list[str]:
    """A warning where --balance-agnostic finds only one group; arguments as for `agnostic_for`."""
    agnostic, threshold = agnostic_for(run, images), run.config.imbalance.agnostic_threshold
    if agnostic is None:
        return []
    num_agnostic = int(agnostic_groups(agnostic, threshold).sum())
    if 0 < num_agnostic < len(agnostic):
        return []
    return [
        f"--balance-agnostic changes nothing: {num_agnostic:,} of {len(agnostic):,} "
        f"images score {threshold:g} or more (scores go from {agnostic.min():.3f} "
        f"to {agnostic.max():.3f}); another --agnostic-threshold would part them"
    ]


def _noise_aware_words(config: Config, p_upright: NDArray[np.float32], kept: Path) -> str:
    restarts, start = config.optimizer.restarts, config.optimizer.noise_aware_from
    epochs = max(map(len, phases(config.run.epochs, restarts)))
    first = first_epoch(start, epochs)
    if first == epochs:
        return (
            f"--noise-aware-from {start:.3g} is never reached within {counted(epochs, 'epoch')}, "
            f"so no turned copy is discounted by {kept}; give more --epochs or a smaller fraction"
        )
    weights = pu_weights(torch.from_numpy(p_upright), config.noise_aware.gamma)[:, 1:]
    again = ", and likewise after each restart" if restarts else ""
    return (
        f"noise-aware from epoch {first + 1} of {epochs} on{again}, by {kept}: a turned copy then "
        f"weighs {weights.mean():.3f} on average, {weights.min():.3f} at least"
    )


def upright_file(asked: str) -> Path:
    """The file of probabilities: itself, or that of the run that holds it."""
    path = Path(asked).expanduser()
    return path / FILE if path.is_dir() else path


def _cost(config: Config, recipe: Config) -> str:
    folds, epochs = recipe.upright.folds, recipe.run.epochs
    passes = upright_passes(config)
    if fits_heads(recipe):
        return (
            f"--upright auto: {folds} rotation heads come first, on features of the weights that "
            f"the training begins with ({recipe.data.image_size} px), {passes:.0f} passes over the "
            "images in all"
        )
    return (
        f"--upright auto: {folds} rotation networks come first ({recipe.model.backbone} at "
        f"{recipe.data.image_size} px, up to {counted(epochs, 'epoch')} each), {passes:.0f} passes "
        f"over the images in all; the training itself ({config.model.backbone} at "
        f"{config.data.image_size} px) makes {config.run.epochs}"
    )
