"""Which image is which, wherever it turns up: what was learned from is not to be tested on."""

from __future__ import annotations

import functools
import os

from quarterturn.data.imageset import FileImages, ImageSet


def identities(images: ImageSet, data: str) -> set[str]:
    """A word for each image that is the same wherever the image turns up."""
    if not isinstance(images, FileImages):
        return {identity(images, index, data) for index in range(len(images))}
    real = functools.cache(os.path.realpath)  # of folders: to follow each file's own takes minutes
    found = set()
    for name in images.names:
        folder, file = os.path.split(os.path.join(images.root, name))
        path = os.path.join(real(folder), file)
        found.add(os.path.realpath(path) if os.path.islink(path) else path)
    return found


def identity(images: ImageSet, index: int, data: str) -> str:
    """The word for one image."""
    if isinstance(images, FileImages):
        return str(images.path(index).resolve())
    return f"{data}:{images.names[index]}"
