"""What a robot is to the rest: something to read a state from and to write a joint command to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag
from functools import cached_property
from typing import Protocol

import numpy as np

from common.array_types import Float64Array
from common.errors import QuadloopError
from robot.rotation import gravity_components


class DriverError(QuadloopError):
    """The robot cannot be reached or answered with something unusable."""


class DriverFault(IntFlag):
    """Why a driver damps the motors by itself, or would not let them move."""

    COMMAND_LOST = 1 << 0  # no new command for 0.15 s: the control process died or hangs
    COMMAND_BROKEN = 1 << 1  # a command with a value that is not a number, or gains beyond those of any mode
    STATE_LOST = 1 << 2  # the robot stopped answering
    STATE_BROKEN = 1 << 3  # its answers are not numbers, or none that a Go1 can give
    RESTARTED = 1 << 4  # the robot's own clock ran backwards or fell behind: its controller has started anew; until a new connection
    REMOTE_STOP = 1 << 5  # the button on the remote
    REMOTE_LOST = 1 << 6  # the remote is off or out of reach
    BATTERY = 1 << 7
    MOTOR_HOT = 1 << 8
    MOTOR_MODE = 1 << 9  # a motor left the mode that it was told to be in
    POWER = 1 << 10  # the vendor's protection against too much power
    STALLED = 1 << 11  # the driver's own process was held up
    DRIVER_LOST = 1 << 12  # the driver's own process died
    GUARDIAN_LOST = 1 << 13  # nobody would notice if the driver's own process died; forbids to begin, not to go on


def fault_names(faults: DriverFault) -> str:
    """The faults' names in a message, such as "REMOTE_STOP, POWER"."""
    return ", ".join(str(fault.name) for fault in DriverFault if fault & faults)


NO_FAULT = DriverFault(0)


@dataclass(frozen=True)
class RobotState:
    """One reading of the robot's sensors. Joint arrays are in the policy's order; float64 throughout."""

    stamp_s: float  # monotonic time of the reading
    joint_pos: Float64Array  # (12,) rad
    joint_vel: Float64Array  # (12,) rad/s
    joint_torque: Float64Array  # (12,) N m, estimated by the motors
    quaternion_wxyz: Float64Array  # (4,) body to world
    gyro_b: Float64Array  # (3,) rad/s
    accelerometer_b: Float64Array  # (3,) m/s^2, gravity included
    foot_force: Float64Array  # (4,) FL FR RL RR; N on the twin, raw numbers of its sensors on a Go1
    faults: DriverFault = NO_FAULT  # what the driver damps the motors for, or would if they were to move

    @cached_property
    def gravity_b(self) -> Float64Array:
        """Projected gravity (3,): the supervisor and the observation both need it."""
        return np.array(gravity_components(*self.quaternion_wxyz.tolist()))


@dataclass(frozen=True)
class JointCommand:
    """Targets and gains of the motors' PD controllers; feed-forward torque is always zero."""

    joint_pos_target: Float64Array  # (12,) rad
    kp: Float64Array  # (12,) N m / rad; zero damps
    kd: Float64Array  # (12,) N m s / rad


@dataclass(frozen=True)
class DriverStatus:
    """How a robot is doing whose motors are looked after by processes of their own."""

    phase: Enum  # what these send to the motors
    battery_percent: int
    max_temperature: int  # of the hottest motor, degrees centigrade
    cycles: int
    late_cycles: int
    longest_gap_s: float
    guarded: bool  # whether somebody would damp the motors if the command stream died


@dataclass(frozen=True)
class BaseVelocity:
    """Velocity of the trunk's centre in the body frame, with where it came from and how old it is."""

    lin_vel_b: Float64Array  # (3,) m/s
    ang_vel_b: Float64Array  # (3,) rad/s
    source: str
    age_s: float
    valid: bool


class RobotDriver(Protocol):
    """A robot, real or simulated. Nobody who holds one can tell which."""

    def connect(self) -> None:
        """Open the connection; DriverError if the robot does not answer."""

    def read(self) -> RobotState:
        """The newest state; DriverError if there is none."""

    def write(self, command: JointCommand) -> JointCommand:
        """Hand over a command for one control period; returns what was handed over, after limits of the driver's own if it has any.

        A driver that damps the motors by itself (`RobotState.faults`), or that held an earlier command until this one came, told the
        motors something else meanwhile.
        """

    @property
    def status(self) -> DriverStatus | None:
        """For diagnostics and the person; None for a driver that needs no processes. DriverError while there is no state."""

    def close(self) -> None:
        """Release the connection and leave the motors damped, or without torque if they came to rest without having had any. Idempotent."""


class VelocitySource(Protocol):
    """Where the trunk's velocity comes from: T265, odometry, leg kinematics, or the twin's truth."""

    @property
    def name(self) -> str:
        """What episode logs call it."""

    def read(self, state: RobotState) -> BaseVelocity:
        """The newest velocity, in the body frame, for the state just read."""
