"""How the robot is told where to go and how to walk: 15 numbers, unscaled (source: Walk These Ways)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The command's slots, unscaled. Units: m/s, m/s, rad/s, m, Hz, then phases and duration as shares of a cycle, m, rad, rad, m, m.
COMMAND_NAMES = (
    "vx", "vy", "yaw_rate", "body_height", "gait_frequency", "gait_phase", "gait_offset", "gait_bound", "gait_duration",
    "foot_swing_height", "pitch", "roll", "stance_width", "stance_length", "slot_17",
)  # fmt: skip
COMMAND_SIZE = len(COMMAND_NAMES)
MAX_COMMAND = 10.0  # in each slot's own unit; the largest in use is the gait frequency, 3 to 4 Hz
VELOCITY = slice(0, 3)  # vx, vy, yaw_rate


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
