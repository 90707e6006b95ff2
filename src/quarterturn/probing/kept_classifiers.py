"""Trained classifiers in ``RUN/classifiers``, to test them again without training them again.

A folder there is of one training protocol on one collection. It holds ``set.json``, what is there
in words; a file for each classifier; and ``images.npz``, which distinguishes other data
from the images that the classifiers were trained with.

Shapes: n images; C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from quarterturn.data.data_argument import locate
from quarterturn.data.imageset import ImageSet
from quarterturn.data.labelled import LabelledData
from quarterturn.engine.checkpoint import load_checkpoint, save_checkpoint
from quarterturn.errors import CheckpointError, DataError
from quarterturn.files import atomic_write, write_json
from quarterturn.kept_files import read_arrays
from quarterturn.methods.frozen_features import build_classifiers
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.runs import Run
from quarterturn.runs.protocols import protocol_id
from quarterturn.runs.record_files import read_record, to_json

FOLDER = "classifiers"
SET, IMAGES = "set.json", "images.npz"
OF_THE_TEST = (
    "test_fingerprint",
    "labels_fingerprint",
    "test_images",
    "test_crops",
    "seeds",
    "many",
    "few",
)
"""What a protocol says of its test; the rest is what the classifiers have learned by."""
OF_THE_DATA = (
    "training_fingerprint",
    "training_images",
    "training_labels",
    "held_out",
    "long_tail",
)
"""What the rest says of the images; the others are settings."""
RECOURSE = "delete it, and probe without --evaluate-only to train it again"


@dataclass(frozen=True)
class KeptClassifier:
    """One trained classifier.

    Attributes:
        file: Its name in the folder of its set.
        origin: Whose features it reads, as for `quarterturn.runs.records.ScoreName`; likewise the
            next two.
        part: See there.
        classifier: See there.
        seed: It was trained by.
        shape: Of the features of an image.
        class_counts: (C,) images of each class that it has learned from.
        backbone: Fingerprint of the network whose features it reads.
    """

    file: str
    origin: str
    part: str
    classifier: str
    seed: int
    shape: tuple[int, ...]
    class_counts: tuple[int, ...]
    backbone: str


@dataclass(frozen=True)
class ClassifierSet:
    """Classifiers that were trained by one protocol on one collection.

    Attributes:
        preset: Name of the protocol.
        data: DATA that they have learned from, as the user wrote it.
        weights: Fingerprint of the run's weights then.
        protocol: All settings of training and test.
        learned_by: Those of `OF_THE_TEST` left out.
        class_names: (C,) names of the classes.
        classifiers: One for each part of the features, classifier and seed.
    """

    preset: str
    data: str
    weights: str
    protocol: dict[str, Any]
    learned_by: dict[str, Any]
    class_names: tuple[str, ...]
    classifiers: tuple[KeptClassifier, ...] = ()

    @property
    def folder_name(self) -> str:
        """``imagenet-linear-`` and a hash of what the classifiers have learned by."""
        return f"{self.preset}-{protocol_id({**self.learned_by, 'weights': self.weights})}"

    @property
    def learned_from(self) -> dict[str, Any]:
        """The images that the classifiers have learned from."""
        return {key: self.learned_by[key] for key in OF_THE_DATA if key in self.learned_by}


def classifier_set(
    preset: str, data: str, weights: str, split: LabelledData, protocol: dict[str, Any]
) -> ClassifierSet:
    """The set to which classifiers belong that are trained on some images; still empty."""
    protocol = json.loads(json.dumps(protocol))  # as it will be read back
    learned_by = {key: value for key, value in protocol.items() if key not in OF_THE_TEST}
    learned_by["training_labels"] = labels_hash(split.train)
    names = tuple(split.train.class_names)
    return ClassifierSet(preset, data, weights, protocol, learned_by, names)


def labels_hash(images: ImageSet) -> str:
    """A short hash of labels and class names."""
    digest = hashlib.sha256(json.dumps(images.class_names).encode())
    digest.update(np.ascontiguousarray(images.targets).data)
    return digest.hexdigest()[:16]


@dataclass
class ClassifierStore:
    """The classifiers in a run's folder, by sets.

    Attributes:
        run: The run.
    """

    run: Run

    @property
    def folder(self) -> Path:
        """Where the sets are."""
        return self.run.path / FOLDER

    def begin(self, of: ClassifierSet, images: ImageSet, data: str) -> None:
        """Make the folder of a set, with the images that its classifiers are trained with."""
        folder = self.folder / of.folder_name
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / IMAGES).exists():
            with atomic_write(folder / IMAGES) as file:
                np.savez(file, identities=_hashes(images.identities(locate(data))))

    def keep(self, of: ClassifierSet, kept: KeptClassifier, classifier: nn.Module) -> None:
        """Write a trained classifier, in place of an earlier one of its name."""
        folder = self.folder / of.folder_name
        state = {name: values.cpu() for name, values in classifier.state_dict().items()}
        save_checkpoint(folder / kept.file, {"network": state, "about": to_json(kept)})
        earlier = self.read(folder) if (folder / SET).exists() else of
        others = [each for each in earlier.classifiers if each.file != kept.file]
        write_json(folder / SET, to_json(replace(of, classifiers=(*others, kept))))

    def load(self, of: ClassifierSet, kept: KeptClassifier, heads: ProbeHeadsOptions) -> nn.Module:
        """Read a classifier back.

        Raises:
            CheckpointError: Its file is missing or damaged, or does not fit what is said of it.
        """
        path = self.folder / of.folder_name / kept.file
        state = load_checkpoint(path, recourse=RECOURSE)
        (built,) = build_classifiers(
            {kept.part: kept.shape}, len(of.class_names), heads, kept.seed
        ).values()
        try:
            built.load_state_dict(state["network"])
        except RuntimeError as error:
            raise CheckpointError(
                f"{path} does not fit its description in {SET}: {error}; {RECOURSE}"
            ) from error
        return built.eval()

    def all(self) -> list[ClassifierSet]:
        """All sets, those written last at the end."""
        files = sorted(self.folder.glob(f"*/{SET}"), key=lambda file: file.stat().st_mtime_ns)
        return [self.read(file.parent) for file in files]

    def refuse_known(self, of: ClassifierSet, tests: ImageSet, data: str) -> None:
        """Refuse test images that the classifiers were trained with, or that were held out beside.

        Raises:
            DataError: There are some.
            CheckpointError: The list of images is missing or damaged.
        """
        path = self.folder / of.folder_name / IMAGES
        try:
            known = read_arrays(path)["identities"]
        except (FileNotFoundError, KeyError) as error:
            raise CheckpointError(f"there is no list of images in {path}; {RECOURSE}") from error
        shared = np.isin(_hashes(tests.identities(locate(data))), known).sum()
        if shared:
            raise DataError(
                f"{shared:,} of the {len(tests):,} images of {data} are of the {of.data} that the "
                "classifiers were trained with; expected none of them, or DATA and options such as "
                "--limit as in that training, to test on the images that it held out"
            )

    def describe(self, sets: Sequence[ClassifierSet]) -> str:
        """What is kept, in words."""
        if not sets:
            return f"nothing is kept in {self.folder}"
        return "kept: " + "; ".join(
            f"{each.preset} on {each.data} ({each.protocol['epochs']} epochs, "
            f"{_listed(c.part for c in each.classifiers)})"
            for each in sets
        )

    @staticmethod
    def read(folder: Path) -> ClassifierSet:
        """The set in a folder.

        Raises:
            CheckpointError: Its description is damaged.
        """
        return read_record(folder / SET, ClassifierSet)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _hashes(identities: set[str]) -> NDArray[np.uint64]:
    """(n,) sorted numbers that tell images from each other, as far as 64 bits do."""
    digests = (
        hashlib.blake2b(each.encode(errors="surrogateescape"), digest_size=8).digest()
        for each in identities
    )
    return np.sort(np.frombuffer(b"".join(digests), np.uint64))
