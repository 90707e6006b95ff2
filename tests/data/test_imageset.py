import numpy as np

from quarterturn.data.sources import open_source

from .test_labelled import archive, tree


def test_of_files_are_the_same_by_any_way(tmp_path):
    data = tree(tmp_path / "data", {"ant": 5, "bee": 5})
    (tmp_path / "linked").symlink_to(tmp_path / "data")
    (tmp_path / "mixed" / "ant").mkdir(parents=True)
    (tmp_path / "mixed" / "ant" / "other name.png").symlink_to(tmp_path / "data" / "ant" / "01.png")
    tree(tmp_path / "mixed", {"bee": 8})
    found = open_source(data).train.identities(data)
    assert len(found) == 10
    linked = str(tmp_path / "linked")
    assert open_source(linked).train.identities(linked) == found
    part = open_source(data).train.subset(np.array([3, 7]))
    assert len(part.identities(data) & found) == 2
    mixed = str(tmp_path / "mixed")
    shared = open_source(mixed).train.identities(mixed) & found
    assert shared == {str((tmp_path / "data" / "ant" / "01.png").resolve())}


def test_of_arrays_are_by_file_and_split(tmp_path):
    one = archive(tmp_path / "x.npz", train=[0, 1] * 5, test=[1, 0] * 5)
    other = archive(tmp_path / "y.npz", train=[0, 1] * 5)
    source = open_source(one)
    of_train, of_test = source.train.identities(one), source.test.identities(one)
    assert (len(of_train), len(of_test)) == (10, 10)
    assert not of_train & of_test
    assert not of_train & open_source(other).train.identities(other)
    assert source.train.subset(np.array([2])).identities(one) < of_train
