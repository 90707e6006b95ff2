from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from quarterturn import ConfigError, finetune, predict
from quarterturn.cli import main
from quarterturn.data.sources import open_source
from quarterturn.features.extraction import extract
from quarterturn.runs import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "digits"
    settings = {"epochs": 1, "limit": 200, "batch_size": 32, "device": "cpu", "loss": "ldam"}
    return finetune("digits", out=out, **settings)[0]


def test_every_image_has_its_classes_in_turn(run: Run, tmp_path: Path) -> None:
    out = predict(run.path, "digits", out=tmp_path / "labels.csv", top_k=2, device="cpu")
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["name", "split", "label", "probability", "label_2", "probability_2"]
    assert [row["split"] for row in rows] == ["train"] * 1347 + ["test"] * 450
    network = run.load_network()
    images = open_source("digits").test
    cosines = extract(images, run.config.data, network).values
    expected = torch.from_numpy(30 * cosines).softmax(dim=1).numpy()
    of_test = rows[1347:]
    assert [row["name"] for row in of_test] == list(images.names)
    assert [int(row["label"]) for row in of_test] == expected.argmax(axis=1).tolist()
    top = np.sort(expected, axis=1)[:, ::-1]
    for place, column in enumerate(["probability", "probability_2"]):
        found = [float(row[column]) for row in of_test]
        np.testing.assert_allclose(found, top[:, place], atol=5e-6)


def test_no_more_classes_than_there_are(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    words = ["predict", str(run.path), "digits", "--out", str(out), "--top-k", "50"]
    assert main([*words, "--device", "cpu"]) == 0
    with open(out, newline="") as file:
        first = next(csv.DictReader(file))
    assert len(first) == 2 + 2 * 10
    total = sum(float(value) for name, value in first.items() if name.startswith("probability"))
    assert total == pytest.approx(1, abs=1e-4)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_split_is_labelled_however_small(run: Run, tmp_path: Path) -> None:
    digits = open_source("digits").train.pixels
    parts = {"train": digits[:1], "val": digits[1:4], "test": digits[4:6]}
    np.savez(tmp_path / "x.npz", **{f"{name}_images": part for name, part in parts.items()})
    out = predict(run.path, tmp_path / "x.npz", out=tmp_path / "x.csv", device="cpu")
    assert [row["split"] for row in read(out)] == ["train"] + ["test"] * 2 + ["val"] * 3


def test_the_class_frequencies_are_taken_off_a_finished_run(run: Run, tmp_path: Path) -> None:
    network = run.load_network()
    network.log_priors.copy_(torch.linspace(-3, 0, 10))  # as of a long tail
    state = torch.load(run.checkpoint, weights_only=True)
    tailed = Run(tmp_path / "run", run.data, run.config, "x", run.kind, None, run.class_names)
    tailed.create()
    torch.save({**state, "network": network.state_dict()}, tailed.checkpoint)
    images = open_source("digits").test
    scores = 30 * extract(images, run.config.data, network).values
    for words, strength in [([], 0.0), (["--post-hoc-adjustment", "2"], 2.0)]:
        out = tmp_path / "x.csv"
        command = ["predict", str(tailed.path), "digits", "--out", str(out), "--overwrite"]
        assert main([*command, "--device", "cpu", *words]) == 0
        found = [int(row["label"]) for row in read(out) if row["split"] == "test"]
        expected = (scores - strength * np.linspace(-3, 0, 10)).argmax(axis=1)
        assert found == expected.tolist()
    with pytest.raises(ConfigError, match="--post-hoc-adjustment is -1"):
        predict(run.path, "digits", out=tmp_path / "y.csv", post_hoc_adjustment=-1)


def test_what_cannot_be_is_refused(
    run: Run, digits_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken.csv"
    taken.touch()
    with pytest.raises(ConfigError, match=r"taken\.csv exists"):
        predict(run.path, "digits", out=taken)
    with pytest.raises(ConfigError, match=r"must end in \.csv"):
        predict(run.path, "digits", out=tmp_path / "labels.npz")
    with pytest.raises(ConfigError, match="--top-k is 0"):
        predict(run.path, "digits", out=tmp_path / "x.csv", top_k=0)
    words = ["predict", str(digits_run.path), "digits", "--out", str(tmp_path / "x.csv")]
    assert main(words) == 2
    assert "has no classifier: it is a run of pretrain" in capsys.readouterr().err


def test_what_cannot_be_read_is_listed(
    run: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    whole = (folder / "red" / "07.png").read_bytes()
    (folder / "red" / "07.png").write_bytes(whole[: len(whole) // 2])
    (folder / "red" / "08.png").write_bytes(b"no picture")
    words = ["predict", str(run.path), str(folder), "--device", "cpu", "--workers", "0"]
    assert main([*words, "--out", str(tmp_path / "a.csv")]) == 0
    told = capsys.readouterr().err
    assert "2 image files could not be read:" in told
    assert "07.png: " in told
    assert "08.png: " in told
    assert len(read(tmp_path / "a.csv")) == 58
    strict = ["--max-bad-fraction", "0.02", "--out", str(tmp_path / "b.csv")]
    assert main([*words, *strict]) == 2
    assert "2 of 60 image files cannot be read (3.3%; the limit" in capsys.readouterr().err
    assert not (tmp_path / "b.csv").exists()


def splits_of_photos(photos: Path, folder: Path) -> Path:
    """The photos three times, as splits of the same names; one of each split cannot be decoded."""
    for split in ("train", "val", "test"):
        shutil.copytree(photos, folder / split)
        file = folder / split / "red" / "07.png"
        file.write_bytes(file.read_bytes()[:400])
    return folder


@pytest.mark.parametrize("command", ["predict", "embed"])
def test_writes_every_split_under_distinct_names(
    command: str, run: Run, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = splits_of_photos(photos, tmp_path / "photos")
    out = tmp_path / "out.csv"
    words = [command, str(run.path), str(data), "--device", "cpu", "--workers", "0"]
    assert main([*words, "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert "3 image files could not be read:" in told
    assert all(f"{split}/red/07.png: " in told for split in ("train", "val", "test"))
    assert Counter(row["split"] for row in read(out)) == {"train": 59, "val": 59, "test": 59}
    assert main([*words, "--max-bad-fraction", "0.016", "--out", str(tmp_path / "b.csv")]) == 2
    assert "3 of 180 image files cannot be read" in capsys.readouterr().err


def test_images_with_labels_for_some_are_labelled_all_the_same(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    rows = ["path,label", *(f"red/{i:02d}.png,{'red' if i < 3 else ''}" for i in range(9))]
    (photos / "some.csv").write_text("\n".join(rows) + "\n")
    out = predict(run.path, photos / "some.csv", out=tmp_path / "x.csv", device="cpu")
    (photos / "some.csv").unlink()
    assert len(read(out)) == 9


def test_what_cannot_be_set(run: Run, tmp_path: Path, photos: Path) -> None:
    given = {"out": tmp_path / "x.csv", "device": "cpu"}
    with pytest.raises(ConfigError, match="--post-hoc-adjustment is nan"):
        predict(run.path, "digits", post_hoc_adjustment=float("nan"), **given)
    with pytest.raises(ConfigError, match="--workers is -1; expected from 0 to 1,024 or auto"):
        predict(run.path, photos, workers=-1, **given)


def test_reports_an_unfinished_run(
    run: Run, tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "run"
    shutil.copytree(run.path, begun)
    state = torch.load(run.checkpoint, weights_only=True)
    torch.save({**state, "epochs_done": 0.25}, Run.open(begun).checkpoint)
    predict(begun, "digits", out=tmp_path / "x.csv", device="cpu")
    assert "has done 0.25 of its 1 epoch so far" in " ".join(terminal.readouterr().err.split())
