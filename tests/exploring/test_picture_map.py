from __future__ import annotations

import numpy as np

from quarterturn.exploring.picture_map import map_places
from tests.exploring.test_kinds import blobs


def test_places_fill_a_square_and_follow_the_seed() -> None:
    features = blobs([30, 20])
    places = map_places(features, seed=1)
    assert places.shape == (50, 2)
    assert places.min() >= 0
    assert places.max() <= 1
    assert float(np.ptp(places, axis=0).max()) > 0.999
    np.testing.assert_array_equal(places, map_places(features, seed=1))


def test_images_alike_lie_side_by_side() -> None:
    places = map_places(blobs([40, 40, 40]))
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1) // 40
    assert (nearest == np.arange(120) // 40).mean() > 0.98


def test_other_images_lie_amid_their_neighbours() -> None:
    features = blobs([60, 60])
    places = map_places(features, most=50)
    centres = [places[:60].mean(axis=0), places[60:].mean(axis=0)]
    own = [np.linalg.norm(places - centre, axis=1) for centre in centres]
    assert ((own[0] < own[1]) == (np.arange(120) < 60)).all()


def test_the_fewest_images() -> None:
    assert np.isfinite(map_places(blobs([5, 3]))).all()
