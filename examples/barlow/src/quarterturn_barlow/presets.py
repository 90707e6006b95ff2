"""A recipe of the package's own."""

from __future__ import annotations

from quarterturn.methods.configuration import Config
from quarterturn.presets import preset


def digits_barlow() -> Config:
    """Barlow Twins on scikit-learn's digits: seconds of a processor; its score was not run."""
    return preset("digits").with_settings(method="barlow", epochs=5)
