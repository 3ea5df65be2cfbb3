"""The dynamics ensemble: likelihoods by hand, histories that shift, a system that it learns, elites, bounds."""

import math

import pytest
import torch

from learners.batches import Batch
from learners.dynamics import DynamicsConfig, DynamicsEnsemble, gaussian_negative_log_likelihood

HISTORY = 2
CONFIG = DynamicsConfig(members=3, elites=2, hidden=(32,), learning_rate=1e-2, precision="fp32")


def test_the_negative_log_likelihood_by_hand():
    target = torch.tensor([[1.0, 2.0]])
    mean = torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])
    log_std = torch.tensor([[[0.0, math.log(2)]], [[0.0, 0.0]]])
    # member 0: (0 + [0.5*(2/2)^2 + ln 2]) / 2 = 1.1931472 / 2; member 1: (0.5 + 0) / 2
    torch.testing.assert_close(gaussian_negative_log_likelihood(target, mean, log_std), torch.tensor([0.5965736, 0.25]))


def batch_of(states, actions, next_states, rewards, terminated):
    """Histories of two frames of one number each: states (B, 2), next_states (B, 2)."""
    return Batch(states, actions, rewards, next_states, terminated, torch.ones(len(states)))


@pytest.fixture
def blank():
    """An ensemble whose outputs are all zero: mean 0 and log_std -5 + 6 * 0.5 = -2 of normalised changes, logit 0.

    Fitted to two rows with changes 1 and 3 of the frame (mean 2, std sqrt 2) and rewards 0 and 2 (mean 1, std sqrt 2).
    """
    model = DynamicsEnsemble(HISTORY, 1, HISTORY, CONFIG)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.zero_()
    data = batch_of(
        torch.tensor([[0.0, 0.0], [0.0, 10.0]]), torch.zeros(2, 1), torch.tensor([[0.0, 1.0], [10.0, 13.0]]), torch.tensor([0.0, 2.0]),
        torch.tensor([0.0, 1.0]),
    )  # fmt: skip
    model.fit_normalisers(data)
    return model, data


def test_inputs_are_normalised_by_the_data(blank):
    model, _ = blank  # states (0, 0) and (0, 10), actions 0: only the newest frame varies, mean 5, std sqrt 50
    normalised = model.inputs(torch.tensor([[0.0, 10.0, 0.0], [3.0, 5.0, -2.0]]))
    torch.testing.assert_close(normalised, torch.tensor([[0.0, 0.5**0.5, 0.0], [3.0, 0.0, -2.0]]))


def test_the_loss_by_hand(blank):
    model, data = blank
    # normalised targets are -+1/sqrt 2: 0.5 * 0.5 * e^4 - 2 = 13.6495375 - 2; termination at logit 0: ln 2 = 0.6931472
    torch.testing.assert_close(model.loss(data), torch.full((3,), 12.3426847))


def test_a_prediction_by_hand(blank):
    model, _ = blank
    observations = torch.tensor([[[3.0, 5.0], [4.0, 6.0]]]).expand(2, 2, 2)
    noise = torch.tensor([[[0.0], [1.0]]]).expand(2, 2, 1)
    following, rewards, terminates = model.ready().predict(observations, torch.zeros(2, 2, 1), noise)
    # the newest frame moves by its mean change 2, with noise 1 by e^-2 * sqrt 2 = 0.1913929 more; the reward is its mean, without noise
    torch.testing.assert_close(following, torch.tensor([[5.0, 7.0], [6.0, 8.1913929]]).expand(2, 2, 2))
    torch.testing.assert_close(rewards, torch.ones(2, 2))
    torch.testing.assert_close(terminates, torch.full((2, 2), 0.5))


def test_no_prediction_leaves_the_range_of_the_data(blank):
    model, _ = blank
    observations = torch.tensor([[[0.0, 12.5]], [[0.0, 0.0]]])  # frames seen, the last ones too: 0 to 13; 12.5 + 2 lies above
    following, _, _ = model.ready().predict(observations, torch.zeros(2, 1, 1), torch.tensor([[[0.0]], [[-100.0]]]))
    torch.testing.assert_close(following, torch.tensor([[[12.5, 13.0]], [[0.0, 0.0]]]))


def test_what_never_changes_within_an_episode_stays():
    """A goal, of a history of one frame: another in each episode."""
    torch.manual_seed(0)
    model = DynamicsEnsemble(2, 1, 1, CONFIG)
    states, actions = torch.randn(64, 2), torch.randn(64, 1)
    following = torch.stack([states[:, 0] + actions[:, 0], states[:, 1]], -1)
    model.fit_normalisers(batch_of(states, actions, following, torch.zeros(64), torch.zeros(64)))
    goals = states[:20, 1].clone()
    rows = states[:20].expand(2, 20, 2)
    for _ in range(100):
        rows, _, _ = model.ready().predict(rows, torch.zeros(2, 20, 1), torch.randn(2, 20, 2))
    assert (rows[..., 1] - goals).abs().max() < 0.02


def test_histories_shift_by_one_frame():
    model = DynamicsEnsemble(12, 2, 4, CONFIG)  # four frames of three numbers
    observations = torch.randn(2, 5, 12)
    following, rewards, terminates = model.ready().predict(observations, torch.randn(2, 5, 2), torch.randn(2, 5, 3))
    assert torch.equal(following[..., :9], observations[..., 3:])  # the oldest is dropped
    assert not torch.isclose(following[..., 9:], observations[..., 9:]).any()  # the newest is new
    assert following.shape == (2, 5, 12)
    assert rewards.shape == terminates.shape == (2, 5)


def test_only_the_elites_predict_each_on_its_own_rows(blank):
    model, _ = blank
    with torch.no_grad():
        model.network.biases[-1][:, 0, 0] = torch.tensor([0.0, 1.0, -1.0])  # members move the frame by 2, 2 + sqrt 2, 2 - sqrt 2
        model.elites.copy_(torch.tensor([2, 1]))
    following, _, _ = model.ready().predict(torch.full((2, 1, 2), 4.0), torch.zeros(2, 1, 1), torch.zeros(2, 1, 1))
    torch.testing.assert_close(following[:, 0, 1], torch.tensor([4.5857864, 7.4142136]))


def test_elites_are_the_best_on_data_that_was_not_trained_on(blank):
    model, data = blank
    with torch.no_grad():
        model.network.biases[-1][:, 0, 0] = torch.tensor([5.0, 0.5, 0.0])
    losses = model.choose_elites(data)
    assert model.elites.tolist() == [2, 1]
    assert losses[2] < losses[1] < losses[0]


def test_elites_and_bounds_are_saved_with_the_model(blank):
    model, data = blank
    with torch.no_grad():
        model.network.biases[-1][0, 0, 0] = 5.0
    model.choose_elites(data)
    other = DynamicsEnsemble(HISTORY, 1, HISTORY, CONFIG)
    other.load_state_dict(model.state_dict())
    arguments = (torch.randn(2, 4, 2), torch.randn(2, 4, 1), torch.randn(2, 4, 1))
    for ours, theirs in zip(model.ready().predict(*arguments), other.ready().predict(*arguments), strict=True):
        assert torch.equal(ours, theirs)


def test_predicting_leaves_the_model_as_it_is(blank):
    model, _ = blank
    before = {name: values.clone() for name, values in model.state_dict().items()}
    model.ready().predict(torch.randn(2, 4, 2), torch.randn(2, 4, 1), torch.randn(2, 4, 1))
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def linear_system(size, generator):
    """x' = 0.8 x + 0.5 a + 0.2 x_before, reward x - a; whoever stands above 0.5 terminates."""
    states = 2 * torch.rand(size, 2, generator=generator) - 1
    actions = 2 * torch.rand(size, 1, generator=generator) - 1
    frame = 0.8 * states[:, 1:] + 0.5 * actions + 0.2 * states[:, :1]
    rewards = states[:, 1] - actions[:, 0]
    return batch_of(states, actions, torch.cat([states[:, 1:], frame], -1), rewards, (states[:, 1] > 0.5).float())


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = DynamicsEnsemble(HISTORY, 1, HISTORY, CONFIG)
    data = linear_system(4096, generator)
    model.fit_normalisers(data)
    losses = [float(model.update(linear_system(128, generator))["loss"]) for _ in range(200)]
    unseen = linear_system(500, generator)
    model.choose_elites(unseen)
    observations, actions = unseen.observations.expand(2, 500, 2), unseen.actions.expand(2, 500, 1)
    return losses, unseen, model.ready().predict(observations, actions, torch.zeros(2, 500, 1))


def test_a_linear_system_is_learnt(fitted):
    losses, unseen, (following, rewards, _) = fitted
    assert losses[-1] < losses[0] - 2
    error = following - unseen.next_observations
    assert error.square().mean().sqrt() < 0.05
    assert (rewards - unseen.rewards).square().mean().sqrt() < 0.05


def test_terminations_are_learnt(fitted):
    _, unseen, (_, _, terminates) = fitted
    newest = unseen.observations[:, 1]
    assert (terminates[:, newest > 0.7].mean(1) > 0.8).all()
    assert (terminates[:, newest < 0.3].mean(1) < 0.2).all()


def test_predictions_meet_the_noise_that_they_learnt():
    """A frame that jumps by N(0, 0.3^2) whatever is done: predictions with standard normal noise spread as far."""
    generator = torch.Generator().manual_seed(0)
    model = DynamicsEnsemble(1, 1, 1, CONFIG)

    def jumps(size):
        states = torch.randn(size, 1, generator=generator)
        following = states + 0.3 * torch.randn(size, 1, generator=generator)
        return batch_of(states, torch.zeros(size, 1), following, torch.zeros(size), torch.zeros(size))

    model.fit_normalisers(jumps(4096))
    for _ in range(120):
        model.update(jumps(256))
    following, _, _ = model.ready().predict(torch.zeros(2, 5000, 1), torch.zeros(2, 5000, 1), torch.randn(2, 5000, 1, generator=generator))
    torch.testing.assert_close(following.std((1, 2)), torch.tensor([0.3, 0.3]), atol=0.06, rtol=0.0)
