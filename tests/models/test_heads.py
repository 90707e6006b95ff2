import numpy as np
import pytest
import torch

from quarterturn.models.heads import EmbeddingHead, LinearHead, split_halves


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 4, 6)])
def test_halves_are_the_first_and_the_last_features(shape):
    features = torch.arange(float(np.prod(shape))).view(shape)
    rotation, invariant = split_halves(features)
    assert rotation.shape == invariant.shape == (*shape[:-1], 3)
    assert torch.equal(torch.cat([rotation, invariant], dim=-1), features)
    assert rotation.flatten()[:3].tolist() == [0, 1, 2]


def test_an_odd_width_has_no_halves():
    with pytest.raises(ValueError, match="odd width 7"):
        split_halves(torch.zeros(2, 7))


@pytest.mark.parametrize("shape", [(5, 6), (2, 4, 6)])
def test_linear_head_is_a_matrix_and_a_bias(shape):
    head = LinearHead(6, 3)
    features = torch.randn(shape)
    weight, bias = head.weight.detach().double().numpy(), head.bias.detach().double().numpy()
    logits = head(features)
    assert logits.shape == (*shape[:-1], 3)
    for place in np.ndindex(shape[:-1]):
        x = features[place].double().numpy()
        expected = [sum(weight[c, d] * x[d] for d in range(6)) + bias[c] for c in range(3)]
        np.testing.assert_allclose(logits[place].detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_embeddings_have_length_one(scale):
    head = EmbeddingHead(6, 4)
    embeddings = head(scale * torch.randn(9, 6))
    assert embeddings.shape == (9, 4)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(9))


def test_an_embedding_is_the_normalised_linear_map():
    head = EmbeddingHead(6, 4)
    x = torch.randn(3, 6)
    mapped = x.double() @ head.weight.double().T + head.bias.double()
    expected = (mapped / mapped.square().sum(dim=1, keepdim=True).sqrt()).float()
    torch.testing.assert_close(head(x), expected)


@pytest.mark.parametrize("kind", [LinearHead, EmbeddingHead])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_heads_compute_in_float32_whatever_surrounds_them(kind, dtype):
    head, features = kind(16, 8), torch.randn(5, 16).to(dtype)
    plain = head(features.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = head(features)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, plain)
