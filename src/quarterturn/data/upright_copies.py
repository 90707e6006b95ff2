"""A folder of upright copies of image files, separate from the originals."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from quarterturn.data.imageset import FileImages
from quarterturn.data.source import Source
from quarterturn.data.turned_files import write_turned
from quarterturn.errors import ConfigError
from quarterturn.files import replacing


@dataclass(frozen=True)
class UprightCopies:
    """Upright copies of a collection, in the same sub-folders.

    Attributes:
        folder: The folder of the copies, with links resolved.
        above: The common parent folder of all originals.
    """

    folder: Path
    above: str

    @classmethod
    def beside(
        cls, data: str, source: Source, folder: Path, *, overwrite: bool = False
    ) -> UprightCopies:
        """Check a folder for the copies of a collection; it is made with the first copy.

        Args:
            data: The collection, as the user wrote it.
            source: The opened collection.
            folder: The folder for the copies.
            overwrite: Accept a folder that is not empty, and replace files of the same names.

        Raises:
            ConfigError: The images are not files, the folder is not empty, or it overlaps with a
                folder of originals.
        """
        files = [images for images in source.splits.values() if isinstance(images, FileImages)]
        if not all(images.are_files for images in source.splits.values()):
            raise ConfigError(
                f"--write {folder}: the images of {data} are not files of their own but parts of "
                "larger ones; only image files can be copied"
            )
        originals = [images.path(i) for images in files for i in range(len(images))]
        root = folder.resolve()
        near = {path.resolve().parent for path in originals}
        if (whole := Path(data).expanduser()).is_dir():
            near.add(whole.resolve())
        for other in sorted(near):
            if root.is_relative_to(other) or other.is_relative_to(root):
                raise ConfigError(
                    f"--write {folder} is, contains or lies in {other}, which holds originals; "
                    "choose a separate folder"
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
        """Write the copy of one image file; without turns, it is identical.

        Raises:
            CannotTurnError: The file cannot be turned losslessly; nothing is written.
            ConfigError: The copy's path leads through a link to another place.
        """
        copy = self.folder / os.path.relpath(os.path.abspath(original), self.above)
        # The folder may contain links, for instance to an original.
        if copy.resolve() != copy:
            raise ConfigError(f"{copy} leads through a link to {copy.resolve()}; remove the link")
        copy.parent.mkdir(parents=True, exist_ok=True)
        if turns:
            write_turned(original, copy, turns)
        else:
            with replacing(copy) as partial:
                shutil.copy2(original, partial)
