"""Whether an untrusted ONNX graph may be run as a policy: self-contained, standard operators, finite weights, the right borders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from robot import go1
from robot.artifact_metadata import ArtifactError

INPUT = "observation_history"
OUTPUTS = ("action_mean", "action_std")

_STANDARD_DOMAINS = ("", "ai.onnx")
_ENDLESS = ("Loop", "Scan")  # may run for ever; no policy needs them
_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
_TENSOR = onnx.TensorProto
_NUMBERS = (
    _TENSOR.FLOAT, _TENSOR.DOUBLE, _TENSOR.FLOAT16, _TENSOR.BOOL, _TENSOR.INT8, _TENSOR.INT16, _TENSOR.INT32, _TENSOR.INT64,
    _TENSOR.UINT8, _TENSOR.UINT16, _TENSOR.UINT32, _TENSOR.UINT64,
)  # fmt: skip


def parse(content: bytes) -> onnx.ModelProto:
    """The model in `content`; ArtifactError if it is none."""
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf raises its own DecodeError, which has no public typed home
        raise ArtifactError("not an ONNX file, or cut short") from error
    if not model.graph.node:
        raise ArtifactError("this is not an ONNX file, or its graph is empty")
    return model


def check_graph(model: onnx.ModelProto, observation_size: int) -> None:
    """ArtifactError unless the graph is one that may be run and takes (batch, observation_size)."""
    if model.functions or model.training_info:
        raise ArtifactError("the model has local functions or training graphs; export it as one plain graph")
    for node in _every(model, onnx.NodeProto):
        _check_node(node)
    for attribute in _every(model, onnx.AttributeProto):
        if not np.isfinite([attribute.f, *attribute.floats]).all():
            raise ArtifactError(f"the attribute {attribute.name[:40]!r} is not finite")
    for tensor in _every(model, onnx.TensorProto):
        _check_tensor(tensor)
    _check_borders(model.graph, observation_size)


def _every(message: Any, kind: type[Any]) -> Iterator[Any]:
    """Every message of `kind` inside `message`, however deep: initialisers, attributes, subgraphs."""
    if isinstance(message, kind):
        yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if hasattr(value, "__len__") else (value,):
                yield from _every(child, kind)


def _check_node(node: onnx.NodeProto) -> None:
    if node.domain not in _STANDARD_DOMAINS:
        raise ArtifactError(f"operator {node.op_type[:40]!r} is of the custom domain {node.domain[:40]!r}; only standard operators are run")
    if node.op_type in _ENDLESS:
        raise ArtifactError(f"the graph has a {node.op_type}, which may run for ever; a policy is a plain feed-forward graph")
    if node.op_type in _RANDOM:
        raise ArtifactError(f"the graph has a {node.op_type}; a policy gives mean and std and leaves sampling to its user")


def _check_tensor(tensor: onnx.TensorProto) -> None:
    name = repr(tensor.name[:40])
    if tensor.data_location == _TENSOR.EXTERNAL or tensor.external_data:
        raise ArtifactError(f"the weights {name} lie in an external file; export with the weights inside")
    if tensor.data_type not in _NUMBERS:
        raise ArtifactError(f"the weights {name} are of type {tensor.data_type}; only plain floats, integers and booleans are read")
    try:
        values = numpy_helper.to_array(tensor)
    except Exception as error:  # a damaged tensor fails in many ways inside onnx and numpy
        raise ArtifactError(f"the weights {name} are damaged") from error
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ArtifactError(f"the weights {name} are not finite")


def _check_borders(graph: onnx.GraphProto, observation_size: int) -> None:
    weights = {tensor.name for tensor in graph.initializer}  # old files list their weights among the inputs
    inputs = [value for value in graph.input if value.name not in weights]
    if [value.name for value in inputs] != [INPUT]:
        raise ArtifactError(f"the graph's inputs are {_names(inputs)}, not {INPUT!r}")
    if sorted(value.name for value in graph.output) != sorted(OUTPUTS):
        raise ArtifactError(f"the graph's outputs are {_names(graph.output)}, not 'action_mean' and 'action_std'")
    _check_value(inputs[0], ([None, observation_size],))
    mean, std = sorted(graph.output, key=lambda value: OUTPUTS.index(value.name))
    _check_value(mean, ([None, go1.NUM_JOINTS],))
    _check_value(std, ([None, go1.NUM_JOINTS], [go1.NUM_JOINTS]))


def _check_value(value: onnx.ValueInfoProto, allowed: tuple[list[int | None], ...]) -> None:
    tensor = value.type.tensor_type
    if tensor.elem_type != _TENSOR.FLOAT:
        raise ArtifactError(f"{value.name!r} is not float32")
    shape = [size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim]
    if shape not in allowed:
        shown = " or ".join(_shape(sizes) for sizes in allowed)
        raise ArtifactError(f"{value.name!r} has shape {_shape(shape[:8])}, not {shown}")


def _shape(sizes: list[int | None]) -> str:
    return "(" + ", ".join("batch" if size is None else str(size) for size in sizes) + ")"


def _names(values: Any) -> str:
    return ", ".join(repr(value.name[:40]) for value in list(values)[:8]) or "none"
