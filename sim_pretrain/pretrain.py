"""PPO in simulation: from nothing to a walking policy."""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.typed_values import as_type
from learners.checkpoint import blaming, load_checkpoint, save_checkpoint
from learners.onnx_graph import export_policy
from learners.policy import GaussianPolicy
from learners.ppo import Ppo
from learners.progress import Progress
from learners.value import Value
from robot import go1
from robot.observation import GO1_LAYOUT
from robot.policy.artifact import ArtifactError, PolicyArtifact, keep_or_write_artifact
from sim_pretrain.backend import make_environment
from sim_pretrain.config import PretrainConfig
from sim_pretrain.rollout import Rollout
from sim_pretrain.training_environment import TrainingEnvironment

EXPORT_TOLERANCE = 1e-5  # of an action; float32 rounding of a 512-wide layer is ten times smaller


def pretrain(config: PretrainConfig, seed: int, out: Path, report: Progress) -> PolicyArtifact:
    """Train until `config.steps`; goes on from `out`/checkpoint.pt if there is one. Writes policy.onnx (stage "pretrained").

    A policy.onnx that holds the result already stays as it is, with the revision of the code that made it.
    """
    environment = make_environment(config, seed, out)
    try:
        trainer = Pretrainer(config, seed, environment)
        trainer.resume(out / "checkpoint.pt")
        while trainer.steps < config.steps:
            figures = trainer.iterate()
            report("pretrain", min(trainer.steps, config.steps), config.steps, figures)
            if trainer.updates % config.checkpoint_every == 0:
                trainer.save(out / "checkpoint.pt")
        trainer.save(out / "checkpoint.pt")
    finally:
        environment.close()
    return export(trainer.average, out / "policy.onnx", config.deployed_std)


def export(policy: GaussianPolicy, path: Path, std: float) -> PolicyArtifact:
    """Write the policy as an artifact with the given std, unless there is one, and check it against the torch policy on random histories.

    ArtifactError if they differ by more than 1e-5.
    """
    with torch.no_grad():
        policy.log_std.fill_(math.log(std))
    artifact = keep_or_write_artifact(path, export_policy(policy), "pretrained", None)
    difference = _difference(artifact, policy, std)
    if not difference <= EXPORT_TOLERANCE:
        raise ArtifactError(f"{path} differs from the policy it was made of by {difference:.2g}; please report this")
    return artifact


@torch.no_grad()
def _difference(artifact: PolicyArtifact, policy: GaussianPolicy, std: float) -> float:
    """The largest between the artifact's actions, or their std, and what the policy gives for 64 random histories."""
    histories = torch.randn(64, GO1_LAYOUT.size, generator=torch.Generator().manual_seed(0))
    mean, stds = artifact.act(histories.numpy())
    return float(max(np.abs(mean - policy(histories).numpy()).max(), np.abs(stds - std).max()))


class Pretrainer:
    """Environment and learner; `iterate` collects one rollout and learns from it."""

    def __init__(self, config: PretrainConfig, seed: int, environment: TrainingEnvironment) -> None:
        torch.manual_seed(seed)
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.environment = environment
        self.policy = GaussianPolicy(GO1_LAYOUT.size, go1.NUM_JOINTS, config.hidden, initial_std=config.initial_std)
        # Each update leads a little astray; the mean over many of them walks straighter than any.
        self.average = copy.deepcopy(self.policy)
        self.value = Value(environment.critic_size, config.value_hidden)
        self.ppo = Ppo(self.policy, self.value, config.ppo)
        self.rollout = Rollout(config.rollout, environment)
        self.steps = 0
        self.updates = 0
        self.seconds = 0.0  # of collecting and learning, in all

    def iterate(self) -> dict[str, float]:
        """One rollout and one update; returns named figures of both. DivergedError if learning blew up."""
        began = time.monotonic()
        self._limit_exploration()
        terms = self.rollout.collect(self.policy, self.generator, self.ppo.autocast)
        figures = self.learn()
        self.ppo.refuse_divergence("pretrain", self.steps, figures)
        self.steps += self.rollout.size
        self.updates += 1
        self._average()
        self.seconds += time.monotonic() - began
        figures |= {
            "seconds": self.seconds,
            "std": float(torch.exp(self.policy.log_std.detach()).mean()),
            "learning_rate": self.ppo.policy_lr,
        }
        return terms | figures

    def learn(self) -> dict[str, float]:
        """One update from the rollout that was collected last."""
        return self.ppo.update(self.rollout.batch(self.policy, self.value, self.ppo), self.generator)

    def _limit_exploration(self) -> None:
        config = self.config
        done = min(1.0, self.steps / config.steps)
        largest_std = config.initial_std + done * (config.final_std - config.initial_std)
        self.policy.narrow(largest_std)

    @torch.no_grad()
    def _average(self) -> None:
        weight = 1 / min(self.updates, self.config.averaged_updates)
        for mean, acting in zip(self.average.parameters(), self.policy.parameters(), strict=True):
            mean.lerp_(acting, weight)

    def save(self, path: Path) -> None:
        """Write what `resume` needs."""
        environment = {name: _as_tensor(value) for name, value in self.environment.state_dict().items()}
        save_checkpoint(
            path,
            self.ppo.state_dict()
            | {
                "average": self.average.state_dict(),
                "steps": self.steps,
                "updates": self.updates,
                "seconds": self.seconds,
                "generator": self.generator.get_state(),
                "environment": environment,
            },
        )

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one: with MuJoCo exactly as if there had been no interruption."""
        if not path.exists():
            return
        with blaming(path):
            state = load_checkpoint(path)
            self.ppo.load_state_dict(state)
            self.average.load_state_dict(state["average"])
            self.generator.set_state(state["generator"])
            self.steps, self.updates = (as_type(int, state[name]) for name in ("steps", "updates"))
            self.seconds = as_type(float, state["seconds"])
            self.environment.load_state_dict({name: _as_array(value) for name, value in state["environment"].items()})


def _as_tensor(value: Any) -> Any:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _as_array(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value
