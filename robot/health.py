"""What of a robot's health forbids it to begin a walk, although its driver lets one that stands go on."""

from __future__ import annotations

from robot.driver import RobotDriver
from robot.unitree.driver import Go1Driver

UNGUARDED = "the guardian has died: nobody would damp the robot if its command stream died too; damp it and connect again"


def unguarded(driver: RobotDriver) -> str:
    """Why no walk may begin, in one line, if a Go1's guardian has died; "" for every other robot.

    GUARDIAN_LOST, the driver's own fault, forbids standing up alone: a robot that stands or walks is safer so than on its way down.
    """
    return UNGUARDED if isinstance(driver, Go1Driver) and not driver.status.guarded else ""
