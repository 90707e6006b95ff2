import numpy as np
import pytest

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.long_tail import long_tail_counts, long_tail_indices
from quarterturn.data.selection import select_images
from quarterturn.data.subsets import (
    cut_long_tail,
    limit_images,
)
from quarterturn.errors import DataError


class TestDiagnosticsImages:
    """``--diagnostics-images``: how many are held out at most, or measured on."""

    @pytest.fixture
    def data(self, tmp_path):
        pixels = np.zeros((3000, 8, 8, 3), np.uint8)
        pixels[:, 0, 0, 0] = np.arange(3000) % 256
        np.savez(tmp_path / "train.npz", train_images=pixels)
        np.savez(tmp_path / "both.npz", train_images=pixels[:20], test_images=pixels)
        return tmp_path

    @pytest.mark.parametrize(("most", "expected"), [(1000, 1000), (40, 40), ("all", 1500)])
    def test_bound_a_share_of_the_training_images(self, data, most, expected):
        settings = DataConfig(holdout=0.5, diagnostics_images=most)
        selection = select_images(str(data / "train.npz"), settings)
        assert (len(selection.held_out), len(selection.train)) == (expected, 3000 - expected)

    @pytest.mark.parametrize(("most", "expected"), [(1000, 1000), (40, 40), ("all", 3000)])
    def test_bound_the_test_split(self, data, most, expected):
        selection = select_images(str(data / "both.npz"), DataConfig(diagnostics_images=most))
        assert (len(selection.held_out), len(selection.train)) == (expected, 20)


class TestLongTail:
    @pytest.fixture
    def data(self, tmp_path) -> str:
        """4 classes of 100 images in no order, each image its own, and a balanced test split."""
        numbers = np.arange(480)
        pixels = np.stack([numbers % 256, numbers // 256, 0 * numbers], axis=1).astype(np.uint8)
        labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 120))
        np.savez(
            tmp_path / "set.npz",
            train_images=pixels[:400, None, None],
            train_labels=labels[:400],
            test_images=pixels[400:, None, None],
            test_labels=labels[400:],
        )
        return str(tmp_path / "set.npz")

    @pytest.mark.parametrize("kind", ["exponential", "step"])
    def test_keeps_the_images_in_their_order(self, data, kind):
        selection = select_images(data, DataConfig(long_tail=0.1, long_tail_kind=kind))
        whole = selection.source.train
        kept = np.sort(long_tail_indices(whole.labels, 0.1, kind))
        assert selection.train.names == [whole.names[i] for i in kept]
        np.testing.assert_array_equal(selection.train.pixels, whole.pixels[kept])
        assert len(kept) < 400
        assert len(whole) == 400

    def test_leaves_held_out_images_untouched(self, data):
        cut, plain = (select_images(data, DataConfig(long_tail=t)) for t in (0.1, None))
        assert cut.held_out.names == plain.held_out.names
        assert len(cut.held_out) == 80

    def test_comes_before_the_limit(self, data):
        cut = select_images(data, DataConfig(long_tail=0.1))
        few = select_images(data, DataConfig(long_tail=0.1, limit=50))
        assert few.train.names == limit_images(cut.train, 50).names
        assert few.labels_read == cut.labels_read

    def test_says_that_labels_were_read(self, data):
        assert select_images(data, DataConfig()).labels_read == ""
        images = ArrayImages(
            np.zeros((400, 1, 1, 3), np.uint8),
            [str(i) for i in range(400)],
            np.arange(400) % 4,
            list("abcd"),
        )
        kept, words = cut_long_tail(images, 0.001, "exponential")
        assert np.bincount(kept.labels, minlength=4).tolist() == [100, 10, 1, 0]
        assert long_tail_counts(100, 4, 0.001) == [100, 10, 1, 0]
        assert words == (
            "labels were read to cut a long tail (exponential, 0.001): 111 of 400 images, "
            "100 to 0 per class"
        )

    def test_needs_labels(self, tmp_path):
        np.savez(tmp_path / "x.npz", train_images=np.zeros((9, 1, 1), np.uint8))
        with pytest.raises(DataError, match=r"--long-tail 0\.1 reads labels, and these .* none"):
            select_images(str(tmp_path / "x.npz"), DataConfig(long_tail=0.1))

    def test_that_leaves_too_few(self, tmp_path):
        np.savez(
            tmp_path / "x.npz",
            train_images=np.zeros((12, 1, 1), np.uint8),
            train_labels=np.arange(12) % 2,
        )
        with pytest.raises(DataError, match=r"--long-tail 0\.1 leaves 6 training images"):
            select_images(str(tmp_path / "x.npz"), DataConfig(long_tail=0.1))


class TestChosen:
    @pytest.mark.parametrize(("limit", "long_tail"), [(None, None), (60, None), (60, 0.5)])
    def test_is_what_is_left_before_any_are_held_out(self, tmp_path, limit, long_tail):
        np.savez(
            tmp_path / "set.npz",
            train_images=np.arange(200, dtype=np.uint8)[:, None, None],
            train_labels=np.arange(200) % 2,
        )
        settings = DataConfig(limit=limit, long_tail=long_tail, holdout=0.2)
        selection = select_images(str(tmp_path / "set.npz"), settings)
        assert len(selection.chosen) == (limit or 200)
        assert len(selection.held_out) == len(selection.chosen) // 5
        both = {*selection.train.names, *selection.held_out.names}
        assert both == set(selection.chosen.names)
        assert list(selection.chosen.names) == sorted(
            both, key=list(selection.source.train.names).index
        )
        # What is held out does not change it.
        whole = select_images(
            str(tmp_path / "set.npz"), DataConfig(limit=limit, long_tail=long_tail, holdout=0.0)
        )
        assert whole.chosen.fingerprint() == selection.chosen.fingerprint()

    def test_keeps_all_training_images_where_a_test_split_exists(self, tmp_path):
        pixels = np.zeros((20, 2, 2), np.uint8)
        np.savez(tmp_path / "set.npz", train_images=pixels, test_images=pixels)
        selection = select_images(str(tmp_path / "set.npz"), DataConfig(limit=15))
        assert selection.chosen is selection.train
        assert len(selection.chosen) == 15
