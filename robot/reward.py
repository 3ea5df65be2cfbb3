"""The reward of the real robot and of every stage after pretraining (Uni-O4, Table 3), over any batch shape.

r_pos = 0.02 exp(-|v_xy - v_xy_cmd|^2 / 0.25) + 0.01 exp(-(w_z - w_z_cmd)^2 / 0.25)
r_neg = -(4e-4 v_z^2 + 2e-6 |torque|^2 + 2e-6 |joint_vel|^2 + 5e-9 |joint_acc|^2 + 2e-3 |a_t - a_{t-1}|^2)
reward = r_pos exp(r_neg / 0.02). The paper prints exp(c_neg r_neg) with c_neg = 0.02; only the division makes the penalty
matter, and the released code divides. Velocities are in the body frame, the command is unscaled.
"""

from __future__ import annotations

import numpy as np

from common.array_types import FloatArray
from robot.command import Slot

TRACKING_WIDTH = 0.25  # (m/s)^2 and (rad/s)^2
NEGATIVE_SCALE = 0.02
WEIGHTS = {
    "lin_vel_xy": 0.02,
    "ang_vel_z": 0.01,
    "lin_vel_z": -4e-4,
    "joint_torque": -2e-6,
    "joint_vel": -2e-6,
    "joint_acc": -5e-9,
    "action_rate": -2e-3,
}
POSITIVE_TERMS = ("lin_vel_xy", "ang_vel_z")


def reward_terms(
    base_lin_vel_b: FloatArray,
    base_ang_vel_b: FloatArray,
    command: FloatArray,
    joint_torque: FloatArray,
    joint_vel: FloatArray,
    joint_acc: FloatArray,
    action: FloatArray,
    last_action: FloatArray,
) -> dict[str, FloatArray]:
    """Weighted terms (...), named as in WEIGHTS.

    base_lin_vel_b (..., 3) m/s, base_ang_vel_b (..., 3) rad/s, command (..., 15) unscaled, joint_torque (..., 12) N m,
    joint_vel (..., 12) rad/s, joint_acc (..., 12) rad/s^2, action and last_action (..., 12).
    """
    lin_vel_error = _squares(base_lin_vel_b[..., :2] - command[..., :2])
    ang_vel_error = np.square(base_ang_vel_b[..., 2] - command[..., Slot.YAW_RATE])
    raw = {
        "lin_vel_xy": np.exp(-lin_vel_error / TRACKING_WIDTH),
        "ang_vel_z": np.exp(-ang_vel_error / TRACKING_WIDTH),
        "lin_vel_z": np.square(base_lin_vel_b[..., 2]),
        "joint_torque": _squares(joint_torque),
        "joint_vel": _squares(joint_vel),
        "joint_acc": _squares(joint_acc),
        "action_rate": _squares(action - last_action),
    }
    return {name: WEIGHTS[name] * value for name, value in raw.items()}


def total_reward(terms: dict[str, FloatArray]) -> FloatArray:
    """Reward (...) of weighted terms: r_pos exp(r_neg / 0.02), between 0 and 0.03."""
    positive = sum(terms[name] for name in POSITIVE_TERMS)
    negative = sum(value for name, value in terms.items() if name not in POSITIVE_TERMS)
    return np.asarray(positive * np.exp(negative / NEGATIVE_SCALE))


def _squares(values: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("...i,...i->...", values, values))
