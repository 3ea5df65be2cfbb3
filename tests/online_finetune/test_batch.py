"""Robot episodes as an on-policy batch, on an episode of three steps that is worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from learners.onnx_graph import policy_of_graph
from learners.value import Value
from online_finetune.batch import ForeignEpisodeError, on_policy_batch
from robot.forward_commands import ForwardCommands
from robot.log.episode_log import read_episode
from robot.station import Collector
from robot.supervisor import SafetyEvent


@pytest.fixture
def artifact(write_policy):
    return write_policy()


@pytest.fixture
def episode(make_station, artifact, tmp_path):
    """Three steps that see 1, 2, 3 and end seeing 10, each with a reward of 1; it ran out of time."""
    rng = np.random.default_rng(0)
    path = tmp_path / "episode.hdf5"
    Collector(make_station(), artifact, rng, "s", {}).collect(path, ForwardCommands(0.0, 0.0).draw(3, rng))
    recorded = read_episode(path)
    observations, final = np.zeros((3, 5, 58), dtype=np.float32), np.zeros((5, 58), dtype=np.float32)
    observations[:, 0, 0], final[0, 0] = (1.0, 2.0, 3.0), 10.0
    moving = np.arange(36, dtype=np.float32).reshape(3, 12)
    rewards = np.ones(3, dtype=np.float32)
    return replace(recorded, observations=observations, final_observation=final, rewards=rewards, joint_vel=moving)


@pytest.fixture
def value():
    """V(s) is the first value of the history."""
    value = Value(290, ())
    with torch.no_grad():
        value.network.weights[0].zero_()[0] = 1.0
        value.network.biases[0].zero_()
    return value


def batch_of(episodes, artifact, value, reward_scale=1.0):
    policy = policy_of_graph(artifact.path.read_bytes())
    return on_policy_batch(episodes, artifact.sha256, policy, value, reward_scale, gamma=0.5, gae_lambda=0.5)


def test_running_out_of_time_goes_on_from_the_last_observation(episode, artifact, value):
    # delta = 1 + 0.5 V' - V: 1 + 1 - 1 = 1, 1 + 1.5 - 2 = 0.5, 1 + 5 - 3 = 3; A = delta + 0.25 A': 3, 1.25, 1.3125.
    batch = batch_of([episode], artifact, value)
    assert batch.advantages.tolist() == pytest.approx([1.3125, 1.25, 3.0])
    assert batch.returns.tolist() == pytest.approx([2.3125, 3.25, 6.0])


def test_nothing_follows_a_fall(episode, artifact, value):
    # The last delta is 1 - 3 = -2; then 0.5 - 0.5 = 0 and 1 + 0 = 1.
    fall = replace(episode, terminated=np.array([False, False, True]), truncated=np.zeros(3, dtype=bool))
    assert batch_of([fall], artifact, value).advantages.tolist() == pytest.approx([1.0, 0.0, -2.0])


def test_rewards_are_scaled_as_those_that_the_value_was_fitted_to(episode, artifact, value):
    tenth = replace(episode, rewards=np.full(3, 0.1, dtype=np.float32))
    assert batch_of([tenth], artifact, value, reward_scale=10.0).advantages.tolist() == pytest.approx([1.3125, 1.25, 3.0])


def test_advantages_do_not_reach_across_episodes(episode, artifact, value):
    assert batch_of([episode, episode], artifact, value).advantages.tolist() == pytest.approx([1.3125, 1.25, 3.0] * 2)


def test_steps_without_a_measured_reward_are_left_out(episode, artifact, value):
    terms = episode.reward_terms.copy()
    terms[1, 0] = np.nan
    batch = batch_of([replace(episode, reward_terms=terms)], artifact, value)
    assert batch.observations[:, 0].tolist() == [1.0, 3.0]
    assert batch.advantages.tolist() == pytest.approx([1.3125, 3.0])
    assert len(batch.actions) == len(batch.log_prob) == len(batch.mean) == len(batch.returns) == 2


def test_actions_and_their_probabilities_are_those_that_the_robot_recorded(episode, artifact, value):
    batch = batch_of([episode], artifact, value)
    assert np.array_equal(batch.actions.numpy(), episode.actions)
    assert np.array_equal(batch.mean.numpy(), episode.action_mean)
    assert np.array_equal(batch.log_prob.numpy(), episode.log_prob)
    assert batch.log_std.numpy() == pytest.approx(np.full(12, np.log(0.3)))


@pytest.mark.parametrize("sha256", ["0" * 64, ""])
def test_an_episode_of_another_policy_is_refused(episode, artifact, value, sha256):
    foreign = replace(episode, attributes=replace(episode.attributes, policy_sha256=sha256))
    with pytest.raises(ForeignEpisodeError, match=r"by policy (000000000000|unknown), not by"):
        batch_of([episode, foreign], artifact, value)


def test_what_was_no_reading_of_the_robot_is_not_learnt_from(episode, artifact, value):
    # Of three steps two are left, cut off where the third began, which saw 3: 0.5 + 0.25 A' with A' = 1 + 1.5 - 2, and before it 1 + 1 - 1.
    events = np.array([0, 0, SafetyEvent.STALE_STATE], dtype=np.uint32)
    stopped = replace(episode, safety_events=events, final_observation=np.full((5, 58), 5000.0, dtype=np.float32))
    assert batch_of([stopped], artifact, value).advantages.tolist() == pytest.approx([1.125, 0.5])
    one = {name: getattr(stopped, name)[2:] for name in vars(stopped) if name not in ("attributes", "final_observation", "missing")}
    assert len(batch_of([replace(stopped, **one)], artifact, value).actions) == 0
