import json
import re
from pathlib import Path

import quarterturn

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


def test_api_reference_lists_every_public_name_once():
    listed = re.findall(
        r"auto(?:function|class|exception):: quarterturn\.(\w+)", (DOCS / "api.md").read_text()
    )
    assert sorted(listed) == sorted(quarterturn.__all__)


def test_every_page_is_in_the_index():
    listed = re.findall(r"^(\w+)$", (DOCS / "index.md").read_text(), re.MULTILINE)
    pages = [page.stem for page in [*DOCS.glob("*.md"), *DOCS.glob("*.ipynb")]]
    assert sorted(["index", *listed]) == sorted(pages)


def test_notebooks_are_kept_without_outputs():
    notebooks = list(DOCS.glob("*.ipynb"))
    assert notebooks
    for notebook in notebooks:
        for cell in json.loads(notebook.read_text())["cells"]:
            assert not cell.get("outputs"), f"{notebook.name}: {cell['id']}"
            assert cell.get("execution_count") is None


def test_a_check_executes_no_notebook():
    [check] = re.findall(r"^check:.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.M)
    assert "$(MAKE) docs NOTEBOOK=off" in check


def test_relative_links_lead_to_files():
    for page in [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_readme_is_at_most_120_lines():
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 120
