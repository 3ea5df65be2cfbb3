"""Data sets after D4RL's recipe (Fu et al. 2020, section 5) where its own cannot be had, made by our own PPO.

An agent is trained from nothing. Its best policy is the expert; its first policy that earns a third of that is the medium one.
medium: the medium policy acts. medium-replay: all that the agent did until it was medium. medium-expert: medium, and as many steps
of the expert.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common.checks import POSITIVE, at_least, at_most, require, require_rising
from common.config import config_hash
from common.errors import ConfigError, QuadloopError
from common.files import one_at_a_time, read_json, refuse_to_fill, sha256_of_file, write_json
from common.revision import git_revision
from d4rl_bench.agent import Agent, Stage
from d4rl_bench.d4rl_file import MADE_BY, returns_of_episodes, write_d4rl
from d4rl_bench.online import SCRATCH, Learner, OnlineConfig, OnlineTrainer, Rollout
from d4rl_bench.task import Task, all_tasks
from learners.progress import Progress
from learners.transitions import Transitions

KINDS = ("medium", "medium-replay", "medium-expert")
TRAINING = "training"
"""Below the data's folder: what a training leaves, its curve, and itself until it is done."""


@dataclass(frozen=True)
class MakeConfig:
    """How long the agent is trained, and how much each policy acts."""

    steps: int = 200_000
    """environment steps of the medium policy, and of the expert"""
    medium_share: float = 1 / 3
    """of the expert's return, at which a policy is medium"""
    training: OnlineConfig = field(default_factory=lambda: replace(SCRATCH, steps=1_000_000, evaluate_every=20_000))
    """the agent"""

    def __post_init__(self) -> None:
        require(self, at_least(2), "steps")
        require(self, POSITIVE, "medium_share")
        require(self, at_most(1), "medium_share")
        require_rising(self.training, "evaluate_every", "steps")  # medium and expert are chosen among the evaluated policies
        if self.steps > self.training.steps:  # and the medium one is at least that old
            raise ConfigError(f"training.steps is {self.training.steps}; it must be at least steps, which is {self.steps}")


def make_data(environment: str, folder: Path, config: MakeConfig, seed: int, progress: Progress, force: bool = False) -> dict[str, Any]:
    """Write `<task>.hdf5` for the three locomotion tasks of `environment` ("hopper", ...), and `<environment>.json` with what was done.

    An agent's training that was killed goes on from its last evaluation and gives the same data. Runs for the same files wait for each
    other. QuadloopError if the agent never becomes medium after `config.steps` steps.
    """
    tasks = {kind: _task_of(environment, kind) for kind in KINDS}
    agent = Agent(tasks["medium"], config.training, seed, folder / TRAINING / environment)
    made = agent.folder / f"made-{config_hash(config)[:16]}"
    record = made / f"{environment}.json"  # written last: once it is there, all is made, and a rerun only moves what is left
    names = [*(f"{task.name}.hdf5" for task in tasks.values()), record.name]
    waiting = partial(progress, "agent, which another run trains", 0, config.training.steps, {})
    with one_at_a_time(folder / record.name, waiting):
        if not record.exists():
            refuse_to_fill(folder, names, force)
            agent.train(progress)
            content = _make(agent, tasks, made, config, seed, progress)
            refuse_to_fill(folder, names, force)  # training takes hours, in which others may have put files there
            write_json(record, content)
        content = read_json(record)
        for name in names:
            if (made / name).exists():
                (made / name).replace(folder / name)
        shutil.rmtree(agent.folder)
    return {name: value for name, value in content.items() if name != "config"}


def _make(agent: Agent, tasks: Mapping[str, Task], made: Path, config: MakeConfig, seed: int, progress: Progress) -> dict[str, Any]:
    """Write the data of each kind into the folder `made`; returns what was done."""
    task, expert = tasks["medium"], max(agent.stages, key=lambda stage: stage.episode_return)
    policies = {"medium": _medium(agent.stages, expert, config), "expert": expert}
    parts = _parts(agent, policies, task, config, seed, progress)
    record: dict[str, Any] = {"environment": task.environment, "seed": seed, "revision": git_revision()}
    files = {kind: made / f"{other.name}.hdf5" for kind, other in tasks.items()}
    for kind, path in files.items():
        write_d4rl(path, parts[kind], record | {"made_by": MADE_BY, "task": tasks[kind].name}, force=True)
    record["policies"] = {name: {"steps": p.steps, "score": task.score(p.episode_return)} for name, p in policies.items()}
    record["data"] = {kind: _described(path, parts[kind], tasks[kind]) for kind, path in files.items()}
    record["curve"] = [[stage.steps, task.score(stage.episode_return)] for stage in agent.stages]
    return record | {"config": asdict(config)}


def _parts(
    agent: Agent, policies: dict[str, Stage], task: Task, config: MakeConfig, seed: int, progress: Progress
) -> dict[str, Transitions]:
    """The data of each kind; medium, then expert, each with its own luck."""
    medium, expert = (
        _act(task, stage.learner, config, seed + offset, name, progress) for offset, (name, stage) in enumerate(policies.items(), start=1)
    )
    replay = _as_transitions(list(agent.did_until(policies["medium"])))
    return {"medium": medium, "medium-replay": replay, "medium-expert": _joined([medium, expert])}


def _task_of(environment: str, kind: str) -> Task:
    name = f"{environment}-{kind}-v2"
    if name not in all_tasks():
        known = sorted({task.split("-")[0] for task, value in all_tasks().items() if value.family == "locomotion"})
        raise QuadloopError(f"data can be made for {', '.join(known)}, not for '{environment}'")
    return all_tasks()[name]


def _medium(stages: Sequence[Stage], expert: Stage, config: MakeConfig) -> Stage:
    """The first that earns its share of the expert's return; a replay of fewer than `steps` would be too small."""
    for stage in stages:
        if stage.steps >= config.steps and stage.episode_return >= config.medium_share * expert.episode_return:
            return stage
    raise QuadloopError(f"the agent was not medium after {config.steps:,} steps or later; train it for longer (--training.steps)")


def _act(task: Task, learner: Learner, config: MakeConfig, seed: int, name: str, progress: Progress) -> Transitions:
    """`config.steps` steps of one policy with its exploration."""
    trainer = OnlineTrainer(task, learner, config.training, seed)
    per_environment = -(-config.steps // config.training.environments)
    parts = []
    for begin in range(0, per_environment, 1000):
        parts.append(trainer.collect(min(1000, per_environment - begin)))
        progress(name, min(per_environment, begin + 1000) * config.training.environments, config.steps, {})
    trainer.close()
    return _as_transitions(parts)


def _as_transitions(rollouts: Sequence[Rollout]) -> Transitions:
    """Rollouts that follow one another, environment after environment; what runs on at the end is cut off there."""
    columns = {name: np.concatenate([getattr(rollout, name) for rollout in rollouts]) for name in vars(rollouts[0])}
    columns["truncated"] = columns["truncated"] & ~columns["terminated"]
    columns["truncated"][-1] |= ~columns["terminated"][-1]
    length, count = columns["rewards"].shape
    flat = {
        name: np.ascontiguousarray(values.swapaxes(0, 1)).reshape(count * length, *values.shape[2:]) for name, values in columns.items()
    }
    ended = flat["terminated"] | flat["truncated"]
    return Transitions(
        observations=flat["observations"],
        actions=np.clip(flat["actions"], -1.0, 1.0),
        rewards=flat["rewards"].astype(np.float32),
        next_observations=flat["next_observations"],
        terminated=flat["terminated"],
        truncated=flat["truncated"],
        episode_starts=np.concatenate([[0], np.flatnonzero(ended)[:-1] + 1]),
    )


def _joined(parts: Sequence[Transitions]) -> Transitions:
    offsets = np.cumsum([0, *(len(part) for part in parts[:-1])])
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("observations", "actions", "rewards", "next_observations", "terminated", "truncated")
    }
    starts = np.concatenate([part.episode_starts + offset for part, offset in zip(parts, offsets, strict=True)])
    return Transitions(**columns, episode_starts=starts)


def _described(path: Path, transitions: Transitions, task: Task) -> dict[str, Any]:
    returns = returns_of_episodes(transitions)
    return {
        "file": path.name, "sha256": sha256_of_file(path), "rows": len(transitions), "episodes": len(returns),
        "terminated": int(transitions.terminated.sum()), "mean_score": task.score(float(returns.mean())),
        "best_score": task.score(float(returns.max())),
    }  # fmt: skip
