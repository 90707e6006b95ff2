"""Small images from arrays: scikit-learn's digits."""

from __future__ import annotations

import numpy as np

from quarterturn.data.imageset import ArrayImages

DIGITS_SPLIT_SEED = 0
DIGITS_TEST_FRACTION = 0.25


def read_digits() -> dict[str, ArrayImages]:
    """scikit-learn's 1,797 digits, 8x8 px, in a stratified ``train`` (1,347) and ``test`` (450)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    images = ArrayImages(
        np.repeat(grey[..., None], 3, axis=3),
        [f"digit-{i:04d}" for i in range(len(grey))],
        bunch.target.astype(np.int64),
        [str(d) for d in range(10)],
    )
    train, test = train_test_split(
        np.arange(len(grey)),
        test_size=DIGITS_TEST_FRACTION,
        stratify=bunch.target,
        random_state=DIGITS_SPLIT_SEED,
    )
    return {"train": images.subset(np.sort(train)), "test": images.subset(np.sort(test))}
