"""Which photos of a collection are probably stored turned, by a run's rotation head.

Shapes: n images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from quarterturn.collection.survey import Survey
from quarterturn.data.data_argument import locate
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import DataError
from quarterturn.orientation.predicted_turns import orient_images, run_to_orient_by
from quarterturn.orientation.scores import agnostic_scores, stored_turns
from quarterturn.orientation.turns import IN_SAMPLE, NEW, Turns
from quarterturn.orientation.upright_table import FILE
from quarterturn.runs import Run
from quarterturn.runs.training_images import training_names


@dataclass(frozen=True)
class StoredTurns:
    """How each image of a survey is probably stored.

    Attributes:
        turns: Probabilities of the n images, and how each was scored.
        caveat: How far to trust them, in a sentence.
    """

    turns: Turns
    caveat: str

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
    probabilities = softmax(survey.turn_logits.astype(np.float64), axis=-1)
    learned = _learned(survey, run, data)
    turns = Turns(
        stored_turns(probabilities),
        agnostic_scores(probabilities),
        [IN_SAMPLE if each else NEW for each in learned.tolist()],
    )
    share = f"{int(learned.sum()):,} of the {len(survey):,} images"
    if not learned.any():
        return StoredTurns(turns, "The network has learned from none of these images.")
    return StoredTurns(
        turns,
        f"The network has learned from {share}, and took them to be upright as they are stored: it "
        "may overlook some that are not.",
    )


def _by_upright(survey: Survey, upright: Run, data: str, runtime: Runtime) -> StoredTurns:
    splits = survey.source.all_splits
    found, _ = orient_images(upright, splits, data, device=runtime.device)
    rows = list(zip(survey.splits, survey.indices.tolist(), strict=True))
    turns = Turns(
        np.stack([found[split].stored[index] for split, index in rows]),
        np.array([found[split].agnostic[index] for split, index in rows]),
        [found[split].scored[index] for split, index in rows],
    )
    return StoredTurns(turns, "Each image was scored by networks that have not learned from it.")


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
