"""How a robot is told to walk, apart from where to: frequency, stance, swing height, posture."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from common.checks import OPEN_SHARE, between, require
from robot.command import Slot


@dataclass(frozen=True)
class Gait:
    """How to walk; the defaults are the trot of the robot's logs."""

    gait_frequency: float = 3.0
    """steps of a foot in a second, Hz"""
    gait_duration: float = 0.5
    """share of a cycle that a foot is on the floor"""
    foot_swing_height: float = 0.08
    """apex of a foot's swing above the floor, m"""
    body_height: float = 0.0
    """trunk above its usual height, m"""
    pitch: float = 0.0
    """rad, nose up positive"""
    roll: float = 0.0
    """rad, left side down positive"""

    def __post_init__(self) -> None:
        require(self, between(0.1, 10, "Hz"), "gait_frequency")
        require(self, OPEN_SHARE, "gait_duration")
        require(self, between(-1, 1), "foot_swing_height", "body_height", "pitch", "roll")

    def of(self, command: NDArray[np.float64]) -> NDArray[np.float64]:
        """A copy of the command (15,) with this gait and posture."""
        changed = command.copy()
        for gait in fields(self):
            changed[Slot[gait.name.upper()]] = getattr(self, gait.name)
        return changed
