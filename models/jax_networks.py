"""Decoders of the module ``networks`` as JAX functions, with the same parameters under the same names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array, lax
from torch import Tensor, nn

from pyrocount.errors import InputError

from .networks import LayerOptions, Offset, ResidualBlock, start_at

Parameters = Mapping[str, Array]


class Layer(Protocol):
    """Layer of a decoder as a JAX function, with its equivalent in torch."""

    def __call__(self, parameters: Parameters, z: Array) -> Array:
        """Returns the layer's output for inputs (N, ...)."""
        ...

    def module(self, parameters: Parameters) -> nn.Module:
        """Builds the equivalent layer in torch, with these parameters."""
        ...


@dataclass(frozen=True)
class JaxDecoder:
    """JAX function that computes what a decoder of the module ``networks`` computes.

    Args:
        layers: layers of the decoder, in the order in which they are applied.
        is_linear: whether the decoder is one linear layer, apart from the shape of its output.
    """

    layers: tuple[Layer, ...]
    is_linear: bool

    def __call__(self, parameters: Parameters, z: Array) -> Array:
        """Returns the predictions (N, \\*shape) from latents (N, K)."""
        for layer in self.layers:
            z = layer(parameters, z)
        return z


def jax_decoder(decoder: nn.Module) -> tuple[JaxDecoder, dict[str, Array]]:
    """Returns a decoder of ``make_decoder`` as a JAX function, and its parameters.

    Parameters keep their names in the module. Normalised weights are returned after the normalisation.

    Raises:
        InputError: naming ``decoder``, if it has a layer that ``make_decoder`` does not use.
    """
    layers = tuple(_layers(decoder, ""))
    is_linear = sum(isinstance(layer, _Linear) for layer in layers) == 1 and all(
        isinstance(layer, _Linear | _Reshape) for layer in layers
    )
    return JaxDecoder(layers, is_linear), effective_parameters(decoder)


def torch_decoder(decoder: JaxDecoder, parameters: Parameters) -> nn.Sequential:
    """Builds the torch module that computes what a decoder in JAX computes with these parameters."""
    return nn.Sequential(*(layer.module(parameters) for layer in decoder.layers))


def started_at(decoder: JaxDecoder, parameters: Parameters, prediction: Tensor, activity: Tensor) -> dict[str, Array]:
    """Returns the parameters of a decoder with a last layer whose output is near a prediction, see ``start_at``."""
    module = torch_decoder(decoder, parameters)
    start_at(module, prediction, activity)
    changed = {
        f"{layer.name}.{name}": jnp.asarray(getattr(part, name).detach().numpy())
        for layer, part in zip(decoder.layers, module, strict=True)
        if isinstance(layer, _Linear | _Convolution | _Offset)
        for name in ("weight", "bias")
        if isinstance(getattr(part, name, None), Tensor)
    }
    return {**parameters, **changed}


def effective_parameters(module: nn.Module) -> dict[str, Array]:
    """Returns the parameters of a module's layers by name; normalised weights are returned after the normalisation."""
    named = {
        f"{path}.{name}": getattr(part, name)
        for path, part in module.named_modules()
        for name in ("weight", "bias", "gain")
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | ResidualBlock | Offset)
        and isinstance(getattr(part, name, None), Tensor)
    }
    return {name: jnp.asarray(value.detach().cpu().numpy()) for name, value in named.items()}


@dataclass(frozen=True)
class _Linear:
    name: str
    has_bias: bool

    def __call__(self, parameters: Parameters, z: Array) -> Array:
        product = z @ parameters[f"{self.name}.weight"].T
        return product + parameters[f"{self.name}.bias"] if self.has_bias else product

    def module(self, parameters: Parameters) -> nn.Module:
        outputs, inputs = parameters[f"{self.name}.weight"].shape
        return _filled(nn.Linear(inputs, outputs, self.has_bias), self.name, parameters)


@dataclass(frozen=True)
class _Reshape:
    shape: tuple[int, ...]

    def __call__(self, parameters: Parameters, z: Array) -> Array:
        return z.reshape(len(z), *self.shape)

    def module(self, parameters: Parameters) -> nn.Module:
        return nn.Unflatten(1, self.shape)


@dataclass(frozen=True)
class _Convolution:
    """Convolution with square kernels; it is a transposed convolution if its stride is above 1."""

    name: str
    stride: int
    padding: int
    output_padding: tuple[int, ...]

    def __call__(self, parameters: Parameters, z: Array) -> Array:
        kernel = parameters[f"{self.name}.weight"]
        margins = [(self.padding, self.padding)] * 2
        dilation = (1, 1)
        if self.stride > 1:
            # A transposed convolution puts zeros between the pixels and correlates the image with the mirrored kernel.
            kernel = kernel[:, :, ::-1, ::-1].swapaxes(0, 1)
            before = kernel.shape[-1] - 1 - self.padding
            margins = [(before, before + extra) for extra in self.output_padding]
            dilation = (self.stride, self.stride)
        images = lax.conv_general_dilated(z, kernel, (1, 1), margins, lhs_dilation=dilation)
        return images + parameters[f"{self.name}.bias"][:, None, None]

    def module(self, parameters: Parameters) -> nn.Module:
        inputs, outputs, size, _ = parameters[f"{self.name}.weight"].shape
        if self.stride == 1:
            return _filled(nn.Conv2d(outputs, inputs, size, padding=self.padding), self.name, parameters)
        extra = (self.output_padding[0], self.output_padding[1])
        layer = nn.ConvTranspose2d(inputs, outputs, size, self.stride, self.padding, extra)
        return _filled(layer, self.name, parameters)


@dataclass(frozen=True)
class _Offset:
    name: str

    def __call__(self, parameters: Parameters, z: Array) -> Array:
        return z + parameters[f"{self.name}.bias"]

    def module(self, parameters: Parameters) -> nn.Module:
        bias = torch.from_numpy(np.array(parameters[f"{self.name}.bias"]))
        offset = Offset(bias.shape)
        with torch.no_grad():
            offset.bias.copy_(bias)
        return offset


@dataclass(frozen=True)
class _Residual:
    name: str
    branch: tuple[Layer, ...]

    def __call__(self, parameters: Parameters, z: Array) -> Array:
        change = z
        for layer in self.branch:
            change = layer(parameters, change)
        return z + parameters[f"{self.name}.gain"] * change

    def module(self, parameters: Parameters) -> nn.Module:
        convolutions = [layer for layer in self.branch if isinstance(layer, _Convolution)]
        block = ResidualBlock(len(parameters[f"{convolutions[0].name}.bias"]), LayerOptions())
        block.branch = nn.Sequential(*(layer.module(parameters) for layer in self.branch))
        with torch.no_grad():
            block.gain.fill_(float(parameters[f"{self.name}.gain"]))
        return block


@dataclass(frozen=True)
class _Elementwise:
    function: Callable[[Array], Array]
    module_type: type[nn.Module]

    def __call__(self, parameters: Parameters, z: Array) -> Array:
        return self.function(z)

    def module(self, parameters: Parameters) -> nn.Module:
        return self.module_type()


_FUNCTIONS: dict[type[nn.Module], Callable[[Array], Array]] = {
    nn.SiLU: jax.nn.silu,
    nn.Sigmoid: jax.nn.sigmoid,
    nn.Tanh: jnp.tanh,
}


def _filled(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, name: str, parameters: Parameters) -> nn.Module:
    with torch.no_grad():
        for part in ("weight", "bias"):
            if (target := getattr(layer, part)) is not None:
                target.copy_(torch.from_numpy(np.array(parameters[f"{name}.{part}"])))
    return layer


def _layers(module: nn.Module, path: str) -> list[Layer]:
    match module:
        case nn.Sequential():
            return [
                layer for name, part in module.named_children() for layer in _layers(part, f"{path}.{name}".strip("."))
            ]
        case ResidualBlock():
            return [_Residual(path, tuple(_layers(module.branch, f"{path}.branch")))]
        case nn.Linear():
            return [_Linear(path, module.bias is not None)]
        case Offset():
            return [_Offset(path)]
        case nn.Unflatten():
            return [_Reshape(tuple(module.unflattened_size))]
        case nn.ConvTranspose2d() | nn.Conv2d():
            extra = tuple(int(size) for size in module.output_padding)
            return [_Convolution(path, module.stride[0], int(module.padding[0]), extra)]
        case nn.SiLU() | nn.Sigmoid() | nn.Tanh():
            return [_Elementwise(_FUNCTIONS[type(module)], type(module))]
        case nn.Identity():
            return []
    raise InputError("decoder", f"a decoder with a {type(module).__name__} layer", "only layers that make_decoder uses")
