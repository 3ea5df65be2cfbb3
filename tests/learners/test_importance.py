"""Weighted importance sampling on stretches that are worked out by hand."""

import math

import numpy as np
import pytest
import torch

from learners.importance import effective_share, log_ratios, stretches_of, weighted_rewards, wis_value
from learners.policy import GaussianPolicy
from learners.transitions import Transitions


def walk(states, rewards, terminated=(), truncated=()):
    """One row after the other; each state is followed by the next one."""
    count = len(rewards)
    states = np.array(states, np.float32)[:, None]
    ends = np.zeros((2, count), np.bool_)
    ends[0, list(terminated)] = True
    ends[1, list(truncated)] = True
    starts = [0, *(np.flatnonzero(ends.any(0))[:-1] + 1)]
    return Transitions(
        states[:-1].copy(), np.zeros((count, 1), np.float32), np.array(rewards, np.float32), states[1:], *ends, np.array(starts)
    )


def test_a_stretch_ends_with_its_episode_and_a_fall_is_known_to_earn_nothing():
    # rows 0 1 2 fall in row 2; rows 3 4 5 are cut off after row 5
    data = walk([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], terminated=[2], truncated=[5])
    stretches = stretches_of(data, 3)
    assert stretches.rows.tolist() == [[0, 1, 2], [1, 2, 2], [2, 2, 2], [3, 4, 5]]
    assert stretches.running.tolist() == [[True] * 3, [True, True, False], [True, False, False], [True] * 3]


def test_a_stretch_does_not_cross_a_missing_row():
    data = walk([0, 1, 2, 3, 4], [1, 1, 1, 1], truncated=[3])
    data.observations[2] = 9.0  # row 1 led to 2, not to 9
    assert stretches_of(data, 2).rows.tolist() == [[0, 1], [2, 3]]


def test_weights_multiply_up_and_stay_after_a_fall():
    data = walk([0, 1, 2], [1, 10], terminated=[1])
    earned, weights = weighted_rewards(data, stretches_of(data, 2), np.log([2.0, 3.0]))
    assert weights.tolist() == [pytest.approx([2 / 3, 1.0]), pytest.approx([1.0, 0.5])]  # 2, 6 and 3, 3 over the larger of each step
    assert earned.tolist() == [pytest.approx([2 / 3, 10.0]), pytest.approx([10.0, 0.0])]


def test_ratios_beyond_what_a_float_holds_stay_finite():
    data = walk([0, 1, 2], [1, 10], terminated=[1])
    earned, weights = weighted_rewards(data, stretches_of(data, 2), np.array([900.0, -900.0]))
    assert np.isfinite(earned).all() and (weights > 0).all()
    assert wis_value(earned.sum(0), weights.sum(0), 1.0) == pytest.approx((1.0 + 10.0) / 2)
    assert effective_share(weights) == pytest.approx(0.5)


def test_the_value_by_hand():
    # step 0: (2 + 30) / (2 + 3) = 6.4; step 1: (60 + 0) / (6 + 3) = 6.6667; gamma 0.5: (6.4 + 3.3333) / 1.5 = 6.4889
    assert wis_value(np.array([32.0, 60.0]), np.array([5.0, 9.0]), 0.5) == pytest.approx(6.488889)
    assert wis_value(np.array([[32.0, 60.0]]), np.array([[5.0, 9.0]]), 0.5).shape == (1,)


def test_the_effective_share_by_hand():
    assert effective_share(np.ones((4, 2))) == pytest.approx(1.0)
    assert effective_share(np.array([[1.0, 3.0], [1.0, 1.0]])) == pytest.approx(16 / 20)  # (3 + 1)^2 / (2 * (9 + 1))


def test_ratios_by_hand():
    """N(1, 1) against N(0, 1) at 0.5 and 2: 0 and 1.5; at the limit of 3 it is P(x >= 3): log(0.0227501 / 0.0013499) = 2.8245."""
    one, zero = (GaussianPolicy(1, 1, (), initial_std=1.0) for _ in range(2))
    with torch.no_grad():
        for policy, bias in ((one, 1.0), (zero, 0.0)):
            policy.actor.weights[0].zero_()
            policy.actor.biases[0].fill_(bias)
    data = walk([0, 1, 2, 3], [0, 0, 0], truncated=[2])
    data.actions[:] = [[0.5], [2.0], [3.0]]
    assert log_ratios(data, one, zero, 3.0).tolist() == pytest.approx([0.0, 1.5, math.log(0.0227501 / 0.0013499)], abs=1e-3)


def test_it_finds_what_another_policy_would_have_earned():
    """Actions N(0, 1) that earn themselves: N(0.5, 1) would earn 0.5 a step."""
    random = np.random.default_rng(0)
    data = walk(np.arange(40_001), np.zeros(40_000), truncated=[39_999])
    data.actions[:] = random.normal(size=(40_000, 1))
    data.rewards[:] = data.actions[:, 0]
    earned, weights = weighted_rewards(data, stretches_of(data, 2), 0.5 * data.actions[:, 0].astype(float) - 0.125)
    assert wis_value(earned.sum(0), weights.sum(0), 0.9) == pytest.approx(0.5, abs=0.03)
