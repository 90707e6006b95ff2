"""``{command} probe``: what a command takes, as ``--help`` shows it."""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from quarterturn.cli import main


class Command(SphinxDirective):
    """The help of one command as a block of text."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The block."""
        text = help_text(self.arguments[0])
        return [nodes.literal_block(text, text, language="text")]


def help_text(command: str) -> str:
    """What ``quarterturn COMMAND --help-all`` prints, 88 columns wide and without colours."""
    os.environ["COLUMNS"] = "88"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([command, "--help-all"])
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue()).strip()


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("command", Command)
    return {"parallel_read_safe": True}
