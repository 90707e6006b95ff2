"""What a few labels are worth: solved, trained by steps, at random, and as ``label`` suggests.

python benchmarks/few_labels.py solved PHOTOS RUN OUT --by-steps    # finetune, scikit-learn, steps
python benchmarks/few_labels.py suggested PHOTOS RUN OUT    # label --suggest N beside N at random
python benchmarks/few_labels.py rounds PHOTOS RUN OUT       # 40 as suggested, and 40 more

PHOTOS has a folder for each class; RUN is a run, or a file of weights. Every figure is the accuracy
on all photos that are not labelled, by which nothing is chosen.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quarterturn import ConfigError, embed, finetune, label
from quarterturn.metrics.classification import mean_and_spread
from quarterturn.pages.tables import Table
from quarterturn.probing.few_shot import few_shot_classifier
from quarterturn.runs.classifier_results import read_classifier_result

PER_CLASS = 20
NUMBERS = (20, 40, 80)
EPOCHS = 15
"""Of the training by steps: one step each, the trial that gave chance."""


class Photos:
    """All photos by name, with their classes and their features."""

    def __init__(self, root: Path, run: Path, out: Path, workers: int) -> None:
        self.root = root.resolve()
        out.mkdir(parents=True, exist_ok=True)
        file = out / "features.npz"
        if not file.exists():
            try:
                embed(run, root, out=file, workers=workers, half="both")
            except ConfigError:  # features without halves
                embed(run, root, out=file, workers=workers)
        with np.load(file) as found:
            self.values, self.names = found["embeddings"], found["names"].tolist()
            self.labels, self.class_names = found["labels"], found["class_names"].tolist()
        self.place = {str(self.root / name): i for i, name in enumerate(self.names)}

    def draw(self, seed: int, per_class: int) -> NDArray[np.int64]:
        """As many of each class."""
        random = np.random.default_rng(seed)
        members = [np.flatnonzero(self.labels == c) for c in range(len(self.class_names))]
        return np.concatenate([random.permutation(of)[:per_class] for of in members])

    def others(self, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
        """All that are not drawn."""
        return np.setdiff1d(np.arange(len(self.names)), drawn)

    def accuracy(self, drawn: NDArray[np.int64]) -> float:
        """Of what ``finetune`` solves, on all others."""
        rest = self.others(drawn)
        classifier, _ = few_shot_classifier(self.values[drawn], self.labels[drawn])
        return float((classifier.predict(self.values[rest]) == self.labels[rest]).mean())

    def by_scikit_learn(self, drawn: NDArray[np.int64]) -> float:
        """The same by the textbook: scaler, logistic regression, C by the same rule."""
        folds = StratifiedKFold(5).split(drawn, self.labels[drawn])
        search = GridSearchCV(
            LogisticRegression(max_iter=1000), {"C": [0.001, 0.01, 0.1, 1.0]}, cv=[next(folds)]
        )
        rest = self.others(drawn)
        model: Any = make_pipeline(StandardScaler(), search)
        model.fit(self.values[drawn], self.labels[drawn])
        return float(model.score(self.values[rest], self.labels[rest]))

    def write(self, file: Path, drawn: NDArray[np.int64], *, with_tests: bool) -> None:
        """A manifest of labelled photos, and of all others as its test split."""
        parts = [("train", drawn), ("test", self.others(drawn) if with_tests else [])]
        with file.open("w", newline="") as written:
            writer = csv.writer(written)
            writer.writerow(["path", "label", "split"])
            for split, places in parts:
                for i in places:
                    name = self.class_names[self.labels[i]]
                    writer.writerow([self.root / self.names[i], name, split])

    def listed(self, file: Path) -> NDArray[np.int64]:
        """The photos that a list of ``label`` suggests."""
        rows = csv.DictReader(file.read_text().splitlines())
        return np.array([self.place[row["path"]] for row in rows if not row["label"]])


def solved(
    photos: Photos,
    run: Path,
    out: Path,
    seeds: int,
    by_command: int,
    workers: int,
    *,
    by_steps: bool,
) -> None:
    ours, theirs, by_finetune = [], [], []
    for seed in range(seeds):
        drawn = photos.draw(seed, PER_CLASS)
        ours.append(photos.accuracy(drawn))
        theirs.append(photos.by_scikit_learn(drawn))
        if seed < by_command:
            photos.write(out / f"{seed}.csv", drawn, with_tests=True)
            by_finetune.append(top1(run, out, seed, workers))
    rows: list[list[Any]] = [["scikit-learn on the features of embed", mean_and_spread(theirs)]]
    rows.append(["the same as finetune solves it", mean_and_spread(ours)])
    rows.append([f"finetune, seeds 0 to {by_command - 1}", mean_and_spread(by_finetune)])
    if by_steps:
        settings = {"solver": "steps", "epochs": EPOCHS, "diagnostics_every": EPOCHS}
        trained = mean_and_spread([top1(run, out, 0, workers, **settings)])
        rows.append([f"finetune --solver steps --epochs {EPOCHS}, seed 0", trained])
    print("finetune less scikit-learn, seed by seed:")
    print([round(a - b, 5) for a, b in zip(by_finetune, theirs, strict=False)])
    show(f"{PER_CLASS} labels of each class, {seeds} draws", ["classifier", "top-1"], rows)


def top1(run: Path, out: Path, seed: int, workers: int, **settings: Any) -> float:
    where = out / f"finetune-{seed}-{settings.get('solver', 'auto')}"
    given = {"start": run, "trained": "none", "workers": workers, "overwrite": True, **settings}
    (made,) = finetune(out / f"{seed}.csv", out=where, **given)
    return float(read_classifier_result(made.path).figures["top1"])


def suggested(photos: Photos, run: Path, out: Path, seeds: int, workers: int) -> None:
    rows: list[list[Any]] = []
    for number in NUMBERS:
        at_random = [
            photos.accuracy(np.random.default_rng(seed).permutation(len(photos.names))[:number])
            for seed in range(seeds)
        ]
        lists = [
            suggest(run, photos, out / f"{number}-{seed}.csv", number, seed, workers)
            for seed in range(seeds)
        ]
        rows.append([number, "at random", mean_and_spread(at_random)])
        rows.append([number, "as label suggests", accuracies(photos, lists)])
    show(f"{seeds} seeds each", ["labels", "chosen", "top-1"], rows)


def rounds(photos: Photos, run: Path, out: Path, seeds: int, workers: int) -> None:
    """Forty labels as suggested, then forty more in three ways."""
    more: dict[str, list[NDArray[np.int64]]] = {"at random": [], "centres": [], "unsure": []}
    for seed in range(seeds):
        first = suggest(run, photos, out / f"first-{seed}.csv", 40, seed, workers)
        known = out / f"known-{seed}.csv"
        photos.write(known, first, with_tests=False)
        where, given = out / f"classifier-{seed}", {"trained": "none", "overwrite": True}
        (made,) = finetune(known, start=run, out=where, workers=workers, **given)
        rest = np.random.default_rng(seed).permutation(photos.others(first))[:40]
        more["at random"].append(np.concatenate([first, rest]))
        for name, option in [
            ("centres", {"labelled": known}),
            ("unsure", {"classifier": made.path}),
        ]:
            file = out / f"{name}-{seed}.csv"
            second = suggest(run, photos, file, 40, seed, workers, **option)
            assert not np.intersect1d(first, second).size
            more[name].append(np.concatenate([first, second]))
    rows: list[list[Any]] = [[name, accuracies(photos, drawn)] for name, drawn in more.items()]
    show(f"40 as label suggests and 40 more, {seeds} seeds", ["40 more", "top-1"], rows)


def suggest(
    run: Path, photos: Photos, file: Path, number: int, seed: int, workers: int, **options: Any
) -> NDArray[np.int64]:
    given = {"suggest": number, "seed": seed, "workers": workers, "overwrite": True, **options}
    return photos.listed(label(run, data=photos.root, out=file, **given))


def accuracies(photos: Photos, lists: Iterable[NDArray[np.int64]]) -> dict[str, float | None]:
    return mean_and_spread([photos.accuracy(drawn) for drawn in lists])


def show(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    shown = [
        [cell if not isinstance(cell, dict) else percents(cell) for cell in row] for row in rows
    ]
    Console(width=120).print(Table(title, columns, shown))
    print(json.dumps({"columns": columns, "rows": rows}))


def percents(found: dict[str, Any]) -> str:
    spread = "" if found["spread"] is None else f" ± {100 * found['spread']:.1f}"
    return f"{100 * found['mean']:.1f}{spread}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("what", choices=["solved", "suggested", "rounds"])
    arguments.add_argument("photos", type=Path)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--by-command", type=int, default=5, help="seeds of finetune itself")
    arguments.add_argument("--by-steps", action="store_true", help="train one by steps too")
    arguments.add_argument("--workers", type=int, default=0)
    given = arguments.parse_args()
    photos = Photos(given.photos, given.run, given.out, given.workers)
    if given.what == "solved":
        where, numbers = (photos, given.run, given.out), (given.seeds, given.by_command)
        solved(*where, *numbers, given.workers, by_steps=given.by_steps)
    elif given.what == "suggested":
        suggested(photos, given.run, given.out, given.seeds, given.workers)
    else:
        rounds(photos, given.run, given.out, given.seeds, given.workers)


if __name__ == "__main__":
    main()
