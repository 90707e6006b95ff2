"""`quarterturn label`: a list to fill in, which is DATA afterwards."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from quarterturn import ConfigError, DataError, finetune, label
from quarterturn.cli import main
from quarterturn.runs import Run
from quarterturn.runs.classifier_results import read_classifier_result
from tests.fixtures.photos import smooth

QUIET: dict[str, Any] = {"device": "cpu", "workers": 0}


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty dark and twenty bright pictures, a copy of one, and a file that is none."""
    root = tmp_path_factory.mktemp("clouds")
    for number in range(40):
        picture = smooth(number).convert("L").point(lambda value: value // 3)
        if number % 2:
            picture = picture.point(lambda value: value + 170)
        picture.save(root / f"{number:02d}.png")
    (root / "copy.png").write_bytes((root / "04.png").read_bytes())
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return root


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def fill(file: Path, skip: int = 0) -> None:
    """Write the labels into a list, but for the last ``skip``."""
    rows = rows_of(file)
    for row in rows[: len(rows) - skip]:
        row["label"] = "bright" if int(Path(row["path"]).stem) % 2 else "dark"
    with file.open("w", newline="") as written:
        writer = csv.DictWriter(written, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def listed(digits_run: Run, clouds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty of them, with the labels of all but three."""
    out = tmp_path_factory.mktemp("labels") / "labels.csv"
    label(digits_run.path, data=clouds, suggest=20, out=out, max_bad_fraction=0.2, **QUIET)
    fill(out, skip=3)
    return out


@pytest.fixture(scope="module")
def classifier(digits_run: Run, listed: Path) -> Run:
    """What has learned from the list."""
    out = listed.parent / "classifier"
    (run,) = finetune(listed, start=digits_run.path, trained="none", out=out, **QUIET)
    return run


def test_the_list_is_to_be_filled_in(listed: Path, clouds: Path) -> None:
    rows = rows_of(listed)
    assert list(rows[0]) == ["path", "label", "reason", "rank"]
    assert [int(row["rank"]) for row in rows] == [*range(1, 21)]
    paths = [Path(row["path"]) for row in rows]
    assert len(set(paths)) == 20
    assert all(path.is_absolute() and path.parent == clouds for path in paths)
    assert not {"04", "copy"} <= {path.stem for path in paths}
    assert all(row["reason"].startswith("like ") for row in rows)


def test_a_contact_sheet_is_beside_it(listed: Path) -> None:
    with Image.open(listed.with_suffix(".png")) as sheet:
        assert sheet.width > 500
    data = json.loads(listed.with_suffix(".json").read_text())["data"]
    assert data["path"] == [row["path"] for row in rows_of(listed)]


def test_filled_in_it_is_learned_from(classifier: Run) -> None:
    result = read_classifier_result(classifier.path)
    assert result.class_names == ["bright", "dark"]
    assert sum(result.class_counts) + result.figures["n"] == 17
    page = (classifier.path / "report.html").read_text()
    assert "3 images without a label" in page
    statuses = [row["status"] for row in rows_of(classifier.path / "items.csv")]
    assert statuses.count("not used") == 3


def test_labelled_ones_are_not_suggested_again(
    digits_run: Run, clouds: Path, listed: Path, tmp_path: Path
) -> None:
    given = {"data": clouds, "max_bad_fraction": 0.2, "suggest": 5, **QUIET}
    found = label(digits_run.path, out=tmp_path / "more.csv", labelled=listed, **given)
    known = {row["path"] for row in rows_of(listed) if row["label"]}
    assert len(known) == 17
    rows = rows_of(found)
    more = [row["path"] for row in rows if not row["label"]]
    assert len(more) == 5
    assert not known & set(more)
    kept = {row["path"]: row["label"] for row in rows[5:]}
    assert kept == {row["path"]: row["label"] for row in rows_of(listed) if row["label"]}
    assert {row["reason"] for row in rows[5:]} == {"labelled before"}


def test_a_classifier_asks_for_what_it_is_unsure_of(
    digits_run: Run, clouds: Path, listed: Path, classifier: Run, tmp_path: Path
) -> None:
    given = {"data": clouds, "max_bad_fraction": 0.2, "suggest": 4, **QUIET}
    found = label(digits_run.path, out=tmp_path / "more.csv", classifier=classifier.path, **given)
    rows = rows_of(found)
    assert all(row["reason"].startswith("uncertain: ") for row in rows[:4])
    known = {row["path"]: row["label"] for row in rows_of(listed) if row["label"]}
    assert not known.keys() & {row["path"] for row in rows[:4]}
    assert {row["path"]: row["label"] for row in rows[4:]} == known


def test_lists_are_numbered_and_never_overwritten(
    make_run: Any, clouds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(epochs=0)
    words = ["label", str(run.path), "--suggest", "3", "--workers", "0", "--device", "cpu"]
    words += ["--data", str(clouds), "--max-bad-fraction", "0.2"]
    assert main(words) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "Fill in the column 'label'" in told
    first = run.path / "labels-1.csv"
    fill(first)
    before = first.read_bytes()
    assert main(words) == 0
    assert first.read_bytes() == before
    assert (run.path / "labels-2.csv").exists()
    assert main([*words, "--out", str(first)]) == 2
    assert "exists; choose another --out" in capsys.readouterr().err


def test_what_is_refused(digits_run: Run, clouds: Path, listed: Path, tmp_path: Path) -> None:
    given = {"out": tmp_path / "x.csv", **QUIET}
    with pytest.raises(DataError, match="images of digits are no files of their own"):
        label(digits_run.path, **given)
    with pytest.raises(ConfigError, match="is a run of pretrain; expected one of finetune"):
        label(digits_run.path, data=clouds, classifier=digits_run.path, **given)
    everything = tmp_path / "all.csv"
    names = sorted(path for path in clouds.iterdir() if path.stem != "broken")
    everything.write_text("path,label\n" + "".join(f"{path},x\n" for path in names))
    with pytest.raises(DataError, match="all 41 images of all have a label"):
        label(digits_run.path, data=everything, labelled=everything, **given)
    assert not (tmp_path / "x.csv").exists()
