"""One multilayer perceptron for everything: alone, or as an ensemble whose members share each matrix product.

The last layer keeps its weights' format whatever `autocast` says: what comes out is subtracted from its like (an advantage is).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from learners.precision import Precision, product_format

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"elu": functional.elu, "relu": functional.relu, "silu": functional.silu}


class MLP(nn.Module):
    """Linear layers with an activation between them, for `members` networks at once.

    members=() is a single network: (B, in) -> (B, out). members=(M,) is an ensemble with one batched product a layer:
    (B, in) or (M, B, in) -> (M, B, out). Weights are (*members, in, out), initialised as torch.nn.Linear's default.
    """

    __call__: Callable[..., Tensor]  # torch leaves it Any

    def __init__(
        self,
        sizes: Sequence[int],
        members: tuple[int, ...] = (),
        activation: str = "elu",
        layer_norm: bool = False,
        output_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.members = members
        self.activation = activation
        self.layer_norm = layer_norm
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            last = index == len(sizes) - 2
            bound = (output_gain if last else 1.0) / math.sqrt(inputs)
            self.weights.append(nn.Parameter(torch.empty(*members, inputs, outputs).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(*members, *([1] if members else []), outputs).uniform_(-bound, bound)))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, in) or (*members, B, in) -> (*members, B, out)."""
        activation = ACTIVATIONS[self.activation]
        layers = list(zip(self.weights, self.biases, strict=True))
        hidden = inputs
        for weight, bias in layers[:-1]:
            hidden = _affine(hidden, weight, bias)
            if self.layer_norm:
                hidden = functional.layer_norm(hidden, hidden.shape[-1:])
            hidden = activation(hidden)
        weight, bias = layers[-1]
        with torch.autocast("cpu", enabled=False):  # a value of 10 in bfloat16 is off by 0.03, as much as actions differ by
            return _affine(hidden.to(weight.dtype), weight, bias)

    def ready(self, precision: Precision, chosen: Tensor | None = None) -> MLP:
        """A copy of the `chosen` (C,) of an ensemble's members, or of all, to be asked many times: its weights have the format of the
        products, into which `autocast` would convert them each time. For use within it, with inputs (*members, B, in)."""
        copied = copy.deepcopy(self).requires_grad_(False)
        last = copied.weights[-1], copied.biases[-1]
        for parameter in copied.parameters():
            taken = parameter if chosen is None else parameter[chosen]
            parameter.data = taken if any(parameter is each for each in last) else taken.to(product_format(precision))
        copied.members = self.members if chosen is None else (len(chosen),)
        return copied

    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Detached (weight (in, out), bias (out)) of each layer of a single network, for export."""
        if self.members:
            raise ValueError("only a single network has one set of layers; select a member first")
        return [(weight.detach(), bias.detach()) for weight, bias in zip(self.weights, self.biases, strict=True)]


def _affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    # One fused call where there is one: a fifth of a training step.
    dimensions = inputs.dim(), weight.dim()
    if dimensions == (2, 2):
        return torch.addmm(bias, inputs, weight)
    return torch.baddbmm(bias, inputs, weight) if dimensions == (3, 3) else inputs @ weight + bias


CONSTANT = 1e-4  # a column whose standard deviation is no more


class Normaliser(nn.Module):
    """(x - mean) / std with statistics of a data set; stored with the network, never trained."""

    mean: Tensor
    std: Tensor
    __call__: Callable[..., Tensor]  # torch leaves it Any

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def fit(self, values: Tensor, constant_std: float = 1.0) -> None:
        """Take mean and standard deviation of values (N, size); a constant column gets the scale `constant_std`."""
        self.mean.copy_(values.mean(0))
        std = values.std(0)
        self.std.copy_(torch.where(std > CONSTANT, std, torch.full_like(std, constant_std)))

    def forward(self, values: Tensor) -> Tensor:
        """Normalised values, same shape."""
        return (values - self.mean) / self.std
