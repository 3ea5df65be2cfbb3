"""Whether an untrusted ONNX graph may be run as a policy: self-contained, plain operators, finite weights, the right borders, no more
memory than a policy takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from robot import go1
from robot.policy.metadata import GOLDEN_PAIRS, ArtifactError

INPUT = "observation_history"
OUTPUTS = ("action_mean", "action_std")

_STANDARD_DOMAINS = ("", "ai.onnx")
# A graph of these ends after one pass, draws nothing at random, and tells beforehand how large each of its values is.
_LAYERS = "Gemm MatMul BatchNormalization LayerNormalization RMSNormalization LpNormalization Softmax LogSoftmax"
_ACTIVATIONS = "Celu Elu Erf Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Sigmoid Softplus Softsign Swish Tanh ThresholdedRelu"
_ARITHMETIC = (
    "Abs Add Ceil Clip Cos Div Exp Floor Log Max Mean Min Mul Neg Pow Reciprocal Round Sign Sin Sqrt Sub Sum "
    "And Equal Greater GreaterOrEqual Less LessOrEqual Not Or Where"
)
_REDUCTIONS = "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"
_RESHAPES = "Cast Concat Constant ConstantOfShape Expand Flatten Gather Identity Reshape Shape Slice Split Squeeze Transpose Unsqueeze"
_OPERATORS = frozenset(" ".join((_LAYERS, _ACTIVATIONS, _ARITHMETIC, _REDUCTIONS, _RESHAPES)).split())
_MAX_NUMBERS = 2**24  # in all values of a graph that acts on the golden pairs; a policy of the released size has 15,000
_MAX_NODES = 10_000  # looked at one by one; a policy of the released shape has a dozen
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
        raise ArtifactError("not an ONNX file, or cut short; a policy released with Uni-O4 becomes one by quadloop import") from error
    if not model.graph.node:
        raise ArtifactError("this is not an ONNX file, or its graph is empty")
    return model


def check_graph(model: onnx.ModelProto, observation_size: int) -> None:
    """ArtifactError unless the graph is one that may be run and takes (batch, observation_size)."""
    if len(model.graph.node) > _MAX_NODES:
        raise ArtifactError(f"the graph has {len(model.graph.node):,} operators, more than {_MAX_NODES:,}; no policy does")
    if model.functions or model.training_info:
        raise ArtifactError("the model has local functions or training graphs; export it as one plain graph")
    for node in _every(model, onnx.NodeProto):
        _check_node(node)
    for attribute in _every(model, onnx.AttributeProto):
        if not np.isfinite([attribute.f, *attribute.floats]).all():
            raise ArtifactError(f"the attribute {attribute.name[:40]!r} is not finite")
    for tensor in _every(model, onnx.TensorProto):
        _check_tensor(tensor)
    if model.graph.sparse_initializer:
        raise ArtifactError("the graph has sparse weights; export them as plain ones")
    _check_borders(model.graph, observation_size)
    _check_sizes(model)


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
    if node.op_type not in _OPERATORS:
        raise ArtifactError(
            f"the graph has the operator {node.op_type[:40]!r}; a policy is a plain feed-forward graph: layers, activations, arithmetic, "
            "reductions and reshapes, without loops, branches and sampling (robot/policy/graph.py lists the operators)"
        )


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


def _check_sizes(model: onnx.ModelProto) -> None:
    """ArtifactError unless all values that the graph computes for the golden pairs are known to fit into little memory.

    A few bytes of broadcasting ask for any amount of it, so that neither operators nor the size of the file say enough.
    """
    known = _known_sizes(model)
    computed = [name for node in model.graph.node for name in node.output if name]
    unknown = next((name for name in computed if name not in known), None)
    if unknown is not None:
        raise ArtifactError(
            f"how large the value {unknown[:40]!r} is cannot be told before it is computed; export the graph with fixed shapes"
        )
    total = sum(known[name] for name in computed)
    if total > _MAX_NUMBERS:
        raise ArtifactError(
            f"the graph computes {total:.3g} numbers for {GOLDEN_PAIRS} observations, more than {_MAX_NUMBERS:,}; no policy does"
        )


def _known_sizes(model: onnx.ModelProto) -> dict[str, int]:
    """How many numbers each value of the graph holds for the golden pairs, where that can be told without running it."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.value_info[:]  # what the file says of its own values is not believed
    for value in asked.graph.output:
        value.type.tensor_type.ClearField("shape")
    next(value for value in asked.graph.input if value.name == INPUT).type.tensor_type.shape.dim[0].dim_value = GOLDEN_PAIRS
    try:
        inferred = onnx.shape_inference.infer_shapes(asked, strict_mode=True, data_prop=True).graph
    except Exception as error:  # onnx raises its own InferenceError, ValueError and more for graphs that do not fit together
        raise ArtifactError("the graph's parts do not fit together") from error
    values = [value for value in (*inferred.value_info, *inferred.output) if value.type.tensor_type.HasField("shape")]
    dims = {value.name: value.type.tensor_type.shape.dim for value in values}
    shapes = {name: [dim.dim_value if dim.HasField("dim_value") else -1 for dim in sizes] for name, sizes in dims.items()}
    return {name: math.prod(shape) for name, shape in shapes.items() if all(size >= 0 for size in shape)}


def _shape(sizes: list[int | None]) -> str:
    return "(" + ", ".join("batch" if size is None else str(size) for size in sizes) + ")"


def _names(values: Any) -> str:
    return ", ".join(repr(value.name[:40]) for value in list(values)[:8]) or "none"
