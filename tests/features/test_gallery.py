import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.batches import evaluation_batches
from quarterturn.data.sources import open_source
from quarterturn.features.gallery import (
    FourTurns,
    build_gallery,
    four_turns,
    least_sure,
    look,
    neighbors,
    surest,
)
from quarterturn.features.pictures import Picture, thumbnail, turn_picture
from quarterturn.methods.build import build_network
from quarterturn.rotation import rotate4


@pytest.fixture(scope="module")
def views(network, digits, config):
    return look(network, digits, config.data)


def crops(images, config):
    """(N, 3, S, S), as the network sees them."""
    return torch.cat([b.images for b in evaluation_batches(images, config.data)])


def test_probabilities_match_a_direct_forward_pass(views, network, digits, config):
    shown = four_turns(views)
    assert len(shown) == 3
    with torch.no_grad():
        for one in shown:
            image = crops(digits, config)[one.picture.index : one.picture.index + 1]
            features = network.backbone(rotate4(image)[0])  # (4, D)
            expected = network.rotation_logits(features).softmax(dim=1)
            assert torch.allclose(torch.tensor(one.probabilities).float(), expected, atol=1e-5)
            assert np.sum(one.probabilities, axis=1) == pytest.approx(np.ones(4))


def test_surest_and_least_sure_are_the_ends_of_all_images(views):
    best, worst = surest(views, num=5), least_sure(views, num=5)
    every = sorted(views.probabilities.diagonal(dim1=1, dim2=2).mean(dim=1).tolist())
    assert [one.certainty for one in best] == pytest.approx(every[::-1][:5])
    assert [one.certainty for one in worst] == pytest.approx(every[:5])


def test_no_image_is_among_both_ends_of_a_small_set(network, digits, config):
    few = look(network, digits.subset(np.arange(9)), config.data)
    best = {one.picture.index for one in surest(few)}
    worst = {one.picture.index for one in least_sure(few)}
    assert len(best) == len(worst) == 4
    assert not best & worst


@pytest.mark.parametrize("stored", [0, 1, 2, 3])
def test_an_image_that_is_stored_turned_says_by_how_much(stored):
    # A network that is always right about what it sees: copy k of it looks turned by k + stored.
    told = [[float(j == (k + stored) % 4) for j in range(4)] for k in range(4)]
    one = FourTurns(Picture(0, "a.png", Image.new("RGB", (4, 4))), [], told)
    assert one.looks_turned == stored
    assert one.certainty == (1.0 if stored == 0 else 0.0)


def test_neighbors_are_the_nearest_upright_images_by_each_half(views, network, digits, config):
    with torch.no_grad():
        features = network.backbone(rotate4(crops(digits, config)).flatten(0, 1))
    parts = {k: v.unflatten(0, (-1, 4)) for k, v in network.parts(features).items()}
    for asked in neighbors(views):
        assert asked.turn in (1, 2, 3)
        assert set(asked.by_part) == {"rotation", "invariant"}
        for part, nearest in asked.by_part.items():
            query = parts[part][asked.query.index, asked.turn]
            cosines = F.cosine_similarity(parts[part][:, 0], query[None])
            expected = cosines.sort(descending=True).values
            assert [n.cosine for n in nearest] == pytest.approx(expected[:5].tolist(), abs=1e-5)
            assert len({n.picture.index for n in nearest}) == 5


def test_marks_and_ranks_the_querys_own_upright_view(views):
    for asked in neighbors(views, num_neighbors=len(views)):
        for part, nearest in asked.by_part.items():
            own = [i for i, n in enumerate(nearest) if n.is_query]
            assert own == [asked.own_place[part] - 1]
            assert nearest[own[0]].picture.name == asked.query.name


def test_a_representation_that_ignores_turns_finds_itself_first(views):
    upright = views.parts["invariant"][:, :1].expand(-1, 4, -1)
    blind = type(views)(views.images, views.crop, views.indices, {"whole": upright}, None)
    for asked in neighbors(blind):
        assert asked.own_place == {"whole": 1}
        assert asked.by_part["whole"][0].is_query
        assert asked.by_part["whole"][0].cosine == pytest.approx(1)


def test_the_pictures_are_what_the_network_sees(digits, config):
    picture = thumbnail(digits, 3, config.data)
    side = config.data.image_size
    seen = torch.from_numpy(np.array(picture)[:: picture.height // side, :: picture.width // side])
    crop = crops(digits, config)[3]
    scale, shift = config.data.std[0] * 255, config.data.mean[0] * 255
    assert (seen.permute(2, 0, 1) - (crop * scale + shift)).abs().max() <= 1


@pytest.mark.parametrize("turn", range(4))
def test_pictures_turn_as_images_do(turn):
    image = torch.arange(27, dtype=torch.uint8).view(3, 3, 3)  # height, width, channels
    picture = turn_picture(Image.fromarray(image.numpy()), turn)
    turned = rotate4(image.permute(2, 0, 1)[None])[0, turn].permute(1, 2, 0)
    assert np.array_equal(np.array(picture), turned.numpy())


def test_a_network_without_rotation_head_has_neighbors_alone(digits, config):
    network = build_network(config.with_settings(method="instance"))
    gallery = build_gallery(network, digits, config.data)
    assert not gallery.four_turns
    assert not gallery.surest
    assert not gallery.least_sure
    assert [set(n.by_part) for n in gallery.neighbors] == [{"whole"}] * 4


def test_limits_the_images_and_restores_the_mode(digits, config):
    network = build_network(config).train()
    gallery = build_gallery(network, digits, config.data, most=20)
    assert gallery.num_images == 20
    assert network.training


def test_the_gallery_is_the_same_each_time(network, digits, config):
    first, second = (build_gallery(network, digits, config.data) for _ in range(2))
    assert [n.query.name for n in first.neighbors] == [n.query.name for n in second.neighbors]
    assert [n.turn for n in first.neighbors] == [n.turn for n in second.neighbors]


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
    views = look(network, images, crop)
    assert len(views) == 10
    shown = {n.picture.name for a in neighbors(views) for n in a.by_part["invariant"]}
    assert not shown & {"03.jpg", "07.jpg"}
    by_name = {views.picture(i).name for i in range(10)}
    assert by_name == {f"{i:02d}.jpg" for i in range(12)} - {"03.jpg", "07.jpg"}


def test_a_set_without_any_readable_image_has_no_gallery(tmp_path, network, config):
    for i in range(8):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{i}.png")
    images = open_source(str(tmp_path)).train
    for i in range(8):
        (tmp_path / f"{i}.png").unlink()
    assert build_gallery(network, images, config.data) is None


def test_a_file_gone_since_is_a_grey_square(tmp_path, digits, config):
    for i in range(8):
        Image.new("RGB", (32, 32), (i, 0, 0)).save(tmp_path / f"{i}.png")
    images = open_source(str(tmp_path)).train
    (tmp_path / "5.png").unlink()
    colours = thumbnail(images, 5, config.data).getcolors()
    assert colours == [(128 * 128, (128, 128, 128))]
