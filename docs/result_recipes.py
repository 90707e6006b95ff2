"""How each table of ``results.md`` is made again: its commands, and where its figures stand then.

Beside a record ``results/NAME.json`` lies its recipe, ``results/NAME.yaml``:

    cost        time and machine, in words
    note        what differs from the commands of the record (optional)
    not_run     why the table cannot be made again, in place of all below
    steps       a list of
        run     a command on each line; ``$HOUSES`` and the like stand for data (`DATA`)
        name    what the one command prints is kept as NAME.txt (optional)
        each    words and their values: the step is run for every combination (optional)
    tables      one for each table of the record, in its order
        file    the JSON that holds the figures, by its path or pattern; of a .jsonl file all lines,
                of a .txt file the last line
        query   where a figure stands in it, in JMESPath; by default the score of a probe
        written true where the query finds a whole table, as ``Table.to_dict`` writes it
        labels  the leading columns that name a row; by default ``[row]``, for the first one
        values  of a label: what it stands for in ``file`` and ``query``, a word or several by name
        columns of a heading: words by name; of a written table, the heading there
        each    words and their values: a cell is mean and spread over them
        pair    true where a cell holds a figure of upright and one of turned images
        test_images  how many, for the chance in an accuracy without a spread
        no_accuracies  columns that are none
        left_out     rows or columns that are not made again, with the reason

``$word`` in ``run``, ``file`` and ``query`` is replaced: by data, by the words of a step, or by
those of a cell. Commands run in the folder of results, so paths of their own are relative. A
command is quarterturn's, a script of ours, mkdir, ln or cp. Where the name of a probe's file has to
tell one of two data sets, copy them first: the name is that of the place that links lead to.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml
from cattrs import Converter, transform_error

RECORDS = Path(__file__).parent / "results"

DATA = {
    "HOUSES": "houses: 2,140 photos of four kinds of rooms, a folder for each",
    "TEXTURES": "textures: 1,200 textures, a folder for each of ten kinds",
    "CIFAR10": "cifar10: cifar10.npz, JPEG-75 CIFAR-10",
    "TINY_IMAGENET": "tiny-imagenet-100-lt: train/ and val/ with a folder for each of 100 classes",
    "BCCD": "bccd_voc: 364 blood smears in the layout of PASCAL VOC",
    "WEIGHTS": "tf_efficientnet_lite0.safetensors: EfficientNet-Lite0's ImageNet weights",
}
"""Data that a command may need: what each is, beginning with the name to unpack it by."""

SCORE = (
    "scores[?origin=='$origin' && part=='$part' && classifier=='$classifier' && view=='$view']"
    " | [0].measures.$measure"
)
"""Where a probe's file has the score of some words."""

COMMON = {"origin": "trained", "view": "upright", "measure": "top1"}
"""Words that need not be given."""


@dataclass(frozen=True)
class Step:
    """Commands, once or for every combination of some words; see the top of this file."""

    run: str
    name: str = ""
    each: dict[str, list[Any]] = field(default_factory=dict)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Name and command line of each call; data are not replaced yet."""
        for words in combinations(self.each):
            for line in self.run.splitlines():
                yield replaced(self.name, words), replaced(line, words)


@dataclass(frozen=True)
class TableRecipe:
    """Where the figures of a table stand; see the top of this file."""

    file: str = ""
    query: str = SCORE
    written: bool = False
    labels: list[str] = field(default_factory=lambda: ["row"])
    values: dict[str, dict[Any, Any]] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    each: dict[str, list[Any]] = field(default_factory=dict)
    pair: bool = False
    test_images: int | None = None
    no_accuracies: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How a record is made again; see the top of this file."""

    cost: str = ""
    note: str = ""
    not_run: str = ""
    steps: list[Step] = field(default_factory=list)
    tables: list[TableRecipe] = field(default_factory=list)

    def lines(self) -> list[tuple[str, str]]:
        """Name and command line of every call, in order."""
        return [line for step in self.steps for line in step.lines()]

    def data(self) -> list[str]:
        """The data that the commands need, in the order of `DATA`."""
        used = {word for _, line in self.lines() for word in re.findall(r"\$([A-Z_0-9]+)", line)}
        if unknown := sorted(used - set(DATA)):
            raise ValueError(f"no such data: {', '.join(unknown)}; there are {', '.join(DATA)}")
        return [name for name in DATA if name in used]


def read_recipe(name: str, records: Path = RECORDS) -> Recipe:
    """The recipe of a record.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not of the form above, or steps share a name.
    """
    path = records / f"{name}.yaml"
    stored = yaml.safe_load(path.read_text("utf-8"))
    try:
        recipe = Converter(forbid_extra_keys=True).structure(stored, Recipe)
    except Exception as error:  # cattrs raises groups of errors, one for each field
        raise ValueError(f"{path.name}: {'; '.join(transform_error(error))}") from error
    if bool(recipe.not_run) == bool(recipe.steps):
        raise ValueError(f"{path.name}: expected steps, or not_run with the reason")
    if bool(recipe.steps) != bool(recipe.cost):
        raise ValueError(f"{path.name}: steps need a cost, and only they have one")
    names = [name for name, _ in recipe.lines() if name]
    if len(names) > len(set(names)):
        raise ValueError(f"{path.name}: two steps keep their output under one name: {names}")
    return recipe


def combinations(each: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Every choice of one value for each word; one empty choice where there are no words."""
    for values in itertools.product(*each.values()):
        yield dict(zip(each, values, strict=True))


def replaced(text: str, words: Mapping[str, Any]) -> str:
    """A text with ``$word`` replaced; names of data stay where they are not among the words.

    Raises:
        KeyError: A word is not given.
    """
    kept = {name: f"${name}" for name in DATA}
    return Template(text).substitute({**kept, **words})


def split_line(line: str, data: Mapping[str, str]) -> list[str]:
    """The words of a command line; data may have spaces in their paths."""
    return [replaced(word, data) for word in shlex.split(line)]
