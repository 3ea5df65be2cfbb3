"""The online phase: PPO from what the offline phase left, or from nothing, and its learning curve."""

from __future__ import annotations

from pathlib import Path

import torch

from d4rl_bench.evaluation import Evaluator, mean_action
from d4rl_bench.online import Learner, OnlineConfig, OnlineTrainer, learner_from_nothing
from d4rl_bench.task import EARLY_STEPS, Task
from learners.checkpoint import CheckpointError, blaming, load_checkpoint, save_checkpoint
from learners.progress import Progress

Curve = list[tuple[int, float]]
"""(environment steps, score) pairs."""

LEARNER = "learner.pt"

CHECKPOINT_POINTS = 5
"""So many points of the curve after a checkpoint comes the next one. There all episodes begin anew, resumed or not, since those that are
under way cannot be kept; it is rare, because who is cut off early never learns what comes late in an episode."""


def load_learner(folder: Path) -> Learner:
    """What an offline run of Uni-O4 left in `folder`; CheckpointError if that is lost or unusable."""
    path = folder / LEARNER
    advice = f"delete {folder} and run quadloop d4rl offline again"  # which does nothing where the result is there
    try:
        return Learner.of_state(load_checkpoint(path))
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {advice}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{path} holds no learner of this version; {advice}") from error


def begun(task: Task, start: Path | None, config: OnlineConfig, seed: int) -> OnlineTrainer:
    """A fine-tuning before its first step, of the offline run in `start` or of nothing."""
    learner, scales = (load_learner(start), None) if start is not None else learner_from_nothing(task, config, seed)
    learner.policy.narrow(config.exploration_std)
    torch.manual_seed(seed)
    return OnlineTrainer(task, learner, config, seed, scales)


def finetune(
    task: Task, start: Path | None, config: OnlineConfig, seed: int, folder: Path, evaluator: Evaluator, progress: Progress
) -> Curve:
    """PPO for `config.steps` steps from the offline run in `start`, or from nothing; `folder` keeps a checkpoint to resume from."""
    trainer = begun(task, start, config, seed)
    checkpoint = folder / "checkpoint.pt"
    curve = _resumed(trainer, checkpoint) if checkpoint.exists() else [(0, _score(trainer, evaluator))]
    kept = trainer.steps
    while trainer.steps < config.steps:
        early = trainer.steps < EARLY_STEPS  # in which every update is measured: a drop must not hide between two points
        _, figures = trainer.iterate()
        done = trainer.steps >= config.steps
        if early or done or trainer.steps >= curve[-1][0] + config.evaluate_every:
            curve.append((trainer.steps, _score(trainer, evaluator)))
            figures |= {"score": curve[-1][1]}
        if done or trainer.steps >= kept + CHECKPOINT_POINTS * config.evaluate_every:
            save_checkpoint(checkpoint, trainer.state_dict() | {"curve": [list(point) for point in curve]})
            trainer.begin_episodes()
            kept = trainer.steps
        progress("online", min(trainer.steps, config.steps), config.steps, figures)
    trainer.close()
    return curve


def _score(trainer: OnlineTrainer, evaluator: Evaluator) -> float:
    return evaluator.score(mean_action(trainer.learner.policy, trainer.learner.scaler))


def _resumed(trainer: OnlineTrainer, checkpoint: Path) -> Curve:
    with blaming(checkpoint):
        state = load_checkpoint(checkpoint)
        trainer.load_state_dict(state)
        return [(int(steps), float(score)) for steps, score in state["curve"]]
