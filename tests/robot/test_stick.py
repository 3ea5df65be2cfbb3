import math
import time

import numpy as np
import pytest

from common.errors import ConfigError
from robot.command import COMMAND_NAMES, trot_command
from robot.gait import Gait
from robot.stick import STALE_AFTER_S, Stick, VelocityLimits
from sim_pretrain.config import PRESETS

VELOCITY = slice(0, 3)


@pytest.fixture
def clock(monkeypatch):
    """A list whose only element is the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def stick(clock):
    return Stick(VelocityLimits(vx=1.0, vx_backward=0.7, vy=0.5, yaw_rate=0.8), Gait())


def velocity(stick, clock, after_s=0.0):
    return stick.command(clock[0] + after_s)[VELOCITY].tolist()


def test_the_slots_are_where_the_command_has_them():
    assert COMMAND_NAMES[VELOCITY] == tuple(np.array(COMMAND_NAMES)[:3])
    np.testing.assert_array_equal(trot_command(1.0, 2.0, 3.0)[VELOCITY], [1.0, 2.0, 3.0])


def test_before_the_first_command_the_robot_stands(stick, clock):
    assert velocity(stick, clock) == [0.0, 0.0, 0.0] and not stick.is_fresh(clock[0])


def test_the_newest_command_counts(stick, clock):
    stick.receive(0.1, 0.2, 0.3)
    stick.receive(-0.4, 0.1, -0.2)
    assert velocity(stick, clock) == [-0.4, 0.1, -0.2] and stick.is_fresh(clock[0])


@pytest.mark.parametrize(
    ("after_s", "fresh"), [(0.0, True), (STALE_AFTER_S, True), (STALE_AFTER_S + 1e-6, False), (math.inf, False), (math.nan, False)]
)
def test_a_command_that_nobody_renews_stops_the_robot(stick, clock, after_s, fresh):
    stick.receive(0.4, 0.1, 0.2)
    assert velocity(stick, clock, after_s) == ([0.4, 0.1, 0.2] if fresh else [0.0, 0.0, 0.0])
    assert stick.is_fresh(clock[0] + after_s) is fresh


def test_renewing_keeps_it_fresh(stick, clock):
    for _ in range(10):
        stick.receive(0.4, 0.0, 0.0)
        clock[0] += 0.9 * STALE_AFTER_S
        assert velocity(stick, clock) == [0.4, 0.0, 0.0]


@pytest.mark.parametrize(
    ("asked", "made"),
    [((9.0, 9.0, 9.0), [1.0, 0.5, 0.8]), ((-9.0, -9.0, -9.0), [-0.7, -0.5, -0.8]), ((1e308, 0.0, -1e308), [1.0, 0.0, -0.8])],
)
def test_a_command_stays_within_the_limits(stick, clock, asked, made):
    stick.receive(*asked)
    assert velocity(stick, clock) == made


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_by_default_nobody_asks_for_what_a_preset_does_not_train(preset):
    limits, trained = VelocityLimits(), preset.environment.commands
    for low, high, of in (
        (-limits.vx_backward, limits.vx, "vx"),
        (-limits.vy, limits.vy, "vy"),
        (-limits.yaw_rate, limits.yaw_rate, "yaw_rate"),
    ):
        assert getattr(trained, of)[0] <= low and high <= getattr(trained, of)[1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(3))
def test_what_is_no_number_counts_as_no_command(stick, clock, bad, place):
    stick.receive(0.4, 0.1, 0.2)
    clock[0] += 0.3
    asked = [0.2, 0.2, 0.2]
    asked[place] = bad
    stick.receive(*asked)
    assert stick.refused == 1
    assert velocity(stick, clock) == [0.4, 0.1, 0.2]  # the one before, and not renewed
    assert velocity(stick, clock, 0.3) == [0.0, 0.0, 0.0]


def test_the_gait_is_the_operators_whatever_the_stick_does(clock):
    gait = Gait(2.5, 0.6, 0.1, -0.05, 0.02, -0.03)
    stick = Stick(VelocityLimits(), gait)
    for after_s in (0.0, 10.0):
        stick.receive(0.5, 0.0, 0.0)
        command = stick.command(clock[0] + after_s)
        assert command.shape == (15,)
        for name in ("gait_frequency", "gait_duration", "foot_swing_height", "body_height", "pitch", "roll"):
            assert command[COMMAND_NAMES.index(name)] == getattr(gait, name)


def test_a_gait_changes_nothing_but_itself_and_leaves_the_original():
    original = trot_command(0.3, 0.1, -0.2)
    before = original.copy()
    changed = Gait(2.0).of(original)
    np.testing.assert_array_equal(original, before)
    assert np.flatnonzero(changed != before).tolist() == [COMMAND_NAMES.index("gait_frequency")]
    np.testing.assert_array_equal(Gait().of(original), before)  # the defaults are the trot of the logs


@pytest.mark.parametrize(
    "bad", [{"gait_frequency": 0.0}, {"gait_frequency": 11.0}, {"gait_duration": 1.0}, {"pitch": math.nan}, {"body_height": 1.5}]
)
def test_a_gait_that_no_robot_can_walk_is_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Gait(**bad)


@pytest.mark.parametrize("bad", [{"vx": 0.0}, {"vy": -1.0}, {"yaw_rate": math.nan}])
def test_limits_are_positive(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        VelocityLimits(**bad)
