import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler

from quarterturn.data.imageset import ArrayImages
from quarterturn.data.labelled import LabelledData
from quarterturn.data.sources import open_source
from quarterturn.errors import ConfigError, DataError
from quarterturn.probing.few_shot import (
    STRENGTHS,
    draw,
    few_shot_classifier,
    few_shot_protocol,
    usable_shots,
)

CLASSES = 4
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(CLASSES), [30, 12, 9, 40]))
INDICES = np.sort(np.random.default_rng(1).choice(200, len(LABELS), replace=False))


def drawn(shots: int, *, seed: int = 0, number: int = 0, order: np.ndarray | None = None):
    """Numbers of the images of a draw, in its order."""
    rows = np.arange(len(LABELS)) if order is None else order
    found = draw(LABELS[rows], INDICES[rows], shots, num_classes=CLASSES, seed=seed, number=number)
    return INDICES[rows][found]


class TestDraw:
    @pytest.mark.parametrize("shots", [1, 2, 9])
    def test_is_k_images_of_each_class_without_replacement(self, shots):
        found = drawn(shots)
        assert len(set(found.tolist())) == len(found) == shots * CLASSES
        label_of = dict(zip(INDICES.tolist(), LABELS.tolist(), strict=True))
        assert [label_of[i] for i in found.tolist()] == [*range(CLASSES)] * shots

    def test_a_larger_k_extends_the_draws_of_a_smaller_one(self):
        np.testing.assert_array_equal(drawn(9)[: 5 * CLASSES], drawn(5))

    def test_seeds_and_numbers_change_the_draw(self):
        draws = [drawn(5, seed=s, number=n) for s in (0, 1) for n in (0, 1)]
        assert len({frozenset(found.tolist()) for found in draws}) == 4

    def test_the_order_of_the_rows_does_not_matter(self):
        order = np.random.default_rng(2).permutation(len(LABELS))
        np.testing.assert_array_equal(drawn(5, order=order), drawn(5))

    def test_every_image_has_its_turn(self):
        """Each of the 9 images of a class is drawn for K = 3 in a third of the draws."""
        times = np.zeros(200)
        for number in range(300):
            times[drawn(3, number=number)] += 1
        of_class = times[INDICES[LABELS == 2]]
        # 100 each, with a deviation of 8.2
        assert of_class.sum() == 900
        assert np.abs(of_class - 100).max() < 5 * 8.2

    def test_too_few_that_could_be_read(self):
        with pytest.raises(DataError, match="only 9 training images of a class could be read"):
            drawn(10)


def task(shots: int, width: int, spread: float = 2.0, classes: int = CLASSES):
    random = np.random.default_rng(shots)
    labels = np.tile(np.arange(classes), shots)
    centres = random.normal(size=(classes, width))
    values = 3 + 10 * (centres[labels] + spread * random.normal(size=(len(labels), width)))
    return values.astype(np.float32), labels


class TestClassifier:
    @pytest.mark.parametrize(
        ("shots", "width", "num_fits"),
        [(2, 60, 2), (3, 60, 3), (8, 60, 5), (30, 200, 1), (30, 40, 1)],
    )
    def test_matches_the_best_strength_in_the_original_basis(self, shots, width, num_fits):
        """However many features there are, and however they are folded on the way."""
        values, labels = task(shots, width)
        fitted, strength = few_shot_classifier(values, labels)
        standard = StandardScaler().fit_transform(values.astype(np.float64))
        folds = [*StratifiedKFold(min(shots, 5)).split(standard, labels)][:num_fits]
        search = GridSearchCV(
            LogisticRegression(max_iter=5000, tol=1e-7), {"C": STRENGTHS}, cv=folds
        ).fit(standard, labels)
        assert strength == search.best_params_["C"]
        expected = search.best_estimator_.decision_function(standard)
        found = fitted.decision_function(values)
        assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()

    def test_the_data_decide_how_strong_the_penalty_is(self):
        easy = few_shot_classifier(*task(8, 60, spread=0.1))[1]
        assert easy == STRENGTHS[0]  # all are as good: the strongest
        values, labels = task(40, 3, spread=0.9)
        assert few_shot_classifier(values, labels)[1] > STRENGTHS[0]

    def test_one_image_of_each_class_is_spared_for_no_choice(self):
        values, labels = task(1, 20, spread=0.1)
        fitted, strength = few_shot_classifier(values, labels)
        assert strength == 1
        assert fitted.predict(values).tolist() == labels.tolist()

    def test_many_classes_of_one_image_are_no_regression(self):
        """Of which scikit-learn would warn; a warning is an error here."""
        classifier, _ = few_shot_classifier(np.eye(30, dtype=np.float32), np.arange(30))
        assert classifier.predict(np.eye(30)).tolist() == [*range(30)]

    def test_two_classes(self):
        values, labels = task(5, 30, spread=0.1, classes=2)
        fitted, _ = few_shot_classifier(values, labels)
        assert fitted.predict(values).tolist() == labels.tolist()

    def test_constant_features_are_borne(self):
        values, labels = task(5, 30, spread=0.1)
        dead = np.concatenate([values, np.full((len(values), 3), 7, np.float32)], axis=1)
        one, other = (few_shot_classifier(v, labels)[0] for v in (values, dead))
        np.testing.assert_allclose(
            one.decision_function(values), other.decision_function(dead), atol=1e-3
        )


@pytest.fixture
def split() -> LabelledData:
    """Classes of 20, 10 and 5 images, of which a fifth is held out."""
    labels = np.repeat([0, 1, 2], [20, 10, 5])
    pixels = np.random.default_rng(0).integers(0, 256, (35, 8, 8, 3)).astype(np.uint8)
    images = ArrayImages(pixels, [str(i) for i in range(35)], labels, ["a", "b", "c"])
    return LabelledData(images, None, "a part held out", open_source("digits"))


class TestShots:
    def test_count_only_if_every_class_has_enough(self, split):
        used, left_out = usable_shots(split, [0, 1], (5, 4, 1, 16, 4))
        assert used == (1, 4)
        assert left_out == "K = 5, 16: the class 'c' has 4 training images"

    def test_nothing_is_said_where_none_is_left_out(self, split):
        assert usable_shots(split, [0], (2,)) == ((2,), "")

    def test_none_that_every_class_has(self, split):
        with pytest.raises(ConfigError, match="--shots 5, 9: the class 'c' has 4 training images"):
            usable_shots(split, [0], (9, 5))

    def test_the_draws_depend_on_the_protocol_but_not_on_k(self, split):
        one, other = (few_shot_protocol(split, [0, 1], draws=d, grid=1) for d in (5, 6))
        assert (one["name"], one["draws"], other["draws"]) == ("few-shot", 5, 6)
        assert "shots" not in one
