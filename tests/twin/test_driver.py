import numpy as np
import pytest

from robot import go1
from robot.driver import DriverError, JointCommand
from twin.driver import TwinDriver, TwinVelocity
from twin.world import FLAT


def command(kp=20.0, kd=0.5, target=go1.DEFAULT_JOINT_POS):
    return JointCommand(np.array(target), np.full(12, kp), np.full(12, kd))


@pytest.fixture
def driver():
    driver = TwinDriver(FLAT, seed=3)
    driver.connect()
    yield driver
    driver.close()


def test_a_robot_that_is_not_connected_answers_nothing():
    driver = TwinDriver(FLAT, seed=0)
    for use in (driver.read, lambda: driver.write(command())):
        with pytest.raises(DriverError, match="connect"):
            use()
    driver.close()


def test_close_can_be_repeated_and_ends_the_connection(driver):
    driver.close()
    driver.close()
    with pytest.raises(DriverError):
        driver.read()


def test_each_write_takes_one_control_period(driver):
    assert driver.read().stamp_s == driver.read().stamp_s == 0.0
    driver.write(command())
    driver.write(command())
    assert driver.read().stamp_s == pytest.approx(0.04)


def test_a_state_is_one_robots(driver):
    state = driver.read()
    assert state.joint_pos.shape == state.joint_vel.shape == state.joint_torque.shape == (12,)
    assert state.quaternion_wxyz.shape == state.foot_force.shape == (4,)
    assert state.gyro_b.shape == state.accelerometer_b.shape == (3,)
    assert np.linalg.norm(state.quaternion_wxyz) == pytest.approx(1)


def test_what_was_read_does_not_change_afterwards(driver):
    state = driver.read()
    before = state.joint_pos.copy()
    driver.write(command(target=go1.DEFAULT_JOINT_POS + 0.2))
    assert state.joint_pos.tolist() == before.tolist()


def test_write_returns_what_was_sent(driver):
    sent = driver.write(command(target=go1.DEFAULT_JOINT_POS + 0.1))
    assert sent.joint_pos_target.tolist() == (go1.DEFAULT_JOINT_POS + 0.1).tolist()


@pytest.mark.parametrize("field", ["joint_pos_target", "kp", "kd"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_command_that_is_not_made_of_numbers_is_refused(driver, field, value):
    values = {name: getattr(command(), name).copy() for name in ("joint_pos_target", "kp", "kd")}
    values[field][4] = value
    with pytest.raises(DriverError, match="not a number"):
        driver.write(JointCommand(**values))
    assert driver.read().stamp_s == 0.0


def test_the_gains_of_each_command_are_the_motors(driver):
    driver.write(command(kp=0.0, kd=0.0))
    assert not driver.read().joint_torque.any()
    driver.write(command())
    assert np.abs(driver.read().joint_torque).max() > 0.1


def test_damping_opposes_the_joints_motion_and_lets_the_robot_sink(driver):
    for _ in range(10):
        driver.write(command(kp=0.0, kd=5.0))
    state = driver.read()
    fast = np.abs(state.joint_vel) > 0.5
    assert fast.any()
    assert (np.sign(state.joint_torque[fast]) == -np.sign(state.joint_vel[fast])).all()
    for _ in range(100):
        driver.write(command(kp=0.0, kd=5.0))
    assert driver.twin.read().base_pos_w[0, 2] < 0.2


def test_place_sets_a_fallen_robot_upright(driver):
    for _ in range(150):
        driver.write(command(kp=0.0, kd=0.0))
    assert driver.twin.read().base_pos_w[0, 2] < 0.2
    driver.place()
    state = driver.read()
    assert np.abs(state.joint_pos - go1.DEFAULT_JOINT_POS).max() <= 0.05
    assert driver.twin.read().gravity_b[0].tolist() == pytest.approx([0, 0, -1])
    assert state.stamp_s == pytest.approx(3.0)  # time does not go back


def test_the_same_seed_is_the_same_robot():
    states = []
    for _ in range(2):
        driver = TwinDriver(FLAT, seed=7)
        driver.connect()
        for _ in range(20):
            driver.write(command(target=go1.DEFAULT_JOINT_POS + 0.05))
        states.append(driver.read())
        driver.close()
    assert np.array_equal(states[0].joint_pos, states[1].joint_pos)
    assert np.array_equal(states[0].quaternion_wxyz, states[1].quaternion_wxyz)


def test_velocity_is_the_truth_with_noise_of_its_size(driver):
    for _ in range(100):
        driver.write(command())
    state = driver.read()
    source = TwinVelocity(driver, seed=0, noise_std=0.02)
    readings = np.array([source.read(state).lin_vel_b for _ in range(400)])
    assert readings.mean(axis=0) == pytest.approx(driver.twin.read().base_lin_vel_b[0], abs=0.004)  # four standard errors
    assert readings.std() == pytest.approx(0.02, rel=0.1)
    newest = source.read(state)
    assert newest.valid
    assert newest.source == "twin"
    assert newest.age_s == 0.0
