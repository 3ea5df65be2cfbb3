"""Advantages are believed where recorded returns bear them out, given state and time."""

import math

import numpy as np
import pytest
import torch

from learners import advantage_test
from learners.advantage_test import RegressionConfig, returns_to_go
from learners.policy import GaussianPolicy
from learners.transitions import Transitions
from learners.value import Value

SMALL = RegressionConfig(hidden=(64, 64), batch_size=128)  # as clear a verdict as the default gives, in a fifth of the time


def walks(episodes, length, reward, seed):
    """Random states and actions (N, 1); reward(states, actions, random) -> (N,). Episodes are cut off."""
    random, count = np.random.default_rng(seed), episodes * length
    states, actions = (random.normal(size=(count, 1)).astype(np.float32) for _ in range(2))
    ends = np.arange(count) % length == length - 1
    rewards = reward(states[:, 0], actions[:, 0], random).astype(np.float32)
    return Transitions(states, actions, rewards, states, np.zeros(count, np.bool_), ends, np.arange(0, count, length))


class Likes:
    """Critics with a fixed opinion: advantage(states, actions)."""

    def __init__(self, advantage):
        self.advantage, self.v, self.q = advantage, Value(1, (4,)), self

    def minimum(self, observations, actions):
        return self.advantage(observations[..., 0], actions[..., 0])


def anybody(members=(), size=1):
    """What recorded the walks: normal actions, whatever the state."""
    policy = GaussianPolicy(size, 1, (4,), members)
    with torch.no_grad():
        for weight in policy.actor.parameters():
            weight.zero_()
    return policy


def compare(critics, behavior, unseen, action_limit=math.inf, seed=0):
    return advantage_test.compare(critics, behavior, unseen, action_limit, torch.Generator().manual_seed(seed), SMALL)


def judged(reward, advantage, episodes=100, seed=0):
    torch.manual_seed(seed)
    return compare(Likes(advantage), anybody(), walks(episodes, 5, reward, seed), seed=seed)


def large(states, actions):
    return actions


def test_returns_to_go_by_hand():
    data = walks(2, 3, lambda states, *_: np.array([1, 2, 3, 10, 20, 30.0]), 0)
    assert returns_to_go(data).tolist() == [6, 5, 3, 60, 50, 30]


def test_what_pays_is_told_by_critics_that_like_it():
    found = judged(lambda states, actions, random: actions + random.normal(size=len(actions)), large)
    assert found.z > 5
    assert 0.2 < found.correlation < 0.6  # 1 / sqrt(1 + 1 + 2 (5 - 1) / 2) = 0.41: the later steps' rewards are noise to a step
    assert found.episodes == 100


def test_critics_that_like_what_costs_do_not_pass():
    assert judged(lambda states, actions, random: -actions, large).z < -5


def test_luck_is_no_evidence():
    """z of pure luck is a standard normal: the mean of six is within 1.2, three of its standard deviations."""
    found = [judged(lambda states, actions, random: random.normal(size=len(actions)), large, seed=seed) for seed in range(6)]
    assert abs(np.mean([each.z for each in found])) < 1.2
    assert abs(np.mean([each.correlation for each in found])) < 0.1


def test_a_good_state_says_nothing_of_the_action():
    """However steeply values and returns depend on it; an advantage is what an action has over others in the same state."""
    found = judged(lambda states, *_: np.sin(9 * states), lambda states, actions: 10 * torch.sin(9 * states) + 0.1 * actions)
    assert abs(found.z) < 3


def test_how_much_is_still_to_come_says_nothing_of_the_action():
    """What is done early is larger, and more is earned after it, whatever it is."""
    torch.manual_seed(0)
    data = walks(100, 5, lambda states, *_: np.ones(len(states)), 0)
    data.actions[:, 0] -= data.time
    assert abs(compare(Likes(large), anybody(), data).z) < 3


def test_clones_may_be_an_ensemble():
    torch.manual_seed(0)
    data = walks(100, 5, lambda states, actions, random: actions, 0)
    found = compare(Likes(large), anybody((4,)), data)
    assert found.z > 5


def test_what_only_the_episode_itself_could_tell_is_not_taken_out():
    """Each episode has luck of its own, which its states name, its actions follow and its returns are: a regression that had seen the
    episode would know the luck and leave nothing to compare."""
    random, count, length = np.random.default_rng(0), 100, 5
    luck = np.repeat(random.normal(size=count), length).astype(np.float32)
    states = np.repeat(random.normal(size=(count, 8)), length, 0).astype(np.float32)
    ends = np.arange(count * length) % length == length - 1
    rewards = np.where(ends, luck, 0).astype(np.float32)
    data = Transitions(states, luck[:, None], rewards, states, np.zeros(len(ends), np.bool_), ends, np.arange(0, len(ends), length))
    torch.manual_seed(0)
    critics = Likes(large)
    critics.v = Value(8, (4,))
    found = compare(critics, anybody(size=8), data)
    assert found.correlation > 0.9
    assert found.z > 5


def test_actions_count_as_they_were_clipped():
    unseen = walks(50, 5, lambda states, actions, random: np.clip(actions, -0.1, 0.1) * 10, 0)
    seen = []

    def advantage(states, actions):
        seen.append(float(actions.abs().max()))
        return actions

    compare(Likes(advantage), anybody(), unseen, action_limit=0.1)
    assert max(seen) == pytest.approx(0.1)


@pytest.mark.parametrize("episodes", [1, 2, 9])
def test_a_few_episodes_are_no_test(episodes):
    unseen = walks(episodes, 5, lambda states, actions, random: actions, 0)
    found = compare(Likes(large), anybody(), unseen)
    assert math.isnan(found.z)
    assert not found.z > 0
