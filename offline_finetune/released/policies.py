"""The policies released with Uni-O4 as policy artifacts.

`ac_weights_*.pt` hold actor and critic of the simulator run, PyTorch's state dict, which is read as tensors only. A `.npz` holds an
actor's layers as `layer0.weight` (out, in), `layer0.bias` and so on, and `std`. The fine-tuned `pi_*.pt` are not read: released branches
turn the number that is called `std` there into a standard deviation in two ways, up to five times apart, and the file does not tell which.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.array_types import Float32Array
from common.arrays import load_arrays
from common.files import sha256_of_file
from learners.checkpoint import load_checkpoint
from learners.onnx_graph import policy_graph
from offline_finetune.released.file import ReleasedFileError, check_size
from robot.policy.artifact import PolicyArtifact, write_artifact

Layer = tuple[Float32Array, Float32Array]

LAYER_SIZES = (290, 512, 256, 128, 12)  # ELU between the layers
STAGE = "imported"
_ACTOR = "actor_body."
# The weights are 1.3 MB in float32; the caps leave room for float64 and stop a decompression bomb.
MAX_FILE_BYTES = 8 * 2**20
MAX_UNPACKED_BYTES = 16 * 2**20


def import_policy(released: Path, out: Path, force: bool = False) -> PolicyArtifact:
    """Write the policy in the file `released` as the artifact `out`; its parent is the sha256 of that file.

    ReleasedFileError if the file is not such a policy; FileExistsAlreadyError if `out` exists and `force` is not set.
    """
    layers, std = read_released_policy(released)
    graph, parent = policy_graph(layers, np.log(std)), sha256_of_file(released)
    return write_artifact(out, graph, stage=STAGE, parent_sha256=parent, force=force)


def read_released_policy(path: Path) -> tuple[list[Layer], Float32Array]:
    """Layers [(weight (out, in), bias (out,)), ...] and the Gaussian's standard deviation (12,), all float32; else ReleasedFileError."""
    check_size(path, MAX_FILE_BYTES)
    arrays = _from_state_dict(path) if path.suffix == ".pt" else load_arrays(path, MAX_UNPACKED_BYTES, ReleasedFileError)
    shapes = _expected_shapes()
    if set(arrays) != set(shapes):
        raise ReleasedFileError(f"{path}: holds {sorted(arrays)[:12]}, not a released policy's {sorted(shapes)}")
    checked = {name: _checked(path, name, arrays[name], shape) for name, shape in shapes.items()}
    if not (checked["std"] > 0).all():
        raise ReleasedFileError(f"{path}: std has values that are not positive")
    layers = [(checked[f"layer{i}.weight"], checked[f"layer{i}.bias"]) for i in range(len(LAYER_SIZES) - 1)]
    return layers, checked["std"]


def _from_state_dict(path: Path) -> dict[str, Any]:
    """The actor's arrays, named as in a .npz."""
    state = {name: value.detach().numpy() for name, value in load_checkpoint(path).items() if _is_plain(value)}
    if f"{_ACTOR}0.weight" not in state or "std" not in state:
        raise ReleasedFileError(f"{path}: holds no actor with its standard deviation; of a released run take ac_weights_*.pt")
    kinds = itertools.product(range(len(LAYER_SIZES) - 1), ("weight", "bias"))
    layers = {f"layer{index}.{kind}": state.get(f"{_ACTOR}{2 * index}.{kind}") for index, kind in kinds}  # activations lie between
    return layers | {"std": state["std"]}


def _is_plain(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided and value.dtype in (torch.float32, torch.float64)


def _expected_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"std": LAYER_SIZES[-1:]}
    for index, (inputs, outputs) in enumerate(itertools.pairwise(LAYER_SIZES)):
        shapes |= {f"layer{index}.weight": (outputs, inputs), f"layer{index}.bias": (outputs,)}
    return shapes


def _checked(path: Path, name: str, values: Any, shape: tuple[int, ...]) -> Float32Array:
    """`values` as float32 if they are floating-point numbers of this shape that float32 can hold."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.shape != shape:
        raise ReleasedFileError(f"{path}: {name} is not an array of floats of shape {shape}")
    if not (np.abs(values) <= np.finfo(np.float32).max).all():  # NaN fails the comparison too
        raise ReleasedFileError(f"{path}: {name} has values that are not finite")
    return values.astype(np.float32)
