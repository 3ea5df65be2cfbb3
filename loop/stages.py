"""The loop's stages, each a function from a context to a result of JSON values; the arrows between them are files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.files import write_json
from common.randomness import generator_for
from learners.progress import Progress
from loop.config import LoopConfig
from loop.twin_station import twin_station
from offline_finetune.dataset import build_dataset
from offline_finetune.finetune import finetune
from online_finetune.online import OnlineFinetuner
from robot.forward_commands import ForwardCommands
from robot.log.episode_log import list_episodes
from robot.policy.artifact import load_artifact
from robot.run_episode import EpisodeSummary
from robot.station import Collector
from sim_pretrain.pretrain import pretrain
from twin.evaluate import evaluate, straight_command
from twin.world import World


@dataclass(frozen=True)
class Context:
    """What every stage is given."""

    out: Path
    config: LoopConfig
    seed: int
    report: Progress
    world: World  # of config.terrain, read once: its file may be edited while the loop runs


def run_pretrain(context: Context) -> dict[str, Any]:
    """A walker from simulation on flat ground -> pretrained/policy.onnx."""
    artifact = pretrain(context.config.pretrain, context.seed, context.out / "pretrained", context.report)
    return {"policy": str(artifact.path)}


def run_collect(context: Context) -> dict[str, Any]:
    """Episodes of the pretrained policy on the loop's terrain -> logs/. What an interrupted collection left is collected anew."""
    config, logs = context.config.collect, context.out / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    policy = load_artifact(context.out / "pretrained" / "policy.onnx")
    rng = generator_for("collect", context.seed)
    commands = ForwardCommands(config.vx_low, config.vx_high)
    summaries: list[EpisodeSummary] = []
    steps = 0
    with twin_station(context.world, context.seed + 1) as station:
        for number in range(config.sessions):
            station.set_upright()
            collector = Collector(station, policy, rng, f"session_{number:02d}", asdict(config))
            share = config.steps * (number + 1) // config.sessions - steps
            for summary in collector.collect_steps(logs / collector.session, share, config.episode_steps, commands, rng):
                summaries.append(summary)
                steps += summary.steps
                context.report("collect", steps, config.steps, {})
    falls = sum(summary.fell + summary.falls_standing for summary in summaries)
    return {"episodes": len(summaries), "steps": steps, "falls": falls}


def run_offline(context: Context) -> dict[str, Any]:
    """Uni-O4 on those episodes -> offline/policy.onnx, offline/evidence.json."""
    config = context.config.finetune
    dataset = build_dataset(list_episodes(context.out / "logs"), config.holdout_share, context.seed)
    result = finetune(
        context.out / "pretrained" / "policy.onnx", dataset, context.out / "offline",
        config, context.seed, context.report,
    )  # fmt: skip
    write_json(context.out / "offline" / "evidence.json", result.evidence)
    gate, estimates = result.evidence["gate"], result.evidence["estimates"]
    return {"policy": str(result.policy), "accepted": gate["accepted"], "rejected": gate["rejected"], "estimates": estimates}


def run_online(context: Context) -> dict[str, Any]:
    """PPO on the robot's own episodes -> online/policy.onnx."""
    offline, out, config = context.out / "offline", context.out / "online", context.config.online
    with twin_station(context.world, context.seed + 2) as station:
        tuner = OnlineFinetuner(station, offline / "policy.onnx", offline / "value.pt", out, config, context.seed)
        artifact = tuner.run(context.report)
    return {"policy": str(artifact.path), "steps": tuner.steps, "falls": tuner.falls}


def run_measure(context: Context) -> dict[str, Any]:
    """Every stage's policy under every command on the loop's terrain, with the same starts for all."""
    config = context.config.measure
    results: dict[str, Any] = {}
    for stage in POLICY_STAGES:
        artifact = load_artifact(context.out / stage / "policy.onnx")
        results[stage] = {}
        for vx in config.commands:
            command, layout = straight_command(vx), artifact.metadata.layout
            trials = evaluate(artifact, context.world, command, config.trials, config.seed, config.steps, layout)
            results[stage][f"{vx:g}"] = trials.summary(config.steps) | {"policy_sha256": artifact.sha256, "seed": config.seed}
    return results


WALKING_STAGES = ("collect", "online")
POLICY_STAGES = ("pretrained", "offline", "online")
STAGES: dict[str, Callable[[Context], dict[str, Any]]] = {
    "pretrain": run_pretrain,
    "collect": run_collect,
    "offline": run_offline,
    "online": run_online,
    "measure": run_measure,
}
