import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot import go1
from robot.driver import BaseVelocity
from robot.still_driver import StillDriver
from robot.velocity.legs import LegVelocity
from robot.velocity.t265 import T265
from robot.velocity.tracked import Glitch
from robot.velocity.watched import MAX_DRIFT, WatchedVelocity, mean_difference
from twin.pyrealsense2 import Fault, PyRealSense2, TruePose


class Scripted:
    """A source that says what it is told."""

    def __init__(self, name):
        self.name, self.velocity, self.glitch, self.reads = name, np.zeros(3), Glitch(0), 0

    def read(self, state):
        self.reads += 1
        return BaseVelocity(self.velocity, np.zeros(3), self.name, 0.0, valid=not self.glitch)


class Walk:
    """Control periods over two scripted sources."""

    def __init__(self):
        self.camera, self.legs = Scripted("t265"), Scripted("legs")
        self.watched = WatchedVelocity(self.camera, self.legs)
        driver = StillDriver()
        driver.connect()
        self._state, self.stamp_s = driver.read(), 100.0

    def step(self, seconds=go1.CONTROL_DT):
        """Readings of so many seconds."""
        readings = []
        for _ in range(round(seconds / go1.CONTROL_DT)):
            self.stamp_s += go1.CONTROL_DT
            readings.append(self.watched.read(replace(self._state, stamp_s=self.stamp_s)))
        return readings


def test_the_primary_source_as_long_as_it_is_valid():
    walk = Walk()
    walk.camera.velocity, walk.legs.velocity = np.array([0.5, 0.0, 0.0]), np.array([0.4, 0.0, 0.0])
    readings = walk.step(5.0)
    assert all(each.valid and each.source == "t265" and each.lin_vel_b[0] == 0.5 for each in readings)
    assert walk.watched.name == "t265+legs"
    assert walk.watched.report.changes == 0 and walk.watched.report.source == "t265"
    assert walk.legs.reads == len(readings)  # the fallback is warm


def test_a_glitch_costs_the_periods_it_lasts():
    walk = Walk()
    walk.step(3.0)
    walk.camera.glitch = Glitch.JUMP | Glitch.SPEED
    assert walk.step()[0].source == "legs"
    assert (walk.watched.report.source, walk.watched.report.why) == ("legs", ("SPEED", "JUMP"))
    walk.camera.glitch = Glitch.AGE
    assert walk.step()[0].source == "legs"
    assert walk.watched.report.why == ("AGE",)
    walk.camera.glitch = Glitch(0)
    assert walk.step()[0].source == "t265"
    assert walk.watched.report.changes == 2 and walk.watched.report.why == ()
    assert walk.watched.report.losses == {"SPEED": 1, "JUMP": 1}


def test_drift_is_found_the_legs_take_over_and_give_back():
    walk = Walk()
    walk.step(10.0)
    walk.camera.velocity = np.array([0.0, 0.8, 0.0])
    found = [each.source for each in walk.step(3.0)].index("legs") * go1.CONTROL_DT
    assert 1.0 < found < 2.0  # 0.8 m/s off for 1.25 s of 2 s are 0.5 m/s, and half a stride
    assert walk.watched.report.why == ("drift",) and walk.watched.report.losses == {"drift": 1}
    assert {each.source for each in walk.step(5.0)} == {"legs"}
    walk.camera.velocity = np.zeros(3)
    back = [each.source for each in walk.step(3.0)].index("t265") * go1.CONTROL_DT
    assert 1.0 < back < 2.0
    assert {each.source for each in walk.step(1.0)} == {"t265"}
    assert walk.watched.report.changes == 2


def test_drift_within_the_legs_own_errors_is_none():
    walk = Walk()
    walk.camera.velocity = np.array([0.3, 0.38, 0.0])  # 0.48 m/s
    assert {each.source for each in walk.step(10.0)} == {"t265"}


def test_a_source_at_the_limit_does_not_come_and_go():
    walk = Walk()
    walk.camera.velocity = np.array([0.52, 0.0, 0.0])
    walk.step(3.0)
    for speed in (0.48, 0.52, 0.30) * 3:
        walk.camera.velocity = np.array([speed, 0.0, 0.0])
        walk.step(2.5)
    assert walk.watched.report.source == "legs" and walk.watched.report.changes == 1


def test_a_swing_within_each_stride_is_no_drift():
    walk = Walk()
    readings = []
    for step in range(300):
        walk.camera.velocity = np.array([1.5 * np.sin(2 * np.pi * step / 17), 0.0, 0.0])
        readings += walk.step()
    assert {each.source for each in readings} == {"t265"}


def test_the_height_is_not_compared():
    walk = Walk()
    walk.camera.velocity = np.array([0.0, 0.0, 2.0])  # legs cannot tell
    assert {each.source for each in walk.step(5.0)} == {"t265"}


def test_without_legs_there_is_no_verdict():
    walk = Walk()
    walk.legs.glitch = Glitch.ABSENT
    walk.camera.velocity = np.array([2.0, 0.0, 0.0])
    assert all(each.valid and each.source == "t265" for each in walk.step(5.0))
    walk.camera.glitch = Glitch.AGE
    assert not walk.step()[0].valid


def test_a_tracker_that_lost_its_way_has_not_found_it_because_another_walk_begins():
    walk = Walk()
    walk.camera.velocity = np.array([0.0, 1.0, 0.0])
    walk.step(3.0)
    walk.stamp_s += 60.0
    walk.camera.velocity = np.zeros(3)
    readings = [each.source for each in walk.step(3.0)]
    assert readings[0] == "legs" and readings[-1] == "t265"


def test_the_old_walk_does_not_count_against_the_new_one():
    walk = Walk()
    walk.camera.velocity = np.array([0.0, 1.0, 0.0])
    walk.step(1.2)  # almost a drift
    walk.stamp_s += 60.0
    walk.camera.velocity = np.zeros(3)
    assert {each.source for each in walk.step(3.0)} == {"t265"}


def test_means_over_stretches_by_hand():
    difference = np.array([[0.3, 0.4], [np.nan, 0.0], [0.9, 1.2], [np.nan, np.nan], [np.nan, np.nan]])
    # two of three rows: (1.2, 1.6) / 2; one of three twice: not known
    assert mean_difference(difference, 3)[0] == pytest.approx(1.0)
    assert np.isnan(mean_difference(difference, 3)[1:]).all()


@given(st.floats(0.0, 2.0), st.floats(-np.pi, np.pi), st.lists(st.booleans(), min_size=100, max_size=100))
def test_a_constant_difference_is_its_length_whatever_is_missing(off, direction, missing):
    difference = np.tile([off * np.cos(direction), off * np.sin(direction)], (100, 1))
    difference[np.array(missing)] = np.nan
    found = mean_difference(difference, 100)[0]
    assert np.isnan(found) if sum(missing) >= 50 else found == pytest.approx(off, abs=1e-9)


def test_a_drifting_camera_over_a_standing_robot_in_real_time():
    at_rest = TruePose(np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(3), np.zeros(3))
    rs = PyRealSense2(lambda: at_rest)
    camera = T265(rs)
    driver = StillDriver(clock=time.monotonic)
    driver.connect()
    watched = WatchedVelocity(camera.velocity(np.zeros(3)), LegVelocity())

    def walk(seconds, ended):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            velocity = watched.read(driver.read())
            assert np.isfinite(velocity.lin_vel_b).all() or not velocity.valid
            if ended(velocity):
                return velocity
            time.sleep(go1.CONTROL_DT)
        raise AssertionError(f"not within {seconds} s: {watched.report}")

    try:
        camera.wait(2.0)
        walk(1.0, lambda velocity: velocity.source == "t265")
        rs.faults = Fault.DRIFTING  # 0.5 m/s more each second: a mean of 0.5 over 2 s after 2 s
        velocity = walk(3.0, lambda velocity: velocity.source == "legs")
        assert velocity.valid and np.abs(velocity.lin_vel_b).max() < MAX_DRIFT / 10
        assert watched.report.why == ("drift",)
        rs.faults = Fault(0)
        walk(3.0, lambda velocity: velocity.source == "t265")
        rs.faults = Fault.LOST
        walk(0.5, lambda velocity: velocity.source == "legs" and velocity.valid)
        rs.faults = Fault(0)
        walk(3.0, lambda velocity: velocity.source == "t265")
    finally:
        camera.close()
