"""What an episode is told when nobody holds the stick: forward speeds, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot import go1
from robot.command import trot_command
from robot.run_episode import EpisodePlan

HOLD_S = 4.0
"""For which a commanded speed stays."""


@dataclass(frozen=True)
class ForwardCommands:
    """Forward speeds for an episode: a new one every HOLD_S, uniform in a range. At the end run_episode slows the robot down."""

    vx_low: float  # m/s
    vx_high: float  # m/s

    def draw(self, max_steps: int, rng: np.random.Generator) -> EpisodePlan:
        """A plan of up to `max_steps` control steps with commands drawn now."""
        hold = round(HOLD_S / go1.CONTROL_DT)
        speeds = rng.uniform(self.vx_low, self.vx_high, max_steps // hold + 1)
        commands: list[NDArray[np.float64]] = [trot_command(speed) for speed in speeds]
        return EpisodePlan(max_steps, lambda step: commands[step // hold])
