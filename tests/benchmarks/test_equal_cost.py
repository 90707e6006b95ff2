"""What a view costs, and a whole table of a tiny budget."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "equal_cost.py"


@pytest.fixture(scope="module")
def benchmark() -> dict:
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize(
    ("row", "views"),
    [
        ("decoupling", 4),  # the turned copies
        ("RotNet", 4),
        ("SimCLR", 2),
        ("SimCLR, small views", 3),  # 2 + 4 of a quarter of the area
        ("SimCLR, turned views", 2),
        ("multiview", 3),
        ("multiview, unsplit", 3),
    ],
)
def test_small_views_cost_their_area(benchmark, row, views):
    options = benchmark["Options"]("images.npz", views=1, out=Path("cost"))
    assert benchmark["views_of_an_image"](row, options) == views


def test_rows_spend_the_same_views(benchmark, tmp_path, capsys):
    random = np.random.default_rng(0)
    arrays = {}
    for split, number in [("train", 48), ("test", 24)]:
        labels = np.arange(number) % 2
        pixels = random.integers(0, 128, (number, 16, 16, 3)) + 100 * labels[:, None, None, None]
        arrays |= {f"{split}_images": pixels.astype(np.uint8), f"{split}_labels": labels}
    np.savez(tmp_path / "noise.npz", **arrays)
    options = {
        "data": str(tmp_path / "noise.npz"),
        "views": 192,
        "out": tmp_path / "out",
        "backbone": "resnet20",
        "image_size": 16,
        "limit": 24,
        "batch_views": 24,
        "seeds": 1,
        "rows": ("untrained", "multiview"),
        "rates": (0.01, 0.02),
        "device": "cpu",
    }
    for choose in (True, False):
        benchmark["main"](benchmark["Options"](**options, choose=choose))
    printed = capsys.readouterr()
    figures = json.loads(printed.out.splitlines()[-1])
    assert figures["views"] == {"multiview": 216}  # three passes
    assert "warning: multiview spent 216 views, in whole passes" in printed.err
    assert figures["rates"]["multiview"] in (0.01, 0.02)
    rows = {(cell["row"], cell["feature"]) for cell in figures["cells"]}
    assert ("multiview", "invariant") in rows
    assert {row for row, _ in rows} == {"untrained", "multiview"}
    assert all(0 <= cell["mean"] <= 1 for cell in figures["cells"])
    (run,) = (tmp_path / "out").glob("multiview-0-rate-*")
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["run"]["epochs"] == 3  # 192 views / 24 images / 3 views, to the nearest
    assert config["run"]["batch_size"] == 8
    (run / "equal_cost.json").unlink()  # as if it had been interrupted before its probe
    benchmark["main"](benchmark["Options"](**options))
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cells"] == figures["cells"]
