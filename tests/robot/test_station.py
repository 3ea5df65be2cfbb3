"""A collector's robot that is thrown over before the policy acts."""

from dataclasses import replace

import numpy as np
import pytest

from robot import go1
from robot.forward_commands import ForwardCommands
from robot.log.episode_log import list_episodes, read_episode
from robot.pace import AsFastAsPossible
from robot.run_episode import ThrownOverError
from robot.station import STAND_ATTEMPTS, Collector, Station
from robot.still_driver import StillDriver, StillVelocity
from robot.supervisor import DAMPING_KD, SINKING_S, Mode, ModeError

UPRIGHT, ON_ITS_SIDE = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.7071067811865476, 0.7071067811865476, 0.0, 0.0])


PLAN = ForwardCommands(0.0, 0.0).draw(20, np.random.default_rng(0))


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


def collector_of(driver, policy):
    driver.connect()
    station = Station(driver, StillVelocity(), AsFastAsPossible(), driver.place, "still")
    return Collector(station, policy, np.random.default_rng(0), "s", {})


def collect(driver, policy, path):
    return collector_of(driver, policy).collect(path, PLAN)


def test_it_is_set_upright_and_tries_again(write_policy, tmp_path):
    driver, path = ThrownOver(STAND_ATTEMPTS - 1), tmp_path / "logs" / "episode.hdf5"
    summary = collect(driver, write_policy(), path)
    assert driver.placed == STAND_ATTEMPTS - 1
    assert summary.steps == 20 and not summary.fell
    assert summary.falls_standing == STAND_ATTEMPTS - 1
    assert list_episodes(path.parent) == [path]
    assert len(read_episode(path)) == 20


def test_it_lies_still_before_it_is_set_upright(write_policy, tmp_path):
    class Watched(ThrownOver):
        damped_s, waited_s = 0.0, None  # on its side or as its command has it, and for how long when it was set upright

        def write(self, command):
            self.damped_s += go1.CONTROL_DT if (command.kd == DAMPING_KD).all() else -self.damped_s
            return super().write(command)

        def place(self):
            super().place()
            self.waited_s = self.damped_s

    driver = Watched(times=1)
    assert collect(driver, write_policy(), tmp_path / "logs" / "episode.hdf5").steps == 20
    assert driver.waited_s >= SINKING_S - 1e-9


class HeldBack(ThrownOver):
    """A joint of it is held back from its `since`-th control period on, until somebody sees to it."""

    def __init__(self, since):
        super().__init__(times=0)
        self.since = since

    def read(self):
        state, held = super().read(), self.periods >= self.since
        return replace(state, joint_pos=go1.DEFAULT_JOINT_POS - np.where(np.arange(12) == 2, 1.0, 0.0)) if held else state

    def place(self):
        super().place()
        self.since = np.inf


@pytest.mark.parametrize(("since", "falls"), [(0, 0), (76 + 20, 0)])  # from the start, and from when it is made to stand again
def test_one_that_is_held_back_is_seen_to_and_goes_on(write_policy, tmp_path, since, falls):
    driver = HeldBack(since)
    collector = collector_of(driver, write_policy())
    assert collector.collect(tmp_path / "logs" / "first.hdf5", PLAN).falls_standing == falls
    collector.use(write_policy("another"))
    assert collector.collect(tmp_path / "logs" / "second.hdf5", PLAN).falls_standing == 0
    assert driver.placed == 1 and len(list_episodes(tmp_path / "logs")) == 2


def test_one_that_never_stands_is_an_error_and_leaves_no_log(write_policy, tmp_path):
    driver, path = ThrownOver(STAND_ATTEMPTS), tmp_path / "logs" / "episode.hdf5"
    with pytest.raises(ThrownOverError, match=r"could not stand up \(TILT\)"):
        collect(driver, write_policy(), path)
    assert not any(path.parent.iterdir())


def test_a_robot_that_was_stopped_on_its_way_up_is_not_armed_again(write_policy, tmp_path):
    class Stopped(ThrownOver):
        def read(self):
            if self.periods == 8:
                collector.loop.request_estop()
            return super().read()

    driver = Stopped(times=0)
    collector = collector_of(driver, write_policy())
    with pytest.raises(ModeError, match=r"could not stand up \(ESTOP\)"):
        collector.collect(tmp_path / "episode.hdf5", PLAN)
    assert driver.placed == 0 and collector.loop.mode is Mode.DAMPING
