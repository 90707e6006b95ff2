from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.sources import open_source
from quarterturn.features.gallery import (
    copy_features,
    four_turns,
    least_sure,
    look_turned,
    neighbors,
    save_gallery,
    surest,
)
from quarterturn.features.pictures import thumbnail
from quarterturn.methods.build import build_network
from quarterturn.rotation import rotate4
from quarterturn.runs import Run
from quarterturn.runs.pictures import FourTurns, Gallery, Picture, PictureFolder, read_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return PictureFolder(tmp_path_factory.mktemp("run"), "gallery")


@pytest.fixture(scope="module")
def copies(network, digits, config, folder):
    return copy_features(network, digits, config.data, folder)


@pytest.fixture
def run(tmp_path, config):
    run = Run(tmp_path / "run", "digits", config, "fingerprint")
    run.create()
    return run


def crops(images, config):
    """(N, 3, S, S), as the network sees them."""
    return torch.cat([b.images for b in evaluation_batches(images, config.data)])


def test_probabilities_match_a_direct_forward_pass(copies, network, digits, config):
    shown = four_turns(copies)
    assert len(shown) == 3
    with torch.no_grad():
        for one in shown:
            image = crops(digits, config)[one.picture.index : one.picture.index + 1]
            features = network.backbone(rotate4(image)[0])  # (4, D)
            expected = network.rotation_logits(features).softmax(dim=1)
            assert torch.allclose(torch.tensor(one.probabilities).float(), expected, atol=1e-5)
            assert np.sum(one.probabilities, axis=1) == pytest.approx(np.ones(4))


def test_surest_and_least_sure_are_the_ends_of_all_images(copies):
    best, worst = surest(copies, num=5), least_sure(copies, num=5)
    every = sorted(copies.probabilities.diagonal(dim1=1, dim2=2).mean(dim=1).tolist())
    assert [one.certainty for one in best] == pytest.approx(every[::-1][:5])
    assert [one.certainty for one in worst] == pytest.approx(every[:5])


def test_no_image_is_among_both_ends_of_a_small_set(network, digits, config, folder):
    few = copy_features(network, digits.subset(np.arange(9)), config.data, folder)
    best = {one.picture.index for one in surest(few)}
    worst = {one.picture.index for one in least_sure(few)}
    assert len(best) == len(worst) == 4
    assert not best & worst


@pytest.mark.parametrize("stored", [0, 1, 2, 3])
def test_an_image_that_is_stored_turned_says_by_how_much(stored):
    # A network that is always right about what it sees: copy k of it looks turned by k + stored.
    told = [[float(j == (k + stored) % 4) for j in range(4)] for k in range(4)]
    one = FourTurns(Picture(0, "a.png", "gallery-0.png"), tuple(map(tuple, told)))
    assert one.looks_turned == stored
    assert one.certainty == (1.0 if stored == 0 else 0.0)


def test_neighbors_are_the_nearest_upright_images_by_each_half(copies, network, digits, config):
    with torch.no_grad():
        features = network.backbone(rotate4(crops(digits, config)).flatten(0, 1))
    parts = {k: v.unflatten(0, (-1, 4)) for k, v in network.parts(features).items()}
    for asked in neighbors(copies):
        assert asked.turn in (1, 2, 3)
        assert [found.part for found in asked.parts] == ["rotation", "invariant"]
        for found in asked.parts:
            part, nearest = found.part, found.nearest
            query = parts[part][asked.query.index, asked.turn]
            cosines = F.cosine_similarity(parts[part][:, 0], query[None])
            expected = cosines.sort(descending=True).values
            assert [n.cosine for n in nearest] == pytest.approx(expected[:5].tolist(), abs=1e-5)
            assert len({n.picture.index for n in nearest}) == 5


def test_marks_and_ranks_the_querys_own_upright_view(copies):
    for asked in neighbors(copies, num_neighbors=len(copies)):
        for found in asked.parts:
            own = [i for i, n in enumerate(found.nearest) if n.is_query]
            assert own == [found.own_place - 1]
            assert found.nearest[own[0]].picture == asked.query


def test_a_representation_that_ignores_turns_finds_itself_first(copies):
    upright = copies.parts["invariant"][:, :1].expand(-1, 4, -1)
    blind = replace(copies, parts={"whole": upright}, probabilities=None)
    for asked in neighbors(blind):
        (found,) = asked.parts
        assert (found.part, found.own_place) == ("whole", 1)
        assert found.nearest[0].is_query
        assert found.nearest[0].cosine == pytest.approx(1)


def test_the_pictures_are_what_the_network_sees(digits, config):
    picture = thumbnail(digits, 3, config.data)
    side = config.data.image_size
    seen = torch.from_numpy(np.array(picture)[:: picture.height // side, :: picture.width // side])
    crop = crops(digits, config)[3]
    scale, shift = config.data.std[0] * 255, config.data.mean[0] * 255
    assert (seen.permute(2, 0, 1) - (crop * scale + shift)).abs().max() <= 1


def test_images_that_look_turned_are_surest_first(copies):
    """The network is made to be right about what it sees, and three images are stored turned."""
    sureness = {4: 0.6, 7: 0.9, 9: 0.8}
    probabilities = torch.full((len(copies), 4, 4), 0.1)
    for i in range(len(copies)):
        for k in range(4):
            probabilities[i, k, (k + (i % 3 + 1 if i in sureness else 0)) % 4] = sureness.get(
                i, 0.7
            )
    shown = look_turned(replace(copies, probabilities=probabilities))
    assert [one.picture.index for one in shown] == [7, 9, 4]
    assert [one.looks_turned for one in shown] == [7 % 3 + 1, 9 % 3 + 1, 4 % 3 + 1]
    assert shown[0].agreement(shown[0].looks_turned) == pytest.approx(0.9)
    assert look_turned(replace(copies, probabilities=None)) == ()


def test_a_network_without_rotation_head_has_only_neighbors(digits, config, run):
    network = build_network(config.with_settings(method="instance"))
    gallery = save_gallery(run, network, digits)
    assert not gallery.four_turns
    assert not gallery.surest
    assert not gallery.least_sure
    assert not gallery.look_turned
    assert [[p.part for p in n.parts] for n in gallery.neighbors] == [["whole"]] * 4


def test_limits_the_images_and_restores_the_mode(digits, config, run):
    network = build_network(config).train()
    gallery = save_gallery(run, network, digits, most=20)
    assert gallery.num_images == 20
    assert network.training


def test_what_is_stored_is_read_again_with_its_pictures(network, digits, run):
    gallery = save_gallery(run, network, digits)
    assert read_pictures(run.path, "gallery", Gallery) == gallery
    for asked in gallery.neighbors:
        with Image.open(run.path / "pictures" / asked.query.file) as image:
            assert image.size == (128, 128)
    assert save_gallery(run, network, digits) == gallery  # the same each time


def test_files_that_fail_to_decode_are_left_out(tmp_path, network):
    generator = np.random.default_rng(0)
    for i in range(12):
        pixels = generator.integers(0, 256, (40, 30 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02d}.jpg")
    images = open_source(str(tmp_path)).train
    for broken in ("03.jpg", "07.jpg"):
        whole = (tmp_path / broken).read_bytes()
        (tmp_path / broken).write_bytes(whole[: len(whole) // 2])
    crop = DataConfig(image_size=16)
    copies = copy_features(network, images, crop, PictureFolder(tmp_path, "gallery"))
    assert len(copies) == 10
    shown = {n.picture.name for a in neighbors(copies) for p in a.parts for n in p.nearest}
    assert not shown & {"03.jpg", "07.jpg"}
    by_name = {copies.picture(i).name for i in range(10)}
    assert by_name == {f"{i:02d}.jpg" for i in range(12)} - {"03.jpg", "07.jpg"}


def test_a_set_without_any_readable_image_has_no_gallery(tmp_path, network, run):
    for i in range(8):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{i}.png")
    images = open_source(str(tmp_path)).train
    for i in range(8):
        (tmp_path / f"{i}.png").unlink()
    assert save_gallery(run, network, images) is None


def test_a_file_gone_since_is_a_grey_square(tmp_path, digits, config):
    for i in range(8):
        Image.new("RGB", (32, 32), (i, 0, 0)).save(tmp_path / f"{i}.png")
    images = open_source(str(tmp_path)).train
    (tmp_path / "5.png").unlink()
    colours = thumbnail(images, 5, config.data).getcolors()
    assert colours == [(128 * 128, (128, 128, 128))]
