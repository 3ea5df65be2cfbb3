"""`quadloop online`: a policy that goes on improving while the robot walks; here, on the twin."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from common.command_line import RunArguments, Settings, parse
from common.files import sha256_of_file
from common.reporter import Reporter
from common.result import emit
from common.run_directory import RunDirectory
from loop.inputs import load_trainable
from loop.twin_station import twin_station
from online_finetune.online import PRESETS, OnlineConfig, OnlineFinetuner, load_value
from twin.world import files_of_world, find_world


@dataclass(frozen=True, kw_only=True)
class OnlineArguments(RunArguments):
    """Fine-tune a policy by PPO on its own episodes, in this version on the twin only; writes policy.onnx after every update."""

    policy: Path
    """the policy artifact to start from, usually of the offline stage"""
    value: Path
    """value.pt of the offline stage"""
    terrain: str = "mattress"
    """what the twin walks on: flat, mattress, or a YAML file"""
    config: Settings[OnlineConfig] = field(default_factory=OnlineConfig)


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("online", OnlineArguments, arguments, PRESETS)
    policy = load_trainable(wanted.policy)  # this and the next two before anything is written
    load_value(wanted.value, policy.metadata.layout.size, wanted.config.ppo.gamma)
    world = find_world(wanted.terrain)
    began = time.monotonic()
    inputs = {"seed": wanted.seed, "policy_sha256": policy.sha256, "value_sha256": sha256_of_file(wanted.value), "terrain": world}
    sources = wanted.policy, wanted.value, *files_of_world(wanted.terrain)
    with (
        RunDirectory(wanted.out, wanted.config, inputs=inputs, sources=sources, resume=wanted.resume, force=wanted.force) as directory,
        Reporter(directory.metrics) as report,
        twin_station(world, wanted.seed) as station,
    ):
        tuner = OnlineFinetuner(station, wanted.policy, wanted.value, wanted.out, wanted.config, wanted.seed)
        artifact = tuner.run(report)
    figures = {"steps": tuner.steps, "falls": tuner.falls, "seconds": time.monotonic() - began}
    emit({"policy": artifact.path, "policy_sha256": artifact.sha256} | figures, wanted.json)
    return 0
