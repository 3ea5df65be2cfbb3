"""The policy of a baseline, read from the file that the other interpreter writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common.array_types import Float32Array
from common.arrays import load_arrays
from common.errors import QuadloopError

Layer = tuple[Float32Array, Float32Array]

MAX_LAYERS = 16
MAX_WIDTH = 8192
MAX_FILE_BYTES = 256 * 2**20


class BaselineError(QuadloopError):
    """A baseline that could not be trained, or whose policy cannot be read."""


class TanhPolicy:
    """A deterministic policy: layers with relu between them and tanh after the last."""

    def __init__(self, layers: list[Layer]) -> None:
        self.layers = layers  # [(weight (out, in), bias (out,)), ...]

    @classmethod
    def load(cls, path: Path) -> TanhPolicy:
        """The policy in an .npz of `weight_0`, `bias_0`, `weight_1`, ..., or BaselineError naming what is wrong with it."""
        arrays = load_arrays(path, MAX_FILE_BYTES, BaselineError)
        count = len(arrays) // 2
        if not 1 <= count <= MAX_LAYERS or set(arrays) != {f"{kind}_{i}" for i in range(count) for kind in ("weight", "bias")}:
            raise BaselineError(f"{path}: holds {sorted(arrays)[:8]}, not weight_0, bias_0 and so on of 1 to {MAX_LAYERS} layers")
        layers = [(_checked(path, f"weight_{i}", arrays, 2), _checked(path, f"bias_{i}", arrays, 1)) for i in range(count)]
        for i, (weight, bias) in enumerate(layers):
            inputs = len(layers[i - 1][1]) if i else weight.shape[1]
            if weight.shape != (len(bias), inputs):
                raise BaselineError(f"{path}: weight_{i} is {weight.shape}, but its bias has {len(bias)} values and its input {inputs}")
        return cls(layers)

    def act(self, observations: Float32Array) -> Float32Array:
        """Actions (B, A) float32, from -1 to 1, of observations (B, O) float32."""
        hidden = observations
        for weight, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weight.T + bias, 0)
        weight, bias = self.layers[-1]
        actions: Float32Array = np.tanh(hidden @ weight.T + bias)
        return actions


def _checked(path: Path, name: str, arrays: dict[str, Any], dimensions: int) -> Float32Array:
    """The array of that name if it is finite float32 of that many dimensions, each from 1 to MAX_WIDTH."""
    values: Float32Array = arrays[name]
    if values.dtype != np.float32 or values.ndim != dimensions or not all(1 <= size <= MAX_WIDTH for size in values.shape):
        raise BaselineError(f"{path}: {name} is {values.dtype} {values.shape}, not float32 of {dimensions} dimensions of 1 to {MAX_WIDTH}")
    if not np.isfinite(values).all():
        raise BaselineError(f"{path}: {name} has values that are not finite")
    return values
