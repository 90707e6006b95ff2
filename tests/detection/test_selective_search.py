import sys

import numpy as np
import pytest

from quarterturn import ConfigError, detect
from quarterturn.data.sources import open_source
from quarterturn.detection import selective_search
from quarterturn.detection.proposals import kept_proposals
from quarterturn.detection.selective_search import search, search_all
from tests.fixtures.detection import DETECT

cv2 = pytest.importorskip("cv2")
pytestmark = pytest.mark.skipif(not hasattr(cv2, "ximgproc"), reason="OpenCV without contrib")


@pytest.fixture(scope="module")
def images(boxed_tree):
    return open_source(f"voc:{boxed_tree}").train


def test_the_largest_come_first_and_once(images):
    pixels = np.asarray(images.read(0))
    boxes = search(pixels)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
    assert (np.diff(areas) <= 0).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes) > 3
    assert (boxes >= 0).all()
    assert (boxes <= [47, 35, 47, 35]).all()
    np.testing.assert_array_equal(search(pixels), boxes)
    some = search(pixels, 3)  # of all sizes
    np.testing.assert_array_equal(some, boxes[[0, round((len(boxes) - 1) / 2), -1]])


def test_wide_images_are_searched_small_and_boxes_put_back(rng):
    pixels = np.full((90, 1000, 3), 90, np.uint8)
    pixels[20:60, 300:500] = (240, 30, 30)
    boxes = search(pixels)
    distance = np.abs(boxes - [300, 20, 499, 59]).max(axis=1)
    assert distance.min() <= 4


def test_an_even_image_is_one_region():
    boxes = search(np.full((40, 50, 3), 128, np.uint8))
    assert boxes.tolist() == [[0, 0, 49, 39]]


def test_a_search_continues_where_it_stopped(images, tmp_path, monkeypatch):
    monkeypatch.setattr(selective_search, "KEPT_TOGETHER", 4)
    some = images.subset(np.arange(10))
    whole = search_all(some, tmp_path / "a", most=0, workers=0)
    assert [len(boxes) > 0 for boxes in whole.boxes] == [True] * 10
    search_all(images.subset(np.arange(8)), tmp_path / "b", most=0, workers=0)
    searched = []

    def counted(pixels, most):
        searched.append(most)
        return search(pixels, most)

    (tmp_path / "b" / "0000000.npz").write_bytes(b"damaged")
    monkeypatch.setattr(selective_search, "search", counted)
    again = search_all(some, tmp_path / "b", most=0, workers=0)
    assert len(searched) == 6  # the damaged file's four, and the two that were not there
    assert again.fingerprint() == whole.fingerprint()


@pytest.mark.slow
def test_processes_find_the_same(images, tmp_path, monkeypatch):
    monkeypatch.setattr(selective_search, "KEPT_TOGETHER", 4)
    alone, shared = (
        search_all(images, tmp_path / str(workers), most=50, workers=workers) for workers in (0, 2)
    )
    assert alone.fingerprint() == shared.fingerprint()


def test_detect_searches_and_keeps_what_it_found(boxed_tree, tmp_path):
    run = detect(
        f"voc:{boxed_tree}",
        proposals="selective-search",
        max_proposals=9,
        out=tmp_path / "run",
        **{**DETECT, "iterations": 0, "limit": 8},
    )
    kept = kept_proposals(run.path)
    assert [len(kept[split].names) for split in ("train", "test")] == [8, 8]
    assert max(len(boxes) for boxes in kept["train"].boxes) <= 9
    assert not (run.path / "proposals").exists()


def test_opencv_is_an_extra(monkeypatch):
    pixels = np.zeros((20, 20, 3), np.uint8)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cv2", None)
        with pytest.raises(ConfigError, match=r"pip install 'quarterturn\[detection\]'"):
            search(pixels)
    monkeypatch.delattr(cv2, "ximgproc")
    with pytest.raises(ConfigError, match="without its contributed modules"):
        search(pixels)
