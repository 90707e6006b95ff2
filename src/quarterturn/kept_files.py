"""Reading back what was kept: as it was written, or refused in words.

`quarterturn.files` writes whole files or none; what happens to them later, on a failing disk or in
an editor, is noticed here.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterturn.errors import CheckpointError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_BYTES = 1 << 20


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {_reason(error)}") from error


def read_object(path: Path) -> dict[str, Any]:
    """What a JSON file holds that should be an object, ``{...}``; raises as `read_json` does."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise CheckpointError(
            f"{path} is damaged: it holds a {type(found).__name__}; expected names with values"
        )
    return found


def read_json_lines(path: Path) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """The objects of a file that has one on each line.

    A last line without an end is left out: a killed process, or one that is still writing, has
    written a part of it.

    Returns:
        Number of each line, from 1, to its object; and of each damaged line to what is wrong.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It cannot be read.
    """
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    return json_lines(whole)


def json_lines(whole: bytes) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """The objects of a text that has one on each line; returns what `read_json_lines` does."""
    found: dict[int, dict[str, Any]] = {}
    damaged: dict[int, str] = {}
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            damaged[number] = f"is no JSON ({_reason(error)})"
            continue
        if isinstance(value, dict):
            found[number] = value
        else:
            damaged[number] = f"holds a {type(value).__name__}; expected names with values"
    return found, damaged


def check_archive(path: Path, *, only: str | None = None, unchecked: bool = False) -> None:
    """Compare what a zip archive holds with its checksums, which ``torch.load`` does not do.

    ``torch.save`` writes such archives, with a CRC-32 of each tensor.

    Args:
        path: The archive.
        only: Check only members of this name, whatever their folder.
        unchecked: Accept files that have no checksums: archives that torch wrote after
            ``set_crc32_options(False)``, and its older format, which is no archive.

    Raises:
        CheckpointError: It is no archive, or a part of it is not as it was written.
    """
    if unchecked and not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if unchecked and not any(member.CRC for member in members):
                return
            for member in members:
                if only is None or Path(member.filename).name == only:
                    with archive.open(member) as file:
                        while file.read(BLOCK_BYTES):
                            pass  # reading to the end compares the checksum
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    # A flipped bit may also name a compression or an encryption that zipfile does not know.
    except (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, zlib.error) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file, compared with their checksums; no pickle is loaded.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, or no such file.
    """
    import numpy as np  # not for the command line's help

    if not path.exists():
        raise FileNotFoundError(path)
    check_archive(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, LookupError, TypeError, EOFError, MemoryError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error


def checksum(path: Path) -> int:
    """CRC-32 of a file.

    Raises:
        OSError: It cannot be read.
    """
    found = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            found = zlib.crc32(block, found)
    return found


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
