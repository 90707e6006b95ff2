import re
import shlex
from pathlib import Path

import pytest

from quarterturn.cli.parsing import parse

REPOSITORY = Path(__file__).parents[2]
GUIDES = [
    "README.md",
    *(f"docs/{name}.md" for name in ("photos", "long_tail", "research", "weights")),
]
LINES = [
    line.partition(" #")[0].strip()
    for guide in GUIDES
    for block in re.findall(r"```bash\n(.*?)```", (REPOSITORY / guide).read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("quarterturn ")
]


def test_guides_show_command_lines():
    assert len(LINES) > 20


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_shown_command_line_is_understood(line):
    call = parse(shlex.split(line)[1:])
    assert call.function.startswith("quarterturn.")
