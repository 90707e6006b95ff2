from __future__ import annotations

from pathlib import Path

from quarterturn.data.content_keys import content_keys
from quarterturn.data.sources import open_source
from tests.data.pictures import noise, save


def test_copies_are_found_across_splits(tmp_path: Path) -> None:
    pictures = noise(0, 12, 6, 6, 3)
    for number, picture in enumerate(pictures):
        save(tmp_path / ("train" if number < 9 else "test") / f"{number}.bmp", picture)
    copy = (tmp_path / "train" / "3.bmp").read_bytes()
    (tmp_path / "test" / "copy.bmp").write_bytes(copy)
    source = open_source(str(tmp_path), min_images=1)
    train, test = content_keys([source.train, source.all_splits["test"]])
    assert len(set(train) | set(test)) == 12
    assert test[source.all_splits["test"].names.index("copy.bmp")] == train[3]


def test_files_of_other_sizes_in_several_splits_are_all_different(tmp_path: Path) -> None:
    for split, start in (("train", 4), ("test", 20)):
        for side in range(start, start + 8):
            save(tmp_path / split / f"{side}.bmp", noise(0, side, side, 3))
    source = open_source(str(tmp_path), min_images=1)
    keys = content_keys(list(source.all_splits.values()))
    assert len({key for of_split in keys for key in of_split}) == 16
