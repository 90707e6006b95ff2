"""Images with several labels each, from the data to the page of their classifier."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from quarterturn import ConfigError, DataError, compare, finetune, load_backbone, predict, probe
from quarterturn.classifying.finetune import resume_finetune
from quarterturn.cli import main
from quarterturn.data.labelled import open_labelled
from quarterturn.data.sources import open_source
from quarterturn.data.train_test_split import TrainTestSplit
from quarterturn.runs import Run

QUICK = {"backbone": "convnet", "image_size": 16, "eval_crop": 1.0, "device": "cpu"}
CLASSES = ["blue", "green", "red"]


@pytest.fixture(scope="module")
def run(voc_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classifier of three colours, tested twice."""
    out = tmp_path_factory.mktemp("runs") / "colours"
    (made,) = finetune(
        f"voc:{voc_tree}",
        out=out,
        epochs=30,
        batch_size=16,
        crop_scale=(0.9, 1.0),
        learning_rate=3e-3,
        diagnostics_every=15,
        **QUICK,
    )
    return made


@pytest.fixture(scope="module")
def manifest(voc_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images and labels as a manifest, without a test split."""
    source = open_source(f"voc:{voc_tree}")
    rows = []
    for images in (source.train, source.test):
        for name, row in zip(images.names, images.label_sets, strict=True):
            labels = "|".join(c for c, value in zip(CLASSES, row, strict=True) if value)
            rows.append(f"{voc_tree / 'JPEGImages' / name},{labels or '|'}\n")
    file = tmp_path_factory.mktemp("manifest") / "colours.csv"
    file.write_text("path,label\n" + "".join(rows))
    return file


def test_every_figure_is_an_average_precision(run: Run):
    found = run.read_json("results.json")
    figures = found["figures"]
    by_class = figures["per_class"]
    assert list(by_class) == CLASSES
    assert figures["mean_ap"] == pytest.approx(np.mean([*by_class.values()]))
    assert figures["worst_class"] == min(by_class.values())
    chance = np.mean([*figures["prevalence"].values()])
    assert 0.3 < chance < 0.7
    assert figures["mean_ap"] > chance + 0.2  # colours are easy
    assert figures["n"] == 24
    assert "top1" not in figures
    assert found["class_counts"] == (open_source(run.data).train.label_sets == 1).sum(0).tolist()
    assert run.config.method.loss == "sigmoid"
    evaluated = run.read_metrics("evaluation")
    assert [line["epoch"] for line in evaluated] == [15, 30]
    assert evaluated[-1]["mean_ap"] == figures["mean_ap"]


def test_the_page_shows_precision_and_chance(run: Run):
    page = (run.path / "report.html").read_text()
    for words in ("mAP", "prevalence", "Average precision by class", "guessing gives"):
        assert words in page, words
    assert "Confusion" not in page


def test_predicted_labels_are_those_more_probable_than_not(run: Run, voc_tree: Path, tmp_path):
    file = predict(run.path, f"voc:{voc_tree}", out=tmp_path / "labels.csv", device="cpu")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == 72
    model = load_backbone(run.path)
    truth = {}
    for images in open_source(f"voc:{voc_tree}").all_splits.values():
        truth |= dict(zip(images.names, images.label_sets, strict=True))
    right = 0
    for row in rows:
        probability = {row[f"label{i}"]: float(row[f"probability{i}"]) for i in ("", "_2", "_3")}
        said = set(row["labels"].split("|")) - {""}
        assert said == {name for name, value in probability.items() if value >= 0.5}
        right += sum((name in said) == truth[row["name"]][c] for c, name in enumerate(CLASSES))
    assert right / (3 * 72) > 0.7
    image = model.transform(voc_tree / "JPEGImages" / rows[0]["name"])
    probabilities = dict(zip(CLASSES, model.classify(image[None])[0].tolist(), strict=True))
    assert probabilities[rows[0]["label"]] == pytest.approx(float(rows[0]["probability"]), abs=1e-4)


def test_a_finished_run_resumes_to_itself(run: Run):
    before = (run.path / "results.json").read_bytes()
    resume_finetune(run.path)
    assert (run.path / "results.json").read_bytes() == before


def test_linear_probe_reads_the_labels(run: Run, voc_tree: Path, terminal):
    found = probe(run.path, f"voc:{voc_tree}", device="cpu", seeds=2, untrained=False)
    assert {score.classifier for score in found.scores} == {"linear"}
    score = found.score("trained", "whole", "linear")
    assert score.measures["mean_ap"].mean > 0.8
    assert [metrics["n"] for metrics in score.repeats] == [24, 24]
    assert "knn" in found.left_out
    shown = terminal.readouterr().out
    assert "left out: knn" in " ".join(shown.split())
    compared = compare([run.path], out=run.path.parent / "compared.html", mixed=True)
    measures = {name for score in compared.scores for name in score.measures}
    assert measures == {"mean_ap", "worst_class"}
    assert "mean average precision" in (run.path.parent / "compared.html").read_text()


def test_a_manifest_separates_labels(manifest: Path, voc_tree: Path):
    images = open_source(str(manifest)).train
    source = open_source(f"voc:{voc_tree}")
    assert images.class_names == CLASSES
    expected = np.concatenate([source.train.label_sets, source.test.label_sets])
    np.testing.assert_array_equal(images.label_sets, expected)
    assert not images.label_sets.any(axis=1).all()  # some have none of the classes
    split = open_labelled(str(manifest), several_labels=True)
    parts = [split.parts(seed) for seed in (0, 0, 1)]
    train, test = parts[0]
    assert (len(train), len(test)) == (58, 14)
    assert set(train) | set(test) == set(range(72))
    np.testing.assert_array_equal(train, parts[1][0])
    assert set(parts[0][1]) != set(parts[2][1])
    assert "a random 20% held out" in split.description


def test_an_empty_cell_is_not_none_of_the_classes(tmp_path, voc_tree: Path):
    names = sorted((voc_tree / "JPEGImages").iterdir())[:9]
    cells = ["red|blue", "", *["red"] * 7]
    lines = [f"{name},{cell}\n" for name, cell in zip(names, cells, strict=True)]
    (tmp_path / "few.csv").write_text("path,label\n" + "".join(lines))
    train = open_labelled(str(tmp_path / "few.csv"), several_labels=True).train
    assert train.label_sets.tolist() == [[1, 1], *[[0, 1]] * 7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "ldam"}, "--loss ldam is for images with one label each"),
        ({"reweight": "drw"}, "--reweight drw is for images with one"),
        ({"resample": "balanced"}, "--resample balanced is for images"),
        ({"post_hoc_adjustment": 1.0}, "--post-hoc-adjustment 1.0 is for"),
        ({"leave_out_empty": True}, "--leave-out-empty True is for"),
    ],
)
def test_what_needs_one_label_is_refused(voc_tree: Path, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        finetune(f"voc:{voc_tree}", out=tmp_path / "run", epochs=1, **QUICK, **options)
    assert not (tmp_path / "run").exists()


def test_sigmoids_are_refused_for_one_label(photos: Path, tmp_path):
    with pytest.raises(ConfigError, match="--loss sigmoid is for images with several labels"):
        finetune(photos, out=tmp_path / "run", epochs=1, loss="sigmoid", **QUICK)


@pytest.mark.parametrize("kind", ["knn", "fewshot", "nonlinear"])
def test_other_probes_say_what_takes_several_labels(run: Run, voc_tree: Path, kind, capsys):
    assert main(["probe", str(run.path), f"voc:{voc_tree}", "--kind", kind]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "has several labels per image; expected one" in error
    assert "Traceback" not in error


def test_a_class_in_every_image_or_none_is_refused(voc_tree: Path):
    split = open_labelled(f"voc:{voc_tree}", several_labels=True)
    whole = split.train.label_sets.copy()
    for value, words in ((1, "every training image has the class green"), (0, "no training image")):
        split.train.label_sets[:, 1] = value
        with pytest.raises(DataError, match=words):
            TrainTestSplit.of(split, 0)
    split.train.label_sets[:] = whole
    assert len(TrainTestSplit.of(split, 0).train) == 48


def test_several_seeds_have_a_mean(voc_tree: Path, tmp_path):
    runs = finetune(
        f"voc:{voc_tree}",
        out=tmp_path / "runs",
        epochs=1,
        seeds=2,
        protocol="paper",
        diagnostics_every=1,
        **QUICK,
    )
    summary = Run.open(runs[0].path).read_json("../results.json")
    values = [run.read_json("results.json")["figures"]["mean_ap"] for run in runs]
    assert summary["figures"]["mean_ap"]["mean"] == pytest.approx(np.mean(values))
    assert summary["best_epoch"]["figures"]["mean_ap"]["values"] == pytest.approx(values)


def test_weights_of_a_sigmoid_classifier_say_so(run: Run):
    network = run.load_network()
    logits = torch.tensor([[2.0, -1.0, 0.0]])
    torch.testing.assert_close(network.probabilities(logits), logits.sigmoid())
