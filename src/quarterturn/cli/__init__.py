"""The command line: words in, one function of the library called.

`quarterturn.cli.commands` says what there is, `quarterturn.cli.parsing` makes a call of words.
Nothing heavy is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from quarterturn.cli.commands import COMMANDS
from quarterturn.cli.failure import refuse_several, report_error, report_failure
from quarterturn.cli.parsing import parse
from quarterturn.errors import QuarterturnError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for an error the user can put right."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"quarterturn {version('quarterturn')}")
        return 0
    try:
        call = parse(words)
        if not COMMANDS[words[0]].shared:
            refuse_several(words[0])
        from quarterturn.cli.terminal import narrated  # not for --help, which it would slow down

        with narrated():
            call.run()
    except QuarterturnError as error:
        return report_failure(str(error))
    except BrokenPipeError:
        # Whoever read the output, such as head, has enough; what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno is None:  # not from the operating system: a defect of ours
            raise
        return report_failure(str(error))
    except KeyboardInterrupt:
        hint = _after_interrupt(words)
        print(f"quarterturn: interrupted{hint and f'; {hint}'}", file=sys.stderr)
        return 130
    except Exception as error:
        return report_error(error, _after_interrupt(words))
    return 0


def _after_interrupt(words: list[str]) -> str:
    """What to say when the command has been interrupted; empty where nothing is kept."""
    return COMMANDS[words[0]].after_interrupt if words and words[0] in COMMANDS else ""
