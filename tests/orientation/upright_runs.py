"""Runs of `upright` and of `pretrain` made by hand: known scores, networks that nothing trained."""

from pathlib import Path

import numpy as np
import torch

from quarterturn.data.data_argument import locate
from quarterturn.data.selection import select_images
from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.orientation.networks import OUTCOME, FoldOutcome, fold_run, stopped_checkpoint
from quarterturn.orientation.upright_table import FILE, UprightTable
from quarterturn.presets import preset
from quarterturn.runs import Run

FOLDS = 2


def tiny(**settings: object) -> Config:
    fixed = {"method": "rotnet", "folds": FOLDS, "view_crops": 1, "flip": True, "image_size": 16}
    return preset("digits").with_settings(**(fixed | settings))


def sharp(stored: list[int], sure: float = 0.97) -> np.ndarray:
    """(n, 4, 4) probabilities of images that are stored turned by k quarter turns."""
    probabilities = np.full((len(stored), 4, 4), (1 - sure) / 3, np.float32)
    for i, turn in enumerate(stored):
        for copy in range(4):
            probabilities[i, copy, (copy + turn) % 4] = sure
    return probabilities


def upright_run(
    path: Path,
    data: str,
    probabilities: np.ndarray | None = None,
    agnostic: np.ndarray | None = None,
    *,
    fold: np.ndarray | None = None,
    mirrored_noise: float = 0.0,
    **settings: object,
) -> Run:
    """A finished run; without more words, every image is upright, and held out in turn."""
    images = select_images(data, tiny(**settings).data).chosen
    run = Run(path, locate(data), tiny(**settings), images.fingerprint(), "upright")
    run.create()
    for number in range(FOLDS):
        of_fold = Run(fold_run(path, number), run.data, run.config, "0", "fold")
        of_fold.create()
        network = build_network(run.config.with_settings(seed=number + 1))
        save_checkpoint(stopped_checkpoint(of_fold), {"network": network.state_dict(), "epoch": 1})
        _outcome(number, mirrored_noise).write(of_fold.path / OUTCOME)
    n = len(images)
    table = UprightTable(
        list(images.names),
        sharp([0] * n) if probabilities is None else probabilities,
        np.zeros(n, np.float32) if agnostic is None else agnostic.astype(np.float32),
        np.arange(n) % FOLDS if fold is None else fold,
        images.fingerprint(),
    )
    table.write(path / FILE)
    return run


def pretrained_run(path: Path, data: str, **settings: object) -> Run:
    """A run of ``pretrain`` whose weights are those it began with."""
    config = tiny(**({"method": "decoupling"} | settings))
    train = select_images(data, config.data).train
    run = Run(path, locate(data), config, train.fingerprint())
    run.create()
    save_checkpoint(run.checkpoint, {"network": build_network(config).state_dict()})
    return run


def _outcome(number: int, mirrored_noise: float) -> FoldOutcome:
    """Validation logits that ask for a low temperature, which tells untrained networks apart."""
    logits = torch.randn(40, 2, 4, 4, generator=torch.Generator().manual_seed(number))
    logits += torch.eye(4)
    logits[:, 1] += mirrored_noise * torch.randn(40, 4, 4)
    none = torch.empty(0, 2, 4, 4)
    empty = np.empty(0, np.int64)
    return FoldOutcome(empty, none, none, 0.2 * logits, empty, none, 1)
