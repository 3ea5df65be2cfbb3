"""A robot that stands still, and the value function that an offline stage leaves behind."""

import numpy as np
import pytest
import torch

from learners.checkpoint import save_checkpoint
from learners.value import Value
from robot.pace import AsFastAsPossible
from robot.station import Station
from robot.still_driver import StillDriver, StillVelocity

UPRIGHT, ON_ITS_SIDE = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.7071067811865476, 0.7071067811865476, 0.0, 0.0])


class Falling(StillDriver):
    """Falls over in its `falls_at`-th control period after it was set upright, each of the first `falls` times."""

    def __init__(self, falls_at=None, falls=0):
        super().__init__()
        self.falls_at, self.falls, self.periods = falls_at, falls, 0

    def read(self):
        self.periods += 1
        if self.falls and self.periods == self.falls_at:
            self.falls -= 1
            self.quaternion_wxyz = ON_ITS_SIDE
        return super().read()

    def place(self):
        self.quaternion_wxyz, self.periods = UPRIGHT, 0


@pytest.fixture
def make_station():
    def station(falls_at=None, falls=0, source="still"):
        driver = Falling(falls_at, falls)
        driver.connect()
        return Station(driver, StillVelocity(), AsFastAsPossible(), driver.place, source)

    return station


@pytest.fixture
def value_path(tmp_path):
    torch.manual_seed(0)
    value = Value(290, (16,))
    path = tmp_path / "value.pt"
    save_checkpoint(path, {"value": value.state_dict(), "sizes": list(value.network.sizes), "gamma": 0.99, "reward_scale": 10.0})
    return path
