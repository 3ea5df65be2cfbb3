"""The reward that teaches a gait: tracking, made small by whatever a good trot does not do (after Walk These Ways).

reward = control_dt * (1.0 exp(-|v_xy - cmd|^2 / 0.25) + 0.5 exp(-(w_z - cmd)^2 / 0.25)) * exp(-sum of penalties).
The penalties of robot.reward's Table 3 keep their relative weights; the others shape posture and feet. Multiplying keeps the
reward positive, so that a robot never gains by ending its episode early.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot import go1
from robot.observation import foot_phases
from twin.batch import BatchState

Float64Array = NDArray[np.float64]

TRACKING_WIDTH = 0.25  # (m/s)^2 and (rad/s)^2, as on the robot
STANCE_HEIGHT = 0.30  # m, trunk above the floor in a trot at body_height 0
CONTACT_FORCE_WIDTH = 100.0  # N^2
CONTACT_SPEED_WIDTH = 1.0  # (m/s)^2


@dataclass(frozen=True)
class PenaltyWeights:
    """Weight of each penalty inside the exponent."""

    lin_vel_z: float = 0.02  # per (m/s)^2, Table 3's 4e-4 / 0.02
    ang_vel_xy: float = 0.02  # per (rad/s)^2
    joint_torque: float = 1e-4  # per (N m)^2, Table 3's 2e-6 / 0.02
    joint_vel: float = 1e-4  # per (rad/s)^2, Table 3's 2e-6 / 0.02
    joint_acc: float = 2.5e-7  # per (rad/s^2)^2, Table 3's 5e-9 / 0.02
    action_rate: float = 0.02  # per action^2, a fifth of Table 3's 2e-3 / 0.02: a beginner's actions are noise
    orientation: float = 2.0  # per squared horizontal share of gravity
    height: float = 10.0  # per m^2
    swing_contact: float = 0.5  # per foot that presses the floor in its swing
    stance_slip: float = 0.3  # per foot that moves in its stance
    swing_height: float = 60.0  # per m^2 below the commanded apex


def tracking_terms(state: BatchState, commands: Float64Array) -> dict[str, Float64Array]:
    """Positive terms (N,), each in [0, its weight]."""
    error = np.square(state.base_lin_vel_b[:, :2] - commands[:, :2]).sum(-1)
    turn_error = np.square(state.base_ang_vel_b[:, 2] - commands[:, 2])
    return {"track_lin_vel": np.exp(-error / TRACKING_WIDTH), "track_ang_vel": 0.5 * np.exp(-turn_error / TRACKING_WIDTH)}


def penalty_terms(
    state: BatchState, before: BatchState, commands: Float64Array, gait_index: Float64Array, action: Float64Array,
    last_action: Float64Array, weights: PenaltyWeights,
) -> dict[str, Float64Array]:  # fmt: skip
    """Weighted penalties (N,), all non-negative, named as in PenaltyWeights."""
    joint_acc = (state.joint_vel - before.joint_vel) / go1.CONTROL_DT
    raw = {
        "lin_vel_z": np.square(state.base_lin_vel_b[:, 2]),
        "ang_vel_xy": _squares(state.base_ang_vel_b[:, :2]),
        "joint_torque": _squares(state.joint_torque),
        "joint_vel": _squares(state.joint_vel),
        "joint_acc": _squares(joint_acc),
        "action_rate": _squares(action - last_action),
        "orientation": _squares(state.gravity_b[:, :2]),
        "height": np.square(state.base_pos_w[:, 2] - STANCE_HEIGHT - commands[:, 3]),
        **_foot_terms(state, commands, gait_index),
    }
    return {name: getattr(weights, name) * value for name, value in raw.items()}


def total_reward(tracking: dict[str, Float64Array], penalties: dict[str, Float64Array]) -> Float64Array:
    """Reward (N,) of one control step, between 0 and 1.5 control_dt."""
    return np.asarray(go1.CONTROL_DT * sum(tracking.values()) * np.exp(-sum(penalties.values())))


def _foot_terms(state: BatchState, commands: Float64Array, gait_index: Float64Array) -> dict[str, Float64Array]:
    phases = foot_phases(gait_index, commands)
    swing = phases >= 0.5
    pressed = 1 - np.exp(-np.square(state.foot_force) / CONTACT_FORCE_WIDTH)
    speed = np.square(state.foot_vel_w[..., :2]).sum(-1)
    slipping = 1 - np.exp(-speed / CONTACT_SPEED_WIDTH)
    # The swing's apex is at phase 0.75; the wanted height is a half sine over the swing.
    wanted = commands[:, 9:10] * np.sin(np.pi * np.clip(2 * phases - 1, 0, 1)) + go1.FOOT_RADIUS
    below = np.square(np.minimum(state.foot_pos_w[..., 2] - wanted, 0))
    return {
        "swing_contact": (swing * pressed).sum(-1),
        "stance_slip": (~swing * slipping).sum(-1),
        "swing_height": (swing * below).sum(-1),
    }


def _squares(values: Float64Array) -> Float64Array:
    return np.asarray(np.einsum("ni,ni->n", values, values))
