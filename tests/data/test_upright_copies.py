import os
from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.image_file import read_image
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.data.upright_copies import UprightCopies
from quarterturn.errors import ConfigError, OutputError

from .pictures import photo, save_photo


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photos in two sub-folders."""
    for i in range(8):
        save_photo(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png", i, 9, 12)
    return tmp_path / "photos"


def beside(data: Path | str, folder: Path, **options: bool) -> UprightCopies:
    source: Source = open_source(str(data))
    return UprightCopies.beside(str(data), source, folder, **options)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(match: str, data: Path | str, folder: Path, **options: bool) -> None:
    with pytest.raises(ConfigError, match=match):
        beside(data, folder, **options)


def test_sub_folders_are_kept(tmp_path, root):
    copies = beside(root, tmp_path / "new" / "copies")
    assert not (tmp_path / "new").exists()  # until there is something to write
    copies.write(root / "a" / "2.png", 1)
    copies.write(root / "b" / "3.png", 0)
    assert files(tmp_path / "new" / "copies") == ["a/2.png", "b/3.png"]
    found = np.asarray(read_image(tmp_path / "new" / "copies" / "a" / "2.png"))
    np.testing.assert_array_equal(found, np.rot90(photo(2, 9, 12)))
    original, copy = root / "b" / "3.png", tmp_path / "new" / "copies" / "b" / "3.png"
    assert copy.read_bytes() == original.read_bytes()
    assert copy.stat().st_mtime_ns == original.stat().st_mtime_ns


def test_splits_are_kept(tmp_path):
    for i in range(8):
        save_photo(tmp_path / "x" / "train" / f"{i}.png", i, 9, 12)
    save_photo(tmp_path / "x" / "test" / "0.png", 0, 9, 12)
    copies = beside(tmp_path / "x", tmp_path / "copies")
    copies.write(tmp_path / "x" / "test" / "0.png", 0)
    copies.write(tmp_path / "x" / "train" / "0.png", 1)
    assert files(tmp_path / "copies") == ["test/0.png", "train/0.png"]


def test_a_manifest_may_list_files_of_several_places(tmp_path, root):
    (tmp_path / "lists").mkdir()
    inside = [f"../photos/{'ab'[i % 2]}/{i}.png" for i in range(4)]
    outside = [str(root / "ab"[i % 2] / f"{i}.png") for i in range(4, 8)]
    manifest = tmp_path / "lists" / "m.csv"
    manifest.write_text("path\n" + "\n".join(inside + outside))
    copies = beside(manifest, tmp_path / "copies")
    images = open_source(str(manifest)).train
    for i in (0, 7):
        copies.write(images.path(i), 0)
    assert files(tmp_path / "copies") == ["photos/a/0.png", "photos/b/7.png"]
    # The manifest's own folder holds no original.
    beside(manifest, tmp_path / "lists" / "copies").write(images.path(0), 0)
    assert files(tmp_path / "lists") == ["copies/photos/a/0.png", "m.csv"]
    refused("which holds originals", manifest, root / "a")


def test_the_originals_are_out_of_reach(tmp_path, root):
    (tmp_path / "link").symlink_to(root)
    for folder in (root, root / "new", root / "a" / "new", tmp_path, tmp_path / "link" / "new"):
        refused("is, contains or lies in .*, which holds originals", root, folder, overwrite=True)
    # A folder of links: the originals lie elsewhere.
    (tmp_path / "links").mkdir()
    for i in range(8):
        (tmp_path / "links" / f"{i}.png").symlink_to(root / "ab"[i % 2] / f"{i}.png")
    refused("which holds originals", tmp_path / "links", root / "a" / "new")
    refused("which holds originals", tmp_path / "links", tmp_path / "links" / "new")


def test_what_is_in_the_way(tmp_path, root):
    (tmp_path / "file").write_text("mine")
    refused("is a file; expected a folder", root, tmp_path / "file", overwrite=True)
    (tmp_path / "full" / "a").mkdir(parents=True)
    (tmp_path / "full" / "mine.txt").write_text("mine")
    refused("is not empty; choose another folder", root, tmp_path / "full")
    (tmp_path / "full" / "a" / "0.png").write_text("older")
    copies = beside(root, tmp_path / "full", overwrite=True)
    copies.write(root / "a" / "0.png", 0)
    assert files(tmp_path / "full") == ["a/0.png", "mine.txt"]
    assert (tmp_path / "full" / "a" / "0.png").read_bytes() == (root / "a" / "0.png").read_bytes()
    (tmp_path / "empty").mkdir()
    beside(root, tmp_path / "empty")


@pytest.mark.parametrize("turns", [0, 1])
def test_links_within_the_folder_are_not_followed(tmp_path, root, turns):
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    (tmp_path / "copies" / "b").mkdir(parents=True)
    (tmp_path / "copies" / "a").symlink_to(root / "a")
    (tmp_path / "copies" / "b" / "1.png").symlink_to(root / "b" / "1.png")
    os.link(root / "b" / "3.png", tmp_path / "copies" / "b" / "3.png")
    copies = beside(root, tmp_path / "copies", overwrite=True)
    for name in ("a/0.png", "b/1.png"):
        with pytest.raises(OutputError, match="leads through a link to"):
            copies.write(root / name, turns)
    copies.write(root / "b" / "3.png", turns)  # the name is taken, not the file behind it
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before
    assert len(list(root.rglob("*"))) == len(before) + 2


def test_arrays_cannot_be_written(tmp_path):
    refused("digits holds pixels, not image files", "digits", tmp_path / "copies")
