"""Upright tables and variants made by hand."""

import dataclasses

import numpy as np

from quarterturn.orientation.ablation import STOPPED, Variant
from quarterturn.orientation.calibration import SCALED
from quarterturn.orientation.scores import agnostic_scores
from quarterturn.orientation.upright_table import NOT_SCORED, UprightTable


def predicted_turn(turn, sureness=0.91):
    """(4, 4) of an image that is stored turned by k quarter turns, and told to be so."""
    probabilities = np.full((4, 4), (1 - sureness) / 3, dtype=np.float32)
    probabilities[np.arange(4), (np.arange(4) + turn) % 4] = sureness
    return probabilities


def table_of(images, probabilities, unscored=()):
    """A table of two folds; ``unscored`` images could not be read."""
    probabilities = np.array(probabilities, dtype=np.float32)
    agnostic = agnostic_scores(probabilities).astype(np.float32)
    fold = np.arange(len(images)) % 2
    for i in unscored:
        probabilities[i], agnostic[i], fold[i] = 0.25, 1, NOT_SCORED
    return UprightTable(images.names, probabilities, agnostic, fold, images.fingerprint())


def random_table(images, rng, unscored=()):
    """A table of images that are told with any sureness, most of them upright."""
    sureness = rng.uniform(0.25, 0.99, len(images))
    turns = rng.choice(4, len(images), p=[0.7, 0.1, 0.1, 0.1])
    return table_of(
        images, [predicted_turn(t, s) for t, s in zip(turns, sureness, strict=True)], unscored
    )


def variants_of(table, rng):
    """Three variants out of fold, of which the last one is the table's; one in fold; its images."""
    numbers = table.scored
    plain = rng.dirichlet(np.ones(4), (len(numbers), 4)).astype(np.float32)
    stopped = Variant(STOPPED, numbers, plain, agnostic_scores(plain), 1.0)
    soft = (plain + 0.25) / 2
    scaled = Variant(SCALED, numbers, soft, agnostic_scores(soft), 1.25)
    used = Variant(
        "five crops", numbers, table.probabilities[numbers], table.agnostic[numbers], 1.1, True
    )
    # Some images have been seen by several networks, others by none.
    seen = np.concatenate([numbers[::2], numbers[:3]])
    sharp = rng.dirichlet(np.full(4, 0.3), (len(seen), 4)).astype(np.float32)
    in_fold = dataclasses.replace(
        scaled, name="in fold", numbers=seen, probabilities=sharp, agnostic=agnostic_scores(sharp)
    )
    rows = np.searchsorted(numbers, seen)
    unseen = dataclasses.replace(
        scaled,
        name="out of fold",
        numbers=seen,
        probabilities=soft[rows],
        agnostic=scaled.agnostic[rows],
    )
    return [stopped, scaled, used, in_fold, unseen]
