from dataclasses import replace

import numpy as np
import pytest

from robot import go1
from twin.actuator import ActuatorConfig
from twin.fit_motors import LOWER, UPPER, Best, by_session, fit_motors, intervals
from twin.model import standing_qpos
from twin.replay import Windows, drive
from twin.world import FLAT, Variation

TRUE = Variation(motor_strength=0.85, joint_damping=0.15, joint_frictionloss=0.3, joint_armature=0.02)
WINDOWS, HORIZON = 60, 5


@pytest.fixture(scope="module")
def windows():
    """What a twin with other motors does in the air when it is sent random targets."""
    rng = np.random.default_rng(0)
    qpos = np.tile(standing_qpos(), (WINDOWS, 1))
    qpos[:, 2] = 2.0
    before = go1.DEFAULT_JOINT_POS + 0.1 * rng.standard_normal((WINDOWS, 12))
    qpos[:, 7:] = before
    qvel = np.concatenate([np.zeros((WINDOWS, 6)), 2 * rng.standard_normal((WINDOWS, 12))], axis=1)
    targets = go1.DEFAULT_JOINT_POS + 0.3 * rng.standard_normal((WINDOWS, HORIZON, 12))
    no_base = np.zeros((WINDOWS, HORIZON, 3))
    asked = Windows(np.arange(WINDOWS), qpos, qvel, before, targets, 0 * targets, 0 * targets, no_base, no_base)
    done = drive(asked, replace(FLAT, robot=TRUE, actuator=ActuatorConfig((0.01, 0.01))))
    return replace(asked, joint_pos=done.qpos[..., 7:], joint_vel=done.qvel[..., 6:])


def test_the_motors_of_a_twin_are_found(windows):
    told = []
    fit = fit_motors(windows, np.arange(WINDOWS) // 6, FLAT, lambda: told.append(1))
    assert fit.delay_s == 0.01
    assert fit.delay_share[0.01] > 0.95
    assert sum(fit.delay_share.values()) == pytest.approx(1)
    for name, value in fit.values.items():
        assert value == pytest.approx(getattr(TRUE, name), rel=0.1), name
        low, high = fit.ci95[name]
        assert 0.9 * value < low <= value <= high < 1.1 * value  # nothing disturbs this robot
    assert len(told) == len(fit.delay_share)
    world = fit.world(FLAT)
    assert world.robot.motor_strength == fit.values["motor_strength"]
    assert world.actuator.delay_s == (0.01, 0.01)


@pytest.mark.parametrize(("sessions", "least", "most"), [(6, 0.96, 1.0), (42, 0.92, 0.97)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(sessions, least, most):
    """Of linear problems, whose errors and slopes are alike within a session."""
    rng, truth, within, rows = np.random.default_rng(0), (np.log(LOWER) + np.log(UPPER)) / 2, [], 30 * sessions
    of = np.repeat(np.arange(sessions), 30)
    for _ in range(200):
        jacobian = rng.normal(size=(rows, 4)) + 0.5 * rng.normal(size=(sessions, 4))[of]
        error = 0.01 * (rng.normal(size=rows) + rng.normal(size=sessions)[of])
        off = np.linalg.lstsq(jacobian, error, rcond=None)[0]
        found = intervals(Best(truth + off, *by_session(jacobian @ off - error, jacobian, of)))
        within += [low <= np.exp(true) <= high for true, (low, high) in zip(truth, found.values(), strict=True)]
    assert least <= np.mean(within) <= most


def test_as_few_sessions_as_parameters_have_no_interval():
    assert intervals(Best(np.zeros(4), np.zeros(4), np.zeros(4))) is None
