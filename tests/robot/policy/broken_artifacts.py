"""A sound policy artifact, and what can be wrong with one: each change with what must be named when it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from robot import go1


def make_graph(
    weight: np.ndarray | None = None, std: np.ndarray | None = None, observation_size: int = 290, std_of_batch: bool = False
) -> onnx.ModelProto:
    """mean = observation @ weight + 1, std as given; or, `std_of_batch`, std = exp(mean), (batch, 12)."""
    if weight is None:
        weight = np.zeros((observation_size, 12), dtype=np.float32)
        weight[range(12), range(12)] = 0.5  # the first twelve values of the oldest frame, halved
    weights = {"weight": weight, "bias": np.ones(12, dtype=np.float32), "std": np.full(12, 0.5, np.float32) if std is None else std}
    nodes = [
        helper.make_node("Gemm", ["observation_history", "weight", "bias"], ["action_mean"], name="head"),
        helper.make_node("Exp", ["action_mean"], ["action_std"]) if std_of_batch else helper.make_node("Identity", ["std"], ["action_std"]),
    ]
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("observation_history", TensorProto.FLOAT, ["batch", observation_size])],
        [
            helper.make_tensor_value_info("action_mean", TensorProto.FLOAT, ["batch", 12]),
            helper.make_tensor_value_info("action_std", TensorProto.FLOAT, ["batch", 12] if std_of_batch else [12]),
        ],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def change_metadata(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    model = onnx.load(path)
    metadata = json.loads(model.metadata_props[0].value)
    change(metadata)
    model.metadata_props[0].value = json.dumps(metadata)
    onnx.save(model, path)


def change_model(path: Path, change: Callable[[onnx.ModelProto], Any]) -> None:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())


def set_weights(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    index = [tensor.name for tensor in model.graph.initializer].index(name)
    model.graph.initializer[index].CopyFrom(numpy_helper.from_array(values, name))


def make_external(tensor: onnx.TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def add_constant_with_external_weights(model: onnx.ModelProto) -> None:
    inner = numpy_helper.from_array(np.ones(12, dtype=np.float32), "inner")
    make_external(inner)
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=inner))


def add_branch(model: onnx.ModelProto) -> None:
    constant = helper.make_node("Constant", [], ["out"], value=numpy_helper.from_array(np.ones(12, dtype=np.float32)))
    branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, [12])])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    model.graph.node.append(helper.make_node("If", ["condition"], ["unused"], then_branch=branch, else_branch=branch))


def add_loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"])], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["unused"], body=body))


def with_nodes(*nodes: onnx.NodeProto, **weights: list[int]) -> Callable[[onnx.ModelProto], None]:
    """Adds nodes whose results nobody uses, and whole numbers as weights."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(numpy_helper.from_array(np.array(values, dtype=np.int64), name) for name, values in weights.items())

    return change


_node = helper.make_node
FILL = with_nodes(_node("ConstantOfShape", ["size"], ["x"]), _node("ReduceSum", ["x"], ["unused"]), size=[10**9])
EXPAND = with_nodes(_node("Expand", ["bias", "size"], ["unused"]), size=[10**9, 12])
DOUBLE = with_nodes(*(_node("Concat", [f"x{i}"] * 2, [f"x{i + 1}"], axis=1) for i in range(40)), x0=[[1]])
EVERY_PAIR = with_nodes(
    _node("Reshape", ["observation_history", "column"], ["x"]), _node("Reshape", ["observation_history", "row"], ["y"]),
    _node("Add", ["x", "y"], ["pairs"]), _node("Reshape", ["pairs", "column"], ["xx"]),
    _node("Reshape", ["pairs", "row"], ["yy"]), _node("Mul", ["xx", "yy"], ["unused"]), column=[-1, 1], row=[1, -1],
)  # fmt: skip
AS_THE_OBSERVATION_SAYS = with_nodes(
    _node("Slice", ["observation_history", "zero", "one", "zero"], ["x"]), _node("Slice", ["x", "zero", "one", "one"], ["y"]),
    _node("Cast", ["y"], ["z"], to=TensorProto.INT64), _node("Reshape", ["z", "one"], ["size"]),
    _node("Expand", ["one", "size"], ["unused"]), zero=[0], one=[1],
)  # fmt: skip


def lie_about_a_size(model: onnx.ModelProto) -> None:
    AS_THE_OBSERVATION_SAYS(model)
    model.graph.value_info.append(helper.make_tensor_value_info("unused", TensorProto.INT64, [1]))


def bad_weights(name: str, value: float) -> Callable[[onnx.ModelProto], None]:
    shape = (290, 12) if name == "weight" else (12,)
    return lambda model: set_weights(model, name, np.full(shape, value, dtype=np.float32))


MISFITS: list[tuple[str, Any, str]] = [
    ("schema_version", 2, "newer than the 1 that this quadloop reads; update quadloop"),
    ("schema_version", 0, "schema version 0 is unknown"),
    ("robot", "unitree_a1", "robot is 'unitree_a1' instead of 'unitree_go1'"),
    ("joint_names", go1.SDK_JOINT_NAMES, "joint_names is 'FR_hip_joint' at position 0 instead of 'FL_hip_joint'"),
    ("joint_names", go1.JOINT_NAMES[:11], "joint_names is 11 values instead of 12 values"),
    ("default_joint_pos", [0.1, 0.8, -1.5] * 4, "default_joint_pos is 0.1 at position 3 instead of -0.1"),
    ("action_scale", [0.25] * 12, "action_scale is 0.25 at position 0 instead of 0.125"),
    ("action_clip", 1.0, "action_clip is 1.0 instead of 10.0"),
    ("control_dt_s", 0.01, "control_dt_s is 0.01 instead of 0.02"),
    ("kp", 20.5, "the gains are kp 20.5 and kd 0.5; only policies made for kp 20 and kd 0.5 are run"),
    ("kp", -20.0, "the gains are kp -20 and kd 0.5"),
    ("kp", float("inf"), "Infinity is no number"),
    ("kd", float("nan"), "NaN is no number"),
    ("kd", 0.6, "the gains are kp 20 and kd 0.6"),
    ("parent_sha256", "abc", "parent_sha256"),
    ("stage", "two\nlines", "'stage' is not a short text"),
]
"""Key of the contract, value, what is named."""

OTHER_LAYOUTS: list[Callable[[dict[str, Any]], Any]] = [
    lambda layout: layout.update(history=4),
    lambda layout: layout["terms"][17].update(scale=1.0),  # joint velocities unscaled
    lambda layout: layout["terms"].reverse(),
    lambda layout: layout["terms"][15].update(name="command/another_meaning"),
    lambda layout: layout["terms"].pop(),
    lambda layout: layout["terms"][0].update(size=2**30),
]

OTHER_GRAPHS: list[tuple[Callable[[onnx.ModelProto], Any], str]] = [
    (lambda model: make_external(model.graph.initializer[0]), "'weight' lie in an external file"),
    (add_constant_with_external_weights, "'inner' lie in an external file"),
    (lambda model: setattr(model.graph.node[0], "domain", "com.evil"), "custom domain 'com.evil'"),
    (lambda model: model.functions.add(name="f", domain="com.evil"), "local functions"),
    (add_loop, "the operator 'Loop'; a policy is a plain feed-forward graph"),
    (add_branch, "the operator 'If'"),
    (lambda model: setattr(model.graph.node[1], "op_type", "RandomNormalLike"), "the operator 'RandomNormalLike'"),
    (lambda model: setattr(model.graph.node[0], "op_type", "NoSuchOperator"), "the operator 'NoSuchOperator'"),
    (FILL, "computes 1e+09 numbers"),
    (EXPAND, "computes 1.2e+10 numbers"),
    (DOUBLE, "numbers for 8 observations, more than 16,777,216"),
    (EVERY_PAIR, "numbers for 8 observations, more than 16,777,216"),
    (AS_THE_OBSERVATION_SAYS, "how large the value 'unused' is cannot be told"),
    (lie_about_a_size, "how large the value 'unused' is cannot be told"),
    (lambda model: model.graph.node.extend([model.graph.node[1]] * 10_000), "more than 10,000; no policy does"),
    (lambda model: model.graph.sparse_initializer.add(), "sparse weights"),
    (lambda model: model.graph.node[0].input.__setitem__(1, "bias"), "parts do not fit together"),
    (lambda model: setattr(model.graph.node[1], "name", model.graph.node[0].name), "onnxruntime refuses the graph"),
    (bad_weights("weight", np.nan), "'weight' are not finite"),
    (bad_weights("bias", -np.inf), "'bias' are not finite"),
    (bad_weights("bias", 2.0), "golden pairs differ by 1 "),
    (bad_weights("weight", 3e38), "action mean is not finite"),
    (bad_weights("std", 0.0), "std must be positive; the smallest is 0"),
    (bad_weights("std", -0.5), "std must be positive; the smallest is -0.5"),
    (lambda model: model.graph.node[0].attribute.add(name="alpha", type=onnx.AttributeProto.FLOAT, f=np.nan), "'alpha' is not finite"),
    (lambda model: model.graph.initializer[0].dims.__setitem__(0, 10**9), "'weight' are damaged"),
    (lambda model: setattr(model.graph.initializer[0], "data_type", TensorProto.STRING), "only plain floats"),
    (lambda model: setattr(model.graph.input[0], "name", "obs"), "inputs are 'obs', not 'observation_history'"),
    (lambda model: model.graph.input.append(model.graph.output[0]), "inputs are 'observation_history', 'action_mean'"),
    (lambda model: setattr(model.graph.output[0], "name", "mean"), "outputs are 'mean', 'action_std'"),
    (lambda model: model.graph.output.pop(), "outputs are 'action_mean', not"),
    (
        lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", TensorProto.DOUBLE),
        "'observation_history' is not float32",
    ),
    (lambda model: setattr(model.graph.output[1].type.tensor_type, "elem_type", TensorProto.FLOAT16), "'action_std' is not float32"),
    (
        lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 58),
        "has shape (batch, 58), not (batch, 290)",
    ),
    (lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1), "has shape (1, 290), not (batch, 290)"),
    (lambda model: setattr(model.graph.output[1].type.tensor_type.shape.dim[0], "dim_value", 1), "'action_std' has shape (1), not"),
]
