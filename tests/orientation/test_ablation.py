import numpy as np
import pytest
import torch

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ArrayImages
from quarterturn.orientation.ablation import gather_table, list_variants
from quarterturn.orientation.networks import FoldOutcome
from quarterturn.orientation.temperature import fit_temperature

from ..data.pictures import noise

FLIPPED, PLAIN = DataConfig(flip=True), DataConfig(flip=False)


def logits(seed: int, n: int, views: int, sure: float = 2.0) -> torch.Tensor:
    drawn = torch.randn(n, views, 4, 4, generator=torch.Generator().manual_seed(seed))
    return sure * (drawn + torch.eye(4))


def outcome(numbers: list[int], seen: list[int], views: int, sure: float) -> FoldOutcome:
    seed = numbers[0]
    return FoldOutcome(
        np.array(numbers),
        logits(seed, len(numbers), views, sure),
        logits(seed + 100, len(numbers), 1, sure),
        logits(seed + 200, 40, views, sure),
        np.array(seen),
        logits(seed + 300, len(seen), 1, sure),
        epoch=3,
    )


def outcomes_of(views: int) -> list[FoldOutcome]:
    """Three folds of twelve images; number 4 could not be read, and each fold is as sure as not."""
    return [
        outcome([7, 2, 11], [0, 1, 5], views, sure=1.0),
        outcome([1, 9, 0], [2, 3, 4, 11], views, sure=3.0),
        outcome([3, 10, 8, 6, 5], [1, 2], views, sure=0.5),
    ]


@pytest.fixture
def images() -> ArrayImages:
    return ArrayImages(noise(0, 12, 2, 2, 3), [f"image {i}" for i in range(12)])


def pooled(outcomes: list[FoldOutcome], views: list[int]) -> torch.Tensor:
    """The validation logits of all folds."""
    return torch.cat([o.validation_logits[:, views] for o in outcomes])


def of_views(logits: torch.Tensor, temperature: float) -> np.ndarray:
    """(V, 4, 4) softmax in double precision."""
    powers = np.exp(logits.double().numpy() / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


def entropy(probabilities: np.ndarray) -> float:
    """Mean over the copies, over log 4: (4, 4) to a number."""
    return float(-(probabilities * np.log(probabilities)).sum(axis=-1).mean() / np.log(4))


class TestTable:
    @pytest.mark.parametrize("kind", ["centre crop is best", "all views are best"])
    def test_is_a_loop_over_folds_and_images(self, images, kind):
        outcomes = outcomes_of(5)
        if kind == "centre crop is best":
            for found in outcomes:
                found.validation_logits[:, 0] += 4 * torch.eye(4)
        table = gather_table(images, outcomes, PLAIN)
        assert list(table.names) == list(images.names)
        assert table.fingerprint == images.fingerprint()
        assert table.fold.tolist() == [1, 1, 0, 2, -1, 2, 2, 0, 2, 1, 2, 0]
        used = [0] if kind == "centre crop is best" else [0, 1, 2, 3, 4]
        temperature = fit_temperature(pooled(outcomes, used))
        for found in outcomes:
            for i, number in enumerate(found.numbers):
                views = of_views(found.logits[i, used], temperature)
                np.testing.assert_allclose(table.probabilities[number], views.mean(0), atol=1e-6)
                assert table.agnostic[number] == pytest.approx(
                    np.mean([entropy(view) for view in views]), abs=1e-6
                )
        assert table.probabilities.dtype == table.agnostic.dtype == np.float32
        assert table.fold.dtype == np.int64
        in_use = [v for v in list_variants(outcomes, PLAIN) if v.in_use]
        assert [v.name for v in in_use] == [NAMES["scaled" if len(used) == 1 else "crops"]]
        rows = table.probabilities[in_use[0].numbers]
        np.testing.assert_array_equal(rows, in_use[0].probabilities)

    def test_nothing_is_known_of_what_could_not_be_read(self, images):
        table = gather_table(images, outcomes_of(1), PLAIN)
        assert table.scored.tolist() == [0, 1, 2, 3, *range(5, 12)]
        assert (table.probabilities[4] == 0.25).all()
        assert table.agnostic[4] == 1
        assert table.fold[4] == -1

    def test_views_that_are_sure_of_different_things_are_not_agnostic(self, images):
        sure = 50 * torch.eye(4)
        views = torch.stack([sure, sure[[1, 2, 3, 0]]])[None]
        # The second view helps, so both are read.
        validation = torch.stack([torch.zeros(4, 4), sure]).expand(3, 2, 4, 4)
        found = outcome([4], [0], 2, sure=1.0)
        found = FoldOutcome(
            found.numbers,
            views,
            found.last_logits,
            validation,
            found.seen_numbers,
            found.seen_logits,
            1,
        )
        table = gather_table(images, [found], FLIPPED)
        assert table.agnostic[4] == pytest.approx(0, abs=1e-6)
        assert table.probabilities[4, 0].tolist() == pytest.approx([0.5, 0.5, 0, 0], abs=1e-6)

    def test_probabilities_stay_probabilities(self, images):
        # Of sums over ten views, some are a rounding above 1.
        found = outcome([4], [0], 10, sure=1.0)
        many = 12 * torch.eye(4) + 0.1 * logits(1, 500, 10)
        big = ArrayImages(noise(0, 500, 1, 1, 3), [str(i) for i in range(500)])
        found = FoldOutcome(
            np.arange(500),
            many,
            found.last_logits,
            found.validation_logits,
            found.seen_numbers,
            found.seen_logits,
            1,
        )
        table = gather_table(big, [found], FLIPPED)
        assert table.probabilities.min() >= 0
        assert table.probabilities.max() <= 1
        assert table.agnostic.min() >= 0
        np.testing.assert_allclose(table.probabilities.sum(-1), 1, atol=1e-6)


NAMES = {
    "last": "last epoch, centre crop",
    "stopped": "stopped early",
    "scaled": "temperature",
    "mirrored": "mirrored views",
    "crops": "five crops",
    "seen": "in fold: images seen in training",
    "unseen": "the same images out of fold",
}


class TestVariants:
    @pytest.mark.parametrize(
        ("views", "crop", "added"),
        [
            (1, PLAIN, []),
            (2, FLIPPED, ["mirrored"]),
            (5, PLAIN, ["crops"]),
            (10, FLIPPED, ["mirrored", "crops"]),
        ],
    )
    def test_each_adds_a_measure(self, views, crop, added):
        variants = list_variants(outcomes_of(views), crop)
        keys = ["last", "stopped", "scaled", *added, "seen", "unseen"]
        assert [variant.name for variant in variants] == [NAMES[key] for key in keys]

    def test_are_what_they_are_called(self):
        outcomes = outcomes_of(10)
        variants = {variant.name: variant for variant in list_variants(outcomes, FLIPPED)}
        held_out = [i for o in outcomes for i in o.numbers.tolist()]
        ways = {
            "last": ("last_logits", [0], None),
            "stopped": ("logits", [0], None),
            "scaled": ("logits", [0], [0]),
            "mirrored": ("logits", [0, 1], [0, 1]),
            "crops": ("logits", list(range(10)), list(range(10))),
            "seen": ("seen_logits", [0], [0]),
        }
        for key, (of, views, scaled_by) in ways.items():
            variant = variants[NAMES[key]]
            temperature = 1.0
            if scaled_by is not None:
                temperature = fit_temperature(pooled(outcomes, scaled_by))
            assert variant.temperature == pytest.approx(temperature)
            expected, agnostic = [], []
            for o in outcomes:
                for image in getattr(o, of)[:, views]:
                    probabilities = of_views(image, temperature)
                    expected.append(probabilities.mean(axis=0))
                    agnostic.append(np.mean([entropy(view) for view in probabilities]))
            np.testing.assert_allclose(variant.probabilities, np.stack(expected), atol=1e-6)
            np.testing.assert_allclose(variant.agnostic, agnostic, atol=1e-6)
            if key != "seen":
                assert variant.numbers.tolist() == held_out
        assert variants[NAMES["seen"]].numbers.tolist() == [0, 1, 5, 2, 3, 4, 11, 1, 2]

    def test_the_same_images_are_scored_in_and_out_of_fold(self):
        variants = {variant.name: variant for variant in list_variants(outcomes_of(5), PLAIN)}
        seen, unseen = variants[NAMES["seen"]], variants[NAMES["unseen"]]
        scaled = variants[NAMES["scaled"]]
        # Number 4 was seen by a network, but its own fold could not read it.
        assert unseen.numbers.tolist() == [i for i in seen.numbers.tolist() if i != 4]
        for row, number in enumerate(unseen.numbers):
            (place,) = np.flatnonzero(scaled.numbers == number)
            np.testing.assert_array_equal(unseen.probabilities[row], scaled.probabilities[place])
            assert unseen.agnostic[row] == scaled.agnostic[place]


def test_an_outcome_comes_back_from_its_file(tmp_path):
    written = outcomes_of(5)[1]
    written.write(tmp_path / "outcome.npz")
    read = FoldOutcome.read(tmp_path / "outcome.npz")
    for name, value in vars(written).items():
        found = getattr(read, name)
        assert type(found) is type(value), name
        if name != "epoch":
            assert found.dtype == value.dtype
            np.testing.assert_array_equal(np.asarray(found), np.asarray(value))
    assert read.epoch == 3
    assert [path.name for path in tmp_path.iterdir()] == ["outcome.npz"]
