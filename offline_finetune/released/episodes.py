"""Episodes of a released recording: where the robot walked, what the policy saw, what it earned.

What the released files leave open is decided here:
- Row 0 was acted on with a history of zeros; the history begins with row 1. Both deterministic recordings reproduce their actions so.
- A fall is a tilt beyond 60 degrees. The step that leads there terminates the episode; what is recorded while the robot lies is
  dropped ("after_fall"). Where it is set upright again and stays so for a second, another episode begins.
- A recording that ends without a fall is truncated. Its last row has no successor, so no reward, and is dropped ("no_successor").
- The reward of row t is measured at row t + 1 against the command of row t. Where the T265 had lost track at row t + 1, the terms that
  need its velocity are NaN and count as nothing, so that the reward is a lower bound; a data set leaves such rows out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import BoolArray, Float32Array, Float64Array
from offline_finetune.released.recordings import Recording
from robot import go1, safety
from robot.log.episode import END_FALL, END_UNKNOWN, Episode, EpisodeAttributes
from robot.observation import GO1_LAYOUT
from robot.policy.metadata import layout_json
from robot.reward import WEIGHTS, reward_terms, total_reward
from robot.velocity.tracked import flag_glitches

SOURCE = "released_uni_o4"
AFTER_FALL = "after_fall"
NO_SUCCESSOR = "no_successor"
UPRIGHT_TILT_RAD = float(np.radians(30))
UPRIGHT_ROWS = 50  # 1 s at 50 Hz
MAX_CLIMB = 0.5  # m; the trunk walks 0.3 m above the floor and lies at 0.1 m after a fall
CLIMB_ROWS = 25  # on either side: 1 s in all
MISSING = ("action_mean", "log_prob", "accelerometer_b", "foot_force", "velocity_age_s", "stamp_s", "loop_latency_s")
VELOCITY_TERMS = ("lin_vel_xy", "lin_vel_z")
# Kept in every imported episode, so that nobody takes an estimate for a measurement.
NOTES = {
    "joint_torque": "estimated: kp (target - joint_pos) - kd joint_vel at the reading, within the torque limits",
    "quaternion_wxyz": "roll and pitch from the recorded gravity, yaw from the T265",
    "gyro_b": "the T265's angular velocity, rotated from the world into the body frame",
    "base_lin_vel_b": "the T265's velocity, rotated into the body frame; the camera's place on the trunk is unknown: no lever arm",
    "joint_pos_target": "computed from the action; what the robot's own limits made of it was not recorded",
}


@dataclass(frozen=True)
class Stretch:
    """Rows start .. end-1 become one episode; row `end` is the state after its last action."""

    start: int
    end: int
    fell: bool


def walking_stretches(gravity_b: Float64Array) -> list[Stretch]:
    """Where the robot was on its feet and each row has a successor, from the projected gravity (N, 3) of a recording."""
    fallen = safety.has_fallen(gravity_b)
    upright = ~safety.has_fallen(gravity_b, UPRIGHT_TILT_RAD)
    found: list[Stretch] = []
    start = _upright_again(upright, 0) if fallen[0] else 0
    while start is not None and start < len(fallen) - 1:
        falls = np.flatnonzero(fallen[start:])
        if not len(falls):
            return [*found, Stretch(start, len(fallen) - 1, fell=False)]
        end = start + int(falls[0])
        found.append(Stretch(start, end, fell=True))
        start = _upright_again(upright, end)
    return found


def dropped_rows(stretches: list[Stretch], rows: int) -> Counter[str]:
    """How many of a recording's rows are in no stretch, by reason."""
    kept = sum(stretch.end - stretch.start for stretch in stretches)
    unfinished = int(rows == 1 or (bool(stretches) and not stretches[-1].fell))
    return +Counter({NO_SUCCESSOR: unfinished, AFTER_FALL: rows - kept - unfinished})


def histories(frames: Float32Array) -> Float32Array:
    """What the policy saw in each row (N, 5, 58): zeros in row 0, then the frames since row 1, oldest first, zeros before them."""
    count, length = len(frames), GO1_LAYOUT.history
    padded = np.concatenate([np.zeros((length, GO1_LAYOUT.frame_size), dtype=np.float32), frames[1:]])
    return np.stack([padded[first : first + count] for first in range(length)], axis=1)


def valid_velocity(position_w: Float64Array, velocity_w: Float64Array) -> BoolArray:
    """Where (N,) the T265's velocity can be believed, from its position (N, 3) m and velocity (N, 3) m/s in the world frame.

    Besides the glitches that every tracker is checked for, a climb that no trunk makes: if the vertical velocity adds up to more than
    MAX_CLIMB within the second around a row, the camera had lost track, and its horizontal velocity is as wrong. A wrong height
    alone is harmless: the drift came earlier, and when the camera finds its place again the position jumps but the velocity does not.
    """
    height = np.concatenate([[0.0], np.cumsum(velocity_w[:, 2]) * go1.CONTROL_DT])
    rows = np.arange(len(velocity_w))
    before, after = np.maximum(rows - CLIMB_ROWS, 0), np.minimum(rows + CLIMB_ROWS + 1, len(rows))
    return np.asarray(~flag_glitches(position_w, velocity_w) & (np.abs(height[after] - height[before]) <= MAX_CLIMB))


def step_rewards(recording: Recording, velocity_valid: BoolArray) -> tuple[Float32Array, Float32Array]:
    """Rewards (N - 1,) and their terms (N - 1, 7), columns as robot.reward.WEIGHTS, of every row that has a successor.

    `velocity_valid` (N,) tells where the terms of the velocity were measured; elsewhere they are NaN and add nothing to the reward.
    """
    joint_acc = np.diff(recording.joint_vel, axis=0) / go1.CONTROL_DT
    terms = reward_terms(
        recording.base_lin_vel_b[1:], recording.base_ang_vel_b[1:], recording.command[:-1], recording.joint_torque[1:],
        recording.joint_vel[1:], joint_acc, recording.actions[:-1].astype(np.float64), recording.last_action[:-1],
    )  # fmt: skip
    unmeasured = ~velocity_valid[1:]
    counted = terms | {name: np.where(unmeasured, 0.0, terms[name]) for name in VELOCITY_TERMS}
    stored = terms | {name: np.where(unmeasured, np.nan, terms[name]) for name in VELOCITY_TERMS}
    return _single(total_reward(counted)), _single(np.stack([stored[name] for name in WEIGHTS], axis=-1))


def episode_of(recording: Recording, stretch: Stretch, session: str) -> Episode:
    """The episode log of one stretch of a recording."""
    rows = slice(stretch.start, stretch.end)
    count = stretch.end - stretch.start
    seen = histories(recording.frames)[stretch.start : stretch.end + 1]
    velocity_valid = valid_velocity(recording.position_w, recording.base_lin_vel_w)
    rewards, terms = step_rewards(recording, velocity_valid)
    last = np.arange(count) == count - 1
    return Episode(
        attributes=_attributes(session, stretch),
        observations=seen[:-1],
        actions=recording.actions[rows],
        action_mean=_unknown(count, go1.NUM_JOINTS),
        log_prob=_unknown(count),
        rewards=rewards[rows],
        reward_terms=terms[rows],
        terminated=last & stretch.fell,
        truncated=last & (not stretch.fell),
        final_observation=seen[-1],
        joint_pos=_single(recording.joint_pos[rows]),
        joint_vel=_single(recording.joint_vel[rows]),
        joint_torque=_single(recording.joint_torque[rows]),
        quaternion_wxyz=_single(recording.quaternion_wxyz[rows]),
        gyro_b=_single(recording.base_ang_vel_b[rows]),
        accelerometer_b=_unknown(count, 3),
        foot_force=_unknown(count, len(go1.LEGS)),
        base_lin_vel_b=_single(recording.base_lin_vel_b[rows]),
        base_ang_vel_b=_single(recording.base_ang_vel_b[rows]),
        velocity_valid=velocity_valid[rows],
        velocity_age_s=_unknown(count),
        command=_single(recording.command[rows]),
        joint_pos_target=_single(go1.joint_pos_target_of(recording.actions[rows])),
        stamp_s=np.full(count, np.nan),
        loop_latency_s=_unknown(count),
        overrun=np.zeros(count, dtype=np.bool_),
        safety_events=np.zeros(count, dtype=np.uint32),
        missing=MISSING,
    )


def _upright_again(upright: BoolArray, after: int) -> int | None:
    """First row from `after` on at which UPRIGHT_ROWS upright rows begin."""
    run = 0
    for row in range(after, len(upright)):
        run = run + 1 if upright[row] else 0
        if run == UPRIGHT_ROWS:
            return row - UPRIGHT_ROWS + 1
    return None


def _attributes(session: str, stretch: Stretch) -> EpisodeAttributes:
    return EpisodeAttributes(
        robot=go1.NAME,
        policy_sha256="",
        control_dt_s=go1.CONTROL_DT,
        layout_json=layout_json(GO1_LAYOUT),
        config_json=json.dumps({"first_row": stretch.start, "notes": NOTES}),
        session=session,
        source=SOURCE,
        velocity_source="t265",
        ended=END_FALL if stretch.fell else END_UNKNOWN,
    )


def _single(values: NDArray[np.floating[Any]]) -> Float32Array:
    return values.astype(np.float32)


def _unknown(*shape: int) -> Float32Array:
    return np.full(shape, np.nan, dtype=np.float32)
