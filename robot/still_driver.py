"""A robot that stands still, with a policy and a velocity source to go with it: a shipped double, for tests and benchmarks of a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.array_types import Float32Array, Float64Array
from robot import go1
from robot.driver import BaseVelocity, DriverError, JointCommand, RobotState
from robot.observation import GO1_LAYOUT, ObservationLayout

GRAVITY = 9.81  # m/s^2


class StillDriver:
    """A RobotDriver whose joints are at their target at once, at rest and without torque, while the trunk does not move.

    `clock` gives the stamps, s; without one, time is simulated: it begins at 0 and each command takes one control period. Hold
    the trunk otherwise than level by setting `quaternion_wxyz` (4,), body to world, as a person would to try the tilt stop.
    """

    def __init__(self, joint_pos: Float64Array = go1.DEFAULT_JOINT_POS, clock: Callable[[], float] | None = None) -> None:
        self.joint_pos = np.array(joint_pos, dtype=np.float64)  # (12,) rad
        self.quaternion_wxyz = np.array([1.0, 0.0, 0.0, 0.0])
        self.sent: JointCommand | None = None  # the newest command
        self._clock = clock
        self._simulated_s = 0.0
        self._connected = False

    def connect(self) -> None:
        """Always succeeds."""
        self._connected = True

    def read(self) -> RobotState:
        """The robot at rest; DriverError if not connected."""
        self._check_connected()
        return RobotState(
            stamp_s=self._clock() if self._clock else self._simulated_s,
            joint_pos=self.joint_pos.copy(),
            joint_vel=np.zeros(go1.NUM_JOINTS),
            joint_torque=np.zeros(go1.NUM_JOINTS),
            quaternion_wxyz=self.quaternion_wxyz.copy(),
            gyro_b=np.zeros(3),
            accelerometer_b=np.array([0.0, 0.0, GRAVITY]),
            foot_force=np.full(len(go1.LEGS), go1.TOTAL_MASS * GRAVITY / len(go1.LEGS)),
        )

    def write(self, command: JointCommand) -> JointCommand:
        """Move the joints that have stiffness to their targets; DriverError if not connected."""
        self._check_connected()
        self.joint_pos = np.where(command.kp > 0.0, command.joint_pos_target, self.joint_pos)
        self._simulated_s += go1.CONTROL_DT
        self.sent = command
        return command

    @property
    def status(self) -> None:
        """Nothing to tell."""

    def close(self) -> None:
        """Disconnect. Idempotent."""
        self._connected = False

    def _check_connected(self) -> None:
        if not self._connected:
            raise DriverError("the driver is not connected; call connect() first")


class StillVelocity:
    """A VelocitySource for a trunk that does not move."""

    name = "still"

    def read(self, state: RobotState) -> BaseVelocity:
        """Zero, valid and fresh."""
        return BaseVelocity(np.zeros(3), np.zeros(3), self.name, age_s=0.0, valid=True)


@dataclass(frozen=True)
class StillContract:
    """The part of an artifact's metadata that the control loop needs."""

    kp: float = go1.KP
    kd: float = go1.KD
    layout: ObservationLayout = GO1_LAYOUT


class StillPolicy:
    """A policy that asks for the default posture, whatever it sees, with a standard deviation of its own."""

    def __init__(self, std: float = 0.1) -> None:
        self.metadata = StillContract()
        self._mean = np.zeros(go1.NUM_JOINTS, dtype=np.float32)
        self._std = np.full(go1.NUM_JOINTS, std, dtype=np.float32)

    def act(self, observation_history: Float32Array, /) -> tuple[Float32Array, Float32Array]:
        """Mean zero and the standard deviation, each (12,)."""
        return self._mean, self._std
