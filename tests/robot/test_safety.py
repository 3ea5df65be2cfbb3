import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot import go1
from robot.safety import has_fallen, limit_joint_pos_target

STAND = go1.DEFAULT_JOINT_POS
REST = np.zeros(12)
FL_HIP, FL_THIGH, FL_CALF = 0, 1, 2


def limit(target, previous=STAND, joint_pos=STAND, joint_vel=REST):
    return limit_joint_pos_target(target, previous, joint_pos, joint_vel, kp=20.0, kd=0.5, dt_s=0.02)


def changed(values, joint, value):
    result = np.array(values, dtype=np.float64)
    result[joint] = value
    return result


def test_a_harmless_target_passes_unchanged():
    target, flags = limit(STAND + 0.1)
    np.testing.assert_array_equal(target, STAND + 0.1)
    assert not any(flags)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_target_with_one_broken_value_is_replaced_by_the_previous_target(bad):
    previous = STAND + 0.05
    target, flags = limit(changed(STAND, FL_CALF, bad), previous)
    np.testing.assert_array_equal(target, previous)
    assert flags.non_finite and not (flags.slew or flags.torque or flags.position)


def test_the_slew_limit_is_three_times_the_joint_velocity_limit():
    # 3 x 30.1 rad/s x 0.02 s = 1.806 rad for a thigh; the joint halfway keeps the torque small
    target, flags = limit(changed(STAND, FL_THIGH, 2.5), changed(STAND, FL_THIGH, 0.0), changed(STAND, FL_THIGH, 1.0))
    assert target[FL_THIGH] == pytest.approx(1.806)
    assert flags.slew and not (flags.torque or flags.position)


def test_the_torque_limit_counts_stiffness():
    # 23.7 N m / 20 N m/rad = 1.185 rad from the joint at -0.5 rad
    target, flags = limit(changed(STAND, FL_HIP, 1.0), joint_pos=changed(STAND, FL_HIP, -0.5))
    assert target[FL_HIP] == pytest.approx(0.685)
    assert flags.torque and not (flags.slew or flags.position)


def test_the_torque_limit_counts_damping():
    # moving at 2 rad/s toward the target the damping takes 1 N m of the torque: 0.05 rad more
    joint_vel = changed(REST, FL_HIP, 2.0)
    target, _ = limit(changed(STAND, FL_HIP, 1.0), joint_pos=changed(STAND, FL_HIP, -0.5), joint_vel=joint_vel)
    assert target[FL_HIP] == pytest.approx(0.735)


def test_the_position_limit_is_last():
    target, flags = limit(changed(STAND, FL_CALF, -0.5))
    assert target[FL_CALF] == -0.837
    assert flags.position and not (flags.slew or flags.torque)


def test_a_joint_beyond_its_limits_is_not_followed_out():
    target, _ = limit(STAND, joint_pos=changed(STAND, FL_HIP, 5.0))  # no torque within the limit leads into the range
    assert target[FL_HIP] == 1.047


def test_a_batch_gives_what_each_robot_gives():
    random = np.random.default_rng(0)
    target, previous, joint_pos = (STAND + random.normal(0.0, 1.0, (2, 3, 12)) for _ in range(3))
    joint_vel = random.normal(0.0, 10.0, (2, 3, 12))
    target[1, 2, 5] = np.nan
    safe, flags = limit(target, previous, joint_pos, joint_vel)
    assert safe.shape == (2, 3, 12) and flags.slew.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        single, single_flags = limit(target[i, j], previous[i, j], joint_pos[i, j], joint_vel[i, j])
        np.testing.assert_array_equal(safe[i, j], single)
        assert [bool(flag[i, j]) for flag in flags] == [bool(flag) for flag in single_flags]


def test_a_hundred_thousand_hostile_states_never_get_an_unsafe_target():
    random = np.random.default_rng(1)
    shape = (100_000, 12)
    hostile = np.array([np.nan, np.inf, -np.inf, 1e308, -1e308, 0.0, -0.0, 1e-308])

    def values(share):
        ordinary = random.normal(0.0, 1.0, shape) * 10.0 ** random.uniform(-3, 3, shape)
        return np.where(random.uniform(size=shape) < share, random.choice(hostile, shape), ordinary)

    joint_pos, joint_vel = values(0.1), values(0.1)
    safe, flags = limit(values(0.02), STAND + values(0.1), joint_pos, joint_vel)
    assert np.isfinite(safe).all()
    assert (safe >= go1.JOINT_POS_LOWER).all() and (safe <= go1.JOINT_POS_UPPER).all()
    plausible = (np.abs(joint_pos) < 100.0) & (np.abs(joint_vel) < 1000.0)
    with np.errstate(all="ignore"):
        torque = 20.0 * (safe - joint_pos) - 0.5 * joint_vel
    at_a_stop = (safe == go1.JOINT_POS_LOWER) | (safe == go1.JOINT_POS_UPPER)
    assert (plausible & ~at_a_stop).sum() > 100_000
    assert (np.abs(torque) <= go1.TORQUE_LIMIT + 1e-9)[plausible & ~at_a_stop].all()
    # three of eight hostile values are not finite: 1 - (1 - 0.02 x 3 / 8)^12
    assert flags.non_finite.mean() == pytest.approx(0.0864, abs=0.005)


@given(st.lists(st.floats(width=64), min_size=48, max_size=48))
@settings(max_examples=300, deadline=None)
def test_no_float_there_is_gets_an_unsafe_target_through(values):
    safe, _ = limit(*np.array(values).reshape(4, 12))
    assert np.isfinite(safe).all()
    assert (safe >= go1.JOINT_POS_LOWER).all() and (safe <= go1.JOINT_POS_UPPER).all()


def test_fallen_is_beyond_60_degrees_in_any_direction():
    def gravity_b(tilt_deg, heading_deg):
        tilt, heading = math.radians(tilt_deg), math.radians(heading_deg)
        return np.array([math.sin(tilt) * math.cos(heading), math.sin(tilt) * math.sin(heading), -math.cos(tilt)])

    tilts = np.array([[gravity_b(tilt, heading) for tilt in (0, 30, 59.9, 60.1, 90, 180)] for heading in (0, 100, 200)])
    np.testing.assert_array_equal(has_fallen(tilts), [[False, False, False, True, True, True]] * 3)


def test_an_unknown_attitude_counts_as_fallen():
    assert has_fallen(np.array([0.0, 0.0, np.nan]))
