import urllib.error
import warnings
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, cifar

from quarterturn.data.imageset import ArrayImages
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .fake_cifar import NAMES, images_of, labels_of, write_cifar

FILES = {
    "cifar10": ([f"data_batch_{i}" for i in range(1, 6)], "test_batch"),
    "cifar100": (["train"], "test"),
}


@pytest.fixture(autouse=True)
def fetched(monkeypatch) -> list[str]:
    """Addresses that would have been downloaded from."""
    addresses: list[str] = []

    def fetch(url: str, root: Path, **rest: object) -> None:
        addresses.append(url)
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr(cifar, "download_and_extract_archive", fetch)
    return addresses


def as_stored(images: ArrayImages) -> np.ndarray:
    return images.pixels.transpose(0, 3, 1, 2).reshape(len(images), -1)


@pytest.mark.parametrize("name", FILES)
class TestImages:
    def test_are_in_the_original_order(self, name, tmp_path, monkeypatch, fetched):
        write_cifar(tmp_path, name, monkeypatch, n=9)
        source = open_source(f"{name}:{tmp_path}")
        assert source.name == name
        assert source.test_name == "test"
        train_files, test_file = FILES[name]
        for images, files in [(source.train, train_files), (source.test, [test_file])]:
            assert images.pixels.shape == (9 * len(files), 32, 32, 3)
            assert images.pixels.dtype == np.uint8
            assert images.pixels.flags.c_contiguous
            stored = np.concatenate([images_of(file, 9) for file in files])
            np.testing.assert_array_equal(as_stored(images), stored)
            assert images.labels.tolist() == [c for f in files for c in labels_of(f, 9, name)]
            assert images.labels.dtype == np.int64
            assert images.class_names == NAMES[name]
        assert source.train.names[:2] == ["train[0]", "train[1]"]
        assert source.test.names[8] == "test[8]"
        assert fetched == []

    def test_are_distinguished_by_their_fingerprint(self, name, tmp_path, monkeypatch):
        write_cifar(tmp_path / "one", name, monkeypatch, n=9)
        first = open_source(f"{name}:{tmp_path / 'one'}").train.fingerprint()
        write_cifar(tmp_path / "more", name, monkeypatch, n=10)
        assert open_source(f"{name}:{tmp_path / 'more'}").train.fingerprint() != first

    def test_old_files_raise_no_warning(self, name, tmp_path, monkeypatch):
        """NumPy 2.4.0 to 2.4.4 would give one."""
        write_cifar(tmp_path, name, monkeypatch, n=9)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            open_source(f"{name}:{tmp_path}")
        assert caught == []


class TestMissing:
    def test_files_are_named(self, tmp_path, monkeypatch, fetched):
        folder = write_cifar(tmp_path, "cifar10", monkeypatch)
        (folder / "data_batch_3").unlink()
        (folder / "batches.meta").unlink()
        with pytest.raises(DataError) as caught:
            open_source(f"cifar10:{tmp_path}")
        assert str(caught.value) == (
            f"{folder} should hold data_batch_3, batches.meta, which are missing; pretrain, "
            "upright, finetune and probe fetch them with --download"
        )
        assert fetched == []

    @pytest.mark.parametrize("name", FILES)
    def test_root(self, name, tmp_path, fetched):
        with pytest.raises(DataError, match=f"{FILES[name][1]}.* --download") as caught:
            open_source(f"{name}:{tmp_path / 'nothing'}")
        assert str(tmp_path / "nothing") in str(caught.value)
        assert not (tmp_path / "nothing").exists()
        assert fetched == []

    def test_damaged_files_are_named_and_never_unpickled(self, tmp_path, monkeypatch):
        folder = write_cifar(tmp_path, "cifar10", monkeypatch)
        sprung = tmp_path / "sprung"
        (folder / "test_batch").write_bytes(b"cos\nmkdir\n(V" + str(sprung).encode() + b"\ntR.")
        with pytest.raises(DataError, match=r"\(by checksum\): test_batch; pretrain"):
            open_source(f"cifar10:{tmp_path}")
        assert not sprung.exists()


class TestDownload:
    def test_only_when_asked(self, tmp_path, fetched):
        with pytest.raises(DataError, match=r"could not be downloaded to .*no network here"):
            open_source(f"cifar10:{tmp_path}", download=True)
        assert fetched == [CIFAR10.url]

    def test_only_what_is_not_there(self, tmp_path, monkeypatch, fetched):
        write_cifar(tmp_path, "cifar10", monkeypatch)
        assert len(open_source(f"cifar10:{tmp_path}", download=True).train) == 20
        assert fetched == []

    def test_brings_the_files(self, tmp_path, monkeypatch):
        def fetch(url: str, root: Path, **rest: object) -> None:
            write_cifar(root, "cifar10", monkeypatch)

        monkeypatch.setattr(cifar, "download_and_extract_archive", fetch)
        assert len(open_source(f"cifar10:{tmp_path / 'new'}", download=True).train) == 20
