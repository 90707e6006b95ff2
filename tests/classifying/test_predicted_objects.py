"""``quarterturn predict`` on a run of detect: a table, COCO's JSON, and pictures."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from quarterturn import ConfigError, predict
from quarterturn.detection.proposals import Proposals
from quarterturn.runs.detection_records import read_detections


@pytest.fixture
def searched(monkeypatch):
    """Boxes anywhere in the images, in place of a selective search."""

    def search_all(images, folder, *, most, workers):
        height, width = images.sizes[0]
        random = np.random.default_rng(len(images))
        boxes = random.uniform(0, [width - 9, height - 9] * 2, (len(images), 40, 4))
        boxes[..., 2:] = np.minimum(boxes[..., :2] + 12, [width - 1, height - 1])
        return Proposals(tuple(images.names), tuple(b.astype(np.float32) for b in boxes))

    monkeypatch.setattr("quarterturn.classifying.predicted_objects.search_all", search_all)


@pytest.mark.usefixtures("searched")
def test_objects_are_written_and_drawn(detector_run, boxed_tree, tmp_path, capfd):
    out = tmp_path / "objects.csv"
    settings = {"threshold": 0.05, "draw": 3, "workers": 0, "device": "cpu"}
    assert predict(detector_run.path, f"voc:{boxed_tree}", out=out, **settings) == out
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    assert list(rows[0]) == ["name", "split", "label", "score", "x1", "y1", "x2", "y2"]
    assert {row["label"] for row in rows} <= set(detector_run.class_names)
    assert all(float(row["score"]) >= 0.05 for row in rows)
    coco = COCO(str(out.with_suffix(".json")))
    assert len(coco.getImgIds()) == 36
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == [*detector_run.class_names]
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == len(rows)
    for row, found in zip(rows, annotations, strict=True):
        (image,) = coco.loadImgs(found["image_id"])
        x, y, width, height = found["bbox"]
        corners = [float(row[name]) for name in ("x1", "y1", "x2", "y2")]
        assert (image["file_name"], image["split"]) == (row["name"], row["split"])
        assert corners == pytest.approx([x, y, x + width - 1, y + height - 1], abs=0.011)
        assert 0 <= corners[0] < corners[2] <= image["width"] - 1
        assert 0 <= corners[1] < corners[3] <= image["height"] - 1
    pictures = sorted((tmp_path / "objects-pictures").iterdir())
    assert len(pictures) == 3
    height, width = read_detections(detector_run.path).sizes[0]
    with Image.open(pictures[0]) as picture:
        assert picture.size == (width, height)
    with pytest.raises(ConfigError, match=r"objects\.csv exists"):
        predict(detector_run.path, f"voc:{boxed_tree}", out=out, **settings)


@pytest.mark.usefixtures("searched")
def test_nothing_sure_enough_is_no_line(detector_run, boxed_tree, tmp_path, caplog):
    out = tmp_path / "none.csv"
    settings = {"threshold": 1.0, "draw": 0, "workers": 0, "device": "cpu"}
    predict(detector_run.path, f"voc:{boxed_tree}", out=out, **settings)
    assert out.read_text().count("\n") == 1
    assert json.loads(out.with_suffix(".json").read_text())["annotations"] == []
    assert not (tmp_path / "none-pictures").exists()
    assert "no object has a score of --threshold 1 or more; the surest has 0." in caplog.text
