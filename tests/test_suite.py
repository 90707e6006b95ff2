"""The tests themselves: each asserts something, says what in few words, and lies by its room."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOMS = TESTS.parent / "src" / "quarterturn"
OUTSIDE = {"benchmarks", "docs", "fixtures", "fuzzing"}  # folders of tests that mirror no room
MOST_WORDS = 10

EXPECTING = {"raises", "warns", "fail"}  # of pytest
TREES = {file: ast.parse(file.read_text("utf-8")) for file in sorted(TESTS.rglob("*.py"))}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def asserts(node: ast.AST, helpers: set[str]) -> bool:
    """Whether a function can fail by itself, by pytest, or by a function that it calls."""
    for part in ast.walk(node):
        if isinstance(part, ast.Assert):
            return True
        if isinstance(part, ast.Call):
            name = getattr(part.func, "attr", getattr(part.func, "id", ""))
            if name in EXPECTING or name.startswith("assert_"):
                return True
            if isinstance(part.func, ast.Name) and name in helpers:
                return True
    return False


ALL_TESTS = {
    f"{file.relative_to(TESTS)}:{function.lineno} {function.name}": function
    for file, tree in TREES.items()
    for function in functions(tree)
    if function.name.startswith("test_")
}


def asserting_helpers() -> set[str]:
    """Functions of the tests that assert, directly or through each other."""
    found: set[str] = set()
    others = [f for tree in TREES.values() for f in functions(tree) if "test" not in f.name]
    while new := {f.name for f in others if f.name not in found and asserts(f, found)}:
        found |= new
    return found


HELPERS = asserting_helpers()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x = f()", False),
        ("assert f()", True),
        ("with pytest.raises(E): f()", True),
        ("torch.testing.assert_close(a, b)", True),
        ("same(a, b)", True),
        ("x.same(a, b)", False),  # a method that happens to have a helper's name
    ],
)
def test_an_assertion_differs_from_a_mere_call(body, expected):
    assert asserts(ast.parse(body), {"same"}) == expected


def test_every_test_asserts():
    assert [name for name, test in ALL_TESTS.items() if not asserts(test, HELPERS)] == []


def test_names_have_ten_words_or_fewer():
    assert [name for name, test in ALL_TESTS.items() if test.name.count("_") > MOST_WORDS] == []


def test_every_folder_mirrors_a_room():
    folders = {file.parent.relative_to(TESTS).as_posix() for file in TREES} - {"."} - OUTSIDE
    rooms = {init.parent.relative_to(ROOMS).as_posix() for init in ROOMS.rglob("__init__.py")}
    assert folders - rooms == set()
