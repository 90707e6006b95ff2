"""Every file that is kept is written by `quarterturn.files`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import quarterturn

SOURCE = Path(quarterturn.__file__).parent
WRITERS = {"write_text", "write_bytes", "savez", "save", "savetxt", "copy2", "copyfile"}
"""Functions that write to a path."""
OURS = {"write_text", "write_bytes"}
"""Called by name alone, those of `quarterturn.files`."""
ALLOWED = {
    "runs/cache_writing.py": "arrays grow by batches, and are cut back when a cache is resumed",
    "classifying/predicted_objects.py": "draws an image into memory",
    "copies/file_moves.py": "a file goes beside its new place and is renamed when it is whole",
    "data/turned_files.py": "draws an image into memory",
    "engine/torchrun.py": "the file is torchrun's",
    "engine/telemetry.py": "metrics.jsonl grows by lines and is cut back to the checkpoint",
    "features/cache.py": "an entry's folder is made beside and renamed when it is whole",
    "files.py": "it is the one way",
    "pages/contact_sheet.py": "draws an image into memory",
    "pages/sprite.py": "draws an image into memory",
    "runs/pictures.py": "draws an image into memory",
    "weights/caffe.py": "exports go to a folder of their own, are checked, and put in place",
    "weights/export.py": "see caffe",
    "weights/onnx.py": "see caffe",
    "weights/safetensors.py": "see caffe",
    "weights/timm.py": "see caffe",
    "weights/torchvision.py": "see caffe",
}
"""Files that write in another way, and why they may."""


def writing_lines(tree: ast.AST, guarded: bool = False) -> Iterator[int]:
    """Lines that write to a file outside the blocks of `replacing` and `atomic_write`."""
    if isinstance(tree, ast.With):
        guards = {name_of(item.context_expr) for item in tree.items}
        guarded = guarded or bool(guards & {"replacing", "atomic_write"})
    if isinstance(tree, ast.Call) and not guarded:
        name, is_ours = name_of(tree), isinstance(tree.func, ast.Name) and name_of(tree) in OURS
        if (name in WRITERS and not is_ours) or (name == "open" and opens_to_write(tree)):
            yield tree.lineno
    for child in ast.iter_child_nodes(tree):
        yield from writing_lines(child, guarded)


def name_of(node: ast.expr) -> str:
    """The last name of what is called: ``savez`` of ``np.savez(...)``."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def opens_to_write(call: ast.Call) -> bool:
    given = [*call.args[:2], *(word.value for word in call.keywords if word.arg == "mode")]
    modes = [str(node.value) for node in given if isinstance(node, ast.Constant)]
    return any(set(mode) <= set("rwxab+t") and set(mode) & set("wxa+") for mode in modes)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("path.write_text('x')", 1),
        ("open(path, 'w')", 1),
        ("open(path, mode='a+b')", 1),
        ("path.open('xb')", 1),
        ("np.savez(path)", 1),
        ("open(path)", 0),
        ("write_text(path, 'x')", 0),
        ("with atomic_write(path) as file:\n    np.savez(file)", 0),
    ],
)
def test_writing_lines_are_found(source: str, count: int):
    assert len(list(writing_lines(ast.parse(source)))) == count


def test_every_file_is_written_atomically():
    found = {}
    for path in SOURCE.rglob("*.py"):
        if lines := list(writing_lines(ast.parse(path.read_text()))):
            found[path.relative_to(SOURCE).as_posix()] = lines
    assert {name: lines for name, lines in found.items() if name not in ALLOWED} == {}
    assert set(ALLOWED) <= set(found), "these need no exception any more"
