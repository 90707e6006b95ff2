"""``quarterturn label``: which images to label first, as a list to fill in."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from quarterturn.collection.label_candidates import (
    LabelCandidates,
    labelled_in,
    labels_of,
    read_candidates,
)
from quarterturn.collection.options import LabelOptions
from quarterturn.collection.suggestions import Suggestion, suggest
from quarterturn.collection.uncertainty import Uncertainty, uncertainty_of
from quarterturn.config.options import take_options
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError, QuarterturnError
from quarterturn.features.pictures import thumbnail
from quarterturn.files import write_csv
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.pages.contact_sheet import SheetPicture, draw_sheet, with_label
from quarterturn.pages.figures import Figure, save_figure
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.lock import locking_its_run
from quarterturn.runs.output_file import check_out
from quarterturn.runs.training_images import labelled_examples
from quarterturn.weights.weights_as_run import as_run
from quarterturn.wording import counted

logger = logging.getLogger(__name__)

COLUMNS = ["path", "label", "reason", "rank"]
"""Of the list: a manifest once its labels are filled in."""
KNOWN = "labelled before"
"""The reason of a row whose label is known: a list has the labels of those before it too."""
BESIDE = (".png", ".json")
"""Endings of the contact sheet and of its data, beside the list."""
MOST_SHOWN = 120
"""Images on the contact sheet, in twenty rows; the list has them all."""


def label(run: Path | str, options: LabelOptions | None = None, **fields: Any) -> Path:
    """Suggest the images of a collection that are worth labelling first.

    Without a classifier they are the centres of clusters of the features; with one, images on which
    it is uncertain, spread over the collection; see `quarterturn.collection.suggestions.suggest`.

    Args:
        run: The run directory, a file of weights, or ``timm:NAME``.
        options: How many, of which images, and where to write them.
        **fields: Fields of `LabelOptions`, in place of ``options`` or of some of its values.

    Returns:
        The list, a ``.csv`` with the columns ``path``, ``label`` (empty), ``reason`` and ``rank``,
        and below the suggestions the images that have a label, with it. Filled in, it is DATA for
        ``finetune`` and ``probe``, which leave out rows without a label. Beside it are a contact
        sheet, ``.png``, and its data, ``.json``.

    Raises:
        DataError: The images are no files of their own, too many cannot be read, or all are
            labelled.
        ConfigError: ``out`` exists or is no ``.csv``; ``classifier`` is no run of ``finetune``.
    """
    options = take_options(LabelOptions, options, fields)
    if options.out is not None:
        check_out(options.out, [".csv"], overwrite=options.overwrite, beside=BESIDE)
    classifier = None if options.classifier is None else _open_classifier(options.classifier)
    path = as_run(run, options.data, option="--data DATA", download=options.download)
    return _label(path, options, classifier)


@locking_its_run
def _label(run: Path, options: LabelOptions, classifier: Run | None) -> Path:
    """Write the list, by features of a run."""
    opened = Run.open(run)
    out = options.out or _next_list(opened)
    data = opened.data_or_own(options.data, "--data DATA")
    labelled = _labelled(options, classifier)  # before the features, which may take long
    candidates = read_candidates(opened, data, options)
    is_labelled = candidates.are_among(labelled)
    if is_labelled.all():
        raise DataError(
            f"all {len(is_labelled):,} images of {candidates.source.name} have a label: expected "
            "some without one; give others by --data"
        )
    doubts = None if classifier is None else _doubts(classifier, candidates, options)
    found = suggest(
        candidates.features,
        is_labelled,
        options.suggest,
        margins=None if doubts is None else doubts.margins,
        seed=options.seed,
    )
    reasons = [_like(one) if doubts is None else doubts.words(one.place) for one in found]
    paths = [candidates.paths[one.place] for one in found]
    ranked = zip(paths, reasons, range(1, 1 + len(found)), strict=True)
    rows = [[path, "", reason, rank] for path, reason, rank in ranked]
    rows += [[path, words, KNOWN, ""] for path, words in sorted(labelled.items()) if words]
    write_csv(out, COLUMNS, rows)
    save_figure(out.parent, _contact_sheet(out.stem, found, reasons, candidates))
    log_unreadable(candidates.unreadable)
    if len(found) < options.suggest:
        logger.warning(
            f"--suggest asks for {options.suggest} images, and {len(found)} are suggested: the "
            "others have a label or are copies of these"
        )
    log_closing(
        f"{len(found):,} of {len(is_labelled):,} images to label first"
        + (f"; {is_labelled.sum():,} have a label already" if is_labelled.any() else "")
        + ". Fill in the column 'label'; rows without one are left out",
        {"list": out, "contact sheet": out.with_suffix(".png")},
        [("finetune", out, "--from", opened.path, "--trained", "none")],
    )
    return out


def _next_list(run: Run) -> Path:
    """Where the list is written by default."""
    lists = (run.path / f"labels-{n}.csv" for n in count(1))
    return next(p for p in lists if not any(p.with_suffix(s).exists() for s in (".csv", *BESIDE)))


def _open_classifier(path: Path) -> Run:
    """The run of a classifier.

    Raises:
        ConfigError: It is another's.
    """
    run = Run.open(path)
    if run.kind != "finetune":
        raise ConfigError(
            f"--classifier {path} is a run of {run.kind}; expected one of finetune, which "
            "says how sure it is of each label"
        )
    return run


def _labelled(options: LabelOptions, classifier: Run | None) -> dict[str, str]:
    """Identity to label of the images that have one, as far as is known; see `labelled_in`."""
    found: dict[str, str] = {}
    if classifier is not None:
        try:
            data = classifier.data_or_own(None)
            examples = labelled_examples(classifier, data, classifier.index)
            has_own_test = examples.split.test is not None
            found |= labels_of(examples.train, data, are_kept=True)
            found |= labels_of(examples.test, data, are_kept=not has_own_test)
        except QuarterturnError as error:
            logger.warning(
                f"what the classifier has learned from may be suggested again, unless --labelled "
                f"names it: {error}"
            )
    return found | ({} if options.labelled is None else labelled_in(options.labelled))


def _doubts(classifier: Run, candidates: LabelCandidates, options: LabelOptions) -> Uncertainty:
    """What the classifier says of the images."""
    runtime = Runtime(options.device, "32-true", single=True)
    network = classifier.load_network().to(runtime.device)
    assert isinstance(network, ClassifierNetwork)
    crop = classifier.config.data
    return uncertainty_of(
        network,
        candidates.images,
        replace(crop, **options.reading_as(crop)),
        classifier.class_names,
        device=runtime.device,
        workers=options.num_workers,
    )


def _like(one: Suggestion) -> str:
    """That an image stands for others."""
    others = one.cluster_size - 1
    return f"like {counted(others, 'other')}" if others else "like no other"


def _contact_sheet(
    name: str,
    found: list[Suggestion],
    reasons: list[str],
    candidates: LabelCandidates,
) -> Figure:
    """The suggested images with their ranks."""
    places = [one.place for one in found]
    shown = places[:MOST_SHOWN]
    pictures = [
        SheetPicture(
            thumbnail(candidates.images, place, candidates.crop),
            with_label(str(rank), Path(candidates.images.names[place]).stem),
        )
        for rank, place in enumerate(shown, start=1)
    ]
    caption = "Each image is cropped as the network sees it, with its rank and its name."
    if len(shown) < len(found):
        caption += f" The first {len(shown)} of {len(found)} are shown."
    return Figure(
        name,
        "Images to label first",
        caption,
        draw_sheet(pictures),
        {"path": [candidates.paths[place] for place in places], "reason": reasons},
        f"{len(shown)} images, those that help most first",
    )
