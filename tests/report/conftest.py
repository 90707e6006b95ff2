import numpy as np
import pytest

from quarterturn.config import Config
from quarterturn.data.imageset import ImageSet
from quarterturn.data.sources import open_source
from quarterturn.methods.base import Network
from quarterturn.methods.registry import build_network
from quarterturn.presets import preset

NUM_IMAGES = 60


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    """A few digits, at the size they are stored."""
    return open_source("digits").train.subset(np.arange(NUM_IMAGES))


@pytest.fixture(scope="session")
def config() -> Config:
    return preset("digits").with_settings(epochs=2, crop_scale=(0.6, 1.0))


@pytest.fixture(scope="session")
def network(config: Config) -> Network:
    """Untrained, decoupled."""
    return build_network(config).eval()
