from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.engine.runtime import Runtime
from quarterturn.methods.configuration import Config
from quarterturn.orientation.networks import FoldOutcome, cross_fit
from quarterturn.presets import preset
from quarterturn.runs import Run


@pytest.fixture(scope="session")
def copied_digits(digits_source: Source) -> ArrayImages:
    """50 digits, of which the last ten are copies of earlier ones under other names."""
    chosen = np.array([*range(40), *range(0, 40, 4)])
    images = digits_source.train.subset(chosen)
    images.names = [f"image-{i}" for i in range(50)]
    return images


def quick(**settings: object) -> Config:
    """Rotation networks of two folds that train in a fraction of a second."""
    quick = {"folds": 2, "epochs": 2, "batch_size": 16, "device": "cpu", "workers": 0}
    return preset("digits").with_settings(method="rotnet", **(quick | settings))


def fit_folds(path: Path, images: ImageSet, config: Config) -> tuple[Run, list[FoldOutcome]]:
    """Cross-fit in a run directory, or go on with it."""
    whole = Run(path, "digits", config, images.fingerprint(), "upright")
    if not path.exists():
        whole.create()
    runtime = Runtime("cpu", "32-true")
    outcomes = cross_fit(whole, images, runtime, source=Source("x", images))
    assert outcomes is not None
    return whole, outcomes
