"""What held-out logs say of two policies, by hand: of two sessions, Student's t with one degree of freedom is 12.7062."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from learners.importance import WisConfig
from learners.onnx_graph import policy_of_layers
from learners.policy import GaussianPolicy
from learners.transitions import Transitions
from offline_finetune.config import FinetuneConfig
from offline_finetune.dataset import DatasetReport, RobotDataset
from offline_finetune.evidence import by_importance, diverged, paired_by_replica, paired_by_session
from robot.observation import GO1_LAYOUT


def around(mean: float) -> GaussianPolicy:
    """Actions around `mean` in every state, with deviation 1."""
    return policy_of_layers([(np.zeros((1, 1)), np.array([mean]))], np.zeros(1))


def four_steps(sessions: list[int]) -> RobotDataset:
    """Held-out steps of one step's episodes: actions 0, 1, 0, 1 that earned 1, 3, 2, 6."""
    steps = Transitions(
        observations=np.zeros((4, 1), np.float32),
        actions=np.array([[0], [1], [0], [1]], np.float32),
        rewards=np.array([1, 3, 2, 6], np.float32),
        next_observations=np.zeros((4, 1), np.float32),
        terminated=np.zeros(4, np.bool_),
        truncated=np.ones(4, np.bool_),
        episode_starts=np.arange(4),
    )
    report = DatasetReport((), (), (), "session", 4, 4, 0, 4, 0, 0, {})
    return RobotDataset(steps, steps, np.array(sessions), report, GO1_LAYOUT)


def test_starts_of_one_session_count_together() -> None:
    found = paired_by_session(np.array([[1.0, 2, 3, 4], [2, 3, 6, 7]]), np.array([0, 0, 1, 1]))
    assert (found["old"], found["new"], found["difference"]) == (2.5, 4.5, 2.0)
    # differences 1, 1, 3, 3; without the first session 3, without the second 1: 12.7062 * sqrt(1/2 * (1 + 1))
    assert found["ci95"] == pytest.approx([2 - 12.7062, 2 + 12.7062], rel=1e-4)


def test_replicas_know_no_more_than_their_sessions() -> None:
    values = torch.tensor([[1.0, 2, 3, 4, 5], [2, 4, 6, 8, 10]])  # differences 1 to 5: deviation 1.58114
    of_two, of_five = paired_by_replica(values, 2), paired_by_replica(values, 5)
    assert of_two["difference"] == 3.0
    assert of_two["ci95"] == pytest.approx([3 - 28.4120, 3 + 28.4120], rel=1e-4)  # 12.7062 * 1.58114 * sqrt(2 / 1)
    assert of_five["ci95"] == pytest.approx([3 - 7.6059, 3 + 7.6059], rel=1e-4)  # 1 / (1/4 + 1/4) degrees: 4.3027 * 1.58114 * sqrt(5 / 4)
    assert paired_by_replica(values, 1)["ci95"] is None
    assert paired_by_replica(torch.tensor([[1.0, 1, 1], [2, 2, 2]]), 2)["ci95"] is None  # all replicas drew the same
    assert paired_by_replica(torch.tensor([[1.0, 2, 3], [1, 2, 3]]), 2)["ci95"] == [0.0, 0.0]  # the new policy is the old one
    assert paired_by_replica(torch.ones(2, 3), 1)["ci95"] is None


def test_recorded_rewards_weigh_as_the_new_policy_would_have_them() -> None:
    config = FinetuneConfig(wis=WisConfig(horizon=1))
    found = by_importance(four_steps([0, 0, 1, 1]), (around(0.0), around(1.0)), around(0.0), config)["wis"]
    # The new policy makes the action 1 e times as likely as 0: (1 + 3e + 2 + 6e) / (2 + 2e). Without a session 4.92424 - 4, 2.46212 - 2.
    assert found["old"] == pytest.approx(3.0)
    assert found["new"] == pytest.approx((3 + 9 * math.e) / (2 + 2 * math.e), rel=1e-5)
    assert found["ci95"] == pytest.approx([0.69318 - 2.93590, 0.69318 + 2.93590], rel=1e-4)
    assert found["effective_share"] == pytest.approx(0.8240, abs=1e-4)  # (2 + 2e)^2 / (4 (2 + 2e^2))


def test_importance_of_one_session_has_no_interval() -> None:
    found = by_importance(four_steps([5, 5, 5, 5]), (around(0.0), around(1.0)), around(0.0), FinetuneConfig(wis=WisConfig(horizon=1)))
    assert found["wis"]["ci95"] is None


@pytest.mark.parametrize(
    ("value", "beyond"),
    [(0.029, False), (0.05, False), (0.07, True), (-0.02, False), (-0.04, True), (float("inf"), True), (float("nan"), True)],
)
def test_no_policy_earns_far_more_or_less_than_was_recorded(value, beyond):
    rewards = np.array([0.0, 0.01, 0.03], dtype=np.float32)  # a span of 0.03: from -0.03 to 0.06
    assert diverged(torch.tensor([[0.01, value], [0.01, 0.01]]), rewards) is beyond
