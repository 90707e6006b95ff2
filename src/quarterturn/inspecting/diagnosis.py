"""What `doctor` found in a collection, as tables and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from quarterturn.inspecting.advice import Advice
from quarterturn.inspecting.class_counts import ClassCounts
from quarterturn.inspecting.findings import (
    BLANK_SPREAD,
    BLURRED_SHARPNESS,
    DARK_BRIGHTNESS,
    LONG,
    SMALL,
    USUAL_SHARE,
    Finding,
)
from quarterturn.inspecting.inspection import Inspection
from quarterturn.inspecting.training_cost import TrainingCost
from quarterturn.methods.memory import gigabytes
from quarterturn.pages.tables import Cell, Table, percent
from quarterturn.progress import duration
from quarterturn.runs.closing import command
from quarterturn.wording import counted

THRESHOLDS = {
    "blank_below_spread": BLANK_SPREAD,
    "dark_below_brightness": DARK_BRIGHTNESS,
    "blurred_below_sharpness": BLURRED_SHARPNESS,
    "small_below_share_of_image_size": SMALL,
    "long_above_ratio": LONG,
    "usual_above_share": USUAL_SHARE,
}
QUANTILES = {"smallest": 0.0, "median": 0.5, "largest": 1.0}


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a collection, and what to do.

    Attributes:
        data: DATA.
        preset: The recipe that the images are measured by.
        found: The images.
        findings: Worst first, notes after them.
        classes: Their classes.
        image_size: Side of the crops that a training would show.
        cost: Of a pretraining; None where there are too few images.
        advice: What to do, the most important first.
        pretrain: Words of the advised ``pretrain``.
    """

    data: str
    preset: str
    found: Inspection
    findings: Sequence[Finding]
    classes: ClassCounts
    image_size: int
    cost: TrainingCost | None
    advice: Sequence[Advice]
    pretrain: Sequence[str]

    @property
    def defects(self) -> list[Finding]:
        """What harms a training or its figures."""
        return [finding for finding in self.findings if not finding.is_note]

    @property
    def notes(self) -> list[Finding]:
        """What is only worth knowing."""
        return [finding for finding in self.findings if finding.is_note]

    def is_common(self, finding: Finding) -> bool:
        """Whether a note is of so large a share of the images that a list would say nothing."""
        return finding.is_note and finding.share is not None and finding.share > USUAL_SHARE

    def outcome(self) -> str:
        """What came out, in one line."""
        number = len(self.found)
        images = "1 image" if number == 1 else f"{number:,} images"
        if not self.defects:
            return f"{images}: nothing found that would harm a training"
        listed = ", ".join(f"{each.kind.title} ({len(each.finds):,})" for each in self.defects)
        return f"{images}; found, worst first: {listed}"

    def tables(self) -> list[Table]:
        """What the terminal shows."""
        tables = [self.findings_table()] if self.findings else []
        tables += [self.images_table(), self.cost_table()]
        return [*tables, *([self.advice_table()] if self.advice else [])]

    def findings_table(self) -> Table:
        """Findings and notes, worst first."""
        rows: list[list[Cell]] = [
            [
                f"note: {each.kind.title}" if each.is_note else each.kind.title,
                len(each.finds),
                each.share,
                _meaning(each),
            ]
            for each in self.findings
        ]
        title = f"What was found in {self.found.source.name}"
        return Table(title, ["finding", "number", "share", "what it means"], rows)

    def images_table(self) -> Table:
        """Counts and sizes."""
        found = self.found
        rows: list[list[Cell]] = [
            [f"images in {split}", f"{int((found.splits == number).sum()):,}"]
            for number, split in enumerate(found.split_names)
        ]
        if len(found):
            short = found.sizes.min(axis=1)
            sides = ", ".join(f"{name} {side:,}" for name, side in self.short_sides().items())
            below = int((short < self.image_size).sum())
            rows += [
                ["short sides in px", sides],
                [f"smaller than --image-size {self.image_size}", f"{below:,}"],
            ]
        if self.classes.train:
            numbers = list(self.classes.train.values())
            kept = f"{len(numbers):,}, of {max(numbers):,} to {min(numbers):,} training images"
            rows.append(["classes", kept])
        elif reason := found.source.train.unlabelled:
            rows.append(["labels", f"none: {reason}"])
        return Table(f"Images of {found.source.name}", ["", "number"], rows)

    def cost_table(self) -> Table:
        """What a pretraining takes on this machine."""
        config = None if self.cost is None else self.cost.config
        rows: list[list[Cell]] = []
        if self.cost is None or config is None:
            rows.append(["training", "there are too few images for one"])
        else:
            cost, time = self.cost, self.cost.time
            recipe = (
                f"{self.preset}: {config.method.name} with {config.model.backbone} at "
                f"{config.data.image_size} px, {counted(config.run.epochs, 'epoch')} in batches of "
                f"{config.run.batch_size}"
            )
            rows.append(["preset", recipe])
            if time is not None:
                rows += [
                    ["an epoch", f"{duration(time.epoch_s)} on {cost.device}"],
                    ["all epochs", duration(time.training_s(cost.epochs))],
                ]
            if cost.memory_bytes is not None:
                free = "" if cost.free_bytes is None else f"; {gigabytes(cost.free_bytes)} are free"
                rows.append(["memory of a step", gigabytes(cost.memory_bytes) + free])
            free = gigabytes(cost.free_disk_bytes)
            rows.append(["run on the disk", f"{gigabytes(cost.run_bytes)}; {free} are free"])
            if cost.cache_bytes is not None:
                rows.append(["cache, if one is made", gigabytes(cost.cache_bytes)])
            rows.append(["reading an image", f"{1000 * cost.image_s:.1f} ms of one core"])
        note = "Estimated: from a few steps of a small batch, other work on the machine included."
        return Table("What a pretraining takes here", ["", "about"], rows, note=note)

    def advice_table(self) -> Table:
        """What to do, each with its reason."""
        rows: list[list[Cell]] = [[one.use, one.reason] for one in self.advice]
        return Table("Advice", ["use", "because"], rows)

    def short_sides(self) -> dict[str, int]:
        """The smallest, median and largest short side in pixels."""
        short = self.found.sizes.min(axis=1)
        values = np.quantile(short, list(QUANTILES.values()), method="nearest")
        return dict(zip(QUANTILES, values.tolist(), strict=True))

    def figures(self) -> dict[str, Any]:
        """All figures as plain values for JSON."""
        found, cost = self.found, self.cost
        return {
            "version": version("quarterturn"),
            "data": self.data,
            "images": {
                split: int((found.splits == number).sum())
                for number, split in enumerate(found.split_names)
            },
            "unreadable": len(found.unreadable),
            "findings": [
                {
                    "kind": each.kind.name,
                    "level": "note" if each.is_note else "finding",
                    "number": len(each.finds),
                    "share": each.share,
                    "meaning": _meaning(each),
                }
                for each in self.findings
            ],
            "short_sides": self.short_sides() if len(found) else {},
            "image_size": self.image_size,
            "classes": {split: dict(counts) for split, counts in self.classes.by_split.items()},
            "preset": self.preset,
            "cost": None if cost is None else _cost_figures(cost),
            "advice": [asdict(one) for one in self.advice],
            "command": command(*self.pretrain),
            "thresholds": THRESHOLDS,
        }


def _meaning(finding: Finding) -> str:
    if not finding.is_usual:
        return finding.kind.meaning
    assert finding.share is not None
    return f"{percent(finding.share)} are so: taken for how the images are, not for a defect."


def _cost_figures(cost: TrainingCost) -> dict[str, Any]:
    return {
        "device": cost.device,
        "image_size": cost.config.data.image_size,
        "batch_size": cost.config.run.batch_size,
        "epochs": cost.epochs,
        "step_s": None if cost.time is None else cost.time.step_s,
        "epoch_s": None if cost.time is None else cost.time.epoch_s,
        "training_s": cost.whole_s,
        "memory_bytes": cost.memory_bytes,
        "free_bytes": cost.free_bytes,
        "run_bytes": cost.run_bytes,
        "free_disk_bytes": cost.free_disk_bytes,
        "cache_bytes": cost.cache_bytes,
        "image_s": cost.image_s,
    }
