import math
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from robot.still_driver import StillDriver
from robot.velocity.tracked import (
    Glitch,
    PoseSample,
    PoseVelocity,
    flag_glitches,
    from_t265_axes,
    glitch_reasons,
    world_to_body_velocity,
)

LEVEL = np.array([1.0, 0.0, 0.0, 0.0])
FACING_LEFT = np.array([math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)])  # yaw of +90 degrees: body x is world y
NO_ARM = np.zeros(3)
DATA = Path(os.environ.get("QUADLOOP_DATA", Path(__file__).parents[3].parent / "shared" / "data"))


def state_at(stamp_s):
    driver = StillDriver(clock=lambda: stamp_s)
    driver.connect()
    return driver.read()


def sample(stamp_s=1.0, position=(0.0, 0.0, 0.3), velocity=(0.5, 0.0, 0.0), turning=(0.0, 0.0, 0.0), quaternion=LEVEL):
    return PoseSample(stamp_s, np.array(position), np.array(velocity), np.array(turning), quaternion)


def test_a_velocity_in_the_world_is_turned_into_the_body():
    lin_vel_b, ang_vel_b = world_to_body_velocity(FACING_LEFT, np.array([0.0, 1.0, 0.2]), np.array([0.3, 0.0, 0.0]), NO_ARM)
    np.testing.assert_allclose(lin_vel_b, [1.0, 0.0, 0.2], atol=1e-12)
    np.testing.assert_allclose(ang_vel_b, [0.0, -0.3, 0.0], atol=1e-12)


def test_turning_in_place_moves_the_tracker_but_not_the_trunk():
    # 0.2 m ahead of the centre, turning at 2 rad/s: the tracker moves left at 0.4 m/s
    lin_vel_b, _ = world_to_body_velocity(LEVEL, np.array([0.0, 0.4, 0.0]), np.array([0.0, 0.0, 2.0]), np.array([0.2, 0.0, 0.0]))
    np.testing.assert_allclose(lin_vel_b, NO_ARM, atol=1e-12)


def test_velocities_of_a_whole_recording_at_once():
    quaternions, velocities = np.stack([LEVEL, FACING_LEFT]), np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    lin_vel_b, _ = world_to_body_velocity(quaternions, velocities, np.zeros((2, 3)), NO_ARM)
    np.testing.assert_allclose(lin_vel_b, [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], atol=1e-12)


def test_raw_t265_axes():
    # x right, y up, z back: forward is -z, left is -x, up is y
    np.testing.assert_array_equal(from_t265_axes(np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])), np.eye(3))


def test_glitches_of_a_recording_by_reason():
    position = np.array([[0.0, 0.0, 0.3], [0.1, 0.0, 0.3], [0.4, 0.0, 0.3], [0.5, 0.0, 0.3], [np.nan, 0.0, 0.3], [0.5, 0.0, 0.3]])
    velocity = np.tile([0.5, 0.0, 0.0], (6, 1))
    velocity[1] = [0.0, 2.4, -2.4]  # 3.39 m/s in no single direction
    assert glitch_reasons(position, velocity).tolist() == [0, Glitch.SPEED, Glitch.JUMP, 0, Glitch.NON_FINITE, 0]
    assert flag_glitches(position, velocity).tolist() == [False, True, True, False, True, False]


def test_the_thresholds_themselves_are_no_glitch():
    assert not flag_glitches(np.array([[0.0, 0.0, 0.0], [0.2, 0.0, 0.0]]), np.array([[3.0, 0.0, 0.0], [0.0, 0.0, 3.0]])).any()


def test_a_fresh_sample_is_valid():
    source = PoseVelocity("t265", lambda: sample(quaternion=FACING_LEFT), NO_ARM)
    velocity = source.read(state_at(1.01))
    assert velocity.valid and velocity.source == "t265" and velocity.age_s == pytest.approx(0.01)
    np.testing.assert_allclose(velocity.lin_vel_b, [0.0, -0.5, 0.0], atol=1e-12)


@pytest.mark.parametrize(
    "broken",
    [
        sample(velocity=(3.1, 0.0, 0.0)),
        sample(velocity=(np.nan, 0.0, 0.0)),
        sample(position=(np.inf, 0.0, 0.0)),
        sample(turning=(0.0, np.nan, 0.0)),
        sample(quaternion=np.full(4, np.nan)),
        sample(quaternion=np.zeros(4)),
        sample(stamp_s=0.9),
        sample(stamp_s=1.2),
        sample(stamp_s=math.nan),
    ],
)
def test_a_glitch_is_not_valid(broken):
    assert not PoseVelocity("t265", lambda: broken, NO_ARM).read(state_at(1.01)).valid


def test_a_trunk_that_only_the_lever_arm_makes_too_fast_is_a_glitch():
    def glitch(turning):
        source = PoseVelocity("t265", lambda: sample(velocity=(0.0, 0.0, 0.0), turning=(0.0, 0.0, turning)), np.array([0.3, 0.0, 0.1]))
        source.read(state_at(1.01))
        return source.glitch

    assert glitch(9.9) == 0  # 0.3 m * 9.9 rad/s = 2.97 m/s
    assert glitch(10.1) == Glitch.SPEED


def test_without_a_sample_nothing_is_known():
    velocity = PoseVelocity("t265", lambda: None, NO_ARM).read(state_at(1.0))
    assert not velocity.valid and velocity.age_s == math.inf and np.isnan(velocity.lin_vel_b).all()


def test_a_jump_spoils_one_sample_and_counts_the_time_that_passed():
    samples = [
        sample(1.0),
        sample(1.02, (0.3, 0.0, 0.3)),
        sample(1.04, (0.31, 0.0, 0.3)),
        sample(1.10, (0.8, 0.0, 0.3)),
        sample(1.10, (0.8, 0.0, 0.3)),
    ]
    queue = iter(samples)
    source = PoseVelocity("t265", lambda: next(queue), NO_ARM)
    # 0.49 m in 0.06 s is less than 10 m/s; the same sample twice is no jump
    assert [source.read(state_at(s.stamp_s)).valid for s in samples] == [True, False, True, True, True]


@pytest.mark.parametrize("lost", [sample(math.nan), sample(1.02, (math.nan, 0.0, 0.3))])
def test_a_sample_that_is_no_number_does_not_hide_a_jump(lost):
    queue = iter([sample(1.0), lost, sample(1.04, (5.0, 0.0, 0.3))])
    source = PoseVelocity("t265", lambda: next(queue), NO_ARM)
    assert [source.read(state_at(stamp_s)).valid for stamp_s in (1.0, 1.02, 1.04)] == [True, False, False]


@pytest.mark.parametrize(("x", "reason"), [(0.5, 0), (0.7, Glitch.JUMP)])  # m in three periods, at most 0.2 in each
def test_a_recorded_jump_is_measured_from_the_last_sample_with_a_place(x, reason):
    position = np.array([[0.0, 0.0, 0.3], [math.nan, 0.0, 0.3], [math.nan, 0.0, 0.3], [x, 0.0, 0.3], [x, 0.0, 0.3]])
    assert glitch_reasons(position, np.zeros((5, 3))).tolist() == [0, Glitch.NON_FINITE, Glitch.NON_FINITE, reason, 0]
    assert glitch_reasons(position[1:], np.zeros((4, 3))).tolist() == [Glitch.NON_FINITE, Glitch.NON_FINITE, 0, 0]


def test_a_tracker_that_has_started_anew_has_not_jumped():
    samples = [sample(1.0), replace(sample(1.02, (5.0, 0.0, 0.3)), origin=1), replace(sample(1.04, (5.3, 0.0, 0.3)), origin=1)]
    queue = iter(samples)
    source = PoseVelocity("t265", lambda: next(queue), NO_ARM)
    assert [source.read(state_at(each.stamp_s)).valid for each in samples] == [True, True, False]


def test_samples_less_than_a_period_apart_may_be_as_far_apart_as_a_period_allows():
    queue = iter([sample(1.0), sample(1.005, (0.19, 0.0, 0.3)), sample(1.01, (0.4, 0.0, 0.3))])
    source = PoseVelocity("t265", lambda: next(queue), NO_ARM)
    assert [source.read(state_at(1.01)).valid for _ in range(3)] == [True, True, False]


def test_the_recorded_runs_hold_the_known_number_of_glitches():
    """Counted on the raw recordings, column by column, without this module."""
    logs = DATA / "go1_mattress" / "logs"
    if not logs.is_dir():
        pytest.skip(f"{logs} is absent; set QUADLOOP_DATA")
    fast = jumps = samples = 0
    for path in logs.rglob("*.hdf5"):
        with h5py.File(path) as file:
            states = file["states"][:]
        reasons = glitch_reasons(states[:, 58:61], states[:, 61:64])
        fast += int(((reasons & Glitch.SPEED) != 0).sum())
        jumps += int(((reasons & Glitch.JUMP) != 0).sum())
        samples += len(states)
    assert (samples, fast, jumps) == (115_520, 189, 49)
