"""A folder of upright copies of image files, apart from the originals."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from quarterturn.data.imageset import FileImages
from quarterturn.data.sources import Source
from quarterturn.data.turned_files import write_turned
from quarterturn.errors import ConfigError
from quarterturn.files import replacing


@dataclass(frozen=True)
class UprightCopies:
    """Where the copies of a collection go; sub-folders are kept.

    Attributes:
        folder: The folder of the copies, without links.
        above: The folder that all originals lie below.
    """

    folder: Path
    above: str

    @classmethod
    def beside(
        cls, data: str, source: Source, folder: Path, *, overwrite: bool = False
    ) -> UprightCopies:
        """The copies of a collection, in a folder that is not made yet.

        Args:
            data: The collection, as a user writes it.
            source: What was found there.
            folder: Where the copies are to go.
            overwrite: Take a folder that is not empty, and replace copies of the same names in it.

        Raises:
            ConfigError: The images are no files, the folder is not empty, or originals are near.
        """
        files = [images for images in source.splits.values() if isinstance(images, FileImages)]
        if len(files) < len(source.splits):
            raise ConfigError(
                f"--write {folder}: the images of {data} are arrays in a file; only image files "
                "can be written anew"
            )
        originals = [images.path(i) for images in files for i in range(len(images))]
        root = folder.resolve()
        near = {path.resolve().parent for path in originals}
        if (whole := Path(data).expanduser()).is_dir():
            near.add(whole.resolve())
        for other in sorted(near):
            if root.is_relative_to(other) or other.is_relative_to(root):
                raise ConfigError(
                    f"--write {folder} is, holds or lies in {other}, where originals are; choose a "
                    "folder apart from them"
                )
        if folder.exists() and not folder.is_dir():
            raise ConfigError(f"--write {folder} is a file; expected a folder")
        if folder.exists() and any(folder.iterdir()) and not overwrite:
            raise ConfigError(
                f"--write {folder} is not empty; choose another folder, or give --overwrite to "
                "replace files of the same names"
            )
        places = [*(images.root for images in files), *(path.parent for path in originals)]
        return cls(root, os.path.commonpath([os.path.abspath(place) for place in places]))

    def write(self, original: Path, turns: int) -> None:
        """Write the copy of one image file; without turns, byte for byte.

        Raises:
            CannotTurnError: It cannot be turned without loss; nothing is written.
            ConfigError: A link leads from the copy's place to somewhere else.
        """
        copy = self.folder / os.path.relpath(os.path.abspath(original), self.above)
        # Within the folder there may be links by now, to an original for one.
        if copy.resolve() != copy:
            raise ConfigError(f"{copy} is reached by a link to {copy.resolve()}; remove it")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if turns:
            write_turned(original, copy, turns)
        else:
            with replacing(copy) as partial:
                shutil.copy2(original, partial)
