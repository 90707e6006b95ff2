"""The command line: words in, one function of the library called.

`quarterturn.cli.commands` says what there is, `quarterturn.cli.parsing` makes a call of words.
Nothing heavy is imported here, so that ``--help`` answers at once, and Ctrl-C finds somebody who
answers while the rest is being loaded.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from quarterturn.cli.failure import refuse_several, report_error, report_failure
from quarterturn.errors import QuarterturnError
from quarterturn.runs.failures import Terminated, failures_explained, notes, with_notes


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0; 2 for an error that the user can put right, 1 for what doctor --strict
        finds; 130 after Ctrl-C; 143 after SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        _run(words)
    except QuarterturnError as error:
        return report_failure(with_notes(error), error.exit_status)
    except BrokenPipeError:
        # Whoever read the output, such as head, has enough; what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno is None:  # not from the operating system: a defect of ours
            raise
        return report_failure(with_notes(error))
    except KeyboardInterrupt as stop:
        print(f"quarterturn: {with_notes(stop)}", file=sys.stderr)
        return 130
    except Terminated as stop:
        print(f"quarterturn: {with_notes(stop)}", file=sys.stderr)
        return 143
    except Exception as error:
        return report_error(error, notes(error))
    return 0


def _run(words: list[str]) -> None:
    if words == ["--version"]:
        print(f"quarterturn {version('quarterturn')}")
        return
    from quarterturn.cli.signals import signals_raised  # see above

    with signals_raised(), failures_explained():
        from quarterturn.cli.commands import COMMANDS
        from quarterturn.cli.parsing import parse

        call = parse(words)
        if not COMMANDS[words[0]].shared:
            refuse_several(words[0])
        from quarterturn.cli.terminal import narrated  # not for --help, which it would slow down

        with narrated():
            call.run()
