import pytest

from quarterturn.data.data_argument import is_there, locate, short_name
from quarterturn.data.named_sources import NAMED_SOURCES
from quarterturn.data.sources import open_source
from quarterturn.errors import DataError

from .fake_cifar import write_cifar
from .pictures import save_photo


class TestNames:
    def test_are_located(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for data in ("cifar10:sets", "cifar10:./x/../sets", "cifar10:~/sets"):
            assert locate(data) == f"cifar10:{tmp_path.resolve() / 'sets'}"
            assert locate(locate(data)) == locate(data)

    def test_mean_the_same_from_another_directory(self, tmp_path, monkeypatch):
        write_cifar(tmp_path / "sets", "cifar10", monkeypatch)
        monkeypatch.chdir(tmp_path)
        located = locate("cifar10:sets")
        monkeypatch.chdir("/")
        assert len(open_source(located).train) == 20

    def test_in_file_names_tell_the_data_sets_apart(self, tmp_path):
        assert short_name(f"cifar10:{tmp_path}/sets") == "cifar10-sets"
        assert short_name(f"cifar100:{tmp_path}/sets") == "cifar100-sets"
        assert short_name("digits") == "digits"
        assert short_name("/data/flowers/photos.csv") == "flowers-photos"
        assert short_name("/data/flowers/photo-{00..12}.tar") == "flowers-photo-_00..12_"

    @pytest.mark.parametrize("data", ["foo:bar", "cifar:data", "CIFAR10:data"])
    def test_unknown_ones_list_those_there_are(self, data):
        name = data.split(":")[0]
        with pytest.raises(
            DataError, match=f"no data at '{data}', and no data set named '{name}'"
        ) as e:
            open_source(data)
        assert str(e.value).endswith("places205:ROOT or voc2007:ROOT or voc:ROOT")

    @pytest.mark.parametrize("data", ["cifar10", "cifar10:"])
    def test_need_a_root(self, data, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(DataError, match=f"no data at '{data}': .* cifar10:ROOT"):
            open_source(data)

    @pytest.mark.parametrize("name", ["holiday:2024", "cifar10:photos"])
    def test_a_folder_with_a_colon_is_a_folder(self, name, tmp_path, monkeypatch):
        for i in range(8):
            save_photo(tmp_path / name / f"{i}.png", i)
        monkeypatch.chdir(tmp_path)
        assert len(open_source(name).train) == 8
        assert locate(name) == str(tmp_path.resolve() / name)

    def test_help_lists_all(self):
        from quarterturn.cli.commands import DATA_WORDS

        assert [word for word in NAMED_SOURCES if f"{word}:ROOT" not in DATA_WORDS] == []


def test_patterns_are_there_where_any_file_is(tmp_path, monkeypatch):
    pattern = str(tmp_path / "photos-{0..3}.tar")
    assert not is_there(pattern)
    (tmp_path / "photos-2.tar").touch()
    assert is_there(pattern)
    assert is_there(str(tmp_path / "*.tar"))
    assert not is_there(str(tmp_path / "{x}.tar"))
    monkeypatch.chdir(tmp_path)
    assert locate("photos-{0..3}.tar") == pattern
