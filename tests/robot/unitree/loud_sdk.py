"""The double of the SDK, as a library that complains in every cycle."""

import os

from twin.robot_interface import *  # noqa: F403
from twin.robot_interface import UDP as QUIET_UDP


class UDP(QUIET_UDP):
    def Recv(self):  # noqa: N802
        os.write(2, b"[ERROR] the robot is not amused\n")
        return super().Recv()
