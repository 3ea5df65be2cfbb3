"""The reward that teaches a gait: tracking, made small by whatever a good trot does not do (after Walk These Ways).

reward = control_dt * (1.0 exp(-|v_xy - cmd|^2 / 0.25) + 0.5 exp(-(w_z - cmd)^2 / 0.25)) * exp(-sum of penalties).
Multiplying keeps the reward positive, so that a robot never gains by ending its episode early. Penalties that robot.reward's Table 3
has too are near its weights; the others ask for the commanded gait and posture. Every term, with unit and source: docs/pretraining.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from common.array_types import Float64Array
from common.checks import NOT_NEGATIVE, require
from robot import go1
from robot.command import Slot
from robot.observation import foot_phases
from robot.rotation import rotate_to_body
from twin.batch import BatchState

Terms = dict[str, Float64Array]

TRACKING_WIDTH = 0.25  # (m/s)^2 and (rad/s)^2, as on the robot
BIAS_WIDTH = 0.04  # (m/s)^2 and (rad/s)^2, of the velocity error averaged over a stride or two
STANCE_HEIGHT = 0.30  # m, trunk above the floor in a trot at body_height 0, as in Walk These Ways
CONTACT_FORCE = 25.0  # N, not far from the 31 N of a standing robot's foot: lifting its weight a little already counts
CONTACT_SPEED_WIDTH = 1.0  # (m/s)^2
CONTACT_SMOOTHNESS = 0.25  # of sin(2 pi phase): how softly stance turns into swing


@dataclass(frozen=True)
class PenaltyWeights:
    """Weight of each penalty inside the exponent; 0 switches it off."""

    lin_vel_z: float = 0.02  # per (m/s)^2, Table 3's 4e-4 / 0.02
    ang_vel_xy: float = 0.02  # per (rad/s)^2
    joint_torque: float = 2e-4  # per (N m)^2; Table 3 has 2e-6 / 0.02, which is 1e-4
    joint_vel: float = 1e-4  # per (rad/s)^2, Table 3's 2e-6 / 0.02
    joint_acc: float = 2.5e-7  # per (rad/s^2)^2, Table 3's 5e-9 / 0.02
    action_rate: float = 0.042  # per action^2, below Table 3's 2e-3 / 0.02, which is 0.1: most of it is the exploration's
    power: float = 1e-3  # per W of |torque * joint_vel|
    torque_gap: float = 0.0  # per (N m)^2 between the torque that was asked of the motors and what they gave
    bias: float = 1.3  # of the averaged velocity error, saturating
    orientation: float = 3.0  # per squared deviation of projected gravity from the commanded pitch and roll
    height: float = 20.0  # per m^2
    swing_contact: float = 0.4  # per foot that presses the floor in its swing
    stance_lift: float = 0.8  # per foot that does not press the floor in its stance
    stance_slip: float = 0.1  # per foot that moves in its stance
    swing_height: float = 60.0  # per m^2 below the commanded height; feet may go higher, as the released policies' do
    placement: float = 2.0  # per m^2 off the commanded stance, a foot that is on the floor

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, *(weight.name for weight in fields(self)))  # a penalty below 0 would be earned without bound


def tracking_terms(state: BatchState, commands: Float64Array) -> Terms:
    """Positive terms (N,), each in [0, its weight]."""
    error = np.square(state.base_lin_vel_b[:, :2] - commands[:, :2]).sum(-1)
    turn_error = np.square(state.base_ang_vel_b[:, 2] - commands[:, Slot.YAW_RATE])
    return {"track_lin_vel": np.exp(-error / TRACKING_WIDTH), "track_ang_vel": 0.5 * np.exp(-turn_error / TRACKING_WIDTH)}


def penalty_terms(
    state: BatchState, before: BatchState, commands: Float64Array, gait_index: Float64Array, action: Float64Array,
    last_action: Float64Array, mean_error: Float64Array, weights: PenaltyWeights,
) -> Terms:  # fmt: skip
    """Weighted penalties (N,), all non-negative, named as in PenaltyWeights; mean_error (N, 3) is `velocity_error` averaged over time."""
    joint_acc = (state.joint_vel - before.joint_vel) / go1.CONTROL_DT
    raw = {
        "lin_vel_z": np.square(state.base_lin_vel_b[:, 2]),
        "ang_vel_xy": _squares(state.base_ang_vel_b[:, :2]),
        "joint_torque": _squares(state.joint_torque),
        "joint_vel": _squares(state.joint_vel),
        "joint_acc": _squares(joint_acc),
        "action_rate": _squares(action - last_action),
        "power": np.abs(state.joint_torque * state.joint_vel).sum(-1),
        "torque_gap": _squares(state.asked_torque - state.joint_torque),
        "bias": 1 - np.exp(-_squares(mean_error) / BIAS_WIDTH),
        "orientation": _squares(state.gravity_b[:, :2] - wanted_gravity(commands)),
        "height": np.square(state.base_pos_w[:, 2] - STANCE_HEIGHT - commands[:, Slot.BODY_HEIGHT]),
        **_foot_terms(state, commands, gait_index),
    }
    return {name: getattr(weights, name) * value for name, value in raw.items()}


def total_reward(tracking: Terms, penalties: Terms) -> Float64Array:
    """Reward (N,) of one control step, between 0 and 1.5 control_dt."""
    return np.asarray(go1.CONTROL_DT * sum(tracking.values()) * np.exp(-sum(penalties.values())))


def velocity_error(state: BatchState, commands: Float64Array) -> Float64Array:
    """Measured minus commanded vx, vy (m/s) and yaw rate (rad/s) in the body frame, (N, 3)."""
    return np.concatenate([state.base_lin_vel_b[:, :2], state.base_ang_vel_b[:, 2:]], axis=1) - commands[:, :3]


def wanted_gravity(commands: Float64Array) -> Float64Array:
    """x and y of projected gravity (N, 2) at the commanded pitch (nose up positive) and roll (left side down positive), rad.

    The signs are Walk These Ways' and so those of the released policies: commanded a pitch of 0.3, sim_000300 lifts its nose.
    """
    pitch, roll = commands[:, Slot.PITCH], commands[:, Slot.ROLL]
    return np.stack([-np.sin(pitch) * np.cos(roll), np.sin(roll)], axis=1)


def wanted_contact(phases: Float64Array) -> Float64Array:
    """How much a foot of the given phase should be on the floor, in (0, 1): about 1 in stance, 0 in swing, soft in between."""
    return np.asarray(0.5 + 0.5 * np.tanh(np.sin(2 * np.pi * phases) / CONTACT_SMOOTHNESS))


def wanted_placement(commands: Float64Array, phases: Float64Array) -> Float64Array:
    """x and y (N, 4, 2), m, of the feet in the trunk's heading frame, by Raibert's rule.

    A foot in the middle of its stance is under its corner of the commanded stance; before and after, it moves with the floor. In its
    swing it goes the way back, so that it is where it will touch down when it does.
    """
    ends, sides = np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])  # FL FR RL RR
    x = ends * commands[:, Slot.STANCE_LENGTH, None] / 2
    y = sides * commands[:, Slot.STANCE_WIDTH, None] / 2
    stance_s = commands[:, Slot.GAIT_DURATION, None] / commands[:, Slot.GAIT_FREQUENCY, None]
    to_middle_s = np.where(phases < 0.5, 0.25 - phases, phases - 0.75) * 2 * stance_s  # until the middle of the stance, negative after it
    vx, vy, yaw_rate = (commands[:, slot, None] for slot in (Slot.VX, Slot.VY, Slot.YAW_RATE))
    return np.stack([x + to_middle_s * (vx - yaw_rate * y), y + to_middle_s * (vy + yaw_rate * x)], axis=-1)


def _foot_terms(state: BatchState, commands: Float64Array, gait_index: Float64Array) -> Terms:
    phases = np.asarray(foot_phases(gait_index, commands), dtype=np.float64)
    stance = wanted_contact(phases)
    pressed = 1 - np.exp(-state.foot_force / CONTACT_FORCE)
    slipping = 1 - np.exp(-np.square(state.foot_vel_w).sum(-1) / CONTACT_SPEED_WIDTH)
    # The swing's apex is at phase 0.75; the wanted height is a half sine over the swing.
    swing = np.clip(-np.sin(2 * np.pi * phases), 0, None)
    too_low = np.square(np.minimum(state.foot_pos_w[..., 2] - commands[:, Slot.FOOT_SWING_HEIGHT, None] * swing - go1.FOOT_RADIUS, 0))
    off_place = np.square(_feet_in_heading_frame(state) - wanted_placement(commands, phases)).sum(-1)
    return {
        "swing_contact": ((1 - stance) * pressed).sum(-1),
        "stance_lift": (stance * (1 - pressed)).sum(-1),
        "stance_slip": (stance * slipping).sum(-1),
        "swing_height": (swing * too_low).sum(-1),
        "placement": (stance * off_place).sum(-1),
    }


def _feet_in_heading_frame(state: BatchState) -> Float64Array:
    """x forward, y left (N, 4, 2), m, of the feet from the trunk's centre, in a frame that turns with the trunk's yaw alone."""
    w, x, y, z = np.moveaxis(state.quaternion_wxyz, -1, 0)
    half = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)) / 2
    heading = np.stack([np.cos(half), np.zeros_like(half), np.zeros_like(half), np.sin(half)], axis=-1)
    from_trunk = state.foot_pos_w - state.base_pos_w[:, None]
    return np.asarray(rotate_to_body(np.repeat(heading[:, None], len(go1.LEGS), axis=1), from_trunk)[..., :2])


def _squares(values: Float64Array) -> Float64Array:
    return np.asarray(np.einsum("ni,ni->n", values, values))
