"""Walks that were never walked."""

import numpy as np

from robot.command import trot_command
from twin.walk_figures import Walk

UP = (0.0, 0.0, -1.0)


def walk(steps, vx=0.0, **known):
    speed = known.pop("speed", np.zeros(steps))
    return Walk(np.tile(trot_command(vx), (steps, 1)), np.asarray(speed, dtype=float), np.tile(UP, (steps, 1)), **({"fell": False} | known))
