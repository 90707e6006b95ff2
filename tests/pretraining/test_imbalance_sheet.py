from __future__ import annotations

import numpy as np

from quarterturn.config import DataConfig
from quarterturn.pages.page import Page, render
from quarterturn.pretraining.imbalance import ImbalancePicture
from quarterturn.pretraining.imbalance_sheet import imbalance_sheet


def test_the_sheet_shows_sizes_rare_images_and_pairs(random_images):
    images = random_images(6, 8)
    found = ImbalancePicture(
        names=[images.names[i] for i in (0, 2, 3, 5)],
        indices=np.array([0, 2, 3, 5]),
        cluster=np.array([0, 0, 0, 1]),
        sizes=np.array([3, 1]),
        rarity=np.array([0.1, 0.2, 0.3, 0.9], dtype=np.float32),
        nearest=np.array([1, 0, 1, 2]),
        cosine=np.array([0.95, 0.95, 0.8, 0.4], dtype=np.float32),
        of=6,
    )
    sheet = imbalance_sheet(found, images, DataConfig(image_size=8))
    assert [one.picture.name for one in sheet.rarest][:2] == ["noise-5", "noise-3"]
    assert [(p.first.name, p.second.name) for p in sheet.pairs] == [
        ("noise-0", "noise-2"),
        ("noise-3", "noise-2"),
        ("noise-5", "noise-3"),
    ]
    assert sheet.figure.data == {"sizes": [3, 1], "gini": 0.25, "head_to_tail": 3.0}
    page = render(Page("title", "date", "command", imbalance=sheet))
    assert "How even the collection is" in page
    assert "Gini 0.25, largest over smallest 3.0" in page
    assert "4 of the 6 images that were learned from" in page
    assert "<b>0.900</b>" in page
    assert "<b>0.9500</b>" in page
    assert "How even the collection is" not in render(Page("title", "date", "command"))
