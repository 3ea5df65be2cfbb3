import re
from dataclasses import replace

import numpy as np
import pytest

from common.errors import ConfigError
from robot.observation import GO1_LAYOUT
from sim_pretrain.commands import CommandConfig
from sim_pretrain.environment import EnvironmentConfig, WalkingEnvironment
from sim_pretrain.randomisation import NoiseConfig, RandomisationConfig, draw_worlds
from twin.actuator import ActuatorConfig
from twin.world import FLAT, Pushes

QUIET = NoiseConfig(0.0, 0.0, 0.0)
SHORT = EnvironmentConfig(num_robots=6, episode_s=0.2, command_s=0.1, noise=QUIET)
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
    ended = np.zeros(6, dtype=bool)
    while not ended.any():
        before = frames(environment.observations).copy()
        ended = environment.step(STILL).truncated
    after = frames(environment.observations)
    assert not after[ended, :4].any()
    assert after[ended, 4].any(axis=-1).all()
    assert not after[ended, 4, GO1_LAYOUT.slice_of("last_action")].any()
    assert np.array_equal(before[~ended, 1:], after[~ended, :4])


def test_the_critic_is_told_where_a_cut_off_episode_ended(make):
    environment = make(SHORT)
    result = environment.step(TOPPLE)
    while not result.truncated.any():
        result = environment.step(TOPPLE)
    final = result.final_critic_observations
    assert final.shape == (result.truncated.sum(), environment.critic_size)
    last_action = GO1_LAYOUT.slice_of("last_action")
    assert (final[:, last_action] == TOPPLE[0]).all()
    assert not environment.critic_observations[result.truncated, last_action].any()


def test_the_critic_knows_what_a_robot_cannot_measure(make):
    environment = make(LONG)
    twin = environment.twin
    twin.place(twin.qpos.copy(), twin.qvel + 0.3 * (np.arange(18) == 0), twin.read().joint_pos)
    environment.step(STILL)
    seen, state = environment.critic_observations, environment.walkers.state
    assert seen[:, :58] == pytest.approx(frames(environment.observations)[:, 4], abs=1e-6)
    assert seen[:, 58:61] == pytest.approx(state.base_lin_vel_b, abs=1e-6)
    assert np.linalg.norm(seen[:, 58:61], axis=1) == pytest.approx(0.3, abs=0.1)
    assert seen[:, 64] == pytest.approx(10 * (state.base_pos_w[:, 2] - 0.30), abs=1e-6)


def test_commands_change_on_time_and_only_then(make):
    environment = make(replace(LONG, command_s=0.1))
    for _ in range(12):
        before, clock = environment.walkers.commands.copy(), environment.steps.copy()
        environment.step(STILL)
        changed = (environment.walkers.commands[:, :3] != before[:, :3]).any(axis=1)
        due = (clock + 1) % 5 == 0  # 0.1 s are five control steps
        assert not (changed & ~due).any()
        asked_again = due & (environment.walkers.commands[:, :3] != 0).any(axis=1)
        assert changed[asked_again].all()


def test_noise_is_on_what_a_robot_measures_and_nothing_else(make):
    noisy = make(replace(LONG, noise=NoiseConfig(projected_gravity=0.1, joint_pos=0.2, joint_vel=2.0)))
    difference = frames(noisy.observations)[:, 4] - noisy.critic_observations[:, :58]
    for name, amplitude in (("projected_gravity", 0.1), ("joint_pos", 0.2), ("joint_vel", 2.0 * 0.05)):
        part = difference[:, GO1_LAYOUT.slice_of(name)]
        assert 0.5 * amplitude < np.abs(part).max() <= amplitude * 1.001
    assert not difference[:, 3:18].any()  # the command
    assert not difference[:, 42:].any()  # last action and clock


def test_robots_that_differ_walk_differently(make):
    different = RandomisationConfig(variants=8)
    environment = make(replace(LONG, num_robots=64, randomisation=different))
    assert len(set(environment.twin.variant.tolist())) > 4
    masses = {round(float(model.body("trunk").mass[0]), 6) for model in environment.twin.models}
    assert len(masses) == 8


def test_pushes_come_about_as_often_as_they_should(make):
    config = replace(LONG, num_robots=500, randomisation=RandomisationConfig(pushes=Pushes(every_s=1.0, speed=0.5)))
    pushed, quiet = make(config), make(replace(LONG, num_robots=500))
    for environment in (pushed, quiet):
        environment.step(np.zeros((500, 12), dtype=np.float32))
    differ = (pushed.walkers.state.base_lin_vel_w != quiet.walkers.state.base_lin_vel_w).any(axis=1)
    assert 0.005 < differ.mean() < 0.04  # 0.02 of them in each control step


def test_a_state_that_was_kept_goes_on_the_same(make):
    config = EnvironmentConfig(
        num_robots=16, episode_s=0.3, command_s=0.1, actuator=ActuatorConfig(delay_s=(0.0, 0.03)),
        randomisation=RandomisationConfig(variants=3, pushes=Pushes(every_s=0.1, speed=0.5)),
    )  # fmt: skip
    environment, other = make(config, seed=1), make(config, seed=1)
    rng = np.random.default_rng(0)
    for _ in range(20):
        environment.step(rng.standard_normal((16, 12), dtype=np.float32))
    other.load_state_dict(environment.state_dict())
    assert np.array_equal(environment.observations, other.observations)
    assert np.array_equal(environment.critic_observations, other.critic_observations)
    for _ in range(20):
        action = rng.standard_normal((16, 12), dtype=np.float32)
        ahead, behind = environment.step(action), other.step(action)
        assert np.array_equal(ahead.rewards, behind.rewards)
        assert np.array_equal(ahead.truncated, behind.truncated)
        assert ahead.terms == behind.terms
        assert np.array_equal(environment.observations, other.observations)
        assert np.array_equal(environment.critic_observations, other.critic_observations)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("steps", lambda array: array[:1]),
        ("mean_error", lambda array: array[0]),
        ("history", lambda array: array * np.nan),
        ("gait_index", lambda array: array.astype(np.int64)),
        ("commands", lambda array: "none"),
        ("commander/open", lambda array: array.astype(np.float64)),
        ("commander/steps", lambda array: array + np.inf),
        ("twin/states", lambda array: array[:1, :1]),
        ("twin/states", lambda array: np.where(np.arange(array.shape[-1]) == 3, np.inf, array)),
        ("twin/delay", lambda array: array[0]),
        ("twin/diverged", lambda array: array.astype(np.int64)),
    ],
)
def test_a_state_that_does_not_fit_is_refused_by_name(make, name, spoil):
    environment = make(LONG)
    state = environment.state_dict()
    with pytest.raises(ValueError, match=f"'{name.rpartition('/')[2]}'"):
        environment.load_state_dict(state | {name: spoil(state[name])})
    with pytest.raises(KeyError, match=name.rpartition("/")[2]):
        environment.load_state_dict({key: value for key, value in state.items() if key != name})


def test_the_same_seed_is_the_same_training_ground(make):
    first, again, other = (make(LONG, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.observations, again.observations)
    assert not np.array_equal(first.observations, other.observations)
    assert np.array_equal(first.step(STILL).rewards, again.step(STILL).rewards)


def test_actions_beyond_ten_count_as_ten(make):
    first, again = make(LONG), make(LONG)
    assert np.array_equal(first.step(10 * np.sign(TOPPLE)).rewards, again.step(1000 * TOPPLE).rewards)
    assert np.abs(frames(first.observations)[:, 4, GO1_LAYOUT.slice_of("last_action")]).max() == 10.0


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"friction": (0.5, 5.1), "variants": 2}, "at most 5"),
        ({"friction": (0.0, 1.0), "variants": 2}, "above 0"),
        ({"friction": (0.5, 0.6)}, "friction is (0.5, 0.6), but variants is 1"),
        ({"gains": (0.8, 1.2)}, "gains is (0.8, 1.2), but variants is 1"),
        ({"variants": 1_000_000_000}, "from 1 to 10,000"),
    ],
)
def test_ranges_that_no_robot_can_be_drawn_from_are_refused(ranges, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        RandomisationConfig(**ranges)


def test_numbers_that_no_computer_can_step_are_refused():
    with pytest.raises(ConfigError, match="num_robots is 1000000000"):
        EnvironmentConfig(num_robots=10**23)
    with pytest.raises(ConfigError, match="vx is "):
        CommandConfig(vx=(-1e308, 1e308))


def test_the_most_slippery_and_the_roughest_floor_can_be_drawn():
    config = RandomisationConfig(variants=3, friction=(5.0, 5.0))
    assert [world.friction for world in draw_worlds(config, FLAT, np.random.default_rng(0))] == [5.0] * 3
