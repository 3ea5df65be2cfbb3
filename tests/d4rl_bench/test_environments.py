"""The tasks' environments: D4RL's rewards, terminations and observations on top of today's libraries."""

from dataclasses import replace

import numpy as np
import pytest

from d4rl_bench.environments import EnvironmentMissingError, make_environment, make_environments
from d4rl_bench.task import all_tasks, find_task

NAMES = (
    "hopper-medium",
    "walker2d-medium",
    "halfcheetah-medium",
    "pen-human",
    "hammer-human",
    "door-human",
    "relocate-human",
    "antmaze-umaze",
)


@pytest.mark.parametrize("name", NAMES)
def test_observations_and_actions_are_the_datas(name):
    task = find_task(name)
    environment = make_environment(task)
    observation, _ = environment.reset(seed=0)
    assert observation.shape == (task.observation_size,)
    assert environment.action_space.shape == (task.action_size,)
    environment.close()


def reward_at(name, target, distance):
    """Of one and the same step, at whose end the palm is so many metres beside the object it reaches for.

    The palm is a mark on the hand, which is moved; no physics feels it.
    """
    environment = make_environment(find_task(name))
    raw = environment.unwrapped
    palm, still = raw.model.site("S_grasp").id, np.zeros(environment.action_space.shape)
    environment.reset(seed=0)
    environment.step(still)
    hand = raw.model.site_bodyid[palm]
    wanted = target(raw.data) + np.array([0.0, distance, 0.0])
    raw.model.site_pos[palm] = raw.data.xmat[hand].reshape(3, 3).T @ (wanted - raw.data.xpos[hand])
    environment.reset(seed=0)
    _, reward, *_ = environment.step(still)
    assert np.linalg.norm(raw.data.site_xpos[palm] - target(raw.data)) == pytest.approx(distance, abs=1e-9)
    environment.close()
    return reward


def ball(data):
    return data.body("Object").xpos


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("door-human", lambda data: data.site("S_handle").xpos),
        ("hammer-human", lambda data: data.body("Object").xpos),
        ("relocate-human", ball),
    ],
)
def test_the_hand_is_rewarded_for_reaching_not_for_staying_away(name, target):
    """Of two steps that differ in nothing else, the nearer one earns more, by a tenth of the distance."""
    near, far = (reward_at(name, target, distance) for distance in (0.1, 0.3))
    assert near - far == pytest.approx(0.02, abs=1e-9)


def test_while_the_ball_lies_on_the_table_nothing_but_the_distance_counts():
    assert reward_at("relocate-human", ball, 0.25) == pytest.approx(-0.025, abs=1e-9)


def test_the_real_demonstrations_earn_what_the_file_says(real_data):
    """The door's recorded actions, replayed from their recorded starts, open the door for the recorded rewards."""
    import h5py

    environment = make_environment(find_task("door-human"))
    with h5py.File(real_data / "adroit_door_human.hdf5") as file:
        actions, rewards = file["actions"][:], file["rewards"][:]
        ends = np.flatnonzero(file["timeouts"][:]) + 1
        start = {name.removeprefix("init_"): file["infos"][name][0] for name in file["infos"]}
    environment.reset(seed=0)
    environment.unwrapped.set_env_state(start)
    earned = [environment.step(action)[1] for action in actions[: ends[0]][:50]]
    np.testing.assert_allclose(earned, rewards[:50], atol=0.02)
    environment.close()


def test_a_dropped_pen_ends_the_episode():
    environment = make_environment(find_task("pen-human"))
    environment.reset(seed=0)
    _, _, terminated, truncated, _ = environment.step(np.zeros(environment.action_space.shape))
    assert not terminated and not truncated
    raw = environment.unwrapped
    fallen = raw.data.qpos.copy()
    fallen[-6] = 0.3  # m, the pen's joint that points down
    raw.set_state(fallen, raw.data.qvel)
    observation, _, terminated, _, _ = environment.step(np.zeros(environment.action_space.shape))
    assert terminated and observation[26] < 0.075
    environment.close()


def test_the_last_observation_of_an_episode_is_not_the_next_ones_first():
    environments = make_environments(find_task("hopper-medium"), 2)
    environments.reset(seed=0)
    ended = np.zeros(2, np.bool_)
    while not ended.any():
        observations, _, terminated, truncated, infos = environments.step(np.ones((2, 3), np.float32))
        ended = terminated | truncated
    index = int(np.flatnonzero(ended)[0])
    assert not np.allclose(infos["final_obs"][index], observations[index])
    environments.close()


# Cells are 4 m wide and the maze's middle is (0, 0): cell (row, column) of a maze of R rows and C columns lies at
# x = 4 (column + 0.5 - C / 2), y = 4 (R / 2 - row - 0.5). U: 5 x 5, medium: 8 x 8, large: 9 x 12.
@pytest.mark.parametrize(
    ("name", "start", "cell"),
    [
        ("antmaze-umaze", (-4, 4), (-4, -4)),
        ("antmaze-medium-play", (-10, 10), (10, -10)),
        ("antmaze-large-diverse", (-18, 12), (14, -12)),
    ],
)
def test_an_ant_starts_and_ends_where_d4rls_does(name, start, cell):
    environment = make_environment(find_task(name))
    starts, goals = [], []
    for seed in range(40):
        observation, _ = environment.reset(seed=seed)
        starts.append(observation[:2])
        goals.append(environment.unwrapped.goal)
    beyond = (np.array(goals) - cell) * (1, -1)  # the cell's middle, and downwards: a draw from [0, 1] and one from [0, 0.5], m
    assert beyond.min() >= 0 and 1.2 < beyond.max() <= 1.5
    assert beyond.mean(axis=0) == pytest.approx([0.75, 0.75], abs=0.2)  # the standard error is 0.05
    environment.reset(seed=3)
    assert environment.unwrapped.goal == pytest.approx(goals[3])
    assert np.abs(np.array(starts) - start).max() <= 0.1  # m
    assert np.ptp(starts, axis=0).min() > 0  # another start for each seed: or all episodes would be the same
    environment.close()


@pytest.mark.parametrize(("distance", "there"), [(0.49, True), (0.51, False)])
def test_an_ant_within_half_a_metre_of_its_goal_is_there(distance, there):
    environment = make_environment(find_task("antmaze-umaze"))
    environment.reset(seed=0)
    maze = environment.unwrapped
    _, reward, terminated, _, _ = environment.step(np.zeros(8))
    assert (reward, terminated) == (0.0, False)
    observation, *_ = environment.step(np.zeros(8))
    maze.goal = observation[:2] + np.array([distance, 0.0])
    positions, velocities = maze.data.qpos.copy(), maze.data.qvel.copy()
    maze.ant_env.set_state(positions, np.zeros_like(velocities))  # at rest it moves by less than a centimetre in a step
    _, reward, terminated, _, _ = environment.step(np.zeros(8))
    assert (reward, terminated) == (float(there), there)
    environment.close()


def test_an_environment_that_does_not_start_is_named():
    with pytest.raises(EnvironmentMissingError, match="FrankaKitchen-v0 does not start with the installed libraries"):
        make_environment(replace(find_task("kitchen-mixed"), environment="FrankaKitchen-v0"))


@pytest.mark.parametrize(("name", "asked"), [("kitchen-complete", [17, 18, 19, 22]), ("kitchen-mixed", [11, 12, 17, 18, 22])])
def test_a_kitchen_shows_what_d4rls_shows(name, asked):
    environment = make_environment(find_task(name))
    observation, _ = environment.reset(seed=0)
    assert observation.shape == environment.observation_space.shape == (60,)
    goal = observation[30:]
    assert set(np.flatnonzero(goal)) == {*asked, 23, 24, 25, 26, 29}  # the kettle's goal has two zeros
    assert goal[22] == -0.75
    assert observation[1] == pytest.approx(-1.77, abs=0.05)  # the robot's shoulder
    assert observation[22:27] == pytest.approx([0.0, -0.269, 0.35, 1.619, 1.0], abs=0.05)  # the shut microwave, the kettle's place
    for _ in range(3):
        _, reward, terminated, truncated, _ = environment.step(environment.action_space.sample())
        assert (reward, terminated, truncated) == (0.0, False, False)
    environment.close()


def test_a_door_that_is_open_is_worth_one_once():
    environment = make_environment(find_task("kitchen-partial"))
    environment.reset(seed=0)
    rewards = []
    for _ in range(3):
        environment.unwrapped.data.qpos[22] = -0.75
        rewards.append(float(environment.step(np.zeros(9))[1]))
    environment.close()
    assert rewards == [1.0, 0.0, 0.0]


def test_locomotion_is_measured_in_the_newest_environments():
    assert {task.environment for task in all_tasks().values() if task.family == "locomotion"} == {
        "Hopper-v5",
        "Walker2d-v5",
        "HalfCheetah-v5",
    }
