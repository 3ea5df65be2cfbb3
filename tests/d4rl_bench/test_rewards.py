"""What learners are rewarded with, by the task's family."""

from dataclasses import replace

import numpy as np
import pytest

from d4rl_bench.d4rl_file import DataError, returns_of_episodes
from d4rl_bench.rewards import learning_rewards
from d4rl_bench.task import find_task
from learners.transitions import Transitions


def made(*rewards):
    """Two episodes of two rows each."""
    observations = np.zeros((4, 11), np.float32)
    ends = np.array([False, True, False, True])
    return Transitions(
        observations,
        np.zeros((4, 3), np.float32),
        np.array(rewards, np.float32),
        observations,
        np.zeros(4, np.bool_),
        ends,
        np.array([0, 2]),
    )


def test_by_the_range_of_returns():
    # returns 3 and 9: a range of 6
    data = made(1.0, 2.0, 4.0, 5.0)
    rewards = learning_rewards(find_task("hopper-medium"), data)
    assert (rewards.scale, rewards.shift) == (pytest.approx(1000 / 6), 0.0)
    seen = rewards.applied_to(data)
    assert seen.rewards.dtype == np.float32
    assert seen.rewards == pytest.approx(np.array([1, 2, 4, 5]) * 1000 / 6)
    assert np.ptp(returns_of_episodes(seen)) == pytest.approx(1000)


def test_minus_one_and_as_they_are():
    data = made(0.0, 0.0, 0.0, 1.0)
    assert learning_rewards(find_task("antmaze-umaze"), data).applied_to(data).rewards.tolist() == [-1, -1, -1, 0]
    assert learning_rewards(find_task("door-human"), data).applied_to(data).rewards.tolist() == [0, 0, 0, 1]


def test_equal_returns_have_no_range():
    with pytest.raises(DataError, match="every episode of these data returns 3; hopper-medium-v2 needs better and worse ones"):
        learning_rewards(replace(find_task("hopper-medium")), made(1.0, 2.0, 2.0, 1.0))
