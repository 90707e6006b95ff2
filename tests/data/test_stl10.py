import urllib.error

import numpy as np
import pytest
from torchvision.datasets import STL10, stl10

from quarterturn.config import DataConfig
from quarterturn.data.labelled import open_labelled
from quarterturn.data.selection import select_images
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .fake_stl10 import NAMES, images_of, labels_of, write_stl10


@pytest.fixture(autouse=True)
def _nothing_is_fetched(monkeypatch):
    def fetch(url: str, *rest: object, **named: object) -> None:
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(stl10, "download_and_extract_archive", fetch)


@pytest.mark.parametrize(("name", "part"), [("stl10", "train"), ("stl10-unlabeled", "unlabeled")])
def test_images_in_their_order(tmp_path, monkeypatch, name, part):
    write_stl10(tmp_path, monkeypatch)
    source = open_source(f"{name}:{tmp_path}")
    assert (source.name, source.test_name) == (name, "test")
    for images, of in ((source.train, part), (source.test, "test")):
        np.testing.assert_array_equal(images.pixels, images_of(of, 9))
        assert images.pixels.flags.c_contiguous
        assert images.names[8] == f"{of}[8]"
        if of == "unlabeled":
            assert images.labels is None
            assert images.class_names == []
        else:
            assert images.labels.tolist() == labels_of(of, 9)
            assert images.labels.dtype == np.int64
            assert images.class_names == NAMES
    theirs = STL10(str(tmp_path), split=part)
    np.testing.assert_array_equal(np.asarray(theirs[4][0]), np.asarray(source.train.read(4)))


def test_what_is_learned_from_and_what_is_probed(tmp_path, monkeypatch):
    write_stl10(tmp_path, monkeypatch)
    selection = select_images(f"stl10-unlabeled:{tmp_path}", DataConfig())
    assert list(selection.train.names) == [f"unlabeled[{i}]" for i in range(9)]
    assert list(selection.held_out.names) == [f"test[{i}]" for i in range(9)]
    split = open_labelled(f"stl10:{tmp_path}")
    assert list(split.train.names) == [f"train[{i}]" for i in range(9)]
    with pytest.raises(DataError, match="has no labels"):
        open_labelled(f"stl10-unlabeled:{tmp_path}")


def test_missing_and_damaged_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"should hold train_X\.bin, train_y\.bin, unl"):
        open_source(f"stl10:{tmp_path}")
    folder = write_stl10(tmp_path, monkeypatch)
    (folder / "unlabeled_X.bin").write_bytes(bytes(3 * 96 * 96))
    with pytest.raises(DataError, match=r"\(by checksum\): unlabeled_X.bin; pretrain"):
        open_source(f"stl10:{tmp_path}")
    with pytest.raises(DataError, match=r"could not be downloaded to .*no network here"):
        open_source(f"stl10:{tmp_path}", download=True)
