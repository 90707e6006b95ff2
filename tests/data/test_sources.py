import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from quarterturn.data.imageset import ArrayImages
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .pictures import noise, oriented, photo, save, save_photo, stored, truncate


@pytest.fixture(autouse=True)
def _no_heic(monkeypatch):
    """Whatever is installed here, the extra is not."""
    monkeypatch.setattr("quarterturn.data.indexed_files.heic_is_readable", lambda: False)


def class_tree(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    for seed, (folder, count) in enumerate(counts.items()):
        for i in range(first, first + count):
            save_photo(root / folder / f"{i:03d}.png", 100 * seed + i, 12, 16)
    return root


@pytest.fixture
def messy(tmp_path):
    """60 good photos, and all that lies about in people's folders."""
    root, elsewhere = tmp_path / "My photos", tmp_path / "elsewhere"
    for i in range(50):
        save_photo(root / f"img_{i:02d}.jpg", i)
    for i in range(10):
        save_photo(root / "nested" / "deeper" / f"{i}.png", 50 + i)
    (root / "notes.txt").write_text("milk, eggs")
    (root / "README").write_text("no suffix")
    (root / "empty.jpg").write_bytes(b"")
    truncate(save_photo(root / "cut.jpg", 60), 0.7)
    Image.fromarray(photo(61)).convert("CMYK").save(root / "cmyk.jpg")
    save(root / "wide.png", photo(62)[..., 0].astype(np.uint16) * 257)
    save(root / "turned.jpg", stored(photo(63), 6), exif=oriented(6))
    for i in range(3):
        save_photo(elsewhere / f"{i}.jpg", 64 + i)
    (root / "link.jpg").symlink_to(root / "img_00.jpg")
    (root / "linked").symlink_to(elsewhere, target_is_directory=True)
    (root / "nested" / "round").symlink_to(root, target_is_directory=True)
    (root / ".DS_Store").write_bytes(b"\0")
    (root / "._x.jpg").write_bytes(b"\0")
    save_photo(root / ".thumbnails" / "x.jpg", 67)
    (root / "shot.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    return root


class TestMessyFolder:
    NAMES = (
        "cmyk.jpg",
        "cut.jpg",
        *(f"img_{i:02d}.jpg" for i in range(50)),
        "link.jpg",
        "turned.jpg",
        "wide.png",
        *(f"linked/{i}.jpg" for i in range(3)),
        *(f"nested/deeper/{i}.png" for i in range(10)),
    )

    def test_what_is_read_ignored_and_listed(self, messy):
        source = open_source(str(messy))
        assert tuple(source.train.names) == self.NAMES
        assert source.unreadable == {"empty.jpg": "the file is empty"}
        assert source.ignored == {"hidden": 2, ".txt": 1, "(no suffix)": 1}
        assert source.num_heic == 1
        assert source.name == "My photos"
        assert source.test is None
        assert source.train.labels is None  # files lie beside the folders
        assert source.train.class_names == []

    def test_summary_says_so(self, messy):
        assert open_source(str(messy)).summary() == [
            "68 images in My photos",
            "ignored files that are not images: 1 (no suffix), 1 .txt, 2 hidden",
            "left out: 1 HEIC files; read them with: pip install 'quarterturn[heic]'",
            "left out: 1 image file that cannot be read:",
            "  empty.jpg: the file is empty",
        ]

    def test_verify_finds_what_the_header_hides(self, messy):
        source = open_source(str(messy), verify=True)
        assert list(source.train.names) == [n for n in self.NAMES if n != "cut.jpg"]
        assert sorted(source.unreadable) == ["cut.jpg", "empty.jpg"]
        assert "truncated" in source.unreadable["cut.jpg"]

    def test_sizes_and_pictures_are_upright(self, messy):
        train = open_source(str(messy), verify=True).train
        assert train.sizes.dtype == np.int64
        assert train.sizes.tolist() == [[40, 52]] * len(train)
        index = list(train.names).index("turned.jpg")
        found = np.asarray(train.read(index), float)
        assert np.abs(found - photo(63)).mean() < 6
        assert train.num_bytes[index] == (messy / "turned.jpg").stat().st_size

    def test_a_tilde_is_the_home_folder(self, messy, monkeypatch):
        monkeypatch.setenv("HOME", str(messy.parent))
        assert len(open_source("~/My photos").train) == 68


class TestLinks:
    def test_broken_link_is_unreadable(self, tmp_path):
        class_tree(tmp_path, {"all": 30})
        (tmp_path / "all" / "gone.png").symlink_to(tmp_path / "nowhere.png")
        assert open_source(str(tmp_path)).unreadable == {
            "all/gone.png": "No such file or directory"
        }

    @pytest.mark.parametrize("where", ["loop", "a/loop", "a/deep/loop"])
    @pytest.mark.parametrize("target", [".", "..", "a"])
    def test_no_folder_is_entered_within_itself(self, tmp_path, where, target):
        root = class_tree(tmp_path / "root", {"a": 4, "a/deep": 4, "b": 4})
        (root / where).symlink_to(root / target, target_is_directory=True)
        names = list(open_source(str(root)).train.names)
        linked_into_sibling = (where, target) == ("loop", "a")
        assert len(names) == (20 if linked_into_sibling else 12)

    def test_folders_that_link_to_each_other(self, tmp_path):
        class_tree(tmp_path, {"a": 4, "b": 4})
        (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b", target_is_directory=True)
        (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a", target_is_directory=True)
        names = [Path(name).parent.as_posix() for name in open_source(str(tmp_path)).train.names]
        assert names == ["a"] * 4 + ["a/to_b"] * 4 + ["b"] * 4 + ["b/to_a"] * 4

    def test_a_linked_root(self, tmp_path):
        class_tree(tmp_path / "root", {"a": 4, "b": 4})
        (tmp_path / "link").symlink_to(tmp_path / "root", target_is_directory=True)
        through, plain = (open_source(str(tmp_path / name)) for name in ("link", "root"))
        assert through.train.fingerprint() == plain.train.fingerprint()


class TestOrderAndLabels:
    def test_as_torchvisions_image_folder(self, tmp_path):
        names = [
            "b/2.PNG",
            "b/10.png",
            "b/x/1.jpg",
            "b/x-y/1.JPG",
            "b/x/z/1.jpeg",
            "b/x.y/0.png",
            "B/1.bmp",
            "a b/1.webp",
            "a/a.png",
            "a/A.png",
            "a/_.Tif",
            "a/9/1.png",
            "a/10/1.png",
        ]
        for seed, name in enumerate(names):
            save_photo(tmp_path / name, seed, 8, 8)
        theirs = ImageFolder(str(tmp_path))
        ours = open_source(str(tmp_path)).train
        assert [str(ours.path(i)) for i in range(len(ours))] == [path for path, _ in theirs.samples]
        assert ours.labels.tolist() == theirs.targets
        assert ours.class_names == theirs.classes == ["B", "a", "a b", "b"]

    def test_files_beside_folders_take_the_labels_away(self, tmp_path):
        class_tree(tmp_path, {"a": 5, "b": 5})
        assert open_source(str(tmp_path)).train.labels.tolist() == [0] * 5 + [1] * 5
        (tmp_path / "notes.txt").write_text("not an image")
        assert open_source(str(tmp_path)).train.labels is not None
        save_photo(tmp_path / "c.png", 0)
        train = open_source(str(tmp_path)).train
        assert train.labels is None
        assert train.names[0] == "c.png"

    def test_one_folder_is_no_label(self, tmp_path):
        train = open_source(str(class_tree(tmp_path, {"a/x": 5, "a/y": 5}))).train
        assert train.labels is None
        assert train.class_names == []

    def test_a_class_without_readable_images_does_not_count(self, tmp_path):
        class_tree(tmp_path, {"a": 30, "c": 30})
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "x.png").write_bytes(b"")
        train = open_source(str(tmp_path)).train
        assert train.class_names == ["a", "c"]
        assert train.labels.tolist() == [0] * 30 + [1] * 30

    def test_subset(self, tmp_path):
        train = open_source(str(class_tree(tmp_path, {"a": 5, "b": 5}))).train
        part = train.subset(np.array([7, 2]))
        assert list(part.names) == ["b/002.png", "a/002.png"]
        assert part.labels.tolist() == [1, 0]
        np.testing.assert_array_equal(np.asarray(part.read(1)), np.asarray(train.read(2)))


class TestSplits:
    @pytest.mark.parametrize(
        ("folders", "expected"),
        [
            (["train", "val", "test"], "test"),
            (["train", "val"], "val"),
            (["train", "test"], "test"),
        ],
    )
    def test_are_found(self, tmp_path, folders, expected):
        for number, split in enumerate(folders):
            class_tree(tmp_path / split, {"a": 6 - number, "b": 5 - number}, first=10 * number)
        save_photo(tmp_path / "train.png", 0)  # not in a split
        source = open_source(str(tmp_path))
        assert source.test_name == expected
        first = 10 * folders.index(expected)
        assert len(source.train) == 11
        assert source.train.names[0] == "a/000.png"
        assert source.test.names[0] == f"a/{first:03d}.png"
        assert len(source.test) == 11 - 2 * folders.index(expected)
        assert source.train.class_names == source.test.class_names == ["a", "b"]
        assert f"{len(source.test)} images in the split '{expected}'" in source.summary()
        assert {split: len(images) for split, images in source.unused.items()} == (
            {"val": 9} if len(folders) == 3 else {}
        )

    def test_how_many_images_are_enough(self, tmp_path):
        save_photo(tmp_path / "one.png", 0)
        with pytest.raises(DataError, match="holds 1 readable images; at least 8 are needed"):
            open_source(str(tmp_path))
        assert len(open_source(str(tmp_path), min_images=1).train) == 1

    @pytest.mark.parametrize("folders", [["train"], ["val", "test"]])
    def test_take_train_and_another(self, tmp_path, folders):
        for split in folders:
            class_tree(tmp_path / split, {"a": 6, "b": 5})
        source = open_source(str(tmp_path))
        assert source.test is None
        assert len(source.train) == 11 * len(folders)

    def test_may_have_different_classes(self, tmp_path):
        class_tree(tmp_path / "train", {"a": 6, "b": 5})
        class_tree(tmp_path / "test", {"b": 2, "c": 3})
        source = open_source(str(tmp_path))
        assert source.train.class_names == ["a", "b"]
        assert source.test.class_names == ["b", "c"]
        assert source.test.labels.tolist() == [0, 0, 1, 1, 1]  # numbers of its own

    def test_may_have_labels_in_one_split_only(self, tmp_path):
        class_tree(tmp_path / "train", {"a": 6, "b": 5})
        class_tree(tmp_path, {"val": 4})
        source = open_source(str(tmp_path))
        assert source.train.labels is not None
        assert source.test.labels is None

    def test_unreadable_files_of_both_are_listed(self, tmp_path):
        for split in ("train", "test"):
            class_tree(tmp_path / split, {"a": 20, "b": 20})
            (tmp_path / split / "a" / "x.png").write_bytes(b"")
        source = open_source(str(tmp_path))
        assert sorted(source.unreadable) == ["test/a/x.png", "train/a/x.png"]

    def test_readable_files_of_both_are_counted(self, tmp_path):
        class_tree(tmp_path / "train", {"a": 10, "b": 10})
        class_tree(tmp_path / "test", {"a": 20, "b": 20})
        for i in range(3):
            (tmp_path / "test" / "a" / f"x{i}.png").write_bytes(b"")
        assert len(open_source(str(tmp_path)).unreadable) == 3  # of 63, below 5 %


class TestTooMuchIsWrong:
    def test_too_many_bad_files_stop_and_are_listed(self, tmp_path):
        class_tree(tmp_path, {"a": 20})
        (tmp_path / "a" / "empty.jpg").write_bytes(b"")
        (tmp_path / "a" / "text.jpg").write_text("text")
        with pytest.raises(DataError) as caught:
            open_source(str(tmp_path))
        message = str(caught.value)
        assert message.startswith("2 of 22 image files cannot be read (9.1%; the limit")
        assert "--max-bad-fraction is 5.0%" in message
        assert "  a/empty.jpg: the file is empty" in message
        assert "  a/text.jpg: cannot identify image file 'text.jpg'" in message
        assert len(open_source(str(tmp_path), max_bad_fraction=0.1).train) == 20

    def test_long_lists_are_cut(self, tmp_path):
        for i in range(50):
            (tmp_path / f"{i:02d}.jpg").write_bytes(b"")
        with pytest.raises(DataError) as caught:
            open_source(str(tmp_path))
        assert "  19.jpg: the file is empty\n  ... and 30 more" in str(caught.value)
        assert "  20.jpg" not in str(caught.value)

    def test_fewer_than_8_images(self, tmp_path):
        class_tree(tmp_path, {"a": 7})
        (tmp_path / "x.heic").write_bytes(b"")
        with pytest.raises(DataError, match="holds 7 readable images; at least 8") as caught:
            open_source(str(tmp_path))
        assert "quarterturn[heic]" in str(caught.value)
        save_photo(tmp_path / "a" / "8.png", 8)
        assert len(open_source(str(tmp_path)).train) == 8

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("", "holds 0 readable images"),
            ("photo.png", "expected a folder of images"),
            ("nothing here", "no data at .*nothing here"),
            ("nothing.npz", "no file .*nothing.npz"),
            ("digit", "no data at .*digit"),
        ],
    )
    def test_what_is_no_source_is_refused(self, tmp_path, name, words):
        if name == "photo.png":
            save_photo(tmp_path / name, 0)
        with pytest.raises(DataError, match=words):
            open_source(str(tmp_path / name))


class TestNpz:
    def write(self, path: Path, **arrays: np.ndarray) -> str:
        np.savez(path / "set.npz", **arrays)
        return str(path / "set.npz")

    def test_rgb_with_all_splits(self, tmp_path):
        images = {
            split: noise(i, 9 + i, 6, 7, 3) for i, split in enumerate(["train", "val", "test"])
        }
        data = self.write(
            tmp_path,
            **{f"{split}_images": pixels for split, pixels in images.items()},
            **{
                f"{split}_labels": np.arange(len(pixels))[:, None].astype(np.uint8) % 4
                for split, pixels in images.items()
            },
        )
        source = open_source(data)
        assert source.name == "set"
        assert source.test_name == "test"
        np.testing.assert_array_equal(source.train.pixels, images["train"])
        np.testing.assert_array_equal(source.test.pixels, images["test"])
        assert source.train.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
        assert source.train.labels.dtype == np.int64
        assert source.train.class_names == ["0", "1", "2", "3"]
        assert source.train.names[:2] == ["train[0]", "train[1]"]
        assert source.train.sizes.tolist() == [[6, 7]] * 9
        np.testing.assert_array_equal(np.asarray(source.train.read(3)), images["train"][3])

    def test_grey_without_labels(self, tmp_path):
        grey = noise(0, 8, 5, 5)
        source = open_source(self.write(tmp_path, train_images=grey, val_images=grey[:2]))
        assert source.test_name == "val"
        np.testing.assert_array_equal(source.train.pixels, np.stack([grey] * 3, axis=3))
        assert source.train.labels is None
        assert source.train.class_names == []

    def test_flat_labels_and_classes_of_another_split(self, tmp_path):
        source = open_source(
            self.write(
                tmp_path,
                train_images=noise(0, 8, 5, 5),
                train_labels=np.zeros(8, int),
                test_images=noise(0, 3, 5, 5),
                test_labels=np.array([0, 2, 1]),
            )
        )
        assert source.train.class_names == source.test.class_names == ["0", "1", "2"]
        assert source.test.labels.tolist() == [0, 2, 1]

    @pytest.mark.parametrize(
        ("images", "found"),
        [
            (np.zeros((8, 5, 5), np.float32), "float32 (8, 5, 5)"),
            (np.zeros((8, 3, 5, 5), np.uint8), "uint8 (8, 3, 5, 5)"),
            (np.zeros((8, 5, 5, 4), np.uint8), "uint8 (8, 5, 5, 4)"),
            (np.zeros((8, 25), np.uint8), "uint8 (8, 25)"),
        ],
        ids=["float", "channels-first", "rgba", "flat"],
    )
    def test_other_images_are_refused(self, tmp_path, images, found):
        with pytest.raises(DataError, match="train_images is") as caught:
            open_source(self.write(tmp_path, train_images=images))
        assert found in str(caught.value)
        assert "expected uint8 (N, H, W) or (N, H, W, 3)" in str(caught.value)

    @pytest.mark.parametrize(
        "labels",
        [
            np.zeros(7, int),
            np.zeros(8),
            np.array(["cat"] * 8),
            np.full(8, -1),
        ],
        ids=["too-few", "float", "text", "negative"],
    )
    def test_other_labels_are_refused(self, tmp_path, labels):
        with pytest.raises(DataError, match="expected an integer of 0 or more for each"):
            open_source(self.write(tmp_path, train_images=noise(0, 8, 5, 5), train_labels=labels))

    def test_several_labels_per_image_count_as_none(self, tmp_path):
        """As in MedMNIST's ChestMNIST: whoever reads no labels must not be stopped by them."""
        labels = np.zeros((8, 14), int)
        source = open_source(
            self.write(tmp_path, train_images=noise(0, 8, 5, 5), train_labels=labels)
        )
        assert source.train.labels is None

    def test_without_train_images(self, tmp_path):
        data = self.write(tmp_path, images=noise(0, 8, 5, 5), labels=np.zeros(8))
        with pytest.raises(DataError, match="has no train_images; it has images, labels"):
            open_source(data)

    def test_too_few(self, tmp_path):
        with pytest.raises(DataError, match="holds 7 readable images"):
            open_source(self.write(tmp_path, train_images=noise(0, 7, 5, 5)))

    def test_pickled_objects_are_refused(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return (os.mkdir, (str(tmp_path / "sprung"),))

        objects = np.empty(1, dtype=object)
        objects[0] = Trap()
        data = self.write(tmp_path, train_images=noise(0, 8, 5, 5), extra=objects)
        assert len(open_source(data).train) == 8  # other arrays are not opened
        data = self.write(tmp_path, train_images=noise(0, 8, 5, 5), train_labels=objects)
        with pytest.raises(DataError, match=r"not a readable .* Python objects, which are never"):
            open_source(data)
        assert not (tmp_path / "sprung").exists()

    def test_damaged_files(self, tmp_path):
        data = Path(self.write(tmp_path, train_images=noise(0, 8, 5, 5)))
        np.savez_compressed(data, train_images=np.zeros((50, 9, 9), np.uint8))
        whole = data.read_bytes()
        single = tmp_path / "single"
        with single.open("wb") as file:
            np.save(file, noise(0, 8, 5, 5))
        for damaged in (
            b"",
            b"text",
            whole[:100],
            whole[:60] + bytes(8) + whole[68:],
            single.read_bytes(),
        ):
            data.write_bytes(damaged)
            with pytest.raises(DataError, match=r"set\.npz is not a readable \.npz file"):
                open_source(str(data))


class TestDigits:
    def test_split(self):
        source = open_source("digits")
        assert (len(source.train), len(source.test)) == (1347, 450)
        assert not set(source.train.names) & set(source.test.names)
        assert source.train.pixels.shape == (1347, 8, 8, 3)
        assert source.train.pixels.max() == 255
        whole = np.bincount(np.concatenate([source.train.labels, source.test.labels]))
        assert np.abs(np.bincount(source.test.labels) - whole / 4).max() < 1
        again = open_source("digits")
        assert again.train.names == source.train.names
        assert again.train.fingerprint() == source.train.fingerprint()


class TestFingerprint:
    def test_of_files(self, tmp_path):
        root = class_tree(tmp_path / "root", {"a": 6, "b": 6})

        def fingerprint(path: Path = root) -> str:
            return open_source(str(path)).train.fingerprint()

        first = fingerprint()
        assert fingerprint() == first
        os.utime(root / "a" / "000.png", (1, 1))
        (root / "a" / "notes.txt").write_text("not an image")
        shutil.copytree(root, tmp_path / "copy")
        assert fingerprint() == fingerprint(tmp_path / "copy") == first
        added = save_photo(root / "a" / "zzz.png", 99)
        assert fingerprint() != first
        added.unlink()
        assert fingerprint() == first
        with (root / "b" / "003.png").open("ab") as file:
            file.write(b"\0")
        assert fingerprint() != first

    def test_names_count(self, tmp_path):
        root = class_tree(tmp_path, {"a": 6, "b": 6})
        first = open_source(str(root)).train.fingerprint()
        (root / "a" / "000.png").rename(root / "a" / "x.png")
        assert open_source(str(root)).train.fingerprint() != first

    def test_of_arrays(self):
        pixels = noise(0, 9, 4, 6, 3)
        first = ArrayImages(pixels, list("abcdefghi")).fingerprint()
        assert ArrayImages(pixels.copy(), list("ABCDEFGHI"), np.zeros(9)).fingerprint() == first
        assert ArrayImages(pixels.reshape(9, 6, 4, 3), list("abcdefghi")).fingerprint() != first
        one = pixels.copy()
        one[8, 3, 5, 2] ^= 1
        assert ArrayImages(one, list("abcdefghi")).fingerprint() != first


def test_names_that_are_not_utf8_survive(tmp_path):
    class_tree(tmp_path, {"a": 8})
    name = b"caf\xe9.png"
    try:
        shutil.copy(tmp_path / "a" / "003.png", os.fsencode(tmp_path / "a") + b"/" + name)
    except OSError:
        pytest.skip("the file system takes UTF-8 names alone")
    train = open_source(str(tmp_path)).train
    (index,) = [i for i, n in enumerate(train.names) if os.fsencode(n) == b"a/" + name]
    np.testing.assert_array_equal(np.asarray(train.read(index)), np.asarray(train.read(3)))
    assert len(train.fingerprint()) == 16
