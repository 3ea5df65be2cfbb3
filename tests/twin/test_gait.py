"""Gait figures of made contact patterns, 20 ms a row."""

import numpy as np
import pytest

from twin.gait import GaitMeter

ON, OFF = 60.0, 0.0


def meter(pattern, repeats, robots=1, up=True):
    gait = GaitMeter(robots)
    for force in pattern * repeats:
        gait.watch(np.full((robots, 4), force), np.full(robots, up))
    return gait


def test_ten_rows_a_step_are_five_hertz_and_six_of_them_on_the_floor_a_duty_of_0_6():
    gait = meter([ON] * 6 + [OFF] * 4, 10)
    assert gait.frequency_hz() == pytest.approx([5.0])
    assert gait.duty_factor() == pytest.approx([0.6])


def test_a_cycle_that_is_cut_short_does_not_count():
    gait = meter([ON] * 6 + [OFF] * 4, 10)
    for _ in range(5):
        gait.watch(np.full((1, 4), ON), np.ones(1, dtype=bool))
    assert gait.duty_factor() == pytest.approx([0.6])


def test_a_bounce_is_no_step():
    gait = meter([ON] * 3 + [OFF] + [ON] * 2 + [OFF] * 4, 10)
    assert gait.frequency_hz() == pytest.approx([5.0])
    assert gait.duty_factor() == pytest.approx([0.5])


def test_a_graze_is_no_contact():
    assert meter([ON] * 5 + [4.9] * 5, 10).duty_factor() == pytest.approx([0.5])


def test_a_robot_that_stands_takes_no_steps():
    gait = meter([ON], 50)
    assert gait.frequency_hz().tolist() == [0.0]
    assert gait.duty_factor().tolist() == [1.0]


def test_a_fallen_robot_is_left_out():
    assert meter([ON] * 6 + [OFF] * 4, 10, up=False).frequency_hz().tolist() == [0.0]
