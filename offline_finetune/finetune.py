"""Robot logs and a policy in, a better policy and the evidence for it out; the robot is not touched."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from common.result import json_value
from common.revision import git_revision
from learners.checkpoint import save_checkpoint
from learners.improvement import Improvement
from learners.onnx_graph import export_policy, policy_of_graph
from learners.policy import GaussianPolicy, distance
from learners.progress import Progress
from learners.uni_o4 import UniO4, UniO4Config
from offline_finetune.config import FinetuneConfig
from offline_finetune.dataset import DatasetError, RobotDataset
from offline_finetune.evidence import estimates_of
from offline_finetune.report import with_judgements
from robot.policy.artifact import PolicyArtifact, keep_or_write_artifact, load_artifact


@dataclass(frozen=True)
class FinetuneResult:
    """What the stage leaves behind."""

    policy: Path
    value: Path
    evidence: dict[str, Any]  # not written yet


def finetune(policy_path: Path, dataset: RobotDataset, out: Path, config: FinetuneConfig, seed: int, progress: Progress) -> FinetuneResult:
    """Uni-O4 from the artifact `policy_path` on a data set of robot logs.

    Writes `policy.onnx` (stage "offline") and `value.pt` (V for the online stage) into `out`. The evidence is left to the caller, who may
    have more to say and writes it once, whole. What an interrupted run left in `out` of critics, models and improvement is gone on with; a
    policy.onnx that holds the result already stays as it is. DatasetError as `check_fit`.
    """
    began = time.monotonic()
    parent = load_artifact(policy_path)
    check_fit(parent, dataset, config)
    start = policy_of_graph(policy_path.read_bytes())
    learner = UniO4(dataset.train, start, parent.metadata.layout.history, config.uni_o4, seed)
    learner.fit(progress, out)
    improvement = learner.improve(progress, folder=out)
    save_value(out / "value.pt", learner, config.uni_o4)
    artifact = keep_or_write_artifact(
        out / "policy.onnx", export_policy(improvement.policy), "offline", parent.sha256, parent.metadata.layout
    )
    found = {
        "policy": artifact.path,
        "seed": seed,
        "revision": git_revision(),
        "policy_sha256": artifact.sha256,
        "parent_sha256": parent.sha256,
        "estimates": estimates_of(learner, dataset, start, improvement.policy, config, seed, progress, out),
        "model": {"losses": learner.model_losses, "elites": learner.model.elites},
        "gate": _gate_history(improvement),
        "data": _described(dataset),
        "kl_from_parent": _distance(learner, improvement.policy, start),
        "seconds": time.monotonic() - began,  # of this process: what an interrupted one took is not in it
    }
    return FinetuneResult(artifact.path, out / "value.pt", with_judgements(json_value(found)))


def check_fit(parent: PolicyArtifact, dataset: RobotDataset, config: FinetuneConfig) -> None:
    """DatasetError if the policy `parent` sees something else than the logs recorded, or too few steps are held out for the estimates."""
    if parent.metadata.layout != dataset.layout:
        raise DatasetError(f"{parent.path} sees another observation layout than the logs recorded; use logs of a policy with its layout")
    if len(dataset.holdout) < config.uni_o4.dynamics.elites:
        raise DatasetError(
            f"{len(dataset.holdout)} usable steps are held out, fewer than the {config.uni_o4.dynamics.elites} models that imagine what "
            "follows them; record more"
        )


def save_value(path: Path, learner: UniO4, config: UniO4Config) -> None:
    """Keep V, its sizes, its discount and the scale of the rewards that it was fitted to."""
    v = learner.critics.v
    meaning = {"gamma": config.iql.gamma, "reward_scale": config.reward_scale}
    save_checkpoint(path, {"value": v.state_dict(), "sizes": list(v.network.sizes)} | meaning)


def _described(dataset: RobotDataset) -> dict[str, Any]:
    hashes = {"train_sha256": dataset.train.sha256, "holdout_sha256": dataset.holdout.sha256}
    return asdict(dataset.report) | hashes | {"holdout_mean_reward": float(dataset.holdout.rewards.mean())}


def _gate_history(improvement: Improvement) -> dict[str, Any]:
    """What the gate said."""
    decisions = [{"step": query.step, "member": query.member} | vars(query.decision) for query in improvement.queries]
    accepted = sum(query.decision.accepted for query in improvement.queries)
    return {
        "accepted": accepted,
        "rejected": len(decisions) - accepted,
        "chosen_member": improvement.chosen_member,
        "average": improvement.average,
        "accepted_steps": improvement.accepted_steps,
        "advantage_test": improvement.advantage_test,
        "decisions": decisions,
    }


@torch.no_grad()
def _distance(learner: UniO4, new: GaussianPolicy, old: GaussianPolicy) -> float:
    observations = learner.data.draw_observations((4096,), learner.generator)
    return float(distance(new, old, observations))
