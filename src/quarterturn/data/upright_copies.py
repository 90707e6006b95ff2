"""A folder of upright copies of images, separate from the originals."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from quarterturn.data.encoded_image import EncodedImage, ImageBytes
from quarterturn.data.image_file import FAILURES, open_image
from quarterturn.data.imageset import FileImages
from quarterturn.data.source import Source
from quarterturn.data.turned_files import write_turned
from quarterturn.errors import ConfigError, OutputError
from quarterturn.files import explained, replacing, write_bytes


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
        files = [each for each in source.all_splits.values() if isinstance(each, FileImages)]
        if len(files) < len(source.all_splits):
            raise ConfigError(
                f"--write {folder}: {data} holds pixels, not image files, of which there could be "
                "copies; give the folder or the shards that they are from"
            )
        originals = [images.path(i) for images in files for i in range(len(images))]
        root = folder.resolve()
        near = {path.resolve().parent for path in originals}
        near |= {images.root.resolve() for images in files if not images.are_files}
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

    def write(self, original: Path, turns: int, image: EncodedImage | None = None) -> None:
        """Write the copy of one image; without turns, it is identical.

        Args:
            original: Where it is; in a shard, the shard's path and the name within.
            turns: Quarter turns, counter-clockwise.
            image: Its bytes, where it is no file of its own.

        Raises:
            CannotTurnError: The image cannot be turned losslessly; nothing is written.
            OutputError: The copy's path leads through a link to another place, or the operating
                system refused, such as for a name that is too long.
        """
        copy = self.folder / os.path.relpath(os.path.abspath(original), self.above)
        if image is not None and not copy.suffix:
            copy = copy.with_name(copy.name + _suffix_of(image))
        with explained(copy):
            # The folder may contain links, for instance to an original.
            if copy.resolve() != copy:
                raise OutputError(
                    f"{copy} leads through a link to {copy.resolve()}; remove the link"
                )
            copy.parent.mkdir(parents=True, exist_ok=True)
        if turns:
            write_turned(original if image is None else image, copy, turns)
        elif isinstance(image, ImageBytes):
            write_bytes(copy, image.content)
        else:
            with replacing(copy) as partial:
                shutil.copy2(original, partial)


def _suffix_of(image: EncodedImage) -> str:
    """The suffix of an image without a name, such as of a parquet file's; empty if unknown."""
    try:
        with open_image(image) as opened:
            kinds = [
                s for s, kind in Image.registered_extensions().items() if kind == opened.format
            ]
    except FAILURES:
        return ""
    usual = {"JPEG": ".jpg", "TIFF": ".tif"}
    return usual.get(opened.format or "", kinds[0] if kinds else "")
