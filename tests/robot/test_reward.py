"""The reward of Uni-O4's Table 3 against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from common.array_types import FloatArray
from robot.reward import WEIGHTS, reward_terms, total_reward


def terms_of(**changes: FloatArray) -> dict[str, FloatArray]:
    """Terms of a robot that stands still as commanded, except for `changes`."""
    still = {
        "base_lin_vel_b": np.zeros(3), "base_ang_vel_b": np.zeros(3), "command": np.zeros(15), "joint_torque": np.zeros(12),
        "joint_vel": np.zeros(12), "joint_acc": np.zeros(12), "action": np.zeros(12), "last_action": np.zeros(12),
    }  # fmt: skip
    return reward_terms(**(still | changes))


def test_perfect_tracking_gives_three_hundredths() -> None:
    command = np.zeros(15)
    command[:3] = (0.5, -0.2, 0.3)
    terms = terms_of(base_lin_vel_b=np.array([0.5, -0.2, 0.0]), base_ang_vel_b=np.array([0.0, 0.0, 0.3]), command=command)
    assert total_reward(terms) == pytest.approx(0.03)


def test_command_is_unscaled_and_error_counts_both_axes() -> None:
    # |(0.5 - 1, 0.5)|^2 = 0.5; 0.02 exp(-0.5 / 0.25) = 0.02 x 0.1353352832
    command = np.zeros(15)
    command[0] = 1.0
    terms = terms_of(base_lin_vel_b=np.array([0.5, 0.5, 0.0]), command=command)
    assert terms["lin_vel_xy"] == pytest.approx(0.002706705665)


def test_yaw_rate_error() -> None:
    # 0.01 exp(-0.5^2 / 0.25) = 0.01 / e
    assert terms_of(base_ang_vel_b=np.array([9.0, 9.0, 0.5]))["ang_vel_z"] == pytest.approx(0.003678794412)


def test_penalties_one_by_one() -> None:
    assert terms_of(base_lin_vel_b=np.array([0.0, 0.0, 0.5]))["lin_vel_z"] == pytest.approx(-1e-4)  # 4e-4 x 0.25
    assert terms_of(joint_torque=np.full(12, 10.0))["joint_torque"] == pytest.approx(-2.4e-3)  # 2e-6 x 1200
    assert terms_of(joint_vel=np.full(12, 5.0))["joint_vel"] == pytest.approx(-6e-4)  # 2e-6 x 300
    assert terms_of(joint_acc=np.full(12, 100.0))["joint_acc"] == pytest.approx(-6e-4)  # 5e-9 x 120,000
    assert terms_of(action=np.full(12, 0.5), last_action=np.full(12, -0.5))["action_rate"] == pytest.approx(-0.024)  # 2e-3 x 12


def test_a_penalty_divides() -> None:
    # Action rate 2e-3 x 10 = 0.02, so exp(-0.02 / 0.02) = 1 / e: 0.03 falls to 0.0110364, not to 0.01.
    action = np.zeros(12)
    action[:10] = 1.0
    assert total_reward(terms_of(action=action)) == pytest.approx(0.011036383235)


def test_a_worked_case() -> None:
    command = np.zeros(15)
    command[0] = 1.0
    terms = terms_of(
        base_lin_vel_b=np.array([0.5, 0.0, 0.5]),
        base_ang_vel_b=np.array([0.0, 0.0, 0.5]),
        command=command,
        joint_torque=np.full(12, 10.0),
        joint_vel=np.full(12, 5.0),
        joint_acc=np.full(12, 100.0),
        action=np.full(12, 0.5),
        last_action=np.full(12, 0.0),
    )
    # Positive: 0.03 / e = 0.01103638324. Negative: 1e-4 + 2.4e-3 + 6e-4 + 6e-4 + 2e-3 x 3 = 9.7e-3; exp(-0.485) = 0.6156971
    assert total_reward(terms) == pytest.approx(0.006795069, rel=1e-6)


def test_terms_are_named_and_ordered_as_the_weights() -> None:
    assert tuple(terms_of()) == tuple(WEIGHTS)


def test_a_batch_equals_its_members() -> None:
    random = np.random.default_rng(0)
    sizes = (3, 3, 15, 12, 12, 12, 12, 12)
    batch = [random.normal(size=(2, 3, size)) for size in sizes]
    together = total_reward(reward_terms(*batch))
    assert together.shape == (2, 3)
    alone = total_reward(reward_terms(*(values[1, 2] for values in batch)))
    assert together[1, 2] == pytest.approx(float(alone), rel=1e-12)
