"""Encoders from data to features, and decoders from latents to predictions: linear, MLP and convolutional."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, register_parametrization

from pyrocount.errors import InputError

HIDDEN_UNITS = 256
# Number of channels after the first halving of an image, and the largest number. Each further halving doubles it.
FIRST_CHANNELS, LARGEST_CHANNELS = 32, 256
# Shorter side, in pixels, from which on an image is halved again.
HALVED_FROM = 8

OUTPUTS: dict[str, Callable[[], nn.Module]] = {"identity": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


@dataclass(frozen=True)
class LayerOptions:
    """Options of the layers of a network.

    Attributes:
        bias: whether linear networks have a bias.
        weight_norm: whether all layers are weight-normalised (Salimans and Kingma, 2016).
        blocks: number of residual blocks at each size of the image (convolutional networks).
    """

    bias: bool = True
    weight_norm: bool = False
    blocks: int = 0

    def __call__(self, layer: nn.Module) -> nn.Module:
        """Returns the layer, weight-normalised if ``weight_norm`` is set."""
        return weight_norm(layer) if self.weight_norm else layer


class ResidualBlock(nn.Module):
    """Residual block x + gain * conv(swish(conv(swish(x)))) without batch normalisation; the learned gain starts at 0.

    Args:
        channels: number of channels of the images.
        options: options of the convolutions.

    References:
        He et al., Identity Mappings in Deep Residual Networks, ECCV 2016; De and Smith, Batch Normalization Biases
        Residual Blocks Towards the Identity Function, NeurIPS 2020 (the gain).
    """

    def __init__(self, channels: int, options: LayerOptions) -> None:
        super().__init__()
        convolutions = [options(nn.Conv2d(channels, channels, 3, padding=1)) for _ in range(2)]
        self.branch = nn.Sequential(nn.SiLU(), convolutions[0], nn.SiLU(), convolutions[1])
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Returns images of the same shape as ``x``."""
        return x + self.gain * self.branch(x)


class Offset(nn.Module):
    """Learned offset of each value of an observation, which starts at 0.

    Args:
        shape: shape of one observation.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(tuple(shape)))

    def forward(self, x: Tensor) -> Tensor:
        """Returns ``x`` plus the offset."""
        return x + self.bias


def make_encoder(kind: str, shape: Sequence[int], features: int, options: LayerOptions = LayerOptions()) -> nn.Module:
    """Builds a network from data of shape (N, \\*shape) to features of shape (N, features).

    Args:
        kind: ``"lin"``, ``"mlp"`` or ``"conv"``.
        shape: shape of one observation, (D,) or (channels, height, width).
        features: number of outputs.
        options: options of the layers.

    Raises:
        InputError: if the kind is unknown, or for ``"conv"`` on data that are not images of at least 4 x 4.
    """
    return _look_up("encoder", kind, _ENCODERS)(tuple(shape), features, options)


def make_decoder(
    kind: str,
    latent_dim: int,
    shape: Sequence[int],
    options: LayerOptions = LayerOptions(),
    output: str = "identity",
) -> nn.Module:
    """Builds a network from latents of shape (N, latent_dim) to predictions of shape (N, \\*shape).

    Args:
        kind: ``"lin"``, ``"mlp"`` or ``"conv"``.
        latent_dim: number of latents.
        shape: shape of one observation, (D,) or (channels, height, width).
        options: options of the layers.
        output: function applied last: ``"identity"``, ``"sigmoid"`` or ``"tanh"``.

    Raises:
        InputError: if the kind or output is unknown, or for ``"conv"`` on data that are not images of at least 4 x 4.
    """
    if output not in OUTPUTS:
        raise InputError("output", repr(output), f"one of {', '.join(OUTPUTS)}")
    layers = _look_up("decoder", kind, _DECODERS)(latent_dim, tuple(shape), options)
    return layers if output == "identity" else nn.Sequential(layers, OUTPUTS[output]())


@torch.no_grad()
def draw_weights(network: nn.Module, scale: float) -> None:
    """Draws the weights of all layers from a Gaussian around 0; biases stay as they are.

    Args:
        network: network of linear layers and convolutions.
        scale: standard deviation of the weights.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            drawn = scale * torch.randn_like(layer.weight)
            layer.weight = drawn if is_parametrized(layer, "weight") else nn.Parameter(drawn)


@torch.no_grad()
def start_at(decoder: nn.Module, prediction: Tensor, activity: Tensor, spread: float = math.inf) -> None:
    """Sets the last layer of a decoder such that its output is near a prediction, whatever the latents.

    The bias is set such that the mean output, before the output function, is the prediction; and the weights are made
    smaller where outputs vary more than they should. A decoder whose last layer has no bias for each value of an
    observation, as the linear one without bias, stays as it is, and so do normalised weights.

    Args:
        decoder: network from latents (N, K) to predictions (N, \\*shape).
        prediction: output to start at, shape (\\*shape).
        activity: inputs of the decoder over which its output is averaged, shape (N, K).
        spread: largest standard deviation of the output, root mean square over an observation.
    """
    parts = list(decoder) if isinstance(decoder, nn.Sequential) else [decoder]
    inverse = next((of for kind, of in _INVERSES.items() if isinstance(parts[-1], kind)), None)
    layers = nn.Sequential(*(parts if inverse is None else parts[:-1]))
    bias, weight = _last(layers, "bias"), _last(layers, "weight")
    if bias is None or bias.numel() != prediction.numel():
        return
    found = float(layers(activity).var(0, correction=0).mean().sqrt())
    if isinstance(weight, nn.Parameter) and found > spread:
        weight.mul_(spread / found)
    wanted = prediction if inverse is None else inverse(prediction)
    bias.add_((wanted.to(bias) - layers(activity).mean(0)).reshape(bias.shape))


def _last(layers: nn.Module, name: str) -> Tensor | None:
    """Returns the bias that is added last to the output, or the weight that is applied last, where there is one."""
    for part in reversed(list(_leaves(layers))):
        if isinstance(value := getattr(part, name, None), Tensor):
            return value
        if not isinstance(part, nn.Flatten | nn.Unflatten | nn.Identity | Offset):
            return None
    return None


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Yields the layers of nested sequences in the order in which they are applied."""
    if isinstance(module, nn.Sequential):
        for part in module:
            yield from _leaves(part)
    else:
        yield module


# Inverses of the output functions, kept off their limits, where nothing would be learned.
_INVERSES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: lambda output: output.clamp(0.02, 0.98).logit(),
    nn.Tanh: lambda output: output.clamp(-0.96, 0.96).atanh(),
}


class SparseEncoder(nn.Module):
    """Encoder whose codes (N, K) an optimisation finds for a linear decoder; gradients do not pass through it.

    Args:
        decoder: linear decoder with columns of unit norm and no bias.
        infer: function that returns the codes (N, K) of data (N, D) for a dictionary (D, K).
    """

    def __init__(self, decoder: nn.Module, infer: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        # The list keeps the decoder's parameters from being registered twice.
        self._decoder = [decoder]
        self.infer = infer

    def forward(self, x: Tensor) -> Tensor:
        """Infers the codes (N, K) of data of shape (N, \\*shape)."""
        weight = linear_weight(self._decoder[0])
        assert weight is not None
        return self.infer(x.flatten(1), weight.detach())


class UnitColumns(nn.Module):
    """Parametrisation of a matrix whose columns have unit norm."""

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the matrix with each column divided by its norm."""
        return nn.functional.normalize(weight, dim=0)


def make_dictionary(latent_dim: int, shape: Sequence[int]) -> nn.Module:
    """Builds a linear decoder from codes (N, latent_dim) to data (N, \\*shape), with columns of unit norm."""
    layer = nn.Linear(latent_dim, math.prod(shape), bias=False)
    nn.init.normal_(layer.weight)
    return nn.Sequential(register_parametrization(layer, "weight", UnitColumns()), nn.Unflatten(1, tuple(shape)))


def linear_weight(decoder: nn.Module) -> Tensor | None:
    """Returns the matrix of a decoder that consists of one linear layer, apart from reshaping.

    Args:
        decoder: network from latents (N, K) to predictions (N, \\*shape) of D values.

    Returns:
        The matrix without the bias, shape (D, K); None for any other decoder.
    """
    parts = list(decoder) if isinstance(decoder, nn.Sequential) else [decoder]
    linear = [part for part in parts if isinstance(part, nn.Linear)]
    plain = all(isinstance(part, nn.Linear | nn.Flatten | nn.Unflatten | nn.Identity) for part in parts)
    return linear[0].weight if plain and len(linear) == 1 else None


def _look_up(argument: str, kind: str, table: dict[str, Callable[..., nn.Module]]) -> Callable[..., nn.Module]:
    if kind not in table:
        raise InputError(argument, repr(kind), f"one of {', '.join(table)}")
    return table[kind]


def _linear_encoder(shape: tuple[int, ...], features: int, options: LayerOptions) -> nn.Module:
    return nn.Sequential(nn.Flatten(), options(nn.Linear(math.prod(shape), features, bias=options.bias)))


def _linear_decoder(latent_dim: int, shape: tuple[int, ...], options: LayerOptions) -> nn.Module:
    return nn.Sequential(options(nn.Linear(latent_dim, math.prod(shape), bias=options.bias)), nn.Unflatten(1, shape))


def _mlp(inputs: int, outputs: int, options: LayerOptions) -> nn.Sequential:
    return nn.Sequential(
        options(nn.Linear(inputs, HIDDEN_UNITS)),
        nn.SiLU(),
        options(nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS)),
        nn.SiLU(),
        options(nn.Linear(HIDDEN_UNITS, outputs)),
    )


def _mlp_encoder(shape: tuple[int, ...], features: int, options: LayerOptions) -> nn.Module:
    return nn.Sequential(nn.Flatten(), _mlp(math.prod(shape), features, options))


def _mlp_decoder(latent_dim: int, shape: tuple[int, ...], options: LayerOptions) -> nn.Module:
    return nn.Sequential(_mlp(latent_dim, math.prod(shape), options), nn.Unflatten(1, shape))


def _pyramid(argument: str, shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Returns (channels, height, width) of the image and after each of its halvings, at least one."""
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise InputError(
            argument, f"'conv' for data of shape {shape}", "images (channels, height, width) of at least 4 x 4 pixels"
        )
    sizes, channels = [(shape[0], shape[1], shape[2])], FIRST_CHANNELS
    while len(sizes) == 1 or min(sizes[-1][1:]) >= HALVED_FROM:
        _, height, width = sizes[-1]
        sizes.append((channels, (height + 1) // 2, (width + 1) // 2))
        channels = min(2 * channels, LARGEST_CHANNELS)
    return sizes


def _conv_encoder(shape: tuple[int, ...], features: int, options: LayerOptions) -> nn.Module:
    sizes = _pyramid("encoder", shape)
    layers: list[nn.Module] = []
    for (inputs, _, _), (outputs, _, _) in pairwise(sizes):
        layers.append(options(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)))
        layers += [ResidualBlock(outputs, options) for _ in range(options.blocks)]
        layers.append(nn.SiLU())
    return nn.Sequential(*layers, nn.Flatten(), options(nn.Linear(math.prod(sizes[-1]), features)))


def _conv_decoder(latent_dim: int, shape: tuple[int, ...], options: LayerOptions) -> nn.Module:
    sizes = _pyramid("decoder", shape)[::-1]
    layers: list[nn.Module] = [options(nn.Linear(latent_dim, math.prod(sizes[0]))), nn.Unflatten(1, sizes[0])]
    for (inputs, *small), (outputs, *large) in pairwise(sizes):
        # Doubling n gives 2n - 1 pixels; an even target needs one more.
        extra = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
        layers += [ResidualBlock(inputs, options) for _ in range(options.blocks)]
        layers.append(nn.SiLU())
        layers.append(options(nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=extra)))
    # The convolution has one bias a channel; where the data are brightest differs from pixel to pixel.
    return nn.Sequential(*layers, Offset(shape))


_ENCODERS: dict[str, Callable[..., nn.Module]] = {"lin": _linear_encoder, "mlp": _mlp_encoder, "conv": _conv_encoder}
_DECODERS: dict[str, Callable[..., nn.Module]] = {"lin": _linear_decoder, "mlp": _mlp_decoder, "conv": _conv_decoder}
