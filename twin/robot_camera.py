"""A T265 on the back of a simulated Go1 that runs in a process of its own."""

from __future__ import annotations

import threading
import time

import numpy as np

from robot.driver import DriverError
from twin.pyrealsense2 import RATE_HZ, PyRealSense2, TruePose, camera_faults
from twin.robot_process import Control


class RobotCamera(PyRealSense2):
    """It sees the robot behind `control`, and suffers what that is ordered to (Orders.camera), also while it sees nothing."""

    def __init__(self, control: Control) -> None:
        super().__init__(lambda: self._pose)
        self._control = control
        self._pose: TruePose | None = None
        threading.Thread(target=self._follow, name="camera", daemon=True).start()

    def _follow(self) -> None:
        while True:
            self._look()
            time.sleep(1 / RATE_HZ)

    def _look(self) -> None:
        try:
            truth = self._control.order()
        except DriverError:
            self._pose = None
            return
        self.faults = camera_faults(truth["camera"])
        names = ("base_pos_w", "quaternion_wxyz", "base_lin_vel_w", "base_ang_vel_b")
        self._pose = TruePose(*(np.array(truth[name]) for name in names))


def camera_at(port: str) -> RobotCamera:
    """The camera of the robot whose control port this is."""
    return RobotCamera(Control(int(port)))
