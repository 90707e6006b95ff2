from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quarterturn import ConfigError, DataError
from quarterturn.cli import main
from quarterturn.errors import FindingsError
from quarterturn.inspecting import doctor as command
from quarterturn.inspecting.doctor import COLUMNS, Examined, doctor
from tests.data.shards import sample, write_tar
from tests.fixtures.browser import Browser
from tests.inspecting.ward import NUM_HEALTHY, build_healthy, build_ward, healthy

QUICK: dict[str, Any] = {"preset": "digits", "timing": False, "workers": 0, "device": "cpu"}
"""The smallest network that there is, and no steps of it."""


def listed(examined: Examined) -> dict[str, set[str]]:
    """The names of each kind in the csv file."""
    with open(examined.table, newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    found = defaultdict(set)
    for kind, _, _, name, _ in rows[1:]:
        found[kind].add(name)
    return dict(found)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, set[str]]]:
    return build_ward(tmp_path_factory.mktemp("ward") / "ward")


@pytest.fixture(scope="module")
def examined(
    ward: tuple[Path, dict[str, set[str]]], tmp_path_factory: pytest.TempPathFactory
) -> Examined:
    out = tmp_path_factory.mktemp("examined") / "new"
    return doctor(ward[0], out=out, image_size=64, **QUICK)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_healthy(tmp_path_factory.mktemp("clean") / "clean")


def test_each_damage_is_found_once(
    ward: tuple[Path, dict[str, set[str]]], examined: Examined
) -> None:
    found = listed(examined)
    assert found == ward[1]
    assert examined.findings | examined.notes == {kind: len(names) for kind, names in found.items()}
    assert list(examined.findings)[:3] == ["unreadable", "in-two-splits", "two-labels"]
    assert set(examined.notes) == {
        *("exif-turned", "grey", "16-bit", "cmyk", "transparent", "palette"),
    }


def test_figures_and_page_say_the_same(
    ward: tuple[Path, dict[str, set[str]]], examined: Examined
) -> None:
    figures = json.loads(examined.figures.read_text())
    assert {each["kind"]: each["number"] for each in figures["findings"]} == (
        examined.findings | examined.notes
    )
    assert figures["unreadable"] == 2
    assert figures["images"] == {"train": NUM_HEALTHY * 3 // 4 + 15, "test": NUM_HEALTHY // 4 + 3}
    assert figures["classes"]["test"]["d"] == 1
    assert figures["short_sides"] == {"smallest": 20, "median": 64, "largest": 256}
    page = examined.page.read_text()
    assert "truncated" in page
    assert "train/a/blurred.png" in page
    assert "the same picture, turned by 90° as train/b/02.png (train)" in page
    assert str(ward[0]) not in page
    assert "quarterturn pretrain ward" in page


def test_nothing_is_found_in_healthy_images(clean: Path, tmp_path: Path) -> None:
    examined = doctor(clean, out=tmp_path / "new", image_size=64, strict=True, **QUICK)
    assert (examined.findings, examined.notes) == ({}, {})
    assert listed(examined) == {}
    assert "Nothing was found" in examined.page.read_text()


def test_strict_exits_with_one_after_everything_is_written(
    clean: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "photos"
    for number in range(9):
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        healthy(number).save(folder / f"deep/{number}.png")
    (folder / "0.png").write_bytes((folder / "deep/0.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    words = ["doctor", "photos", "--preset", "digits", "--no-timing", "--workers", "0"]
    assert main(words) == 0
    assert main([*words, "--strict"]) == 1
    assert "exact copy (1) (--strict)" in " ".join(capsys.readouterr().err.split())
    names = {"doctor.html", "doctor.csv", "doctor.json"}
    for number in (1, 2):
        assert {path.name for path in Path(f"doctor-photos-{number}").iterdir()} == names
    assert main([*words, "--out", "doctor-photos-1"]) == 2
    assert main([*words, "--out", "photos/results"]) == 2
    monkeypatch.chdir(folder)
    assert main(["doctor", ".", *words[2:]]) == 2
    assert not list(folder.glob("doctor-*"))


def test_results_are_not_written_over_a_file(clean: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        doctor(clean, out=file, **QUICK)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "match"),
    [("folder-classifier", "recipe of pretrain"), ("folder-distill", "learns from trained")],
)
def test_recipes_whose_cost_is_not_known_are_refused(clean: Path, name: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        doctor(clean, preset=name)


def test_any_data_is_taken(clean: Path, tmp_path: Path) -> None:
    files = sorted((clean / "train/a").iterdir())
    pixels = np.stack([np.asarray(healthy(number)) for number in [*range(12), 0]])
    labels = np.arange(len(pixels)) % 2
    data = {
        "arrays.npz": (13, {"duplicate": 1}),
        "shard.tar": (len(files) + 1, {"unreadable": 1}),
        "list.csv": (len(files), {"unreadable": 1}),
    }
    np.savez(tmp_path / "arrays.npz", train_images=pixels, train_labels=labels)
    broken = tmp_path / "zz.png"
    broken.write_bytes(files[0].read_bytes()[:200])
    members = [member for file in [*files, broken] for member in sample(file.stem, file, "x")]
    write_tar(tmp_path / "shard.tar", members)
    rows = [*map(str, files), str(broken)]
    (tmp_path / "list.csv").write_text("\n".join(["path", *rows]))
    for name, (number, findings) in data.items():
        found = doctor(tmp_path / name, out=tmp_path / f"of-{name}", image_size=64, **QUICK)
        assert found.findings == findings, name
        total = sum(json.loads(found.figures.read_text())["images"].values())
        assert total + findings.get("unreadable", 0) in (number, number + 1), name


def test_what_many_images_have_is_only_noted(tmp_path: Path) -> None:
    folder = tmp_path / "panoramas"
    folder.mkdir()
    for number in range(10):
        healthy(number, 64, 320 if number < 4 else 64).save(folder / f"{number}.png")
    found = doctor(folder, out=tmp_path / "new", image_size=64, **QUICK)
    assert found.findings == {}
    assert found.notes == {"long": 4}
    assert listed(found) == {}


def test_few_or_no_images_are_said_so(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    with pytest.raises(DataError, match="holds no images"):
        doctor(folder, out=tmp_path / "none", **QUICK)
    assert not (tmp_path / "none").exists()
    (folder / "empty.jpg").write_bytes(b"")
    found = doctor(folder, out=tmp_path / "empty", **QUICK)
    assert found.findings == {"unreadable": 1, "too-few": 1}
    (folder / "empty.jpg").unlink()
    healthy(0).save(folder / "0.png")
    found = doctor(folder, out=tmp_path / "new", **QUICK)
    assert found.findings == {"too-few": 1}
    assert json.loads(found.figures.read_text())["cost"] is None


def test_a_few_steps_are_timed(clean: Path, tmp_path: Path) -> None:
    found = doctor(clean, out=tmp_path / "new", image_size=16, **(QUICK | {"timing": True}))
    cost = json.loads(found.figures.read_text())["cost"]
    num_batches = -(-NUM_HEALTHY * 3 // 4 // cost["batch_size"])
    assert cost["step_s"] > 0
    assert cost["epoch_s"] == pytest.approx(num_batches * cost["step_s"])
    assert cost["training_s"] >= cost["epochs"] * cost["epoch_s"]
    assert cost["cache_bytes"] == NUM_HEALTHY * 16 * 16 * 3


def test_strict_raises_in_python(ward: tuple[Path, dict[str, set[str]]], tmp_path: Path) -> None:
    with pytest.raises(FindingsError, match=r"cannot be read \(2\)") as caught:
        doctor(ward[0], out=tmp_path / "new", strict=True, **QUICK)
    assert caught.value.exit_status == 1
    assert (tmp_path / "new/doctor.html").exists()


def test_an_interruption_leaves_no_folder(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*words: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "inspect", interrupt)
    with pytest.raises(KeyboardInterrupt):
        doctor(clean, out=tmp_path / "new", **QUICK)
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt):
        doctor(clean, out=tmp_path / "mine", **QUICK)
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_any_window(browser: Browser, examined: Examined, width: int) -> None:
    browser.open(examined.page, width=width, height=800, dark=width == 390)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('.plate').length") > 10
    assert browser.errors == []
