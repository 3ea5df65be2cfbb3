"""Feet against MuJoCo's, and velocities from feet that stand still while the trunk moves."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest

from robot import go1
from robot.kinematics import foot_pos_b, foot_vel_b
from robot.still_driver import StillDriver
from robot.velocity.legs import STRIDE_STEPS, LegVelocity, over_a_stride, stride_velocity
from twin.model import FOOT_SITES, build_model
from twin.world import FLAT


def joint_vel_of(velocity_b, ang_vel_b, joint_pos):
    """Joint velocities (12,) with which all four feet stand still while the trunk moves: found with small differences of foot_pos_b."""
    wanted = -(velocity_b + np.cross(ang_vel_b, foot_pos_b(joint_pos)))
    found = np.zeros(12)
    for leg in range(4):
        columns = []
        for joint in range(3 * leg, 3 * leg + 3):
            step = np.zeros(12)
            step[joint] = 1e-6
            columns.append((foot_pos_b(joint_pos + step)[leg] - foot_pos_b(joint_pos - step)[leg]) / 2e-6)
        found[3 * leg : 3 * leg + 3] = np.linalg.solve(np.array(columns).T, wanted[leg])
    return found


def test_feet_are_where_the_simulator_has_them():
    model = build_model(FLAT)
    data = mujoco.MjData(model)
    sites = [model.site(name).id for name in FOOT_SITES]
    rng = np.random.default_rng(0)
    for _ in range(10):
        joint_pos, joint_vel = go1.DEFAULT_JOINT_POS + rng.uniform(-0.5, 0.5, 12), rng.uniform(-5, 5, 12)
        data.qpos[:], data.qvel[:] = 0.0, 0.0
        data.qpos[3], data.qpos[7:], data.qvel[6:] = 1.0, joint_pos, joint_vel
        mujoco.mj_forward(model, data)
        velocities = []
        for site in sites:
            jacobian = np.zeros((3, model.nv))
            mujoco.mj_jacSite(model, data, jacobian, None, site)
            velocities.append(jacobian @ data.qvel)
        assert foot_pos_b(joint_pos) == pytest.approx(data.site_xpos[sites], abs=1e-9)
        assert foot_vel_b(joint_pos, joint_vel) == pytest.approx(np.array(velocities), abs=1e-9)


def recording(steps=40, velocity=(0.5, -0.1, 0.0), turning=(0.1, 0.0, 0.4)):
    joint_pos = np.tile(go1.DEFAULT_JOINT_POS, (steps, 1))
    joint_vel = np.tile(joint_vel_of(np.array(velocity), np.array(turning), go1.DEFAULT_JOINT_POS), (steps, 1))
    return joint_pos, joint_vel, np.tile(turning, (steps, 1)), np.ones((steps, 4), dtype=np.bool_)


def test_feet_that_stand_give_the_velocity_of_the_trunk():
    assert stride_velocity(*recording()) == pytest.approx(np.tile([0.5, -0.1, 0.0], (40, 1)), abs=1e-6)


def test_feet_in_the_air_say_nothing():
    joint_pos, joint_vel, gyro, stance = recording()
    joint_vel[:, 3:] += 7.0  # only the front left foot stands
    stance[:, 1:] = False
    assert stride_velocity(joint_pos, joint_vel, gyro, stance)[:, 0] == pytest.approx(0.5, abs=1e-6)
    assert np.isnan(stride_velocity(joint_pos, joint_vel, gyro, np.zeros_like(stance))).all()


def test_rows_that_are_not_numbers_do_not_spoil_their_neighbours():
    joint_pos, joint_vel, gyro, stance = recording()
    joint_vel[20] = np.nan
    gyro[21, 0] = np.inf
    assert stride_velocity(joint_pos, joint_vel, gyro, stance)[:, 0] == pytest.approx(0.5, abs=1e-6)


def test_a_stride_is_summed_around_each_row():
    sums = over_a_stride(np.ones(40))
    assert sums[20] == STRIDE_STEPS
    assert sums[0] == STRIDE_STEPS // 2 + 1


def trotting(step):
    """Which feet stand: the diagonals take turns."""
    return np.array([1.0, 0.0, 0.0, 1.0] if step % STRIDE_STEPS < STRIDE_STEPS // 2 else [0.0, 1.0, 1.0, 0.0])


def walked(source, sensors):
    """What `source` says of a trot at 0.5 m/s in which feet in the air swing forward; `sensors` makes readings of the feet that stand."""
    driver = StillDriver(clock=lambda: 0.0)
    driver.connect()
    still = replace(driver.read(), joint_pos=go1.DEFAULT_JOINT_POS, gyro_b=np.zeros(3))
    stands, swings = (joint_vel_of(np.array([vx, 0.0, 0.0]), np.zeros(3), go1.DEFAULT_JOINT_POS).reshape(4, 3) for vx in (0.5, -0.8))
    said = []
    for step in range(3 * STRIDE_STEPS):
        feet = trotting(step)
        joint_vel = np.where(feet[:, None] > 0, stands, swings).ravel()
        said.append(source.read(replace(still, stamp_s=still.stamp_s + 0.02 * step, joint_vel=joint_vel, foot_force=sensors(feet))))
    return said[STRIDE_STEPS:]


def test_sensors_that_read_too_much_are_found_out():
    true = walked(LegVelocity(), lambda feet: 40.0 * feet)
    assert all(each.valid for each in true) and np.mean([each.lin_vel_b[0] for each in true]) == pytest.approx(0.5, abs=1e-6)
    raised = walked(LegVelocity(), lambda feet: 40.0 * feet + 20.0)
    assert not any(each.valid for each in raised)
    one_of_them = walked(LegVelocity(), lambda feet: 40.0 * feet + [0.0, 20.0, 0.0, 0.0])
    assert not any(each.valid for each in one_of_them)
    told = walked(LegVelocity(stance_force=40.0), lambda feet: 40.0 * feet + 20.0)
    assert all(each.valid for each in told) and told[0].lin_vel_b[0] == pytest.approx(0.5, abs=1e-6)


def test_a_robot_that_stands_still_is_believed():
    driver = StillDriver(clock=lambda: 0.0)
    driver.connect()
    still = replace(driver.read(), foot_force=np.full(4, 30.0), joint_pos=go1.DEFAULT_JOINT_POS, gyro_b=np.zeros(3))
    source = LegVelocity()
    assert all(source.read(still).valid for _ in range(2 * STRIDE_STEPS))


def test_the_live_source_follows_a_change_within_a_stride():
    driver = StillDriver(clock=lambda: 0.0)
    driver.connect()
    still = replace(driver.read(), foot_force=np.full(4, 30.0), joint_pos=go1.DEFAULT_JOINT_POS, gyro_b=np.zeros(3))
    moving = replace(still, joint_vel=joint_vel_of(np.array([0.6, 0.0, 0.0]), np.zeros(3), go1.DEFAULT_JOINT_POS))
    source = LegVelocity()
    assert source.read(still).lin_vel_b == pytest.approx(np.zeros(3), abs=1e-6)
    later = replace(moving, stamp_s=still.stamp_s + 10.0)
    read = [source.read(replace(moving, foot_force=30.0 * trotting(step))) for step in range(STRIDE_STEPS)]
    assert read[0].lin_vel_b[0] < 0.6 / 1.9
    assert read[-1].lin_vel_b == pytest.approx([0.6, 0.0, 0.0], abs=1e-6)
    assert all(each.valid and each.source == "legs" for each in read)
    assert source.read(replace(later, joint_vel=np.zeros(12))).lin_vel_b[0] == pytest.approx(0.0, abs=1e-6)  # another walk


def standing(velocity, turning=(0.0, 0.0, 0.0)):
    """A state in which all feet stand while the trunk moves."""
    driver = StillDriver(clock=lambda: 0.0)
    driver.connect()
    joint_vel = joint_vel_of(np.array(velocity), np.array(turning), go1.DEFAULT_JOINT_POS)
    return replace(
        driver.read(), joint_pos=go1.DEFAULT_JOINT_POS, joint_vel=joint_vel, gyro_b=np.array(turning), foot_force=np.full(4, 30.0)
    )


def test_the_live_source_says_nothing_of_the_height():
    assert LegVelocity().read(standing((0.4, 0.1, -0.3))).lin_vel_b == pytest.approx([0.4, 0.1, 0.0], abs=1e-6)


def test_without_a_gyro_a_row_is_not_valid_and_does_not_count_afterwards():
    source, turning = LegVelocity(), standing((0.2, 0.0, 0.0), (0.0, 0.0, 2.0))
    assert source.read(turning).valid
    assert not source.read(replace(turning, gyro_b=np.array([0.0, 0.0, np.nan]))).valid
    after = source.read(turning)
    assert after.valid and after.lin_vel_b == pytest.approx([0.2, 0.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(("faster", "rows", "valid"), [(0.95, 17, True), (1.05, 17, False), (1.05, 16, True)])
def test_a_foot_slides_if_what_it_implies_changes_by_more_than_a_metre_a_second_within_a_whole_stride(faster, rows, valid):
    source = LegVelocity()
    said = [source.read(standing((faster * (row % 2), 0.0, 0.0))).valid for row in range(rows)]
    assert said == [True] * (rows - 1) + [valid]


def test_the_live_source_is_not_valid_while_nothing_stands_or_is_measured():
    driver = StillDriver(clock=lambda: 0.0)
    driver.connect()
    flying = replace(driver.read(), foot_force=np.zeros(4))
    assert not LegVelocity().read(flying).valid
    broken = replace(driver.read(), foot_force=np.full(4, 30.0), joint_vel=np.full(12, np.nan))
    assert not LegVelocity().read(broken).valid
