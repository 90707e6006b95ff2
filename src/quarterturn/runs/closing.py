"""The closing words of a command: what came out, where it is, and what to do next."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from quarterturn.data.unreadable import list_unreadable
from quarterturn.wording import counted

logger = logging.getLogger(__name__)


def log_closing(
    outcome: str, paths: Mapping[str, Path], commands: Sequence[Sequence[object]]
) -> None:
    """Log the closing block of a command.

    Args:
        outcome: What came out, in one line.
        paths: What each file or folder is, to where it is.
        commands: The next commands that make sense, by their words; paths are quoted as a shell
            needs them.
    """
    lines = [outcome, *(f"{what}: {_printable(path)}" for what, path in paths.items())]
    if commands:
        lines.append("next:")
        lines += [f"  {command(*words)}" for words in commands]
    logger.info("\n".join(lines))


def files_of_runs(path: Path, places: Sequence[Path], summary: str) -> dict[str, Path]:
    """What `log_closing` lists of runs: a report each, and the summary of several seeds.

    Args:
        path: The directory of the command.
        places: The run directories: ``path`` itself, or folders in it.
        summary: Name of the file with mean and spread.
    """
    if [*places] == [path]:
        return {"report": path / "report.html", "run": path}
    reports = {f"report of {place.name}": place / "report.html" for place in places}
    return {**reports, "mean and spread": path / summary}


def command(*words: object) -> str:
    """A command of ours as a shell takes it: ``quarterturn probe runs/digits-1 digits``."""
    return _printable(shlex.join(["quarterturn", *map(str, words)]))


def command_line() -> str:
    """The command as the user wrote it; only the program's name when called from Python."""
    program = Path(sys.argv[0]).name
    if program not in ("quarterturn", "__main__.py"):
        return "called from Python"
    return shlex.join(["quarterturn", *sys.argv[1:]])


def log_unreadable(unreadable: Mapping[str, str], listed_in: Path | None = None) -> None:
    """Log how many image files could not be read or decoded; nothing where all could.

    Args:
        unreadable: All such files that the command met, with the reasons.
        listed_in: The file that lists them; without one the message lists the first.
    """
    if not unreadable:
        return
    count = f"{counted(len(unreadable), 'image file')} could not be read"
    if listed_in is not None:
        logger.warning(_printable(f"{count}; {listed_in} lists them"))
    else:
        logger.warning(_printable("\n".join([f"{count}:", *list_unreadable(unreadable)])))


def _printable(words: object) -> str:
    """Odd bytes of file names by their numbers: a name need not be UTF-8."""
    return str(words).encode(errors="backslashreplace").decode()
