"""Episodes that are run side by side and end at different times."""

import numpy as np
import pytest

from d4rl_bench.evaluation import Evaluator
from d4rl_bench.task import find_task


@pytest.fixture
def evaluator():
    evaluator = Evaluator(find_task("hopper-medium"), seed=5)
    yield evaluator
    evaluator.close()


def push(observations):
    """An action that a hopper falls over with, sooner or later."""
    return np.full((len(observations), 3), 0.3, np.float32)


def test_nothing_is_earned_after_an_episodes_end(evaluator):
    rewards = evaluator.rewards(push)
    ends = [np.flatnonzero(column).max() for column in rewards.T]
    assert rewards.shape[1] == 10 and len(set(ends)) > 1
    assert max(ends) >= len(rewards) - 2  # v5 pays nothing for being upright in the step of a fall
    assert all((column[end + 1 :] == 0).all() for column, end in zip(rewards.T, ends, strict=True))


def test_returns_are_the_sums_and_starts_are_the_same_each_time(evaluator):
    assert evaluator.returns(push) == pytest.approx(evaluator.rewards(push).sum(axis=0))
