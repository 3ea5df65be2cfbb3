"""Recorded episodes on the twin: shown as they were recorded, or driven again by what was sent to the robot.

Row t of an episode is a state and the targets that were sent in it; row t + 1 is what came of them. A window starts the twin in the
state of a row, sends it the recorded targets, and compares what it does with what the robot did, step by step, for `horizon` steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array
from common.errors import QuadloopError
from robot import go1
from robot.kinematics import foot_pos_b
from robot.log.episode import GAP_PERIODS, Episode
from robot.observation import GO1_LAYOUT, ObservationLayout
from robot.rotation import projected_gravity, rotate_to_body, rotate_to_world
from twin.batch import BatchTwin
from twin.walkers import Policy, Walkers
from twin.world import NO_PUSHES, World

AT_ONCE = 1024  # windows that the twin is stepped in together
SETTLING_STEPS = 100  # control steps, 2 s, until a standing robot has stopped sinking in


class ReplayError(QuadloopError):
    """An episode that cannot be replayed."""


@dataclass(frozen=True)
class Windows:
    """W starts of the twin, and H control steps of what the robot was sent and did from each."""

    rows: NDArray[np.int64]  # (W,) of the episode
    qpos: Float64Array  # (W, 19) at the start
    qvel: Float64Array  # (W, 18)
    target_before: Float64Array  # (W, 12) rad, what the motors were following until then
    targets: Float64Array  # (W, H, 12) rad
    joint_pos: Float64Array  # (W, H, 12) rad, after each of them
    joint_vel: Float64Array  # (W, H, 12) rad/s
    gravity_b: Float64Array  # (W, H, 3)
    base_lin_vel_b: Float64Array  # (W, H, 3) m/s, NaN where it was not measured


@dataclass(frozen=True)
class Driven:
    """What the twin did in each window, after each step. A robot whose physics blew up stands still from there on."""

    qpos: Float64Array  # (W, H, 19)
    qvel: Float64Array  # (W, H, 18)
    diverged: NDArray[np.bool_]  # (W,)


@dataclass(frozen=True)
class PredictionErrors:
    """Twin minus robot after each step of each window, and what "nothing changes" would have been off by."""

    joint_pos: Float64Array  # (W, H, 12) rad
    joint_vel: Float64Array  # (W, H, 12) rad/s
    tilt: Float64Array  # (W, H) rad between the two directions of gravity
    base_lin_vel: Float64Array  # (W, H, 3) m/s, body frame, NaN where it was not measured
    joint_pos_held: Float64Array  # (W, H, 12) rad, of the start's state
    joint_vel_held: Float64Array  # (W, H, 12) rad/s


def recorded_poses(episode: Episode, sink: float = 0.0) -> Float64Array:
    """Positions (T, 19) for pictures and starts: joints and attitude as recorded, the lowest foot `sink` m below the floor.

    The way along the floor is added up from the velocities that may be used; height was not recorded by any sensor that can be trusted.
    """
    check_recorded(episode, "joint_pos", "quaternion_wxyz")
    if not episode.quaternion_wxyz.any(axis=1).all():
        raise ReplayError("the log has rows whose quaternion is zero: the attitude was not measured there")
    poses = np.zeros((len(episode), 19))
    poses[:, 3:7] = episode.quaternion_wxyz / np.linalg.norm(episode.quaternion_wxyz, axis=1, keepdims=True)
    poses[:, 7:] = episode.joint_pos
    velocity = rotate_to_world(poses[:, 3:7], np.where(episode.velocity_valid[:, None], episode.base_lin_vel_b, 0.0))
    poses[1:, :2] = np.cumsum(np.nan_to_num(velocity[:-1, :2]), axis=0) * episode.attributes.control_dt_s
    poses[:, 2] = -_lowest_foot(poses) - sink
    return poses


def windows_of(episode: Episode, horizon: int, every: int, sink: float = 0.0) -> Windows:
    """Windows that start at every `every`-th row where all that a start needs was measured and no row is missing after it.

    Where the trunk's velocity was never recorded, the twin starts without any.
    """
    check_recorded(episode, "joint_pos", "joint_vel", "quaternion_wxyz", "joint_pos_target")
    poses, qvel, known = _starts(episode, sink)
    starts = np.arange(1, len(episode) - horizon, every)
    after = starts[:, None] + np.arange(1, horizon + 1)
    stamps = _float64(episode.stamp_s)
    apart = stamps[after[:, -1]] - stamps[starts] if len(starts) else np.zeros(0)
    whole = ~(apart > (horizon + GAP_PERIODS - 1) * episode.attributes.control_dt_s)  # logs without stamps count as whole
    usable = known[starts] & whole
    if not usable.any():
        raise ReplayError(f"no row has a measured state that the twin could start from and {horizon} steps after it")
    starts, after = starts[usable], after[usable]
    return Windows(
        rows=starts,
        qpos=poses[starts],
        qvel=qvel[starts],
        target_before=_float64(episode.joint_pos_target[starts - 1]),
        targets=_float64(episode.joint_pos_target[after - 1]),
        joint_pos=_float64(episode.joint_pos[after]),
        joint_vel=_float64(episode.joint_vel[after]),
        gravity_b=_float64(projected_gravity(poses[:, 3:7])[after]),
        base_lin_vel_b=np.where(episode.velocity_valid[after, None], _float64(episode.base_lin_vel_b[after]), np.nan),
    )


def joined(parts: Sequence[Windows]) -> Windows:
    """Windows of one horizon from several episodes, one after the other."""
    return Windows(**{field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Windows)})


def chosen(windows: Windows, where: NDArray[Any]) -> Windows:
    """The windows that a mask (W,) or indices select."""
    return Windows(**{field.name: getattr(windows, field.name)[where] for field in fields(Windows)})


def drive(windows: Windows, world: World) -> Driven:
    """Send the recorded targets to a twin in every window; nothing pushes it."""
    still = replace(world, pushes=NO_PUSHES)
    count, horizon = windows.targets.shape[:2]
    qpos, qvel, diverged = np.zeros((count, horizon, 19)), np.zeros((count, horizon, 18)), np.zeros(count, dtype=np.bool_)
    for first in range(0, count, AT_ONCE):
        part = slice(first, min(first + AT_ONCE, count))
        with BatchTwin(still, part.stop - first) as twin:
            twin.place(windows.qpos[part], windows.qvel[part], windows.target_before[part])
            for step in range(horizon):
                twin.step_unlimited(windows.targets[part, step])
                qpos[part, step], qvel[part, step] = twin.qpos, twin.qvel
            diverged[part] = twin.diverged
    return Driven(qpos, qvel, diverged)


def errors_of(windows: Windows, driven: Driven) -> PredictionErrors:
    """What `drive` made of the windows, against what the robot did."""
    qpos, qvel = driven.qpos, driven.qvel
    gravity = np.asarray(projected_gravity(qpos[..., 3:7]), dtype=np.float64)
    cosine = np.clip((gravity * windows.gravity_b).sum(axis=-1), -1, 1)
    return PredictionErrors(
        joint_pos=qpos[..., 7:] - windows.joint_pos,
        joint_vel=qvel[..., 6:] - windows.joint_vel,
        tilt=np.arccos(cosine),
        base_lin_vel=np.asarray(rotate_to_body(qpos[..., 3:7], qvel[..., :3])) - windows.base_lin_vel_b,
        joint_pos_held=windows.qpos[:, None, 7:] - windows.joint_pos,
        joint_vel_held=windows.qvel[:, None, 6:] - windows.joint_vel,
    )


def follow(
    policy: Policy, episode: Episode, world: World, layout: ObservationLayout = GO1_LAYOUT
) -> tuple[Float64Array, Float64Array, bool]:
    """Let a policy walk the twin under the recorded commands, with its mean action, until the recording's end or a fall.

    The twin starts in the recorded state of row 0, without a velocity if none was measured there, and with an empty history.
    Returns positions (T, 19), body-frame trunk velocity (T, 3) m/s, and whether it fell.
    """
    check_recorded(episode, "command", "joint_vel")
    poses, qvel, known = _starts(episode, standing_sink(world))
    if not known[0]:
        qvel[0, :6] = 0.0
    commands = _float64(episode.command)
    walked, speeds, fell = [], [], False
    with BatchTwin(world, 1) as twin:
        walkers = Walkers(twin, commands[:1].copy(), layout)
        twin.place(poses[:1], qvel[:1], poses[:1, 7:])
        walkers.state = twin.read()
        for command in commands:
            walkers.commands[0] = command
            walkers.walk(policy)
            walked.append(twin.qpos[0].copy())
            speeds.append(walkers.state.base_lin_vel_b[0].copy())
            fell = bool(walkers.fallen()[0])
            if fell:
                break
    return np.array(walked), np.array(speeds), fell


def standing_sink(world: World) -> float:
    """How deep, m, the feet of a standing robot sink into the floor: what a recorded posture is placed with."""
    with BatchTwin(replace(world, pushes=NO_PUSHES), 1) as twin:
        for _ in range(SETTLING_STEPS):
            twin.step_unlimited(go1.DEFAULT_JOINT_POS[None])
        return float(-_lowest_foot(twin.qpos)[0])


def check_recorded(episode: Episode, *names: str) -> None:
    """ReplayError unless these fields were recorded in every row."""
    for name in names:
        if name in episode.missing:
            raise ReplayError(f"the log has no {name}, which this replay starts from")
        unknown = np.flatnonzero(~np.isfinite(getattr(episode, name)).reshape(len(episode), -1).all(axis=1))
        if len(unknown):
            raise ReplayError(
                f"{name}, which this replay starts from, is no number in {len(unknown):,} of {len(episode):,} rows, the first of them row "
                f"{unknown[0]:,}"
            )


def _starts(episode: Episode, sink: float) -> tuple[Float64Array, Float64Array, NDArray[np.bool_]]:
    """Positions (T, 19) and velocities (T, 18) of each row as the twin takes them, and where the trunk's were measured (T,)."""
    check_recorded(episode, "joint_vel")
    poses = recorded_poses(episode, sink)
    velocity, turning = _float64(episode.base_lin_vel_b), _float64(episode.gyro_b)
    if "base_lin_vel_b" in episode.missing:
        velocity, known = np.zeros_like(velocity), np.ones(len(episode), dtype=np.bool_)
    else:
        known = np.isfinite(velocity).all(axis=1) & episode.velocity_valid
    if "gyro_b" in episode.missing:
        turning = np.zeros_like(turning)
    known = known & np.isfinite(turning).all(axis=1)
    qvel = np.concatenate([rotate_to_world(poses[:, 3:7], velocity), turning, episode.joint_vel], axis=1)
    return poses, np.nan_to_num(qvel), known


def _lowest_foot(poses: Float64Array) -> Float64Array:
    """Height (T,), m, of the lowest point of the lowest foot sphere at positions (T, 19)."""
    quaternions = np.repeat(poses[:, None, 3:7], len(go1.LEGS), axis=1)
    above_trunk = rotate_to_world(quaternions, foot_pos_b(poses[:, 7:]))[..., 2]
    return np.asarray(poses[:, 2] + above_trunk.min(axis=1) - go1.FOOT_RADIUS)


def _float64(values: NDArray[np.floating[Any]]) -> Float64Array:
    return np.asarray(values, dtype=np.float64)
