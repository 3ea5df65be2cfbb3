"""A collector's robot that is thrown over before the policy acts."""

import numpy as np
import pytest

from robot.episode_log import list_episodes, read_episode
from robot.pace import AsFastAsPossible
from robot.run_episode import StandUpError
from robot.station import STAND_ATTEMPTS, Collector, ForwardCommands, Station
from robot.still_driver import StillDriver, StillVelocity

UPRIGHT, ON_ITS_SIDE = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.7071067811865476, 0.7071067811865476, 0.0, 0.0])


class ThrownOver(StillDriver):
    """Lies on its side from the tenth control period on, each of the first `times` times that it stands up."""

    def __init__(self, times):
        super().__init__()
        self.times, self.periods, self.placed = times, 0, 0

    def read(self):
        self.periods += 1
        if self.times and self.periods == 10:
            self.times -= 1
            self.quaternion_wxyz = ON_ITS_SIDE
        return super().read()

    def place(self):
        self.quaternion_wxyz, self.periods, self.placed = UPRIGHT, 0, self.placed + 1


def collect(driver, policy, path):
    driver.connect()
    station = Station(driver, StillVelocity(), AsFastAsPossible(), driver.place, "still")
    rng = np.random.default_rng(0)
    return Collector(station, policy, rng, "s", {}).collect(path, ForwardCommands(0.0, 0.0).draw(20, rng))


def test_it_is_set_upright_and_tries_again(write_policy, tmp_path):
    driver, path = ThrownOver(STAND_ATTEMPTS - 1), tmp_path / "logs" / "episode.hdf5"
    summary = collect(driver, write_policy(), path)
    assert driver.placed == STAND_ATTEMPTS - 1
    assert summary.steps == 20 and not summary.fell
    assert list_episodes(path.parent) == [path]
    assert len(read_episode(path)) == 20


def test_one_that_never_stands_is_an_error_and_leaves_no_log(write_policy, tmp_path):
    driver, path = ThrownOver(STAND_ATTEMPTS), tmp_path / "logs" / "episode.hdf5"
    with pytest.raises(StandUpError, match=r"could not stand up \(TILT\)"):
        collect(driver, write_policy(), path)
    assert not any(path.parent.iterdir())
