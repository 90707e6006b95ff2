"""``{modules} quarterturn.losses``: the documentation of every module of a package.

Modules are found in the package, so one that is added or renamed needs no line here.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles


class Modules(SphinxDirective):
    """A section for each module of a package, by name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The parsed documentation."""
        package = import_module(self.arguments[0])
        lines: list[str] = []
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            lines += [f"### {module.name.removeprefix('quarterturn.')}", ""]
            # autodoc writes reStructuredText, and this directive is used in Markdown
            lines += ["```{eval-rst}", f".. automodule:: {module.name}", "   :members:", "```", ""]
        section = nodes.section()
        section.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, self.env.docname), section)
        return section.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("modules", Modules)
    return {"parallel_read_safe": True}
