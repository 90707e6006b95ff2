"""``quarterturn predict``: labels or objects in images, by a classifier or a detector."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.classifying.cautions import near_chance
from quarterturn.classifying.evaluation import Classified, head_probabilities
from quarterturn.classifying.options import PredictOptions
from quarterturn.config.options import take_options
from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import words_of
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError
from quarterturn.features.cached_extraction import cached_features
from quarterturn.features.network_features import choose_part
from quarterturn.features.run_cache import run_cache
from quarterturn.features.source_pass import run_on_all_splits
from quarterturn.files import write_csv
from quarterturn.methods.classifier import ClassifierNetwork
from quarterturn.runs import Run
from quarterturn.runs.classifier_results import read_classifier_result
from quarterturn.runs.closing import log_closing, log_unreadable
from quarterturn.runs.output_file import check_out
from quarterturn.runs.start import warn_unfinished
from quarterturn.wording import counted

PRESENT_FROM = 0.5
"""Probability from which an image has a label, where it may have several."""

logger = logging.getLogger(__name__)


def predict(
    run: Path | str,
    data: Path | str,
    options: PredictOptions | None = None,
    **fields: Any,
) -> Path:
    """Write the most probable classes of every image, upright, by its centre crop; or its objects.

    Args:
        run: A run of ``finetune``, or of ``detect``.
        data: DATA, all of its splits; its labels, where it has any, are not read.
        options: Which file, and how; ``out`` has no default.
        **fields: Fields of `PredictOptions`, in place of ``options`` or of some of its values.

    Returns:
        The file, with the columns ``name``, ``split``, ``label`` and ``probability``, then
        ``label_2``, ``probability_2`` and so on. Where images have several labels each, the column
        ``labels`` before them has all that are more probable than not, separated by ``|``. Of a
        detector, each line is an object: ``name``, ``split``, ``label``, ``score`` and the corners
        ``x1``, ``y1``, ``x2``, ``y2``; the same as COCO's JSON and drawn pictures are beside it.

    Raises:
        ConfigError: The run has no classifier; the file exists or is none to be written.
        DataError: There are no images, or too many that cannot be read.
    """
    options = take_options(PredictOptions, options, fields)
    out = options.out
    check_out(out, [".csv"], overwrite=options.overwrite)
    opened = Run.open(run)
    if not opened.class_names:
        raise ConfigError(
            f"{opened.path} has no classifier: it is a run of {opened.kind}. quarterturn finetune "
            f"DATA --from {opened.path} makes one from labelled images"
        )
    if opened.kind == "detect":
        return _predict_objects(opened, str(data), options)
    runtime = Runtime(options.device, "32-true", single=True)
    network = opened.load_network().to(runtime.device)
    assert isinstance(network, ClassifierNetwork)
    if options.post_hoc_adjustment is not None:
        network.post_hoc_adjustment = options.post_hoc_adjustment
    reading = options.reading_as(opened.config.data)
    crop = replace(opened.config.data, **reading)
    source = open_source(
        str(data),
        index=opened.index,
        min_images=1,
        **reading,
    )
    source.log_summary(uses_all=True)

    model, part = choose_part(network, layer=network.backbone.layers[-1])
    with run_cache(opened) as cache:

        def find(images: ImageSet, failed: dict[int, str]) -> Classified:
            features = cached_features(
                images,
                crop,
                model,
                cache,
                device=runtime.device,
                workers=options.num_workers,
                failed=failed,
            )[part]
            return Classified(
                head_probabilities(network, features.values, runtime.device), features.indices, None
            )

        by_split, unreadable = run_on_all_splits("predict", source, find, crop.max_bad_fraction)
    rows: list[list[object]] = []
    for split, found in by_split.items():
        names = [source.all_splits[split].names[i] for i in found.indices]
        for name, likely in zip(
            names,
            _most_probable(found.probabilities, opened.class_names, options.top_k),
            strict=True,
        ):
            rows.append([name, split, *likely])
        if network.several_labels:
            first = len(rows) - len(names)
            for row, sets in zip(rows[first:], found.probabilities >= PRESENT_FROM, strict=True):
                row.insert(2, words_of(sets, opened.class_names))
    num_columns = min(options.top_k, len(opened.class_names))
    _write(out, rows, num_columns, several_labels=network.several_labels)
    warn_unfinished(opened)
    _warn_of_guessing(opened)
    log_unreadable(unreadable)
    log_closing(
        f"{len(rows):,} images, {len(opened.class_names)} classes",
        {"labels": out},
        [
            ("embed", opened.path, data, "--out", out.with_suffix(".npz")),
            ("export", opened.path, "--format", "safetensors"),
            ("probe", opened.path, opened.data or "DATA"),
        ],
    )
    return out


def _warn_of_guessing(run: Run) -> None:
    """Warn where the classifier's own test could not tell it from guessing."""
    with suppress(FileNotFoundError):
        if words := near_chance(read_classifier_result(run.path).figures):
            logger.warning(f"{run.path}: {words}")


def _predict_objects(run: Run, data: str, options: PredictOptions) -> Path:
    """Find objects by a detector; see `predict`."""
    # Detectors need torchvision, which takes as long to load as torch.
    from quarterturn.classifying.predicted_objects import (
        draw_objects,
        find_in_source,
        write_objects,
    )

    out = options.out
    pictures = out.with_name(f"{out.stem}-pictures")
    check_out(out, [".csv"], overwrite=options.overwrite, beside=[".json"])
    if options.draw and pictures.exists() and not options.overwrite:
        raise ConfigError(f"{pictures} exists; choose another --out, or give --overwrite")
    runtime = Runtime(options.device, "32-true", single=True)
    network = run.load_network().to(runtime.device)
    reading = options.reading_as(run.config.data)
    config = replace(run.config, data=replace(run.config.data, **reading))
    source = open_source(data, index=run.index, min_images=1, **reading)
    source.log_summary(uses_all=True)
    by_split, unreadable = find_in_source(network, source, config, runtime, options.num_workers)
    about = (source, by_split, run.class_names, options.threshold)
    count = write_objects(out, *about)
    written = {"objects": out, "COCO": out.with_suffix(".json")}
    if options.draw and draw_objects(pictures, *about, options.draw):
        written["pictures"] = pictures
    warn_unfinished(run)
    log_unreadable(unreadable)
    surest = max(
        (float(each.found.score.max(initial=0.0)) for each in by_split.values()), default=0.0
    )
    if not count and surest:
        logger.warning(
            f"no object has a score of --threshold {options.threshold:g} or more; the surest has "
            f"{surest:.2g}: give a lower --threshold, or train for more iterations"
        )
    num_images = sum(len(each.indices) for each in by_split.values())
    log_closing(
        f"{counted(count, 'object')} of {len(run.class_names)} classes in "
        f"{counted(num_images, 'image')}, from a score of {options.threshold:g} on",
        written,
        [("report", run.path)],
    )
    return out


def _most_probable(
    probabilities: NDArray[np.float32], class_names: tuple[str, ...], top_k: int
) -> list[list[object]]:
    """For each image its classes and their probabilities in turn, most probable first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    return [
        [cell for c in classes for cell in (class_names[c], f"{row[c]:.6f}")]
        for row, classes in zip(probabilities, order, strict=True)
    ]


def _write(out: Path, rows: list[list[object]], num_classes: int, *, several_labels: bool) -> None:
    places = ["", *(f"_{place}" for place in range(2, num_classes + 1))]
    columns = [f"{column}{place}" for place in places for column in ("label", "probability")]
    write_csv(out, ["name", "split", *(["labels"] if several_labels else []), *columns], rows)
