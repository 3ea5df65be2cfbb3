"""The multilayer perceptron by hand, alone and as an ensemble, and the normaliser."""

import math

import pytest
import torch

from learners.batches import Batch
from learners.networks import MLP, Normaliser
from learners.precision import autocast
from learners.value import Value, level_of_values


def hand_made(activation, layer_norm=False):
    """Two inputs, two hidden units, one output; for the input (1, 2) the hidden units are
    1*1 + 2*0.5 + 0 = 2 and 1*(-1) + 2*1 - 3 = -2 before the activation."""
    network = MLP((2, 2, 1), activation=activation, layer_norm=layer_norm)
    with torch.no_grad():
        network.weights[0].copy_(torch.tensor([[1.0, -1.0], [0.5, 1.0]]))
        network.biases[0].copy_(torch.tensor([0.0, -3.0]))
        network.weights[1].copy_(torch.tensor([[3.0], [5.0]]))
        network.biases[1].copy_(torch.tensor([0.5]))
    return network


@pytest.mark.parametrize(
    ("activation", "layer_norm", "expected"),
    [
        ("relu", False, 6.5),  # 3*2 + 5*0 + 0.5
        ("elu", False, 2.1766764),  # 3*2 + 5*(e^-2 - 1) + 0.5 = 6 - 4.3233236 + 0.5
        ("silu", False, 4.5927533),  # 3*2*s(2) - 5*2*s(-2) + 0.5, s(2) = 0.8807971: 5.2847825 - 1.1920292 + 0.5
        ("relu", True, 3.5),  # (2, -2) has mean 0 and std 2, so (1, -1): 3*1 + 5*0 + 0.5
    ],
)
def test_a_network_by_hand(activation, layer_norm, expected):
    output = hand_made(activation, layer_norm)(torch.tensor([[1.0, 2.0]]))
    assert output.shape == (1, 1)
    assert output.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_copy_that_is_ready_gives_what_its_original_gives(precision):
    network, inputs = MLP((3, 8, 2), members=(4,)), torch.randn(4, 5, 3)
    with autocast(precision):
        assert torch.equal(network.ready(precision)(inputs), network(inputs))
        two = network.ready(precision, torch.tensor([2, 0]))(inputs[[2, 0]])
        torch.testing.assert_close(two, network(inputs)[[2, 0]])
    assert network.members == (4,) and network.weights[0].dtype == torch.float32


def test_the_last_layer_does_not_round_what_comes_out():
    """10.01 in bfloat16, whose numbers lie 0.0625 apart there, would be 10."""
    network = MLP((1, 1))
    torch.nn.init.constant_(network.weights[0], 10.01)
    torch.nn.init.zeros_(network.biases[0])
    with autocast("bf16"):
        for each in (network, network.ready("bf16")):
            output = each(torch.ones(1, 1))
            assert output.dtype == torch.float32
            assert output.item() == pytest.approx(10.01, abs=1e-6)


def test_the_output_layer_is_linear():
    network = MLP((1, 1))
    with torch.no_grad():
        network.weights[0].fill_(2.0)
        network.biases[0].fill_(-10.0)
    assert network(torch.tensor([[1.0], [3.0]])).tolist() == [[-8.0], [-4.0]]


@pytest.mark.parametrize("layer_norm", [False, True])
def test_an_ensemble_computes_what_its_members_compute_alone(layer_norm):
    ensemble = MLP((3, 5, 2), (4,), layer_norm=layer_norm)
    shared, own = torch.randn(7, 3), torch.randn(4, 7, 3)
    assert ensemble(shared).shape == (4, 7, 2)
    for index in range(4):
        alone = MLP((3, 5, 2), layer_norm=layer_norm)
        with torch.no_grad():
            for target, source in zip(alone.parameters(), ensemble.parameters(), strict=True):
                target.copy_(source[index].reshape(target.shape))
        torch.testing.assert_close(ensemble(shared)[index], alone(shared), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(ensemble(own)[index], alone(own[index]), atol=1e-6, rtol=1e-6)


def test_members_learn_apart():
    ensemble = MLP((3, 5, 2), (3,))
    ensemble(torch.randn(7, 3))[1].sum().backward()
    for parameter in ensemble.parameters():
        assert parameter.grad[1].abs().sum() > 0
        assert parameter.grad[[0, 2]].abs().sum() == 0


def test_members_start_apart():
    first, second = MLP((3, 5, 2), (2,)).weights[0]
    assert not torch.equal(first, second)


def test_initial_weights_stay_within_one_over_the_root_of_the_inputs():
    network = MLP((16, 400, 50), output_gain=0.1)
    hidden, output = (weight.abs().max().item() for weight in network.weights)
    assert 0.24 < hidden <= 0.25  # 1 / sqrt(16)
    assert 0.0049 < output <= 0.005  # 0.1 / sqrt(400)


def test_layers_are_those_of_a_single_network():
    (weight, bias), (last_weight, last_bias) = hand_made("relu").layers()
    assert weight.tolist() == [[1.0, -1.0], [0.5, 1.0]]
    assert bias.tolist() == [0.0, -3.0]
    assert last_weight.tolist() == [[3.0], [5.0]]
    assert last_bias.tolist() == [0.5]
    assert not weight.requires_grad
    with pytest.raises(ValueError, match="select a member"):
        MLP((2, 1), (3,)).layers()


def test_the_normaliser_takes_mean_and_std_and_leaves_a_constant_column_its_scale():
    normaliser = Normaliser(2)
    assert normaliser(torch.tensor([[4.0, 7.0]])).tolist() == [[4.0, 7.0]]  # unfitted: identity
    normaliser.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))  # mean (2, 5), std (sqrt 2, 0)
    torch.testing.assert_close(normaliser(torch.tensor([[4.0, 7.0]])), torch.tensor([[math.sqrt(2), 2.0]]))


def test_the_normaliser_travels_with_the_network_and_is_never_trained():
    normaliser = Normaliser(2)
    assert list(normaliser.parameters()) == []
    assert set(normaliser.state_dict()) == {"mean", "std"}


def test_the_value_is_one_number_a_state_and_sees_normalised_observations():
    value = Value(2, hidden=())
    with torch.no_grad():
        value.network.weights[0].copy_(torch.tensor([[1.0], [10.0]]))
        value.network.biases[0].fill_(0.25)
    value.normaliser.fit(torch.tensor([[0.0, 8.0], [2.0, 8.0]]))  # mean (1, 8), std (sqrt 2, taken as 1)
    values = value(torch.tensor([[1.0, 8.0], [3.0, 9.0]]))
    torch.testing.assert_close(values, torch.tensor([0.25, math.sqrt(2) + 10.25]))  # 2 / sqrt 2 + 10 * 1 + 0.25


@pytest.mark.parametrize(
    ("terminated", "gamma", "level"),
    [
        ([0, 0, 0, 0], 0.99, 200.0),  # 2 / 0.01
        ([0, 0, 0, 1], 0.8, 5.0),  # 2 / (1 - 0.8 * 0.75)
        ([0, 0, 0, 1], 1.0, 8.0),  # four steps of 2 until it ends
        ([0, 0, 0, 0], 1.0, 0.0),  # endless
    ],
)
def test_the_level_of_values_is_that_of_a_process_that_ends_as_often(terminated, gamma, level):
    rows = torch.zeros(4, 1)
    data = Batch(rows, rows, torch.tensor([1.0, 3.0, 2.0, 2.0]), rows, torch.tensor(terminated).float(), torch.ones(4))
    assert level_of_values(data, gamma) == pytest.approx(level, rel=1e-5)
