"""Many robots at once: the physics of all of them inside the engine's threads, no Python per robot."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

from robot import go1, safety
from robot.observation import projected_gravity, rotate_to_body
from twin.model import build_model, standing_qpos
from twin.terrain import Terrain

Float64Array = NDArray[np.float64]
_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
_QPOS, _QVEL = slice(1, 20), slice(20, 38)  # FULLPHYSICS is time, qpos, qvel
_LEGS = len(go1.LEGS)
_TORQUE = slice(0, 12)
_ACCELEROMETER = slice(12, 15)
_FOOT_FORCE = slice(15, 19)
_FOOT_POS = slice(19, 31)
_FOOT_VEL = slice(31, 43)


@dataclass(frozen=True)
class InitialSpread:
    """How far robots differ at an episode's start."""

    joint_pos_rad: float = 0.05  # uniform, each joint
    yaw_rad: float = np.pi  # uniform heading
    base_vel: float = 0.05  # uniform, m/s and rad/s, each axis


INITIAL_SPREAD = InitialSpread()


@dataclass(frozen=True)
class BatchState:
    """What N robots measure, all arrays float64 with leading axis N; frames as robot.driver.RobotState."""

    joint_pos: Float64Array  # (N, 12) rad
    joint_vel: Float64Array  # (N, 12) rad/s
    joint_torque: Float64Array  # (N, 12) N m
    base_pos_w: Float64Array  # (N, 3) m
    quaternion_wxyz: Float64Array  # (N, 4)
    base_lin_vel_w: Float64Array  # (N, 3) m/s
    base_ang_vel_b: Float64Array  # (N, 3) rad/s
    accelerometer_b: Float64Array  # (N, 3) m/s^2
    foot_force: Float64Array  # (N, 4) N
    foot_pos_w: Float64Array  # (N, 4, 3) m
    foot_vel_w: Float64Array  # (N, 4, 3) m/s

    @cached_property
    def gravity_b(self) -> Float64Array:
        """Projected gravity (N, 3)."""
        return np.asarray(projected_gravity(self.quaternion_wxyz), dtype=np.float64)

    @cached_property
    def base_lin_vel_b(self) -> Float64Array:
        """Trunk velocity in the body frame (N, 3), m/s."""
        return np.asarray(rotate_to_body(self.quaternion_wxyz, self.base_lin_vel_w), dtype=np.float64)


class BatchTwin:
    """N robots on one terrain. `step` advances all of them by one control period."""

    def __init__(self, terrain: Terrain, num_robots: int, threads: int | None = None) -> None:
        self.terrain = terrain
        self.num_robots = num_robots
        self.model = build_model(terrain)
        workers = min(num_robots, threads or os.cpu_count() or 1)
        self._datas = [mujoco.MjData(self.model) for _ in range(max(1, workers))]
        self._rollout = rollout.Rollout(nthread=workers if workers > 1 else 0)
        size = mujoco.mj_stateSize(self.model, _STATE)
        self._state = np.zeros((num_robots, size))
        self._states = np.zeros((num_robots, go1.DECIMATION, size))
        self._sensors = np.zeros((num_robots, go1.DECIMATION, self.model.nsensordata))
        self._targets = np.tile(go1.DEFAULT_JOINT_POS, (num_robots, go1.DECIMATION, 1))
        self._state[:, _QPOS] = standing_qpos()

    def reset(self, where: NDArray[np.bool_], rng: np.random.Generator, spread: InitialSpread = INITIAL_SPREAD) -> None:
        """Set the robots selected by the mask (N,) upright at the origin, each a little different."""
        count = int(where.sum())
        if count == 0:
            return
        qpos = np.tile(standing_qpos(), (count, 1))
        yaw = rng.uniform(-spread.yaw_rad, spread.yaw_rad, count) / 2
        qpos[:, 3], qpos[:, 6] = np.cos(yaw), np.sin(yaw)
        qpos[:, 7:] += rng.uniform(-spread.joint_pos_rad, spread.joint_pos_rad, (count, go1.NUM_JOINTS))
        qvel = np.zeros((count, 18))
        qvel[:, :6] = rng.uniform(-spread.base_vel, spread.base_vel, (count, 6))
        self._state[where] = 0.0
        self._state[where, _QPOS] = qpos
        self._state[where, _QVEL] = qvel
        self._sensors[where] = 0.0
        self._targets[where] = qpos[:, None, 7:]

    def step(self, joint_pos_target: Float64Array) -> tuple[BatchState, Float64Array]:
        """Hold the targets (N, 12) rad, limited as on the robot, for one control period; returns the state and what was applied."""
        applied, _ = safety.limit_joint_pos_target(
            joint_pos_target, self._targets[:, -1], self._state[:, 7 + 1 : 20], self._state[:, 26:38], go1.KP, go1.KD, go1.CONTROL_DT
        )
        self.step_unlimited(applied)
        return self.read(), applied

    def step_unlimited(self, joint_pos_target: Float64Array) -> None:
        """Advance one control period with targets (N, 12) as they are: for a caller that has applied the limits itself."""
        self._targets[:] = joint_pos_target[:, None]
        self._rollout.rollout(
            [self.model], self._datas, initial_state=self._state, control=self._targets, state=self._states, sensordata=self._sensors
        )
        self._state[:] = self._states[:, -1]

    def read(self) -> BatchState:
        """The newest state. Joint torque, forces and acceleration are those of the last physics step."""
        qpos, qvel, sensors = self._state[:, _QPOS].copy(), self._state[:, _QVEL].copy(), self._sensors[:, -1].copy()
        return BatchState(
            joint_pos=qpos[:, 7:], joint_vel=qvel[:, 6:], joint_torque=sensors[:, _TORQUE], base_pos_w=qpos[:, :3],
            quaternion_wxyz=qpos[:, 3:7], base_lin_vel_w=qvel[:, :3], base_ang_vel_b=qvel[:, 3:6],
            accelerometer_b=sensors[:, _ACCELEROMETER], foot_force=sensors[:, _FOOT_FORCE],
            foot_pos_w=sensors[:, _FOOT_POS].reshape(-1, _LEGS, 3), foot_vel_w=sensors[:, _FOOT_VEL].reshape(-1, _LEGS, 3),
        )  # fmt: skip

    @property
    def qpos(self) -> Float64Array:
        """Positions (N, 19) of all robots, for pictures."""
        return self._state[:, _QPOS]

    def close(self) -> None:
        """Stop the engine's threads."""
        self._rollout.close()

    def __enter__(self) -> BatchTwin:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
