from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quarterturn import ConfigError, DataError, embed
from quarterturn.cli import main
from quarterturn.collection.neighbors import neighbors
from quarterturn.data.sources import open_source
from quarterturn.runs import Run
from tests.data.pictures import oriented, stored, truncate


def names(result: dict[str, Any]) -> list[str]:
    return [near["name"] for near in result["neighbors"]]


def oracle(run: Run, out: Path, name: str, **options: str) -> list[tuple[float, str]]:
    """Cosine and name of every other image, nearest first, from what ``embed`` writes."""
    found = np.load(embed(run.path, out=out, overwrite=True, **options))
    values = found["embeddings"].astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    every = found["names"].tolist()
    cosines = values @ values[every.index(name)]
    return [(cosines[i], every[i]) for i in np.argsort(-cosines) if every[i] != name]


@pytest.mark.parametrize(
    "options",
    [{}, {"half": "rotation"}, {"half": "both"}, {"layer": "conv2"}, {"layer": "conv3"}],
)
def test_order_and_cosines(digits_run: Run, tmp_path: Path, options: dict[str, str]) -> None:
    name = open_source("digits").test.names[5]
    expected = oracle(digits_run, tmp_path / "x.npz", name, **options)[:15]
    result = neighbors(digits_run.path, name, k=15, **options)
    cosines = [near["cosine"] for near in result["neighbors"]]
    np.testing.assert_allclose(cosines, [cosine for cosine, _ in expected], atol=1e-6)
    assert cosines == sorted(cosines, reverse=True)
    assert names(result) == [other for _, other in expected]
    assert [near["rank"] for near in result["neighbors"]] == list(range(1, 16))


def test_labels_and_splits_are_those_of_the_neighbours(digits_run: Run) -> None:
    source = open_source("digits")
    result = neighbors(digits_run.path, source.train.names[0], k=50)
    assert result["label"] == str(source.train.labels[0])
    assert {near["split"] for near in result["neighbors"]} == {"train", "test"}
    for near in result["neighbors"]:
        images = source.splits[near["split"]]
        assert near["label"] == str(images.labels[images.names.index(near["name"])])


def test_what_is_printed_is_what_is_written(
    digits_run: Run, terminal: pytest.CaptureFixture[str]
) -> None:
    name = open_source("digits").train.names[3]
    result = neighbors(digits_run.path, name)
    stem = digits_run.figures / f"neighbors-{name}"
    assert json.loads(stem.with_suffix(".json").read_text())["data"] == result
    with Image.open(stem.with_suffix(".png")) as sheet:
        assert sheet.width > 900
    printed = terminal.readouterr()
    words = " ".join(printed.err.split())
    assert f"contact sheet: {stem}.png its data: {stem}.json next: quarterturn neighbors" in words
    assert f"neighbors {digits_run.path} {result['neighbors'][0]['name']} " in words
    assert "the image itself, in train, is left out" in " ".join(printed.out.split())
    lines = [line for line in printed.out.splitlines() if "digit-" in line][1:]
    assert len(lines) == 10
    for line, near in zip(lines, result["neighbors"], strict=True):
        for word in (near["rank"], near["name"], near["split"], near["label"]):
            assert str(word) in line.split()
        assert f"{near['cosine']:.4g}" in line


def test_the_collection_is_extracted_once(
    digits_run: Run, photos: Path, tmp_path: Path, passes: list[int]
) -> None:
    options = {"data": photos, "workers": 0, "layer": "conv1"}
    first = neighbors(digits_run.path, "blue/03.png", **options)
    assert passes == [60]
    assert neighbors(digits_run.path, "blue/03.png", **options) == first
    assert passes == [60]
    with Image.open(photos / "blue" / "03.png") as image:
        image.save(tmp_path / "copy.png")
    neighbors(digits_run.path, tmp_path / "copy.png", **options)
    assert passes == [60, 1]


def test_all_halves_share_what_is_kept(digits_run: Run, photos: Path, passes: list[int]) -> None:
    shutil.rmtree(digits_run.path / "features", ignore_errors=True)  # of other tests
    for half in ("rotation", "invariant", "both"):
        neighbors(digits_run.path, "red/00.png", data=photos, half=half, workers=0)
    assert passes == [60]


def test_a_file_from_outside(digits_run: Run, photos: Path, tmp_path: Path) -> None:
    # Stored lying on its side, as a camera does; upright it is the photo itself.
    with Image.open(photos / "red" / "07.png") as image:
        turned = Image.fromarray(stored(np.asarray(image), 6))
    turned.save(tmp_path / "mine.png", exif=oriented(6))
    options = {"data": photos, "k": 60, "workers": 0}
    result = neighbors(digits_run.path, tmp_path / "mine.png", **options)
    assert result["left_out"] == []
    assert result["label"] is None
    assert len(result["neighbors"]) == 60
    first, *others = result["neighbors"]
    assert first["name"] == "red/07.png"
    assert first["cosine"] == pytest.approx(1, abs=1e-5)
    by_name = neighbors(digits_run.path, "red/07.png", **options)["neighbors"]
    np.testing.assert_allclose(
        [near["cosine"] for near in others], [near["cosine"] for near in by_name], atol=1e-5
    )
    assert (digits_run.figures / "neighbors-mine.png").exists()


@pytest.mark.parametrize("way", ["name", "with its split", "path", "link"])
def test_a_member_is_left_out_however_it_is_called(
    digits_run: Run, photos: Path, tmp_path: Path, way: str
) -> None:
    link = tmp_path / "link.png"
    link.symlink_to(photos / "blue" / "11.png")
    image = {
        "name": "blue/11.png",
        "with its split": "train/blue/11.png",
        "path": str(photos / "blue" / "11.png"),
        "link": str(link),
    }[way]
    options = {"data": photos, "k": 100, "workers": 0}
    result = neighbors(digits_run.path, image, **options)
    assert result["image"] == "blue/11.png"
    assert result["left_out"] == ["train"]
    assert len(result["neighbors"]) == 59
    assert "blue/11.png" not in names(result)
    assert (digits_run.figures / "neighbors-blue-11.png").exists()


def test_links_to_the_same_file_are_left_out_with_it(
    digits_run: Run, photos: Path, tmp_path: Path
) -> None:
    for i in range(9):
        (tmp_path / f"{i}.png").symlink_to(photos / "blue" / f"{i:02d}.png")
    (tmp_path / "again.png").symlink_to(photos / "blue" / "04.png")
    result = neighbors(digits_run.path, "4.png", data=tmp_path, workers=0)
    assert sorted(names(result)) == [f"{i}.png" for i in range(9) if i != 4]
    assert {near["label"] for near in result["neighbors"]} == {None}


def test_an_npz_by_its_names(digits_run: Run, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", train_images=pixels, val_images=pixels[:3])
    result = neighbors(digits_run.path, "train[1]", data=tmp_path / "x.npz", k=1)
    assert names(result) == ["val[1]"]
    assert result["neighbors"][0]["cosine"] == pytest.approx(1, abs=1e-6)
    with pytest.raises(DataError, match=r"no file 'train\[12\]', and none of the 15 images of x"):
        neighbors(digits_run.path, "train[12]", data=tmp_path / "x.npz")


def test_unknown_names_are_answered_with_close_ones(digits_run: Run, photos: Path) -> None:
    with pytest.raises(DataError, match=r"similar names: .*blue/07\.png"):
        neighbors(digits_run.path, "blue/7.png", data=photos)
    with pytest.raises(DataError, match=r"the first image is blue/00\.png"):
        neighbors(digits_run.path, "~~~", data=photos)


def test_names_of_several_images_are_refused(
    digits_run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "train").symlink_to(photos / "red")
    (data / "test").symlink_to(photos / "blue")
    options = {"data": data, "workers": 0}
    with pytest.raises(DataError, match=r"give 'train/00\.png' or 'test/00\.png'"):
        neighbors(digits_run.path, "00.png", **options)
    result = neighbors(digits_run.path, "test/00.png", **options)
    assert result["left_out"] == ["test"]

    monkeypatch.chdir(tmp_path)
    (tmp_path / "red").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "red" / "00.png")
    with pytest.raises(DataError, match=r"'red/00\.png' is a file, and also the name of"):
        neighbors(digits_run.path, "red/00.png", data=photos)
    assert neighbors(digits_run.path, "./red/00.png", data=photos)["left_out"] == []


def test_unreadable_images_are_refused_with_the_reason(
    digits_run: Run, photos: Path, tmp_path: Path, passes: list[int]
) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"empty\.png cannot be read: the file is empty"):
        neighbors(digits_run.path, tmp_path / "empty.png", data=photos)
    cut = tmp_path / "cut.png"
    cut.write_bytes((photos / "red" / "00.png").read_bytes())
    truncate(cut)
    with pytest.raises(DataError, match=r"cut\.png cannot be read: .*truncated"):
        neighbors(digits_run.path, cut, data=photos)
    assert passes == []


def test_unreadable_members(digits_run: Run, photos: Path, tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"{i:02d}.png").write_bytes((photos / "red" / f"{i:02d}.png").read_bytes())
    (tmp_path / "bad.png").write_text("no image")
    with pytest.raises(DataError, match=r"bad\.png cannot be read: "):
        neighbors(digits_run.path, "bad.png", data=tmp_path, workers=0)
    result = neighbors(digits_run.path, "03.png", data=tmp_path, workers=0)
    assert (result["searched"], result["unreadable"]) == (30, 1)


def test_names_that_are_not_utf8(
    digits_run: Run, tmp_path: Path, terminal: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    for i in range(9):
        with open(os.fsencode(str(tmp_path)) + b"/\xff$%d$.png" % i, "wb") as file:
            pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file, "PNG")
    neighbors(digits_run.path, os.fsdecode(b"\xff$1$.png"), data=tmp_path, workers=0)
    assert "\\udcff$2$.png" in terminal.readouterr().out


def test_many_neighbours_are_listed_though_fewer_are_shown(digits_run: Run, tmp_path: Path) -> None:
    name = open_source("digits").train.names[0]
    result = neighbors(digits_run.path, name, k=200, out=tmp_path / "a.b.png")
    assert len(result["neighbors"]) == 200
    written = json.loads((tmp_path / "a.b.json").read_text())
    assert len(written["data"]["neighbors"]) == 200
    assert "The first 59 of 200 are shown" in written["caption"]


def test_what_is_refused(digits_run: Run, tmp_path: Path) -> None:
    name = open_source("digits").train.names[0]

    def refused(match: str, **options: Any) -> None:
        with pytest.raises(ConfigError, match=match):
            neighbors(digits_run.path, name, **options)

    refused("--k is 0", k=0)
    refused(r"must end in \.png", out=tmp_path / "x.jpg")
    refused("there is no directory", out=tmp_path / "none" / "x.png")
    refused("no layers conv9; the backbone has conv1", layer="conv9")
    refused("not both", layer="conv2", half="both")
    (tmp_path / "x.json").write_text("mine")
    refused(r"x\.json exists", out=tmp_path / "x.png")
    assert (tmp_path / "x.json").read_text() == "mine"
    neighbors(digits_run.path, name, out=tmp_path / "x.png", overwrite=True)
    assert json.loads((tmp_path / "x.json").read_text())["data"]["image"] == name


def test_the_command(digits_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    name = open_source("digits").train.names[0]
    assert main(["neighbors", str(digits_run.path), name, "--k", "3", "--half", "both"]) == 0
    assert f"Nearest to {name} (0), both halves" in capsys.readouterr().out
    assert main(["neighbors", str(digits_run.path), "digit-9999"]) == 2
    assert "\nquarterturn: no file 'digit-9999'" in capsys.readouterr().err


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_of_queries(
    digits_run: Run,
    treasure: Path,
    tmp_path: Path,
    passes: list[int],
    terminal: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "queries"
    (folder / "more").mkdir(parents=True)
    with Image.open(treasure / "train/a/02.png") as image:
        image.rotate(90).save(folder / "turned.png")
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "more" / "mirrored.png")
    (folder / "bad.png").write_text("no picture")
    (folder / "member.png").symlink_to(treasure / "test/a/100.png")
    options = {"data": treasure, "workers": 0, "k": 40}
    neighbors(digits_run.path, "train/a/04.png", **options)
    passes.clear()
    result = neighbors(digits_run.path, folder, **options)
    assert passes == [2]  # both files from outside at once
    asked = [query["image"] for query in result["queries"]]
    turned, mirrored = str(folder / "turned.png"), str(folder / "more" / "mirrored.png")
    assert set(asked) == {turned, mirrored, "a/100.png"}
    assert list(result["refused"]) == [str(folder / "bad.png")]
    rows = rows_of(Path(result["csv"]))
    assert Path(result["csv"]) == digits_run.path / "neighbors-queries.csv"
    for query, kind, turn in [(turned, "turned", "270"), (mirrored, "mirrored", "0")]:
        own = [row for row in rows if row["query"] == query]
        assert [int(row["rank"]) for row in own] == list(range(1, 39))
        [copy] = [row for row in own if row["name"] == "a/02.png"]
        assert (copy["copy"], copy["turn"]) == (kind, turn)
        assert copy["path"] == str(treasure / "train/a/02.png")
        assert [float(row["similarity"]) for row in own] == sorted(
            (float(row["similarity"]) for row in own), reverse=True
        )
        alone = neighbors(digits_run.path, query, **options)
        np.testing.assert_allclose(
            [float(row["similarity"]) for row in own],
            [near["cosine"] for near in alone["neighbors"]],
            atol=2e-6,
        )
    assert "a/100.png" not in {row["name"] for row in rows if row["query"] == "a/100.png"}
    page = Path(result["page"]).read_text()
    assert "no picture" not in page
    assert "Queries that are no images" in page
    assert ", turned by 270°" in page
    assert "bad.png: cannot identify" in " ".join(terminal.readouterr().err.split())


def test_several_queries_by_name(digits_run: Run, photos: Path, tmp_path: Path) -> None:
    options = {"data": photos, "workers": 0, "out": tmp_path / "x.csv", "k": 3}
    result = neighbors(digits_run.path, ["red/00.png", "blue/11.png"], **options)
    assert [query["image"] for query in result["queries"]] == ["red/00.png", "blue/11.png"]
    rows = rows_of(tmp_path / "x.csv")
    assert [row["query"] for row in rows] == ["red/00.png"] * 3 + ["blue/11.png"] * 3
    with pytest.raises(ConfigError, match=r"x\.csv exists"):
        neighbors(digits_run.path, ["red/00.png", "blue/11.png"], **options)
    with pytest.raises(ConfigError, match=r"must end in \.csv"):
        neighbors(digits_run.path, ["a", "b"], data=photos, out=tmp_path / "x.png")
    with pytest.raises(DataError, match=r"none of the queries is an image:\n  a: no file 'a'"):
        neighbors(digits_run.path, ["a", "b"], data=photos)
    with pytest.raises(ConfigError, match="expected an image, several, or a folder"):
        neighbors(digits_run.path, [], data=photos)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"there are no image files in .*empty"):
        neighbors(digits_run.path, tmp_path / "empty", data=photos)
