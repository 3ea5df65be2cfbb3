"""One simulated robot in physics steps of 5 ms, for real time: motors that hold their last command, as a Go1's do."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import mujoco
import numpy as np

from common.array_types import Float64Array
from robot import go1
from twin.actuator import physics_steps, target_within_speed_limit
from twin.model import ACCELEROMETER, FOOT_FORCE, TORQUE, build_model, gains_of, motors_of, set_gains
from twin.world import World

# A Go1 on its belly with its legs folded, as it lies before it is switched on.
PRONE_HEIGHT = 0.10  # m
PRONE_JOINT_POS = np.tile([0.0, 1.2, -2.6], len(go1.LEGS))
_QUATERNION, _JOINT_POS = slice(3, 7), slice(7, 19)
_LIN_VEL, _ANG_VEL, _JOINT_VEL = slice(0, 3), slice(3, 6), slice(6, 18)


@dataclass(frozen=True)
class LiveState:
    """What one robot measures, and its true pose; shapes and frames as twin.batch.BatchState without the leading axis."""

    joint_pos: Float64Array  # (12,) rad
    joint_vel: Float64Array  # (12,) rad/s
    joint_torque: Float64Array  # (12,) N m
    base_pos_w: Float64Array  # (3,) m
    quaternion_wxyz: Float64Array  # (4,)
    base_lin_vel_w: Float64Array  # (3,) m/s
    base_ang_vel_b: Float64Array  # (3,) rad/s
    accelerometer_b: Float64Array  # (3,) m/s^2
    foot_force: Float64Array  # (4,) N


class LiveTwin:
    """A robot of `world`, lying on its belly. `rng` draws its delay and its pushes."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.world, self._rng = world, rng
        self._model = build_model(world)
        self._data = mujoco.MjData(self._model)
        low, high = (physics_steps(delay) for delay in world.actuator.delay_s)
        self._on_the_way: deque[tuple[Float64Array, Float64Array, Float64Array]] = deque(maxlen=1 + int(rng.integers(low, high + 1)))
        self._gains: tuple[Float64Array, Float64Array] | None = None
        self.lie_down()

    def lie_down(self) -> None:
        """Put the robot on its belly at the origin, without torque."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = [0.0, 0.0, PRONE_HEIGHT, 1.0, 0.0, 0.0, 0.0, *PRONE_JOINT_POS]
        nothing = np.zeros(go1.NUM_JOINTS)
        self._on_the_way.clear()
        self._on_the_way.append((PRONE_JOINT_POS, nothing, nothing))

    def tip_over(self, roll_rad: float) -> None:
        """Turn the trunk about its length, in the air: what a hand, or a step missed, does to a robot."""
        self._data.qpos[_QUATERNION] = [np.cos(roll_rad / 2), np.sin(roll_rad / 2), 0.0, 0.0]

    def step(self, joint_pos_target: Float64Array, kp: Float64Array, kd: Float64Array) -> None:
        """One physics step with targets (12,) rad and gains (12,) N m / rad, N m s / rad."""
        self._on_the_way.append((joint_pos_target.copy(), kp.copy(), kd.copy()))  # the caller may use its arrays again
        target, kp, kd = self._on_the_way[0]
        self._set_gains(kp, kd)
        self._data.ctrl[:] = self._within_speed_limit(target) if self.world.actuator.torque_speed_limit else target
        self._push()
        mujoco.mj_step(self._model, self._data)

    def read(self) -> LiveState:
        """The newest state; torque, forces and acceleration are those of the last step's beginning, 5 ms ago."""
        qpos, qvel, sensors = self._data.qpos.copy(), self._data.qvel.copy(), self._data.sensordata.copy()
        return LiveState(
            qpos[_JOINT_POS], qvel[_JOINT_VEL], sensors[TORQUE], qpos[:3], qpos[_QUATERNION], qvel[_LIN_VEL], qvel[_ANG_VEL],
            sensors[ACCELEROMETER], sensors[FOOT_FORCE],
        )  # fmt: skip

    def _set_gains(self, kp: Float64Array, kd: Float64Array) -> None:
        if self._gains is None or not (np.array_equal(kp, self._gains[0]) and np.array_equal(kd, self._gains[1])):
            set_gains(self._model, *gains_of(self.world.robot, kp, kd))
            self._gains = kp, kd

    def _within_speed_limit(self, target: Float64Array) -> Float64Array:
        model, state = self._model, self.read()
        return target_within_speed_limit(target, state.joint_pos, state.joint_vel, motors_of(model))

    def _push(self) -> None:
        every_s, speed = self.world.pushes.every_s, self.world.pushes.speed
        if speed and self._rng.random() < go1.PHYSICS_DT / every_s:
            self._data.qvel[:2] += self._rng.uniform(-speed, speed, 2)
