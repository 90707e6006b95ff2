import io
import json

import pytest
from PIL import Image

from quarterturn.pages.figures import save_figure
from quarterturn.pages.training_curves import diagnostic_curves, loss_curves

from .metrics_lines import diagnostics_lines, train_lines


def test_every_figure_is_saved_as_a_picture_and_its_data(tmp_path):
    for figure in (loss_curves(train_lines()), diagnostic_curves(diagnostics_lines())):
        save_figure(tmp_path / "figures", figure)
        with Image.open(tmp_path / "figures" / f"{figure.name}.png") as image:
            image.load()
            assert image.width > 900
        stored = json.loads((tmp_path / "figures" / f"{figure.name}.json").read_text())
        assert stored["data"] == figure.data
        assert figure.alt


def test_the_losses_data_are_the_lines_over_epochs():
    lines = train_lines()
    data = loss_curves(lines).data
    assert data["epochs_done"] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
    for name in ("loss", "rotation", "invariance", "instance", "learning_rate", "images_per_s"):
        assert data[name] == [line[name] for line in lines]


def test_the_losses_of_a_detector_are_over_its_iterations():
    figure = loss_curves(train_lines(), in_iterations=True)
    assert figure.data["iterations_done"] == [line["step"] + 1 for line in train_lines()]
    assert figure.alt.startswith(f"Curves over {train_lines()[-1]['step'] + 1} iterations.")


def test_a_single_term_has_no_curve_for_the_total():
    data = loss_curves(train_lines(terms=("rotation",))).data
    assert "loss" not in data
    assert "rotation" in data


@pytest.mark.parametrize(
    "keys",
    [("rotation_accuracy",), ("spread", "effective_rank"), ("rotation_accuracy", "spread")],
)
def test_diagnostics_show_what_a_method_has(keys):
    lines = [
        {k: v for k, v in line.items() if k in (*keys, "epoch")} for line in diagnostics_lines()
    ]
    figure = diagnostic_curves(lines)
    assert set(figure.data) == {*keys, "epochs_done", "chance"}
    assert Image.open(io.BytesIO(figure.png)).height > 200


def test_a_measure_missing_at_some_epochs_is_none_there():
    lines = diagnostics_lines()
    del lines[1]["spread"]
    assert diagnostic_curves(lines).data["spread"] == [0.9, None]


def test_nothing_is_drawn_where_there_is_nothing():
    assert loss_curves([]) is None
    assert diagnostic_curves([]) is None
    assert diagnostic_curves([{"epoch": 1, "step": 9}]) is None


def test_equal_data_give_equal_files():
    assert loss_curves(train_lines()).png == loss_curves(train_lines()).png
