"""PPO in simulation: from nothing to a walking policy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.checks import POSITIVE, at_least, require
from learners.advantages import generalised_advantages
from learners.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from learners.onnx_graph import export_policy
from learners.policy import GaussianPolicy, gaussian_log_prob
from learners.ppo import Ppo, PpoBatch, PpoConfig
from learners.precision import autocast
from learners.value import Value
from robot import go1
from robot.observation import GO1_LAYOUT
from robot.policy_artifact import ArtifactError, PolicyArtifact, write_artifact
from sim_pretrain.environment import EnvironmentConfig, WalkingEnvironment
from twin.terrain import FLAT, Terrain

EXPORT_TOLERANCE = 1e-5  # of an action; float32 rounding of a 512-wide layer is ten times smaller


@dataclass(frozen=True)
class PretrainConfig:
    """Simulator pretraining on flat ground without randomisation, as in the paper. Defaults suit two cores and a few minutes."""

    steps: int = 3_000_000
    """control steps in all, over all robots"""
    rollout: int = 24
    """control steps of each robot between two updates"""
    hidden: tuple[int, ...] = (512, 256, 128)
    """hidden layers of the actor"""
    value_hidden: tuple[int, ...] = (256, 256, 256)
    """hidden layers of the value"""
    initial_std: float = 1.0
    """exploration at the start"""
    deployed_std: float = 0.45
    """the exported policy explores at most this much: about what the released logs were collected with"""
    checkpoint_every: int = 20
    """updates between two checkpoints"""
    ppo: PpoConfig = field(
        default_factory=lambda: PpoConfig(
            clip_ratio=0.2, epochs=4, minibatches=4, policy_lr=1e-3, value_lr=1e-3, entropy_weight=0.002, desired_kl=0.01, precision="auto"
        )
    )
    """the learner"""
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    """the task"""

    def __post_init__(self) -> None:
        require(self, at_least(1), "steps", "rollout", "hidden", "value_hidden", "checkpoint_every")
        require(self, POSITIVE, "initial_std", "deployed_std")


PRESETS = {
    "smoke": PretrainConfig(steps=12_288, environment=EnvironmentConfig(num_robots=128)),
    "demo": PretrainConfig(),
    "paper": PretrainConfig(steps=7_000_000),
}

Report = Callable[[str, int, int, dict[str, float]], None]
"""Called as report("pretrain", steps, total, figures) after every update."""


def pretrain(config: PretrainConfig, seed: int, out: Path, report: Report, revision: str = "") -> PolicyArtifact:
    """Train until `config.steps`; goes on from `out`/checkpoint.pt if there is one. Writes policy.onnx (stage "pretrained")."""
    trainer = Pretrainer(config, seed)
    try:
        trainer.resume(out / "checkpoint.pt")
        while trainer.steps < config.steps:
            figures = trainer.iterate()
            report("pretrain", min(trainer.steps, config.steps), config.steps, figures)
            if trainer.updates % config.checkpoint_every == 0:
                trainer.save(out / "checkpoint.pt")
        trainer.save(out / "checkpoint.pt")
    finally:
        trainer.close()
    return export(trainer.policy, out / "policy.onnx", config.deployed_std, revision)


def export(policy: GaussianPolicy, path: Path, max_std: float, revision: str = "") -> PolicyArtifact:
    """Write the policy as an artifact with its std capped, and check the artifact against the torch policy on random histories.

    ArtifactError if they differ by more than 1e-5.
    """
    with torch.no_grad():
        policy.log_std.clamp_(max=math.log(max_std))
        artifact = write_artifact(path, export_policy(policy), "pretrained", None, git_revision=revision, force=True)
        histories = torch.randn(64, GO1_LAYOUT.size, generator=torch.Generator().manual_seed(0))
        expected = policy(histories).numpy()
    difference = float(np.abs(artifact.act(histories.numpy())[0] - expected).max())
    if not difference <= EXPORT_TOLERANCE:
        raise ArtifactError(f"{path} differs from the policy it was made of by {difference:.2g}; please report this")
    return artifact


@dataclass
class _Rollout:
    """T steps of N robots; time first."""

    observations: Tensor
    actions: Tensor
    means: Tensor
    log_prob: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    values: Tensor
    next_values: Tensor


class Pretrainer:
    """Environment and learner; `iterate` collects one rollout and learns from it."""

    def __init__(self, config: PretrainConfig, seed: int, terrain: Terrain = FLAT) -> None:
        torch.manual_seed(seed)
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.environment = WalkingEnvironment(terrain, config.environment, seed)
        self.policy = GaussianPolicy(GO1_LAYOUT.size, go1.NUM_JOINTS, config.hidden, initial_std=config.initial_std)
        self.value = Value(GO1_LAYOUT.size, config.value_hidden)
        self.ppo = Ppo(self.policy, self.value, config.ppo)
        self.steps = 0
        self.updates = 0

    def iterate(self) -> dict[str, float]:
        """One rollout and one update; returns named figures of both."""
        rollout, terms = self._collect()
        advantages, returns = generalised_advantages(
            rollout.rewards, rollout.values, rollout.next_values, rollout.terminated, rollout.truncated,
            self.config.ppo.gamma, self.config.ppo.gae_lambda,
        )  # fmt: skip
        columns = (rollout.observations, rollout.actions, rollout.log_prob, rollout.means, advantages, returns)
        observations, actions, log_prob, means, flat_advantages, flat_returns = (column.flatten(0, 1) for column in columns)
        batch = PpoBatch(observations, actions, log_prob, means, self.policy.log_std.detach().clone(), flat_advantages, flat_returns)
        figures = self.ppo.update(batch, self.generator)
        self.environment.widen_commands(terms["track_lin_vel"])
        self.steps += rollout.rewards.numel()
        self.updates += 1
        state = {
            "reward": float(rollout.rewards.mean()) / go1.CONTROL_DT,
            "range_share": self.environment.range_share,
            "falls": float(rollout.terminated.sum()) / rollout.terminated.numel(),
            "std": float(torch.exp(self.policy.log_std.detach()).mean()),
            "learning_rate": float(self.ppo.policy_optimizer.param_groups[0]["lr"]),
        }
        return terms | figures | state

    def save(self, path: Path) -> None:
        """Write what `resume` needs. The robots themselves are not kept: they start new episodes."""
        save_checkpoint(
            path,
            self.ppo.state_dict()
            | {"steps": self.steps, "updates": self.updates, "range_share": self.environment.range_share}
            | {"generator": self.generator.get_state()},
        )

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        if not path.exists():
            return
        state = load_checkpoint(path)
        try:
            self.ppo.load_state_dict(state)
            self.generator.set_state(state["generator"])
            self.steps, self.updates, self.environment.range_share = state["steps"], state["updates"], state["range_share"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit this config: {str(error).splitlines()[0]}") from error

    def close(self) -> None:
        """Stop the engine's threads."""
        self.environment.close()

    @torch.no_grad()
    def _collect(self) -> tuple[_Rollout, dict[str, float]]:
        steps, count = self.config.rollout, self.environment.count
        rollout = _empty_rollout(steps, count)
        final_values = torch.zeros(steps, count)
        terms: dict[str, float] = {}
        for t in range(steps):
            self._act(rollout, t)
            result = self.environment.step(rollout.actions[t].numpy())
            rollout.rewards[t] = torch.from_numpy(result.rewards)
            rollout.terminated[t] = torch.from_numpy(result.terminated)
            rollout.truncated[t] = torch.from_numpy(result.truncated)
            if result.truncated.any():
                final_values[t, rollout.truncated[t]] = self._values(torch.from_numpy(result.next_observations[result.truncated]))
            terms = {name: terms.get(name, 0.0) + value / steps for name, value in result.terms.items()}
        following = torch.cat([rollout.values[1:], self._values(torch.from_numpy(self.environment.observations))[None]])
        rollout.next_values = torch.where(rollout.truncated, final_values, following)
        return rollout, terms

    def _act(self, rollout: _Rollout, t: int) -> None:
        observations = torch.from_numpy(self.environment.observations)
        rollout.observations[t] = observations
        noise = torch.randn(len(observations), go1.NUM_JOINTS, generator=self.generator)
        with autocast(self.config.ppo.precision):
            mean = self.policy(observations)
        rollout.means[t] = mean.float()
        rollout.actions[t] = rollout.means[t] + torch.exp(self.policy.log_std) * noise
        rollout.log_prob[t] = gaussian_log_prob(rollout.actions[t], rollout.means[t], self.policy.log_std)
        rollout.values[t] = self._values(observations)

    def _values(self, observations: Tensor) -> Tensor:
        with autocast(self.config.ppo.precision):
            values: Tensor = self.value(observations)
        return values.float()


def _empty_rollout(steps: int, count: int) -> _Rollout:
    return _Rollout(
        observations=torch.zeros(steps, count, GO1_LAYOUT.size),
        actions=torch.zeros(steps, count, go1.NUM_JOINTS),
        means=torch.zeros(steps, count, go1.NUM_JOINTS),
        log_prob=torch.zeros(steps, count),
        rewards=torch.zeros(steps, count),
        terminated=torch.zeros(steps, count, dtype=torch.bool),
        truncated=torch.zeros(steps, count, dtype=torch.bool),
        values=torch.zeros(steps, count),
        next_values=torch.zeros(steps, count),
    )
