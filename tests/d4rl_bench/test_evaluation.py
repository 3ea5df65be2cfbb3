"""Episodes that are run side by side and end at different times."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from d4rl_bench import evaluation
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


class Stairs(gymnasium.Env):
    """Step n earns n times the action. Seed 5 has one step, seed 6 two, and so on, and the next episodes as many."""

    observation_space = gymnasium.spaces.Box(0.0, 100.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        self.step_number, self.steps = 0, self.steps if seed is None else seed - 4
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.step_number += 1
        ended = self.step_number == self.steps
        return np.full(1, self.step_number, np.float32), self.step_number * float(action[0]), ended, False, {}


@pytest.fixture
def stairs():
    gymnasium.register("Stairs-v0", Stairs)
    task = replace(find_task("hopper-medium"), environment="Stairs-v0", random_return=2.0, expert_return=12.0, evaluation_episodes=4)
    evaluator = Evaluator(replace(task, episode_steps=3), seed=5)
    yield evaluator
    evaluator.close()
    del gymnasium.registry["Stairs-v0"]


def half(observations):
    return np.full((len(observations), 1), 0.5, np.float32)


def test_returns_are_sums_of_whole_episodes_from_the_same_starts_each_time(stairs):
    # halves of 1, 1 + 2, 1 + 2 + 3 and, since the fourth of the last episode's steps is beyond the limit, 1 + 2 + 3 again
    for _ in range(2):
        assert stairs.returns(half).tolist() == [0.5, 1.5, 3.0, 3.0]
    assert stairs.rewards(half).tolist() == [[0.5, 0.5, 0.5, 0.5], [0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.5, 1.5]]


def test_the_score_is_of_the_mean_return(stairs):
    measured = stairs.measure(half)  # mean 8 / 4, on a scale on which 2 is 0 and 12 is 100
    assert measured["return"]["mean"] == 2.0 and measured["score"] == stairs.score(half) == 0.0
    assert stairs.score(lambda observations: 2 * half(observations)) == pytest.approx(20.0)


@pytest.mark.parametrize("name", ["hopper-medium", "antmaze-umaze"])
def test_a_recipe_that_is_raised_is_raised_for_every_family(monkeypatch, name):
    before = evaluation.recipe(find_task(name))
    monkeypatch.setattr(evaluation, "RECIPE", evaluation.RECIPE + 1)
    assert evaluation.recipe(find_task(name)) == before + 1
