"""The tasks of the paper's Tables 1 and 2: environment, reference scores, protocol, and what differs in the learners' settings.

One YAML file a family in `tasks/`, one entry a task.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from common.config import laid_over, merged
from common.errors import QuadloopError

FOLDER = Path(__file__).parent / "tasks"
FAMILIES = ("locomotion", "adroit", "kitchen", "antmaze")

EARLY_STEPS = 20_000
"""Of fine-tuning: within them it must not lose what was learnt offline."""

FROM_NOTHING = "scratch"
"""The method of an online run that starts from no data: its cell is the same for all tasks of a world, and lies under the first of them."""

LearningReward = Literal["as it is", "by the range of returns", "minus one"]


class TaskError(QuadloopError):
    """A task that there is not."""


@dataclass(frozen=True)
class Task:
    """One data set of D4RL and the environment that it is from."""

    name: str = ""
    """D4RL's, with the version of the data"""
    family: str = ""
    """locomotion, adroit, kitchen or antmaze"""
    environment: str = ""
    """gymnasium's id"""
    observation_size: int = 0
    action_size: int = 0
    asked: tuple[str, ...] = ()
    """kitchen: what is to be done, in the environment's words; each is worth 1, once"""
    random_return: float = 0.0
    """D4RL's reference return of a random policy: score 0"""
    expert_return: float = 1.0
    """D4RL's reference return of an expert: score 100"""
    episode_steps: int = 1000
    """longest episode"""
    evaluation_episodes: int = 10
    """episodes a score is averaged over"""
    learning_reward: LearningReward = "as it is"
    """what learners see: D4RL's reward; the same over (best - worst return of the data) / 1000, as IQL does; or less one, as for antmaze"""
    iql_expectile: float = 0.7
    """of IQL as a baseline, by its own paper (Kostrikov et al. 2021)"""
    iql_temperature: float = 3.0
    """ibid., inverse"""
    url: str = ""
    """where D4RL keeps the data"""
    quoted: dict[str, float] = field(default_factory=dict)
    """the paper's score of each method"""
    amq_horizon: int = 1000
    """H of AM-Q by the paper (Table 5), for the preset `paper`"""
    settings: dict[str, Any] = field(default_factory=dict)
    """what differs from the defaults of d4rl_bench.offline.OfflineConfig, as in a config file"""
    online_settings: dict[str, Any] = field(default_factory=dict)
    """the same of d4rl_bench.online.OnlineConfig, for PPO from Uni-O4"""

    def score(self, episode_return: float) -> float:
        """D4RL's normalised score: 0 is a random policy, 100 an expert."""
        return 100.0 * (episode_return - self.random_return) / (self.expert_return - self.random_return)

    @property
    def world(self) -> tuple[str, ...]:
        """What is acted in: equal for tasks that differ in their data alone."""
        return self.environment, *self.asked

    @property
    def point(self) -> float:
        """The return that is worth one point of score."""
        return (self.expert_return - self.random_return) / 100.0


@cache
def all_tasks() -> dict[str, Task]:
    """Name -> task, in the order of the paper's tables."""
    tasks = {task.name: task for family in FAMILIES for task in _tasks_of(family)}
    return {name: tasks[name] for name in yaml.safe_load((FOLDER / "order.yaml").read_text())}


def _tasks_of(family: str) -> Iterator[Task]:
    content = yaml.safe_load((FOLDER / f"{family}.yaml").read_text())
    for environment in content["environments"].values():
        for name, own in environment.pop("tasks").items():
            values = laid_over(laid_over(content["common"], environment), own)
            settings, online = values.pop("settings", {}), values.pop("online_settings", {})
            yield replace(merged(Task(name=name, family=family), values, f"{name}."), settings=settings, online_settings=online)


def find_task(name: str) -> Task:
    """The task of that name; the version may be left out. TaskError names the nearest."""
    for task in all_tasks().values():
        if name in (task.name, task.name.rsplit("-", 1)[0]):
            return task
    near = difflib.get_close_matches(name, all_tasks(), n=1, cutoff=0.4)
    raise TaskError(f"there is no task '{name}'{f'; did you mean {near[0]}?' if near else ''}; quadloop d4rl list names them")


def other_data(task: Task) -> str:
    """What to do without D4RL's data, as the end of a line: only locomotion's can be made here."""
    if task.family == "locomotion":
        return f"make a data set of your own with: quadloop d4rl data make {task.name.partition('-')[0]}"
    return "have quadloop d4rl read others with --data FILE|minari:NAME"


def first_of_world(name: str) -> Task:
    """The first of all tasks whose world is that of the task `name`: it stands for them where no data are learnt from."""
    world = find_task(name).world
    return next(task for task in all_tasks().values() if task.world == world)
