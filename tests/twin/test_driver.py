from dataclasses import replace

import numpy as np
import pytest

from robot import go1
from robot.command import trot_command
from robot.control_cycle import ControlCycle
from robot.control_loop import ControlLoop
from robot.driver import DriverError, JointCommand
from robot.log.episode import END_FALL
from robot.pace import AsFastAsPossible
from robot.run_episode import EpisodePlan, run_episode, stand_up
from robot.still_driver import StillPolicy
from robot.supervisor import LATCHING, Mode, SafetyEvent, Supervisor
from twin.actuator import ActuatorConfig
from twin.driver import TwinDriver, TwinVelocity
from twin.world import FLAT, find_world


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


def test_damping_works_on_motors_that_lose_torque_with_speed():
    driver = TwinDriver(replace(FLAT, actuator=ActuatorConfig(torque_speed_limit=True)), seed=3)
    driver.connect()
    for _ in range(100):
        driver.write(command(kp=0.0, kd=5.0))
    _, control = driver.twin.transition(0)
    assert (control == go1.DEFAULT_JOINT_POS).all()
    assert 0.03 < driver.twin.read().base_pos_w[0, 2] < 0.2
    assert not driver.lost
    driver.close()


def blow_up(driver):
    """Make the robot's numbers larger than any that the engine accepts."""
    qvel = driver.twin.qvel.copy()
    qvel[0, 0] = 1e11
    driver.twin.place(driver.twin.qpos.copy(), qvel, go1.DEFAULT_JOINT_POS[None])


def cycle_of(driver):
    return ControlCycle(driver, TwinVelocity(driver, 0), ControlLoop(StillPolicy(), Supervisor(go1.KP, go1.KD)), AsFastAsPossible())


def test_a_robot_whose_physics_blows_up_while_it_walks_has_fallen(driver):
    cycle = cycle_of(driver)

    def command_at(step):
        if step == 5:
            blow_up(driver)
        return trot_command()

    summary = run_episode(cycle, EpisodePlan(20, command_at), None)
    assert summary.ended == END_FALL
    assert summary.steps <= 6
    assert summary.events & LATCHING == SafetyEvent.TILT
    assert np.isfinite(summary.episode_return)


def test_a_robot_whose_physics_blew_up_stays_fallen_until_it_is_placed(driver):
    cycle = cycle_of(driver)
    stand_up(cycle)
    blow_up(driver)
    for _ in range(3):
        cycle.turn()
        assert not driver.lost or not cycle.velocity.read(driver.read()).valid
    assert cycle.loop.mode is Mode.DAMPING
    assert cycle.loop.supervisor.cause == SafetyEvent.TILT
    while cycle.loop.supervisor.sinking:
        cycle.turn()
    driver.place()
    cycle.loop.rearm()
    stand_up(cycle)
    assert cycle.loop.mode is Mode.READY
    assert cycle.velocity.read(driver.read()).valid


@pytest.mark.parametrize("terrain", ["flat", "mattress"])
def test_a_robot_that_is_damped_lies_still_as_soon_as_it_may_be_armed_again(terrain):
    """Without torque one that is still on its way down would fall: half a second after the stop with more than 1 m/s."""
    driver = TwinDriver(find_world(terrain), seed=0)
    driver.connect()
    cycle = cycle_of(driver)
    stand_up(cycle)
    height = driver.twin.read().base_pos_w[0, 2]
    cycle.loop.request_estop()
    while cycle.loop.supervisor.sinking:
        cycle.turn()
    cycle.loop.rearm()
    assert driver.twin.read().base_pos_w[0, 2] < height - 0.1
    speeds = []
    for _ in range(50):
        cycle.turn()
        speeds.append(driver.twin.qvel[0, 2])
    driver.close()
    assert min(speeds) > -0.02


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
