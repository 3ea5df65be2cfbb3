"""Many robots at once: the physics of all of them inside the engine's threads, no Python per robot.

A robot whose physics blows up (the engine finds a number that is not finite or beyond all bounds) stands still in its last state and
is `diverged` until it is reset; `transition` has what the engine was given, so that the step can be played again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

from common.array_types import Float64Array
from common.arrays import take_over
from robot import go1, safety
from robot.rotation import projected_gravity, rotate_to_body
from twin.actuator import DelayLine, Motors, asked_torque, physics_steps, target_within_speed_limit
from twin.model import ACCELEROMETER, FOOT_FORCE, FOOT_POS, FOOT_VEL, TORQUE, build_model, gains_of, motors_of, set_gains, standing_qpos
from twin.world import World

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
_TIME, _QPOS, _QVEL = 0, slice(1, 20), slice(20, 38)  # FULLPHYSICS is time, qpos, qvel
_JOINT_POS, _JOINT_VEL = slice(8, 20), slice(26, 38)
MAX_SPEED = 1e3  # rad/s and m/s; joints reach 30 rad/s, so that a robot beyond this is no robot any more
_LEGS = len(go1.LEGS)


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
    joint_torque: Float64Array  # (N, 12) N m, applied
    asked_torque: Float64Array  # (N, 12) N m, what the PD law asked for, by the robot's own gains and the target that its motors had
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
    """N robots in one world. `step` advances all of them by one control period.

    `variants` are worlds that stand beside each other instead of `world` itself; `variant` says in which of them each robot is. Delays,
    the limit on torque by speed and pushes are `world`'s for all of them. `rng` draws the pushes.
    """

    def __init__(
        self, world: World, num_robots: int, threads: int | None = None, variants: Sequence[World] = (),
        rng: np.random.Generator | None = None,
    ) -> None:  # fmt: skip
        self.world = world
        self.num_robots = num_robots
        self.actuator = world.actuator
        self._rng = rng or np.random.default_rng(0)
        self.worlds = list(variants) or [world]
        self.models = [build_model(each) for each in self.worlds]
        self.model = self.models[0]
        workers = min(num_robots, threads or os.cpu_count() or 1)
        self._datas = [mujoco.MjData(self.model) for _ in range(max(1, workers))]
        self._rollout = rollout.Rollout(nthread=workers if workers > 1 else 0)
        size = mujoco.mj_stateSize(self.model, _STATE)
        self.variant = np.zeros(num_robots, dtype=np.int64)
        self._motors = self._read_motors()
        self.diverged = np.zeros(num_robots, dtype=np.bool_)
        self._before = np.zeros((num_robots, size))
        self._states = np.zeros((num_robots, go1.DECIMATION, size))
        self._sensors = np.zeros((num_robots, go1.DECIMATION, self.model.nsensordata))
        self._felt_before = np.zeros((num_robots, self.model.nsensordata))
        self._control = np.zeros((num_robots, go1.DECIMATION, go1.NUM_JOINTS))
        self._line = DelayLine(num_robots, physics_steps(self.actuator.delay_s[1]))
        self._target = np.tile(go1.DEFAULT_JOINT_POS, (num_robots, 1))
        self._states[:, -1, _QPOS] = standing_qpos()

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
        self._states[where] = 0.0
        self._states[where, :, _QPOS] = qpos[:, None]
        self._states[where, -1, _QVEL] = qvel
        self._sensors[where] = 0.0
        self._target[where] = qpos[:, 7:]
        self._line.fill(where, qpos[:, 7:])
        self.diverged[where] = False
        self._draw_robots(where, rng)

    def place(self, qpos: Float64Array, qvel: Float64Array, joint_pos_target: Float64Array) -> None:
        """Put all robots at positions (N, 19) with velocities (N, 18), linear ones in the world and angular ones in the body frame.

        Their motors have been following joint_pos_target (N, 12) rad, and do so with the shortest delay of the actuator's range.
        """
        everyone = np.ones(self.num_robots, dtype=np.bool_)
        self._states[:] = 0.0
        self._states[:, :, _QPOS], self._states[:, :, _QVEL] = qpos[:, None], qvel[:, None]
        self._sensors[:] = 0.0
        self._target[:] = joint_pos_target
        self._line.fill(everyone, joint_pos_target)
        self._line.steps[:] = physics_steps(self.actuator.delay_s[0])
        self.diverged[:] = False

    def set_gains(self, kp: Float64Array, kd: Float64Array) -> None:
        """Ask the motors of all robots for these PD gains (12,); each robot makes its own of them."""
        for model, world in zip(self.models, self.worlds, strict=True):
            set_gains(model, *gains_of(world.robot, kp, kd))
        self._motors = self._read_motors()

    def step(self, joint_pos_target: Float64Array) -> tuple[BatchState, Float64Array]:
        """Hold the targets (N, 12) rad, limited as on the robot, for one control period; returns the state and what was sent."""
        state = self._states[:, -1]
        sent, _ = safety.limit_joint_pos_target(
            joint_pos_target, self._target, state[:, _JOINT_POS], state[:, _JOINT_VEL], go1.KP, go1.KD, go1.CONTROL_DT
        )
        self.step_unlimited(sent)
        return self.read(), sent

    def step_unlimited(self, joint_pos_target: Float64Array) -> None:
        """Advance one control period with targets (N, 12) as they are: for a caller that has applied the limits itself."""
        self._target[:] = joint_pos_target
        self._push()
        self._before[:], self._felt_before[:] = self._states[:, -1], self._sensors[:, -1]
        self._control[:] = self._line.push(joint_pos_target)
        if self.actuator.torque_speed_limit:
            self._advance_step_by_step()
        else:
            self._advance(self._before, self._control, self._states, self._sensors)
        self._hold_diverged()

    def transition(self, robot: int) -> tuple[Float64Array, Float64Array]:
        """What the engine was given for one robot's last control period: its full state (S,) and the targets (4, 12)."""
        return self._before[robot].copy(), self._control[robot].copy()

    def read(self) -> BatchState:
        """The newest state. Torque, forces, acceleration and feet are those of the last physics step's beginning, 5 ms ago."""
        newest, sensors = self._states[:, -1].copy(), self._sensors[:, -1].copy()
        qpos, qvel = newest[:, _QPOS], newest[:, _QVEL]
        last = self._states[:, -2]  # in which the last physics step's torque acted
        return BatchState(
            joint_pos=qpos[:, 7:], joint_vel=qvel[:, 6:], joint_torque=sensors[:, TORQUE],
            asked_torque=asked_torque(self._line.delivered(), last[:, _JOINT_POS], last[:, _JOINT_VEL], self._own_motors()),
            base_pos_w=qpos[:, :3], quaternion_wxyz=qpos[:, 3:7], base_lin_vel_w=qvel[:, :3], base_ang_vel_b=qvel[:, 3:6],
            accelerometer_b=sensors[:, ACCELEROMETER], foot_force=sensors[:, FOOT_FORCE],
            foot_pos_w=sensors[:, FOOT_POS].reshape(-1, _LEGS, 3), foot_vel_w=sensors[:, FOOT_VEL].reshape(-1, _LEGS, 3),
        )  # fmt: skip

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """All that decides how the robots go on."""
        return {name: array.copy() for name, array in self._memory().items()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state_dict` gave; ValueError or KeyError where it does not fit."""
        for name, array in self._memory().items():
            take_over(array, state, name)

    def _memory(self) -> dict[str, NDArray[Any]]:
        return {
            "before": self._before, "states": self._states, "sensors": self._sensors, "target": self._target, "sent": self._line.sent,
            "delay": self._line.steps, "variant": self.variant, "diverged": self.diverged,
        }  # fmt: skip

    def _read_motors(self) -> Motors:
        """The motors of each variant, a row for each."""
        return Motors(*map(np.stack, zip(*map(motors_of, self.models), strict=True)))

    def _own_motors(self) -> Motors:
        """The motors of each robot, (N, 12)."""
        return Motors(*(np.asarray(values)[self.variant] for values in self._motors))

    def _push(self) -> None:
        """Change the horizontal speed of the trunks whose turn it is."""
        every_s, speed = self.world.pushes.every_s, self.world.pushes.speed
        if speed:
            pushed = (self._rng.random(self.num_robots) < go1.CONTROL_DT / every_s) & ~self.diverged
            change = self._rng.uniform(-speed, speed, (int(pushed.sum()), 2))
            self._states[pushed, -1, _QVEL.start : _QVEL.start + 2] += change

    def _hold_diverged(self) -> None:
        newest = self._states[:, -1]
        # The engine stops the clock of a robot that it gives up, but only before its next step: what the last one did is checked here.
        stopped = newest[:, _TIME] - self._before[:, _TIME] < go1.CONTROL_DT - go1.PHYSICS_DT / 2
        sane = (np.abs(newest[:, _QVEL]).max(axis=1) < MAX_SPEED) & np.isfinite(newest[:, _QPOS]).all(axis=1)
        self.diverged |= stopped | ~sane
        if self.diverged.any():
            self._states[self.diverged] = self._before[self.diverged, None]
            self._sensors[self.diverged] = self._felt_before[self.diverged, None]

    def _draw_robots(self, where: NDArray[np.bool_], rng: np.random.Generator) -> None:
        """Which variant and which delay the masked robots have from now on."""
        count = int(where.sum())
        if len(self.models) > 1:
            self.variant[where] = rng.integers(len(self.models), size=count)
        if self._line.longest:
            low, high = (physics_steps(delay) for delay in self.actuator.delay_s)
            self._line.steps[where] = rng.integers(low, high + 1, size=count)

    def _advance(self, before: Float64Array, control: Float64Array, states: Float64Array, sensors: Float64Array) -> None:
        models = [self.models[index] for index in self.variant] if len(self.models) > 1 else [self.model]
        self._rollout.rollout(models, self._datas, initial_state=before, control=control, state=states, sensordata=sensors)

    def _advance_step_by_step(self) -> None:
        """One physics step at a time, since the limit depends on the joints' speed."""
        before, motors = self._before, self._own_motors()
        states, sensors = np.empty_like(self._states[:, :1]), np.empty_like(self._sensors[:, :1])
        for k in range(go1.DECIMATION):
            limited = target_within_speed_limit(self._control[:, k], before[:, _JOINT_POS], before[:, _JOINT_VEL], motors)
            self._control[:, k] = limited
            self._advance(before, limited[:, None], states, sensors)
            self._states[:, k], self._sensors[:, k] = states[:, 0], sensors[:, 0]
            before = states[:, 0].copy()

    @property
    def qpos(self) -> Float64Array:
        """Positions (N, 19) of all robots: x y z, quaternion wxyz, joints."""
        return self._states[:, -1, _QPOS]

    @property
    def qvel(self) -> Float64Array:
        """Velocities (N, 18) of all robots: linear in the world, angular in the body frame, joints."""
        return self._states[:, -1, _QVEL]

    def close(self) -> None:
        """Stop the engine's threads."""
        self._rollout.close()

    def __enter__(self) -> BatchTwin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
