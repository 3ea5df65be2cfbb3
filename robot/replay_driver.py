"""A recorded walk as a driver: what listens to a robot can be tried without one."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from common.array_types import Float64Array
from robot.driver import DriverError, JointCommand, RobotState
from robot.log.episode import Episode
from robot.log.episode_log import read_episode

_NEEDED = ("joint_pos", "joint_vel", "quaternion_wxyz")


class ReplayDriver:
    """A RobotDriver that shows an episode log, one row a command and again from its start; commands move nothing."""

    def __init__(self, path: Path) -> None:
        """Read the log; EpisodeLogError if it cannot be read, DriverError if it lacks what a state needs."""
        self._episode = read_episode(path)
        if missing := [name for name in _NEEDED if name in self._episode.missing]:
            raise DriverError(f"{path} has no {', '.join(missing)}; it cannot be played as a robot")
        self._row = 0
        self._connected = False

    def connect(self) -> None:
        """Nothing to open."""
        self._connected = True

    def read(self) -> RobotState:
        """The present row, stamped with now; what was not recorded is zero."""
        self._check_connected()
        return _state(self._episode, self._row)

    def write(self, command: JointCommand) -> JointCommand:
        """Go on to the next row."""
        self._check_connected()
        self._row = (self._row + 1) % len(self._episode.actions)
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


def _state(episode: Episode, row: int) -> RobotState:
    def values(name: str) -> Float64Array:
        return np.nan_to_num(getattr(episode, name)[row].astype(np.float64)) if name not in _NEEDED else _exact(episode, name, row)

    return RobotState(
        time.monotonic(), values("joint_pos"), values("joint_vel"), values("joint_torque"), values("quaternion_wxyz"),
        values("gyro_b"), values("accelerometer_b"), values("foot_force"),
    )  # fmt: skip


def _exact(episode: Episode, name: str, row: int) -> Float64Array:
    """A broken number stays one: the supervisor is to see it."""
    return np.asarray(getattr(episode, name)[row], dtype=np.float64)
