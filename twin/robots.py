"""Robots by name, the real one and those that stand in for it: in real time, behind the same driver.

It lives in this room because the twin knows the robot and not the other way round. A robot's own computer needs no simulator for it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import QuadloopError
from robot.driver import RobotDriver, VelocitySource
from robot.replay_driver import ReplayDriver
from robot.unitree.driver import Go1Config, Go1Driver
from robot.unitree.sdk_port import Address
from robot.velocity.legs import STANCE_FORCE, LegVelocity
from robot.velocity.odometry import OdometryVelocity
from robot.velocity.t265_process import T265Process
from robot.velocity.watched import WatchedVelocity
from twin.robot_process import RobotProcess

ROBOTS = ("go1", "twin", "replay")
VELOCITY_SOURCES = ("t265", "odometry", "legs")
MAX_LEVER_ARM = 1.0  # m, in each axis; a Go1's trunk is 0.38 m long, so that what is further off was given in another unit


class UnknownRobotError(QuadloopError):
    """A robot or a velocity source of another name than those that there are, or a place for it that no robot has."""


@dataclass(frozen=True)
class WantedRobot:
    """Which robot, and how to reach it."""

    name: str = "twin"  # one of ROBOTS
    terrain: str = "flat"  # what the twin walks on: flat, mattress, or a YAML file
    seed: int = 0  # draws the twin's delay and pushes
    replay_log: str = ""  # episode log that is played as a robot
    ip: str = Address().ip  # of the Go1's motor controller
    power_level: int = Go1Config().power_level  # the vendor's power protection, in tenths of full power
    velocity_source: str = "legs"  # one of VELOCITY_SOURCES
    lever_arm_b: tuple[float, ...] = (0.0, 0.0, 0.0)  # m, the camera's or the odometry's place in the trunk's frame
    stance_force: float = STANCE_FORCE  # reading of a foot sensor above which the foot stands, for the legs' velocity

    def __post_init__(self) -> None:
        for what, value, allowed in (("robot", self.name, ROBOTS), ("velocity source", self.velocity_source, VELOCITY_SOURCES)):
            if value not in allowed:
                raise UnknownRobotError(f"there is no {what} '{value}'; choose one of {', '.join(allowed)}")
        if len(self.lever_arm_b) != 3:
            raise UnknownRobotError(f"the lever arm has {len(self.lever_arm_b)} values; it must have 3")
        if not all(abs(part) <= MAX_LEVER_ARM for part in self.lever_arm_b):  # so that a NaN is refused
            raise UnknownRobotError(f"the lever arm is {self.lever_arm_b}; give metres, each part within +-{MAX_LEVER_ARM:g}")
        if self.name == "replay" and not self.replay_log:
            raise UnknownRobotError("no replay log is named; name an episode log (.hdf5)")


@dataclass(frozen=True)
class OpenRobot:
    """A robot whose driver is not yet connected."""

    driver: RobotDriver
    velocity: VelocitySource
    source: str  # for the log
    odometry: OdometryVelocity | None = None  # to be fed, if that is the velocity source
    lay_down: Callable[[], object] | None = None  # puts the twin back on its belly, as a person does with a robot


def open_robot(wanted: WantedRobot, closing: ExitStack) -> OpenRobot:
    """The robot; what it needs beside its driver is closed by `closing`. DriverError with one line where that is not possible."""
    if wanted.name == "replay":
        return OpenRobot(ReplayDriver(Path(wanted.replay_log)), LegVelocity(wanted.stance_force), "replay")
    if wanted.name == "twin":
        twin = closing.enter_context(RobotProcess(wanted.terrain, wanted.seed))
        velocity, odometry = _velocity(wanted, twin.camera, closing)
        source = f"twin:{twin.world.name}"
        return OpenRobot(Go1Driver(twin.config), velocity, source, odometry, lambda: twin.order(lie_down=True))
    velocity, odometry = _velocity(wanted, "pyrealsense2", closing)
    return OpenRobot(Go1Driver(Go1Config(Address(wanted.ip), wanted.power_level)), velocity, "go1", odometry)


def _velocity(wanted: WantedRobot, camera: str, closing: ExitStack) -> tuple[VelocitySource, OdometryVelocity | None]:
    """By camera or odometry, watched by the legs; or by the legs alone."""
    lever_arm_b, legs = np.array(wanted.lever_arm_b), LegVelocity(wanted.stance_force)
    if wanted.velocity_source == "odometry":
        odometry = OdometryVelocity(lever_arm_b)
        return WatchedVelocity(odometry, legs), odometry
    if wanted.velocity_source == "t265":
        tracker = T265Process(camera)
        closing.callback(tracker.close)
        return WatchedVelocity(tracker.velocity(lever_arm_b), legs), None
    return legs, None
