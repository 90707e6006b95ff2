"""Runs the commands of a recipe in a folder, and continues there after an interruption.

The folder's ``steps.json`` lists the commands that are done. One that was interrupted is called
again: a training resumes where its run has a checkpoint, and a benchmark continues by itself.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from quarterturn.cli.commands import COMMANDS
from quarterturn.cli.parsing import parse
from quarterturn.files import write_json, write_text
from quarterturn.kept_files import read_json
from quarterturn.progress import duration

REPOSITORY = Path(__file__).parents[1]
DONE = "steps.json"


class StepError(Exception):
    """A command failed, or a folder belongs to something else."""


def run_steps(lines: list[tuple[str, list[str]]], out: Path) -> None:
    """Run commands that have not been run in a folder.

    Args:
        lines: Name, which may be empty, and words of each.
        out: The folder; it is made, unless it is one of the same commands.

    Raises:
        StepError: A command failed, or the folder is one of other commands.
    """
    done = done_steps(lines, out)
    for number, (name, words) in enumerate(lines[len(done) :], len(done) + 1):
        print(f"\n[{number} of {len(lines)}] {' '.join(words)}", flush=True)
        began = time.monotonic()
        _call(name, words, out)
        done.append({"words": words, "seconds": round(time.monotonic() - began, 1)})
        write_json(out / DONE, done)
        print(f"[{number} of {len(lines)}] took {duration(done[-1]['seconds'])}", flush=True)


def done_steps(lines: list[tuple[str, list[str]]], out: Path) -> list[dict[str, Any]]:
    """The commands that have been run in a folder, with the seconds that each took.

    Raises:
        StepError: They are not the first ones of these, or the folder holds other things.
    """
    if not out.exists():
        out.mkdir(parents=True)
        write_json(out / DONE, [])
    if not (out / DONE).exists():
        raise StepError(f"{out} is there and holds no {DONE}: give another folder with OUT=FOLDER")
    done: list[dict[str, Any]] = read_json(out / DONE)
    if [step["words"] for step in done] != [words for _, words in lines[: len(done)]]:
        raise StepError(
            f"{out} holds the results of other commands or data: give another folder with "
            "OUT=FOLDER, or delete this one"
        )
    return done


def command_of(words: list[str]) -> list[str]:
    """What is executed for the words of a recipe.

    Raises:
        StepError: The first word is no program that recipes may call.
    """
    match words:
        case ["quarterturn", *rest]:
            return [sys.executable, "-m", "quarterturn", *rest]
        case ["python", script, *rest]:
            return [sys.executable, str(REPOSITORY / script), *rest]
        case ["mkdir" | "ln" | "cp", *_]:
            return words
    raise StepError(f"expected quarterturn, python, mkdir, ln or cp; found {words[0]}")


def resumed(words: list[str], out: Path) -> list[str]:
    """The words that continue what an interrupted call of a command has begun."""
    if words[0] != "quarterturn":
        return words
    command, target = words[1], parse(words[1:]).keywords.get("out")
    if target is None or not (out / target).exists():
        return words
    begun = [*(out / target).glob("config.json"), *(out / target).glob("seed-*/config.json")]
    if COMMANDS[command].training is not None and begun:
        return ["quarterturn", command, "--resume", str(target)]
    return [*words, "--overwrite"]


def _call(name: str, words: list[str], out: Path) -> None:
    """Run a command; what it prints is shown, and kept as ``NAME.txt`` where it has a name."""
    words = resumed(words, out)
    printed = []
    with subprocess.Popen(
        command_of(words), cwd=out, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    if process.returncode != 0:
        raise StepError(
            f"{' '.join(words)} ended with status {process.returncode}; the same make command "
            "continues from there"
        )
    if name:
        write_text(out / f"{name}.txt", "".join(printed))
