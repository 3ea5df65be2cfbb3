"""`quadloop pretrain`: a walking policy from simulation alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from common.command_line import RunArguments, Settings, parse
from common.reporter import Reporter
from common.result import emit
from common.revision import git_revision
from common.run_directory import RunDirectory
from sim_pretrain.pretrain import PRESETS, PretrainConfig, pretrain


@dataclass(frozen=True, kw_only=True)
class PretrainArguments(RunArguments):
    """Train a walking policy in simulation by PPO; writes policy.onnx."""

    config: Settings[PretrainConfig] = field(default_factory=PretrainConfig)


def run(arguments: list[str]) -> int:
    """The verb."""
    wanted = parse("pretrain", PretrainArguments, arguments, PRESETS)
    began = time.monotonic()
    run_directory = RunDirectory(wanted.out, wanted.config, inputs={"seed": wanted.seed}, resume=wanted.resume, force=wanted.force)
    with run_directory as directory, Reporter(directory.metrics) as report:
        artifact = pretrain(wanted.config, wanted.seed, wanted.out, report, git_revision())
    emit({"policy": artifact.path, "policy_sha256": artifact.sha256, "seconds": time.monotonic() - began}, wanted.json)
    return 0
