from dataclasses import replace

import numpy as np
import pytest

from robot.observation import GO1_LAYOUT
from sim_pretrain.environment import EnvironmentConfig, WalkingEnvironment
from twin.terrain import FLAT

SHORT = EnvironmentConfig(num_robots=6, episode_s=0.2, command_s=0.1)
LONG = replace(SHORT, episode_s=20.0, command_s=10.0)
STILL = np.zeros((6, 12), dtype=np.float32)
TOPPLE = np.tile(np.array([10.0, 0.0, 0.0], dtype=np.float32), (6, 4))


@pytest.fixture
def make():
    made = []

    def environment(config, seed=0):
        made.append(WalkingEnvironment(FLAT, config, seed))
        return made[-1]

    yield environment
    for environment in made:
        environment.close()


def frames(observations):
    return observations.reshape(-1, 5, 58)


def test_running_out_of_time_truncates(make):
    environment = make(SHORT)
    ended = np.zeros(6, dtype=int)
    for _ in range(10):  # 0.2 s: each robot's clock, wherever it began, strikes once
        result = environment.step(STILL)
        assert not result.terminated.any()
        ended += result.truncated
    assert ended.tolist() == [1] * 6


def test_episodes_do_not_all_end_at_once(make):
    environment = make(replace(SHORT, num_robots=64))
    ends = [environment.step(np.zeros((64, 12), dtype=np.float32)).truncated.sum() for _ in range(10)]
    assert max(ends) < 32


def test_falling_terminates_and_never_truncates_as_well(make):
    environment = make(LONG)
    fell = np.zeros(6, dtype=bool)
    for _ in range(150):
        result = environment.step(TOPPLE)
        assert not (result.terminated & result.truncated).any()
        fell |= result.terminated
    assert fell.all()


def test_a_robot_that_starts_anew_has_an_empty_past(make):
    environment = make(SHORT)
    result = environment.step(STILL)
    while not result.truncated.any():
        result = environment.step(STILL)
    before, after = frames(result.next_observations), frames(environment.observations)
    ended = result.truncated
    assert not after[ended, :4].any()
    assert after[ended, 4].any(axis=-1).all()
    assert not after[ended, 4, GO1_LAYOUT.slice_of("last_action")].any()
    assert before[ended, 3].any(axis=-1).all()  # what the step led to still has the old episode's past
    assert np.array_equal(before[~ended], after[~ended])


def test_observations_of_a_step_are_not_overwritten_by_the_next(make):
    environment = make(LONG)
    first = environment.step(STILL).next_observations
    kept = first.copy()
    environment.step(TOPPLE)
    assert np.array_equal(first, kept)


def test_commands_change_on_time_and_only_then(make):
    environment = make(replace(LONG, command_s=0.1))
    for _ in range(12):
        before, clock = environment.walkers.commands.copy(), environment.steps.copy()
        environment.step(STILL)
        changed = (environment.walkers.commands[:, :3] != before[:, :3]).any(axis=1)
        due = (clock + 1) % 5 == 0  # 0.1 s are five control steps
        assert not (changed & ~due).any()
    assert len(np.unique(environment.walkers.commands[:, 0])) > 1


def test_commands_stay_in_the_part_of_the_ranges_that_is_in_use(make):
    config = replace(LONG, num_robots=400, vx=(-1.0, 2.0), vy=(-0.5, 0.5), standing_share=0.2, curriculum_start=0.5)
    commands = make(config).walkers.commands
    assert -0.5 <= commands[:, 0].min() < -0.3
    assert 0.8 < commands[:, 0].max() <= 1.0
    assert np.abs(commands[:, 1]).max() <= 0.25
    standing = (commands[:, :3] == 0).all(axis=1).mean()
    assert standing == pytest.approx(0.2, abs=0.08)  # four standard errors of 400 draws


def test_the_command_ranges_grow_while_commands_are_tracked(make):
    environment = make(replace(LONG, curriculum_start=0.97, curriculum_threshold=0.5))
    environment.widen_commands(0.4)
    assert environment.range_share == 0.97
    environment.widen_commands(0.6)
    assert environment.range_share == pytest.approx(0.99)
    environment.widen_commands(0.6)
    assert environment.range_share == 1.0


def test_the_same_seed_is_the_same_training_ground(make):
    first, again, other = (make(LONG, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.observations, again.observations)
    assert not np.array_equal(first.observations, other.observations)
    assert np.array_equal(first.step(STILL).rewards, again.step(STILL).rewards)


def test_actions_beyond_ten_count_as_ten(make):
    first, again = make(LONG), make(LONG)
    assert np.array_equal(first.step(10 * np.sign(TOPPLE)).rewards, again.step(1000 * TOPPLE).rewards)
    assert np.abs(frames(first.observations)[:, 4, GO1_LAYOUT.slice_of("last_action")]).max() == 10.0
