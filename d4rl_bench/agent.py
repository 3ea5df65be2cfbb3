"""The agent whose acting becomes data: PPO from nothing, with what it was at every evaluation and all that it did until then."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import load_arrays
from common.config import config_hash
from common.files import whole_or_absent
from d4rl_bench.evaluation import Evaluator, mean_action
from d4rl_bench.evaluation import recipe as evaluation_recipe
from d4rl_bench.online import RECIPE as ONLINE_RECIPE
from d4rl_bench.online import Learner, OnlineConfig, OnlineTrainer, Rollout, learner_from_nothing
from d4rl_bench.task import Task
from learners.checkpoint import CheckpointError, blaming, load_checkpoint, save_checkpoint
from learners.progress import Progress
from learners.training import RECIPE

EVALUATION_SEED = 10_000  # of the agent's own curve; far from the seeds that measure what is learnt from its data
MAX_BYTES = 2**30  # of what it did between two evaluations; 20,000 steps are some 10 MB


@dataclass(frozen=True)
class Stage:
    """What the agent was after so many steps, and its mean return over the evaluation episodes."""

    steps: int
    episode_return: float
    learner: Learner


class Agent:
    """An agent in training. A folder below `folder` keeps it, and what it did, after every evaluation: a killed training goes on from
    there, and a finished one when it is to last longer."""

    def __init__(self, task: Task, config: OnlineConfig, seed: int, folder: Path) -> None:
        training = {name: value for name, value in asdict(config).items() if name != "steps"}
        recipes = [RECIPE, ONLINE_RECIPE, evaluation_recipe(task)]
        key = config_hash({"recipes": recipes, "task": task.environment, "seed": seed, "training": training})[:16]
        self.folder = folder / f"agent-{key}"
        self.stages: list[Stage] = []
        self._config = config
        self._learner, scales = learner_from_nothing(task, config, seed)
        self._learner.policy.narrow(config.exploration_std)
        self._trainer = OnlineTrainer(task, self._learner, config, seed, scales)
        self._evaluator = Evaluator(task, EVALUATION_SEED)
        self._task = task

    def train(self, progress: Progress) -> None:
        """All of `config.steps`. New episodes begin after every evaluation, resumed or not: what was under way is cut off there."""
        trainer, config = self._trainer, self._config
        if self._checkpoint.exists():
            self._restore()
        did: list[Rollout] = []
        while trainer.steps < config.steps:
            rollout, figures = trainer.iterate()
            did.append(rollout)
            if trainer.steps >= (len(self.stages) + 1) * config.evaluate_every:
                episode_return = float(self._evaluator.returns(mean_action(self._learner.policy, self._learner.scaler)).mean())
                self.stages.append(Stage(trainer.steps, episode_return, copy.deepcopy(self._learner)))
                self._save(did)
                did = []
                trainer.begin_episodes()
                figures |= {"score": self._task.score(episode_return)}
            progress("agent", min(trainer.steps, config.steps), config.steps, figures)
        self.stages = [stage for stage in self.stages if stage.steps < config.steps + config.steps_per_update]  # it may have been longer
        trainer.close()
        self._evaluator.close()

    def did_until(self, last: Stage) -> Iterator[Rollout]:
        """All that it did until it was `last`, in order; each rollout ends where episodes were cut off."""
        for stage in self.stages:
            if stage.steps <= last.steps:
                path = self._rollout(stage.steps)
                columns = load_arrays(path, MAX_BYTES, CheckpointError)
                if set(columns) != {field.name for field in fields(Rollout)}:
                    raise CheckpointError(f"{path} holds {', '.join(sorted(columns))}; delete {self.folder} to begin anew")
                yield Rollout(**columns)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def _rollout(self, steps: int) -> Path:
        return self.folder / f"until_{steps}.npz"

    def _save(self, did: list[Rollout]) -> None:
        """What it did first: a checkpoint names only what is there."""
        names = [field.name for field in fields(Rollout)]
        columns: dict[str, Any] = {name: np.concatenate([getattr(rollout, name) for rollout in did]) for name in names}
        columns["truncated"][-1] = ~columns["terminated"][-1]
        with whole_or_absent(self._rollout(self._trainer.steps)) as temporary, temporary.open("wb") as file:
            np.savez(file, **columns)
        stages = [{"steps": stage.steps, "return": stage.episode_return, "learner": stage.learner.state_dict()} for stage in self.stages]
        save_checkpoint(self._checkpoint, {"trainer": self._trainer.state_dict(), "stages": stages})

    def _restore(self) -> None:
        content = load_checkpoint(self._checkpoint)
        with blaming(self._checkpoint):
            self.stages = [Stage(int(s["steps"]), float(s["return"]), Learner.of_state(s["learner"])) for s in content["stages"]]
            self._trainer.load_state_dict(content["trainer"])
        lost = [path.name for path in map(self._rollout, [stage.steps for stage in self.stages]) if not path.exists()]
        if lost:
            raise CheckpointError(f"{self.folder} lacks {', '.join(lost)}; delete the folder to begin anew")
