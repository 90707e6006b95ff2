import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FILES = [
    *REPOSITORY.glob("*.md"),
    *REPOSITORY.glob("docs/*.md"),
    *REPOSITORY.glob("docs/**/*.py"),
    *REPOSITORY.glob("benchmarks/*.py"),
    *REPOSITORY.glob("src/**/*.py"),
    *REPOSITORY.glob("src/**/*.html"),
]
INSTEAD = {
    r"\bgo(es)? on\b(?! the)": "resumes, continues",
    r"\b(is|are|was|were|be|been)\s+told\b(?!\s+apart)": "is reported, is known",
    r"\bso\s+many\b|\bso\s+much\s+of\b": "N; this many",
    r"\bas\s+well\b(?!\s+as)": "too",
    r"\balone\b": "only",
    r"\bbecame\s+of\b": "status",
    r"\btold\s+(correctly|wrongly)\b": "accuracy",
    r"\bsquares\s+a\s+side\b": "a GRID x GRID grid",
    r"\basked\s+for\s+and\s+changes\s+nothing\b": "has no effect",
    r"# fmt: (skip|off)": "the formatter's layout",
}


@pytest.mark.parametrize("phrase", INSTEAD)
def test_text_is_free_of(phrase):
    found = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(phrase, text, re.IGNORECASE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(REPOSITORY)}:{line}: {match[0]!r}")
    assert not found, f"write {INSTEAD[phrase]!r} instead:\n" + "\n".join(found)
