import pytest
import torch

from pyrocount.models import linear_weight, make_decoder, make_encoder
from pyrocount.models.networks import LayerOptions, ResidualBlock, draw_weights

SHAPES = [(1, 4, 4), (1, 8, 8), (3, 7, 10), (3, 16, 16), (1, 28, 28), (3, 33, 16), (3, 64, 64)]


@pytest.mark.parametrize("kind", ["lin", "mlp", "conv"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "layers", [LayerOptions(), LayerOptions(bias=False, weight_norm=True, blocks=1)], ids=["plain", "deep"]
)
def test_networks_fit_the_shape_of_the_data(kind, shape, layers):
    x = torch.randn(2, *shape)
    encoder, decoder = make_encoder(kind, shape, 6, layers), make_decoder(kind, 5, shape, layers)
    assert encoder(x).shape == (2, 6)
    assert decoder(torch.ones(2, 5)).shape == x.shape
    if kind == "conv":
        blocks = sum(isinstance(part, ResidualBlock) for network in (encoder, decoder) for part in network.modules())
        halvings = sum(isinstance(part, torch.nn.ConvTranspose2d) for part in decoder.modules())
        assert blocks == 2 * layers.blocks * halvings
        assert halvings == {4: 1, 7: 1, 8: 1, 16: 2, 28: 2, 33: 2, 64: 4}[shape[1]]


@pytest.mark.parametrize("kind", ["lin", "mlp"])
def test_networks_fit_tables(kind):
    assert make_encoder(kind, (11,), 6)(torch.randn(3, 11)).shape == (3, 6)
    assert make_decoder(kind, 5, (11,))(torch.ones(3, 5)).shape == (3, 11)


def test_weight_norm_has_a_length_and_a_direction():
    layer = make_encoder("lin", (4,), 3, LayerOptions(weight_norm=True))[1]
    names = {name for name, _ in layer.named_parameters()}
    assert names == {"bias", "parametrizations.weight.original0", "parametrizations.weight.original1"}
    assert make_encoder("lin", (4,), 3, LayerOptions(bias=False))[1].bias is None


@pytest.mark.parametrize("normalised", [False, True])
def test_weights_of_a_given_spread(normalised):
    encoder = make_encoder("conv", (1, 28, 28), 64, LayerOptions(weight_norm=normalised))
    biases = {name: value.clone() for name, value in encoder.named_parameters() if name.endswith("bias")}
    draw_weights(encoder, 0.3)
    weights = torch.cat([layer.weight.flatten() for layer in encoder if hasattr(layer, "weight")])
    # The standard error of the spread of n values is the spread over the root of 2 n.
    assert abs(weights.std() - 0.3) < 5 * 0.3 / (2 * len(weights)) ** 0.5
    assert abs(weights.mean()) < 5 * 0.3 / len(weights) ** 0.5
    assert all(torch.equal(value, dict(encoder.named_parameters())[name]) for name, value in biases.items())
    encoder(torch.ones(2, 1, 28, 28)).sum().backward()
    assert all(value.grad is not None for value in encoder.parameters())


def test_a_residual_block_starts_as_the_identity_and_learns():
    block = ResidualBlock(3, LayerOptions(weight_norm=True))
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.gain.grad.abs() > 0
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in block.modules())


@pytest.mark.parametrize(("output", "low", "high"), [("identity", -99, 99), ("sigmoid", 0, 1), ("tanh", -1, 1)])
def test_outputs_fit_the_range_of_the_data(output, low, high):
    decoder = make_decoder("mlp", 5, (7,), output=output)
    values = decoder(300 * torch.randn(200, 5))
    assert low <= values.min() < values.max() <= high
    assert (values.max() > 1.5) == (output == "identity")


def test_the_matrix_of_a_linear_decoder():
    decoder = make_decoder("lin", 5, (2, 3, 3))
    weight = linear_weight(decoder)
    z = torch.randn(4, 5)
    torch.testing.assert_close(decoder(z).flatten(1), z @ weight.T + decoder[0].bias)
    assert linear_weight(make_decoder("lin", 5, (7,), LayerOptions(weight_norm=True))).shape == (7, 5)
    assert linear_weight(make_decoder("mlp", 5, (7,))) is None
    assert linear_weight(make_decoder("lin", 5, (7,), output="tanh")) is None
    with pytest.raises(ValueError, match="output: got 'relu', expected one of identity, sigmoid, tanh"):
        make_decoder("lin", 5, (7,), output="relu")
