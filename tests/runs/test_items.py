import csv

import numpy as np

from quarterturn.data.imageset import ArrayImages
from quarterturn.data.source import Source
from quarterturn.runs.items import write_items


def named(names: str, side: int) -> ArrayImages:
    return ArrayImages(np.zeros((len(names), side, side, 3), np.uint8), list(names))


def lines(tmp_path, *arguments) -> list[list[str]]:
    write_items(tmp_path / "items.csv", *arguments)
    with open(tmp_path / "items.csv", newline="") as file:
        return list(csv.reader(file))[1:]


def test_every_image_has_one_line_with_its_status(tmp_path):
    whole = named("abcdef", 5)
    train, held_out = whole.subset(np.array([4, 0, 2])), whole.subset(np.array([1]))
    source = Source("x", whole, unreadable={"g": "empty"})
    failed = {"a": "cut short", "d": "gone"}
    assert lines(tmp_path, source, train, held_out, failed) == [
        ["0", "e", "5", "5", "trained on"],
        ["1", "a", "5", "5", "unreadable: cut short"],
        ["2", "c", "5", "5", "trained on"],
        ["", "b", "5", "5", "held out"],
        ["", "d", "5", "5", "unreadable: gone"],
        ["", "f", "5", "5", "not used"],
        ["", "g", "", "", "unreadable: empty"],
    ]


def test_images_of_a_test_split_come_last(tmp_path):
    train, held_out = named("ab", 5), named("yz", 7)
    assert lines(tmp_path, Source("x", train), train, held_out, {}) == [
        ["0", "a", "5", "5", "trained on"],
        ["1", "b", "5", "5", "trained on"],
        ["", "y", "7", "7", "held out"],
        ["", "z", "7", "7", "held out"],
    ]
