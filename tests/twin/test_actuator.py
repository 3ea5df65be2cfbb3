"""Each departure from an ideal motor by itself, against numbers worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from common.errors import QuadloopError
from robot import go1
from twin.actuator import ActuatorConfig, DelayLine, Motors, asked_torque, speed_limited_torque, target_within_speed_limit
from twin.batch import BatchTwin, InitialSpread
from twin.world import FLAT, Variation

ALIKE = InitialSpread(joint_pos_rad=0.0, yaw_rad=0.0, base_vel=0.0)


def one(hip, thigh=0.0, calf=0.0):
    """Twelve values, the same for each leg."""
    return np.array([[hip, thigh, calf] * 4])


def placed(actuator, robots=1):
    twin = BatchTwin(replace(FLAT, actuator=actuator), robots)
    twin.reset(np.ones(robots, dtype=bool), np.random.default_rng(0), ALIKE)
    return twin


def turning(twin):
    """Every joint turns at half of a hip's top speed."""
    qvel = twin.qvel.copy()
    qvel[:, 6:] = 15.05
    twin.place(twin.qpos.copy(), qvel, go1.DEFAULT_JOINT_POS[None])


def test_the_pd_law_asks_for_this_torque():
    # 20 (0.3 - 0.1) - 0.5 * 2 = 3
    assert asked_torque(one(0.3), one(0.1), one(2.0))[0, 0] == pytest.approx(3.0)


def test_a_motor_that_drives_loses_torque_with_speed():
    half_speed = one(15.05)  # half of 30.1 rad/s
    assert speed_limited_torque(one(100.0), one(0.0))[0, 0] == pytest.approx(23.7)
    assert speed_limited_torque(one(100.0), half_speed)[0, 0] == pytest.approx(11.85)
    assert speed_limited_torque(one(100.0), one(40.0))[0, 0] == 0.0
    assert speed_limited_torque(one(0, 0, 100.0), one(0, 0, 10.03))[0, 2] == pytest.approx(17.775)  # calf: half of 20.06 rad/s


def test_a_motor_that_brakes_keeps_its_torque():
    assert speed_limited_torque(one(-100.0), one(15.05))[0, 0] == pytest.approx(-23.7)
    assert speed_limited_torque(one(100.0), one(-15.05))[0, 0] == pytest.approx(23.7)


def test_torque_within_the_limit_is_left_alone():
    assert speed_limited_torque(one(5.0), one(15.05))[0, 0] == 5.0


def test_the_limited_target_asks_for_the_limited_torque():
    position, speed = one(0.1), one(15.05)
    target = target_within_speed_limit(one(5.0), position, speed)
    assert asked_torque(target, position, speed)[0, 0] == pytest.approx(11.85)


def test_other_motors_have_other_limits():
    weak = Motors(kp=10.0, kd=1.0, torque_limit=np.full(12, 8.0))
    assert asked_torque(one(0.3), one(0.1), one(0.5), weak)[0, 0] == pytest.approx(1.5)  # 10 * 0.2 - 1 * 0.5
    target = target_within_speed_limit(one(5.0), one(0.1), one(15.05), weak)
    assert asked_torque(target, one(0.1), one(15.05), weak)[0, 0] == pytest.approx(4.0)  # half of 8 at half of the top speed


def test_a_variants_own_motors_are_limited():
    robot = Variation(motor_strength=1.1, kp_factor=1.1, kd_factor=0.9)
    with BatchTwin(replace(FLAT, robot=robot, actuator=ActuatorConfig(torque_speed_limit=True)), 1) as twin:
        twin.reset(np.ones(1, dtype=bool), np.random.default_rng(0), ALIKE)
        turning(twin)
        twin.step_unlimited(go1.DEFAULT_JOINT_POS[None] + 1.0)
        _, control = twin.transition(0)
    torque = 24.2 * (control[0, 0] - go1.DEFAULT_JOINT_POS[0]) - 0.495 * 15.05
    assert torque == pytest.approx(1.1 * 23.7 / 2)


def test_a_fast_motor_gives_less_than_it_is_asked_for():
    for limited in (False, True):
        with placed(ActuatorConfig(torque_speed_limit=limited)) as twin:
            turning(twin)
            twin.step_unlimited(go1.DEFAULT_JOINT_POS[None] + 1.0)
            _, control = twin.transition(0)
        asked = 20 * (control[0, 0] - go1.DEFAULT_JOINT_POS[0]) - 0.5 * 15.05
        assert asked == pytest.approx(11.85 if limited else 12.475)


def test_a_delay_line_hands_targets_on_late():
    line = DelayLine(2, longest=6)
    line.steps[:] = (0, 6)  # 30 ms: a period of four physics steps and two more
    followed = [line.push(np.full((2, 12), value))[..., 0].tolist() for value in (1.0, 2.0, 3.0)]
    hip = go1.DEFAULT_JOINT_POS[0]
    assert followed[0] == [[1.0] * 4, [hip] * 4]
    assert followed[1] == [[2.0] * 4, [hip, hip, 1.0, 1.0]]
    assert followed[2] == [[3.0] * 4, [1.0, 1.0, 2.0, 2.0]]


def test_a_robot_that_starts_anew_has_nothing_on_its_way():
    line = DelayLine(2, longest=4)
    line.steps[:] = 4
    line.push(np.ones((2, 12)))
    line.fill(np.array([False, True]), np.full((1, 12), 7.0))
    assert line.push(np.full((2, 12), 2.0))[:, 0, 0].tolist() == [1.0, 7.0]


def test_a_late_robot_does_later_what_a_punctual_one_does():
    targets = [go1.DEFAULT_JOINT_POS + 0.2 * np.sin(step / 3 + np.arange(12)) for step in range(12)]
    moved = {}
    for delay_s in (0.0, 0.02):
        with placed(ActuatorConfig(delay_s=(delay_s, delay_s))) as twin:
            if delay_s == 0.0:
                twin.step_unlimited(go1.DEFAULT_JOINT_POS[None])  # what a late robot does meanwhile
            for target in targets[: 12 if delay_s else 11]:
                twin.step_unlimited(target[None])
            moved[delay_s] = twin.read().joint_pos[0]
    assert moved[0.0] == pytest.approx(moved[0.02], abs=1e-12)


def test_each_robot_draws_its_delay():
    with placed(ActuatorConfig(delay_s=(0.01, 0.03)), robots=200) as twin:
        assert set(twin._line.steps.tolist()) == {2, 3, 4, 5, 6}


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.1])
def test_motors_that_are_only_late_or_of_other_gains_give_what_they_are_asked_for(delay_s):
    robots = [Variation(), Variation(motor_strength=0.8, kp_factor=1.2, kd_factor=0.7)]
    late = ActuatorConfig(delay_s=(delay_s, delay_s))
    with BatchTwin(replace(FLAT, actuator=late), 8, variants=[replace(FLAT, robot=robot) for robot in robots]) as twin:
        twin.reset(np.ones(8, dtype=bool), np.random.default_rng(0), ALIKE)
        for step in range(8):
            twin.step_unlimited(np.tile(go1.DEFAULT_JOINT_POS + 0.1 * np.sin(step), (8, 1)))
        state = twin.read()
    assert set(twin.variant.tolist()) == {0, 1} and np.abs(state.joint_torque).max() > 1.0
    assert state.asked_torque == pytest.approx(state.joint_torque, abs=1e-6)


def test_motors_that_turn_too_fast_give_less_than_they_are_asked_for():
    with placed(ActuatorConfig(torque_speed_limit=True)) as twin:
        turning(twin)
        twin.step_unlimited(go1.DEFAULT_JOINT_POS[None] + 1.0)
        state, last = twin.read(), twin._states[0, -2]
    limited = speed_limited_torque(state.asked_torque[0], last[26:])
    assert state.joint_torque[0] == pytest.approx(limited, abs=1e-6)
    assert (state.asked_torque[0] - limited).max() > 1.0


@pytest.mark.parametrize("delay_s", [(-0.01, 0.0), (0.02, 0.01), (0.0, 0.5)])
def test_delays_that_no_motor_has(delay_s):
    with pytest.raises(QuadloopError):
        ActuatorConfig(delay_s=delay_s)
