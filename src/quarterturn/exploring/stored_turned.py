"""Which photos of a collection are probably stored turned, by a run's rotation head.

Shapes: n images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.data_argument import locate
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import DataError
from quarterturn.exploring.survey import Survey
from quarterturn.orientation.predicted_turns import (
    known_accuracy,
    orient_images,
    run_to_orient_by,
)
from quarterturn.orientation.turn_reading import TurnReading, predictions_of_one, read_turns
from quarterturn.orientation.turns import Turns
from quarterturn.orientation.upright_table import FILE
from quarterturn.pages.tables import percent
from quarterturn.runs import Run
from quarterturn.runs.training_images import training_names


@dataclass(frozen=True)
class StoredTurns:
    """How each image of a survey is probably stored.

    Attributes:
        turns: Probabilities of the n images, and how each was scored.
        caveat: How far to trust them, in a sentence.
        share: Estimated share of the images that are stored turned.
    """

    turns: Turns
    caveat: str
    share: float

    @property
    def upright(self) -> NDArray[np.floating]:
        """(n,) probability that an image is stored upright."""
        found: NDArray[np.floating] = self.turns.stored[:, 0]
        return found

    def turned(self) -> NDArray[np.int64]:
        """Places of the images that are probably stored turned, surest first."""
        is_turned = np.char.startswith(self.turns.verdicts(), "turn")
        places = np.flatnonzero(is_turned)
        return places[np.argsort(-self.turns.stored[places].max(axis=1), kind="stable")]


def stored_turns_of(survey: Survey, run: Run, data: str, runtime: Runtime) -> StoredTurns | None:
    """Predict how each image is stored: by the run's ``upright`` run, else by its own network.

    Args:
        survey: The collection.
        run: The run.
        data: DATA that the images are from.
        runtime: Where to compute what `upright` has not scored.

    Returns:
        None where the run predicts no turns.
    """
    if (run.path / "upright" / FILE).exists():
        return _by_upright(survey, run_to_orient_by(run), data, runtime)
    if survey.turn_logits is None:
        return None
    predictions = predictions_of_one(survey.turn_logits, _learned(survey, run, data))
    reading = read_turns({"": predictions}, known_accuracy(run))
    return _stored(reading, reading.turns[""])


def _stored(reading: TurnReading, turns: Turns) -> StoredTurns:
    share = 1 - float(reading.shares[0])
    more = reading.doubt() or f"About {percent(share)} are stored turned, by estimate."
    return StoredTurns(turns, f"{reading.caveat()} {more}", share)


def _by_upright(survey: Survey, upright: Run, data: str, runtime: Runtime) -> StoredTurns:
    splits = survey.source.all_splits
    reading = orient_images(upright, splits, data, device=runtime.device).reading
    found = reading.turns
    rows = list(zip(survey.splits, survey.indices.tolist(), strict=True))
    turns = Turns(
        np.stack([found[split].stored[index] for split, index in rows]),
        np.stack([found[split].agreed[index] for split, index in rows]),
        np.array([found[split].agnostic[index] for split, index in rows]),
        [found[split].scored[index] for split, index in rows],
        reading.tells,
    )
    return _stored(reading, turns)


def _learned(survey: Survey, run: Run, data: str) -> NDArray[np.bool_]:
    """(n,) whether the run has learned from an image; none where its images are gone."""
    try:
        known = training_names(run, data) or {}
    except DataError:
        known = {}
    place = locate(data)
    identities = (
        survey.images(i).identity(index, place) for i, index in enumerate(survey.indices.tolist())
    )
    return np.array([identity in known for identity in identities], bool)
