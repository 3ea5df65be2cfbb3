from dataclasses import replace

import numpy as np
import pytest

from common.errors import QuadloopError
from robot.command import COMMAND_NAMES, trot_command
from sim_pretrain.commands import GAIT_AND_POSTURE, CommandConfig, Commander

# 4 x 2 cells of 0.5 m/s x 1 rad/s; the middle two over vx are easy.
SMALL = CommandConfig(vx=(-1.0, 1.0), yaw_rate=(-1.0, 1.0), bins=(4, 2), easy_share=0.4, straight_share=0.0, standing_share=0.0)
EVERYONE = np.ones(400, dtype=bool)


def drawn(config=SMALL, seed=0, commander=None, fell=None):
    return (commander or Commander(400, config)).draw(EVERYONE, ~EVERYONE if fell is None else fell, np.random.default_rng(seed))


def follow(commander, lin_vel=1.0, ang_vel=1.0, steps=60):
    for _ in range(steps):
        commander.account(np.full(400, lin_vel), np.full(400, ang_vel))


def test_only_easy_speeds_are_asked_at_first():
    commands = drawn()
    assert -0.5 <= commands[:, 0].min() < -0.4
    assert 0.4 < commands[:, 0].max() <= 0.5
    assert Commander(400, SMALL).open_share == 0.5


def test_a_mastered_cell_opens_its_neighbours():
    commander = Commander(400, SMALL)
    drawn(commander=commander)
    follow(commander)
    drawn(commander=commander)
    assert commander.open_share == 1.0
    assert drawn(commander=commander)[:, 0].max() > 0.9


@pytest.mark.parametrize("how", [{"lin_vel": 0.5}, {"ang_vel": 0.5}, {"steps": 40}])
def test_what_was_not_followed_well_or_long_enough_opens_nothing(how):
    commander = Commander(400, SMALL)
    drawn(commander=commander)
    follow(commander, **how)
    drawn(commander=commander)
    assert commander.open_share == 0.5


def test_a_robot_that_fell_has_mastered_nothing():
    commander = Commander(400, SMALL)
    drawn(commander=commander)
    follow(commander)
    drawn(commander=commander, fell=EVERYONE)
    assert commander.open_share == 0.5


@pytest.mark.parametrize("vx", [(1.0, 2.0), (-2.0, -1.0), (0.0, 0.0)])
def test_ranges_away_from_zero_begin_at_their_near_end(vx):
    commands = drawn(replace(SMALL, vx=vx))
    assert (vx[0] <= commands[:, 0]).all() and (commands[:, 0] <= vx[1]).all()
    if vx[0] != vx[1]:
        assert np.abs(commands[:, 0]).max() < 1.6


@pytest.mark.parametrize("share", [{"standing_share": 1.0}, {"straight_share": 1.0}])
def test_robots_that_are_not_asked_to_turn_master_nothing(share):
    commander = Commander(400, replace(SMALL, **share))
    well = drawn(commander=commander)[:, 2] == 0
    assert well.sum() >= 100
    for _ in range(60):
        commander.account(well.astype(float), well.astype(float))
    drawn(commander=commander)
    assert commander.open_share == 0.5


def test_robots_that_turn_without_going_sideways_master_their_cell():
    commander = Commander(400, replace(SMALL, straight_share=1.0))
    well = drawn(commander=commander)[:, 2] != 0
    for _ in range(60):
        commander.account(well.astype(float), well.astype(float))
    drawn(commander=commander)
    assert commander.open_share == 1.0


def test_plain_commands_are_the_usual_trot_and_the_others_stay_in_their_ranges():
    config = replace(SMALL, plain_share=0.5)
    commands = drawn(config)
    usual = trot_command()
    slots = [COMMAND_NAMES.index(name) for name in GAIT_AND_POSTURE]
    plain = (commands[:, slots] == usual[slots]).all(axis=1)
    assert plain.mean() == pytest.approx(0.5, abs=0.1)  # four standard errors of 400 draws
    for name, slot in zip(GAIT_AND_POSTURE, slots, strict=True):
        low, high = getattr(config, name)
        others = commands[~plain, slot]
        assert low <= others.min() < others.max() <= high
    assert (commands[:, [5, 6, 7, 14]] == usual[[5, 6, 7, 14]]).all()  # phase, offset, bound and slot 17


def test_shares_of_straight_and_standing_commands():
    commands = drawn(replace(SMALL, straight_share=0.4, standing_share=0.2))
    assert (commands[:, 1] == 0).mean() == pytest.approx(0.2 + 0.8 * 0.4, abs=0.1)
    assert (commands[:, :3] == 0).all(axis=1).mean() == pytest.approx(0.2, abs=0.08)


def test_the_seed_decides():
    assert np.array_equal(drawn(seed=1), drawn(seed=1))
    assert not np.array_equal(drawn(seed=1), drawn(seed=2))


def test_a_range_that_falls_is_refused():
    with pytest.raises(QuadloopError, match="gait_frequency"):
        CommandConfig(gait_frequency=(4.0, 2.0))
