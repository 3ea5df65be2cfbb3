"""Robot logs and a policy in, a better policy and the evidence for it out; the robot is not touched."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.errors import ConfigError
from common.files import write_json
from common.statistics import cluster_ci95, t_quantile_975
from learners.checkpoint import save_checkpoint
from learners.dynamics import DynamicsConfig
from learners.fqe import PAPER as PAPER_FQE
from learners.fqe import FqeConfig, fitted_q_evaluation
from learners.gate import GateConfig
from learners.improvement import Improvement
from learners.iql import IqlConfig
from learners.onnx_graph import export_policy, policy_of_graph
from learners.policy import GaussianPolicy, distance
from learners.progress import Progress
from learners.uni_o4 import PAPER, UniO4, UniO4Config
from offline_finetune.dataset import DatasetError, RobotDataset
from robot.policy_artifact import load_artifact, write_artifact


@dataclass(frozen=True)
class FinetuneConfig:
    """The offline stage on robot logs."""

    holdout_share: float = 0.2
    """share of the steps, by whole sessions, that only evaluation sees"""
    uni_o4: UniO4Config = field(default_factory=UniO4Config)
    """the learner"""
    fqe: FqeConfig = field(default_factory=FqeConfig)
    """the independent evaluation"""
    max_amq_starts: int = 1000
    """held-out start states for the final AM-Q"""

    def __post_init__(self) -> None:
        if not 0 < self.holdout_share < 1:
            raise ConfigError(f"holdout_share is {self.holdout_share:g}; the evidence needs some held-out data: choose it between 0 and 1")
        if self.fqe.members < 2:
            raise ConfigError(f"fqe.members is {self.fqe.members}; an interval needs at least two replicas")


PRESETS = {
    "smoke": FinetuneConfig(
        uni_o4=UniO4Config(
            members=2, improvement_steps=40, gate_period=20, batch_size=64,
            iql=IqlConfig(steps=100, batch_size=64, q_hidden=(32, 32), v_hidden=(32, 32)),
            dynamics=DynamicsConfig(steps=100, batch_size=64, members=2, elites=2, hidden=(32, 32)),
            gate=GateConfig(horizon=5, starts=64),
        ),
        fqe=FqeConfig(steps=50, batch_size=64, members=4, hidden=(32, 32)),
    ),
    "demo": FinetuneConfig(),
    "paper": FinetuneConfig(uni_o4=PAPER, fqe=PAPER_FQE),
}  # fmt: skip


@dataclass(frozen=True)
class FinetuneResult:
    """What the stage leaves behind."""

    policy: Path
    value: Path
    evidence: dict[str, Any]


def finetune(
    policy_path: Path, dataset: RobotDataset, out: Path, config: FinetuneConfig, seed: int, progress: Progress, revision: str = ""
) -> FinetuneResult:
    """Uni-O4 from the artifact `policy_path` on a data set of robot logs.

    Writes `policy.onnx` (stage "offline"), `value.pt` (V for the online stage) and `evidence.json` into `out`. What an interrupted run
    left there of critics, models and improvement is gone on with.
    """
    began = time.monotonic()
    parent = load_artifact(policy_path)
    if parent.metadata.layout != dataset.layout:
        raise DatasetError(f"{policy_path} sees another observation layout than the logs recorded; use logs of a policy with its layout")
    start = policy_of_graph(policy_path.read_bytes())
    learner = UniO4(dataset.train, start, parent.metadata.layout.history, config.uni_o4, seed)
    learner.fit(progress, out)
    improvement = learner.improve(progress, folder=out)
    save_value(out / "value.pt", learner, config.uni_o4)
    artifact = write_artifact(
        out / "policy.onnx", export_policy(improvement.policy), "offline", parent.sha256, parent.metadata.layout, revision, force=True
    )
    evidence = {
        "policy": str(artifact.path),
        "policy_sha256": artifact.sha256,
        "parent_sha256": parent.sha256,
        "estimates": estimates_of(learner, dataset, start, improvement.policy, config, seed, progress),
        "gate": _gate_history(improvement),
        "data": asdict(dataset.report) | {"holdout_mean_reward": float(dataset.holdout.rewards.mean())},
        "kl_from_parent": _distance(learner, improvement.policy, start),
        "seconds": time.monotonic() - began,
    }
    write_json(out / "evidence.json", evidence)
    return FinetuneResult(artifact.path, out / "value.pt", evidence)


def save_value(path: Path, learner: UniO4, config: UniO4Config) -> None:
    """Keep V, its sizes and the scale of the rewards that it was fitted to."""
    v = learner.critics.v
    save_checkpoint(path, {"value": v.state_dict(), "sizes": list(v.network.sizes), "reward_scale": config.reward_scale})


def estimates_of(
    learner: UniO4, dataset: RobotDataset, old: GaussianPolicy, new: GaussianPolicy, config: FinetuneConfig, seed: int, progress: Progress
) -> dict[str, dict[str, Any]]:
    """AM-Q from held-out start states and fitted-Q evaluation on held-out transitions, old beside new, per control step."""
    learner.begin("estimates")
    sessions = dataset.holdout_sessions
    picks = np.random.default_rng(seed).permutation(len(sessions))[: config.max_amq_starts]
    starts = torch.from_numpy(dataset.holdout.observations[picks])
    both = learner.estimate([old, new], starts)
    per_step = both.double().numpy() / (config.uni_o4.gate.horizon * config.uni_o4.reward_scale)
    amq = _paired_by_session(per_step, sessions[picks[: per_step.shape[1]]])
    fqe = fitted_q_evaluation(dataset.holdout, sessions, [old, new], config.fqe, seed, progress).values
    return {"amq": amq, "fqe": _paired_by_replica(fqe * (1 - config.fqe.gamma))}


def _paired_by_session(values: NDArray[np.floating[Any]], sessions: NDArray[np.int64]) -> dict[str, Any]:
    difference = values[1] - values[0]
    return {
        "old": float(values[0].mean()), "new": float(values[1].mean()), "difference": float(difference.mean()),
        "ci95": cluster_ci95(difference, sessions), "unit": "mean Q along the rollouts, in rewards",
    }  # fmt: skip


def _paired_by_replica(values: Tensor) -> dict[str, Any]:
    difference = values[1] - values[0]
    mean, width = float(difference.mean()), t_quantile_975(len(difference) - 1) * float(difference.std())
    return {
        "old": float(values[0].mean()), "new": float(values[1].mean()), "difference": mean,
        "ci95": [mean - width, mean + width], "unit": "discounted mean reward a control step",
    }  # fmt: skip


def _gate_history(improvement: Improvement) -> dict[str, Any]:
    decisions = [{"step": query.step, "member": query.member} | asdict(query.decision) for query in improvement.queries]
    accepted = sum(query.decision.accepted for query in improvement.queries)
    return {
        "accepted": accepted,
        "rejected": len(decisions) - accepted,
        "chosen_member": improvement.chosen_member,
        "accepted_steps": improvement.accepted_steps,
        "decisions": decisions,
    }


@torch.no_grad()
def _distance(learner: UniO4, new: GaussianPolicy, old: GaussianPolicy) -> float:
    observations = learner.data.draw_observations((4096,), learner.generator)
    return float(distance(new, old, observations))
