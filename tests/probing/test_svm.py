"""Linear SVMs on images with several labels each, and the protocols of Goyal et al. (ICCV 2019)."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from quarterturn import ConfigError, DataError, average_precision, compare, probe
from quarterturn.cli import main
from quarterturn.data.crop_plans import squashed
from quarterturn.data.label_sets import PRESENT
from quarterturn.data.sources import open_source
from quarterturn.features.extraction import extract_parts
from quarterturn.presets.svm import SVM_PROTOCOLS, SvmProtocol, voc07_svm, voc07_svm_lowshot
from quarterturn.probing.svm import chosen_cost, expected_warnings, fitted_svm, unit_rows
from quarterturn.probing.svm_probe import low_shot_rows
from quarterturn.runs import Run
from quarterturn.runs.record_files import read_record
from quarterturn.runs.records import ProbeResult
from tests.fixtures.runs import write_run


@pytest.fixture
def examples(rng) -> tuple[np.ndarray, np.ndarray]:
    """60 rows of 12 features, of which a third have the class, with some overlap."""
    present = np.arange(60) % 3 == 0
    rows = rng.normal(size=(60, 12)) + 0.8 * present[:, None]
    return unit_rows(rows.astype(np.float32)), present


def test_constants_are_those_of_the_paper():
    whole, low_shot = voc07_svm(), voc07_svm_lowshot()
    assert whole.costs == (0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000)
    assert (whole.folds, whole.positive_weight, whole.max_iterations) == (3, 2.0, 2000)
    assert whole.shots == ()
    assert low_shot.shots == (1, 2, 4, 8, 16, 32, 64, 96)
    assert (low_shot.negatives_per_positive, low_shot.draws) == (19, 5)


def test_rows_are_divided_by_their_length_in_double_precision(rng):
    values = rng.normal(size=(5, 7)).astype(np.float32)
    values[2] = 0
    rows = unit_rows(values)
    assert rows.dtype == np.float64
    expected = [row / (np.sqrt((row.astype(float) ** 2).sum()) + 1e-5) for row in values]
    np.testing.assert_allclose(rows, expected, rtol=1e-12)
    assert not rows[2].any()


def test_an_svm_is_scikit_learns(examples):
    rows, present = examples
    with expected_warnings():
        found = fitted_svm(rows, present, 5, voc07_svm(), seed=1)
        expected = LinearSVC(
            C=5,
            class_weight={True: 2, False: 1},
            loss="squared_hinge",
            penalty="l2",
            dual=True,
            tol=1e-4,
            max_iter=2000,
            random_state=1,
        ).fit(rows, present)
    np.testing.assert_array_equal(found.decision_function(rows), expected.decision_function(rows))


def test_the_cost_is_the_best_of_three_training_folds(examples):
    rows, present = examples
    protocol = voc07_svm()
    with expected_warnings():
        found = chosen_cost(rows, present, "cat", protocol, seed=0)
        precision = [
            cross_val_score(
                LinearSVC(
                    C=cost, class_weight={1: 2, 0: 1}, dual=True, max_iter=2000, random_state=0
                ),
                rows,
                present.astype(int),
                cv=3,
                scoring="average_precision",
            ).mean()
            for cost in protocol.costs
        ]
    assert found == protocol.costs[int(np.argmax(precision))]
    assert max(precision) > min(precision)  # there was something to choose


def test_few_images_choose_as_far_as_they_can(examples):
    rows, _ = examples
    for number, costs in ((1, {1.0}), (2, set(voc07_svm().costs))):
        present = np.arange(60) < number
        with expected_warnings():
            assert chosen_cost(rows, present, "cat", voc07_svm(), seed=0) in costs


def test_a_fold_without_negatives_is_an_error(examples):
    rows, _ = examples
    present = np.arange(60) > 0
    with expected_warnings(), pytest.raises(DataError, match="have the class cat: of 60 images 1 "):
        chosen_cost(rows, present, "cat", voc07_svm(), seed=0)
    present[1] = False
    with expected_warnings():
        assert chosen_cost(rows, present, "cat", voc07_svm(), seed=0) in voc07_svm().costs


def test_draws_are_nested_and_of_their_sizes(rng):
    present = rng.random((200, 3)) < [0.2, 0.5, 0.95]
    indices = rng.permutation(1000)[:200]
    draws = {k: low_shot_rows(present, indices, k, 19, seed=3, number=1) for k in (1, 4, 16)}
    for k, of_classes in draws.items():
        for c, rows in enumerate(of_classes):
            without = min(19 * k, int((~present[:, c]).sum()))
            assert len(set(rows)) == len(rows) == k + without
            assert present[rows[:k], c].all()
            assert not present[rows[k:], c].any()
    for c in range(3):
        assert set(draws[1][c]) < set(draws[4][c]) < set(draws[16][c])
    other = low_shot_rows(present, indices, 16, 19, seed=3, number=2)
    assert set(other[0]) != set(draws[16][0])
    order = rng.permutation(200)  # a draw is of images, not of places
    moved = low_shot_rows(present[order], indices[order], 4, 19, seed=3, number=1)
    for c in range(3):
        assert set(indices[order][moved[c]]) == set(indices[draws[4][c]])


def test_whole_images_are_squashed():
    crops = squashed(2).crops(np.array([[36, 48], [50, 20]]))
    assert crops.boxes.tolist() == [[0, 0, 36, 48], [0, 0, 50, 20]]
    assert not crops.flips.any()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small network that nobody has trained."""
    return write_run(tmp_path_factory.mktemp("svm") / "run", image_size=16, num_noise=16)


@pytest.fixture(scope="module")
def result(run: Run, voc_tree: Path) -> ProbeResult:
    """What ``voc07-svm`` writes about the last layer."""
    layers = run.load_network().backbone.layers
    words = ["--preset", "voc07-svm", "--layers", layers[-1], "--no-untrained"]
    device = ["--device", "cpu", "--workers", "0"]
    assert main(["probe", str(run.path), f"voc:{voc_tree}", *words, *device]) == 0
    (file,) = (run.path / "probes").glob("*voc07-svm-*.json")
    return read_record(file, ProbeResult)


def test_svms_of_a_tree_end_to_end(run: Run, voc_tree: Path, result: ProbeResult):
    found = result
    assert found.protocol["rule"] == "envelope"
    assert found.protocol["cost_chosen_on"] == "training folds"
    assert {score.part for score in found.scores} == {"rotation", "invariant", "both"}
    score = found.score("trained", "both", "svm")
    metrics = score.repeats[0]
    assert list(metrics["per_class"]) == list(metrics["costs"]) == ["blue", "green", "red"]
    # The same by hand: features of squashed images, one SVM per class with the cost it says.
    source = open_source(f"voc:{voc_tree}")
    network, crop = run.load_network().eval(), run.config.data

    def features(images):
        def whole(pixels):
            return {"whole": network.backbone(pixels)}

        return unit_rows(extract_parts(images, crop, whole, view=squashed)["whole"].values)

    train, test = features(source.train), features(source.test)
    for c, name in enumerate(source.train.class_names):
        with expected_warnings():
            svm = fitted_svm(
                train,
                source.train.label_sets[:, c] == PRESENT,
                metrics["costs"][name],
                voc07_svm(),
                seed=0,
            )
        expected = average_precision(
            svm.decision_function(test), source.test.label_sets[:, c], rule="envelope"
        )
        assert metrics["per_class"][name] == pytest.approx(expected, abs=1e-9)
    assert metrics["mean_ap"] > np.mean([*metrics["prevalence"].values()]) + 0.1
    page = (run.path / "report.html").read_text()
    assert "under the envelope" in page
    assert "guessing gives" in page


@pytest.mark.parametrize("protocol", ["training-folds", "paper"])
def test_low_shot_curves_by_folds_and_by_the_test(run: Run, voc_tree: Path, protocol, monkeypatch):
    short = SvmProtocol(costs=(0.1, 10), shots=(1, 4, 90), draws=2)
    monkeypatch.setitem(SVM_PROTOCOLS, "voc07-svm-lowshot", lambda: short)
    found = probe(
        run.path,
        f"voc:{voc_tree}",
        preset="voc07-svm-lowshot",
        protocol=protocol,
        untrained=False,
        device="cpu",
        workers=2,
    )
    assert {score.classifier for score in found.scores} == {"few-shot-1", "few-shot-4"}
    assert "K = 90: the class" in found.left_out
    assert all(len(score.repeats) == 2 for score in found.scores)
    page = (run.path / "report.html").read_text()
    costs = {
        score.classifier: [{*metrics["costs"].values()} for metrics in score.repeats]
        for score in found.scores
    }
    if protocol == "paper":
        assert found.protocol["cost_chosen_on"] == "test images"
        assert all(len(of_draw) == 1 for of_shots in costs.values() for of_draw in of_shots)
        assert "chosen on the test images themselves" in page
    else:
        assert costs["few-shot-1"] == [{1.0}, {1.0}]
        assert costs["few-shot-4"][0] <= {0.1, 10}
    assert "19 K without it" in page


@pytest.mark.usefixtures("result")
def test_results_compare(run: Run, tmp_path):
    found = compare([run.path], out=tmp_path / "compared.html", mixed=True)
    assert {name for score in found.scores for name in score.measures} == {"mean_ap", "worst_class"}


def test_one_label_per_image_is_refused(run: Run, photos: Path):
    with pytest.raises(ConfigError, match="voc07-svm is for images with several labels each"):
        probe(run.path, photos, preset="voc07-svm", device="cpu")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "voc07-svm", "--epochs", "3"], "whose settings are fixed: --epochs"),
        (["--preset", "voc07-svm", "--grid", "2"], "--grid 2 is for classifiers that are fitted"),
        (["--preset", "voc07-svn"], "voc07-svm"),
        (["--protocol", "paper"], "--protocol paper is for --preset voc07-svm and"),
    ],
)
def test_options_that_do_not_fit_are_refused(run: Run, voc_tree: Path, words, message, capsys):
    assert main(["probe", str(run.path), f"voc:{voc_tree}", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
