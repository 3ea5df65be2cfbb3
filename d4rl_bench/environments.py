"""The tasks' environments, from gymnasium and gymnasium-robotics, made as near to D4RL's as they go.

gymnasium-robotics has changed Adroit since: from 1.2.1 on, three dense rewards grow with the hand's distance from what it should
reach for (0.1 |d| where D4RL has -0.1 |d|), and a dropped pen no longer ends the episode. Both are set right here, from the
observation, so that scores mean what the published ones mean. Its kitchen does not start with MuJoCo 4, whose types of joints no longer
equal the numbers in a model: it is shown numbers instead. Its mazes move start and goal by up to a metre each way, let the ant begin
without a tremble and count the goal as reached within 0.45 m: all of this is set to D4RL's.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from types import SimpleNamespace
from typing import Any, SupportsFloat

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from common.errors import QuadloopError
from d4rl_bench.task import Task

Environment = gymnasium.Env[Any, Any]

DROPPED_PEN_HEIGHT_M = 0.075  # D4RL's pen_v0.py
REACH_WEIGHT = 0.1
GOAL_RADIUS_M = 0.5  # D4RL's goal_reaching_env.py; the library has 0.45
GOAL_SHIFTS_M = (1.0, 0.5)  # the goal lies up to this beyond its cell's middle, a uniform draw of each (its maze_env.py: goal_sampler)
ANT_TREMBLE = 0.1  # of an ant's positions and velocities when an episode begins, D4RL's ant.py; the library's mazes have none

_MAZES = {
    "AntMaze_UMaze-v5": ("U_MAZE", (1, 1), (3, 1)),
    "AntMaze_Medium-v5": ("MEDIUM_MAZE", (1, 1), (6, 6)),
    "AntMaze_Large-v5": ("LARGE_MAZE", (1, 1), (7, 9)),
}
"""Maze, and the cells (row, column) of start and goal when D4RL measures (its maze_env.py)."""
_ROBOT_POSITIONS, _ROBOT_VELOCITIES, _OBJECT_POSITIONS = 9, 9, 21  # at the beginning of the library's observation


class EnvironmentMissingError(QuadloopError):
    """An environment that does not start with the installed libraries."""


def make_environment(task: Task) -> Environment:
    """One environment, its time limit included; actions are clipped to its range, observations are (O,)."""
    with redirect_stderr(io.StringIO()):  # where it prints that it has wrong rewards, which are set right below
        import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    if task.family == "kitchen":
        gymnasium_robotics.utils.mujoco_utils.mujoco = _NumberedJoints()  # for good: it is asked at every step, and nothing else differs
    try:
        with _without_advice():
            environment = gymnasium.make(task.environment, max_episode_steps=task.episode_steps, **_options(task))
    except (AssertionError, gymnasium.error.Error, AttributeError) as error:
        raise EnvironmentMissingError(f"{task.environment} does not start with the installed libraries ({_first_line(error)})") from error
    if task.family == "antmaze":
        _set_luck(environment.unwrapped)
    for wrapper in _WRAPPERS.get(task.environment, _FAMILY_WRAPPERS.get(task.family, ())):
        environment = wrapper(environment)
    return gymnasium.wrappers.ClipAction(environment)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Warnings of newer versions of an environment, and of old words in the libraries' own model files: the task says what it means."""
    said = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda _message: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        mujoco.set_mju_user_warning(said)


def make_environments(task: Task, count: int) -> gymnasium.vector.SyncVectorEnv:
    """`count` of them, stepped one after the other; the observation after an episode's last step is in infos["final_obs"]."""
    same_step = gymnasium.vector.AutoresetMode.SAME_STEP
    return gymnasium.vector.SyncVectorEnv([lambda: make_environment(task)] * count, autoreset_mode=same_step)


def _options(task: Task) -> dict[str, Any]:
    """kitchen: what is to be done. antmaze: as when D4RL measures, one cell to start in and one with the goal, where the episode
    ends; the library's own mazes draw both anew."""
    if task.family == "kitchen":
        asked = list(task.asked)
        return {"tasks_to_complete": asked, "disable_env_checker": True}  # it warns of observations that KitchenObservation copies
    if task.family != "antmaze":
        return {}
    from gymnasium_robotics.envs.maze import maps

    name, start, goal = _MAZES[task.environment]
    cells = [list(row) for row in getattr(maps, name)]
    cells[start[0]][start[1]], cells[goal[0]][goal[1]] = maps.RESET, maps.GOAL
    return {"continuing_task": False, "maze_map": cells}


def _set_luck(maze: Any) -> None:
    """D4RL's luck, which `gymnasium.make` cannot be told: the ant trembles at its start, which stays. AntMazeGoal moves the goal."""
    maze.position_noise_range = 0.0
    maze.ant_env._reset_noise_scale = ANT_TREMBLE


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


class ReachReward(gymnasium.Wrapper[Any, Any, Any, Any]):
    """D4RL's dense reward of an Adroit task: 0.1 |d| taken away where gymnasium-robotics adds it.

    `offset` gives d (3,), from the palm to what it reaches for, from an observation.
    """

    def __init__(self, environment: Environment, offset: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
        super().__init__(environment)
        self._offset = offset

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """As gymnasium's, with the reward set right."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        distance = float(np.linalg.norm(self._offset(observation)))
        return observation, float(np.asarray(reward).item()) - 2 * REACH_WEIGHT * distance, terminated, truncated, info


class PenDrop(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A dropped pen ends the episode, as in D4RL. The pen's position is observation[24:27]."""

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """As gymnasium's, with the termination set right."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or bool(observation[26] < DROPPED_PEN_HEIGHT_M), truncated, info


class _NumberedJoints:
    """The module mujoco, with plain numbers for its types of joints: MuJoCo 4's do not equal those that a model holds."""

    mjtJoint = SimpleNamespace(**{name: int(value) for name, value in mujoco.mjtJoint.__members__.items()})  # noqa: N815  MuJoCo's name

    def __getattr__(self, name: str) -> Any:
        return getattr(mujoco, name)


class KitchenObservation(gymnasium.ObservationWrapper[Any, Any, Any]):
    """D4RL's 60 values: positions of the robot (9) and of the kitchen (21), then both as they are to be (30), 0 where nothing is asked."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (60,), np.float64)

    def observation(self, observation: dict[str, Any]) -> NDArray[np.float64]:
        """(60,) from the library's dictionary."""
        from gymnasium_robotics.envs.franka_kitchen.kitchen_env import OBS_ELEMENT_INDICES

        goal = np.zeros(_ROBOT_POSITIONS + _OBJECT_POSITIONS)
        for name, wanted in observation["desired_goal"].items():
            goal[OBS_ELEMENT_INDICES[name]] = wanted
        measured, objects = observation["observation"], _ROBOT_POSITIONS + _ROBOT_VELOCITIES
        return np.concatenate([measured[:_ROBOT_POSITIONS], measured[objects : objects + _OBJECT_POSITIONS], goal])


class AntMazeGoal(gymnasium.Wrapper[Any, Any, Any, Any]):
    """D4RL's goal, drawn anew for each episode as all its -v2 mazes do (`v2_resets` in its ant.py), and its radius: within GOAL_RADIUS_M of
    the goal the ant earns 1, and the episode ends."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As gymnasium's, with the goal moved to the right, and down, where the library's y falls and D4RL's rises."""
        observation, info = self.env.reset(seed=seed, options=options)
        maze: Any = self.unwrapped
        shift = sum(maze.np_random.uniform(0.0, most, 2) for most in GOAL_SHIFTS_M)
        maze.goal = maze.goal + shift * (1.0, -1.0)
        return observation | {"desired_goal": maze.goal.copy()}, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """As gymnasium's, with reward and termination set right."""
        observation, _, _, truncated, info = self.env.step(action)
        reached = bool(np.linalg.norm(observation["achieved_goal"] - observation["desired_goal"]) <= GOAL_RADIUS_M)
        return observation, float(reached), reached, truncated, info


class AntMazeObservation(gymnasium.ObservationWrapper[Any, Any, Any]):
    """D4RL's 29 values: the ant's place (2), then positions and velocities (27) without contact forces or the goal."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (29,), np.float64)

    def observation(self, observation: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """(29,) from the maze's dictionary."""
        return np.concatenate([observation["achieved_goal"], observation["observation"][:27]])


def _door(environment: Environment) -> Environment:
    return ReachReward(environment, lambda observation: observation[35:38])  # palm - handle


def _hammer(environment: Environment) -> Environment:
    return ReachReward(environment, lambda observation: observation[33:36] - observation[36:39])  # palm - hammer


def _relocate(environment: Environment) -> Environment:
    return ReachReward(environment, lambda observation: observation[30:33])  # palm - ball


_WRAPPERS: dict[str, tuple[Callable[[Environment], Environment], ...]] = {
    "AdroitHandDoor-v1": (_door,),
    "AdroitHandHammer-v1": (_hammer,),
    "AdroitHandRelocate-v1": (_relocate,),
    "AdroitHandPen-v1": (PenDrop,),
}
_FAMILY_WRAPPERS: dict[str, tuple[Callable[[Environment], Environment], ...]] = {
    "antmaze": (AntMazeGoal, AntMazeObservation),
    "kitchen": (KitchenObservation,),
}
