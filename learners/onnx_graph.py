"""A torch policy as an ONNX graph: plain Gemm and Elu nodes, weights embedded, nothing that a small runtime lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from common.errors import QuadloopError
from learners.policy import GaussianPolicy

OPSET = 17
IR_VERSION = 9
_OPERATORS = {"elu": "Elu", "relu": "Relu"}
_FOREIGN = "the graph is not a plain multilayer perceptron with a state-independent std"


class ForeignGraphError(QuadloopError, ValueError):
    """A graph that quadloop did not make: it can act, but it cannot be trained on."""


Layer = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]


def export_policy(policy: GaussianPolicy) -> bytes:
    """Serialized ONNX graph of a single policy: `observation_history` (batch, O) -> `action_mean` (batch, A), `action_std` (A,)."""
    layers = [(weight.numpy().T, bias.numpy()) for weight, bias in policy.actor.layers()]
    return policy_graph(layers, policy.log_std.detach().numpy(), policy.actor.activation)


def policy_graph(layers: Sequence[Layer], log_std: NDArray[np.floating[Any]], activation: str = "elu") -> bytes:
    """The same from plain arrays: layers of (weight (out, in), bias (out)), log_std (A,)."""
    if activation not in _OPERATORS:
        raise ValueError(f"no ONNX operator is known for the activation '{activation}'")
    nodes, weights = [], []
    current = "observation_history"
    for index, (weight, bias) in enumerate(layers):
        last = index == len(layers) - 1
        weights += [_tensor(weight, f"weight_{index}"), _tensor(bias, f"bias_{index}")]
        output = "action_mean" if last else f"linear_{index}"
        nodes.append(helper.make_node("Gemm", [current, f"weight_{index}", f"bias_{index}"], [output], transB=1))
        current = output
        if not last:
            nodes.append(helper.make_node(_OPERATORS[activation], [current], [f"hidden_{index}"]))
            current = f"hidden_{index}"
    nodes.append(helper.make_node("Exp", ["log_std"], ["action_std"]))
    weights.append(_tensor(log_std, "log_std"))
    inputs = [helper.make_tensor_value_info("observation_history", TensorProto.FLOAT, ["batch", layers[0][0].shape[1]])]
    actions = layers[-1][0].shape[0]
    outputs = [
        helper.make_tensor_value_info("action_mean", TensorProto.FLOAT, ["batch", actions]),
        helper.make_tensor_value_info("action_std", TensorProto.FLOAT, [actions]),
    ]
    graph = helper.make_graph(nodes, "policy", inputs, outputs, initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="quadloop")
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def policy_of_graph(graph: bytes) -> GaussianPolicy:
    """The torch policy of a graph that `policy_graph` made; ForeignGraphError for any other graph."""
    try:
        found = onnx.load_model_from_string(graph).graph
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.initializer}
        layers = [(arrays[f"weight_{index}"], arrays[f"bias_{index}"]) for index in range(len(arrays) // 2)]
        operators = {node.op_type for node in found.node}
        activation = next((name for name, operator in _OPERATORS.items() if operator in operators), "elu")
        remade = onnx.load_model_from_string(policy_graph(layers, arrays["log_std"], activation)).graph
        policy = policy_of_layers(layers, arrays["log_std"], activation)
    except Exception as error:  # protobuf, onnx and numpy raise many kinds for foreign or damaged graphs
        raise ForeignGraphError(_FOREIGN) from error
    if found != remade:
        raise ForeignGraphError(_FOREIGN)
    return policy


def policy_of_layers(layers: Sequence[Layer], log_std: NDArray[np.floating[Any]], activation: str = "elu") -> GaussianPolicy:
    """A single torch policy with the given weights (out, in), biases (out) and log_std (A,)."""
    sizes = [layers[0][0].shape[1], *(weight.shape[0] for weight, _ in layers)]
    policy = GaussianPolicy(sizes[0], sizes[-1], sizes[1:-1], activation=activation)
    with torch.no_grad():
        for target, (weight, _) in zip(policy.actor.weights, layers, strict=True):
            target.copy_(torch.from_numpy(np.array(weight.T, dtype=np.float32)))
        for target, (_, bias) in zip(policy.actor.biases, layers, strict=True):
            target.copy_(torch.from_numpy(np.array(bias, dtype=np.float32)))
        policy.log_std.copy_(torch.from_numpy(np.array(log_std, dtype=np.float32)))
    return policy


def _tensor(values: NDArray[np.floating[Any]], name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(values, dtype=np.float32), name)
