from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import ImageFolder, ImageNet, imagenet

from quarterturn.data.data_argument import locate, short_name
from quarterturn.data.labelled import open_labelled
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .pictures import save_photo
from .trees import GROUND_TRUTH, IDS, wnids_of_truth, write_devkit, write_train, write_val


def opened(root: Path) -> Source:
    return open_source(f"imagenet:{root}")


class TestTrain:
    def test_order_is_torchvisions(self, tmp_path):
        train = opened(write_train(tmp_path)).train
        theirs = ImageFolder(str(tmp_path / "train"))
        assert [
            (str(train.path(i)), label) for i, label in enumerate(train.labels)
        ] == theirs.samples
        assert train.class_names == theirs.classes == ["n01", "n02", "n03"]
        assert opened(tmp_path).test is None

    def test_missing(self, tmp_path):
        write_devkit(write_val(tmp_path))
        with pytest.raises(DataError, match=r"no folder .*/train: expected train/<wnid>/\*\.JPEG"):
            opened(tmp_path)

    def test_names_archives_left_packed(self, tmp_path):
        (tmp_path / "train").mkdir()
        for wnid in IDS:
            (tmp_path / "train" / f"{wnid}.tar").write_bytes(b"")
        with pytest.raises(DataError, match=r"0 readable images.* other files: 3 \.tar"):
            opened(tmp_path)

    def test_an_image_beside_the_classes(self, tmp_path):
        write_train(tmp_path)
        save_photo(tmp_path / "train" / "stray.JPEG", 0)
        with pytest.raises(DataError, match="should hold a sub-folder for each class"):
            opened(tmp_path)


class TestVal:
    def test_nested_and_flat_are_the_same(self, tmp_path):
        nested = opened(write_val(write_train(tmp_path / "nested"), nested=True)).test
        flat = opened(write_devkit(write_val(write_train(tmp_path / "flat")))).test
        assert len(flat) == 9
        assert nested.class_names == flat.class_names == ["n01", "n02", "n03"]
        label_of = {Path(name).name: c for name, c in zip(nested.names, nested.labels, strict=True)}
        assert label_of == dict(zip(flat.names, flat.labels, strict=True))

    def test_nested_order_is_torchvisions(self, tmp_path):
        write_val(write_train(tmp_path), nested=True)
        torch.save(({wnid: (wnid,) for wnid in IDS}, []), tmp_path / "meta.bin")
        theirs = ImageNet(str(tmp_path), split="val")
        val = opened(tmp_path).test
        assert [(str(val.path(i)), label) for i, label in enumerate(val.labels)] == theirs.samples
        assert val.class_names == theirs.wnids

    def test_flat_by_the_development_kit(self, tmp_path):
        val = opened(write_devkit(write_val(write_train(tmp_path)))).test
        assert [val.class_names[label] for label in val.labels] == wnids_of_truth()
        assert val.names[0] == "ILSVRC2012_val_00000001.JPEG"

    def test_flat_by_the_file_that_torchvision_writes(self, tmp_path, monkeypatch):
        """torchvision's own parser reads the same kit, and its file is taken."""
        write_devkit(write_val(write_train(tmp_path)))
        monkeypatch.setattr(imagenet, "_verify_archive", lambda *rest: None)

        def unpack(archive: str, folder: str) -> None:
            write_devkit(Path(folder))

        monkeypatch.setattr(imagenet, "extract_archive", unpack)
        by_kit = opened(tmp_path).test.labels
        imagenet.parse_devkit_archive(str(tmp_path))
        assert imagenet.load_meta_file(str(tmp_path))[1] == wnids_of_truth()
        (tmp_path / "ILSVRC2012_devkit_t12").rename(tmp_path / "elsewhere")
        np.testing.assert_array_equal(opened(tmp_path).test.labels, by_kit)

    def test_flat_with_an_unreadable_image_keeps_the_others_labels(self, tmp_path):
        write_devkit(write_val(write_train(tmp_path)))
        (tmp_path / "val" / "ILSVRC2012_val_00000002.JPEG").write_bytes(b"")
        source = open_source(f"imagenet:{tmp_path}", max_bad_fraction=0.2)
        expected = wnids_of_truth()
        del expected[1]
        assert [source.test.class_names[label] for label in source.test.labels] == expected
        assert list(source.unreadable) == ["val/ILSVRC2012_val_00000002.JPEG"]

    def test_serves_a_probe(self, tmp_path):
        split = open_labelled(f"imagenet:{write_devkit(write_val(write_train(tmp_path)))}")
        assert split.description == "the split 'val'"
        assert [split.train.class_names[label] for label in split.test.labels] == wnids_of_truth()

    def test_flat_without_labels_names_the_expected_layout(self, tmp_path):
        write_val(write_train(tmp_path))
        with pytest.raises(DataError) as caught:
            opened(tmp_path)
        kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
        assert str(caught.value) == (
            f"{tmp_path}/val has no sub-folders for the classes, and its labels are missing: there "
            f"is neither {tmp_path}/meta.bin nor {kit}/meta.mat and "
            f"{kit}/ILSVRC2012_validation_ground_truth.txt. Unpack ILSVRC2012_devkit_t12.tar.gz in "
            f"{tmp_path}"
        )

    @pytest.mark.parametrize(
        ("truth", "words"),
        [
            (GROUND_TRUTH[:-1], "has the labels of 8 images, and .*val holds 9"),
            ([*GROUND_TRUTH[:-1], 5], "has 5 on line 9, and 1 such lines in all; .* 1 to 3"),
            ([4, *GROUND_TRUTH[1:]], "has 4 on line 1"),  # a concept, not a class
            ([0, *GROUND_TRUTH[1:]], "has 0 on line 1"),
        ],
    )
    def test_ground_truth_that_does_not_fit(self, tmp_path, truth, words):
        write_devkit(write_val(write_train(tmp_path)), truth)
        with pytest.raises(DataError, match=words):
            opened(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"text", b"MATLAB 5.0"])
    def test_damaged_files(self, tmp_path, content):
        write_devkit(write_val(write_train(tmp_path)))
        kit = tmp_path / "ILSVRC2012_devkit_t12" / "data"
        (kit / "meta.mat").write_bytes(content)
        with pytest.raises(DataError, match=r"is not the meta\.mat of the development kit"):
            opened(tmp_path)
        (tmp_path / "meta.bin").write_bytes(content)
        with pytest.raises(DataError, match=r"meta\.bin is not a file that torchvision"):
            opened(tmp_path)


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("imagenet:sets") == f"imagenet:{tmp_path.resolve()}/sets"
    assert short_name("imagenet:sets") == "imagenet-sets"
    assert opened(write_train(tmp_path)).name == "imagenet"
