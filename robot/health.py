"""What of a robot's health forbids it to begin a walk, until it is connected anew."""

from __future__ import annotations

from robot.driver import DriverFault, RobotDriver, RobotState

UNGUARDED = "the guardian has died: nobody would damp the robot if its command stream died too; damp it and connect again"
STARTED_ANEW = "the robot's controller has started anew, and its sport mode stands up by itself: see RESTARTED in docs/robot.md"


def unguarded(driver: RobotDriver) -> str:
    """Why no walk may begin, in one line, if the guardian of a robot that has one has died; else "".

    GUARDIAN_LOST, the driver's own fault, forbids standing up alone: a robot that stands or walks is safer so than on its way down.
    """
    status = driver.status
    return UNGUARDED if status is not None and not status.guarded else ""


def must_reconnect(driver: RobotDriver, state: RobotState | None) -> str:
    """Why no walk may begin with this connection, in one line; "" if one may."""
    if state is not None and state.faults & DriverFault.RESTARTED:
        return STARTED_ANEW
    return unguarded(driver)
