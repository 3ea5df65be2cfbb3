import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.still_driver import StillDriver
from robot.velocity.odometry import OdometryVelocity
from robot.velocity.tracked import Glitch

LEVEL = (1.0, 0.0, 0.0, 0.0)
FACING_LEFT = (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))


def state_at(stamp_s):
    driver = StillDriver(clock=lambda: stamp_s)
    driver.connect()
    return driver.read()


def message(stamp_s=1.0, position=(0.0, 0.0, 0.3), quaternion=LEVEL, lin_vel=(0.5, 0.0, 0.0), ang_vel=(0.0, 0.0, 0.0)):
    return stamp_s, position, quaternion, lin_vel, ang_vel


def test_a_twist_in_the_body_stays_what_it_is():
    source = OdometryVelocity()
    source.receive(*message(quaternion=FACING_LEFT, lin_vel=(0.5, -0.1, 0.02), ang_vel=(0.1, 0.2, 0.3)))
    velocity = source.read(state_at(1.02))
    assert velocity.valid and velocity.source == source.name == "odometry" and velocity.age_s == pytest.approx(0.02)
    assert velocity.lin_vel_b == pytest.approx([0.5, -0.1, 0.02], abs=1e-12)
    assert velocity.ang_vel_b == pytest.approx([0.1, 0.2, 0.3], abs=1e-12)


numbers = st.floats(-1.5, 1.5)


@given(st.tuples(*[numbers] * 4).filter(lambda q: np.linalg.norm(q) > 0.1), st.tuples(*[numbers] * 3), st.tuples(*[numbers] * 3))
def test_the_pose_has_no_part_in_it(quaternion, lin_vel, ang_vel):
    source = OdometryVelocity()
    source.receive(*message(quaternion=1.01 * np.array(quaternion) / np.linalg.norm(quaternion), lin_vel=lin_vel, ang_vel=ang_vel))
    velocity = source.read(state_at(1.0))
    assert velocity.valid
    assert velocity.lin_vel_b == pytest.approx(np.array(lin_vel), abs=1e-9)
    assert velocity.ang_vel_b == pytest.approx(np.array(ang_vel), abs=1e-9)


def test_an_odometry_ahead_of_the_centre():
    source = OdometryVelocity(np.array([0.2, 0.0, 0.0]))
    source.receive(*message(lin_vel=(0.0, 0.4, 0.0), ang_vel=(0.0, 0.0, 2.0)))
    assert source.read(state_at(1.0)).lin_vel_b == pytest.approx(np.zeros(3), abs=1e-12)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (message(lin_vel=(np.nan, 0.0, 0.0)), Glitch.NON_FINITE),
        (message(ang_vel=(0.0, np.inf, 0.0)), Glitch.NON_FINITE),
        (message(position=(0.0, np.nan, 0.0)), Glitch.NON_FINITE),
        (message(quaternion=(0.0, 0.0, 0.0, 0.0)), Glitch.NON_FINITE),
        (message(lin_vel=(0.0, 3.1, 0.0)), Glitch.SPEED),
        (message(stamp_s=0.8), Glitch.AGE),
        (message(stamp_s=1.2), Glitch.AGE),
    ],
)
def test_a_glitch_is_not_valid_and_named(broken, reason):
    source = OdometryVelocity()
    source.receive(*broken)
    assert not source.read(state_at(1.0)).valid
    assert reason in source.glitch


def test_a_jump_spoils_one_reading():
    source = OdometryVelocity()
    found = []
    for step, x in enumerate([0.0, 0.01, 0.5, 0.51]):
        source.receive(*message(1.0 + 0.02 * step, position=(x, 0.0, 0.3)))
        found.append(source.read(state_at(1.0 + 0.02 * step)).valid)
    assert found == [True, True, False, True]


def test_without_a_message_nothing_is_known():
    source = OdometryVelocity()
    assert not source.read(state_at(1.0)).valid
    assert source.glitch == Glitch.ABSENT


def test_a_malformed_message_is_its_senders_error_and_changes_nothing():
    source = OdometryVelocity()
    source.receive(*message())
    with pytest.raises(ValueError):
        source.receive(*message(position=(1.0, 2.0)))
    assert source.read(state_at(1.0)).valid


def test_a_message_that_is_filled_again_does_not_change_what_was_received():
    source, buffer = OdometryVelocity(), np.array([0.5, 0.0, 0.0])
    source.receive(*message(lin_vel=buffer))
    buffer[:] = np.nan
    assert source.read(state_at(1.0)).valid


def test_readings_beside_a_receiving_thread_are_whole():
    source, ended = OdometryVelocity(), threading.Event()

    def receive():
        for count in range(2000):
            value = (count % 10) / 10
            source.receive(*message(lin_vel=(value, value, value), ang_vel=(value, value, value)))
        ended.set()

    source.receive(*message(lin_vel=(0.0, 0.0, 0.0)))
    thread = threading.Thread(target=receive)
    thread.start()
    while not ended.is_set():
        velocity = source.read(state_at(1.0))
        assert velocity.valid and np.ptp(np.concatenate([velocity.lin_vel_b, velocity.ang_vel_b])) < 1e-12
    thread.join()
