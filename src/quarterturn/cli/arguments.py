"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

DATA_WORDS = (
    "A folder of images, a .csv manifest, a .npz file, imagenet:ROOT, places205:ROOT, "
    "cifar10:ROOT, cifar100:ROOT, stl10:ROOT (images with labels), stl10-unlabeled:ROOT, or digits"
)

Data = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
MaybeData = Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="DATA")]
RunDirectory = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
MaybeRun = Annotated[Path | None, tyro.conf.arg(metavar="RUN")]
