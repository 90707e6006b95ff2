"""The documentation site: Sphinx, MyST and furo. ``make docs`` builds it, without the network.

It also executes the notebook, whose outputs are not kept with it; ``make check`` does not.
"""

import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "quarterturn"
author = "the quarterturn contributors"
release = version = tomllib.loads(
    (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_reference",
    "package_reference",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_mode = "off"
nb_execution_timeout = 900
nb_execution_raise_on_error = True
exclude_patterns = ["_ext", "results"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"quarterturn {release}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_type_aliases = {"ClassCounts": "ClassCounts"}
add_module_names = False
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
smartquotes = False  # they would make one dash of the two of a flag
