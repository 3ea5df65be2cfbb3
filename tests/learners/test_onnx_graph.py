"""A torch policy as an ONNX graph: the same numbers, the way back, and what is refused."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from learners.onnx_graph import export_policy, policy_graph, policy_of_graph, policy_of_layers
from learners.policy import GaussianPolicy


def run(graph, observations):
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["action_mean", "action_std"], {"observation_history": observations.numpy()})


def policy_with_stds(hidden, activation="elu"):
    policy = GaussianPolicy(6, 3, hidden, activation=activation)
    with torch.no_grad():
        policy.log_std.copy_(torch.tensor([0.1, 0.45, 2.0]).log())
    return policy


@pytest.mark.parametrize("activation", ["elu", "relu"])
@pytest.mark.parametrize("batch", [1, 64])
def test_the_graph_computes_what_torch_computes(activation, batch):
    policy = policy_with_stds((32, 16), activation)
    observations = 3 * torch.randn(batch, 6)
    mean, std = run(export_policy(policy), observations)
    np.testing.assert_allclose(mean, policy(observations).detach().numpy(), atol=1e-6, rtol=0)
    np.testing.assert_allclose(std, [0.1, 0.45, 2.0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("activation", ["elu", "relu"])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 4, 5)])
def test_a_policy_comes_back_bit_by_bit(hidden, activation):
    policy = policy_with_stds(hidden, activation)
    back = policy_of_graph(export_policy(policy))
    assert back.actor.sizes == (6, *hidden, 3)
    if hidden:
        assert back.actor.activation == activation
    for name, parameter in policy.named_parameters():
        assert torch.equal(parameter, dict(back.named_parameters())[name])


def test_the_graph_is_the_same_every_time():
    policy = policy_with_stds((8,))
    assert export_policy(policy) == export_policy(policy)


def test_metadata_of_others_does_not_matter():
    model = onnx.load_model_from_string(export_policy(policy_with_stds((8,))))
    model.metadata_props.add(key="quadloop", value="{}")
    assert policy_of_graph(model.SerializeToString()).actor.sizes == (6, 8, 3)


def test_plain_arrays_by_hand():
    layers = [(np.array([[2.0, -1.0]]), np.array([0.5]))]  # (out, in): 2 x - y + 0.5
    mean, std = run(policy_graph(layers, np.log([0.25])), torch.tensor([[3.0, 1.0]]))
    assert mean.tolist() == [[5.5]]
    assert std.tolist() == [0.25]
    policy = policy_of_layers(layers, np.log([0.25]))
    assert policy(torch.tensor([[3.0, 1.0]])).tolist() == [[5.5]]
    assert policy.log_std.exp().tolist() == [0.25]


def test_an_ensemble_and_an_unknown_activation_cannot_be_exported():
    with pytest.raises(ValueError, match="select a member"):
        export_policy(GaussianPolicy(6, 3, (8,), members=(2,)))
    with pytest.raises(ValueError, match="'silu'"):
        export_policy(GaussianPolicy(6, 3, (8,), activation="silu"))


def tanh_instead_of_elu(graph):
    next(node for node in graph.node if node.op_type == "Elu").op_type = "Tanh"


def transposed_weights(graph):
    del graph.node[0].attribute[:]


def wiring_past_the_hidden_layer(graph):
    graph.node[2].input[0] = "linear_0"


def a_normaliser_in_front(graph):
    graph.node.insert(0, helper.make_node("Sub", ["observation_history", "shift"], ["shifted"]))
    graph.node[1].input[0] = "shifted"
    graph.initializer.append(numpy_helper.from_array(np.ones(6, np.float32), "shift"))


def another_weight_shape(graph):
    graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((7, 6), np.float32), "weight_0"))


def a_missing_weight(graph):
    del graph.initializer[1]


def a_std_that_depends_on_the_state(graph):
    graph.node[-1].input[0] = "action_mean"


def weights_in_another_file(graph):
    tensor = TensorProto(name="weight_0", data_type=TensorProto.FLOAT, dims=[8, 6], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/hostname")
    graph.initializer[0].CopyFrom(tensor)


@pytest.mark.parametrize(
    "change",
    [
        tanh_instead_of_elu,
        transposed_weights,
        wiring_past_the_hidden_layer,
        a_normaliser_in_front,
        another_weight_shape,
        a_missing_weight,
        a_std_that_depends_on_the_state,
        weights_in_another_file,
    ],
)
def test_a_graph_that_computes_something_else_is_refused(change):
    model = onnx.load_model_from_string(export_policy(policy_with_stds((8,))))
    change(model.graph)
    with pytest.raises(ValueError, match="not a plain multilayer perceptron"):
        policy_of_graph(model.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"no graph at all", bytes(200)])
def test_bytes_that_are_no_graph_are_refused(content):
    with pytest.raises(ValueError, match="not a plain multilayer perceptron"):
        policy_of_graph(content)


def test_a_truncated_graph_is_refused():
    graph = export_policy(policy_with_stds((8,)))
    with pytest.raises(ValueError, match="not a plain multilayer perceptron"):
        policy_of_graph(graph[: len(graph) // 2])
