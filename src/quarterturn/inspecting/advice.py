"""Which preset and flags to use, each for a reason that was found in the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quarterturn.config.shared import usable_cores
from quarterturn.data.imageset import FileImages
from quarterturn.inspecting import finding_kinds as kinds
from quarterturn.inspecting.class_counts import IMBALANCED, ClassCounts
from quarterturn.inspecting.findings import Finding
from quarterturn.inspecting.inspection import Inspection
from quarterturn.inspecting.training_cost import TrainingCost
from quarterturn.methods.configuration import Config
from quarterturn.methods.memory import SAFE_SHARE, gigabytes
from quarterturn.progress import duration
from quarterturn.runs.closing import command

SIDE_STEP, LEAST_SIDE = 8, 16
"""Pixels: an advised ``--image-size`` is a multiple of the one, and no less than the other."""
FEW_IMAGES = 20_000
"""Photos from which on training from scratch is not called short of images."""
PHOTO_SIDE = 64
"""Pixels of the short side from which images are worth showing to networks that somebody has
trained on photos."""
SLOW_READING = 0.25
"""Processor time of reading, as a share of a step's, from which a cache is worth its room."""
CORES_FOR_WORKERS = 4
"""Processor cores from which more than the two default workers are of use."""
HOUR_S = 3_600
FREE_SHARE = 0.9
"""Of the disk that a run or a cache may take before it is advised against."""


@dataclass(frozen=True)
class Advice:
    """Something to do.

    Attributes:
        use: A flag of ``pretrain``, or another command.
        reason: What was found.
        of_pretrain: Whether it is a flag of ``pretrain``, to be added to the advised command.
    """

    use: str
    reason: str
    of_pretrain: bool = False


def fitting_size(found: Inspection, config: Config) -> int:
    """The ``--image-size`` that fits most images: the recipe's, or less where they are smaller."""
    if not len(found):
        return config.data.image_size
    side = int(np.median(found.sizes.min(axis=1)))
    fitting = max(LEAST_SIDE, side // SIDE_STEP * SIDE_STEP)
    return min(config.data.image_size, fitting)


def all_advice(
    preset: str,
    found: Inspection,
    findings: Sequence[Finding],
    classes: ClassCounts,
    cost: TrainingCost | None,
    *,
    recipe_size: int,
    max_bad_fraction: float,
) -> list[Advice]:
    """What to do about what was found, and how to train, the most important first.

    Args:
        preset: Name of the recipe that DATA gets.
        found: The images.
        findings: By `all_findings`.
        classes: Their classes.
        cost: Of a pretraining; None where there can be none.
        recipe_size: The recipe's ``--image-size``.
        max_bad_fraction: Share of unreadable files at which a training stops.
    """
    by_kind = {finding.kind: finding for finding in findings}
    advice = _of_findings(found, by_kind, max_bad_fraction)
    if cost is not None:
        advice += _of_size(found, cost, recipe_size)
        advice += _of_time(preset, found, cost)
        advice += _of_machine(cost)
    imbalance = None if classes.has_several_labels else classes.imbalance
    if imbalance is not None and imbalance >= IMBALANCED:
        most, least = max(classes.train.values()), min(n for n in classes.train.values() if n)
        advice.append(
            Advice(
                command("finetune", "DATA", "--loss", "ldam", "--reweight", "drw"),
                f"classes have from {most:,} to {least:,} training images, "
                f"{imbalance:,.0f} times as many",
            )
        )
    return advice


def pretrain_words(data: str, preset: str, is_default: bool, advice: Sequence[Advice]) -> list[str]:
    """The words of the advised ``pretrain``, without the program's name."""
    flags = [word for one in advice if one.of_pretrain for word in one.use.split()]
    return ["pretrain", data, *([] if is_default else ["--preset", preset]), *flags]


def _of_findings(
    found: Inspection, by_kind: dict[kinds.Kind, Finding], max_bad_fraction: float
) -> list[Advice]:
    advice = []
    num_files = len(found) + len(found.unreadable)
    if kinds.UNREADABLE in by_kind and len(found.unreadable) > max_bad_fraction * num_files:
        share = len(found.unreadable) / num_files
        advice.append(
            Advice(
                f"--max-bad-fraction {np.ceil(100 * share) / 100:.2f}",
                f"{share:.1%} of the files cannot be read, more than the {max_bad_fraction:.0%} at "
                "which a training stops; better, mend or remove them",
                of_pretrain=True,
            )
        )
    if kinds.ACROSS in by_kind:
        number = len(by_kind[kinds.ACROSS].finds)
        advice.append(
            Advice(
                "remove them from one split, as doctor.csv lists them",
                f"{number:,} {_images(number)} of one split {_are(number)} in another, so scores "
                "would be too high",
            )
        )
    if kinds.WITHIN in by_kind and isinstance(found.source.train, FileImages):
        number = len(by_kind[kinds.WITHIN].finds)
        advice.append(
            Advice(
                command("duplicates", "DATA"),
                f"{number:,} {_images(number)} {_are(number)} there twice; it looks for resized "
                "and turned copies too, and can move them away",
            )
        )
    return advice


def _of_size(found: Inspection, cost: TrainingCost, recipe_size: int) -> list[Advice]:
    side = cost.config.data.image_size
    if side >= recipe_size:
        return []
    smaller = int((found.sizes.min(axis=1) < recipe_size).sum())
    return [
        Advice(
            f"--image-size {side}",
            f"{smaller:,} of {len(found):,} images are smaller than the recipe's {recipe_size} px, "
            "and enlarging shows nothing more",
            of_pretrain=True,
        )
    ]


def _of_time(preset: str, found: Inspection, cost: TrainingCost) -> list[Advice]:
    advice = []
    is_photos = preset == "folder" and np.median(found.sizes.min(axis=1)) >= PHOTO_SIDE
    num_images = int((found.splits == 0).sum())
    if is_photos and num_images < FEW_IMAGES:
        advice.append(
            Advice(
                "--from FILE, or --from timm:NAME",
                f"{num_images:,} images are few to learn from: trained weights, if you have some, "
                "know more than they can teach, and eight epochs adapt them",
            )
        )
    if cost.time is not None and cost.whole_s is not None and cost.whole_s > HOUR_S:
        within = cost.time.epochs_within(HOUR_S)
        in_an_hour = f"{within:,} fit into an hour" if within else "not one fits into an hour"
        advice.append(
            Advice(
                "--budget 12h, or another time",
                f"the recipe's {cost.epochs:,} epochs take about {duration(cost.whole_s)} here, "
                f"and {in_an_hour}",
            )
        )
    return advice


def _of_machine(cost: TrainingCost) -> list[Advice]:
    advice = []
    of_files = cost.cache_bytes is not None
    if of_files and usable_cores() >= CORES_FOR_WORKERS and cost.config.machine.workers != "auto":
        advice.append(
            Advice(
                "--workers auto",
                f"{usable_cores()} processor cores may be used, and 2 processes decode by default",
                of_pretrain=True,
            )
        )
    if cost.cache_bytes is not None and cost.reading_share > SLOW_READING and cost.epochs > 1:
        room = f"the cache takes about {gigabytes(cost.cache_bytes)}"
        if cost.cache_bytes < FREE_SHARE * cost.free_disk_bytes:
            advice.append(
                Advice(
                    "--cache auto",
                    f"reading an image takes {1000 * cost.image_s:.0f} ms, in each epoch anew; "
                    f"{room}",
                    of_pretrain=True,
                )
            )
    batch_size = cost.config.run.batch_size
    memory, free = cost.memory_bytes, cost.free_bytes
    if memory is not None and free is not None and memory > SAFE_SHARE * free:
        fitting = max(2, int(batch_size * SAFE_SHARE * free / memory))
        advice.append(
            Advice(
                f"--batch-size {fitting}",
                f"a step of {batch_size} images takes about {gigabytes(memory)}, and "
                f"{gigabytes(free)} are free",
                of_pretrain=True,
            )
        )
    if cost.run_bytes > FREE_SHARE * cost.free_disk_bytes:
        advice.append(
            Advice(
                "--out RUN on another disk",
                f"a run takes about {gigabytes(cost.run_bytes)}, and "
                f"{gigabytes(cost.free_disk_bytes)} are free here",
            )
        )
    return advice


def _images(number: int) -> str:
    return "image" if number == 1 else "images"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"
