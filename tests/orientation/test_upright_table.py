import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.file_table import NUM_COLUMNS, FileTable
from quarterturn.data.imageset import ArrayImages, FileImages
from quarterturn.errors import DataError, OutputError
from quarterturn.orientation.upright_table import UprightTable, p_upright_of, read_dat, write_dat

from ..data.pictures import noise

ODD = b"caf\xe9.jpg".decode(errors="surrogateescape")  # of no UTF-8
NAMES = [ODD, "été/中 文.png", "plain.png", 'b,"c".png', "a.png", "😀.png"]


def table_of(names: list[str], fingerprint: str = "0123456789abcdef") -> UprightTable:
    random = np.random.default_rng(len(names))
    probabilities = random.dirichlet(np.ones(4), size=(len(names), 4)).astype(np.float32)
    agnostic = random.uniform(size=len(names)).astype(np.float32)
    fold = np.arange(len(names)) % 3
    probabilities[2], agnostic[2], fold[2] = 0.25, 1, -1
    return UprightTable(names, probabilities, agnostic, fold, fingerprint)


def arrays_of(names: list[str]) -> ArrayImages:
    return ArrayImages(noise(len(names), len(names), 3, 3, 3), names)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A table of six images, written."""
    table_of(NAMES).write(tmp_path / "upright.npz")
    return tmp_path / "upright.npz"


def rewrite(file: Path, **changes: object) -> None:
    """Write the file anew with other arrays; None leaves one out."""
    with np.load(file) as arrays:
        kept = {**arrays, **changes}
    np.savez(file, **{name: array for name, array in kept.items() if array is not None})


class TestFile:
    def test_comes_back_as_it_was(self, file):
        written, read = table_of(NAMES), UprightTable.read(file)
        assert list(read.names) == NAMES
        assert read.fingerprint == written.fingerprint
        for name in ("probabilities", "agnostic", "fold"):
            one, other = getattr(read, name), getattr(written, name)
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        assert len(read) == 6
        assert read.scored.tolist() == [0, 1, 3, 4, 5]

    def test_holds_what_is_promised(self, file):
        with np.load(file, allow_pickle=False) as arrays:
            kinds = {name: (array.dtype.kind, array.shape) for name, array in arrays.items()}
            assert arrays["probabilities"].dtype == arrays["p_upright"].dtype == np.float32
            np.testing.assert_array_equal(arrays["p_upright"], arrays["probabilities"][:, :, 0])
        assert kinds == {
            "probabilities": ("f", (6, 4, 4)),
            "p_upright": ("f", (6, 4)),
            "agnostic": ("f", (6,)),
            "fold": ("i", (6,)),
            "names": ("U", (6,)),
            "fingerprint": ("U", ()),
        }

    def test_p_upright_is_the_first_column_of_each_copy(self):
        table = table_of(NAMES)
        for i in range(6):
            for k in range(4):
                assert table.p_upright[i, k] == table.probabilities[i, k, 0]

    def test_is_written_beside_and_renamed(self, file, monkeypatch):
        whole = file.read_bytes()

        def fail(target: object, **_: object) -> None:
            target.write(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", fail)
        with pytest.raises(OutputError, match="No space left"):
            table_of(["a", "b", "c"]).write(file)
        assert file.read_bytes() == whole

    def test_that_is_not_there(self, tmp_path):
        with pytest.raises(DataError, match=r"no file .*gone\.npz; quarterturn upright"):
            UprightTable.read(tmp_path / "gone.npz")

    @pytest.mark.parametrize("key", ["names", "probabilities", "p_upright", "fold", "fingerprint"])
    def test_that_lacks_something(self, file, key):
        rewrite(file, **{key: None})
        with pytest.raises(
            DataError, match=f"is not a file written by quarterturn upright: .*{key}"
        ):
            UprightTable.read(file)

    def test_of_objects_is_not_unpickled(self, file, tmp_path):
        class Trap:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "touched",))

        rewrite(file, names=np.array([Trap()] * 6, dtype=object))
        with pytest.raises(DataError, match="is not a file written by quarterturn upright"):
            UprightTable.read(file)
        assert not (tmp_path / "touched").exists()

    @pytest.mark.parametrize("kind", ["text", "empty", "cut", "npy", "directory"])
    def test_of_another_kind(self, file, kind):
        whole = file.read_bytes()
        file.unlink()
        if kind == "npy":
            with open(file, "wb") as opened:
                np.save(opened, np.zeros((6, 4)))
        elif kind == "directory":
            file.mkdir()
        else:
            file.write_bytes({"text": b"0.5\n0.5\n", "empty": b"", "cut": whole[:900]}[kind])
        with pytest.raises(DataError, match=r"upright\.npz is not a file written by") as told:
            UprightTable.read(file)
        assert str(file) in str(told.value)

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("probabilities", (6, 4, 3)),
            ("probabilities", (5, 4, 4)),
            ("p_upright", (24,)),
            ("agnostic", (7,)),
            ("agnostic", (6, 1)),
            ("fold", (5,)),
        ],
    )
    def test_of_other_shapes(self, file, name, shape):
        rewrite(file, **{name: np.zeros(shape)})
        with pytest.raises(DataError) as told:
            UprightTable.read(file)
        expected = {"probabilities": (6, 4, 4), "p_upright": (6, 4)}.get(name, (6,))
        found, wanted = str(told.value).split("; expected")
        assert f"'{name}': {shape}" in found
        assert f"'{name}': {expected}" in wanted

    @pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.001])
    @pytest.mark.parametrize("name", ["probabilities", "agnostic"])
    def test_of_values_that_are_no_probabilities(self, file, name, value):
        table = table_of(NAMES)
        array = getattr(table, name)
        place = (4, 2, 3)[: array.ndim]
        array[place] = value
        replace(table, **{name: array}).write(file)
        where = ", ".join(map(str, place))
        with pytest.raises(DataError) as told:
            UprightTable.read(file)
        assert re.search(
            rf"holds {name} of {np.float32(value)!s:.4}\d* at \[{where}\]", str(told.value)
        )
        assert "between 0 and 1" in str(told.value)

    def test_whose_p_upright_is_another(self, file):
        rewrite(file, p_upright=np.full((6, 4), 0.25, dtype=np.float32))
        with pytest.raises(DataError, match="p_upright is not the first column"):
            UprightTable.read(file)

    def test_of_words_instead_of_numbers(self, file):
        rewrite(file, probabilities=np.full((6, 4, 4), "0.5"))
        with pytest.raises(DataError, match=r"upright\.npz holds probabilities of <U3; expected"):
            UprightTable.read(file)


class TestText:
    def test_is_the_originals(self, tmp_path):
        # As its code reads it: line 4 * i + k is of copy k of image i.
        lines = ["0.5", "0", "1", "0.125", "9.99e-01", "1e-7", "0.25", "0.75"]
        (tmp_path / "p.dat").write_text("\n".join(lines) + "\n")
        found = read_dat(tmp_path / "p.dat")
        assert found.dtype == np.float32
        assert found.tolist() == np.float32([float(x) for x in lines]).reshape(2, 4).tolist()
        assert found[1, 2] == 0.25

    def test_writes_a_line_an_image_and_reads_back_exactly(self, tmp_path):
        p_upright = table_of(NAMES).p_upright
        write_dat(tmp_path / "p.dat", p_upright)
        lines = (tmp_path / "p.dat").read_text().splitlines()
        assert len(lines) == 24
        assert np.float32(lines[4 * 3 + 2]) == p_upright[3, 2]
        np.testing.assert_array_equal(read_dat(tmp_path / "p.dat"), p_upright)
        assert [path.name for path in tmp_path.iterdir()] == ["p.dat"]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("0.5\n" * 7, r"holds values of shape \(7,\); expected one per line, four per image"),
            ("0.5 0.5 0.5 0.5\n" * 2, r"holds values of shape \(2, 4\); expected one per line"),
            ("", r"holds values of shape \(0,\)"),
            ("0.5\nhouse\n0.5\n0.5\n", "does not hold one probability per line: .*house"),
            ("\0\xff\n", "does not hold one probability per line"),
            ("0.5\n0.5\n1.5\n0.5\n", r"holds 1\.5 at \[2\], .* between 0 and 1"),
            ("0.5\n-0.5\n0.5\n0.5\n", r"holds -0\.5 at \[1\]"),
            ("0.5\n0.5\n0.5\nnan\n", r"holds nan at \[3\]"),
        ],
    )
    def test_of_something_else(self, tmp_path, text, told):
        (tmp_path / "p.dat").write_text(text, encoding="latin-1")
        with pytest.raises(DataError, match=rf"p\.dat {told}"):
            read_dat(tmp_path / "p.dat")

    def test_that_is_not_there(self, tmp_path):
        with pytest.raises(DataError, match=r"no file .*p\.dat"):
            read_dat(tmp_path / "p.dat")


class TestRowsOfATraining:
    @pytest.fixture
    def whole(self) -> ArrayImages:
        return arrays_of([f"image {i}" for i in range(12)])

    @pytest.fixture
    def file(self, whole, tmp_path) -> Path:
        table_of(list(whole.names), whole.fingerprint()).write(tmp_path / "upright.npz")
        return tmp_path / "upright.npz"

    @pytest.mark.parametrize("chosen", [list(range(12)), [7, 2, 11, 0], [5]])
    def test_are_found_by_name(self, whole, file, chosen):
        rows = p_upright_of(file, whole.subset(np.array(chosen)), [whole])
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, UprightTable.read(file).p_upright[chosen])

    def test_of_a_run_directory(self, whole, file):
        by_file, by_run = (p_upright_of(path, whole, [whole]) for path in (file, file.parent))
        np.testing.assert_array_equal(by_file, by_run)
        (file.parent / "nothing").mkdir()
        with pytest.raises(DataError, match=r"no file .*nothing/upright\.npz"):
            p_upright_of(file.parent / "nothing", whole, [whole])

    @pytest.mark.parametrize("kind", ["npz", "dat"])
    def test_of_all_images_or_of_those_that_a_limit_left(self, whole, tmp_path, kind):
        left = whole.subset(np.array([1, 3, 4, 8, 10]))
        train = left.subset(np.array([4, 0, 2]))  # 10, 1, 4
        for of, rows in [(whole, [10, 1, 4]), (left, [4, 0, 2])]:
            table = table_of(list(of.names), of.fingerprint())
            table.write(tmp_path / "p.npz")
            write_dat(tmp_path / "p.dat", table.p_upright)
            found = p_upright_of(tmp_path / f"p.{kind}", train, [whole, left])
            np.testing.assert_array_equal(found, table.p_upright[rows])

    def test_of_other_data(self, whole, file):
        other = arrays_of([*whole.names, "another"])
        left = other.subset(np.arange(9))
        with pytest.raises(DataError) as told:
            p_upright_of(file, left, [other, left])
        said = str(told.value)
        assert f"it has 12 images with the fingerprint {whole.fingerprint()}" in said
        assert f"13 images ({other.fingerprint()}) or 9 images ({left.fingerprint()})" in said
        assert str(file) in said

    def test_of_as_many_other_images(self, whole, file):
        other = replace(whole, array=whole.array ^ 1)
        with pytest.raises(DataError, match="is about other data"):
            p_upright_of(file, other, [other])

    def test_of_a_collection_in_another_order(self, whole, file):
        # Arrays' fingerprint tells an order from another; then rows would be anybody's.
        shuffled = whole.subset(np.arange(12)[::-1].copy())
        with pytest.raises(DataError, match="is about other data"):
            p_upright_of(file, shuffled, [shuffled])

    def test_of_text_of_another_length(self, whole, tmp_path):
        write_dat(tmp_path / "p.dat", table_of(["a", "b", "c", "d", "e"]).p_upright)
        left = whole.subset(np.arange(7))
        with pytest.raises(DataError) as told:
            p_upright_of(tmp_path / "p.dat", left, [whole, left])
        assert "probabilities of 5 images, and these are 12 images" in str(told.value)
        assert f"or 7 images ({left.fingerprint()})" in str(told.value)

    def test_of_files_with_odd_names(self, tmp_path):
        numbers = np.arange(6)
        table = FileTable(str(tmp_path), NAMES, np.full((6, NUM_COLUMNS), 100))
        files = FileImages(tmp_path, table, numbers)
        table_of(NAMES, files.fingerprint()).write(tmp_path / "upright.npz")
        found = p_upright_of(tmp_path, files.subset(numbers[::-1].copy()), [files])
        np.testing.assert_array_equal(found, table_of(NAMES).p_upright[::-1])
