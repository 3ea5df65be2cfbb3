"""How the robot is told where to go and how to walk: 15 numbers, unscaled (source: Walk These Ways)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Slot(IntEnum):
    """Where each number of a command stands."""

    VX = 0  # m/s
    VY = 1  # m/s
    YAW_RATE = 2  # rad/s
    BODY_HEIGHT = 3  # m, above the usual height
    GAIT_FREQUENCY = 4  # Hz
    GAIT_PHASE = 5  # these four are shares of a cycle
    GAIT_OFFSET = 6
    GAIT_BOUND = 7
    GAIT_DURATION = 8
    FOOT_SWING_HEIGHT = 9  # m
    PITCH = 10  # rad
    ROLL = 11  # rad
    STANCE_WIDTH = 12  # m
    STANCE_LENGTH = 13  # m
    SLOT_17 = 14  # see robot.observation


COMMAND_NAMES = tuple(slot.name.lower() for slot in Slot)
COMMAND_SIZE = len(COMMAND_NAMES)
MAX_COMMAND = 10.0  # in each slot's own unit; the largest in use is the gait frequency, 3 to 4 Hz
VELOCITY = slice(Slot.VX, Slot.YAW_RATE + 1)


def trot_command(vx: float = 0.0, vy: float = 0.0, yaw_rate: float = 0.0) -> NDArray[np.float64]:
    """Unscaled command (15,) for a trot at 3 Hz with the logs' stance; m/s, m/s, rad/s."""
    command = dict.fromkeys(COMMAND_NAMES, 0.0) | {
        "vx": vx, "vy": vy, "yaw_rate": yaw_rate, "gait_frequency": 3.0, "gait_phase": 0.5, "gait_duration": 0.5,
        "foot_swing_height": 0.08, "stance_width": 0.33, "stance_length": 0.40,
    }  # fmt: skip
    return np.array([command[name] for name in COMMAND_NAMES])


def at_rest(command: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same gait, stepping on the spot."""
    still = command.copy()
    still[VELOCITY] = 0.0
    return still
