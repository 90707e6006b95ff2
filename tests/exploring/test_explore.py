from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from quarterturn import CheckpointError, ConfigError, DataError, export
from quarterturn.cli import main
from quarterturn.exploring import explore as command
from quarterturn.exploring.explore import Explored, explore
from quarterturn.exploring.options import ExploreOptions
from quarterturn.exploring.survey_features import TURN_LOGITS
from quarterturn.features import shared_pass
from quarterturn.progress import ProgressReporter, Stage, reporting
from quarterturn.runs import Run
from tests.fixtures.photos import BLACK, BROKEN, COPIES, NUM_READABLE, ODD_NAME, smooth
from tests.fixtures.runs import MakeRun


def table(explored: Explored) -> dict[str, dict[str, str]]:
    with open(explored.table, newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def figures(explored: Explored) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(explored.figures.read_text())
    return found


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of ten pictures."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(10):
        smooth(number).save(folder / f"{number}.png")
    return folder


def test_every_readable_image_is_listed_held_out_ones_too(explored: Explored) -> None:
    rows = table(explored)
    assert len(rows) == NUM_READABLE + 1
    assert {row["split"] for row in rows.values() if row["status"] == "read"} == {"train", "test"}
    assert rows[BROKEN]["status"].startswith("unreadable: ")
    assert rows[ODD_NAME]["label"] == "a"
    for row in rows.values():
        if row["status"] == "read":
            assert 0 <= float(row["x"]) <= 1
            assert 0 <= float(row["y"]) <= 1
            assert 0 <= float(row["upright"]) <= 1
    sizes = [each["size"] for each in figures(explored)["clusters"]]
    assert sum(sizes) == NUM_READABLE
    assert sizes == sorted(sizes, reverse=True)


def test_copies_are_found_with_kind_and_angle(explored: Explored) -> None:
    [group] = figures(explored)["duplicates"]
    assert group[0]["kind"] == ""
    found = {copy["name"]: (copy["kind"], copy["angle"]) for copy in group}
    first = group[0]["name"]
    # The largest comes first, and of equal ones the first: the original or its exact copy.
    assert first in ("train/a/00.png", "test/b/exact.png")
    expected = COPIES | {"train/a/00.png": ("exact", 0)}
    assert found == expected | {first: ("", 0)}
    rows = table(explored)
    assert {name for name, row in rows.items() if row["duplicate_group"] == "1"} == set(found)


def test_black_frame_is_the_oddest(explored: Explored) -> None:
    assert figures(explored)["odd"][0]["name"] == BLACK


def test_page_holds_names_in_full_and_links(explored: Explored, treasure: Path) -> None:
    page = explored.page.read_text()
    assert "train/a/&lt;b&gt;&#34;&amp;%, 1#.png" in page or "\\u003cb>" in page
    start, end = page.index('id="points">'), page.index("</script>")
    points = json.loads(page[start + len('id="points">') : end])
    assert len(points["names"]) == NUM_READABLE
    assert ODD_NAME in points["names"]
    for name, split in zip(points["names"], points["splits"], strict=True):
        folder = points["folders"][split]
        assert name.startswith(folder["prefix"])
        file = explored.page.parent / folder["href"] / name.removeprefix(folder["prefix"])
        assert file.resolve().samefile(treasure / name)
    assert [one["name"] for one in points["colourings"]] == [
        "cluster",
        "label",
        "split",
        "upright",
        "odd",
    ]
    assert str(treasure) not in page


def test_what_was_extracted_once_is_not_extracted_again(
    explored: Explored,
    digits_run: Run,
    treasure: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*words: Any, **options: Any) -> None:
        raise AssertionError("a pass over the images")

    monkeypatch.setattr(shared_pass, "evaluation_batches", refuse)
    again = explore(digits_run.path, data=treasure, out=tmp_path / "new", workers=0)
    assert table(again) == table(explored)


def test_the_time_left_covers_images_and_findings(
    digits_run: Run, images: Path, tmp_path: Path
) -> None:
    seen: dict[str, float] = {}

    class Reporter(ProgressReporter):
        def closed(self, stage: Stage, *, finished: bool) -> None:
            seen.setdefault(stage.name, self.fraction)

    with reporting(Reporter()):
        explore(digits_run.path, data=images, out=tmp_path / "new", workers=0)
    assert seen["images"] == pytest.approx(0.5)
    assert 0.5 < seen["clusters"] < seen["map"] < seen["page"] == pytest.approx(1)


def test_photos_are_learned_from_first(
    digits_run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.chdir(photos.parent)
    options: dict[str, Any] = {"start": str(digits_run.path), "workers": 0, "device": "cpu"}
    found = explore(photos.name, out=run, epochs=1, clusters=3, **options)
    assert (found.run, found.page) == (run, run / "explore.html")
    opened = Run.open(run)
    assert (opened.config.method.name, opened.config.run.epochs) == ("distill", 1)
    assert opened.start == str(digits_run.path)
    assert len(figures(found)["clusters"]) == 3
    assert "has learned from" in figures(found)["turned_caveat"]
    with pytest.raises(ConfigError, match="exists"):
        explore(photos.name, out=run, epochs=1, **options)
    assert explore(run, workers=0).page == run / "explore.html"
    assert explore(run, data=photos.name, workers=0).page == run / "explore.html"


@pytest.mark.parametrize(
    ("num_images", "epochs", "limit"),
    [(60, 100, None), (2_000, 12, None), (8_000, 3, None), (100_000, 3, 8_000)],
)
def test_training_from_scratch_takes_as_long_for_any_number(
    num_images: int, epochs: int, limit: int | None
) -> None:
    config = command._recipe("photos", num_images, ExploreOptions(seed=5))
    assert (config.run.epochs, config.data.limit) == (epochs, limit)
    assert (config.run.seed, config.model.backbone) == (5, "convnet")
    asked = command._recipe("photos", num_images, ExploreOptions(epochs=2))
    assert (asked.run.epochs, asked.data.limit) == (2, None)


def test_features_of_a_file_of_weights_as_they_are(
    digits_run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "w.safetensors"
    export(digits_run.path, format="safetensors", out=weights)
    found = explore(weights, data=images, workers=0)
    assert found.page.is_relative_to("runs")
    assert figures(found)["images"] == 10
    with pytest.raises(ConfigError, match="no images came with them: give --data DATA"):
        explore(weights)


@pytest.mark.parametrize(
    ("method", "features", "predicts"),
    [("rotnet", "whole", True), ("instance", "whole", False)],
)
def test_runs_without_halves_or_rotation_head(
    make_run: MakeRun, images: Path, method: str, features: str, predicts: bool
) -> None:
    found = explore(make_run(method=method).path, data=images, workers=0)
    assert figures(found)["features"] == features
    assert (figures(found)["turned"] is not None) == predicts
    assert ("This network predicts no turns" in found.page.read_text()) != predicts
    [entries] = {len(list(each.iterdir())) for each in [found.run / "features"]}
    assert entries == 4, TURN_LOGITS


def test_too_few_images_are_refused(digits_run: Run, images: Path) -> None:
    for number in range(3):
        (images / f"{number}.png").unlink()
    with pytest.raises(DataError, match="7 readable images; at least 8"):
        explore(images)
    with pytest.raises(DataError, match="7 images that can be read; at least 8"):
        explore(digits_run.path, data=images, workers=0)


def test_copies_of_one_image_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "pretrain", None)  # it would be called in vain
    for number in range(9):
        smooth(1).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"all 9 images of .* are copies of one"):
        explore(tmp_path)


def test_images_that_look_the_same_are_refused(digits_run: Run, tmp_path: Path) -> None:
    for number in range(9):
        Image.new("RGB", (20 + number, 20), (90, 20, 20)).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"all 9 images of .* look the same to the network"):
        explore(digits_run.path, data=tmp_path, workers=0)


def test_moved_images_are_refused_in_words(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    stored = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(stored | {"data": str(tmp_path / "gone")}))
    with pytest.raises(DataError, match=r"no longer at .*gone: if they have moved, give --data"):
        explore(run.path)


def test_what_is_refused(explored: Explored, digits_run: Run, images: Path, tmp_path: Path) -> None:
    def refused(
        match: str, target: Path, kind: type[Exception] = ConfigError, **options: Any
    ) -> None:
        with pytest.raises(kind, match=match):
            explore(target, **options)

    refused("--epochs is for training on PHOTOS", digits_run.path, epochs=3)
    refused("--from is for training on PHOTOS", digits_run.path, start="x")
    refused("--data .* says what a run looks at", images, data="digits")
    refused("nothing is at '.*none'", tmp_path / "none", DataError)
    refused(r"explore\.html exists", digits_run.path, data=images, out=explored.page.parent)
    (tmp_path / "file").touch()
    refused("is a file; expected a folder", digits_run.path, data=images, out=tmp_path / "file")


def test_the_command(
    digits_run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["explore", str(digits_run.path), "--data", str(images), "--out", str(tmp_path / "x")]
    assert main([*words, "--workers", "0"]) == 0
    printed = capsys.readouterr()
    assert "What is in images" in printed.out
    assert "10 images explored in" in printed.err
    assert main(["explore", str(tmp_path / "none")]) == 2
    assert "quarterturn: nothing is at" in capsys.readouterr().err


def test_images_in_shards_have_names_and_no_links(
    digits_run: Run, images: Path, tmp_path: Path
) -> None:
    (images / "copy.png").write_bytes((images / "3.png").read_bytes())
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as archive:
        archive.add(images, "photos")
    found = explore(digits_run.path, data=shard, out=tmp_path / "out", workers=0)
    assert len(table(found)) == 11
    [[first, second]] = figures(found)["duplicates"]
    assert (first["name"], second["kind"]) == ("shard.tar/photos/3.png", "exact")
    assert '"folders":[null]' in found.page.read_text()


def test_classifiers_are_looked_at_and_runs_of_folds_are_not(
    make_run: MakeRun, images: Path
) -> None:
    classifier = make_run("classifier", class_names=("a", "b"))
    assert figures(explore(classifier.path, data=images, workers=0))["turned"] is None
    upright = make_run("upright")
    stored = json.loads((upright.path / "config.json").read_text())
    (upright.path / "config.json").write_text(json.dumps(stored | {"kind": "upright"}))
    with pytest.raises(CheckpointError, match="is a run of upright"):
        explore(upright.path, data=images)
