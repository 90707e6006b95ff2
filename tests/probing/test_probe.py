from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from quarterturn import ConfigError, DataError, pretrain, probe
from quarterturn.cli import main
from quarterturn.cli.terminal import narrated
from quarterturn.comparing.compare import compare
from quarterturn.data.selection import select_images
from quarterturn.data.sources import open_source
from quarterturn.data.subsets import stratified_split
from quarterturn.pages.report import write_report
from quarterturn.runs import Run
from quarterturn.runs.record_files import read_record, to_json
from quarterturn.runs.records import ProbeResult, ScoreName

from ..engine.processes import as_group

pytestmark = pytest.mark.usefixtures("without_page")


def test_figures_for_halves_views_and_the_untrained_backbone(
    digits_run: Run, terminal: pytest.CaptureFixture[str]
) -> None:
    result = probe(digits_run.path, "digits", kind="knn", limit=200, seeds=2)
    assert set(result.names) == {
        ScoreName(origin, part, f"knn-{k}", view)
        for origin in ("trained", "untrained")
        for part in ("rotation", "invariant", "both")
        for k in (20, 200)
        for view in ("upright", "turned")
    }
    one = result.score("trained", "both", "knn-20")
    mean = one.measures["top1"].mean
    assert len(one.repeats) == 2
    assert 0.5 < mean <= 1
    turned = result.score("trained", "both", "knn-20", "turned")
    by_seed = [metrics["top1"] for metrics in turned.repeats]
    assert turned.measures["top1"].values == tuple(by_seed)
    assert turned.measures["top1"].mean == pytest.approx(np.mean(by_seed))
    assert turned.measures["top1"].spread == pytest.approx(np.std(by_seed, ddof=1))
    assert set(one.repeats[0]["per_class"]) == set("0123456789")
    name = f"digits-frozen-features-{result.protocol_id}.json"
    assert read_record(digits_run.path / "probes" / name, ProbeResult) == result
    printed = terminal.readouterr().out
    assert "trained: invariant" in printed
    assert f"{100 * mean:.1f}" in printed


def test_a_part_is_held_out_where_there_is_no_split(digits_run: Run, photos: Path) -> None:
    result = probe(digits_run.path, str(photos), workers=0)
    protocol = result.protocol
    assert (protocol["training_images"], protocol["test_images"]) == (48, 12)
    assert result.test == "a stratified 20% held out by seed"
    assert result.test_images_learned_from == 0
    assert result.score("trained", "both", "linear", "upright").measures["top1"].mean > 0.9


def test_the_untrained_backbone_may_be_left_out(digits_run: Run) -> None:
    result = probe(digits_run.path, "digits", kind="knn", limit=90, seeds=1, untrained=False)
    assert {score.origin for score in result.scores} == {"trained"}


def test_data_without_labels_is_refused(digits_run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train_images=np.zeros((9, 8, 8), np.uint8))
    with pytest.raises(DataError, match="has no labels"):
        probe(digits_run.path, str(tmp_path / "x.npz"))


def test_test_classes_that_training_lacks_are_named(
    digits_run: Run, photos: Path, tmp_path: Path
) -> None:
    for name in ("red", "green"):
        (tmp_path / name).symlink_to(photos / "red")
    with pytest.raises(DataError, match="missing from the training images: green"):
        probe(digits_run.path, str(photos), test=str(tmp_path), workers=0)


def test_images_that_the_run_has_learned_from_are_counted(
    photos: Path, tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    settings = {"epochs": 1, "image_size": 16, "backbone": "convnet", "workers": 0}
    run = pretrain(photos, out=tmp_path / "run", holdout=0.2, **settings)
    learned = set(select_images(str(photos), run.config.data).train.names)
    result = probe(run.path, photos, kind="knn", seeds=1, workers=0)
    source = open_source(str(photos)).train
    _, held = stratified_split(source.labels, 0.2, seed=0)
    expected = sum(source.names[i] in learned for i in held)
    assert 0 < expected < 12
    assert result.test_images_learned_from == expected
    assert f"was trained on {expected} of the test images" in " ".join(
        terminal.readouterr().out.split()
    )


def test_one_class_is_refused(digits_run: Run, tmp_path: Path) -> None:
    arrays = {"train_images": np.zeros((9, 8, 8), np.uint8), "train_labels": np.zeros(9, int)}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match="of only one class"):
        probe(digits_run.path, tmp_path / "x.npz")


@pytest.fixture
def run(digits_run: Run, tmp_path: Path) -> Run:
    """A copy of the run, without probes or features."""
    ignored = shutil.ignore_patterns("probes", "features")
    return Run.open(shutil.copytree(digits_run.path, tmp_path / "run", ignore=ignored))


def files_below(folder: Path) -> dict[str, int]:
    """When each file was last written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_layer_and_the_last_by_its_halves(run: Run, capsys: pytest.CaptureFixture) -> None:
    words = f"probe {run.path} digits --layers all --kind knn --seeds 2 --limit 150 --device cpu"
    assert main(words.split()) == 0
    printed = capsys.readouterr().out
    parts = ["conv1", "conv2", "conv3", "rotation", "invariant", "both"]
    (path,) = (run.path / "probes").glob("digits-*.json")
    result = read_record(path, ProbeResult)
    names = list(dict.fromkeys((name.origin, name.part) for name in result.names))
    assert names == [(origin, part) for origin in ("trained", "untrained") for part in parts]
    for part in parts:
        for origin in ("trained", "untrained"):
            assert f" {origin}: {part} " in printed
        value = result.score("trained", part, "knn-20").measures["top1"]
        assert 0.3 < value.mean <= 1
        assert f"{100 * value.mean:.1f} ± {100 * value.spread:.1f}" in printed
    plain = probe(run.path, "digits", kind="knn", seeds=2, limit=150, device="cpu")
    with_others = {score.name: score.measures["top1"].mean for score in result.scores}
    for score in plain.scores:  # the last layer does not mind the others
        assert score.measures["top1"].mean == pytest.approx(with_others[score.name])


def test_other_layers_come_into_the_same_file(run: Run) -> None:
    options = {"kind": "knn", "seeds": 1, "limit": 120, "device": "cpu"}
    one = probe(run.path, "digits", layers=("conv1",), **options)
    two = probe(run.path, "digits", layers=("conv3",), **options)
    assert one.protocol_id == two.protocol_id
    (path,) = (run.path / "probes").iterdir()
    assert read_record(path, ProbeResult).scores == one.scores + two.scores
    assert {score.part for score in two.scores} == {"conv3"}
    other = probe(run.path, "digits", layers=("conv3",), **{**options, "limit": 121})
    assert other.protocol_id != one.protocol_id
    assert len(list((run.path / "probes").iterdir())) == 2


def test_figures_of_other_weights_are_not_kept(run: Run) -> None:
    options = {"kind": "knn", "seeds": 1, "limit": 120, "device": "cpu"}
    one = probe(run.path, "digits", layers=("conv1",), **options)
    (path,) = (run.path / "probes").iterdir()
    path.write_text(json.dumps({**to_json(one), "weights": "of another training"}))
    probe(run.path, "digits", layers=("conv2",), **options)
    scores = read_record(path, ProbeResult).scores
    assert {score.part for score in scores} == {"conv2"}


def test_features_are_kept_for_the_next_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"layers": ("conv2",), "seeds": 2, "limit": 120, "device": "cpu"}
    first = probe(run.path, "digits", kind="knn", **options)
    kept = files_below(run.path / "features")
    # For both networks: training images, test images, and these in the turns of two seeds.
    assert len({Path(name).parts[0] for name in kept}) == 2 * 4

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the backbone ran again")

    monkeypatch.setattr("quarterturn.features.cached_extraction.extract_parts", never)
    again = probe(run.path, "digits", kind="knn", **options)
    assert files_below(run.path / "features") == kept
    assert again.scores == first.scores
    linear = probe(run.path, "digits", kind="linear", **options)  # another classifier
    assert files_below(run.path / "features") == kept
    written = read_record(next((run.path / "probes").iterdir()), ProbeResult)
    assert written.names == first.names + linear.names
    monkeypatch.undo()
    shutil.rmtree(run.path / "features")  # costs nothing but time
    assert probe(run.path, "digits", kind="knn", **options).scores == first.scores


def test_test_files_that_are_called_as_training_files_are(run: Run, tmp_path: Path) -> None:
    """Pictures without compression are all of one size too: noise that must not be recognised."""
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in "ab":
            (tmp_path / "data" / split / label).mkdir(parents=True)
            for i in range(40):
                pixels = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / label / f"{i}.bmp")
    options = {"kind": "linear", "seeds": 1, "workers": 0, "device": "cpu"}
    found = probe(run.path, tmp_path / "data", **options)
    # Chance is a half, with a deviation of 0.056; the training images would give 1.
    assert found.score("trained", "both", "linear").measures["top1"].mean < 0.75


def test_few_shot_figures_are_of_a_protocol_of_their_own(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = f"probe {run.path} digits --kind fewshot --shots 1 2 99 --draws 2 --seeds 2"
    words += " --limit 200 --no-untrained --device cpu"
    assert main(words.split()) == 0
    said = capsys.readouterr()
    (path,) = (run.path / "probes").iterdir()
    result = read_record(path, ProbeResult)
    assert path.name == f"digits-few-shot-{result.protocol_id}.json"
    assert (result.protocol["name"], result.protocol["seeds"]) == ("few-shot", [0, 1])
    assert set(result.names) == {
        ScoreName("trained", part, f"few-shot-{k}", view)
        for part in ("rotation", "invariant", "both")
        for k in (1, 2)
        for view in ("upright", "turned")
    }
    scores = [result.score("trained", "both", f"few-shot-{k}") for k in (1, 2)]
    assert len(scores[0].repeats) == 4
    one, two = (score.measures["top1"] for score in scores)
    tops = [metrics["top1"] for metrics in scores[0].repeats]
    assert one.spread == pytest.approx(np.std(tops, ddof=1))
    assert 0.2 < one.mean < two.mean
    printed = " ".join(said.out.split())
    assert f"{100 * two.mean:.1f} ± {100 * two.spread:.1f}" in printed
    assert "left out: K = 99: the class" in printed
    assert f"features to cache in {run.path / 'features'}" in said.err.replace("\n", "")
    # Other K come into the same file; kNN does not.
    options = {"seeds": 2, "limit": 200, "untrained": False, "device": "cpu"}
    more = probe(run.path, "digits", kind="fewshot", shots=(3,), draws=2, **options)
    assert more.protocol_id == result.protocol_id
    assert len(read_record(path, ProbeResult).scores) == 3 * 3 * 2
    write_report(run)
    curve = json.loads((run.figures / f"{path.stem}.json").read_text())["data"]
    (line,) = [
        line
        for line in curve["lines"]
        if (line["label"], line["view"]) == ("trained: both", "upright")
    ]
    assert line["images_per_class"] == [1, 2, 3]
    assert line["mean"][:2] == [one.mean, two.mean]
    assert run.figures.joinpath(f"{path.stem}.png").exists()
    probe(run.path, "digits", kind="knn", **options)
    assert len(list((run.path / "probes").iterdir())) == 2
    with narrated():
        compared = compare([run.path], out=tmp_path / "x.json")
    assert [p["name"] for p in compared.protocols.values()] == ["few-shot", "frozen-features"]
    printed = " ".join(capsys.readouterr().out.split())
    assert f"Probes by protocol few-shot {result.protocol_id}" in printed
    assert "2 seeds of the probe and 2 draws for each" in printed


def test_refuses_features_that_do_not_fit_before_computing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"limit": 120, "seeds": 1, "device": "cpu"}

    def never(*_: object, **__: object) -> None:
        raise AssertionError("features were computed")

    monkeypatch.setattr("quarterturn.probing.fitted.cached_features", never)
    monkeypatch.setattr("quarterturn.features.space_needed.free_main_memory", lambda: 1000)
    for kind in ("all", "fewshot"):
        with pytest.raises(ConfigError, match=r"of both needs .* MB of memory, and 0 MB are free"):
            probe(run.path, "digits", kind=kind, **options)
    with pytest.raises(AssertionError, match="were computed"):
        probe(run.path, "digits", kind="knn", **options)  # has no need of it
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ConfigError, match=r"features to cache in .* 0 MB are free: probe fewer"):
        probe(run.path, "digits", kind="knn", **options)


def test_groups_of_an_imbalanced_folder(
    run: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = tmp_path / "data"
    for label, count in [("blue", 30), ("red", 10)]:
        (data / label).mkdir(parents=True)
        for i in range(count):
            shutil.copy(photos / label / f"{i:02d}.png", data / label)
    words = f"probe {run.path} {data} --kind linear --seeds 1 --workers 0 --device cpu"
    assert main(words.split()) == 0  # 24 and 8 training images: medium and few
    printed = capsys.readouterr().out
    assert "By the number of training images of a class" in printed
    assert "many: more than 100 training images, few: fewer than 20" in " ".join(printed.split())
    assert "none" in printed
    assert main([*words.split(), "--many", "23", "--few", "5"]) == 0  # many and medium
    said = " ".join(capsys.readouterr().out.split())
    assert "many: more than 23 training images, few: fewer than 5" in said
    assert main([*words.split(), "--many", "23", "--few", "24"]) == 0  # nothing between
    files = (run.path / "probes").glob("*-data-*.json")
    results = [read_record(file, ProbeResult) for file in files]
    by_rule = {(r.protocol["many"], r.protocol["few"]): r for r in results}
    assert by_rule.keys() == {(100, 20), (23, 5), (23, 24)}  # the rule is of the protocol
    for (many, few), result in by_rule.items():
        one = result.score("trained", "both", "linear")
        blue, red = (one.repeats[0]["per_class"][label] for label in ("blue", "red"))
        found = [one.measures[group].mean for group in ("many", "medium", "few")]
        assert (
            found
            == {
                (100, 20): [None, blue, red],
                (23, 5): [blue, red, None],
                (23, 24): [blue, None, red],
            }[many, few]
        )


def test_no_table_of_groups_where_all_classes_are_of_one(
    run: Run, photos: Path, terminal: pytest.CaptureFixture
) -> None:
    probe(run.path, photos, kind="knn", seeds=1, workers=0, device="cpu")
    printed = terminal.readouterr().out
    assert "Probes on frozen features" in printed
    assert "By the number of training images" not in printed


def test_maps_over_a_grid(run: Run) -> None:
    options = {"kind": "knn", "seeds": 1, "limit": 120, "device": "cpu"}
    layers = ("conv1", "fc")
    results = [probe(run.path, "digits", layers=layers, grid=grid, **options) for grid in (1, 2)]
    assert results[0].protocol_id != results[1].protocol_id
    last, last_again = (result.score("trained", "both", "knn-20") for result in results)
    assert last == last_again
    # Squares know where a digit has its strokes; the mean over the whole map does not.
    one, two = (result.score("trained", "conv1", "knn-20").measures["top1"] for result in results)
    assert two.mean > one.mean + 0.1
    widths = set()
    for entry in (run.path / "features").iterdir():
        parts = json.loads((entry / "parts.json").read_text())
        if "conv1" in parts:
            widths.add(np.load(entry / f"{parts.index('conv1')}.npy").shape[1])
    assert widths == {32, 32 * 4}


def probe_and_embed(rank: int, run: str) -> None:
    """Run both commands, as one of several processes or by itself."""
    options = ["--kind", "linear", "--seeds", "1", "--limit", "90", "--no-untrained"]
    assert main(["probe", run, "digits", *options, "--device", "cpu"]) == 0
    assert main(["embed", run, "digits", "--out", f"{run}/all.npz", "--device", "cpu"]) == 0


def test_two_processes_probe_and_embed_as_one(digits_run: Run, tmp_path: Path) -> None:
    runs = [tmp_path / "of-1" / "run", tmp_path / "of-2" / "run"]
    for path in runs:
        ignored = shutil.ignore_patterns("probes", "features")  # of other tests
        shutil.copytree(digits_run.path, path, ignore=ignored)
    probe_and_embed(0, str(runs[0]))
    as_group(2, probe_and_embed, str(runs[1]))
    scores, features = [], []
    for path in runs:
        (record,) = (path / "probes").glob("*.json")
        scores.append(json.loads(record.read_text()) | {"run": ""})
        features.append(dict(np.load(path / "all.npz")))
    assert scores[0] == scores[1]
    assert len(features[0]["embeddings"]) == 1797
    for name, values in features[0].items():
        np.testing.assert_array_equal(values, features[1][name])


def test_random_crops_take_one_process(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="in one process, and these are 2: call it without"):
        probe(run.path, "digits", preset="cifar10-multilayer")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--layers conv1 conv9", "no layers conv9; the backbone has conv1, conv2, conv3, fc"),
        ("--grid 0", "--grid is 0; expected from 1 to 256"),
        ("--limit 0", "--limit is 0; expected 8 or more"),
        ("--limit -3", "--limit is -3; expected 8 or more"),
        ("--seeds 0", "--seeds is 0; expected from 1 to 1,000"),
        ("--kind fewshot --shots 0 5", "--shots is (0, 5); expected whole numbers, each 1 or more"),
        ("--kind fewshot --shots 900", "--shots 900: the class '8' has 131 training images"),
        ("--kind fewshot --draws 0", "--draws is 0; expected from 1 to 1,000"),
        ("--kind knn --shots 3", "--shots and --draws are only for --kind fewshot"),
        ("--preset nonlinear --draws 9", "--shots and --draws are only for --kind fewshot"),
        (
            "--preset imagenet-linear",
            "no layers conv4, conv5; the backbone has conv1, conv2",
        ),
        ("--many 5 --few 7", "--few is 7; expected 0 to one more than --many 5"),
    ],
)
def test_what_cannot_be_probed_is_said_in_a_line(
    run: Run, words: str, told: str, capsys: pytest.CaptureFixture
) -> None:
    command = ["probe", str(run.path), "digits", "--device", "cpu", *words.split()]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not (run.path / "probes").exists()
    assert not (run.path / "features").exists()


def test_settings_are_checked_by_the_library_too(run: Run) -> None:
    with pytest.raises(ConfigError, match="no layers named"):
        probe(run.path, "digits", layers=())
