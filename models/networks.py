"""Encoders from data to features and decoders from counts to predictions, by kind: linear, MLP, convolutional."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from pyrocount.errors import InputError

HIDDEN_UNITS = 256
CHANNELS = (32, 64)


def make_encoder(kind: str, shape: Sequence[int], features: int) -> nn.Module:
    """Builds a network from data of shape (N, \\*shape) to features of shape (N, features).

    Args:
        kind: ``"lin"``, ``"mlp"`` or ``"conv"``.
        shape: shape of one observation, (D,) or (channels, height, width).
        features: number of outputs.

    Raises:
        InputError: for an unknown kind, or ``"conv"`` on data that are not images of at least 4 x 4.
    """
    return _look_up("encoder", kind, _ENCODERS)(tuple(shape), features)


def make_decoder(kind: str, latent_dim: int, shape: Sequence[int]) -> nn.Module:
    """Builds a network from counts of shape (N, latent_dim) to predictions of shape (N, \\*shape).

    Args:
        kind: ``"lin"``, ``"mlp"`` or ``"conv"``.
        latent_dim: number of latent counts.
        shape: shape of one observation, (D,) or (channels, height, width).

    Raises:
        InputError: for an unknown kind, or ``"conv"`` on data that are not images of at least 4 x 4.
    """
    return _look_up("decoder", kind, _DECODERS)(latent_dim, tuple(shape))


def _look_up(argument: str, kind: str, table: dict[str, Callable[..., nn.Module]]) -> Callable[..., nn.Module]:
    if kind not in table:
        raise InputError(argument, repr(kind), f"one of {', '.join(table)}")
    return table[kind]


def _linear_encoder(shape: tuple[int, ...], features: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), features))


def _linear_decoder(latent_dim: int, shape: tuple[int, ...]) -> nn.Module:
    return nn.Sequential(nn.Linear(latent_dim, math.prod(shape)), nn.Unflatten(1, shape))


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN_UNITS),
        nn.SiLU(),
        nn.Linear(HIDDEN_UNITS, HIDDEN_UNITS),
        nn.SiLU(),
        nn.Linear(HIDDEN_UNITS, outputs),
    )


def _mlp_encoder(shape: tuple[int, ...], features: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), _mlp(math.prod(shape), features))


def _mlp_decoder(latent_dim: int, shape: tuple[int, ...]) -> nn.Module:
    return nn.Sequential(_mlp(latent_dim, math.prod(shape)), nn.Unflatten(1, shape))


def _image_sizes(argument: str, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """(height, width) before and after each stride-2 convolution."""
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise InputError(
            argument, f"'conv' for data of shape {shape}", "images (channels, height >= 4, width >= 4) for it"
        )
    sizes = [(shape[1], shape[2])]
    for _ in CHANNELS:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def _conv_encoder(shape: tuple[int, ...], features: int) -> nn.Module:
    height, width = _image_sizes("encoder", shape)[-1]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((shape[0], *CHANNELS)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(CHANNELS[-1] * height * width, features))


def _conv_decoder(latent_dim: int, shape: tuple[int, ...]) -> nn.Module:
    sizes = _image_sizes("decoder", shape)[::-1]
    channels = (*CHANNELS[::-1], shape[0])
    height, width = sizes[0]
    layers: list[nn.Module] = [
        nn.Linear(latent_dim, channels[0] * height * width),
        nn.Unflatten(1, (channels[0], height, width)),
    ]
    for (inputs, outputs), (small, large) in zip(pairwise(channels), pairwise(sizes), strict=True):
        # Doubling n gives 2n - 1 pixels; an even target needs one more.
        extra = (large[0] - 2 * small[0] + 1, large[1] - 2 * small[1] + 1)
        layers += [nn.SiLU(), nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=extra)]
    return nn.Sequential(*layers)


_ENCODERS: dict[str, Callable[..., nn.Module]] = {"lin": _linear_encoder, "mlp": _mlp_encoder, "conv": _conv_encoder}
_DECODERS: dict[str, Callable[..., nn.Module]] = {"lin": _linear_decoder, "mlp": _mlp_decoder, "conv": _conv_decoder}
