"""What a training is doing to its features, measured on held-out images without labels.

Shapes: n images in R = 4 copies; D feature width; E embedding width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import log_loss
from torch import Tensor

from quarterturn.config import DataConfig, MethodOptions
from quarterturn.data.imageset import ImageSet
from quarterturn.features.extraction import extract
from quarterturn.losses.invariance import invariance_loss
from quarterturn.losses.rotation import predicted_turns, rotation_loss
from quarterturn.methods.base import Network
from quarterturn.methods.discrimination_options import DiscriminationOptions
from quarterturn.metrics.embeddings import effective_rank, embedding_spread
from quarterturn.pages.probe_tables import with_spread
from quarterturn.pages.tables import Cell, Table
from quarterturn.probing.linear import linear_classifier
from quarterturn.runs.records import Statistic

FRESH_HEAD_ITERATIONS = 100
COLLAPSED_SPREAD = 0.001
COLLAPSED_RANK = 1.5
"""Below this variance, or this number of directions, the unit embeddings are called collapsed: all
one, or all on a line. Measured healthy and collapsed values are in ``docs/log.md``."""

MEASURES = {
    "rotation_accuracy": ("rotation accuracy, by the rotation half", "25 %"),
    "leakage_same_head": ("the same head on the invariant half", "25 %"),
    "leakage_fresh_head": ("a fresh linear head on the invariant half", "25 %"),
    "spread": ("spread of the embeddings (100 % is even)", "0 %"),
}
"""What is shown of `diagnose`: in words, and with its value by chance or after a collapse."""
COLUMNS = ["measure", "value", "chance or collapse"]


def diagnose(
    network: Network,
    images: ImageSet,
    crop: DataConfig,
    *,
    device: torch.device | str = "cpu",
    workers: int = 0,
    failed: dict[int, str] | None = None,
) -> Iterator[tuple[str, float]]:
    """Measure a network on held-out images.

    Args:
        network: Backbone and heads.
        images: The held-out images.
        crop: Crop and normalisation settings.
        device: Where the network is.
        workers: Processes that decode files.
        failed: Filled with the images that could not be decoded, which are left out.

    Yields:
        ``rotation_accuracy``: by the rotation head, on all four copies of each image.
        ``rotation_loss``: its cross-entropy there, without weights and margins; 1.39 is chance.
        ``leakage_same_head``: accuracy of that same trained head on the invariant half (the
        paper's figure); 0.25 is chance. ``leakage_same_head_loss``: its cross-entropy.
        ``leakage_fresh_head``: accuracy of a new linear classifier on each copy's invariant half,
        trained on one half of the images and tested on the other. ``leakage_fresh_head_loss``: its
        cross-entropy.
        ``invariance_loss``: the squared distance of the copies' invariant halves from their mean.
        ``spread`` and ``effective_rank`` of the embeddings; see `quarterturn.metrics.embeddings`.
    """
    was_training = network.training
    network.eval()
    try:
        # All of it before anything is yielded: whoever asks continues with the network as it was,
        # and with gradients.
        measured = list(_measure(network, images, crop, device, workers, failed))
    finally:
        network.train(was_training)
    yield from measured


@torch.no_grad()
def _measure(
    network: Network,
    images: ImageSet,
    crop: DataConfig,
    device: torch.device | str,
    workers: int,
    failed: dict[int, str] | None,
) -> Iterator[tuple[str, float]]:
    found = extract(
        images,
        crop,
        network.features_of_turns,
        device=device,
        workers=workers,
        batch_size=64,
        failed=failed,
    )
    features = torch.from_numpy(found.values).to(device)  # (n, 4, D)
    if network.rotation_head is not None:
        logits = network.rotation_logits(features)
        yield "rotation_accuracy", rotation_accuracy(logits)
        yield "rotation_loss", float(rotation_loss(logits))
    if network.decoupled:
        invariant = network.parts(features)["invariant"]  # (n, 4, D/2)
        assert network.rotation_head is not None
        logits = network.rotation_scale * network.rotation_head(invariant)
        yield "leakage_same_head", rotation_accuracy(logits)
        yield "leakage_same_head_loss", float(rotation_loss(logits))
        accuracy, loss = fresh_head(invariant)
        yield "leakage_fresh_head", accuracy
        yield "leakage_fresh_head_loss", loss
        yield "invariance_loss", float(invariance_loss(invariant))
    if network.embedding_head is not None:
        views = features.mean(dim=1) if network.embeds_all_turns else features[:, 0]
        embeddings = network.embed(views).cpu()
        yield "spread", embedding_spread(embeddings)
        yield "effective_rank", effective_rank(embeddings)


def rotation_accuracy(logits: Tensor) -> float:
    """Share of copies whose turn is predicted: (n, 4, 4) logits, copy by class."""
    return float(predicted_turns(logits.cpu()).mean())


def fresh_head(invariant: Tensor) -> tuple[float, float]:
    """Accuracy and cross-entropy of a new linear classifier of the turn.

    Args:
        invariant: (n, 4, D/2) invariant halves that it reads the turn off.
    """
    values = invariant.cpu().numpy()
    # Every other image: held-out images come folder by folder, and both parts should have all.
    train, test = values[::2], values[1::2]

    def flat(copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return copies.reshape(-1, values.shape[2]), np.tile(np.arange(4), len(copies))

    head = linear_classifier(*flat(train), FRESH_HEAD_ITERATIONS)
    features, turns = flat(test)
    loss = log_loss(turns, head.predict_proba(features), labels=np.arange(4))
    return float((head.predict(features) == turns).mean()), float(loss)


def collapse_warning(values: dict[str, float], method: MethodOptions) -> str | None:
    """A sentence for the user when the embeddings are all one or all on a line, else None.

    Args:
        values: By `diagnose`.
        method: What was trained; the advice names its options.
    """
    spread, rank = values.get("spread"), values.get("effective_rank")
    if spread is None or rank is None:
        return None
    if spread >= COLLAPSED_SPREAD and rank >= COLLAPSED_RANK:
        return None
    other = "--instance-loss infonce, " if isinstance(method, DiscriminationOptions) else ""
    return (
        f"the embeddings have collapsed: spread {spread:.4f} (0 when all are one, 1 when "
        f"spread evenly; collapsed below {COLLAPSED_SPREAD}), {rank:.1f} directions in use "
        f"(collapsed below {COLLAPSED_RANK}). {other}a lower --learning-rate or --weight-decay, or "
        "a larger --instance-weight may help"
    )


def diagnostics_table(last: dict[str, Any], num_held_out: int) -> Table:
    """The last diagnostics of a run in words.

    Args:
        last: A ``diagnostics`` line of metrics.jsonl.
        num_held_out: Images that they were measured on.
    """
    return Table(
        title="Diagnostics",
        columns=COLUMNS,
        rows=_rows({name: last.get(name) for name in MEASURES}),
        note=f"on {num_held_out:,} held-out images, without labels",
    )


def seeds_table(figures: Mapping[str, Statistic], seeds: Sequence[int]) -> Table:
    """The last diagnostics of several runs in words.

    Args:
        figures: Measure to its statistic over the runs.
        seeds: The runs' seeds.
    """
    return Table(
        title=f"Diagnostics over seeds {seeds[0]} to {seeds[-1]}",
        columns=COLUMNS,
        rows=_rows({name: with_spread(found) for name, found in figures.items()}),
        note=f"in %; mean ± standard deviation over {len(seeds)} trainings, on the held-out images "
        "of each, without labels",
    )


def _rows(values: Mapping[str, Cell]) -> list[list[Cell]]:
    """A row for each measure that there is a value of."""
    return [
        [words, value, worst]
        for name, (words, worst) in MEASURES.items()
        if (value := values.get(name)) is not None
    ]
