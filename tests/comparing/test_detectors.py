"""``quarterturn compare`` on runs of detect."""

import pytest

from quarterturn import compare
from quarterturn.pages.comparison_curves import run_curves
from quarterturn.runs import Run
from quarterturn.runs.detection_records import read_detection_result


def test_detectors_are_compared_by_their_own_tests(detector_run: Run, tmp_path, terminal):
    result = compare([detector_run.path], out=tmp_path / "x.html")
    (score,) = result.scores
    assert (score.part, score.classifier) == ("objects", "fast-rcnn")
    expected = read_detection_result(detector_run.path).mean_ap_11_point
    assert score.measures["mean_ap"].mean == pytest.approx(expected)
    assert score.measures["mean_ap"].n == 1
    page = (tmp_path / "x.html").read_text()
    assert "Detectors" in page
    assert "the rule of VOC2007" in " ".join(page.split())
    assert "Over the iterations" in page  # the parts of a training are nobody's measure
    assert "40 iterations" in page
    curves = run_curves("x", detector_run.read_metrics("train"), [], in_iterations=True).curves
    assert curves["loss"][0][-1] == 40
